//! Messages that were handed over with QoS 1 or 2 and are not acknowledged: in order, bounded, sent again on the next connection.

use super::alias::{Aliases, Shown};
use super::codec::Codec;
use super::ids::Ids;
use super::{Error, Message, Reply, Result};
use crate::error::excerpt;
use bytes::{Bytes, BytesMut};
use bytestring::ByteString;
use ironbrook_wire::mqtt::v5::{self, Ack, Packet, PublishProperties, ReasonCode};
use ironbrook_wire::mqtt::{PacketId, QoS};
use std::collections::VecDeque;

/// A message on its way out.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub message: Message,
    pub done: Reply<ReasonCode>,
}

/// A message under way.
#[derive(Debug)]
struct UnderWay {
    id: PacketId,
    message: Message,
    done: Reply<ReasonCode>,
    /// Whether it went out on an earlier connection of the same session.
    again: bool,
    /// PUBREC came: the server has the message, PUBREL is what goes out.
    released: bool,
}

/// The window.
#[derive(Debug)]
pub(super) struct Outbound {
    under_way: VecDeque<UnderWay>,
    /// How many of them, from the oldest, have gone out on this connection.
    sent: usize,
    /// How many may be under way at once.
    capacity: usize,
    /// How many of them the server takes at once.
    receive_maximum: usize,
}

impl Outbound {
    pub(super) fn new(capacity: usize) -> Self {
        Self { under_way: VecDeque::new(), sent: 0, capacity, receive_maximum: capacity }
    }

    pub(super) fn has_room(&self) -> bool {
        self.under_way.len() < self.capacity.min(self.receive_maximum)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.under_way.is_empty()
    }

    /// A connection was accepted by a server that takes so many messages at once, and knows the session or not.
    pub(super) fn connected(&mut self, receive_maximum: u16, session_present: bool, ids: &mut Ids) {
        (self.sent, self.receive_maximum) = (0, usize::from(receive_maximum));
        if session_present {
            return;
        }
        for message in std::mem::take(&mut self.under_way) {
            if message.released {
                ids.free(message.id);
                let lost = Error::SessionLost(excerpt(message.message.topic.as_bytes()));
                let _ = message.done.send(Err(lost));
            } else {
                // For this server it is a new message.
                self.under_way.push_back(UnderWay { again: false, ..message });
            }
        }
    }

    /// Takes a message; the caller has looked whether there is room.
    pub(super) fn push(&mut self, outgoing: Outgoing, ids: &mut Ids) {
        let Outgoing { message, done } = outgoing;
        self.under_way.push_back(UnderWay { id: ids.take(), message, done, again: false, released: false });
    }

    /// Sends as many as the server takes. A message that cannot be written fails alone.
    pub(super) fn send(&mut self, codec: Codec, aliases: &mut Aliases, ids: &mut Ids, out: &mut BytesMut) {
        while self.sent < self.receive_maximum
            && let Some(next) = self.under_way.get_mut(self.sent)
        {
            let written = if next.released {
                codec.encode(&Packet::PubRel(Ack::success(next.id)), out)
            } else {
                publish(&next.message, Some(next.id), next.again, codec, aliases, out)
            };
            match written {
                Ok(()) => {
                    next.again = true;
                    self.sent += 1;
                }
                Err(error) => {
                    if let Some(failed) = self.under_way.remove(self.sent) {
                        ids.free(failed.id);
                        let _ = failed.done.send(Err(error));
                    }
                }
            }
        }
    }

    fn find(&self, id: PacketId, qos: QoS) -> Option<usize> {
        self.under_way.iter().position(|message| message.id == id && message.message.qos == qos)
    }

    fn finish(&mut self, at: usize, ids: &mut Ids, outcome: impl FnOnce(&Message) -> Result<ReasonCode>) {
        if let Some(done) = self.under_way.remove(at) {
            if at < self.sent {
                self.sent -= 1;
            }
            ids.free(done.id);
            let _ = done.done.send(outcome(&done.message));
        }
    }

