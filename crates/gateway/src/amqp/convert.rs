//! Messages between AMQP's sections and the platform's properties.

use crate::PROPERTIES_MAX;
use bytes::Bytes;
use bytestring::ByteString;
use ironbrook_hub::LockedMessage;
use ironbrook_model::{ErrorCode, Message, Refusal, SystemProperty as P, Timestamp};
use ironbrook_wire::amqp::{self, Value};

/// System properties that AMQP carries as application properties.
const AS_APPLICATION: [(&str, P); 7] = [
    ("iothub-outputname", P::OutputName),
    ("iothub-creation-time-utc", P::CreationTime),
    ("iothub-message-schema", P::MessageSchema),
    ("Diagnostic-Id", P::DiagnosticId),
    ("Correlation-Context", P::DiagnosticContext),
    ("iothub-ack", P::Ack),
    ("iothub-operation", P::Operation),
];

/// System properties that AMQP carries as message annotations.
const AS_ANNOTATION: [(&str, P); 2] = [("iothub-interface-id", P::InterfaceId), ("dt-subject", P::Subject)];

/// A message of a device. What only the hub may set is dropped by the hub, not here. 400004 for too many properties.
pub(super) fn from_amqp(message: &amqp::Message) -> Result<Message, Refusal> {
    if message.application_properties.len() > PROPERTIES_MAX {
        let text = format!("a message may have {PROPERTIES_MAX} application properties at most");
        return Err(Refusal::new(ErrorCode::ArgumentInvalid, text));
    }
    let mut out = Message::new(message.body_bytes());
    let p = &message.properties;
    let mut set = |property, value: Option<ByteString>| {
        if let Some(value) = value {
            out.system.set(property, value);
        }
    };
    set(P::MessageId, p.message_id.as_ref().and_then(text));
    set(P::CorrelationId, p.correlation_id.as_ref().and_then(text));
    set(P::UserId, p.user_id.clone().and_then(|b| ByteString::try_from(b).ok()));
    set(P::To, p.to.clone());
    set(P::ContentType, p.content_type.clone());
    set(P::ContentEncoding, p.content_encoding.clone());
    set(P::Expiry, p.absolute_expiry_time.map(|t| t.to_string().into()));
    for (name, property) in AS_ANNOTATION {
        set(property, message.annotation(name).and_then(text));
    }
    for (name, value) in &message.application_properties {
        if let Some((_, property)) = AS_APPLICATION.iter().find(|(known, _)| *known == &**name) {
            set(*property, text(value));
        }
    }
    // rule AMQP-09: application properties that are not strings are dropped.
    for (name, value) in &message.application_properties {
        if let Value::String(value) = value
            && !AS_APPLICATION.iter().any(|(known, _)| *known == &**name)
        {
            out.properties.set(name.clone(), value.clone());
        }
    }
    Ok(out)
}

/// The text of an id or property of any simple type.
fn text(value: &Value) -> Option<ByteString> {
    match value {
        Value::String(text) | Value::Symbol(text) => Some(text.clone()),
        Value::Uuid(id) => Some(id.to_string().into()),
        Value::Timestamp(time) => Some(time.to_string().into()),
        Value::Binary(bytes) => ByteString::try_from(bytes.clone()).ok(),
        other => other.as_i64().map(|n| n.to_string().into()),
    }
}

/// A locked message for its device, and the tag it goes under.
///
/// rule AMQP-10: the tag is the lock token, 16 bytes in the order of a .NET GUID; .NET makes a GUID of it and throws at any
/// other length.
pub(super) fn locked(locked: &LockedMessage, input: Option<&ByteString>) -> (Bytes, amqp::Message) {
    let mut message = match input {
        None => to_amqp(&locked.message),
        Some(_) => {
            // By which output it left is its sender's own business; passed on, it would name one of the receiver's.
            let mut message = locked.message.clone();
            message.system.remove(P::OutputName);
            to_amqp(&message)
        }
    };
    message.annotate("x-opt-lock-token", locked.lock.0.to_string());
    message.annotate("x-opt-sequence-number", locked.sequence_number);
    message.annotate("iothub-enqueuedtime", locked.enqueued);
    message.annotate("iothub-deliverycount", locked.delivery_count);
    if let Some(input) = input {
        message.annotate("x-opt-input-name", input.clone());
    }
    (Bytes::copy_from_slice(&locked.lock.0.to_bytes_le()), message)
}

