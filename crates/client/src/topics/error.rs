//! What can go wrong, and whether trying again can help.

use super::ReasonCode;

/// Shorthand of this module.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failure of a client of ordinary topics. Cheap to clone: one broken connection fails many callers. No text holds a secret.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The address of the server cannot be used.
    #[error("not an address of an MQTT server: {0}; write mqtt://host:port or mqtts://user@host:port")]
    Url(String),
    /// An option, a topic or a message cannot be used.
    #[error("{0}")]
    Configuration(String),
    /// No connection, or it broke; TLS does not hold; no answer came. Retried by itself.
    #[error(transparent)]
    Connection(#[from] crate::Error),
    /// The server did not take the client.
    #[error("the server refused the connection: {reason}{}; {}", text(said), rejection_cure(*reason))]
    Rejected {
        /// Why, in MQTT 3.1.1 as the code of 5.0 that means the same.
        reason: ReasonCode,
        /// The server's own words, shortened.
        said: Option<String>,
    },
    /// The server ended the connection and said why (MQTT 5.0 only).
    #[error("the server ended the connection: {reason}{}{}", text(said), ending_cure(*reason))]
    Ended {
        /// Why.
        reason: ReasonCode,
        /// The server's own words, shortened.
        said: Option<String>,
    },
    /// The server did not take a message or a subscription.
    #[error(
        "the server refused {topic:?}: {reason}{}; check what its access list lets this client do, and its limits",
        text(said)
    )]
    Refused {
        /// The topic or the filter.
        topic: String,
        /// Why.
        reason: ReasonCode,
        /// The server's own words, shortened.
        said: Option<String>,
    },
    /// The server lost the session in the middle of a delivery of QoS 2. It had taken the message, and may have lost it too.
    #[error("the server lost the session while it had {0:?}: it may or may not have passed the message on")]
    SessionLost(String),
    /// The server broke the protocol.
    #[error("the server broke the protocol: {0}")]
    Protocol(String),
    /// The client was closed.
    #[error("the client is closed")]
    Closed,
}

impl Error {
    /// Whether a new attempt can succeed without anybody changing the configuration of this client.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Connection(error) => error.is_transient(),
            Self::Protocol(_) | Self::SessionLost(_) => true,
            Self::Rejected { reason, .. } => matches!(
                reason,
                ReasonCode::ServerUnavailable
                    | ReasonCode::ServerBusy
                    | ReasonCode::UnspecifiedError
                    | ReasonCode::QuotaExceeded
                    | ReasonCode::ConnectionRateExceeded
                    | ReasonCode::UseAnotherServer
            ),
            Self::Ended { reason, .. } => !matches!(
                reason,
                ReasonCode::SessionTakenOver | ReasonCode::NotAuthorized | ReasonCode::ServerMoved
            ),
            Self::Url(_) | Self::Configuration(_) | Self::Refused { .. } | Self::Closed => false,
        }
    }
}

/// The server's own words, for the middle of an error.
fn text(said: &Option<String>) -> String {
    said.as_ref().map(|said| format!(" ({said})")).unwrap_or_default()
}

fn rejection_cure(reason: ReasonCode) -> &'static str {
    match reason {
        ReasonCode::BadUserNameOrPassword => "check the user name and the password",
        ReasonCode::NotAuthorized => "check the user name, the password and the server's access list",
        ReasonCode::ClientIdentifierNotValid => "use another client id",
        ReasonCode::UnsupportedProtocolVersion => "the server speaks another version, try MQTT 3.1.1",
        ReasonCode::UseAnotherServer | ReasonCode::ServerMoved => "use another server",
        ReasonCode::QoSNotSupported | ReasonCode::RetainNotSupported => {
            "the will asks for what the server lacks"
        }
        ReasonCode::Banned => "its administrator has to let this client in",
        _ => "look into the server's log",
    }
}

fn ending_cure(reason: ReasonCode) -> &'static str {
    match reason {
        ReasonCode::SessionTakenOver => "; another client uses the same client id, give each its own",
        ReasonCode::KeepAliveTimeout => "; the network or this program is too slow for the keep-alive time",
        ReasonCode::PacketTooLarge => "; a message is larger than the server takes",
        ReasonCode::NotAuthorized => "; check the server's access list",
        _ => "",
    }
}
