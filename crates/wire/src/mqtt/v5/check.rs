//! Rules beyond the single field: who sent it, and the grammar of topics.

use super::{Connect, Disconnect, Packet, PropertyId, Publish, ReasonCode, SubscribeFilter, Violation};
use crate::mqtt::basic::{PacketType, Sender};
use crate::mqtt::topic::{Filter, check_name};

impl Packet {
    /// Refuses what this side may not send, and topics that break the grammar. For doors that serve ordinary topics.
    pub fn check(&self, sender: Sender) -> Result<(), Violation> {
        let packet_type = self.packet_type();
        if packet_type.only_sender().is_some_and(|only| only != sender) {
            return Err(Violation::Sender { packet_type, sender });
        }
        match self {
            Self::Connect(connect) => connect.check(),
            Self::Publish(publish) => publish.check(sender),
            Self::Subscribe(subscribe) => subscribe.filters.iter().try_for_each(SubscribeFilter::check),
            Self::Unsubscribe(unsubscribe) => unsubscribe
                .filters
                .iter()
                .try_for_each(|filter| Filter::parse(filter).map(drop).map_err(Violation::TopicFilter)),
            Self::Disconnect(end) => end.check(sender),
            Self::Auth(auth) => check_reason(auth.reason, PacketType::Auth, sender),
            _ => Ok(()),
        }
    }
}

fn check_reason(code: ReasonCode, packet_type: PacketType, sender: Sender) -> Result<(), Violation> {
    match code.only_sender(packet_type) {
        Some(only) if only != sender => Err(Violation::ReasonCodeSender { code, sender }),
        _ => Ok(()),
    }
}

impl Connect {
    fn check(&self) -> Result<(), Violation> {
        let Some(will) = &self.will else { return Ok(()) };
        check_name(&will.topic).map_err(Violation::TopicName)?;
        check_response_topic(will.properties.response_topic.as_deref())
    }
}

impl Publish {
    fn check(&self, sender: Sender) -> Result<(), Violation> {
        // An empty topic has an alias, or decoding had refused it.
        if !self.topic.is_empty() {
            check_name(&self.topic).map_err(Violation::TopicName)?;
        }
        if sender == Sender::Client && !self.properties.subscription_identifiers.is_empty() {
            return Err(Violation::PropertySender { id: PropertyId::SubscriptionIdentifier, sender });
        }
        check_response_topic(self.properties.response_topic.as_deref())
    }
}

fn check_response_topic(topic: Option<&str>) -> Result<(), Violation> {
    topic.map_or(Ok(()), check_name).map_err(Violation::TopicName)
}

impl SubscribeFilter {
    fn check(&self) -> Result<(), Violation> {
        let filter = Filter::parse(&self.filter).map_err(Violation::TopicFilter)?;
        if filter.share.is_some() && self.no_local { Err(Violation::NoLocalOnShared) } else { Ok(()) }
    }
}

impl Disconnect {
    fn check(&self, sender: Sender) -> Result<(), Violation> {
        check_reason(self.reason, PacketType::Disconnect, sender)?;
        let forbidden = match sender {
            Sender::Server => self.properties.session_expiry_interval.is_some(),
            Sender::Client => self.properties.server_reference.is_some(),
        };
        let id = match sender {
            Sender::Server => PropertyId::SessionExpiryInterval,
            Sender::Client => PropertyId::ServerReference,
        };
        if forbidden { Err(Violation::PropertySender { id, sender }) } else { Ok(()) }
    }
}
