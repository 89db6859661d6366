//! What a client sends.

use super::Connection;
use crate::mqtt::address::{Address, Addresses, Wish};
use crate::mqtt::operations::Request;
use crate::mqtt::{End, bag};
use bytes::{Buf, Bytes};
use bytestring::ByteString;
use ironbrook_hub::{MethodAnswer, Settlement, Subscription};
use ironbrook_model::Message;
use ironbrook_wire::mqtt::v4::{Packet, Publish, QoS, SubAck, SubAckCode, Subscribe, Unsubscribe};
use serde_json::value::RawValue;
use tokio::io::{AsyncRead, AsyncWrite};

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    pub(super) fn on_packet(&mut self, packet: Packet) -> Result<(), End> {
        match packet {
            Packet::Publish(publish) => self.on_publish(publish),
            Packet::PubAck(id) => {
                // rule MQTT-20: PUBACK completes a cloud-to-device message; MQTT can neither reject nor abandon one.
                if let Some(lock) = self.outgoing.acknowledge(id) {
                    self.settle(lock, Settlement::Complete);
                }
                Ok(())
            }
            Packet::Subscribe(subscribe) => self.on_subscribe(&subscribe),
            Packet::Unsubscribe(unsubscribe) => self.on_unsubscribe(&unsubscribe),
            Packet::PingReq => Ok(self.io.put(&Packet::PingResp)?),
            Packet::Disconnect => Err(End::Disconnected),
            // rule MQTT-21: a second CONNECT ends the connection, as does a packet only a server sends.
            Packet::Connect(_) => Err(End::Unexpected("a second CONNECT")),
            Packet::PubRec(_) | Packet::PubRel(_) | Packet::PubComp(_) => {
                Err(End::Unexpected("a packet of QoS 2, which the hub does not have"))
            }
            Packet::ConnAck(_) | Packet::SubAck(_) | Packet::UnsubAck(_) | Packet::PingResp => {
                Err(End::Unexpected("a packet that only servers send"))
            }
        }
    }

    fn on_publish(&mut self, publish: Publish) -> Result<(), End> {
        // rule MQTT-22: a message of quality 2 ends the connection.
        if publish.qos == QoS::ExactlyOnce {
            return Err(End::Unexpected("a message with QoS 2, use QoS 1"));
        }
        let address = self.addresses.of_publish(&publish.topic).map_err(End::Refused)?;
        let request = match address {
            Address::Telemetry { bag } => {
                let mut message = Message::new(publish.payload);
                bag::read(&bag, &mut message).map_err(End::Refused)?;
                if publish.retain {
                    // rule MQTT-23: nothing is retained; the wish becomes a property.
                    message.properties.set("mqtt-retain", "true");
                } else {
                    let addresses = &self.addresses;
                    self.intake.note_topic(&publish.topic, |topic| common(addresses, topic));
                }
                return self.intake.offer(&mut message, publish.packet_id).map_err(End::Refused);
            }
            Address::GetTwin { rid } => Request::GetTwin { rid },
            Address::PatchReported { rid } => Request::PatchReported { rid, patch: publish.payload },
            Address::MethodAnswer { status, rid } => {
                let payload = self.method_payload(&publish.payload);
                Request::AnswerMethod { rid, answer: MethodAnswer { status, payload } }
            }
        };
        self.request(request);
        self.intake.unacknowledged.push(publish.packet_id, None);
        Ok(())
    }

    /// Takes the telemetry that comes next under the topic of the one before.
    pub(super) fn take_row(&mut self) -> Result<(), End> {
        if self.is_blocked() {
            return Ok(());
        }
        let intake = &mut self.intake;
        let taken = self.io.take(|input, packet_max| {
            let (len, result) = intake.take_row(input, packet_max);
            input.advance(len);
            result.map(|()| None::<()>)
        });
        taken.map(drop).map_err(End::Refused)
    }

    /// An empty answer is `null`, as is one that is not JSON: the caller is better served with the status alone than with nothing.
    fn method_payload(&self, payload: &Bytes) -> Box<RawValue> {
        let text = std::str::from_utf8(payload).unwrap_or("");
        if let Ok(value) = RawValue::from_string(text.to_owned()) {
            return value;
        }
        if !payload.iter().all(u8::is_ascii_whitespace) {
            tracing::warn!(identity = %self.session.identity(), "the payload of a method answer is not JSON; null is passed on");
        }
        RawValue::NULL.to_owned()
    }

    fn on_subscribe(&mut self, subscribe: &Subscribe) -> Result<(), End> {
        let mut add = Vec::new();
        let mut codes = Vec::with_capacity(subscribe.filters.len());
        for filter in &subscribe.filters {
            // rule MQTT-24: quality 2 is granted as 1.
            let granted = filter.qos.min(QoS::AtLeastOnce);
            for wish in self.addresses.of_filter(&filter.filter).map_err(End::Refused)? {
                match wish {
                    Wish::TwinAnswers => self.takes_twin_answers = true,
                    Wish::CloudToDevice => self.cloud_to_device_qos = granted,
                    Wish::Inputs => self.inputs_qos = granted,
                    Wish::DesiredProperties | Wish::Methods => {}
                }
                add.push(self.subscription(*wish));
            }
            codes.push(SubAckCode::Granted(granted));
        }
        let answer = SubAck { packet_id: subscribe.packet_id, codes };
        self.request(Request::Subscribe { add, answer });
        Ok(())
    }

    fn on_unsubscribe(&mut self, unsubscribe: &Unsubscribe) -> Result<(), End> {
        let mut remove = Vec::new();
        for filter in &unsubscribe.filters {
            // A filter that nobody subscribed to is answered all the same [MQTT-3.10.4-5].
            for wish in self.addresses.of_filter(filter).unwrap_or_default() {
                if *wish == Wish::TwinAnswers {
                    self.takes_twin_answers = false;
                }
                remove.push(self.subscription(*wish));
            }
        }
        self.request(Request::Unsubscribe { remove, answer: unsubscribe.packet_id });
        Ok(())
    }

    fn subscription(&self, wish: Wish) -> Subscription {
        match wish {
            Wish::TwinAnswers => Subscription::TwinAnswers,
            // rule MQTT-25: with clean session 0 this subscription outlives the connection; the others do by rule HUB-11.
            Wish::CloudToDevice => Subscription::CloudToDevice { persistent: !self.clean_session },
            Wish::Inputs => Subscription::Inputs,
            Wish::DesiredProperties => Subscription::DesiredProperties,
            Wish::Methods => Subscription::Methods,
        }
    }
}

/// What all messages under a telemetry topic have in common.
fn common(addresses: &Addresses, topic: &ByteString) -> Option<Message> {
    let Ok(Address::Telemetry { bag }) = addresses.of_publish(topic) else { return None };
    let mut message = Message::default();
    bag::read(&bag, &mut message).ok()?;
    Some(message)
}
