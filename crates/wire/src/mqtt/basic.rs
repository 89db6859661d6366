//! What both versions have in common.

use std::fmt;
use std::num::NonZeroU16;

/// The largest remaining length, in bytes; also the largest variable byte integer.
pub const REMAINING_LEN_MAX: usize = 268_435_455;

/// The identifier of a packet that is answered; never zero [MQTT-2.3.1-1].
pub type PacketId = NonZeroU16;

/// Quality of service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum QoS {
    /// Not acknowledged.
    AtMostOnce = 0,
    /// Acknowledged with PUBACK.
    AtLeastOnce = 1,
    /// Acknowledged in two steps.
    ExactlyOnce = 2,
}

impl QoS {
    /// The level of a number 0 to 2.
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::AtMostOnce),
            1 => Some(Self::AtLeastOnce),
            2 => Some(Self::ExactlyOnce),
            _ => None,
        }
    }
}

/// Who sent a packet: some packets, and some fields, belong to one side only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Sender {
    /// The side that connects.
    Client,
    /// The side that is connected to.
    Server,
}

/// The type of a control packet, as in the high four bits of its first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum PacketType {
    /// Client to server: the first packet.
    Connect = 1,
    /// Server to client: the answer to it.
    ConnAck = 2,
    /// A message.
    Publish = 3,
    /// A message of quality 1 was taken.
    PubAck = 4,
    /// First answer of quality 2.
    PubRec = 5,
    /// Second step of quality 2.
    PubRel = 6,
    /// End of quality 2.
    PubComp = 7,
    /// Client to server: wants messages.
    Subscribe = 8,
    /// Server to client: the answer to it.
    SubAck = 9,
    /// Client to server: no longer wants messages.
    Unsubscribe = 10,
    /// Server to client: the answer to it.
    UnsubAck = 11,
    /// Client to server: still here.
    PingReq = 12,
    /// Server to client: so am I.
    PingResp = 13,
    /// The end; in MQTT 3.1.1 from the client only.
    Disconnect = 14,
    /// MQTT 5.0: a step of an enhanced authentication.
    Auth = 15,
}

impl PacketType {
    /// The type of a number 1 to 15.
    pub const fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::Connect,
            2 => Self::ConnAck,
            3 => Self::Publish,
            4 => Self::PubAck,
            5 => Self::PubRec,
            6 => Self::PubRel,
            7 => Self::PubComp,
            8 => Self::Subscribe,
            9 => Self::SubAck,
            10 => Self::Unsubscribe,
            11 => Self::UnsubAck,
            12 => Self::PingReq,
            13 => Self::PingResp,
            14 => Self::Disconnect,
            15 => Self::Auth,
            _ => return None,
        })
    }

    /// The low four bits of the first byte; `None` for PUBLISH, whose bits are flags.
    pub(super) const fn fixed_flags(self) -> Option<u8> {
        match self {
            Self::Publish => None,
            Self::PubRel | Self::Subscribe | Self::Unsubscribe => Some(0b0010),
            _ => Some(0),
        }
    }

    /// The only side that sends packets of this type, where there is one; of DISCONNECT the versions think differently.
    pub(super) const fn only_sender(self) -> Option<Sender> {
        match self {
            Self::Connect | Self::Subscribe | Self::Unsubscribe | Self::PingReq => Some(Sender::Client),
            Self::ConnAck | Self::SubAck | Self::UnsubAck | Self::PingResp => Some(Sender::Server),
            _ => None,
        }
    }
}

impl fmt::Display for PacketType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connect => "CONNECT",
            Self::ConnAck => "CONNACK",
            Self::Publish => "PUBLISH",
            Self::PubAck => "PUBACK",
            Self::PubRec => "PUBREC",
            Self::PubRel => "PUBREL",
            Self::PubComp => "PUBCOMP",
            Self::Subscribe => "SUBSCRIBE",
            Self::SubAck => "SUBACK",
            Self::Unsubscribe => "UNSUBSCRIBE",
            Self::UnsubAck => "UNSUBACK",
            Self::PingReq => "PINGREQ",
            Self::PingResp => "PINGRESP",
            Self::Disconnect => "DISCONNECT",
            Self::Auth => "AUTH",
        })
    }
}

impl fmt::Display for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Client => "client",
            Self::Server => "server",
        })
    }
}
