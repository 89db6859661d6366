//! A packet of any type.

use super::{
    Ack, Auth, ConnAck, Connect, Disconnect, Publish, SubAck, Subscribe, UnsubAck, Unsubscribe,
    UserProperties,
};
use crate::mqtt::basic::PacketType;
use bytestring::ByteString;

/// A control packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Packet {
    /// Client to server: the first packet.
    Connect(Box<Connect>),
    /// Server to client: the answer to it.
    ConnAck(Box<ConnAck>),
    /// Either way: a message.
    Publish(Publish),
    /// Either way: a message of quality 1 was taken.
    PubAck(Ack),
    /// Either way: first answer of quality 2.
    PubRec(Ack),
    /// Either way: second step of quality 2.
    PubRel(Ack),
    /// Either way: end of quality 2.
    PubComp(Ack),
    /// Client to server: wants messages.
    Subscribe(Subscribe),
    /// Server to client: the answer to it.
    SubAck(SubAck),
    /// Client to server: no longer wants messages.
    Unsubscribe(Unsubscribe),
    /// Server to client: the answer to it.
    UnsubAck(UnsubAck),
    /// Client to server: still here.
    PingReq,
    /// Server to client: so am I.
    PingResp,
    /// Either way: the end.
    Disconnect(Disconnect),
    /// Either way: a step of an enhanced authentication.
    Auth(Auth),
}

impl Packet {
    /// Its type.
    pub const fn packet_type(&self) -> PacketType {
        match self {
            Self::Connect(_) => PacketType::Connect,
            Self::ConnAck(_) => PacketType::ConnAck,
            Self::Publish(_) => PacketType::Publish,
            Self::PubAck(_) => PacketType::PubAck,
            Self::PubRec(_) => PacketType::PubRec,
            Self::PubRel(_) => PacketType::PubRel,
            Self::PubComp(_) => PacketType::PubComp,
            Self::Subscribe(_) => PacketType::Subscribe,
            Self::SubAck(_) => PacketType::SubAck,
            Self::Unsubscribe(_) => PacketType::Unsubscribe,
            Self::UnsubAck(_) => PacketType::UnsubAck,
            Self::PingReq => PacketType::PingReq,
            Self::PingResp => PacketType::PingResp,
            Self::Disconnect(_) => PacketType::Disconnect,
            Self::Auth(_) => PacketType::Auth,
        }
    }

    /// What a packet may leave out to become shorter: its reason in words and its user properties. Not those of messages and
    /// requests, which are the application's.
    pub(super) fn problem_information(&mut self) -> Option<(&mut Option<ByteString>, &mut UserProperties)> {
        let properties = match self {
            Self::ConnAck(ack) => return Some((&mut ack.properties.reason_string, &mut ack.properties.user)),
            Self::Disconnect(end) => {
                return Some((&mut end.properties.reason_string, &mut end.properties.user));
            }
            Self::Auth(auth) => return Some((&mut auth.properties.reason_string, &mut auth.properties.user)),
            Self::PubAck(ack) | Self::PubRec(ack) | Self::PubRel(ack) | Self::PubComp(ack) => {
                &mut ack.properties
            }
            Self::SubAck(ack) => &mut ack.properties,
            Self::UnsubAck(ack) => &mut ack.properties,
            _ => return None,
        };
        Some((&mut properties.reason_string, &mut properties.user))
    }
}
