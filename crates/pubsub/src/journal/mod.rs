//! What has to outlive the process, as records of one partition of a log.
//!
//! A publish is written once, with the sessions whose queues it stands in; a session that is done with it says so by number.
//! Retained messages are records of the same kind. All that is alive is in memory too, so the journal is read at start
//! only. When it has grown well beyond what is alive, everything alive is written anew at its end, bit by bit between
//! the other records ([`Record::Begin`] to [`Record::End`]), and what is before that goes.
//!
//! Why a log and not a database: one sequential write and one grouped sync per batch, whatever the number of queues; the order
//! of records is the order of things, so that no transaction is needed; and the same sync that lets a publish be answered
//! lets it be shown.
//!
//! Replaying may begin anywhere before a `Begin` whose `End` is there: records of sessions not heard of yet are skipped, as
//! the session's own record, which comes later, says all of them.

mod codec;
mod record;
mod replay;
#[cfg(test)]
mod tests;

use crate::Reason;
use bytes::Bytes;
use ironbrook_log::{Append, Error, Log, Offset, PartitionId, QueueId, Ticket};
use ironbrook_model::Timestamp;
pub(crate) use record::{Line, Meta, PublishRef, Record, Retains, Target, Whole, write_publish};
pub(crate) use replay::{Restored, RestoredSession, replay};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The queue all records belong to.
const QUEUE: QueueId = QueueId(1);

/// A part of what may be held, beyond it, for queues that are short: who reads goes on though others do not.
const RESERVE: usize = 4;

/// The offset of a message that has none yet.
const UNWRITTEN: u64 = u64::MAX;

/// A message's place in the journal; the bytes it takes are given back with it.
#[derive(Debug)]
pub(crate) struct Stored {
    pub id: u64,
    offset: AtomicU64,
    size: usize,
    held: Arc<AtomicUsize>,
}

impl Stored {
    /// Whether it is on disk, if everything before `sealed` is.
    pub fn is_before(&self, sealed: u64) -> bool {
        self.offset.load(Ordering::Acquire) < sealed
    }

    /// Where it is written, if it is.
    pub fn offset(&self) -> Option<u64> {
        Some(self.offset.load(Ordering::Acquire)).filter(|offset| *offset != UNWRITTEN)
    }
}

impl Drop for Stored {
    fn drop(&mut self) {
        self.held.fetch_sub(self.size, Ordering::Relaxed);
    }
}

/// Who waits for something to be shown.
pub(crate) trait Ring: Send + Sync {
    /// Something may be shown now.
    fn ring(&self);
}

struct Gathered {
    next_message: u64,
    /// Bytes since the journal was last written anew.
    grown: u64,
    /// Offset of the newest record.
    last: Option<u64>,
    header: Vec<u8>,
    /// Who is to be rung once the journal is on disk up to here.
    waiting: VecDeque<(u64, Arc<dyn Ring>)>,
}

/// The journal.
pub(crate) struct Journal {
    log: Arc<dyn Log>,
    partition: PartitionId,
    gathered: Mutex<Gathered>,
    /// Everything before this is on disk.
    sealed: AtomicU64,
    held: Arc<AtomicUsize>,
    held_max: usize,
}

/// Who writes: one at a time, so that several records and the queues they speak of change together.
pub(crate) struct Pen<'a> {
    journal: &'a Journal,
    gathered: MutexGuard<'a, Gathered>,
}

impl Journal {
    /// A journal in a partition that nobody else writes to. `next_message`, `grown` and `held` come from [`replay`].
    pub fn new(
        log: Arc<dyn Log>,
        partition: PartitionId,
        next_message: u64,
        grown: u64,
        held: Arc<AtomicUsize>,
        held_max: usize,
    ) -> Self {
        let bounds = log.bounds(partition);
        let gathered =
            Gathered { next_message, grown, last: None, header: Vec::new(), waiting: VecDeque::new() };
        let (gathered, sealed) = (Mutex::new(gathered), AtomicU64::new(bounds.end.0));
        Self { log, partition, gathered, sealed, held, held_max }
    }

