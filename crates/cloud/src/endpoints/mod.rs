//! Endpoints outside of this process: a web hook, an event hub or another hub, an MQTT broker; and what is added to messages
//! on the way to an endpoint.
//!
//! Each is an [`Endpoint`](ironbrook_hub::seams::Endpoint): the executor gathers batches, comes again after a failure and keeps
//! the checkpoint. So each message arrives at least once, and those of one device in order. Containers of storage accounts are
//! in [`storage::endpoint`](crate::storage::endpoint).

mod backoff;
pub mod enrich;
pub mod event_hub;
pub mod mqtt;
pub(crate) mod sender;
pub mod webhook;

use ironbrook_hub::seams::Batching;
use std::time::Duration;

/// Bounds of batches that an operator may set.
const MESSAGES_MAX: usize = 10_000;
const BYTES_MAX: usize = 16 << 20;

/// How an endpoint gathers, as the operator sets it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gather {
    /// Messages of a batch at most.
    pub messages: usize,
    /// Bytes of a batch at most.
    pub bytes: usize,
    /// How long the first message of a batch waits for others; zero sends what is there.
    pub delay: Duration,
}

impl Default for Gather {
    /// What is there, at most 100 messages and 256 KiB.
    fn default() -> Self {
        Self { messages: 100, bytes: 256 << 10, delay: Duration::ZERO }
    }
}

impl Gather {
    fn batching(self) -> Batching {
        Batching {
            max_messages: self.messages.clamp(1, MESSAGES_MAX),
            max_bytes: self.bytes.clamp(1, BYTES_MAX),
            max_delay: self.delay,
        }
    }
}

/// An endpoint whose settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The client says so.
    #[error(transparent)]
    Client(#[from] ironbrook_client::Error),
    /// The MQTT client says so.
    #[error(transparent)]
    Mqtt(#[from] ironbrook_client::topics::Error),
    /// A value that breaks a rule.
    #[error("{0}")]
    Value(String),
}
