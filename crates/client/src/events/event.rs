//! One event as the endpoint gives it.

use crate::error::{Error, Result};
use bytestring::ByteString;
use ironbrook_model::{Message, SystemProperty as P, Timestamp};
use ironbrook_wire::amqp::{self, Value};

/// An event of a partition.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// The partition.
    pub partition: String,
    /// Counts the partition's events from 0, without gaps.
    pub sequence_number: i64,
    /// Opaque position in the partition.
    pub offset: String,
    /// When the hub took it in.
    pub enqueued_time: Timestamp,
    /// Where it came from: `Telemetry`, `twinChangeEvents`, …
    pub source: Option<String>,
    /// System properties (with those the hub stamped), application properties, body.
    pub message: Message,
}

impl Event {
    /// The device it came from, if the hub stamped one.
    pub fn device(&self) -> Option<&str> {
        self.message.system.get(P::ConnectionDeviceId).map(|id| &**id)
    }

    /// The module it came from.
    pub fn module(&self) -> Option<&str> {
        self.message.system.get(P::ConnectionModuleId).map(|id| &**id)
    }

    /// Reads a delivery of a partition's link.
    pub(super) fn from_amqp(partition: &str, wire: &amqp::Message) -> Result<Self> {
        let lacking = |what| Error::Protocol(format!("an event without {what}"));
        let annotation = |name| wire.annotation(name);
        Ok(Self {
            partition: partition.to_owned(),
            sequence_number: annotation("x-opt-sequence-number")
                .and_then(Value::as_i64)
                .ok_or_else(|| lacking("x-opt-sequence-number"))?,
            offset: annotation("x-opt-offset").and_then(text).unwrap_or_default().to_string(),
            enqueued_time: annotation("x-opt-enqueued-time")
                .and_then(Value::as_timestamp)
                .ok_or_else(|| lacking("x-opt-enqueued-time"))?,
            source: annotation("iothub-message-source").and_then(text).map(|t| t.to_string()),
            message: message(wire),
        })
    }
}

fn message(wire: &amqp::Message) -> Message {
    let mut message = Message::new(wire.body_bytes());
    let properties = &wire.properties;
    let mut set = |property, value: Option<ByteString>| {
        if let Some(value) = value {
            message.system.set(property, value);
        }
    };
    set(P::MessageId, properties.message_id.as_ref().and_then(text));
    set(P::CorrelationId, properties.correlation_id.as_ref().and_then(text));
    set(P::UserId, properties.user_id.as_ref().map(|id| String::from_utf8_lossy(id).into_owned().into()));
    set(P::To, properties.to.clone());
    set(P::ContentType, properties.content_type.clone());
    set(P::ContentEncoding, properties.content_encoding.clone());
    set(P::Expiry, properties.absolute_expiry_time.map(|t| t.to_string().into()));
    set(P::CreationTime, properties.creation_time.map(|t| t.to_string().into()));
    for (name, property) in [
        ("iothub-connection-device-id", P::ConnectionDeviceId),
        ("iothub-connection-module-id", P::ConnectionModuleId),
        ("iothub-connection-auth-method", P::ConnectionAuthMethod),
        ("iothub-connection-auth-generation-id", P::ConnectionGenerationId),
        ("iothub-interface-id", P::InterfaceId),
        ("dt-dataschema", P::DataSchema),
        ("dt-subject", P::Subject),
    ] {
        set(property, wire.annotation(name).and_then(text));
    }
    for (name, value) in &wire.application_properties {
        if let Some(value) = text(value) {
            message.properties.set(name.clone(), value);
        }
    }
    message
}

/// Text of the simple types that stand in ids and properties.
fn text(value: &Value) -> Option<ByteString> {
    match value {
        Value::Timestamp(time) => Some(time.to_string().into()),
        Value::Bool(flag) => Some(flag.to_string().into()),
        Value::Binary(bytes) => Some(String::from_utf8_lossy(bytes).into_owned().into()),
        Value::Double(number) => Some(number.to_string().into()),
        Value::Float(number) => Some(number.to_string().into()),
        Value::Uuid(id) => Some(id.to_string().into()),
        other => other
            .to_text()
            .or_else(|| other.as_i64().map(|n| n.to_string().into()))
            .or_else(|| other.as_u64().map(|n| n.to_string().into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn annotations_and_properties_become_a_message() {
        let mut wire = amqp::Message::data("{}");
        wire.annotate("x-opt-sequence-number", 7_i64);
        wire.annotate("x-opt-offset", "1024");
        wire.annotate("x-opt-enqueued-time", Value::Timestamp(Timestamp::from_millis(5)));
        wire.annotate("iothub-connection-device-id", "d1");
        wire.annotate("iothub-message-source", "Telemetry");
        wire.properties.content_type = Some("application/json".into());
        wire.properties.message_id = Some(Value::from(9_u64));
        wire.set_property("fault", "open");
        let event = Event::from_amqp("3", &wire).unwrap();
        assert_eq!((event.sequence_number, &*event.offset, event.enqueued_time.as_millis()), (7, "1024", 5));
        assert_eq!(
            (event.device(), event.module(), event.source.as_deref()),
            (Some("d1"), None, Some("Telemetry"))
        );
        assert_eq!(event.message.system.get(P::MessageId).map(|v| &**v), Some("9"));
        assert_eq!(event.message.properties.get("fault").map(|v| &**v), Some("open"));
    }

    #[test]
    fn an_event_without_number_is_an_error() {
        assert!(matches!(Event::from_amqp("0", &amqp::Message::data("x")), Err(Error::Protocol(_))));
    }
}
