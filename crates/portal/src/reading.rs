//! What the chart shows of a message: a temperature, or an alert.

use serde::Serialize;
use serde_json::Value;

/// Longest command of an alert that is kept, in characters.
const COMMAND_LEN_MAX: usize = 60;
/// Longest body of an alert that is kept, in characters.
const BODY_LEN_MAX: usize = 200;

/// Who sent a message.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct Source {
    /// The device.
    pub device: String,
    /// The module of it, where a module sent it.
    pub module: Option<String>,
}

/// What is in a message.
#[derive(Debug, Clone, PartialEq)]
pub enum Reading {
    /// Degrees Celsius.
    Temperature(f64),
    /// A module tells others what to do.
    Alert(Alert),
}

/// A command that a module sent, such as the `[{"command":"reset"}]` of a stream query.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Alert {
    /// The first command, shortened.
    pub command: String,
    /// The whole message, shortened.
    pub body: String,
}

impl Reading {
    /// Reads `temperature`, or `machine.temperature` as the simulated machine sends it, or from a module `command`, alone or in
    /// the rows of an array; `None` where there is nothing of that.
    pub fn of(source: &Source, body: &[u8]) -> Option<Self> {
        let value: Value = serde_json::from_slice(body).ok()?;
        let temperature = value
            .get("temperature")
            .or_else(|| value.get("machine")?.get("temperature"))
            .and_then(Value::as_f64);
        if let Some(degrees) = temperature {
            return Some(Self::Temperature(degrees));
        }
        source.module.as_ref()?;
        let first = if let Value::Array(rows) = &value { rows.first()? } else { &value };
        let command = shortened(first.get("command")?.as_str()?, COMMAND_LEN_MAX);
        let body = shortened(&String::from_utf8_lossy(body), BODY_LEN_MAX);
        Some(Self::Alert(Alert { command, body }))
    }
}

/// At most so many characters, none of them control characters.
pub fn shortened(text: &str, len_max: usize) -> String {
    let mut shown = text.chars().filter(|c| !c.is_control());
    let mut out: String = shown.by_ref().take(len_max).collect();
    if shown.next().is_some() {
        out.push('…');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(module: Option<&str>) -> Source {
        Source { device: "d".into(), module: module.map(str::to_owned) }
    }

    #[test]
    fn reads_both_shapes_of_temperature_and_nothing_else() {
        let read = |body: &str| Reading::of(&source(None), body.as_bytes());
        assert_eq!(read(r#"{"temperature": 21.5}"#), Some(Reading::Temperature(21.5)));
        assert_eq!(read(r#"{"machine":{"temperature": 70}}"#), Some(Reading::Temperature(70.0)));
        for other in [r#"{"fault":"open"}"#, "not json", r#"{"temperature":"hot"}"#, "[]", "7", ""] {
            assert_eq!(read(other), None, "{other}");
        }
    }

    #[test]
    fn commands_of_modules_are_alerts() {
        let read = |module: Option<&str>, body: &str| match Reading::of(&source(module), body.as_bytes()) {
            Some(Reading::Alert(alert)) => Some(alert.command),
            _ => None,
        };
        assert_eq!(read(Some("job"), r#"[{"command":"reset"}]"#), Some("reset".to_owned()));
        assert_eq!(read(Some("job"), r#"{"command":"reset","n":1}"#), Some("reset".to_owned()));
        assert_eq!(read(None, r#"[{"command":"reset"}]"#), None);
        assert_eq!(read(Some("job"), r#"[{"command":1}]"#), None);
        assert_eq!(read(Some("job"), "[]"), None);
    }

    #[test]
    fn alerts_of_any_size_stay_small() {
        let body = format!(r#"[{{"command":"{}"}}]"#, "x".repeat(10_000));
        let Some(Reading::Alert(alert)) = Reading::of(&source(Some("m")), body.as_bytes()) else {
            panic!("no alert")
        };
        assert_eq!(alert.command.chars().count(), COMMAND_LEN_MAX + 1);
        assert_eq!(alert.body.chars().count(), BODY_LEN_MAX + 1);
    }
}
