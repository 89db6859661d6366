//! Reads what an `$edgeAgent` reports. Nothing in it is trusted: an agent can report any JSON of any shape.

use crate::reading::shortened;
use ironbrook_model::Timestamp;
use serde::Serialize;
use serde_json::Value;
use std::time::Duration;

/// Modules of a device that are shown; a deployment has at most 50 and the two of the system.
const MODULES_MAX: usize = 100;
/// Longest text that is shown, in characters.
const TEXT_LEN_MAX: usize = 500;

/// What an agent reported.
#[derive(Debug, Default, PartialEq, Serialize)]
pub struct Agent {
    /// How the last deployment went; `None` where no agent has reported yet.
    deployment: Option<Deployment>,
    /// When something was last reported, ISO 8601.
    reported_at: Option<String>,
    /// All modules, those of the system among them, sorted by name.
    modules: Vec<Module>,
}

/// `lastDesiredStatus`.
#[derive(Debug, PartialEq, Serialize)]
struct Deployment {
    code: i64,
    description: String,
}

/// A row of the list, with the columns of `ironbrook edge list`.
#[derive(Debug, PartialEq, Serialize)]
struct Module {
    name: String,
    status: String,
    description: String,
    config: String,
    restarts: i64,
    exit_code: i64,
    started_at: Option<String>,
}

impl Agent {
    /// Reads reported properties.
    pub fn read(reported: Option<&Value>, is_connected: bool, now: Timestamp) -> Self {
        let Some(reported) = reported else { return Self::default() };
        let deployment = reported.get("lastDesiredStatus").map(|status| Deployment {
            code: number(status, "code"),
            description: text(status, "description"),
        });
        let lists =
            ["systemModules", "modules"].into_iter().filter_map(|list| reported.get(list)?.as_object());
        let modules = lists.flatten().take(MODULES_MAX);
        let mut modules: Vec<Module> =
            modules.map(|(name, module)| Module::read(name, module, is_connected, now)).collect();
        modules.sort_by(|a, b| a.name.cmp(&b.name));
        let updated = reported.get("$metadata").and_then(|metadata| time(metadata, "$lastUpdated"));
        // The year 1 stands in the metadata of a section that nobody ever wrote.
        Self { deployment, reported_at: updated.map(|time| time.to_string()), modules }
    }
}

impl Module {
    fn read(name: &str, module: &Value, is_connected: bool, now: Timestamp) -> Self {
        Self {
            name: shortened(name, TEXT_LEN_MAX),
            status: text(module, "runtimeStatus"),
            description: description(module, is_connected, now),
            config: module.get("settings").map(|settings| text(settings, "image")).unwrap_or_default(),
            restarts: number(module, "restartCount"),
            exit_code: number(module, "exitCode"),
            started_at: time(module, "lastStartTimeUtc").map(|time| time.to_string()),
        }
    }
}

/// Whether a twin's identity is connected.
pub fn is_connected(row: &Value) -> bool {
    row.get("connectionState").and_then(Value::as_str) == Some("Connected")
}

/// `Up 2 minutes`, `Stopped 3 seconds ago`, `Failed (1) 5 minutes ago`, and what the agent has to say beyond the status' name.
fn description(module: &Value, is_connected: bool, now: Timestamp) -> String {
    let (status, code) = (text(module, "runtimeStatus"), number(module, "exitCode"));
    let ended = |word: &str| match time(module, "lastExitTimeUtc") {
        Some(exited) => format!("{word} {} ago", length(now.since(exited))),
        None => word.to_owned(),
    };
    // A module that could not be started has no code to show.
    let failed = || if code == 0 { ended("Failed") } else { ended(&format!("Failed ({code})")) };
    let started = time(module, "lastStartTimeUtc").map(|started| length(now.since(started)));
    let said = match (status.as_str(), started) {
        ("running", Some(started)) if is_connected => format!("Up {started}"),
        // Nobody is there to say that it still runs.
        ("running", Some(started)) => format!("Started {started} ago"),
        ("running", None) => "Up".to_owned(),
        ("stopped", _) => ended("Stopped"),
        ("failed", _) => failed(),
        ("backoff", _) if code == 0 => format!("{}, starts again", ended("Stopped")),
        ("backoff", _) => format!("{}, starts again", failed()),
        ("unhealthy", _) => "Unhealthy".to_owned(),
        ("dead", _) => ended("Dead"),
        _ => "Unknown".to_owned(),
    };
    match text(module, "statusDescription") {
        more if more.is_empty() || more.eq_ignore_ascii_case(&status) => said,
        more => format!("{said}: {more}"),
    }
}

/// A length of time in one unit: `2 minutes`.
fn length(time: Duration) -> String {
    let seconds = time.as_secs();
    let (count, unit) = match seconds {
        0..60 => (seconds, "second"),
        60..3600 => (seconds / 60, "minute"),
        3600..86_400 => (seconds / 3600, "hour"),
        86_400..604_800 => (seconds / 86_400, "day"),
        _ => (seconds / 604_800, "week"),
    };
    format!("{count} {unit}{}", if count == 1 { "" } else { "s" })
}

/// Empty where there is no text of this name.
fn text(of: &Value, name: &str) -> String {
    of.get(name).and_then(Value::as_str).map(|text| shortened(text, TEXT_LEN_MAX)).unwrap_or_default()
}

/// 0 where there is no whole number of this name.
fn number(of: &Value, name: &str) -> i64 {
    of.get(name).and_then(Value::as_i64).unwrap_or_default()
}

