//! Between the messages of the broker, of clients of other brokers, and of the hub.

use bytes::Bytes;
use bytestring::ByteString;
use ironbrook_client::topics::{
    Message as ClientMessage, Properties as ClientProperties, QoS as ClientQoS, UserProperties,
};
use ironbrook_model::{Message as HubMessage, SystemProperty};
use ironbrook_pubsub::{OutgoingPublish, Properties, Publish, QoS};

/// The content type of JSON.
const JSON: &str = "application/json";

pub(super) fn to_client_qos(qos: QoS) -> ClientQoS {
    match qos {
        QoS::AtMostOnce => ClientQoS::AtMostOnce,
        QoS::AtLeastOnce => ClientQoS::AtLeastOnce,
        QoS::ExactlyOnce => ClientQoS::ExactlyOnce,
    }
}

fn from_client_qos(qos: ClientQoS) -> QoS {
    match qos {
        ClientQoS::AtMostOnce => QoS::AtMostOnce,
        ClientQoS::AtLeastOnce => QoS::AtLeastOnce,
        ClientQoS::ExactlyOnce => QoS::ExactlyOnce,
    }
}

/// A message for another broker; without properties where that speaks MQTT 3.1.1.
pub(super) fn to_client(publish: &OutgoingPublish, topic: String, is_v5: bool) -> ClientMessage {
    let properties = match publish.message.properties.as_deref().filter(|_| is_v5) {
        Some(set) => ClientProperties {
            is_text: set.is_text,
            expiry: publish.expiry,
            content_type: set.content_type.clone(),
            response_topic: set.response_topic.clone(),
            correlation_data: set.correlation_data.clone(),
            // They came over the wire, so that they can go there.
            user: UserProperties::from_pairs(set.user.iter().map(|(name, value)| (&**name, &**value)))
                .unwrap_or_default(),
        },
        None => ClientProperties::default(),
    };
    ClientMessage::new(topic, publish.message.payload.clone())
        .qos(to_client_qos(publish.qos))
        .retain(publish.retain)
        .properties(properties)
}

/// A message of another broker.
pub(super) fn from_client(message: ClientMessage, topic: String) -> Publish {
    let ClientMessage { payload, qos, retain, properties, .. } = message;
    let ClientProperties { is_text, expiry, content_type, response_topic, correlation_data, user } =
        properties;
    let user = user.iter().map(|(name, value)| (name.into(), value.into())).collect();
    let set = Properties { is_text, expiry, content_type, response_topic, correlation_data, user };
    Publish {
        topic: topic.into(),
        payload,
        qos: from_client_qos(qos),
        retain,
        properties: (set != Properties::default()).then(|| Box::new(set)),
        ..Publish::default()
    }
}

/// Telemetry of a device. User properties become application properties (of equal names the last counts), the content type,
/// "this is text" (also where JSON says nothing of it) and correlation data their system properties.
pub(super) fn to_telemetry(publish: &OutgoingPublish, content_type: Option<&str>) -> HubMessage {
    let mut message = HubMessage::new(publish.message.payload.clone());
    let mut system = |property, value: ByteString| message.system.set(property, value);
    let set = publish.message.properties.as_deref();
    match set.and_then(|set| set.content_type.clone()) {
        Some(told) => {
            // JSON is UTF-8 wherever it is exchanged (RFC 8259, section 8.1).
            let is_text = set.and_then(|set| set.is_text).unwrap_or(told.eq_ignore_ascii_case(JSON));
            system(SystemProperty::ContentType, told);
            if is_text {
                system(SystemProperty::ContentEncoding, ByteString::from_static("utf-8"));
            }
        }
        // MQTT 3.1.1 has no way to tell.
        None => {
            if let Some(content_type) = content_type {
                system(SystemProperty::ContentType, content_type.into());
                system(SystemProperty::ContentEncoding, ByteString::from_static("utf-8"));
            }
        }
    }
    let Some(set) = set else { return message };
    let correlation = set.correlation_data.as_ref().and_then(|data| std::str::from_utf8(data).ok());
    if let Some(correlation) = correlation {
        message.system.set(SystemProperty::CorrelationId, correlation);
    }
    for (name, value) in &set.user {
        message.properties.set(name.clone(), value.clone());
    }
    message
}

/// What goes out to a device: a cloud-to-device message with its properties.
pub(super) fn from_command(message: &HubMessage, topic: String) -> Publish {
    let user = message.properties.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
    let system = |property| message.system.get(property).cloned();
    let encoding = system(SystemProperty::ContentEncoding);
    let is_text = encoding.is_some_and(|encoding| encoding.eq_ignore_ascii_case("utf-8")).then_some(true);
    let correlation = system(SystemProperty::CorrelationId);
    let set = Properties {
        is_text,
        content_type: system(SystemProperty::ContentType),
        correlation_data: correlation.map(|text| Bytes::copy_from_slice(text.as_bytes())),
        user,
        ..Properties::default()
    };
    Publish {
        topic: topic.into(),
        payload: message.body.clone(),
        qos: QoS::AtLeastOnce,
        properties: (set != Properties::default()).then(|| Box::new(set)),
        ..Publish::default()
    }
}
