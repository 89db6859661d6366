//! `ironbrook messages`: reading telemetry from the events endpoint.

use super::connection::{Target, Where};
use super::{Global, OutputFormat};
use anyhow::Context as _;
use clap::Subcommand;
use ironbrook_client::{Event, EventStream, EventsClient, Position};
use ironbrook_model::{SystemProperty, Timestamp};
use serde_json::{Map, Value, json};
use std::io::Write as _;
use std::str::FromStr;

/// Options of `ironbrook messages`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print messages as they come, until Ctrl-C.
    Monitor(MonitorArgs),
}

/// Options of `ironbrook messages monitor` and `ironbrook monitor-events`.
#[derive(Debug, clap::Args)]
pub struct MonitorArgs {
    #[command(flatten)]
    at: Where,
    /// Only messages of this device.
    #[arg(long, value_name = "ID")]
    device_id: Option<String>,
    /// Where to begin: latest, earliest, or an ISO 8601 time.
    #[arg(long, default_value = "latest", value_name = "WHERE")]
    from: From,
    /// Stop after so many messages.
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// Print system and application properties too (JSON output always has them).
    #[arg(long)]
    properties: bool,
    /// Read as this consumer group.
    #[arg(long, default_value = "$Default", value_name = "NAME")]
    consumer_group: String,
}

/// Where reading begins, as it is written on the command line.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct From(pub Position);

impl FromStr for From {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "earliest" => Ok(Self(Position::Earliest)),
            "latest" => Ok(Self(Position::Latest)),
            time => match Timestamp::parse(time) {
                Some(time) => Ok(Self(Position::EnqueuedAfter(time))),
                None => Err("write latest, earliest, or a time like 2026-01-31T09:00:00Z".to_owned()),
            },
        }
    }
}

/// Runs the command.
pub async fn run(args: Args, global: &Global) -> anyhow::Result<()> {
    match args.command {
        Command::Monitor(args) => monitor(args, global.output).await,
    }
}

/// Opens the events endpoint.
pub(super) async fn open(
    target: &Target,
    consumer_group: &str,
    from: Position,
) -> anyhow::Result<EventStream> {
    let mut builder = EventsClient::builder(&target.connection_string)?.consumer_group(consumer_group);
    if let Some(ca) = &target.ca {
        builder = builder.ca_file(ca)?;
    }
    if let Some(address) = target.address {
        builder = builder.address(address);
    }
    builder.build()?.read(from).await.context("the events endpoint cannot be read")
}

/// Prints messages as they come.
pub async fn monitor(args: MonitorArgs, output: OutputFormat) -> anyhow::Result<()> {
    let mut events = open(&args.at.events()?, &args.consumer_group, args.from.0.clone()).await?;
    let mut left = args.count.unwrap_or(u64::MAX);
    let mut stdout = std::io::stdout();
    if output == OutputFormat::Table {
        writeln!(stdout, "{:<28} {:<20} {:>4} {:>8}  BODY", "ENQUEUED (UTC)", "DEVICE", "PART", "SEQUENCE")?;
    }
    while left > 0 {
        let event = tokio::select! {
            event = events.next() => event,
            _ = tokio::signal::ctrl_c() => break,
        };
        let Some(event) = event else { break };
        let event = event.context("reading stopped")?;
        if args.device_id.as_deref().is_some_and(|wanted| event.device() != Some(wanted)) {
            continue;
        }
        left -= 1;
        let line = match output {
            OutputFormat::Json => json(&event).to_string(),
            OutputFormat::Table => row(&event, args.properties),
        };
        // A reader that has seen enough (`head`) is no failure.
        match writeln!(stdout, "{line}").and_then(|()| stdout.flush()) {
            Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => return Ok(()),
            other => other?,
        }
    }
    Ok(())
}

