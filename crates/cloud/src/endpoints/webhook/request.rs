//! Requests of a web hook: bodies, headers, signature.

use crate::storage::endpoint::json;
use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue};
use ironbrook_hub::seams::Routed;
use ironbrook_log::PartitionId;
use ironbrook_model::{SharedAccessKey, SystemProperty as P, Timestamp, percent_encode};

/// System properties of a message that go along, and their names.
pub(in crate::endpoints) const SYSTEM: [(P, &str); 10] = [
    (P::MessageId, "iothub-message-id"),
    (P::CorrelationId, "iothub-correlation-id"),
    (P::UserId, "iothub-user-id"),
    (P::ConnectionDeviceId, "iothub-connection-device-id"),
    (P::ConnectionModuleId, "iothub-connection-module-id"),
    (P::ConnectionGenerationId, "iothub-connection-auth-generation-id"),
    (P::CreationTime, "iothub-creation-time-utc"),
    (P::MessageSchema, "iothub-message-schema"),
    (P::DataSchema, "dt-dataschema"),
    (P::Subject, "dt-subject"),
];
/// What stands before the name of an application property.
const APPLICATION: &str = "iothub-app-";

/// A JSON array of messages.
pub(super) fn batch(messages: &[Routed]) -> (HeaderMap, Bytes) {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"));
    (headers, json::array(messages).into())
}

/// The body of one message, and what else it has as headers.
pub(super) fn single(routed: &Routed) -> (HeaderMap, Bytes) {
    let mut headers = HeaderMap::new();
    let system = |property| routed.message.system.get(property);
    let kind = system(P::ContentType).and_then(|kind| HeaderValue::from_str(kind).ok());
    headers.insert(CONTENT_TYPE, kind.unwrap_or(HeaderValue::from_static("application/octet-stream")));
    // A charset is no content encoding of HTTP; what is one, as gzip, is passed on.
    let encoding = system(P::ContentEncoding).filter(|e| !e.to_ascii_lowercase().starts_with("utf-"));
    if let Some(encoding) = encoding.and_then(|encoding| HeaderValue::from_str(encoding).ok()) {
        headers.insert(CONTENT_ENCODING, encoding);
    }
    for (property, name) in SYSTEM {
        if let Some(value) = system(property) {
            put(&mut headers, name, value);
        }
    }
    put(&mut headers, "iothub-enqueuedtime", &routed.enqueued.to_string());
    put(&mut headers, "iothub-message-source", routed.source.wire_name());
    for (name, value) in routed.message.properties.iter() {
        put(&mut headers, &format!("{APPLICATION}{name}"), value);
    }
    (headers, routed.message.body.clone())
}

/// What the request is: the same whenever the batch comes again, so that a receiver can tell.
pub(super) fn describe(
    headers: &mut HeaderMap,
    hub: &str,
    endpoint: &str,
    partition: PartitionId,
    messages: &[Routed],
) {
    let (Some(first), Some(last)) = (messages.first(), messages.last()) else { return };
    let (first, last) = (first.offset.0, last.offset.0);
    put(headers, "ironbrook-hub", hub);
    put(headers, "ironbrook-endpoint", endpoint);
    put(headers, "ironbrook-partition", &partition.0.to_string());
    put(headers, "ironbrook-first-offset", &first.to_string());
    put(headers, "ironbrook-last-offset", &last.to_string());
    put(headers, "ironbrook-messages", &messages.len().to_string());
    put(headers, "ironbrook-delivery-id", &format!("{hub}/{endpoint}/{}/{first}-{last}", partition.0));
}

/// `t={unix seconds},v1={hex}`: HMAC-SHA256 of the seconds, a dot and the body.
pub(super) fn sign(headers: &mut HeaderMap, key: &SharedAccessKey, now: Timestamp, body: &[u8]) {
    let seconds = now.as_millis().div_euclid(1000);
    let mut signed = format!("{seconds}.").into_bytes();
    signed.extend_from_slice(body);
    let signature: String = key.hmac_sha256(&signed).iter().map(|byte| format!("{byte:02x}")).collect();
    put(headers, "ironbrook-signature", &format!("t={seconds},v1={signature}"));
}

/// A header. What is no name of one is left out; a value that cannot stand in one, or that could be taken for an
/// encoded one, is percent-encoded.
fn put(headers: &mut HeaderMap, name: &str, value: &str) {
    let Ok(name) = HeaderName::from_bytes(name.as_bytes()) else { return };
    let is_plain = !value.is_empty() && value.bytes().all(|b| (0x20..0x7f).contains(&b) && b != b'%');
    let value = if is_plain { value.into() } else { percent_encode(value) };
    if let Ok(value) = HeaderValue::from_str(&value) {
        headers.insert(name, value);
    }
}
