//! Several messages in one POST: a JSON array of `{"body","base64Encoded","properties"}`.

use super::properties;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ironbrook_model::{ErrorCode, Message, Refusal};
use serde_json::{Map, Value};

/// The content type of a batch.
pub(super) const CONTENT_TYPE: &str = "application/vnd.microsoft.iothub.json";
/// Messages in a batch; a bound of ours, above what fits in 256 KB of them in practice.
const MESSAGES_MAX: usize = 4096;

/// Reads the messages of a batch, all or none.
pub(super) fn read(body: &[u8]) -> Result<Vec<Message>, Refusal> {
    let items: Vec<Map<String, Value>> = serde_json::from_slice(body)
        .map_err(|error| invalid(format!("a batch is a JSON array of objects: {error}")))?;
    if items.len() > MESSAGES_MAX {
        return Err(invalid(format!("a batch may hold {MESSAGES_MAX} messages at most")));
    }
    items.iter().enumerate().map(|(index, item)| message(index, item)).collect()
}

fn message(index: usize, item: &Map<String, Value>) -> Result<Message, Refusal> {
    let body = match item.get("body") {
        Some(Value::String(text)) => text,
        _ => return Err(invalid(format!("message {index} has no string 'body'"))),
    };
    // rule HTTP-03: bodies are base64 unless the message says `"base64Encoded": false`.
    let plain = item.get("base64Encoded") == Some(&Value::Bool(false));
    let bytes = if plain {
        body.clone().into_bytes()
    } else {
        STANDARD.decode(body).map_err(|_| invalid(format!("the body of message {index} is not base64")))?
    };
    let mut message = Message::new(bytes);
    match item.get("properties") {
        None | Some(Value::Null) => {}
        Some(Value::Object(members)) => {
            for (name, value) in members {
                match value {
                    Value::String(text) => properties::set(&mut message, name, text)?,
                    other => properties::set(&mut message, name, &other.to_string())?,
                }
            }
        }
        Some(_) => return Err(invalid(format!("'properties' of message {index} is not an object"))),
    }
    Ok(message)
}

fn invalid(text: String) -> Refusal {
    Refusal::new(ErrorCode::ArgumentInvalid, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn http_03_bodies_are_base64_unless_said_otherwise() {
        let batch = br#"[{"body":"MjEuNQ==","properties":{"iothub-app-a":"1"}},
                         {"body":"text","base64Encoded":false}]"#;
        let messages = read(batch).unwrap();
        assert_eq!(messages[0].body, "21.5");
        assert_eq!(messages[0].properties.get("a").unwrap(), "1");
        assert_eq!(messages[1].body, "text");
    }

    #[test]
    fn a_bad_batch_is_refused_whole() {
        for bad in ["", "{}", "[1]", "[{}]", r#"[{"body":"?"}]"#, r#"[{"body":"","properties":3}]"#] {
            assert_eq!(read(bad.as_bytes()).unwrap_err().code, ErrorCode::ArgumentInvalid, "{bad}");
        }
    }
}