/// Agents write the year 1 for what never happened.
fn time(of: &Value, name: &str) -> Option<Timestamp> {
    Timestamp::parse(of.get(name)?.as_str()?).filter(|time| time.as_millis() > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    /// Ten minutes after what happens in these tests.
    fn now() -> Timestamp {
        Timestamp::parse("2026-01-31T09:10:00Z").unwrap()
    }

    fn described(module: &Value) -> String {
        description(module, true, now())
    }

    #[test]
    fn descriptions_are_those_of_the_list() {
        let (started, never) = ("2026-01-31T09:08:00.1230000Z", "0001-01-01T00:00:00");
        let module = |status: &str, code: i64, exited: &str| {
            json!({
                "runtimeStatus": status, "statusDescription": status, "exitCode": code,
                "lastStartTimeUtc": started, "lastExitTimeUtc": exited,
            })
        };
        let exited = "2026-01-31T09:05:00Z";
        for (status, code, exited, expected) in [
            ("running", 0, never, "Up 1 minute"),
            ("stopped", 0, exited, "Stopped 5 minutes ago"),
            ("stopped", 0, never, "Stopped"),
            ("failed", 1, exited, "Failed (1) 5 minutes ago"),
            ("failed", 137, never, "Failed (137)"),
            ("backoff", 0, exited, "Stopped 5 minutes ago, starts again"),
            ("backoff", 1, exited, "Failed (1) 5 minutes ago, starts again"),
            ("unhealthy", 0, never, "Unhealthy"),
            ("dead", 0, exited, "Dead 5 minutes ago"),
            ("unknown", 0, never, "Unknown"),
            ("", 0, never, "Unknown"),
        ] {
            assert_eq!(described(&module(status, code, exited)), expected, "{status} {code}");
        }
    }

    #[test]
    fn what_the_agent_says_beyond_the_status_is_shown() {
        let module = json!({"runtimeStatus": "failed", "exitCode": 0, "statusDescription": "no such image"});
        assert_eq!(described(&module), "Failed: no such image");
    }

    #[test]
    fn nobody_claims_that_a_module_runs_while_its_agent_is_away() {
        let module = json!({"runtimeStatus": "running", "lastStartTimeUtc": "2026-01-31T09:00:00Z"});
        assert_eq!(description(&module, false, now()), "Started 10 minutes ago");
        assert_eq!(description(&module, true, now()), "Up 10 minutes");
    }

    #[test]
    fn modules_of_the_system_and_others_come_in_one_list() {
        let module = |image: &str| json!({"runtimeStatus": "running", "settings": {"image": image}, "restartCount": 2});
        let reported = json!({
            "lastDesiredStatus": {"code": 400, "description": "bad"},
            "systemModules": {"edgeHub": module("hub:1.5"), "edgeAgent": module("agent:1.5")},
            "modules": {"SimulatedTemperatureSensor": module("sensor:1.5")},
            "$metadata": {"$lastUpdated": "2026-01-31T09:00:00Z"},
        });
        let agent = Agent::read(Some(&reported), true, now());
        let rows: Vec<_> = agent.modules.iter().map(|m| (&*m.name, &*m.config, m.restarts)).collect();
        let expected = [
            ("SimulatedTemperatureSensor", "sensor:1.5", 2),
            ("edgeAgent", "agent:1.5", 2),
            ("edgeHub", "hub:1.5", 2),
        ];
        assert_eq!(rows, expected);
        assert_eq!(agent.deployment, Some(Deployment { code: 400, description: "bad".into() }));
        assert_eq!(agent.reported_at.as_deref(), Some("2026-01-31T09:00:00.0000000Z"));
    }

    #[test]
    fn an_agent_that_never_reported_shows_nothing() {
        let empty = json!({"$metadata": {"$lastUpdated": "0001-01-01T00:00:00Z"}, "$version": 1});
        assert_eq!(Agent::read(Some(&empty), true, now()), Agent::default());
        assert_eq!(Agent::read(None, true, now()), Agent::default());
    }

    #[test]
    fn what_is_shown_is_bounded() {
        let module = json!({"settings": {"image": "x".repeat(5000)}});
        let modules: serde_json::Map<_, _> =
            (0..3 * MODULES_MAX).map(|n| (format!("m{n}"), module.clone())).collect();
        let agent = Agent::read(Some(&json!({"modules": modules})), true, now());
        assert_eq!(agent.modules.len(), MODULES_MAX);
        assert!(agent.modules.iter().all(|m| m.config.chars().count() == TEXT_LEN_MAX + 1));
    }

    fn any_value() -> impl Strategy<Value = Value> {
        prop_oneof![
            Just(json!(null)),
            Just(json!([1])),
            Just(json!({"a": {"b": 1}})),
            any::<i64>().prop_map(|number| json!(number)),
            ".{0,20}".prop_map(|text| json!(text)),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn any_value_in_the_place_of_any_member_is_read(
            member in prop::sample::select(vec![
                "runtimeStatus", "settings", "exitCode", "restartCount", "lastStartTimeUtc", "lastExitTimeUtc", "statusDescription",
            ]),
            list in prop::sample::select(vec!["systemModules", "lastDesiredStatus", "$metadata"]),
            value in any_value(),
        ) {
            let mut module = json!({"runtimeStatus": "running", "settings": {"image": "i"}, "exitCode": 1});
            module[member] = value.clone();
            let mut reported = json!({"modules": {"m": module}});
            reported[list] = value;
            let agent = Agent::read(Some(&reported), true, now());
            prop_assert!(agent.modules.iter().any(|module| module.name == "m"));
        }
    }
}
