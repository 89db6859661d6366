//! Messages as JSON lines. Source: Azure docs "IoT Hub message routing endpoints", storage container.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ironbrook_hub::seams::Routed;
use ironbrook_model::SystemProperty;
use std::borrow::Cow;

/// One object per message, each with a line feed at its end.
pub fn encode(batch: &[Routed]) -> Vec<u8> {
    let mut out = Vec::with_capacity(batch.iter().map(|m| m.message.body.len() * 2 + 512).sum());
    for message in batch {
        push_message(&mut out, message);
    }
    out
}

/// The same objects as one array.
pub fn array(batch: &[Routed]) -> Vec<u8> {
    let mut out = encode(batch);
    // The line feeds are between the objects: one inside would end the line.
    for byte in &mut out {
        if *byte == b'\n' {
            *byte = b',';
        }
    }
    _ = out.pop();
    out.insert(0, b'[');
    out.push(b']');
    out
}

fn push_message(out: &mut Vec<u8>, routed: &Routed) {
    let time = routed.enqueued.to_string();
    out.extend_from_slice(b"{\"EnqueuedTimeUtc\":");
    push_text(out, &time);
    out.extend_from_slice(b",\"Properties\":{");
    let mut members = Members(out, true);
    for (name, value) in routed.message.properties.iter() {
        members.push(name, value);
    }
    out.extend_from_slice(b"},\"SystemProperties\":{");
    let mut members = Members(out, true);
    for (name, value) in system_properties(routed) {
        members.push(name, value);
    }
    members.push("enqueuedTime", &time);
    out.extend_from_slice(b"},\"Body\":");
    push_body(out, routed);
    out.extend_from_slice(b"}\n");
}

/// Names and values of the system properties that stored messages have, but for the enqueued time.
pub fn system_properties(routed: &Routed) -> impl Iterator<Item = (&'static str, &str)> {
    routed.message.system.iter().filter_map(|(property, value)| Some((property.storage_name()?, &**value)))
}

/// Members of an object; the second field is true before the first of them.
struct Members<'o>(&'o mut Vec<u8>, bool);

impl Members<'_> {
    fn push(&mut self, name: &str, value: &str) {
        if !self.1 {
            self.0.push(b',');
        }
        self.1 = false;
        push_text(self.0, name);
        self.0.push(b':');
        push_text(self.0, value);
    }
}

fn push_text(out: &mut Vec<u8>, text: &str) {
    // Writing a text into memory cannot fail.
    let _ = serde_json::to_writer(out, text);
}

/// rule BLOB-07: the body is JSON only if content type and encoding say so, else base64 text. A body that claims to be JSON and is not
/// is written as base64 too: nothing may be lost, and the line must stay readable.
fn push_body(out: &mut Vec<u8>, routed: &Routed) {
    let message = &routed.message;
    let encoding = message.system.get(SystemProperty::ContentEncoding).map_or("", |e| e.trim());
    let json = message.has_json_body().then(|| json_text(&message.body, encoding)).flatten();
    match json {
        // Line feeds in JSON stand only between tokens, where they mean nothing, and here they would end the line.
        Some(text) => out.extend(text.bytes().filter(|b| !matches!(b, b'\n' | b'\r'))),
        None => push_text(out, &STANDARD.encode(&message.body)),
    }
}

/// The body as UTF-8, if it is JSON in the encoding it claims.
fn json_text<'b>(body: &'b [u8], encoding: &str) -> Option<Cow<'b, str>> {
    let text = if encoding.eq_ignore_ascii_case("utf-16") {
        Cow::Owned(decode_utf16(body)?)
    } else if encoding.eq_ignore_ascii_case("utf-32") {
        Cow::Owned(decode_utf32(body)?)
    } else {
        Cow::Borrowed(std::str::from_utf8(body).ok()?)
    };
    let text = match text {
        Cow::Borrowed(text) => Cow::Borrowed(text.strip_prefix('\u{FEFF}').unwrap_or(text)),
        Cow::Owned(text) => Cow::Owned(text.strip_prefix('\u{FEFF}').unwrap_or(&text).to_owned()),
    };
    serde_json::from_str::<&serde_json::value::RawValue>(&text).ok()?;
    Some(text)
}

/// Byte order by mark, or by where the zero of the first character is: JSON begins with ASCII.
fn decode_utf16(body: &[u8]) -> Option<String> {
    let big = body.starts_with(&[0xFE, 0xFF]) || body.first() == Some(&0);
    let (pairs, rest) = body.as_chunks::<2>();
    let units =
        pairs.iter().map(|pair| if big { u16::from_be_bytes(*pair) } else { u16::from_le_bytes(*pair) });
    let text = char::decode_utf16(units).collect::<Result<String, _>>().ok()?;
    rest.is_empty().then_some(text)
}

