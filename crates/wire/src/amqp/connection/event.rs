//! What a connection tells its user.

use super::super::{AmqpError, Attach, DecodeError, DeliveryState, Open, SaslCode};
use bytes::Bytes;
use bytestring::ByteString;

/// A session of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SessionId {
    pub(super) channel: u16,
    pub(super) serial: u32,
}

/// A link of a connection. It never means another link, even after its handle is used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LinkId {
    pub(super) session: SessionId,
    pub(super) handle: u32,
    pub(super) serial: u32,
}

impl LinkId {
    /// The session it belongs to.
    pub fn session(self) -> SessionId {
        self.session
    }
}

/// A whole message that arrived.
#[derive(Debug, Clone, PartialEq)]
pub struct Delivery {
    /// On which link.
    pub link: LinkId,
    /// Its number in the session; settle it by this.
    pub id: u32,
    /// The sender's tag.
    pub tag: Bytes,
    /// The message format, 0 or [`BATCH_FORMAT`](super::super::BATCH_FORMAT).
    pub format: u32,
    /// Whether the sender already forgot it.
    pub settled: bool,
    /// The encoded message.
    pub payload: Bytes,
}

/// What happened.
#[derive(Debug, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// Server: a client wants in; answer with [`Connection::sasl_outcome`](super::Connection::sasl_outcome).
    Sasl(SaslRequest),
    /// The peer opened. On a server the answer is on its way; a client may begin sessions now.
    Opened(Box<Open>),
    /// The peer began a session; it is answered already.
    SessionBegun(SessionId),
    /// The peer ended a session, and with it all its links; each of them was told as detached before.
    SessionEnded(SessionId, Option<AmqpError>),
    /// The peer wants a link; answer with [`accept`](super::Connection::accept) or [`refuse`](super::Connection::refuse).
    AttachRequested(LinkId, Box<Attach>),
    /// The peer answered our attach. A refusal shows as a [`Detached`](Self::Detached) that follows.
    Attached(LinkId, Box<Attach>),
    /// The peer detached, or its session ended; the link is gone.
    Detached(LinkId, Option<AmqpError>),
    /// The peer may be sent more: ask [`sendable`](super::Connection::sendable).
    Credit(LinkId),
    /// A message arrived.
    Delivery(Delivery),
    /// The peer said what became of a delivery of ours.
    Disposition {
        /// On which link.
        link: LinkId,
        /// Its number in the session.
        id: u32,
        /// Our tag.
        tag: Bytes,
        /// The state; `None` where the peer settled without one.
        state: Option<DeliveryState>,
        /// Whether the peer forgot it. If not, answer with [`settle_sent`](super::Connection::settle_sent).
        settled: bool,
    },
    /// The peer closed. Nothing follows; what is in the output is the farewell.
    Closed(Option<AmqpError>),
}

/// A client's wish to authenticate. Its `Debug` hides the response.
#[derive(Clone, PartialEq)]
pub struct SaslRequest {
    /// The mechanism it chose, one of those offered.
    pub mechanism: ByteString,
    /// Its first response.
    pub response: Bytes,
}

impl SaslRequest {
    /// User and password of a PLAIN response (RFC 4616).
    pub fn plain(&self) -> Option<(&str, &str)> {
        let text = std::str::from_utf8(&self.response).ok()?;
        let mut parts = text.split('\0');
        let (_authorize, user, password) = (parts.next()?, parts.next()?, parts.next()?);
        parts.next().is_none().then_some((user, password))
    }
}

impl std::fmt::Debug for SaslRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SaslRequest").field("mechanism", &self.mechanism).finish_non_exhaustive()
    }
}

/// Why a connection cannot go on. Write the output, which tells the peer, and drop it.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Violation {
    /// Bytes that are not AMQP.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// Another protocol, or another version of this one.
    #[error("not an AMQP 1.0 header: {0:02x?}")]
    Header([u8; 8]),
    /// The server refused the credentials, or offers no mechanism that we want.
    #[error("authentication failed: {0:?}")]
    Sasl(SaslCode),
    /// The server does not offer the mechanism.
    #[error("the server does not offer the SASL mechanism {0}")]
    Mechanism(ByteString),
    /// A frame that may not come now.
    #[error("{0}")]
    State(&'static str),
    /// More of something than allowed.
    #[error("more {0} than allowed")]
    Limit(&'static str),
    /// The peer was silent for too long.
    #[error("the peer was silent for too long")]
    Idle,
}

impl Violation {
    pub(super) fn condition(&self) -> &'static str {
        match self {
            Self::Decode(DecodeError::FrameSize { .. } | DecodeError::DataOffset) => {
                "amqp:connection:framing-error"
            }
            Self::Decode(_) => "amqp:decode-error",
            Self::Limit(_) => "amqp:resource-limit-exceeded",
            Self::Idle => "amqp:resource-limit-exceeded",
            Self::Header(_) | Self::Sasl(_) | Self::Mechanism(_) | Self::State(_) => "amqp:not-allowed",
        }
    }
}

/// Why a command was not carried out; the connection itself is well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// Not opened yet, or closed.
    #[error("the connection is not open")]
    NotOpen,
    /// The session or link is gone, or the link is of the other role.
    #[error("the session or link is gone")]
    Gone,
    /// As many sessions, links or waiting deliveries as allowed.
    #[error("no room for another session, link or waiting delivery")]
    Full,
    /// Longer than the peer takes.
    #[error("the message is longer than the peer takes")]
    TooLarge,
}