/// Text of others without control characters, which could steer a terminal.
pub(super) fn visible(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// One line for people.
fn row(event: &Event, properties: bool) -> String {
    let device = match (event.device(), event.module()) {
        (Some(device), Some(module)) => format!("{device}/{module}"),
        (device, _) => device.unwrap_or("-").to_owned(),
    };
    let body = visible(&String::from_utf8_lossy(&event.message.body));
    let (time, partition, sequence) =
        (event.enqueued_time.to_string(), &event.partition, event.sequence_number);
    let mut line = format!("{time:<28} {device:<20} {partition:>4} {sequence:>8}  {body}");
    if properties {
        for (name, value) in system(event).into_iter().chain(application(event)) {
            line.push_str(&format!("\n    {name} = {}", visible(value.as_str().unwrap_or_default())));
        }
    }
    line
}

/// One JSON object for programs. A body that says it is JSON stands as JSON, other text as text, anything else as base64.
fn json(event: &Event) -> Value {
    use base64::Engine as _;
    let message = &event.message;
    let parsed = if message.has_json_body() { serde_json::from_slice(&message.body).ok() } else { None };
    let body = parsed.unwrap_or_else(|| match std::str::from_utf8(&message.body) {
        Ok(text) => json!(text),
        Err(_) => json!({ "base64": base64::engine::general_purpose::STANDARD.encode(&message.body) }),
    });
    json!({
        "device": event.device(),
        "module": event.module(),
        "partition": event.partition,
        "sequence_number": event.sequence_number,
        "offset": event.offset,
        "enqueued_time": event.enqueued_time.to_string(),
        "source": event.source,
        "system_properties": system(event),
        "properties": application(event),
        "body": body,
    })
}

fn system(event: &Event) -> Map<String, Value> {
    let stamped = [SystemProperty::ConnectionDeviceId, SystemProperty::ConnectionModuleId];
    let named = |(property, value): (SystemProperty, &bytestring::ByteString)| {
        Some((property.storage_name()?.to_owned(), Value::from(&**value)))
    };
    event
        .message
        .system
        .iter()
        .filter(|(property, _)| !stamped.contains(property))
        .filter_map(named)
        .collect()
}

fn application(event: &Event) -> Map<String, Value> {
    event.message.properties.iter().map(|(name, value)| (name.to_string(), Value::from(&**value))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ironbrook_model::Message;

    fn event(body: &'static [u8], content_type: &'static str) -> Event {
        let mut message = Message::new(body);
        message.system.set(SystemProperty::ConnectionDeviceId, "d1");
        message.system.set(SystemProperty::ContentType, content_type);
        message.system.set(SystemProperty::ContentEncoding, "utf-8");
        message.properties.set("fault", "open");
        Event {
            partition: "2".to_owned(),
            sequence_number: 5,
            offset: "77".to_owned(),
            enqueued_time: Timestamp::from_millis(0),
            source: Some("Telemetry".to_owned()),
            message,
        }
    }

    #[test]
    fn json_keeps_a_json_body_and_shows_others_as_text_or_base64() {
        let shown = json(&event(br#"{"temperature":21.5}"#, "application/json"));
        assert_eq!(shown["body"], json!({"temperature": 21.5}));
        assert_eq!((&shown["device"], &shown["properties"]), (&json!("d1"), &json!({"fault": "open"})));
        assert_eq!(
            shown["system_properties"],
            json!({"contentType": "application/json", "contentEncoding": "utf-8"})
        );
        assert_eq!(json(&event(b"21.5", "text/plain"))["body"], json!("21.5"));
        assert_eq!(json(&event(b"\xff", "text/plain"))["body"], json!({"base64": "/w=="}));
    }

    #[test]
    fn a_row_is_one_line_whatever_the_body_holds() {
        let line = row(&event(b"a\x1b[31m\nb", "text/plain"), false);
        assert!(line.ends_with("a [31m b") && line.contains(" d1 "), "{line:?}");
        assert!(row(&event(b"x", "text/plain"), true).contains("\n    fault = open"));
    }

    #[test]
    fn beginnings_are_words_or_times() {
        assert_eq!("earliest".parse(), Ok(From(Position::Earliest)));
        let time = Timestamp::from_millis(1_769_850_000_000);
        assert_eq!("2026-01-31T09:00:00Z".parse(), Ok(From(Position::EnqueuedAfter(time))));
        assert!("yesterday".parse::<From>().is_err());
    }
}