fn decode_utf32(body: &[u8]) -> Option<String> {
    let big = body.first() == Some(&0);
    let (quads, rest) = body.as_chunks::<4>();
    let units =
        quads.iter().map(|quad| if big { u32::from_be_bytes(*quad) } else { u32::from_le_bytes(*quad) });
    let text = units.map(char::from_u32).collect::<Option<String>>()?;
    rest.is_empty().then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ironbrook_log::Offset;
    use ironbrook_model::{Message, MessageSource, Timestamp};
    use proptest::prelude::*;

    fn routed(body: impl Into<bytes::Bytes>, content: Option<(&'static str, &'static str)>) -> Routed {
        let mut message = Message::new(body);
        if let Some((kind, encoding)) = content {
            message.system.set(SystemProperty::ContentType, kind);
            message.system.set(SystemProperty::ContentEncoding, encoding);
        }
        Routed {
            offset: Offset(7),
            event_sequence: None,
            enqueued: Timestamp::parse("2026-06-11T00:00:08.225Z").unwrap(),
            source: MessageSource::DeviceMessages,
            message,
        }
    }

    fn body_of(message: &Routed) -> serde_json::Value {
        let line = encode(std::slice::from_ref(message));
        assert_eq!(line.iter().filter(|b| **b == b'\n').count(), 1, "one line");
        serde_json::from_slice::<serde_json::Value>(&line).unwrap()["Body"].take()
    }

    #[test]
    fn line_has_the_documented_members() {
        let mut message = routed("{\"t\": 21.50}", Some(("application/json", "utf-8")));
        message.message.properties.set("level", "hi\"gh");
        message.message.system.set(SystemProperty::ConnectionDeviceId, "d1");
        message.message.system.set(SystemProperty::MessageId, "m1");
        assert_eq!(
            String::from_utf8(encode(&[message])).unwrap(),
            "{\"EnqueuedTimeUtc\":\"2026-06-11T00:00:08.2250000Z\",\"Properties\":{\"level\":\"hi\\\"gh\"},\
             \"SystemProperties\":{\"contentType\":\"application/json\",\"contentEncoding\":\"utf-8\",\
             \"connectionDeviceId\":\"d1\",\"messageId\":\"m1\",\"enqueuedTime\":\"2026-06-11T00:00:08.2250000Z\"},\
             \"Body\":{\"t\": 21.50}}\n"
        );
    }

    #[test]
    fn body_is_json_only_where_it_says_so_blob_07() {
        let json = Some(("application/json", "utf-8"));
        assert_eq!(body_of(&routed("{\"a\":1}", json)), serde_json::json!({"a": 1}));
        assert_eq!(body_of(&routed("{\"a\":1}", None)), "eyJhIjoxfQ==");
        assert_eq!(body_of(&routed("{\"a\":1}", Some(("application/json", "gzip")))), "eyJhIjoxfQ==");
        assert_eq!(body_of(&routed("{\"a\":", json)), "eyJhIjo=");
        assert_eq!(body_of(&routed("", json)), "");
        assert_eq!(body_of(&routed("{\n \"a\":\r\n 1 }", json)), serde_json::json!({"a": 1}));
    }

    #[test]
    fn an_array_has_the_same_objects() {
        let messages = [routed("{\n \"a\": 1}", Some(("application/json", "utf-8"))), routed("x", None)];
        let array: Vec<serde_json::Value> = serde_json::from_slice(&array(&messages)).unwrap();
        let lines = encode(&messages);
        let lines: Vec<serde_json::Value> =
            serde_json::Deserializer::from_slice(&lines).into_iter().collect::<Result<_, _>>().unwrap();
        assert_eq!(array, lines);
        assert_eq!(super::array(&[]), b"[]");
    }

    #[test]
    fn wide_encodings_become_utf_8() {
        let text = "{\"Ω\":\"😀\"}";
        let wanted = serde_json::json!({"Ω": "😀"});
        let utf16: Vec<u16> = text.encode_utf16().collect();
        let le: Vec<u8> = utf16.iter().flat_map(|u| u.to_le_bytes()).collect();
        let be: Vec<u8> = [0xFEFF].iter().chain(&utf16).flat_map(|u: &u16| u.to_be_bytes()).collect();
        let wide: Vec<u8> = text.chars().flat_map(|c| (c as u32).to_le_bytes()).collect();
        assert_eq!(body_of(&routed(le, Some(("application/json", "utf-16")))), wanted);
        assert_eq!(body_of(&routed(be, Some(("application/json", "UTF-16")))), wanted);
        assert_eq!(body_of(&routed(wide, Some(("application/json", "utf-32")))), wanted);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn any_body_makes_one_readable_line(
            body in proptest::collection::vec(any::<u8>(), 0..64),
            encoding in prop::sample::select(vec!["utf-8", "utf-16", "utf-32"]),
        ) {
            body_of(&routed(body, Some(("application/json", encoding))));
        }
    }
}
