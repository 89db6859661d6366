//! What one asks the edge runtime of a data folder on this machine: its modules, their logs, a restart.

use crate::commands::{Global, OutputFormat};
use anyhow::Context as _;
use ironbrook_edge::daemon::management::{Client, LogQuery, Module};
use serde_json::json;
use std::io::Write as _;
use std::path::PathBuf;

/// Width of a column at least, as the stock tool has it.
const COLUMN_MIN: usize = 15;

/// Which edge runtime.
#[derive(Debug, clap::Args)]
pub struct At {
    /// Data folder of an `ironbrook edge run` or `ironbrook dev` on this machine.
    #[arg(long, default_value = "ironbrook-data", value_name = "DIR")]
    data_dir: PathBuf,
}

impl At {
    fn client(&self) -> anyhow::Result<Client> {
        Ok(Client::for_data_dir(&self.data_dir)?)
    }
}

/// Options of `ironbrook edge logs`.
#[derive(Debug, clap::Args)]
pub struct LogsArgs {
    #[command(flatten)]
    at: At,
    /// Only the last lines.
    #[arg(long, value_name = "N")]
    tail: Option<usize>,
    /// Go on with what the module writes, until Ctrl-C.
    #[arg(long, short)]
    follow: bool,
    /// The module.
    module: String,
}

/// Options of `ironbrook edge restart`.
#[derive(Debug, clap::Args)]
pub struct RestartArgs {
    #[command(flatten)]
    at: At,
    /// The module.
    module: String,
}

/// `ironbrook edge list`.
#[allow(clippy::print_stdout, reason = "what the command is asked for")]
pub async fn list(at: &At, global: &Global) -> anyhow::Result<()> {
    let modules = at.client()?.modules().await?;
    match global.output {
        OutputFormat::Table => print!("{}", table(&modules)),
        OutputFormat::Json => {
            for Module { name, status, description, config } in modules {
                let line =
                    json!({"name": name, "status": status, "description": description, "config": config});
                println!("{line}");
            }
        }
    }
    Ok(())
}

fn table(modules: &[Module]) -> String {
    let head = ["NAME", "STATUS", "DESCRIPTION", "CONFIG"].map(str::to_owned);
    let rows = modules.iter().map(|module| {
        let Module { name, status, description, config } = module.clone();
        [name, status, description, config]
    });
    let rows: Vec<[String; 4]> = std::iter::once(head).chain(rows).collect();
    let width = |column: usize| {
        rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default().max(COLUMN_MIN)
    };
    let widths = [width(0), width(1), width(2)];
    let line = |[name, status, description, config]: &[String; 4]| {
        let [a, b, c] = widths;
        format!("{name:<a$}  {status:<b$}  {description:<c$}  {config}\n")
    };
    rows.iter().map(line).collect()
}

/// `ironbrook edge logs`.
pub async fn logs(args: LogsArgs) -> anyhow::Result<()> {
    let query = LogQuery { tail: args.tail, ..LogQuery::default() };
    let mut logs = args.at.client()?.logs(&args.module, query, args.follow).await?;
    let mut out = std::io::stdout();
    while let Some(text) = logs.next().await? {
        out.write_all(&text).and_then(|()| out.flush()).context("standard output")?;
    }
    Ok(())
}

/// `ironbrook edge restart`.
#[allow(clippy::print_stdout, reason = "what was done, in the stock tool's words")]
pub async fn restart(args: RestartArgs) -> anyhow::Result<()> {
    args.at.client()?.restart(&args.module).await?;
    println!("Restarted {}", args.module);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell_and_never_narrow() {
        let module = |name: &str, status: &str| Module {
            name: name.to_owned(),
            status: status.to_owned(),
            description: "Up 2 minutes".to_owned(),
            config: "registry.test/image:1.0".to_owned(),
        };
        let shown = table(&[module("SimulatedTemperatureSensor", "running"), module("m", "backoff")]);
        let lines: Vec<&str> = shown.lines().collect();
        assert_eq!(lines[0], "NAME                        STATUS           DESCRIPTION      CONFIG");
        assert_eq!(
            lines[1],
            "SimulatedTemperatureSensor  running          Up 2 minutes     registry.test/image:1.0"
        );
        assert_eq!(lines[2].find("backoff"), lines[1].find("running"));
    }
}
