//! `ironbrook route`: the routes of a hub, which of them a message takes and why, and how endpoints do.

use super::connection::Where;
use super::registry::client;
use super::{Global, OutputFormat};
use anyhow::Context as _;
use clap::Subcommand;
use serde_json::{Map, Value, json};
use std::fmt::Write as _;
use std::path::PathBuf;

/// Options of `ironbrook route`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The routes of the hub.
    List(#[command(flatten)] Where),
    /// How each endpoint does.
    Health(#[command(flatten)] Where),
    /// Which routes a message takes, and what each of their comparisons came to.
    Test(Box<Test>),
}

#[derive(Debug, clap::Args)]
struct Test {
    #[command(flatten)]
    at: Where,
    /// The body; JSON counts as a body that says so.
    #[arg(long, value_name = "TEXT")]
    body: Option<String>,
    /// An application property; may be given several times.
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    property: Vec<(String, String)>,
    /// A system property, e.g. `contentType=application/json`; may be given several times.
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    system: Vec<(String, String)>,
    /// Who sends it; the device's twin is that of the hub where none is given.
    #[arg(long, value_name = "ID")]
    device: Option<String>,
    /// The module that sends it.
    #[arg(long, value_name = "ID", requires = "device")]
    module: Option<String>,
    /// A file with the twin: {"tags": …, "properties": {"desired": …, "reported": …}}.
    #[arg(long, value_name = "FILE")]
    twin: Option<PathBuf>,
    /// Where it comes from: DeviceMessages, TwinChangeEvents, …
    #[arg(long, default_value = "DeviceMessages")]
    source: String,
    /// Try this condition in the place of the hub's routes.
    #[arg(long, value_name = "TEXT")]
    condition: Option<String>,
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("it has the form NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// Runs the command.
pub async fn run(args: Args, global: &Global) -> anyhow::Result<()> {
    match args.command {
        Command::List(at) => print(&client(&at)?.routing().await?, global, list_table),
        Command::Health(at) => print(&client(&at)?.endpoints_health().await?, global, health_table),
        Command::Test(test) => {
            let (client, input) = (client(&test.at)?, test.input()?);
            match &test.condition {
                None => print(&client.test_all_routes(&input).await?, global, trials_text),
                Some(_) => print(&client.test_route(&input).await?, global, trial_text),
            }
        }
    }
}

#[allow(clippy::print_stdout, reason = "what the command is asked for")]
pub(super) fn print(
    told: &Value,
    global: &Global,
    text: impl FnOnce(&Value) -> String,
) -> anyhow::Result<()> {
    match global.output {
        OutputFormat::Json => println!("{told}"),
        OutputFormat::Table => print!("{}", text(told)),
    }
    Ok(())
}

impl Test {
    fn input(&self) -> anyhow::Result<Value> {
        let texts = |pairs: &[(String, String)]| -> Map<String, Value> {
            pairs.iter().map(|(name, value)| (name.clone(), value.as_str().into())).collect()
        };
        let mut system = texts(&self.system);
        let sender = [("connectionDeviceId", &self.device), ("connectionModuleId", &self.module)];
        for (name, id) in sender {
            if let Some(id) = id {
                system.insert(name.to_owned(), id.as_str().into());
            }
        }
        let mut message = json!({ "appProperties": texts(&self.property), "systemProperties": system });
        if let Some(body) = &self.body {
            message["body"] = match serde_json::from_str(body) {
                Ok(json @ (Value::Object(_) | Value::Array(_))) => json,
                _ => body.as_str().into(),
            };
        }
        let mut input = json!({ "routingSource": self.source, "message": message });
        if let Some(path) = &self.twin {
            let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
            input["twin"] = serde_json::from_str(&text).with_context(|| path.display().to_string())?;
        }
        if let Some(condition) = &self.condition {
            input["route"] = json!({ "source": self.source, "condition": condition });
        }
        Ok(input)
    }
}

/// A text member, or nothing.
pub(super) fn text<'v>(value: &'v Value, name: &str) -> &'v str {
    value[name].as_str().unwrap_or_default()
}

fn names(value: &Value) -> String {
    let names = value.as_array().map_or(&[][..], |names| names).iter().filter_map(Value::as_str);
    names.collect::<Vec<_>>().join(", ")
}

/// Rows under their heads, columns as wide as they need.
pub(super) fn table<const N: usize>(head: [&str; N], rows: Vec<[String; N]>) -> String {
    let rows: Vec<[String; N]> = std::iter::once(head.map(str::to_owned)).chain(rows).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; N] = std::array::from_fn(width);
    let mut out = String::new();
    for row in &rows {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
        out.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        out.push('\n');
    }
    out
}