    /// Takes the pen.
    pub fn pen(&self) -> Pen<'_> {
        Pen { journal: self, gathered: self.gathered.lock().unwrap_or_else(PoisonError::into_inner) }
    }

    /// Everything before this offset is on disk.
    pub fn sealed(&self) -> u64 {
        self.sealed.load(Ordering::Acquire)
    }

    /// Bytes of messages that are held.
    pub fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    /// The newest record's offset, and so a mark for everything written so far.
    pub fn last(&self) -> Option<u64> {
        self.pen().gathered.last
    }

    /// Bytes written since it was last written anew.
    pub fn grown(&self) -> u64 {
        self.pen().gathered.grown
    }

    /// Waits until the record at an offset is on disk, and rings those who waited for it.
    pub async fn durable(&self, offset: u64) -> Result<(), Reason> {
        if self.sealed() > offset {
            return Ok(());
        }
        let ticket = Ticket { partition: self.partition, offset: Offset(offset) };
        self.log.durable(ticket).await.map_err(|error| reason(&error))?;
        self.seal(self.log.bounds(self.partition).end.0.max(offset + 1));
        Ok(())
    }

    /// Waits until more is on disk; the same for what nobody waits for by ticket.
    pub async fn follow(&self) -> Result<(), Reason> {
        let end = self.log.tail(self.partition, Offset(self.sealed())).await;
        self.seal(end.map_err(|error| reason(&error))?.0);
        Ok(())
    }

    /// Waits until there is room after [`Reason::ServerBusy`].
    pub async fn room(&self) -> Result<(), Reason> {
        self.log.room(self.partition).await.map_err(|error| reason(&error))
    }

    /// Forgets what is before an offset.
    pub async fn trim(&self, before: u64) -> Result<(), Reason> {
        self.log.trim(self.partition, Offset(before)).await.map_err(|error| reason(&error))
    }

    fn seal(&self, end: u64) {
        if self.sealed.fetch_max(end, Ordering::AcqRel) >= end {
            return;
        }
        let mut ready = Vec::new();
        let mut pen = self.pen();
        while pen.gathered.waiting.front().is_some_and(|(offset, _)| *offset < end) {
            ready.extend(pen.gathered.waiting.pop_front().map(|(_, who)| who));
        }
        drop(pen);
        for who in ready {
            who.ring();
        }
    }
}

impl Pen<'_> {
    /// Whether a message of this size would take from the reserve.
    pub fn is_crowded(&self, size: usize) -> bool {
        self.journal.held().saturating_add(size) > self.journal.held_max
    }

    /// Bytes of the reserve.
    pub fn reserve(&self) -> usize {
        self.journal.held_max / RESERVE
    }

    /// Gives a message its place, so that it can be put into queues before it is written.
    ///
    /// # Errors
    /// [`Reason::QuotaExceeded`] if what is held, and the reserve, have no room for it.
    pub fn place(&mut self, size: usize) -> Result<Stored, Reason> {
        let held = &self.journal.held;
        let most = self.journal.held_max.saturating_add(self.reserve());
        if held.load(Ordering::Relaxed).saturating_add(size) > most {
            return Err(Reason::QuotaExceeded);
        }
        held.fetch_add(size, Ordering::Relaxed);
        let id = self.gathered.next_message;
        self.gathered.next_message += 1;
        Ok(Stored { id, offset: AtomicU64::new(UNWRITTEN), size, held: held.clone() })
    }

    /// Writes a record; its offset is an acknowledgement only once [`Journal::durable`].
    pub fn write(&mut self, record: &Record, now: Timestamp) -> Result<u64, Reason> {
        let mut header = std::mem::take(&mut self.gathered.header);
        header.clear();
        let body = record.write(&mut header);
        self.append(header, &body, now)
    }

    /// Writes a publish whose message has its place.
    pub fn publish(&mut self, publish: &PublishRef<'_>, now: Timestamp) -> Result<u64, Reason> {
        let mut header = std::mem::take(&mut self.gathered.header);
        header.clear();
        write_publish(&mut header, publish);
        let offset = self.append(header, &publish.message.payload, now)?;
        if let Some(stored) = &publish.message.stored {
            // The first record that holds it is what it waits for.
            let _ = stored.offset.compare_exchange(UNWRITTEN, offset, Ordering::AcqRel, Ordering::Relaxed);
        }
        Ok(offset)
    }

    fn append(&mut self, header: Vec<u8>, body: &Bytes, now: Timestamp) -> Result<u64, Reason> {
        let append = Append { enqueued: now, queues: &[QUEUE], header: &header, body };
        let result = self.journal.log.append(self.journal.partition, append);
        let written = header.len() + body.len();
        // One large record must not keep its buffer for ever.
        self.gathered.header = if header.capacity() > 64 * 1024 { Vec::new() } else { header };
        let ticket = result.map_err(|error| reason(&error))?;
        self.gathered.grown += written as u64;
        self.gathered.last = Some(ticket.offset.0);
        Ok(ticket.offset.0)
    }

    /// Rings someone once the record at an offset is on disk.
    pub fn ring_at(&mut self, offset: u64, who: Arc<dyn Ring>) {
        if self.journal.sealed() > offset {
            who.ring();
        } else {
            self.gathered.waiting.push_back((offset, who));
        }
    }

    /// The journal is being written anew from here.
    pub fn restart_growth(&mut self) {
        self.gathered.grown = 0;
    }
}

fn reason(error: &Error) -> Reason {
    match error {
        Error::Full => Reason::ServerBusy,
        Error::TooLarge(_) => Reason::PacketTooLarge,
        error => {
            tracing::error!(%error, "the journal of messages failed");
            Reason::ServerUnavailable
        }
    }
}
