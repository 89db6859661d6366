//! Why something was not done, in MQTT 5.0's reason codes; what a 3.1.1 client is told the door decides.

/// A reason code of 0x80 and above, or one of the two successes that say more than success.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[repr(u8)]
pub enum Reason {
    /// Nobody subscribed to what was published; it is a success.
    #[error("nobody subscribed to this topic")]
    NoMatchingSubscribers = 0x10,
    /// There was no such subscription; it is a success.
    #[error("there was no such subscription")]
    NoSubscriptionExisted = 0x11,
    /// The client broke a rule of the protocol.
    #[error("the client broke a rule of the protocol")]
    ProtocolError = 0x82,
    /// The broker's own fault.
    #[error("the broker could not do this; its log says more")]
    ImplementationSpecificError = 0x83,
    /// A client identifier that is not valid.
    #[error("the client identifier is not valid")]
    ClientIdentifierNotValid = 0x85,
    /// Wrong user name or password.
    #[error("wrong user name or password")]
    BadUserNameOrPassword = 0x86,
    /// No rule allows it.
    #[error("no rule allows this; add one to the access list")]
    NotAuthorized = 0x87,
    /// Storage failed, or the broker goes down.
    #[error("the broker is not available; try again later")]
    ServerUnavailable = 0x88,
    /// Storage is behind; the same again when there is room.
    #[error("the broker has no room now; try again")]
    ServerBusy = 0x89,
    /// Another connection has the session.
    #[error("another connection took the session over")]
    SessionTakenOver = 0x8E,
    /// A filter that is none.
    #[error("the topic filter is not valid")]
    TopicFilterInvalid = 0x8F,
    /// A name that is none, or one nobody may publish to.
    #[error("the topic name is not valid")]
    TopicNameInvalid = 0x90,
    /// The packet identifier is in use.
    #[error("the packet identifier is in use")]
    PacketIdentifierInUse = 0x91,
    /// The packet identifier is not in use.
    #[error("the packet identifier is not in use")]
    PacketIdentifierNotFound = 0x92,
    /// More messages under way than allowed.
    #[error("the client sent more messages at once than the receive maximum allows")]
    ReceiveMaximumExceeded = 0x93,
    /// An alias out of range or unknown.
    #[error("the topic alias is not valid")]
    TopicAliasInvalid = 0x94,
    /// Larger than the broker takes.
    #[error("the packet is too large")]
    PacketTooLarge = 0x95,
    /// A bound of the configuration.
    #[error("a quota of the broker is used up")]
    QuotaExceeded = 0x97,
    /// Ended by an operator.
    #[error("an operator ended the connection")]
    AdministrativeAction = 0x98,
    /// A QoS above the maximum.
    #[error("the broker does not take this quality of service")]
    QosNotSupported = 0x9B,
}

impl Reason {
    /// The code on the wire of 5.0.
    pub fn code(self) -> u8 {
        self as u8
    }

    /// Whether it is a success.
    pub fn is_success(self) -> bool {
        self.code() < 0x80
    }
}
