//! What a connection offers and what it takes at most.

use super::super::Value;
use bytes::Bytes;
use bytestring::ByteString;
use std::time::Duration;

/// What a connection offers and what it takes at most. All limits bound memory that a peer could otherwise fill.
#[derive(Debug, Clone)]
pub struct Config {
    /// Our name in `open`.
    pub container_id: ByteString,
    /// The host a client asks for; none on a server.
    pub hostname: Option<ByteString>,
    /// The longest frame we take and send, in bytes; at least 512.
    pub max_frame_size: u32,
    /// How long the peer may be silent. It is told half of it, as the specification advises.
    pub idle_timeout: Duration,
    /// Sessions at a time.
    pub max_sessions: u16,
    /// Links of a session at a time.
    pub max_links: u32,
    /// The longest message taken, in bytes.
    pub max_message_size: u64,
    /// Bytes of deliveries that have begun and not ended, over all links.
    pub max_partial: usize,
    /// Deliveries of a link that wait for the peer's credit.
    pub max_queued: usize,
    /// Deliveries of a session that the peer has not settled.
    pub max_unsettled: usize,
    /// Properties of `open`.
    pub properties: Vec<(ByteString, Value)>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            container_id: ByteString::from_static("ironbrook"),
            hostname: None,
            max_frame_size: 64 * 1024,
            idle_timeout: Duration::from_secs(240),
            max_sessions: 1024,
            max_links: 64,
            // 256 KiB of telemetry, and room for properties and a batch's wrapping.
            max_message_size: 1024 * 1024,
            max_partial: 4 * 1024 * 1024,
            max_queued: 1024,
            max_unsettled: 2048,
            properties: Vec::new(),
        }
    }
}

/// How a client authenticates before it opens. Its `Debug` never shows the password.
#[derive(Clone, Default)]
pub enum ClientSasl {
    /// No SASL layer at all.
    None,
    /// ANONYMOUS; rights come by put-token on `$cbs`.
    #[default]
    Anonymous,
    /// EXTERNAL: the TLS client certificate.
    External,
    /// PLAIN.
    Plain {
        /// Who.
        user: String,
        /// The password or token.
        password: String,
    },
}

impl ClientSasl {
    /// Mechanism and first response.
    pub(super) fn init(&self) -> (ByteString, Option<Bytes>) {
        match self {
            Self::None | Self::Anonymous => (ByteString::from_static("ANONYMOUS"), Some(Bytes::new())),
            Self::External => (ByteString::from_static("EXTERNAL"), Some(Bytes::new())),
            Self::Plain { user, password } => {
                (ByteString::from_static("PLAIN"), Some(Bytes::from(format!("\0{user}\0{password}"))))
            }
        }
    }
}

impl std::fmt::Debug for ClientSasl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Anonymous => "Anonymous",
            Self::External => "External",
            Self::Plain { .. } => "Plain",
        })
    }
}
