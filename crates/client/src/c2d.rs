//! Sending a message to a device (C2D): AMQP only, as the platform has no other way for it.

use crate::amqp::{Port, detached};
use crate::credentials::Credentials;
use crate::error::{Error, Result};
use crate::transport::Remote;
use bytes::Bytes;
use ironbrook_model::{Identity, Message, SystemProperty as P, Timestamp, percent_encode};
use ironbrook_wire::amqp::{self, DeliveryState, Event, LinkOptions, Outgoing, Value};

/// Where the service sends messages for devices.
const ADDRESS: &str = "/messages/devicebound";

/// Sends one message on a connection of its own and waits until the hub has queued it.
pub(crate) async fn send(
    remote: &Remote,
    credentials: &Credentials,
    to: &Identity,
    message: &Message,
) -> Result<()> {
    let mut port = Port::open(remote, &remote.host).await?;
    let session = port.begin()?;
    let cbs = port.pair(session, "$cbs").await?;
    port.put_token(&cbs, credentials, &remote.host).await?;
    let link = port.attach(session, LinkOptions::sender("messages", ADDRESS)).await?;
    let tag = Bytes::from_static(b"1");
    let payload = to_amqp(to, message).to_bytes();
    port.engine()
        .send(link, Outgoing { tag, format: 0, settled: false, payload })
        .map_err(crate::amqp::command)?;
    let outcome = port
        .wait_for(|event| match event {
            Event::Disposition { link: of, state, .. } if *of == link => Some(judge(state.as_ref())),
            Event::Detached(of, error) if *of == link => Some(Err(detached(error.as_ref()))),
            _ => None,
        })
        .await?;
    port.close().await;
    outcome
}

fn judge(state: Option<&DeliveryState>) -> Result<()> {
    match state {
        Some(DeliveryState::Accepted) => Ok(()),
        Some(DeliveryState::Rejected(error)) => Err(detached(error.as_ref())),
        other => Err(Error::Protocol(format!("the hub neither took nor refused the message: {other:?}"))),
    }
}

fn to_amqp(to: &Identity, message: &Message) -> amqp::Message {
    let mut wire = amqp::Message::data(message.body.clone());
    let device = percent_encode(to.device.as_str());
    let address = match &to.module {
        None => format!("/devices/{device}{ADDRESS}"),
        Some(module) => format!("/devices/{device}/modules/{}{ADDRESS}", percent_encode(module.as_str())),
    };
    let get = |property| message.system.get(property).cloned();
    let properties = &mut wire.properties;
    properties.to = Some(address.into());
    properties.message_id = get(P::MessageId).map(Value::String);
    properties.correlation_id = get(P::CorrelationId).map(Value::String);
    properties.user_id = get(P::UserId).map(|id| id.into_bytes());
    properties.content_type = get(P::ContentType);
    properties.content_encoding = get(P::ContentEncoding);
    properties.absolute_expiry_time = get(P::Expiry).and_then(|time| Timestamp::parse(&time));
    if let Some(ack) = get(P::Ack) {
        wire.set_property("iothub-ack", Value::String(ack));
    }
    for (name, value) in message.properties.iter() {
        wire.set_property(name.clone(), Value::String(value.clone()));
    }
    wire
}

#[cfg(test)]
mod tests {
    use super::*;
    use ironbrook_model::{DeviceId, ModuleId};

    #[test]
    fn the_address_is_encoded_and_properties_find_their_places() {
        let mut message = Message::new("{}");
        message.system.set(P::MessageId, "m1");
        message.system.set(P::Ack, "full");
        message.system.set(P::Expiry, "2026-01-31T09:00:00Z");
        message.properties.set("color", "red");
        let to = Identity::module(DeviceId::new("a%b").unwrap(), ModuleId::new("m").unwrap());
        let wire = amqp::Message::decode(&to_amqp(&to, &message).to_bytes()).unwrap();
        assert_eq!(wire.properties.to.as_deref(), Some("/devices/a%25b/modules/m/messages/devicebound"));
        assert_eq!(wire.properties.message_id, Some(Value::string("m1")));
        assert_eq!(wire.properties.absolute_expiry_time, Some(Timestamp::from_millis(1_769_850_000_000)));
        assert_eq!(wire.application_property("iothub-ack").and_then(Value::as_str), Some("full"));
        assert_eq!(wire.application_property("color").and_then(Value::as_str), Some("red"));
    }

    #[test]
    fn a_refusal_keeps_its_reason() {
        let error = amqp::AmqpError::new("amqp:not-found", "DeviceNotFound");
        let refused = judge(Some(&DeliveryState::Rejected(Some(error)))).unwrap_err();
        assert!(
            matches!(&refused, Error::Refused { status: 404, message } if message.contains("DeviceNotFound"))
        );
        assert!(judge(Some(&DeliveryState::Accepted)).is_ok());
        assert!(judge(Some(&DeliveryState::Released)).is_err());
    }
}
