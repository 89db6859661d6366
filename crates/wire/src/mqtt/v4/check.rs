//! Rules beyond the single field: who sent it, and the grammar of topics.

use super::Violation;
use super::packet::{Connect, ConnectReturnCode, Packet};
use crate::mqtt::basic::Sender;
use crate::mqtt::topic::{Filter, check_name};

impl Packet {
    /// Refuses what this side may not send, and topics that break the grammar. For doors that serve ordinary topics.
    ///
    /// A server that receives a violation closes the connection without an answer.
    pub fn check(&self, sender: Sender) -> Result<(), Violation> {
        let packet_type = self.packet_type();
        let only = match self {
            Self::Disconnect => Some(Sender::Client),
            _ => packet_type.only_sender(),
        };
        if only.is_some_and(|only| only != sender) {
            return Err(Violation::Sender { packet_type, sender });
        }
        match self {
            Self::Connect(connect) => match &connect.will {
                Some(will) => check_name(&will.topic).map_err(Violation::TopicName),
                None => Ok(()),
            },
            Self::Publish(publish) => check_name(&publish.topic).map_err(Violation::TopicName),
            Self::Subscribe(subscribe) => {
                subscribe.filters.iter().try_for_each(|wish| check_filter(&wish.filter))
            }
            Self::Unsubscribe(unsubscribe) => {
                unsubscribe.filters.iter().try_for_each(|filter| check_filter(filter))
            }
            _ => Ok(()),
        }
    }
}

fn check_filter(filter: &str) -> Result<(), Violation> {
    Filter::parse(filter).map(drop).map_err(Violation::TopicFilter)
}

impl Connect {
    /// The refusal of a client that wants a session kept but has no name for it [MQTT-3.1.3-8].
    pub fn check_client_id(&self) -> Result<(), ConnectReturnCode> {
        if self.client_id.is_empty() && !self.clean_session {
            Err(ConnectReturnCode::IdentifierRejected)
        } else {
            Ok(())
        }
    }
}
