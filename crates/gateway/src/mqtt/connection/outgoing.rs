//! What a client is sent.

use super::Connection;
use crate::http;
use crate::mqtt::operations::Reply;
use crate::mqtt::{End, address, bag};
use bytes::Bytes;
use bytestring::ByteString;
use ironbrook_hub::{Delivery, LockedMessage, Settlement};
use ironbrook_model::MqttAction;
use ironbrook_wire::mqtt::v4::{Packet, Publish, QoS};
use tokio::io::{AsyncRead, AsyncWrite};

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    pub(super) fn on_reply(&mut self, reply: Reply) -> Result<(), End> {
        match reply {
            Reply::Subscribed(answer) => Ok(self.io.put(&Packet::SubAck(answer))?),
            Reply::Unsubscribed(id) => Ok(self.io.put(&Packet::UnsubAck(id))?),
            Reply::Twin { rid, result: Ok(twin) } => self.answer_twin(200, &rid, None, twin),
            Reply::Reported { rid, result: Ok(version) } => {
                self.answer_twin(204, &rid, Some(version), Bytes::new())
            }
            Reply::Twin { rid, result: Err(refusal) } | Reply::Reported { rid, result: Err(refusal) } => {
                if refusal.code.mqtt_action(false) == MqttAction::Close {
                    return Err(End::Refused(refusal));
                }
                let body = http::error_json(&refusal, self.hub.seams().clock.now());
                self.answer_twin(refusal.code.http_status(), &rid, None, body.into())
            }
            Reply::Done => Ok(()),
            Reply::Failed(refusal) => Err(End::Refused(refusal)),
        }
    }

    /// rule MQTT-26: twin answers go only to clients that subscribed to them, in this session or one before that counts on.
    fn answer_twin(&mut self, status: u16, rid: &str, version: Option<u64>, body: Bytes) -> Result<(), End> {
        if !self.takes_twin_answers {
            return Ok(());
        }
        self.send(address::twin_answer(status, rid, version), body)
    }

    pub(super) fn deliver(&mut self, delivery: Delivery) -> Result<(), End> {
        match delivery {
            Delivery::CloudToDevice(message) => {
                let mut topic = self.addresses.cloud_to_device().to_owned();
                bag::write(&message.message, self.addresses.default_to(), &mut topic);
                self.send_locked(topic, &message, self.cloud_to_device_qos)
            }
            Delivery::Input { input, message } => match self.addresses.input(&input) {
                Some(mut topic) => {
                    bag::write_input(&message.message, &mut topic);
                    self.send_locked(topic, &message, self.inputs_qos)
                }
                None => Ok(()),
            },
            Delivery::Method { request, call } => {
                let payload = Bytes::from(Box::<str>::from(call.payload).into_boxed_bytes());
                self.send(address::method(&call.name, &request), payload)
            }
            Delivery::DesiredProperties { version, patch } => self.send(address::desired(version), patch),
            Delivery::Closed(refusal) => Err(End::Closed(refusal)),
        }
    }

    /// Sends with quality 0.
    fn send(&mut self, topic: ByteString, payload: Bytes) -> Result<(), End> {
        let publish =
            Publish { dup: false, qos: QoS::AtMostOnce, retain: false, topic, packet_id: None, payload };
        Ok(self.io.put(&Packet::Publish(publish))?)
    }

    fn send_locked(&mut self, topic: String, locked: &LockedMessage, qos: QoS) -> Result<(), End> {
        let packet_id = (qos != QoS::AtMostOnce).then(|| self.outgoing.next_id());
        let publish = Publish {
            dup: false,
            qos,
            retain: false,
            topic: topic.into(),
            packet_id,
            payload: locked.message.body.clone(),
        };
        if let Err(error) = self.io.put(&Packet::Publish(publish)) {
            // It would come again for ever: a topic longer than 65 535 bytes never fits.
            tracing::warn!(identity = %self.session.identity(), %error, "a message cannot be sent by MQTT and is rejected");
            self.settle(locked.lock, Settlement::Reject);
            return Ok(());
        }
        self.sent.inc();
        match packet_id {
            Some(id) => self.outgoing.await_acknowledgement(id, locked.lock),
            None => self.outgoing.await_write(self.io.queued(), locked.lock),
        }
        Ok(())
    }
}
