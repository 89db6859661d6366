//! Message properties in HTTP headers.

use crate::PROPERTIES_MAX;
use http::header::{ETAG, HeaderMap, HeaderName, HeaderValue};
use ironbrook_hub::operation::LockedMessage;
use ironbrook_model::{ErrorCode, Message, Refusal, SystemProperty};

/// What goes before the name of an application property; lower case, as header names arrive.
const APPLICATION: &str = "iothub-app-";
/// Spellings of content type and encoding that the C client reads.
const CONTENT_TYPE_OF_C: HeaderName = HeaderName::from_static("contenttype");
const CONTENT_ENCODING_OF_C: HeaderName = HeaderName::from_static("contentencoding");

/// Sets one property by its header name; other headers are left alone.
pub(super) fn set(message: &mut Message, name: &str, value: &str) -> Result<(), Refusal> {
    if let Some(property) = SystemProperty::from_http_header(name) {
        message.system.set(property, value.to_owned());
    } else if let Some(name) = strip_application(name) {
        if message.properties.len() == PROPERTIES_MAX {
            return Err(Refusal::new(
                ErrorCode::ArgumentInvalid,
                format!("a message may have {PROPERTIES_MAX} application properties at most"),
            ));
        }
        message.properties.set(name.to_owned(), value.to_owned());
    }
    Ok(())
}

fn strip_application(name: &str) -> Option<&str> {
    let (prefix, rest) = name.split_at_checked(APPLICATION.len())?;
    (prefix.eq_ignore_ascii_case(APPLICATION) && !rest.is_empty()).then_some(rest)
}

/// A message's properties from a request's headers.
pub(super) fn read(headers: &HeaderMap, message: &mut Message) -> Result<(), Refusal> {
    for (name, value) in headers {
        let Ok(text) = std::str::from_utf8(value.as_bytes()) else {
            return Err(Refusal::new(ErrorCode::ArgumentInvalid, format!("header {name} is not UTF-8 text")));
        };
        set(message, name.as_str(), text)?;
    }
    Ok(())
}

/// The headers of a cloud-to-device message.
pub(super) fn write(locked: &LockedMessage) -> HeaderMap {
    let mut headers = HeaderMap::new();
    // rule HTTP-02: the lock token travels quoted in ETag; the C client insists on the quotes.
    put(&mut headers, ETAG, &format!("\"{}\"", locked.lock.0));
    put_named(&mut headers, "iothub-sequencenumber", &locked.sequence_number.to_string());
    put_named(&mut headers, "iothub-enqueuedtime", &locked.enqueued.to_string());
    put_named(&mut headers, "iothub-deliverycount", &locked.delivery_count.to_string());
    for (property, value) in locked.message.system.iter() {
        if let Some(name) = property.http_header() {
            put_named(&mut headers, name, value);
        }
        match property {
            SystemProperty::ContentType => put(&mut headers, CONTENT_TYPE_OF_C, value),
            SystemProperty::ContentEncoding => put(&mut headers, CONTENT_ENCODING_OF_C, value),
            _ => {}
        }
    }
    for (name, value) in locked.message.properties.iter() {
        put_named(&mut headers, &format!("{APPLICATION}{name}"), value);
    }
    headers
}

fn put_named(headers: &mut HeaderMap, name: &str, value: &str) {
    match HeaderName::from_bytes(name.as_bytes()) {
        Ok(name) => put(headers, name, value),
        // HTTP has no way to carry it; the message is worth more than one property.
        Err(_) => tracing::debug!(name, "property left out: its name cannot be a header"),
    }
}

fn put(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    match HeaderValue::from_bytes(value.as_bytes()) {
        Ok(value) => {
            headers.insert(name, value);
        }
        Err(_) => tracing::debug!(%name, "property left out: its value cannot be in a header"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ironbrook_hub::LockToken;
    use ironbrook_model::Timestamp;

    #[test]
    fn reads_system_and_application_properties_in_any_case() {
        let mut headers = HeaderMap::new();
        headers.insert("IoTHub-MessageId", HeaderValue::from_static("m1"));
        headers.insert("iothub-app-alert", HeaderValue::from_static("true"));
        headers.insert("user-agent", HeaderValue::from_static("x"));
        let mut message = Message::default();
        read(&headers, &mut message).unwrap();
        assert_eq!(message.system.get(SystemProperty::MessageId).unwrap(), "m1");
        assert_eq!(message.properties.get("alert").unwrap(), "true");
        assert_eq!((message.system.len(), message.properties.len()), (1, 1));
    }

    #[test]
    fn http_02_the_lock_is_a_quoted_etag_and_content_type_has_the_c_spelling() {
        let mut message = Message::new("x");
        message.system.set(SystemProperty::ContentType, "application/json");
        message.properties.set("bad name", "y");
        message.properties.set("good", "line\nfeed");
        let lock = LockToken(uuid::Uuid::from_u128(7));
        let enqueued = Timestamp::from_millis(0);
        let locked = LockedMessage { lock, sequence_number: 3, enqueued, delivery_count: 1, message };
        let headers = write(&locked);
        assert_eq!(headers["etag"], "\"00000000-0000-0000-0000-000000000007\"");
        assert_eq!(headers["contenttype"], "application/json");
        assert_eq!(headers["iothub-enqueuedtime"], "1970-01-01T00:00:00.0000000Z");
        assert!(!headers.contains_key("iothub-app-good"));
    }
}
