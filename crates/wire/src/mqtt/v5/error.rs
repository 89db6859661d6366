//! What can be wrong with a packet, and what to answer.

use super::{PropertyId, ReasonCode};
use crate::mqtt::basic::{PacketType, Sender};
use crate::mqtt::reader::Fault;
use crate::mqtt::topic::TopicFault;

/// A packet that breaks a rule of the standard; the clause is in brackets. The connection cannot go on after one: it is
/// answered with [`reason`](Self::reason), in a CONNACK before and in a DISCONNECT after the connection is accepted, and closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Violation {
    /// A variable byte integer of more than four bytes, or of more than it needs.
    #[error("a variable byte integer has more bytes than it may have [MQTT-1.5.5-1]")]
    VariableByteInteger,
    /// The packet is longer than the receiver takes.
    #[error("a packet of {len} bytes is longer than the {max} allowed [3.1.2.11.4, 3.2.2.3.6]")]
    TooLarge {
        /// Bytes announced, with the fixed header.
        len: usize,
        /// Bytes allowed.
        max: usize,
    },
    /// Packet type 0.
    #[error("packet type {0} is reserved [2.1.2]")]
    PacketType(u8),
    /// Flags of the fixed header that the packet type does not have.
    #[error("flags {flags:#06b} are not valid for {packet_type} [MQTT-2.1.3-1]")]
    Flags {
        /// The packet type.
        packet_type: PacketType,
        /// The low four bits.
        flags: u8,
    },
    /// The packet, or its properties, end before their fields do.
    #[error("the packet ends within a field")]
    Truncated,
    /// The packet goes on after its fields.
    #[error("the packet is longer than its fields")]
    TrailingBytes,
    /// A string that is not UTF-8.
    #[error("a string is not UTF-8 [MQTT-1.5.4-1]")]
    Utf8,
    /// A string that holds U+0000.
    #[error("a string holds the null character [MQTT-1.5.4-2]")]
    NullCharacter,
    /// Packet identifier 0.
    #[error("the packet identifier is zero [MQTT-2.2.1-3, -4]")]
    PacketIdZero,
    /// A CONNECT of another protocol.
    #[error("the protocol name is not MQTT [MQTT-3.1.2-1]")]
    ProtocolName,
    /// A CONNECT of another version.
    #[error("protocol level {0} is not supported here, use level 5 (MQTT 5.0) [MQTT-3.1.2-2]")]
    ProtocolLevel(u8),
    /// The reserved connect flag is set.
    #[error("the reserved connect flag is set [MQTT-3.1.2-3]")]
    ConnectFlagReserved,
    /// Will quality 3, or will flags without a will.
    #[error("the will flags contradict each other [MQTT-3.1.2-11, -12, -13]")]
    WillFlags,
    /// CONNACK flags other than session present, or session present with a refusal.
    #[error("the connect acknowledge flags are not valid [MQTT-3.2.2-1, -6]")]
    ConnAckFlags,
    /// A reason code that the standard does not name for this packet.
    #[error("{packet_type} has no reason code {code:#04x} [2.4]")]
    ReasonCode {
        /// The packet.
        packet_type: PacketType,
        /// The code.
        code: u8,
    },
    /// A SUBACK or UNSUBACK without a reason code.
    #[error("there is no reason code [MQTT-3.8.4-6, 3.11.3]")]
    NoReasonCode,
    /// Quality 3.
    #[error("both QoS bits are set [MQTT-3.3.1-4]")]
    QoS,
    /// A PUBLISH with DUP and quality 0.
    #[error("DUP is set on a message of QoS 0 [MQTT-3.3.1-2]")]
    DupWithoutQoS,
    /// An empty topic where no alias stands for it, or an empty filter.
    #[error("a topic or topic filter is empty [MQTT-4.7.3-1, 3.3.2.1]")]
    EmptyTopic,
    /// A SUBSCRIBE or UNSUBSCRIBE without a filter.
    #[error("there is no topic filter [MQTT-3.8.3-2, MQTT-3.10.3-2]")]
    NoFilter,
    /// More than [`FILTERS_MAX`](super::FILTERS_MAX) filters or answers to them.
    #[error("there are more topic filters in a packet than are taken")]
    TooManyFilters,
    /// Reserved bits of the subscription options.
    #[error("reserved bits of the subscription options are set [MQTT-3.8.3-5]")]
    SubscriptionOptions,
    /// A requested quality of 3.
    #[error("the requested QoS is not 0, 1 or 2 [3.8.3.1]")]
    RequestedQoS,
    /// A retain handling of 3.
    #[error("the retain handling is not 0, 1 or 2 [3.8.3.1]")]
    RetainHandling,
    /// An identifier that no property has.
    #[error("there is no property {0:#04x} [2.2.2.2]")]
    PropertyUnknown(usize),
    /// A property that this packet does not have.
    #[error("{owner} has no property {id} [2.2.2.2]")]
    PropertyForbidden {
        /// The packet; CONNECT also stands for a will.
        owner: PacketType,
        /// The property.
        id: PropertyId,
    },
    /// A property that stands twice.
    #[error("the property {0} stands more than once")]
    PropertyRepeated(PropertyId),
    /// A value outside the property's range.
    #[error("the value of the property {0} is not allowed")]
    PropertyValue(PropertyId),
    /// More than [`PROPERTIES_LEN_MAX`](super::PROPERTIES_LEN_MAX) bytes.
    #[error("the properties have {0} bytes, more than are taken")]
    PropertiesTooLarge(usize),
    /// More than [`USER_PROPERTIES_MAX`](super::USER_PROPERTIES_MAX).
    #[error("there are more user properties in a packet than are taken")]
    TooManyUserProperties,
    /// More than [`SUBSCRIPTION_IDS_MAX`](super::SUBSCRIPTION_IDS_MAX).
    #[error("there are more subscription identifiers in a packet than are taken")]
    TooManySubscriptionIds,
    /// Authentication data, or an AUTH, without a method.
    #[error("the authentication method is missing [3.1.2.11.10, 3.15.2.2.2]")]
    NoAuthMethod,
    /// A packet that this side never sends. Only of [`Packet::check`](super::Packet::check).
    #[error("a {sender} does not send {packet_type}")]
    Sender {
        /// The packet.
        packet_type: PacketType,
        /// Who sent it.
        sender: Sender,
    },
    /// A reason code that this side never sends. Only of [`Packet::check`](super::Packet::check).
    #[error("a {sender} does not send the reason code {code} [MQTT-3.14.2-1, MQTT-3.15.2-1]")]
    ReasonCodeSender {
        /// The code.
        code: ReasonCode,
        /// Who sent it.
        sender: Sender,
    },
    /// A property that this side never sends. Only of [`Packet::check`](super::Packet::check).
    #[error("a {sender} does not send the property {id} here [MQTT-3.3.4-6, MQTT-3.14.2-2]")]
    PropertySender {
        /// The property.
        id: PropertyId,
        /// Who sent it.
        sender: Sender,
    },
    /// Not a topic name. Only of [`Packet::check`](super::Packet::check).
    #[error("a topic name is not valid: {0}")]
    TopicName(TopicFault),
    /// Not a topic filter. Only of [`Packet::check`](super::Packet::check).
    #[error("a topic filter is not valid: {0}")]
    TopicFilter(TopicFault),
    /// No local on a shared subscription. Only of [`Packet::check`](super::Packet::check).
    #[error("a shared subscription cannot leave out what its own client sends [MQTT-3.8.3-4]")]
    NoLocalOnShared,
}

