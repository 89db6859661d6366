//! The client's side of the protocol without any input or output: packets in, packets out, promises kept.
//!
//! One [`Session`] lives as long as the client; connections come and go below it.

use super::alias::Aliases;
use super::codec::Codec;
use super::driver::Config;
use super::flow::{Flow, Token};
use super::ids::Ids;
use super::inbound::{Arrival, Inbound};
use super::outbound::{self, Outbound, Outgoing, said};
use super::subscriptions::{Request, Subscriptions};
use super::{Error, Message, Properties, QoS, Received, Result, Version};
use bytes::BytesMut;
use ironbrook_wire::mqtt::v5::{Ack, ConnAck, Packet, Publish, ReasonCode};
use std::sync::Arc;
use tokio::sync::mpsc::Permit;

/// What a server said of itself in CONNACK.
#[derive(Debug, Clone, Copy)]
struct Limits {
    qos: QoS,
    retain: bool,
}

#[derive(Debug)]
pub(super) struct Session {
    pub codec: Codec,
    alias_maximum: u16,
    /// Whether only the program says that it is done with a message.
    by_hand: bool,
    ids: Ids,
    pub outbound: Outbound,
    inbound: Inbound,
    subscriptions: Subscriptions,
    aliases: Aliases,
    limits: Limits,
    flow: Arc<Flow>,
    /// Kept, so that no round of acknowledgements allocates.
    tokens: Vec<Token>,
}

impl Session {
    pub(super) fn new(config: &Config, flow: Arc<Flow>) -> Self {
        let Config { codec, in_flight, receive_maximum, alias_maximum, by_hand, .. } = *config;
        Self {
            codec,
            alias_maximum,
            by_hand,
            ids: Ids::default(),
            outbound: Outbound::new(in_flight),
            inbound: Inbound::new(receive_maximum),
            subscriptions: Subscriptions::default(),
            aliases: Aliases::default(),
            limits: Limits { qos: QoS::ExactlyOnce, retain: true },
            flow,
            tokens: Vec::new(),
        }
    }

    /// A connection was accepted: everything unfinished goes out again, messages first and in their order.
    pub(super) fn connected(&mut self, ack: &ConnAck, out: &mut BytesMut) {
        let properties = &ack.properties;
        let max = properties.maximum_packet_size.map_or(usize::MAX, |max| max.get() as usize);
        self.codec.peer_packet_max = max;
        self.limits = Limits {
            qos: properties.maximum_qos.unwrap_or(QoS::ExactlyOnce),
            retain: properties.retain_available.unwrap_or(true),
        };
        self.aliases = Aliases::new(properties.topic_alias_maximum.unwrap_or(0), self.alias_maximum);
        let receive_maximum = properties.receive_maximum.map_or(u16::MAX, std::num::NonZeroU16::get);
        self.inbound.connected(ack.session_present);
        self.outbound.connected(receive_maximum, ack.session_present, &mut self.ids);
        self.subscriptions.connected(ack.session_present, &mut self.ids);
        self.send_more(out);
        self.subscriptions.send(self.codec, &mut self.ids, out);
    }

    /// Nothing will ever be connected again: everybody who waits is told why.
    pub(super) fn fail(&mut self, error: &Error) {
        self.outbound.fail(error);
        self.subscriptions.fail(error);
    }

    /// Whether another packet of the server may be looked at, as the program keeps pace.
    pub(super) fn has_room(&self) -> bool {
        self.inbound.has_room() && self.flow.has_room()
    }

    /// Publishes a message; the caller has looked whether the window has room.
    pub(super) fn publish(&mut self, outgoing: Outgoing, out: &mut BytesMut) {
        if let Err(error) = self.check(&outgoing.message) {
            let _ = outgoing.done.send(Err(error));
        } else if outgoing.message.qos == QoS::AtMostOnce {
            let written =
                outbound::publish(&outgoing.message, None, false, self.codec, &mut self.aliases, out);
            let _ = outgoing.done.send(written.map(|()| ReasonCode::Success));
        } else {
            self.outbound.push(outgoing, &mut self.ids);
            self.send_more(out);
        }
    }

    fn check(&self, message: &Message) -> Result<()> {
        if message.qos > self.limits.qos {
            let highest = self.limits.qos as u8;
            return Err(Error::Configuration(format!("the server takes messages up to QoS {highest}")));
        }
        if message.retain && !self.limits.retain {
            return Err(Error::Configuration("the server retains no messages".to_owned()));
        }
        Ok(())
    }

    fn send_more(&mut self, out: &mut BytesMut) {
        self.outbound.send(self.codec, &mut self.aliases, &mut self.ids, out);
    }

