//! The packets.

use super::super::basic::{PacketId, PacketType, QoS};
use bytes::Bytes;
use bytestring::ByteString;
use std::fmt;

/// A control packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Packet {
    /// Client to server: the first packet.
    Connect(Box<Connect>),
    /// Server to client: the answer to it.
    ConnAck(ConnAck),
    /// Either way: a message.
    Publish(Publish),
    /// Either way: a message of quality 1 was taken.
    PubAck(PacketId),
    /// Either way: first answer of quality 2.
    PubRec(PacketId),
    /// Either way: second step of quality 2.
    PubRel(PacketId),
    /// Either way: end of quality 2.
    PubComp(PacketId),
    /// Client to server: wants messages.
    Subscribe(Subscribe),
    /// Server to client: the answer to it.
    SubAck(SubAck),
    /// Client to server: no longer wants messages.
    Unsubscribe(Unsubscribe),
    /// Server to client: the answer to it.
    UnsubAck(PacketId),
    /// Client to server: still here.
    PingReq,
    /// Server to client: so am I.
    PingResp,
    /// Client to server: a graceful end.
    Disconnect,
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
            Self::Disconnect => PacketType::Disconnect,
        }
    }
}

/// CONNECT. `Debug` hides the password.
#[derive(Clone, PartialEq, Eq)]
pub struct Connect {
    /// May be empty; then the server chooses, if the session is clean.
    pub client_id: ByteString,
    /// Longest silence of the client, seconds; 0 turns it off.
    pub keep_alive: u16,
    /// Whether an earlier session is forgotten.
    pub clean_session: bool,
    /// What to publish if the client vanishes.
    pub will: Option<Will>,
    /// User name.
    pub username: Option<ByteString>,
    /// Password; never without a user name.
    pub password: Option<Bytes>,
}

impl fmt::Debug for Connect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connect")
            .field("client_id", &self.client_id)
            .field("keep_alive", &self.keep_alive)
            .field("clean_session", &self.clean_session)
            .field("will", &self.will)
            .field("username", &self.username)
            .field("password", &self.password.as_ref().map(|_| "<hidden>"))
            .finish()
    }
}

/// The message that is published when a client vanishes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Will {
    /// Where.
    pub topic: ByteString,
    /// What.
    pub payload: Bytes,
    /// How.
    pub qos: QoS,
    /// Whether it is to be retained.
    pub retain: bool,
}

/// CONNACK.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnAck {
    /// Whether the server kept a session; only with [`ConnectReturnCode::Accepted`].
    pub session_present: bool,
    /// The answer.
    pub code: ConnectReturnCode,
}

/// The answer in a CONNACK.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ConnectReturnCode {
    /// Welcome.
    Accepted = 0,
    /// The protocol level is not supported.
    UnacceptableProtocolVersion = 1,
    /// The client id is not allowed.
    IdentifierRejected = 2,
    /// Try again later.
    ServerUnavailable = 3,
    /// User name or password are malformed.
    BadUserNameOrPassword = 4,
    /// Not authorised.
    NotAuthorized = 5,
}

impl ConnectReturnCode {
    /// The code of a number 0 to 5.
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Accepted),
            1 => Some(Self::UnacceptableProtocolVersion),
            2 => Some(Self::IdentifierRejected),
            3 => Some(Self::ServerUnavailable),
            4 => Some(Self::BadUserNameOrPassword),
            5 => Some(Self::NotAuthorized),
            _ => None,
        }
    }
}

/// PUBLISH.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publish {
    /// Whether it may have been sent before; never with quality 0.
    pub dup: bool,
    /// Quality.
    pub qos: QoS,
    /// Whether it is to be retained, or was.
    pub retain: bool,
    /// Where; not empty.
    pub topic: ByteString,
    /// Present exactly with quality 1 and 2.
    pub packet_id: Option<PacketId>,
    /// What.
    pub payload: Bytes,
}

/// A PUBLISH whose parts lie elsewhere, for [`encode_publish`](super::encode_publish): a broker sends the same ones to many.
#[derive(Debug, Clone, Copy)]
pub struct PublishRef<'a> {
    /// See [`Publish`].
    pub dup: bool,
    /// See there.
    pub qos: QoS,
    /// See there.
    pub retain: bool,
    /// See there.
    pub topic: &'a str,
    /// See there.
    pub packet_id: Option<PacketId>,
    /// See there.
    pub payload: &'a [u8],
}

impl Publish {
    /// Its parts.
    pub fn as_parts(&self) -> PublishRef<'_> {
        let Self { dup, qos, retain, topic, packet_id, payload } = self;
        PublishRef { dup: *dup, qos: *qos, retain: *retain, topic, packet_id: *packet_id, payload }
    }
}

/// SUBSCRIBE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscribe {
    /// Answered with the same.
    pub packet_id: PacketId,
    /// At least one.
    pub filters: Vec<SubscribeFilter>,
}

/// A wish of a SUBSCRIBE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubscribeFilter {
    /// Not empty.
    pub filter: ByteString,
    /// Highest quality wanted.
    pub qos: QoS,
}

/// SUBACK.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubAck {
    /// Of the SUBSCRIBE.
    pub packet_id: PacketId,
    /// One per filter, in order.
    pub codes: Vec<SubAckCode>,
}

/// The answer to one filter of a SUBSCRIBE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SubAckCode {
    /// Granted with this quality.
    Granted(QoS),
    /// Refused (0x80).
    Failure,
}

/// UNSUBSCRIBE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsubscribe {
    /// Answered with the same.
    pub packet_id: PacketId,
    /// At least one; none is empty.
    pub filters: Vec<ByteString>,
}