impl Violation {
    /// The reason code to answer with, for CONNACK and DISCONNECT.
    pub const fn reason(&self) -> ReasonCode {
        match self {
            Self::TooLarge { .. } | Self::PropertiesTooLarge(_) => ReasonCode::PacketTooLarge,
            Self::TooManyFilters | Self::TooManyUserProperties | Self::TooManySubscriptionIds => {
                ReasonCode::QuotaExceeded
            }
            Self::ProtocolName | Self::ProtocolLevel(_) => ReasonCode::UnsupportedProtocolVersion,
            // rule MQTT-33
            // Section 3.3.2.3.4 names no code for a topic alias of zero; clients expect the one of its name.
            Self::PropertyValue(PropertyId::TopicAlias) => ReasonCode::TopicAliasInvalid,
            Self::TopicName(_) => ReasonCode::TopicNameInvalid,
            Self::TopicFilter(_) => ReasonCode::TopicFilterInvalid,
            Self::VariableByteInteger
            | Self::PacketType(_)
            | Self::Flags { .. }
            | Self::Truncated
            | Self::TrailingBytes
            | Self::Utf8
            | Self::NullCharacter
            | Self::ConnectFlagReserved
            | Self::WillFlags
            | Self::ConnAckFlags
            | Self::QoS
            | Self::DupWithoutQoS
            | Self::SubscriptionOptions
            | Self::PropertyUnknown(_)
            | Self::PropertyForbidden { .. } => ReasonCode::MalformedPacket,
            Self::PacketIdZero
            | Self::ReasonCode { .. }
            | Self::NoReasonCode
            | Self::EmptyTopic
            | Self::NoFilter
            | Self::RequestedQoS
            | Self::RetainHandling
            | Self::PropertyRepeated(_)
            | Self::PropertyValue(_)
            | Self::NoAuthMethod
            | Self::Sender { .. }
            | Self::ReasonCodeSender { .. }
            | Self::PropertySender { .. }
            | Self::NoLocalOnShared => ReasonCode::ProtocolError,
        }
    }
}