fn to_amqp(message: &Message) -> amqp::Message {
    let mut out = amqp::Message::data(message.body.clone());
    let get = |property| message.system.get(property).cloned();
    let p = &mut out.properties;
    p.message_id = get(P::MessageId).map(Value::String);
    p.correlation_id = get(P::CorrelationId).map(Value::String);
    p.user_id = get(P::UserId).map(ByteString::into_bytes);
    p.to = get(P::To);
    p.content_type = get(P::ContentType);
    p.content_encoding = get(P::ContentEncoding);
    p.absolute_expiry_time = get(P::Expiry).and_then(|t| Timestamp::parse(&t));
    for (name, property) in AS_ANNOTATION {
        if let Some(value) = get(property) {
            out.annotate(name, value);
        }
    }
    if let Some(device) = get(P::ConnectionDeviceId) {
        out.annotate("iothub-connection-device-id", device);
    }
    if let Some(module) = get(P::ConnectionModuleId) {
        out.annotate("iothub-connection-module-id", module);
    }
    for (name, property) in AS_APPLICATION {
        if let Some(value) = get(property) {
            out.set_property(ByteString::from_static(name), value);
        }
    }
    for (name, value) in message.properties.iter() {
        out.set_property(name.clone(), value.clone());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use ironbrook_hub::LockToken;
    use uuid::Uuid;

    /// rule AMQP-09
    #[test]
    fn telemetry_keeps_string_properties_and_known_annotations() {
        let mut message = amqp::Message::data("{}");
        message.properties.message_id = Some(Value::Uuid(Uuid::nil()));
        message.properties.content_type = Some("application/json".into());
        message.properties.user_id = Some(Bytes::from_static(b"me"));
        message.annotate("dt-subject", "sensor");
        message.set_property("alert", "yes");
        message.set_property("count", 5_i32);
        message.set_property("iothub-outputname", "out");
        let got = from_amqp(&message).unwrap();
        let system = |p| got.system.get(p).map(|v| &**v);
        assert_eq!(system(P::MessageId), Some("00000000-0000-0000-0000-000000000000"));
        assert_eq!(system(P::ContentType), Some("application/json"));
        assert_eq!(system(P::UserId), Some("me"));
        assert_eq!(system(P::Subject), Some("sensor"));
        assert_eq!(system(P::OutputName), Some("out"));
        let properties: Vec<_> = got.properties.iter().map(|(n, v)| (&**n, &**v)).collect();
        assert_eq!(properties, [("alert", "yes")]);
    }

    /// rule AMQP-10
    #[test]
    fn a_locked_message_goes_under_its_lock_token_as_a_guid() {
        let lock = LockToken(Uuid::parse_str("00112233-4455-6677-8899-aabbccddeeff").unwrap());
        let mut message = Message::new("x");
        message.system.set(P::Expiry, "2026-01-31T09:00:00.0000000Z");
        message.system.set(P::Ack, "full");
        message.properties.set("a", "b");
        let enqueued = Timestamp::from_millis(7);
        let given = LockedMessage { lock, sequence_number: 3, enqueued, delivery_count: 1, message };
        let (tag, got) = locked(&given, None);
        assert_eq!(
            &tag[..],
            [0x33, 0x22, 0x11, 0x00, 0x55, 0x44, 0x77, 0x66, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff]
        );
        assert_eq!(Uuid::from_bytes_le(tag[..].try_into().unwrap()), lock.0);
        assert_eq!(got.annotation("x-opt-sequence-number"), Some(&Value::Ulong(3)));
        assert_eq!(got.annotation("iothub-deliverycount"), Some(&Value::Ubyte(1)));
        assert_eq!(got.annotation("iothub-enqueuedtime"), Some(&Value::Timestamp(enqueued)));
        assert_eq!(got.application_property("iothub-ack"), Some(&Value::from("full")));
        assert!(got.properties.absolute_expiry_time.is_some());
    }
}
