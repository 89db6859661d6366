//! `ironbrook why`: what became of a message.

use super::Global;
use super::connection::Where;
use super::registry::client;
use super::route::{print, text, trial_text};
use anyhow::Context as _;
use ironbrook_hub::seams::{Clock as _, SystemClock};
use ironbrook_model::Timestamp;
use serde_json::Value;
use std::fmt::Write as _;
use std::time::Duration;

/// Options of `ironbrook why`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    at: Where,
    /// The message id its sender gave it.
    id: String,
    /// Its device, which makes the search shorter.
    #[arg(long, value_name = "ID")]
    device: Option<String>,
    /// How far back to look, such as 90m, 12h or 7d.
    #[arg(long, value_name = "TIME", default_value = "1d", value_parser = duration)]
    since: Duration,
}

fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no time; it looks like 90m, 12h or 7d");
    let unit = match text.chars().last() {
        Some('s') => 1,
        Some('m') => 60,
        Some('h') => 3600,
        Some('d') => 24 * 3600,
        _ => return Err(wrong()),
    };
    let count: u32 = text[..text.len() - 1].parse().map_err(|_| wrong())?;
    Ok(Duration::from_secs(u64::from(count) * unit))
}

/// Runs the command.
pub async fn run(args: Args, global: &Global) -> anyhow::Result<()> {
    let back = i64::try_from(args.since.as_millis()).context("--since is too long ago")?;
    let since = Timestamp::from_millis(SystemClock.now().as_millis().saturating_sub(back)).to_string();
    let mut hints = vec![("since", since.as_str())];
    if let Some(device) = &args.device {
        hints.push(("device", device));
    }
    print(&client(&args.at)?.message_fate(&args.id, &hints).await?, global, told)
}

fn told(fates: &Value) -> String {
    let mut out = String::new();
    for fate in fates["messages"].as_array().map_or(&[][..], |fates| fates) {
        let module = match text(fate, "moduleId") {
            "" => String::new(),
            module => format!("/{module}"),
        };
        let _ = writeln!(
            out,
            "message {} of {}{module}, {}, {} bytes, came {} (partition {}, offset {})",
            text(fate, "messageId"),
            text(fate, "deviceId"),
            text(fate, "source"),
            fate["bytes"],
            text(fate, "enqueuedTimeUtc"),
            fate["partition"],
            text(fate, "offset"),
        );
        out.push_str("endpoints:\n");
        for endpoint in fate["endpoints"].as_array().map_or(&[][..], |endpoints| endpoints) {
            out.push_str(&endpoint_text(endpoint));
        }
        out.push_str("what the routes say now:\n");
        for trial in fate["routes"].as_array().map_or(&[][..], |trials| trials) {
            let _ = write!(
                out,
                "  {}: {}\n  {}",
                text(trial, "name"),
                text(trial, "condition"),
                trial_text(trial)
            );
        }
    }
    out
}

fn endpoint_text(endpoint: &Value) -> String {
    let name = endpoint["endpoint"].as_str().unwrap_or("(gone)");
    let mut out = format!("  {name}: {}", text(endpoint, "outcome"));
    if let Some(attempts) = endpoint["attempts"].as_u64() {
        let times = if attempts == 1 { "attempt" } else { "attempts" };
        let _ = write!(
            out,
            " at {} after {attempts} {times} since {}",
            text(endpoint, "endTime"),
            text(endpoint, "firstAttemptTime")
        );
    }
    for (name, before) in [("place", ", as "), ("why", ": "), ("lastFailure", ", last failure: ")] {
        if !text(endpoint, name).is_empty() {
            let _ = write!(out, "{before}{}", text(endpoint, name));
        }
    }
    out.push('\n');
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_fate_is_told_in_lines() {
        let fates = json!({ "messages": [{
            "messageId": "m1", "deviceId": "d", "source": "DeviceMessages", "bytes": 2,
            "enqueuedTimeUtc": "2026-01-31T09:00:00.0000000Z", "partition": 0, "offset": "7",
            "endpoints": [
                { "endpoint": "box", "outcome": "delivered", "attempts": 2, "endTime": "T2", "firstAttemptTime": "T1",
                  "place": "c/hub/00.json", "lastFailure": "down" },
                { "endpoint": "hook", "outcome": "waiting", "why": "it waits for its batch" },
            ],
            "routes": [{ "name": "r", "condition": "true", "result": "true", "reasons": [] }],
        }] });
        assert_eq!(
            told(&fates),
            "message m1 of d, DeviceMessages, 2 bytes, came 2026-01-31T09:00:00.0000000Z (partition 0, offset 7)\n\
             endpoints:\n  box: delivered at T2 after 2 attempts since T1, as c/hub/00.json, last failure: down\n  \
             hook: waiting: it waits for its batch\nwhat the routes say now:\n  r: true\n    true\n"
        );
    }

    #[test]
    fn times_have_a_unit() {
        assert_eq!(duration("90m"), Ok(Duration::from_secs(5400)));
        assert_eq!(duration("7d"), Ok(Duration::from_secs(7 * 24 * 3600)));
        for bad in ["", "7", "d", "1w", "-1h", "é"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }
}