impl From<Fault> for Violation {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::VariableByteInteger => Self::VariableByteInteger,
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
    /// A string or binary field of more than 65 535 bytes.
    #[error("a field has {0} bytes, at most 65535 are possible")]
    Field(usize),
    /// More than 268 435 455 bytes after the fixed header, or of properties.
    #[error("a packet has {0} bytes, at most 268435455 are possible")]
    Packet(usize),
    /// Longer than the receiver takes, also without what may be left out. A message is then dropped as if it had been sent
    /// [MQTT-3.1.2-25].
    #[error("a packet has {len} bytes, its receiver takes at most {max}")]
    TooLarge {
        /// Bytes it would have.
        len: usize,
        /// Bytes the receiver takes.
        max: usize,
    },
    /// A text with U+0000.
    #[error("a text holds the null character, which no receiver takes")]
    NullCharacter,
    /// A PUBLISH whose packet identifier does not go with its quality.
    #[error("a message has a packet identifier exactly if its QoS is 1 or 2")]
    PacketId,
    /// DUP on a message of quality 0.
    #[error("a message of QoS 0 is never a duplicate")]
    DupWithoutQoS,
    /// An empty topic without an alias, or an empty filter.
    #[error("a topic or topic filter is empty")]
    EmptyTopic,
    /// A SUBSCRIBE or UNSUBSCRIBE without a filter.
    #[error("there is no topic filter")]
    NoFilter,
    /// A SUBACK or UNSUBACK without a reason code.
    #[error("there is no reason code")]
    NoReasonCode,
    /// A reason code that the packet does not have.
    #[error("{packet_type} has no reason code {code}")]
    ReasonCode {
        /// The packet.
        packet_type: PacketType,
        /// The code.
        code: ReasonCode,
    },
    /// A CONNACK that refuses and yet tells of a session.
    #[error("a refusal has no session present")]
    SessionPresent,
    /// A value outside the property's range.
    #[error("the value of the property {0} is not allowed")]
    PropertyValue(PropertyId),
    /// Authentication data, or a step of an authentication, without a method.
    #[error("the authentication method is missing")]
    NoAuthMethod,
}
