//! Reason codes (section 2.4) and which packets may have them.

use crate::mqtt::basic::{PacketType, Sender};
use std::fmt;

macro_rules! reason_codes {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $text:literal, [$($packet:ident)*];)*) => {
        /// Why a packet was sent, or how a request ended. 0x80 and above are failures.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum ReasonCode {
            $($(#[$doc])* $name = $number,)*
        }

        impl ReasonCode {
            /// All of them, by number.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The code of a number, if the standard names it.
            pub const fn from_number(number: u8) -> Option<Self> {
                match number {
                    $($number => Some(Self::$name),)*
                    _ => None,
                }
            }

            /// The packets that may have it.
            pub const fn packet_types(self) -> &'static [PacketType] {
                match self {
                    $(Self::$name => &[$(PacketType::$packet),*],)*
                }
            }

            const fn text(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

// rule MQTT-34, at `BadAuthenticationMethod`
reason_codes! {
    /// Done; also normal disconnection and granted quality 0.
    Success = 0x00, "success", [ConnAck PubAck PubRec PubRel PubComp SubAck UnsubAck Disconnect Auth];
    /// Granted with quality 1.
    GrantedQoS1 = 0x01, "granted QoS 1", [SubAck];
    /// Granted with quality 2.
    GrantedQoS2 = 0x02, "granted QoS 2", [SubAck];
    /// The client leaves and wants its will published.
    DisconnectWithWill = 0x04, "disconnect with will message", [Disconnect];
    /// Taken, but nobody is subscribed.
    NoMatchingSubscribers = 0x10, "no matching subscribers", [PubAck PubRec];
    /// There was nothing to unsubscribe from.
    NoSubscriptionExisted = 0x11, "no subscription existed", [UnsubAck];
    /// Another step is wanted.
    ContinueAuthentication = 0x18, "continue authentication", [Auth];
    /// The client starts to authenticate anew.
    ReAuthenticate = 0x19, "re-authenticate", [Auth];
    /// A failure without a name.
    UnspecifiedError = 0x80, "unspecified error", [ConnAck PubAck PubRec SubAck UnsubAck Disconnect];
    /// A packet that could not be parsed.
    MalformedPacket = 0x81, "malformed packet", [ConnAck Disconnect];
    /// Data not allowed here, or an unexpected packet.
    ProtocolError = 0x82, "protocol error", [ConnAck Disconnect];
    /// Well-formed, but not taken by this receiver.
    ImplementationSpecificError = 0x83, "implementation specific error", [ConnAck PubAck PubRec SubAck UnsubAck Disconnect];
    /// The protocol level is not served.
    UnsupportedProtocolVersion = 0x84, "unsupported protocol version", [ConnAck];
    /// The client id is not allowed.
    ClientIdentifierNotValid = 0x85, "client identifier not valid", [ConnAck];
    /// Who it is could not be proved.
    BadUserNameOrPassword = 0x86, "bad user name or password", [ConnAck];
    /// It may not do that.
    NotAuthorized = 0x87, "not authorized", [ConnAck PubAck PubRec SubAck UnsubAck Disconnect];
    /// The server is not available.
    ServerUnavailable = 0x88, "server unavailable", [ConnAck];
    /// Try again later.
    ServerBusy = 0x89, "server busy", [ConnAck Disconnect];
    /// Banned by an administrator.
    Banned = 0x8a, "banned", [ConnAck];
    /// The server stops.
    ServerShuttingDown = 0x8b, "server shutting down", [Disconnect];
    /// The authentication method is not served, or not the one in use. The table of section 3.14.2.1 leaves DISCONNECT out,
    /// that of section 2.4 has it: it is taken.
    BadAuthenticationMethod = 0x8c, "bad authentication method", [ConnAck Disconnect];
    /// Silence for longer than one and a half keep-alive times.
    KeepAliveTimeout = 0x8d, "keep alive timeout", [Disconnect];
    /// Another connection uses the client id.
    SessionTakenOver = 0x8e, "session taken over", [Disconnect];
    /// The topic filter is not accepted.
    TopicFilterInvalid = 0x8f, "topic filter invalid", [SubAck UnsubAck Disconnect];
    /// The topic name is not accepted.
    TopicNameInvalid = 0x90, "topic name invalid", [ConnAck PubAck PubRec Disconnect];
    /// The packet identifier is in use: the two sides disagree about the session.
    PacketIdentifierInUse = 0x91, "packet identifier in use", [PubAck PubRec SubAck UnsubAck];
    /// The packet identifier is not known; no failure during recovery.
    PacketIdentifierNotFound = 0x92, "packet identifier not found", [PubRel PubComp];
    /// More unacknowledged messages than the receive maximum.
    ReceiveMaximumExceeded = 0x93, "receive maximum exceeded", [Disconnect];
    /// A topic alias of zero, above the maximum, or never set.
    TopicAliasInvalid = 0x94, "topic alias invalid", [Disconnect];
    /// The packet is longer than the receiver takes.
    PacketTooLarge = 0x95, "packet too large", [ConnAck Disconnect];
    /// Too many messages per time.
    MessageRateTooHigh = 0x96, "message rate too high", [Disconnect];
    /// A limit is reached.
    QuotaExceeded = 0x97, "quota exceeded", [ConnAck PubAck PubRec SubAck Disconnect];
    /// Closed by an administrator.
    AdministrativeAction = 0x98, "administrative action", [Disconnect];
    /// The payload is not what its format indicator says.
    PayloadFormatInvalid = 0x99, "payload format invalid", [ConnAck PubAck PubRec Disconnect];
    /// The server keeps no retained messages.
    RetainNotSupported = 0x9a, "retain not supported", [ConnAck Disconnect];
    /// A quality above the server's maximum.
    QoSNotSupported = 0x9b, "QoS not supported", [ConnAck Disconnect];
    /// For now, use another server.
    UseAnotherServer = 0x9c, "use another server", [ConnAck Disconnect];
    /// For ever, use another server.
    ServerMoved = 0x9d, "server moved", [ConnAck Disconnect];
    /// The server has no shared subscriptions.
    SharedSubscriptionsNotSupported = 0x9e, "shared subscriptions not supported", [SubAck Disconnect];
    /// Too many connections per time.
    ConnectionRateExceeded = 0x9f, "connection rate exceeded", [ConnAck Disconnect];
    /// The longest time of a connection is over.
    MaximumConnectTime = 0xa0, "maximum connect time", [Disconnect];
    /// The server has no subscription identifiers.
    SubscriptionIdentifiersNotSupported = 0xa1, "subscription identifiers not supported", [SubAck Disconnect];
    /// The server has no wildcard subscriptions.
    WildcardSubscriptionsNotSupported = 0xa2, "wildcard subscriptions not supported", [SubAck Disconnect];
}

impl ReasonCode {
    /// 0x00 in a DISCONNECT.
    pub const NORMAL_DISCONNECTION: Self = Self::Success;
    /// 0x00 in a SUBACK.
    pub const GRANTED_QOS_0: Self = Self::Success;

    /// The byte on the wire.
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// Whether it tells of a failure.
    pub const fn is_error(self) -> bool {
        self.number() >= 0x80
    }

    /// Whether a packet of this type may have it.
    pub fn is_allowed_in(self, packet_type: PacketType) -> bool {
        self.packet_types().contains(&packet_type)
    }

    /// The only side that may send it in a DISCONNECT or AUTH, where there is one (sections 3.14.2.1 and 3.15.2.1).
    pub(super) const fn only_sender(self, packet_type: PacketType) -> Option<Sender> {
        match (packet_type, self) {
            (PacketType::Disconnect, Self::DisconnectWithWill) => Some(Sender::Client),
            (
                PacketType::Disconnect,
                Self::Success
                | Self::UnspecifiedError
                | Self::MalformedPacket
                | Self::ProtocolError
                | Self::ImplementationSpecificError
                | Self::BadAuthenticationMethod
                | Self::TopicNameInvalid
                | Self::ReceiveMaximumExceeded
                | Self::TopicAliasInvalid
                | Self::PacketTooLarge
                | Self::MessageRateTooHigh
                | Self::QuotaExceeded
                | Self::AdministrativeAction
                | Self::PayloadFormatInvalid,
            ) => None,
            (PacketType::Disconnect, _) => Some(Sender::Server),
            (PacketType::Auth, Self::Success) => Some(Sender::Server),
            (PacketType::Auth, Self::ReAuthenticate) => Some(Sender::Client),
            _ => None,
        }
    }
}

impl fmt::Display for ReasonCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({:#04x})", self.text(), self.number())
    }
}