    /// PUBACK came. An unknown identifier is an answer to an earlier connection's copy and means nothing.
    pub(super) fn pub_ack(&mut self, ack: &Ack, ids: &mut Ids) {
        if let Some(at) = self.find(ack.packet_id, QoS::AtLeastOnce) {
            self.finish(at, ids, |message| outcome(message, ack));
        }
    }

    /// PUBREC came; gives the PUBREL to answer with.
    pub(super) fn pub_rec(&mut self, ack: &Ack, ids: &mut Ids) -> Option<Packet> {
        let Some(at) = self.find(ack.packet_id, QoS::ExactlyOnce) else {
            // [MQTT-4.3.3-4] of 5.0 wants a PUBREL in any case.
            let reason = ReasonCode::PacketIdentifierNotFound;
            return Some(Packet::PubRel(Ack::new(ack.packet_id, reason))).filter(|_| !ack.reason.is_error());
        };
        if ack.reason.is_error() {
            self.finish(at, ids, |message| outcome(message, ack));
            return None;
        }
        if let Some(message) = self.under_way.get_mut(at) {
            message.released = true;
            // The server has it now.
            message.message.payload = Bytes::new();
        }
        Some(Packet::PubRel(Ack::success(ack.packet_id)))
    }

    /// PUBCOMP came.
    pub(super) fn pub_comp(&mut self, ack: &Ack, ids: &mut Ids) {
        if let Some(at) = self.find(ack.packet_id, QoS::ExactlyOnce)
            && self.under_way[at].released
        {
            // "Packet identifier not found" tells of an end that was reached earlier.
            self.finish(at, ids, |_| Ok(ReasonCode::Success));
        }
    }

    /// Nothing will ever be sent again.
    pub(super) fn fail(&mut self, error: &Error) {
        for message in self.under_way.drain(..) {
            let _ = message.done.send(Err(error.clone()));
        }
    }
}

fn outcome(message: &Message, ack: &Ack) -> Result<ReasonCode> {
    if !ack.reason.is_error() {
        return Ok(ack.reason);
    }
    let topic = excerpt(message.topic.as_bytes());
    Err(Error::Refused { topic, reason: ack.reason, said: said(ack.properties.reason_string.as_ref()) })
}

/// The server's own words, shortened.
pub(super) fn said(text: Option<&ByteString>) -> Option<String> {
    text.map(|text| excerpt(text.as_bytes()))
}

/// Appends a PUBLISH, with an alias where there is one.
pub(super) fn publish(
    message: &Message,
    packet_id: Option<PacketId>,
    dup: bool,
    codec: Codec,
    aliases: &mut Aliases,
    out: &mut BytesMut,
) -> Result<()> {
    let shown = aliases.shown(&message.topic);
    let (topic, topic_alias) = match shown {
        Shown::Plain => (message.topic.clone(), None),
        Shown::New(alias) => (message.topic.clone(), Some(alias)),
        Shown::Known(alias) => (ByteString::new(), Some(alias)),
    };
    let properties = &message.properties;
    let packet = Packet::Publish(v5::Publish {
        dup,
        qos: message.qos,
        retain: message.retain,
        topic,
        packet_id,
        properties: PublishProperties {
            payload_format_indicator: properties.is_text,
            message_expiry_interval: properties.expiry,
            topic_alias,
            response_topic: properties.response_topic.clone(),
            correlation_data: properties.correlation_data.clone(),
            subscription_identifiers: Vec::new(),
            content_type: properties.content_type.clone(),
            user: properties.user.clone(),
        },
        payload: message.payload.clone(),
    });
    codec.encode(&packet, out)?;
    if let Shown::New(alias) = shown {
        aliases.set(message.topic.clone(), alias);
    }
    Ok(())
}
