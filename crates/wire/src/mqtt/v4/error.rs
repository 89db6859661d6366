//! What can be wrong with a packet.

use crate::mqtt::basic::{PacketType, Sender};
use crate::mqtt::reader::Fault;
use crate::mqtt::topic::TopicFault;

/// A packet that breaks a rule of the standard; the clause is in brackets. The connection cannot go on after one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Violation {
    /// The remaining length has more than four bytes.
    #[error("the remaining length has more than four bytes [2.2.3]")]
    RemainingLength,
    /// The packet is longer than the receiver takes.
    #[error("a packet of {len} bytes is longer than the {max} allowed")]
    TooLarge {
        /// Bytes announced, with the fixed header.
        len: usize,
        /// Bytes allowed.
        max: usize,
    },
    /// Packet types 0 and 15.
    #[error("packet type {0} is reserved [MQTT-2.2.1]")]
    PacketType(u8),
    /// Flags of the fixed header that the packet type does not have.
    #[error("flags {flags:#06b} are not valid for packet type {packet_type} [MQTT-2.2.2-2]")]
    Flags {
        /// The packet type.
        packet_type: u8,
        /// The low four bits.
        flags: u8,
    },
    /// The packet ends before its fields do.
    #[error("the packet ends within a field")]
    Truncated,
    /// The packet goes on after its fields.
    #[error("the packet is longer than its fields")]
    TrailingBytes,
    /// A string that is not UTF-8.
    #[error("a string is not UTF-8 [MQTT-1.5.3-1]")]
    Utf8,
    /// A string that holds U+0000.
    #[error("a string holds the null character [MQTT-1.5.3-2]")]
    NullCharacter,
    /// Packet identifier 0.
    #[error("the packet identifier is zero [MQTT-2.3.1-1]")]
    PacketIdZero,
    /// A CONNECT of another protocol.
    #[error("the protocol name is not MQTT [MQTT-3.1.2-1]")]
    ProtocolName,
    /// A CONNECT of another version; a server answers with return code 1.
    #[error("protocol level {0} is not supported, use level 4 (MQTT 3.1.1) [MQTT-3.1.2-2]")]
    ProtocolLevel(u8),
    /// The reserved connect flag is set.
    #[error("the reserved connect flag is set [MQTT-3.1.2-3]")]
    ConnectFlagReserved,
    /// Will quality 3, or will flags without a will.
    #[error("the will flags contradict each other [MQTT-3.1.2-11, -13, -14, -15]")]
    WillFlags,
    /// A password without a user name.
    #[error("a password without a user name [MQTT-3.1.2-22]")]
    PasswordWithoutUserName,
    /// CONNACK flags other than session present, or session present with a refusal.
    #[error("the connect acknowledge flags are not valid [MQTT-3.2.2-4]")]
    ConnAckFlags,
    /// A CONNACK with an unknown return code.
    #[error("connect return code {0} is reserved [3.2.2.3]")]
    ConnectReturnCode(u8),
    /// Quality 3.
    #[error("both QoS bits are set [MQTT-3.3.1-4]")]
    QoS,
    /// A PUBLISH with DUP and quality 0.
    #[error("DUP is set on a message of QoS 0 [MQTT-3.3.1-2]")]
    DupWithoutQoS,
    /// A SUBSCRIBE or UNSUBSCRIBE without a filter.
    #[error("there is no topic filter [MQTT-3.8.3-3, MQTT-3.10.3-2]")]
    NoFilter,
    /// More than [`FILTERS_MAX`](super::FILTERS_MAX) filters.
    #[error("there are more topic filters in a packet than are taken")]
    TooManyFilters,
    /// A requested quality above 2, or reserved bits set.
    #[error("the requested QoS is not 0, 1 or 2 [MQTT-3.8.3-4]")]
    RequestedQoS,
    /// A SUBACK with an unknown return code.
    #[error("subscribe return code {0:#04x} is reserved [MQTT-3.9.3-2]")]
    SubAckCode(u8),
    /// An empty topic or filter.
    #[error("a topic or topic filter is empty [MQTT-4.7.3-1]")]
    EmptyTopic,
    /// A packet that this side never sends. Only of [`Packet::check`](super::Packet::check).
    #[error("a {sender} does not send {packet_type}")]
    Sender {
        /// The packet.
        packet_type: PacketType,
        /// Who sent it.
        sender: Sender,
    },
    /// Not a topic name. Only of [`Packet::check`](super::Packet::check).
    #[error("a topic name is not valid: {0}")]
    TopicName(TopicFault),
    /// Not a topic filter. Only of [`Packet::check`](super::Packet::check).
    #[error("a topic filter is not valid: {0}")]
    TopicFilter(TopicFault),
}

impl From<Fault> for Violation {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::VariableByteInteger => Self::RemainingLength,
            Fault::TooLarge { len, max } => Self::TooLarge { len, max },
            Fault::Truncated => Self::Truncated,
            Fault::Utf8 => Self::Utf8,
            Fault::NullCharacter => Self::NullCharacter,
            Fault::PacketIdZero => Self::PacketIdZero,
        }
    }
}

/// A packet that cannot be written. Nothing was written then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Unencodable {
    /// A string, a will payload or a password of more than 65 535 bytes.
    #[error("a field has {0} bytes, at most 65535 are possible")]
    Field(usize),
    /// More than 268 435 455 bytes after the fixed header.
    #[error("a packet has {0} bytes, at most 268435455 are possible")]
    Packet(usize),
    /// A PUBLISH whose packet identifier does not go with its quality.
    #[error("a message has a packet identifier exactly if its QoS is 1 or 2")]
    PacketId,
    /// A password without a user name.
    #[error("a password needs a user name")]
    PasswordWithoutUserName,
    /// A text with U+0000.
    #[error("a text holds the null character, which no receiver takes")]
    NullCharacter,
    /// An empty topic or filter.
    #[error("a topic or topic filter is empty")]
    EmptyTopic,
    /// DUP on a message of quality 0.
    #[error("a message of QoS 0 is never a duplicate")]
    DupWithoutQoS,
    /// A SUBSCRIBE or UNSUBSCRIBE without a filter.
    #[error("there is no topic filter")]
    NoFilter,
    /// A CONNACK that refuses and yet tells of a session.
    #[error("a refusal has no session present")]
    SessionPresent,
}