fn list_table(told: &Value) -> String {
    let routes = told["routes"].as_array().map_or(&[][..], |routes| routes).iter();
    let rows = routes.chain([&told["fallbackRoute"]]).map(|route| {
        let enabled = if route["isEnabled"] == true { "yes" } else { "no" };
        [
            text(route, "name").to_owned(),
            text(route, "source").to_owned(),
            text(route, "condition").to_owned(),
            names(&route["endpointNames"]),
            enabled.to_owned(),
        ]
    });
    table(["NAME", "SOURCE", "CONDITION", "ENDPOINTS", "ENABLED"], rows.collect())
}

fn health_table(told: &Value) -> String {
    let endpoints = told["value"].as_array().map_or(&[][..], |endpoints| endpoints).iter();
    let rows = endpoints.map(|endpoint| {
        let number = |name: &str| endpoint[name].as_u64().map_or_else(String::new, |n| n.to_string());
        [
            text(endpoint, "endpointId").to_owned(),
            text(endpoint, "healthStatus").to_owned(),
            number("queued"),
            number("sent"),
            number("deadLettered"),
            text(endpoint, "lastSuccessfulSendAttemptTime").to_owned(),
            text(endpoint, "lastKnownError").to_owned(),
        ]
    });
    let head = ["ENDPOINT", "STATUS", "QUEUED", "SENT", "DEAD-LETTERED", "LAST SUCCESS", "LAST ERROR"];
    let mut out = table(head, rows.collect());
    let unrouted = told["unrouted"].as_u64().unwrap_or_default();
    if unrouted > 0 {
        let _ = writeln!(out, "{unrouted} messages were wanted by no route since the start");
    }
    out
}

fn trials_text(told: &Value) -> String {
    let mut out = String::new();
    for trial in told["trials"].as_array().map_or(&[][..], |trials| trials) {
        let to = names(&trial["endpointNames"]);
        let _ = writeln!(out, "{} -> {to}: {}", text(trial, "name"), text(trial, "condition"));
        out.push_str(&trial_text(trial));
    }
    let fallback = if told["fallback"] == true { " by the fallback route" } else { "" };
    match names(&told["endpoints"]).as_str() {
        "" => out.push_str("the message goes nowhere: no route takes it\n"),
        endpoints => _ = writeln!(out, "the message goes to {endpoints}{fallback}"),
    }
    out
}

/// What one route says, indented.
pub(super) fn trial_text(trial: &Value) -> String {
    let mut out = format!("  {}", text(trial, "result"));
    if !text(trial, "why").is_empty() {
        let _ = write!(out, ": {}", text(trial, "why"));
    }
    out.push('\n');
    for error in trial["details"]["compilationErrors"].as_array().map_or(&[][..], |errors| errors) {
        let start = &error["location"]["start"];
        let _ = writeln!(
            out,
            "    line {}, column {}: {}",
            start["line"],
            start["column"],
            text(error, "message")
        );
    }
    for part in trial["reasons"].as_array().map_or(&[][..], |parts| parts) {
        let _ = write!(out, "    {}: {}", text(part, "result"), text(part, "comparison"));
        let reason = text(part, "reason");
        let _ = if reason.is_empty() { writeln!(out) } else { writeln!(out, " ({reason})") };
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trials_are_told_with_their_reasons() {
        let told = json!({
            "trials": [
                {"name": "hot", "result": "false", "condition": "level = 'hot'", "endpointNames": ["hook", "box"],
                 "reasons": [{"comparison": "level = 'hot'", "result": "false", "reason": "level is \"cold\""}]},
                {"name": "off", "result": "false", "why": "the route is not in force", "condition": "true",
                 "endpointNames": ["box"]},
            ],
            "endpoints": ["events"], "fallback": true,
        });
        assert_eq!(
            trials_text(&told),
            "hot -> hook, box: level = 'hot'\n  false\n    false: level = 'hot' (level is \"cold\")\n\
             off -> box: true\n  false: the route is not in force\n\
             the message goes to events by the fallback route\n"
        );
        assert!(trials_text(&json!({ "trials": [], "endpoints": [] })).contains("goes nowhere"));
    }

    #[test]
    fn an_error_has_its_place() {
        let told = json!({ "result": "undefined", "details": { "compilationErrors": [{
            "message": "a value is needed", "location": { "start": { "line": 1, "column": 8 } } }] } });
        assert_eq!(trial_text(&told), "  undefined\n    line 1, column 8: a value is needed\n");
    }

    #[test]
    fn health_is_a_table() {
        let told = json!({ "value": [{ "endpointId": "hook", "healthStatus": "dead", "queued": 5, "sent": 1,
            "deadLettered": 2, "lastKnownError": "HTTP 503" }], "unrouted": 3 });
        let shown = health_table(&told);
        assert!(shown.lines().nth(1).unwrap().starts_with("hook      dead    5       1     2"), "{shown}");
        assert!(shown.ends_with("3 messages were wanted by no route since the start\n"), "{shown}");
    }
}
