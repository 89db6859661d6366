//! What a run gave, for people or for programs.

use super::work::Outcome;
use super::{Args, Scenario};
use crate::commands::OutputFormat;
use anyhow::bail;
use clap::ValueEnum as _;
use ironbrook_client::topics::QoS;
use serde_json::json;
use std::io::Write as _;
use std::time::Duration;

/// The quantiles that are told.
const QUANTILES: [(&str, f64); 5] =
    [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999), ("max", 1.0)];

/// Prints a report; an error if messages were lost that should not be.
pub(super) fn print(args: &Args, outcome: &Outcome, output: OutputFormat) -> anyhow::Result<()> {
    let Outcome { took, times, expected } = outcome;
    let (arrived, lost) = (times.count(), expected.saturating_sub(times.count()));
    let rate = arrived as f64 / took.as_secs_f64().max(f64::MIN_POSITIVE);
    let micros = |part| times.quantile(part).map(|time: Duration| time.as_secs_f64() * 1e6);
    let scenario = args.scenario.to_possible_value().map(|value| value.get_name().to_owned());
    let scenario = scenario.unwrap_or_default();
    let mut stdout = std::io::stdout();
    match output {
        OutputFormat::Json => {
            let latency: serde_json::Map<_, _> =
                QUANTILES.iter().map(|(name, part)| ((*name).to_owned(), json!(micros(*part)))).collect();
            let report = json!({
                "scenario": scenario,
                "clients": args.clients,
                "qos": args.qos as u8,
                "size": args.size,
                "messages": arrived,
                "lost": lost,
                "seconds": took.as_secs_f64(),
                "messages_per_second": rate,
                "latency_us": latency,
            });
            writeln!(stdout, "{report}")?;
        }
        OutputFormat::Table => {
            let what = match args.scenario {
                Scenario::Ingest if args.qos == QoS::AtMostOnce => "published to sent",
                Scenario::Ingest => "published to acknowledged",
                Scenario::FanIn | Scenario::FanOut => "published to received",
            };
            let (clients, qos, size) = (args.clients, args.qos as u8, args.size);
            writeln!(stdout, "{scenario}: {clients} clients, QoS {qos}, {size} bytes")?;
            writeln!(
                stdout,
                "{arrived} messages in {:.2} s, {rate:.0} messages/s, {lost} lost",
                took.as_secs_f64()
            )?;
            let times: Vec<_> = QUANTILES
                .iter()
                .filter_map(|(name, part)| Some(format!("{name} {:.0} µs", micros(*part)?)))
                .collect();
            writeln!(stdout, "{what}: {}", times.join(", "))?;
        }
    }
    if lost > 0 && args.qos > QoS::AtMostOnce {
        bail!("{lost} messages of QoS {} were lost; look into the server's queue limits", args.qos as u8);
    }
    Ok(())
}
