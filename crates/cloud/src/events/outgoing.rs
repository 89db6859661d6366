//! Sending messages to devices.
//!
//! Source: Azure docs "Send cloud-to-device messages", and the link of the Python and Node service SDKs.

use async_trait::async_trait;
use ironbrook_gateway::ServiceSink;
use ironbrook_hub::Hub;
use ironbrook_hub::throttle::Throttle;
use ironbrook_model::{
    DeviceId, ErrorCode, Identity, Message, ModuleId, Refusal, SystemProperty as P, percent_decode,
};
use ironbrook_wire::amqp;

/// A sender's link.
pub(super) struct Sender {
    hub: Hub,
}

impl Sender {
    pub(super) fn new(hub: Hub) -> Self {
        Self { hub }
    }
}

#[async_trait]
impl ServiceSink for Sender {
    async fn send(&mut self, message: amqp::Message) -> Result<(), Refusal> {
        let (to, message) = convert(&message)?;
        self.hub.throttles().take(Throttle::CloudToDevice)?;
        self.hub.seams().inbox.enqueue(&to, message).await
    }
}

/// The receiver, and the message in our terms.
fn convert(message: &amqp::Message) -> Result<(Identity, Message), Refusal> {
    let address = message.properties.to.as_deref().unwrap_or_default();
    let to = receiver(address).ok_or_else(|| {
        let why = format!(
            "the property 'to' is {address:.200?}; it has the form /devices/<device>/messages/devicebound"
        );
        Refusal::new(ErrorCode::ArgumentInvalid, why)
    })?;
    let mut out = Message::new(message.body_bytes());
    let properties = &message.properties;
    out.system.set(P::To, address.to_owned());
    let texts = [
        (P::MessageId, id_text(properties.message_id.as_ref())),
        (P::CorrelationId, id_text(properties.correlation_id.as_ref())),
        (P::UserId, properties.user_id.as_ref().and_then(|b| String::from_utf8(b.to_vec()).ok())),
        (P::ContentType, properties.content_type.as_ref().map(ToString::to_string)),
        (P::ContentEncoding, properties.content_encoding.as_ref().map(ToString::to_string)),
        (P::Expiry, properties.absolute_expiry_time.map(|t| t.to_string())),
    ];
    for (property, text) in texts {
        if let Some(text) = text {
            out.system.set(property, text);
        }
    }
    for (name, value) in &message.application_properties {
        // Only strings are properties of a message; others are left out, as on the way from a device.
        let Some(value) = value.to_text() else { continue };
        if name.eq_ignore_ascii_case("iothub-ack") {
            out.system.set(P::Ack, value.to_ascii_lowercase());
        } else {
            out.properties.set(name.clone(), value);
        }
    }
    Ok((to, out))
}

/// A message id of any of its types as text.
fn id_text(id: Option<&amqp::Value>) -> Option<String> {
    match id? {
        amqp::Value::Uuid(uuid) => Some(uuid.to_string()),
        amqp::Value::Binary(bytes) => String::from_utf8(bytes.to_vec()).ok(),
        other => other.as_str().map(str::to_owned).or_else(|| other.as_u64().map(|n| n.to_string())),
    }
}

/// `/devices/{d}[/modules/{m}]/messages/devicebound`, fixed words in any case, ids percent-encoded.
fn receiver(address: &str) -> Option<Identity> {
    let parts: Vec<&str> = address.trim_start_matches('/').split('/').collect();
    let is = |part: &str, word: &str| part.eq_ignore_ascii_case(word);
    let device = |text: &str| DeviceId::new(percent_decode(text)?.into_owned()).ok();
    match parts.as_slice() {
        [d, id, m, b] if is(d, "devices") && is(m, "messages") && is(b, "devicebound") => {
            Some(Identity::device(device(id)?))
        }
        [d, id, ms, module, m, b]
            if is(d, "devices") && is(ms, "modules") && is(m, "messages") && is(b, "devicebound") =>
        {
            Some(Identity::module(device(id)?, ModuleId::new(percent_decode(module)?.into_owned()).ok()?))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_receiver_is_read_from_every_spelling() {
        let device = |id: &str| Identity::device(DeviceId::new(id.to_owned()).unwrap());
        assert_eq!(receiver("/devices/d1/messages/devicebound"), Some(device("d1")));
        assert_eq!(receiver("devices/a%2Bb/messages/deviceBound"), Some(device("a+b")));
        assert!(receiver("/devices/d/modules/m/messages/deviceBound").unwrap().module.is_some());
        for bad in
            ["", "/", "/devices/d1", "/devices//messages/devicebound", "/devices/a%2Fb/messages/devicebound"]
        {
            assert_eq!(receiver(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_wish_for_feedback_is_no_property_of_the_user() {
        let mut message = amqp::Message::data("x");
        message.properties.to = Some("/devices/d/messages/devicebound".into());
        message.properties.message_id = Some(amqp::Value::Ulong(7));
        message.set_property("iothub-ack", "Full");
        message.set_property("k", "v");
        message.set_property("n", 1_i32);
        let (_, out) = convert(&message).unwrap();
        assert_eq!(out.system.get(P::Ack).map(|a| &**a), Some("full"));
        assert_eq!(out.system.get(P::MessageId).map(|a| &**a), Some("7"));
        assert_eq!(out.properties.iter().count(), 1);
    }
}
