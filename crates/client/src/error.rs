//! What can go wrong, and whether trying again can help.

use ironbrook_model::{ConnectionStringError, IdError};
use std::sync::Arc;

/// Shorthand of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failure of a client. Cheap to clone: one broken connection fails many callers. No text holds a secret.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The connection string cannot be used.
    #[error("the connection string cannot be used: {0}")]
    ConnectionString(#[from] ConnectionStringError),
    /// An id in the connection string or call is not valid.
    #[error("not a valid device or module id: {0}")]
    Id(#[from] IdError),
    /// An environment variable is missing or cannot be used.
    #[error("the environment variable {name} {reason}")]
    Variable {
        /// Its name.
        name: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// A certificate file or another option cannot be used.
    #[error("{0}")]
    Configuration(String),
    /// The hub does not accept who we say we are. Final, unless the client was built to retry it.
    #[error(
        "not authorised: {0}; check the key, the id, whether the device is enabled, and this machine's clock"
    )]
    Unauthorized(String),
    /// Who keeps the key did not sign: a workload socket that is gone, a signer that is too slow.
    #[error("no token could be signed: {0}; check that the process that keeps the key is running")]
    Signing(String),
    /// No connection, or it broke. Retried by itself where the client keeps a connection.
    #[error("{action} failed: {source}")]
    Network {
        /// What was tried.
        action: String,
        /// Why it did not work.
        source: Arc<std::io::Error>,
    },
    /// The server's certificate does not hold: wrong authority, wrong name, expired.
    #[error("TLS with {peer} failed: {reason}; check the CA file and that the certificate names this host")]
    Tls {
        /// Who was dialled.
        peer: String,
        /// What the TLS library says.
        reason: String,
    },
    /// The peer broke the protocol.
    #[error("the server broke the protocol: {0}")]
    Protocol(String),
    /// The server understood and said no.
    #[error("refused with {status}: {message}")]
    Refused {
        /// HTTP status, or the status of a twin or management answer.
        status: u16,
        /// The server's text, shortened.
        message: String,
    },
    /// The message does not fit.
    #[error("a message of {len} bytes is over the limit of {limit} bytes")]
    TooLarge {
        /// Its size in bytes.
        len: usize,
        /// What is allowed.
        limit: usize,
    },
    /// What a server answers is larger than the caller takes.
    #[error("the answer of {peer} is over the limit of {limit} bytes")]
    AnswerTooLarge {
        /// Who answered.
        peer: String,
        /// What is taken, in bytes.
        limit: usize,
    },
    /// No answer in time.
    #[error("no answer to {0} in time")]
    Timeout(&'static str),
    /// The connection that brought a message is gone; the hub delivers the message again.
    #[error("the connection that brought this message is gone; the hub will deliver it again")]
    LockLost,
    /// The client was closed.
    #[error("the client is closed")]
    Closed,
}

impl Error {
    pub(crate) fn network(action: impl Into<String>, source: std::io::Error) -> Self {
        Self::Network { action: action.into(), source: Arc::new(source) }
    }

    /// Whether a new attempt can succeed without anybody changing the configuration.
    pub fn is_transient(&self) -> bool {
        match self {
            // A certificate is often replaced while devices run; giving up would need a visit on site.
            Self::Network { .. }
            | Self::Tls { .. }
            | Self::Protocol(_)
            | Self::Timeout(_)
            | Self::Signing(_) => true,
            Self::Refused { status, .. } => *status == 429 || *status >= 500,
            Self::ConnectionString(_)
            | Self::Id(_)
            | Self::Configuration(_)
            | Self::Variable { .. }
            | Self::Unauthorized(_)
            | Self::TooLarge { .. }
            | Self::AnswerTooLarge { .. }
            | Self::LockLost
            | Self::Closed => false,
        }
    }
}

/// Shortens a text from outside for an error: at most 300 characters, no control characters.
pub(crate) fn excerpt(text: &[u8]) -> String {
    const LEN_MAX: usize = 300;
    let head = &text[..text.len().min(LEN_MAX * 4)];
    String::from_utf8_lossy(head).chars().filter(|c| !c.is_control()).take(LEN_MAX).collect()
}
