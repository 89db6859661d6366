//! What a client sends.

use super::{Connection, Stalled};
use crate::mqtt::address::{Address, Wish};
use crate::mqtt::operations::Request;
use crate::mqtt::{End, bag};
use bytes::Bytes;
use ironbrook_hub::{MethodAnswer, Settlement, Subscription};
use ironbrook_model::{ErrorCode, Message, Refusal};
use ironbrook_wire::mqtt::v4::{Packet, PacketId, Publish, QoS, SubAck, SubAckCode, Subscribe, Unsubscribe};
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
                }
                return self.offer(&mut message, publish.packet_id);
            }
            Address::GetTwin { rid } => Request::GetTwin { rid },
            Address::PatchReported { rid } => Request::PatchReported { rid, patch: publish.payload },
            Address::MethodAnswer { status, rid } => {
                let payload = self.method_payload(&publish.payload);
                Request::AnswerMethod { rid, answer: MethodAnswer { status, payload } }
            }
        };
        self.request(request);
        if let Some(id) = publish.packet_id {
            self.unacknowledged.push(id, None);
        }
        Ok(())
    }

    /// Gives telemetry to the hub, or keeps it until there is room.
    ///
    /// By reference, because a message is large and few are kept.
    pub(super) fn offer(&mut self, message: &mut Message, id: Option<PacketId>) -> Result<(), End> {
        match self.hub.telemetry(&self.session, message) {
            Ok(ticket) => {
                self.received.inc();
                if let Some(id) = id {
                    self.unacknowledged.push(id, ticket);
                }
                Ok(())
            }
            Err(refusal) if is_back_pressure(&refusal) => {
                let (hub, session) = (self.hub.clone(), self.session.clone());
                let room = Box::pin(async move { hub.room(&session).await });
                let message = std::mem::take(message);
                self.stalled = Some(Box::new(Stalled { message, id, room }));
                self.bell.ring();
                Ok(())
            }
            Err(refusal) => Err(End::Refused(refusal)),
        }
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

/// Whether the same message may be taken later.
fn is_back_pressure(refusal: &Refusal) -> bool {
    refusal.code == ErrorCode::ServerBusy || refusal.code.http_status() == 429
}
