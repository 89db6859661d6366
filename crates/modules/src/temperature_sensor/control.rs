//! What others may ask of the sensor: commands on its input `control`, and desired properties.

use serde_json::{Map, Value};
use std::time::Duration;

/// A command on the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Back to the lowest temperature.
    Reset,
    /// Nothing.
    NoOperation,
}

/// Reads the body of a control message: an array of `{"command": …}`, or one such object.
///
/// As in the stock module a command is a text in any case or a number, and an object without one resets. `null` and an empty array
/// command nothing.
pub fn commands(body: &[u8]) -> Result<Vec<Command>, String> {
    match serde_json::from_slice(body).map_err(|error| format!("not JSON: {error}"))? {
        Value::Null => Ok(Vec::new()),
        Value::Array(items) => items.iter().filter(|item| !item.is_null()).map(command).collect(),
        single => Ok(vec![command(&single)?]),
    }
}

fn command(item: &Value) -> Result<Command, String> {
    let Value::Object(members) = item else {
        return Err("a command is an object like {\"command\": \"reset\"}".to_owned());
    };
    let given = members.iter().find(|(name, _)| name.eq_ignore_ascii_case("command"));
    match given.map(|(_, value)| value) {
        None => Ok(Command::Reset),
        Some(Value::String(text)) if text.eq_ignore_ascii_case("reset") || text == "0" => Ok(Command::Reset),
        Some(Value::String(text)) if text.eq_ignore_ascii_case("noOperation") || text == "1" => {
            Ok(Command::NoOperation)
        }
        Some(Value::Number(number)) if number.as_i64() == Some(0) => Ok(Command::Reset),
        Some(Value::Number(number)) if number.is_i64() || number.is_u64() => Ok(Command::NoOperation),
        Some(_) => Err("the commands are \"reset\" and \"noOperation\"".to_owned()),
    }
}

/// What desired properties ask for; `None` where they say nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Wish {
    /// `SendData`: whether messages are sent.
    pub send: Option<bool>,
    /// `SendInterval`: time between readings, whole seconds.
    pub delay: Option<Duration>,
}

impl Wish {
    /// Reads the two properties; a value of the wrong kind is told and the property is as if it were absent.
    pub fn read(desired: &Map<String, Value>) -> (Self, Vec<String>) {
        let mut wish = Self::default();
        let mut faults = Vec::new();
        match desired.get("SendData") {
            None | Some(Value::Null) => {}
            Some(Value::Bool(send)) => wish.send = Some(*send),
            Some(other) => faults.push(format!("SendData is true or false, not {other}")),
        }
        let longest = super::settings::DELAY_MAX.as_secs();
        match desired.get("SendInterval") {
            None | Some(Value::Null) => {}
            Some(value) => match value.as_u64().filter(|seconds| (1..=longest).contains(seconds)) {
                Some(seconds) => wish.delay = Some(Duration::from_secs(seconds)),
                None => {
                    faults.push(format!("SendInterval is a whole number of seconds from 1, not {value}"));
                }
            },
        }
        (wish, faults)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_form_of_a_control_body() {
        use Command::{NoOperation, Reset};
        for (body, wanted) in [
            (r#"[{"command":"reset"}]"#, vec![Reset]),
            (r#"{"command":"Reset"}"#, vec![Reset]),
            (r#"{"Command":"RESET","more":1}"#, vec![Reset]),
            (r#"{"command":0}"#, vec![Reset]),
            ("{}", vec![Reset]),
            ("[{}]", vec![Reset]),
            (r#"[{"command":"noOperation"},{"command":"reset"}]"#, vec![NoOperation, Reset]),
            (r#"{"command":1}"#, vec![NoOperation]),
            (r#"{"command":7}"#, vec![NoOperation]),
            ("[]", vec![]),
            ("[null]", vec![]),
            ("null", vec![]),
        ] {
            assert_eq!(commands(body.as_bytes()), Ok(wanted), "{body}");
        }
        for body in [
            "x",
            "",
            "\"reset\"",
            "[1]",
            "5",
            r#"{"command":"explode"}"#,
            r#"{"command":null}"#,
            r#"[{"command":"no"}]"#,
        ] {
            assert!(commands(body.as_bytes()).is_err(), "{body}");
        }
    }

    #[test]
    fn desired_properties_are_read_each_for_itself() {
        let read = |value: Value| Wish::read(value.as_object().unwrap());
        let (wish, faults) = read(json!({ "SendData": false, "SendInterval": 7, "other": 1 }));
        assert_eq!(
            (wish, faults.len()),
            (Wish { send: Some(false), delay: Some(Duration::from_secs(7)) }, 0)
        );
        assert_eq!(read(json!({ "SendData": null })), (Wish::default(), vec![]));
        for bad in [json!("5"), json!(0), json!(-1), json!(1.5), json!(u64::MAX)] {
            let (wish, faults) = read(json!({ "SendData": true, "SendInterval": bad }));
            assert_eq!((wish.send, wish.delay, faults.len()), (Some(true), None, 1), "{bad}");
        }
    }
}
