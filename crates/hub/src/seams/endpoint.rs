//! Where routed messages go.

use async_trait::async_trait;
use ironbrook_log::{Offset, PartitionId};
use ironbrook_model::{Message, MessageSource, Timestamp};
use std::time::Duration;

/// A message on its way to an endpoint.
#[derive(Debug, Clone)]
pub struct Routed {
    /// Its number in the log's partition.
    pub offset: Offset,
    /// Its sequence in the events queue, if it is in it.
    pub event_sequence: Option<u64>,
    /// When the hub accepted it.
    pub enqueued: Timestamp,
    /// Where it came from.
    pub source: MessageSource,
    /// The message with its stamped system properties.
    pub message: Message,
}

/// How an endpoint wants its messages gathered: a batch is sent when one of the bounds is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Batching {
    /// Messages in a batch.
    pub max_messages: usize,
    /// Bytes of bodies and headers in a batch.
    pub max_bytes: usize,
    /// How long the first message of a batch may wait for others; zero sends what is there.
    pub max_delay: Duration,
}

/// What became of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sent {
    /// Stored at the endpoint for good; the checkpoint moves past the batch.
    Done,
    /// The endpoint cannot now; the same batch comes again after this while.
    RetryAfter(Duration, String),
    /// These messages (by index) will never be taken, the others are stored: counted and dead-lettered with the reason.
    Reject(Vec<(usize, String)>),
}

/// An endpoint of routes.
///
/// Contract: batches of one partition come in order, one at a time, each at least once; after a crash the first batch may start
/// with messages already stored, from the same first offset. `Done` means stored durably at the endpoint.
/// When the program stops, a `send` that outlasts the drain time is dropped; its batch comes again after the restart.
#[async_trait]
pub trait Endpoint: Send + Sync + 'static {
    /// Its name in routes.
    fn name(&self) -> &str;

    /// How it wants batches.
    fn batching(&self) -> Batching;

    /// Takes a batch, never empty.
    async fn send(&self, partition: PartitionId, batch: &[Routed]) -> Sent;

    /// Where the last batch of a partition was put, for people who look for a message: the name of a blob. Asked when it was
    /// taken, before the next one comes.
    fn place(&self, _partition: PartitionId) -> Option<String> {
        None
    }
}