    /// Subscribes or unsubscribes; `out` is `None` while there is no connection.
    pub(super) fn request(&mut self, request: Request, out: Option<&mut BytesMut>) {
        self.subscriptions.add(request);
        if let Some(out) = out {
            self.subscriptions.send(self.codec, &mut self.ids, out);
        }
    }

    /// Answers for what the program is done with.
    pub(super) fn acknowledge(&mut self, out: &mut BytesMut) {
        self.flow.acknowledged(&mut self.tokens);
        let (codec, inbound) = (self.codec, &mut self.inbound);
        for token in self.tokens.drain(..) {
            inbound.done(token, |packet| put(codec, &packet, out));
        }
    }

    /// Handles a packet from the server; a message goes to the place, if anybody takes messages. An error ends the connection.
    pub(super) fn packet(
        &mut self,
        packet: Packet,
        place: Option<Permit<'_, Received>>,
        out: &mut BytesMut,
    ) -> Result<()> {
        match packet {
            Packet::Publish(publish) => self.arrive(publish, place, out)?,
            Packet::PubAck(ack) => {
                self.outbound.pub_ack(&ack, &mut self.ids);
                self.send_more(out);
            }
            Packet::PubRec(ack) => {
                if let Some(answer) = self.outbound.pub_rec(&ack, &mut self.ids) {
                    put(self.codec, &answer, out);
                }
                self.send_more(out);
            }
            Packet::PubComp(ack) => {
                self.outbound.pub_comp(&ack, &mut self.ids);
                self.send_more(out);
            }
            Packet::PubRel(ack) => {
                let answer = self.inbound.released(ack.packet_id);
                put(self.codec, &answer, out);
            }
            Packet::SubAck(ack) => self.subscriptions.sub_ack(ack, &mut self.ids)?,
            Packet::UnsubAck(ack) => self.subscriptions.unsub_ack(&ack, &mut self.ids)?,
            Packet::PingResp => {}
            Packet::Disconnect(end) => {
                let said = said(end.properties.reason_string.as_ref());
                return Err(Error::Ended { reason: end.reason, said });
            }
            other => {
                return Err(Error::Protocol(format!("{} has no place here", other.packet_type())));
            }
        }
        Ok(())
    }

    fn arrive(
        &mut self,
        publish: Publish,
        place: Option<Permit<'_, Received>>,
        out: &mut BytesMut,
    ) -> Result<()> {
        let mut properties = publish.properties;
        let topic = self.aliases.resolve(publish.topic, properties.topic_alias)?;
        let token = match (self.inbound.arrive(publish.qos, publish.packet_id)?, publish.packet_id) {
            (Arrival::New(token), _) => token,
            (Arrival::Acknowledged, Some(id)) => {
                put(self.codec, &Packet::PubRec(Ack::success(id)), out);
                return Ok(());
            }
            _ => return Ok(()),
        };
        let Some(place) = place else {
            // Nobody takes it.
            if self.by_hand {
                // So nobody is done with it: the server keeps it for whoever comes next.
                return Ok(());
            }
            // Left unacknowledged it would come again and again.
            let codec = self.codec;
            token.into_iter().for_each(|token| self.inbound.done(token, |packet| put(codec, &packet, out)));
            return Ok(());
        };
        let message = Message {
            topic,
            payload: publish.payload,
            qos: publish.qos,
            retain: publish.retain,
            properties: Properties {
                is_text: properties.payload_format_indicator,
                expiry: properties.message_expiry_interval,
                content_type: properties.content_type,
                response_topic: properties.response_topic,
                correlation_data: properties.correlation_data,
                user: properties.user,
            },
        };
        self.flow.waits(message.size());
        let subscriptions = std::mem::take(&mut properties.subscription_identifiers);
        place.send(Received {
            message,
            duplicate: publish.dup,
            subscriptions,
            token,
            flow: self.flow.clone(),
        });
        Ok(())
    }

    /// The words before this side leaves.
    pub(super) fn goodbye(&self, reason: ReasonCode, out: &mut BytesMut) {
        if self.codec.version == Version::V5 || reason == ReasonCode::NORMAL_DISCONNECTION {
            let end = ironbrook_wire::mqtt::v5::Disconnect::new(reason);
            put(self.codec, &Packet::Disconnect(end), out);
        }
    }
}

/// Appends an answer. Answers are a few bytes; a server that takes not even these gets none.
fn put(codec: Codec, packet: &Packet, out: &mut BytesMut) {
    if let Err(error) = codec.encode(packet, out) {
        tracing::warn!(%error, "an answer to the server cannot be sent");
    }
}
