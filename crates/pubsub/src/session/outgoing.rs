//! The nouns of what goes to the client: messages in the queue, packets to send, the connection, and what a step led to.

use crate::topic::{Ids, Turn};
use crate::{Message, QoS, Version};
use bytestring::ByteString;
use std::collections::HashMap;
use std::num::NonZeroU16;
use std::sync::Arc;

/// A message for one client.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// Shared with all who get it.
    pub message: Arc<Message>,
    /// The lesser of published and granted.
    pub qos: QoS,
    /// The retain flag to send.
    pub retain: bool,
    /// It may not be shown before it is on disk.
    pub gated: bool,
    /// Identifiers of the subscriptions.
    pub ids: Ids,
    /// The group it was drawn in, if it was; not known after a restart.
    pub group: Option<Turn>,
}

/// How far a message of QoS 1 or 2 has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Waiting,
    /// It may have been sent.
    Sent,
    /// PUBREC came, PUBCOMP has not.
    Released,
    Done,
}

/// A PUBLISH to send.
#[derive(Debug, Clone)]
pub struct OutgoingPublish {
    /// Topic, payload and properties; not their `expiry`, see [`expiry`](Self::expiry).
    pub message: Arc<Message>,
    /// The QoS to send with.
    pub qos: QoS,
    /// The retain flag.
    pub retain: bool,
    /// It may have been sent before.
    pub dup: bool,
    /// Present with QoS 1 and 2.
    pub packet_id: Option<NonZeroU16>,
    /// Seconds that are left of the message's expiry.
    pub expiry: Option<u32>,
    /// The alias and whether the name has to be sent with it.
    pub alias: Option<(u16, bool)>,
    /// Identifiers of the subscriptions.
    pub ids: Ids,
}

/// A packet to send.
#[derive(Debug, Clone)]
pub enum Outgoing {
    /// PUBLISH.
    Publish(OutgoingPublish),
    /// PUBREL, again.
    PubRel(NonZeroU16),
}

/// What belongs to a connection alone.
#[derive(Debug)]
pub struct Link {
    /// The version the client speaks.
    pub version: Version,
    /// How many messages of QoS 1 and 2 may be under way, 1 or more.
    pub window: u16,
    /// Bytes of a packet the client takes.
    pub maximum_packet: usize,
    /// How many aliases may be set.
    pub alias_maximum: u16,
    /// Names with an alias; the first ones keep theirs.
    aliases: HashMap<ByteString, u16>,
}

impl Link {
    /// A connection without aliases set.
    pub fn new(version: Version, window: u16, maximum_packet: Option<u32>, alias_maximum: u16) -> Self {
        let maximum_packet = maximum_packet.map_or(usize::MAX, |bytes| bytes as usize);
        Self { version, window: window.max(1), maximum_packet, alias_maximum, aliases: HashMap::new() }
    }

    /// The alias that [`alias`](Self::alias) would give.
    pub(super) fn known(&self, topic: &ByteString) -> Option<(u16, bool)> {
        if self.alias_maximum == 0 {
            return None;
        }
        if let Some(alias) = self.aliases.get(topic) {
            return Some((*alias, false));
        }
        let next = u16::try_from(self.aliases.len() + 1).ok().filter(|next| *next <= self.alias_maximum)?;
        Some((next, true))
    }

    /// The alias of a name and whether the name has to be sent with it.
    pub(super) fn alias(&mut self, topic: &ByteString) -> Option<(u16, bool)> {
        let known = self.known(topic);
        if let Some((next, true)) = known {
            self.aliases.insert(ByteString::from(&**topic), next);
        }
        known
    }
}

/// Up to where the journal is on disk; messages before it may be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sealed(pub u64);

/// What became of a message for a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pushed {
    /// It stands in the line of QoS 0.
    Plain,
    /// It stands in the line of QoS 1 and 2, with this number.
    Numbered(u64),
    /// The queue is full; it was left out.
    Full,
}

/// What a handshake's packet led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The message with this number is done.
    Done(u64),
    /// The message with this number is released, now or before; PUBREL is to be sent.
    Released(u64),
}
