//! A stored message as an event of the events endpoint.
//!
//! Source: Azure docs "Read device-to-cloud messages from the built-in endpoint", and what azure-eventhub reads.

use bytestring::ByteString;
use ironbrook_hub::seams::Routed;
use ironbrook_model::SystemProperty as P;
use ironbrook_wire::amqp::{Message, Value};

/// System properties that travel as annotations of the same name everywhere.
const ANNOTATIONS: [(P, &str); 9] = [
    (P::ConnectionDeviceId, "iothub-connection-device-id"),
    (P::ConnectionModuleId, "iothub-connection-module-id"),
    (P::ConnectionAuthMethod, "iothub-connection-auth-method"),
    (P::ConnectionGenerationId, "iothub-connection-auth-generation-id"),
    (P::CreationTime, "iothub-creation-time-utc"),
    (P::MessageSchema, "iothub-message-schema"),
    (P::InterfaceId, "iothub-interface-id"),
    (P::DataSchema, "dt-dataschema"),
    (P::Subject, "dt-subject"),
];

/// The event of a message in the events queue.
pub(super) fn event(routed: &Routed) -> Message {
    let system = &routed.message.system;
    let text = |property| system.get(property).cloned();
    let mut event = Message::data(routed.message.body.clone());
    // The types matter: clients read the sequence number as long, the offset as string, times as timestamp.
    let sequence = routed.event_sequence.unwrap_or_default();
    event.annotate("x-opt-sequence-number", i64::try_from(sequence).unwrap_or(i64::MAX));
    event.annotate("x-opt-offset", routed.offset.0.to_string());
    event.annotate("x-opt-enqueued-time", routed.enqueued);
    event.annotate("iothub-enqueuedtime", routed.enqueued);
    event.annotate("iothub-message-source", routed.source.wire_name());
    for (property, name) in ANNOTATIONS {
        if let Some(value) = text(property) {
            event.annotate(name, value);
        }
    }
    event.properties.message_id = text(P::MessageId).map(Value::String);
    event.properties.correlation_id = text(P::CorrelationId).map(Value::String);
    event.properties.user_id = text(P::UserId).map(ByteString::into_bytes);
    event.properties.content_type = text(P::ContentType);
    event.properties.content_encoding = text(P::ContentEncoding);
    for (name, value) in routed.message.properties.iter() {
        event.set_property(name.clone(), value.clone());
    }
    event
}

#[cfg(test)]
mod tests {
    use super::*;
    use ironbrook_log::Offset;
    use ironbrook_model::{MessageSource, Timestamp};

    #[test]
    fn types_are_those_the_clients_read() {
        let mut message = ironbrook_model::Message::new("{}");
        message.system.set(P::ConnectionDeviceId, "d1");
        message.system.set(P::ContentType, "application/json");
        message.properties.set("k", "v");
        let enqueued = Timestamp::from_millis(5);
        let routed = Routed {
            offset: Offset(9),
            event_sequence: Some(3),
            enqueued,
            source: MessageSource::DeviceMessages,
            message,
        };
        let event = event(&routed);
        assert_eq!(event.annotation("x-opt-sequence-number"), Some(&Value::Long(3)));
        assert_eq!(event.annotation("x-opt-offset"), Some(&Value::string("9")));
        assert_eq!(event.annotation("x-opt-enqueued-time"), Some(&Value::Timestamp(enqueued)));
        assert_eq!(event.annotation("iothub-connection-device-id"), Some(&Value::string("d1")));
        assert_eq!(event.annotation("iothub-message-source"), Some(&Value::string("Telemetry")));
        assert_eq!(event.properties.content_type.as_deref(), Some("application/json"));
        assert_eq!(event.application_property("k"), Some(&Value::string("v")));
    }
}
