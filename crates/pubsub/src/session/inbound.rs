//! What comes from the client.

use crate::{Publish, QoS, Reason};
use bytestring::ByteString;
use std::collections::{BTreeSet, HashMap};
use std::num::NonZeroU16;

/// What a PUBLISH turned out to be.
#[derive(Debug, PartialEq, Eq)]
pub enum Received {
    /// It is to be passed on; the topic is set.
    New(Publish),
    /// A message of QoS 2 that was passed on already: only the answer is wanted again ([MQTT-4.3.3-10] of 5.0).
    Again,
}

/// Identifiers and aliases of one client; most use neither.
#[derive(Debug, Default)]
pub struct Inbound {
    /// Passed on and not yet released, QoS 2.
    unreleased: BTreeSet<u16>,
    /// QoS 1 and not yet answered.
    unanswered: u16,
    aliases: Option<HashMap<u16, ByteString>>,
}

impl Inbound {
    /// A new connection: identifiers stay, aliases and counts go ([MQTT-3.3.2-7] of 5.0).
    pub fn connected(&mut self) {
        self.unanswered = 0;
        self.aliases = None;
    }

    /// Looks at a PUBLISH: alias, receive maximum, repetition. An error ends the connection.
    pub fn receive(
        &mut self,
        mut publish: Publish,
        receive_maximum: u16,
        alias_maximum: u16,
    ) -> Result<Received, Reason> {
        self.resolve(&mut publish, alias_maximum)?;
        let id = match (publish.qos, publish.packet_id) {
            (QoS::AtMostOnce, None) => return Ok(Received::New(publish)),
            (QoS::AtLeastOnce | QoS::ExactlyOnce, Some(id)) => id.get(),
            _ => return Err(Reason::ProtocolError),
        };
        if publish.qos == QoS::ExactlyOnce && self.unreleased.contains(&id) {
            return Ok(Received::Again);
        }
        // [MQTT-3.3.4-9]
        if usize::from(self.unanswered) + self.unreleased.len() >= usize::from(receive_maximum) {
            return Err(Reason::ReceiveMaximumExceeded);
        }
        if publish.qos == QoS::ExactlyOnce {
            self.unreleased.insert(id);
        } else {
            self.unanswered += 1;
        }
        Ok(Received::New(publish))
    }

    fn resolve(&mut self, publish: &mut Publish, alias_maximum: u16) -> Result<(), Reason> {
        let Some(alias) = publish.alias.take() else {
            return if publish.topic.is_empty() { Err(Reason::ProtocolError) } else { Ok(()) };
        };
        // [MQTT-3.3.2-8], [MQTT-3.3.2-9]
        if alias == 0 || alias > alias_maximum {
            return Err(Reason::TopicAliasInvalid);
        }
        if publish.topic.is_empty() {
            let known = self.aliases.as_ref().and_then(|aliases| aliases.get(&alias));
            publish.topic = known.ok_or(Reason::ProtocolError)?.clone();
        } else {
            // A copy: a slice would keep the whole frame for as long as the connection lives.
            self.aliases.get_or_insert_default().insert(alias, ByteString::from(&*publish.topic));
        }
        Ok(())
    }

    /// PUBACKs left.
    pub fn answered(&mut self, count: u16) {
        self.unanswered = self.unanswered.saturating_sub(count);
    }

    /// A message of QoS 2 was refused: its identifier is free, as PUBREC says why.
    pub fn refused(&mut self, id: NonZeroU16) {
        self.unreleased.remove(&id.get());
    }

    /// PUBREL: false if there is no such message.
    pub fn release(&mut self, id: NonZeroU16) -> bool {
        self.unreleased.remove(&id.get())
    }

    /// Read back from disk.
    pub(crate) fn restore(&mut self, id: u16) {
        self.unreleased.insert(id);
    }

    /// Identifiers of QoS 2 that were passed on and not released.
    pub fn unreleased(&self) -> impl Iterator<Item = u16> + '_ {
        self.unreleased.iter().copied()
    }
}
