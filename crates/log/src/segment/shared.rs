//! What the handle, the readers and the writer of a log share.

use super::Config;
use super::partition::{Partition, Status};
use super::waiters::{Runtime, Told};
use crate::{Error, PartitionId, Storage};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::Thread;

/// What the handle, the readers and the writer of a log share.
pub(super) struct Shared {
    pub config: Config,
    pub storage: Arc<dyn Storage>,
    pub partitions: Vec<Partition>,
    /// The log takes nothing more; the writer ends after its next round.
    pub closing: AtomicBool,
    /// A [`Status`] as a number.
    status: AtomicU8,
    full: AtomicBool,
    /// Some buffer has records since the writer last looked.
    dirty: AtomicBool,
    /// The writer sleeps, or is about to.
    parked: AtomicBool,
    writer: OnceLock<Thread>,
    /// Where tasks run that wait for records to become durable.
    pub runtime: Runtime,
    pub damaged: AtomicU64,
    pub syncs: AtomicU64,
    pub written_bytes: AtomicU64,
}

impl Shared {
    pub(super) fn new(
        config: Config,
        storage: Arc<dyn Storage>,
        partitions: Vec<Partition>,
        damaged: AtomicU64,
    ) -> Self {
        Self {
            config,
            storage,
            partitions,
            closing: AtomicBool::new(false),
            status: AtomicU8::new(Status::Open as u8),
            full: AtomicBool::new(false),
            dirty: AtomicBool::new(false),
            parked: AtomicBool::new(false),
            writer: OnceLock::new(),
            runtime: Runtime::default(),
            damaged,
            syncs: AtomicU64::new(0),
            written_bytes: AtomicU64::new(0),
        }
    }

    pub(super) fn partition(&self, partition: PartitionId) -> Result<&Partition, Error> {
        self.partitions.get(usize::from(partition.0)).ok_or(Error::Partition(partition.0))
    }

    /// # Errors
    /// If the log is closed or poisoned.
    pub(super) fn check(&self) -> Result<(), Error> {
        match self.status() {
            Status::Open if self.closing.load(Ordering::SeqCst) => Err(Error::Closed),
            status => status.check(),
        }
    }

    fn status(&self) -> Status {
        match self.status.load(Ordering::SeqCst) {
            0 => Status::Open,
            1 => Status::Poisoned,
            _ => Status::Closed,
        }
    }

    /// Ends the log, once: the first reason stays.
    pub(super) fn stop(&self, reason: Status) {
        let (open, reason_code) = (Status::Open as u8, reason as u8);
        if self.status.compare_exchange(open, reason_code, Ordering::SeqCst, Ordering::SeqCst).is_err() {
            return;
        }
        self.closing.store(true, Ordering::SeqCst);
        let mut told = Told::default();
        for partition in &self.partitions {
            partition.published.send_modify(|published| published.status = reason);
            partition.waiters.stop(reason, &mut told);
        }
        self.runtime.wake(told);
    }

    pub(super) fn is_full(&self) -> bool {
        self.full.load(Ordering::SeqCst)
    }

    /// Turns back-pressure of a full disk on and off.
    pub(super) fn set_full(&self, full: bool) {
        if self.full.swap(full, Ordering::SeqCst) == full {
            return;
        }
        if full {
            tracing::error!("the disk is full: nothing more is accepted until there is space again");
        } else {
            tracing::info!("there is space on the disk again");
            // Wakes those who wait for room.
            self.partitions.iter().for_each(|partition| partition.published.send_modify(|_| {}));
        }
    }

    /// Gathered bytes of all partitions.
    pub(super) fn gathered(&self) -> usize {
        self.partitions.iter().map(|partition| partition.buffer().held()).sum()
    }

    /// Whether a partition takes no more records before what it has is written.
    pub(super) fn has_full_buffer(&self) -> bool {
        self.partitions.iter().any(|partition| partition.buffer().is_full(self.config.buffer_bytes))
    }

    pub(super) fn set_writer(&self, thread: Thread) {
        // Set once, by the one who makes the log.
        let _ = self.writer.set(thread);
    }

    /// Tells the writer that a buffer has records. Cheap while it is busy: it looks again before it sleeps.
    pub(super) fn notify_writer(&self) {
        if !self.dirty.load(Ordering::SeqCst) {
            self.dirty.store(true, Ordering::SeqCst);
        }
        if self.parked.load(Ordering::SeqCst) && self.parked.swap(false, Ordering::SeqCst) {
            self.unpark();
        }
    }

    pub(super) fn unpark(&self) {
        if let Some(writer) = self.writer.get() {
            writer.unpark();
        }
    }

    /// Sleeps until a buffer has records or the log closes. Called by the writer.
    pub(super) fn wait_for_records(&self) {
        // First `parked`, then `dirty`, and the other way round in `notify_writer`: one of both sees the other.
        self.parked.store(true, Ordering::SeqCst);
        if !self.dirty.swap(false, Ordering::SeqCst) && !self.closing.load(Ordering::SeqCst) {
            std::thread::park();
            self.dirty.store(false, Ordering::SeqCst);
        }
        self.parked.store(false, Ordering::SeqCst);
    }
}

impl Status {
    pub(super) fn check(self) -> Result<(), Error> {
        match self {
            Self::Open => Ok(()),
            Self::Poisoned => Err(Error::Poisoned),
            Self::Closed => Err(Error::Closed),
        }
    }
}
