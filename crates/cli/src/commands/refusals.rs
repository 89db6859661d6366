//! `ironbrook refusals`: why devices and modules were not let in.

use super::connection::Where;
use super::{Global, OutputFormat};
use anyhow::Context as _;
use ironbrook_client::DeviceId;
use serde_json::Value;

/// Options of `ironbrook refusals`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    at: Where,
    /// Only of this device and its modules.
    device: Option<String>,
}

/// Runs the command.
#[allow(clippy::print_stdout, clippy::print_stderr, reason = "what the command is asked for")]
pub async fn run(args: Args, global: &Global) -> anyhow::Result<()> {
    let device = args.device.map(DeviceId::new).transpose().context("DEVICE")?;
    let refusals = args.at.service_client()?.refusals(device.as_ref()).await?;
    match global.output {
        OutputFormat::Json => refusals.iter().for_each(|refused| println!("{refused}")),
        OutputFormat::Table if refusals.is_empty() => {
            eprintln!("nobody was refused since the hub started");
        }
        OutputFormat::Table => print!("{}", table(&refusals)),
    }
    Ok(())
}

fn table(refusals: &[Value]) -> String {
    let head = ["TIME", "IDENTITY", "CAUSE", "TIMES", "OVER", "FROM", "REASON"].map(str::to_owned);
    let rows = refusals.iter().map(|refused| {
        let text = |name: &str| refused[name].as_str().unwrap_or("-").to_owned();
        let identity = match refused["moduleId"].as_str() {
            Some(module) => format!("{}/{module}", text("deviceId")),
            None => text("deviceId"),
        };
        let cause = refused["cause"].as_str().map_or_else(|| text("error"), str::to_owned);
        let time = text("time").chars().take(19).collect();
        [
            time,
            identity,
            cause,
            refused["times"].to_string(),
            text("protocol"),
            text("address"),
            text("message"),
        ]
    });
    let rows: Vec<[String; 7]> = std::iter::once(head).chain(rows).collect();
    super::columns(&rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_refusal_is_one_line_with_who_when_why_and_from_where() {
        let shown = table(&[json!({
            "deviceId": "d1", "moduleId": null, "time": "2026-11-30T12:00:00.0000000Z", "times": 3,
            "error": "IotHubUnauthorized", "cause": "wrongKey", "message": "check the key",
            "protocol": "mqtt", "address": "10.0.0.7:5000",
        })]);
        let lines: Vec<_> = shown.lines().collect();
        assert_eq!(lines[0], "TIME                 IDENTITY  CAUSE     TIMES  OVER  FROM           REASON");
        assert_eq!(
            lines[1],
            "2026-11-30T12:00:00  d1        wrongKey  3      mqtt  10.0.0.7:5000  check the key"
        );
    }
}
