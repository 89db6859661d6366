//! The seams [`Log`] and [`Checkpoints`] and their nouns.

use crate::Error;
use async_trait::async_trait;
use bytes::Bytes;
use ironbrook_model::Timestamp;
use smallvec::SmallVec;
use std::task::{Context, Poll, Waker};

/// A partition of the log, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PartitionId(pub u16);

/// The number of a record in its partition: dense, from 0, never used again. Opaque to callers but for order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Offset(pub u64);

/// The persistent number of one reader's queue: one per endpoint and priority.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct QueueId(pub u16);

impl QueueId {
    /// The numbered queue: its records also get a dense sequence per partition, from 0 (Event Hubs' sequence number).
    pub const EVENTS: Self = Self(0);
}

/// What is to be appended.
#[derive(Debug)]
pub struct Append<'a> {
    /// When it was accepted. The log raises it to its predecessor's time where the clock went back.
    pub enqueued: Timestamp,
    /// The queues it belongs to; a record without a queue is kept for none and may be refused by the caller before.
    pub queues: &'a [QueueId],
    /// Opaque header, copied.
    pub header: &'a [u8],
    /// Opaque body, copied.
    pub body: &'a [u8],
}

/// A record read back; its checksum was verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its number.
    pub offset: Offset,
    /// Its number in [`QueueId::EVENTS`], if it is in that queue.
    pub event_sequence: Option<u64>,
    /// When it was accepted; never before its predecessor.
    pub enqueued: Timestamp,
    /// The queues it belongs to.
    pub queues: SmallVec<[QueueId; 4]>,
    /// The header as given.
    pub header: Bytes,
    /// The body as given.
    pub body: Bytes,
}

/// Proof of an append that is not yet an acknowledgement: [`Log::durable`] turns it into one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket {
    /// Where it was appended.
    pub partition: PartitionId,
    /// Its number.
    pub offset: Offset,
}

/// A wait for a record to become durable, as who [polls](Log::poll_durable) keeps it from one poll to the next. Dropping it before it
/// is over is fine.
#[derive(Debug, Default)]
pub struct Wait(pub(crate) Option<Place>);

/// A place among those who are told.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) key: u64,
    pub(crate) offset: u64,
    pub(crate) waker: Waker,
}

impl Wait {
    /// For other implementations of [`Log`]: a wait that holds nothing.
    pub fn new() -> Self {
        Self::default()
    }
}

/// Records of a queue in order.
#[derive(Debug, Default)]
pub struct Batch {
    /// The records; may be empty although `next` moved on, where others' records were skipped.
    pub records: Vec<Record>,
    /// Where to read on.
    pub next: Offset,
}

/// A place to start reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seek {
    /// The oldest record kept.
    Earliest,
    /// After the newest durable record.
    Latest,
    /// The first record of the numbered queue with this sequence or a later one.
    EventSequence(u64),
    /// The first record enqueued at this time or later.
    EnqueuedAt(Timestamp),
}

/// What a partition holds, durable records only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Bounds {
    /// Number of the oldest record kept.
    pub first: Offset,
    /// Number the next record to become durable will have.
    pub end: Offset,
    /// Sequence of the oldest record kept in the numbered queue.
    pub first_event_sequence: u64,
    /// Sequence the next record of the numbered queue will have.
    pub end_event_sequence: u64,
    /// Offset and enqueued time of the newest record of the numbered queue.
    pub last_event: Option<(Offset, Timestamp)>,
}

/// An append-only log of independent partitions.
///
/// Contract, the same for every implementation (the suite in `testkit` holds it):
/// - [`append`](Self::append) only gathers; order within a partition is the order of the calls.
/// - [`durable`](Self::durable) returns `Ok` only after the record and all before it in the partition are synced to
///   stable storage. Syncs are grouped over all callers.
/// - [`read`](Self::read), [`bounds`](Self::bounds) and [`tail`](Self::tail) show durable records only, in order, no
///   record twice, none left out save quarantined ones (damage found by checksum, counted, never served) and trimmed ones.
/// - After a failed sync every call fails with [`Error::Poisoned`]; only a restart, which recovers from disk, helps.
/// - A full disk or a full buffer is [`Error::Full`]: nothing was appended, [`room`](Self::room) tells when to try again.
#[async_trait]
pub trait Log: Send + Sync + 'static {
    /// How many partitions there are; constant for the life of the log.
    fn partitions(&self) -> u16;

    /// Takes a record in; it is not durable yet. Never blocks on the disk.
    fn append(&self, partition: PartitionId, record: Append<'_>) -> Result<Ticket, Error>;

    /// Waits until an append may succeed again after [`Error::Full`].
    async fn room(&self, partition: PartitionId) -> Result<(), Error>;

    /// Waits until the record of a ticket is durable. Cancel-safe.
    async fn durable(&self, ticket: Ticket) -> Result<(), Error>;

    /// As [`durable`](Self::durable), without a future for each wait; tells what is behind the last durable record of the partition. The waker of `cx` is woken when it is worth to poll again. One
    /// `wait` serves one ticket after the other. No lock is held then, so that the waker may poll at once; it must not block.
    fn poll_durable(
        &self,
        ticket: Ticket,
        wait: &mut Wait,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Offset, Error>>;

    /// Reads records of one queue from an offset on; at most `max_records` and about `max_bytes` (at least one record,
    /// if there is one). Returns at once, possibly empty.
    async fn read(
        &self,
        partition: PartitionId,
        queue: QueueId,
        from: Offset,
        max_records: usize,
        max_bytes: usize,
    ) -> Result<Batch, Error>;

    /// Waits until there is a durable record at `from` or later and returns the new end. No polling. Cancel-safe.
    async fn tail(&self, partition: PartitionId, from: Offset) -> Result<Offset, Error>;

    /// Finds the offset of a place.
    async fn seek(&self, partition: PartitionId, place: Seek) -> Result<Offset, Error>;

    /// What a partition holds now.
    fn bounds(&self, partition: PartitionId) -> Bounds;

    /// Allows the log to drop records before an offset; whole segments go, so some may stay.
    async fn trim(&self, partition: PartitionId, before: Offset) -> Result<(), Error>;

    /// Syncs what is gathered and stops; later calls fail with [`Error::Closed`].
    async fn close(&self);
}

/// Where each consumer of each partition will read on. A checkpoint moves forward only.
#[async_trait]
pub trait Checkpoints: Send + Sync + 'static {
    /// The checkpoint of a consumer, `None` if it never stored one.
    async fn load(&self, consumer: &str, partition: PartitionId) -> Result<Option<Offset>, Error>;

    /// Stores a checkpoint; durable when it returns.
    async fn store(&self, consumer: &str, partition: PartitionId, next: Offset) -> Result<(), Error>;

    /// The lowest checkpoint of a partition over the given consumers; consumers without one count as offset 0.
    async fn lowest(&self, consumers: &[&str], partition: PartitionId) -> Result<Option<Offset>, Error>;
}
