//! The log in segment files. Start with [`SegmentLog`]; `docs/log-format.md` has the bytes.
//!
//! The way of a record: [`SegmentLog::append`](Log::append) encodes it into its partition's buffer (`partition`,
//! `record`); the one thread of `writer` takes all buffers, writes and syncs them (`file`) and shows them to readers
//! (`read`, `seek`). At start `recovery` finds out what is on disk (`scan`, `header`).

mod config;
mod cursor;
mod file;
mod header;
pub mod inspect;
mod pages;
mod partition;
mod read;
mod record;
mod recovery;
mod retain;
mod scan;
mod seal;
mod seek;
mod shared;
mod syncers;
#[cfg(test)]
mod tests;
mod waiters;
mod writer;

use crate::{Append, Batch, Bounds, Error, Log, Offset, PartitionId, QueueId, Seek, Storage, Ticket, Wait};
use async_trait::async_trait;
pub use config::{Config, Retention, SyncPolicy};
use ironbrook_model::Timestamp;
use partition::{Partition, Published, Status};
use shared::Shared;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::thread::JoinHandle;
use tokio::sync::watch;

/// The log in segment files, with one writer thread.
///
/// Dropping it writes and syncs what is gathered, as [`close`](Log::close) does, and blocks as long.
pub struct SegmentLog {
    shared: Arc<Shared>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

/// Counters since the log was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    /// Records and segment headers found damaged; the records are not served.
    pub damaged: u64,
    /// Syncs of segment files with new records.
    pub syncs: u64,
    /// Bytes that became durable.
    pub written_bytes: u64,
    /// Bytes gathered that are not yet durable.
    pub gathered_bytes: u64,
    /// Whether the disk is full at the moment.
    pub disk_full: bool,
}

impl SegmentLog {
    /// Opens or makes the log in a folder, recovers what is there and starts the writer. Blocks.
    ///
    /// # Errors
    /// [`Error::Format`] for files that are not ours, of a newer version, or of more partitions than configured.
    pub fn open(storage: Arc<dyn Storage>, folder: &Path, config: Config) -> Result<Self, Error> {
        storage.create_folder(folder)?;
        check_partitions(&*storage, folder, &config)?;
        if config.sync == SyncPolicy::Never {
            tracing::warn!(folder = %folder.display(), "the log is not synced: a power cut loses what was acknowledged");
        }
        let damaged = AtomicU64::new(0);
        let (mut partitions, mut positions) = (Vec::new(), Vec::new());
        for number in 0..config.partitions {
            let place = folder.join(folder_name(number));
            let found = recovery::recover(&*storage, &place, number, &config.keys, &damaged)?;
            positions.push((found.position, found.is_closed));
            partitions.push(Partition::new(found, config.keys.current().is_some()));
        }
        let shared = Arc::new(Shared::new(config, storage, partitions, damaged));
        let writer = writer::Writer::new(shared.clone(), &positions)?;
        let thread = std::thread::Builder::new().name("log-writer".to_owned()).spawn(move || writer.run())?;
        shared.set_writer(thread.thread().clone());
        // Appends that came before the writer was known to the others cannot be: there is no handle yet.
        Ok(Self { shared, writer: Mutex::new(Some(thread)) })
    }

    /// Counters since the log was opened.
    pub fn stats(&self) -> Stats {
        Stats {
            damaged: self.damaged(),
            syncs: self.shared.syncs.load(Ordering::Relaxed),
            written_bytes: self.shared.written_bytes.load(Ordering::Relaxed),
            gathered_bytes: self.shared.gathered() as u64,
            disk_full: self.shared.is_full(),
        }
    }

    /// Whether an append would be taken now: [`Error::Poisoned`], [`Error::Closed`] or, with a full disk, [`Error::Full`].
    pub fn health(&self) -> Result<(), Error> {
        self.shared.check()?;
        if self.shared.is_full() { Err(Error::Full) } else { Ok(()) }
    }

    /// How many records and segment headers were found damaged since the log was opened.
    pub fn damaged(&self) -> u64 {
        self.shared.damaged.load(Ordering::Relaxed)
    }

    /// Removes segments that retention does not keep, all before `needed_from`, the lowest checkpoint of those who
    /// still hold the partition.
    pub async fn retain(
        &self,
        partition: PartitionId,
        now: Timestamp,
        needed_from: Offset,
    ) -> Result<(), Error> {
        self.shared.check()?;
        let before = retain::limit(&self.shared, partition, Some(now))?;
        self.trim(partition, before.min(needed_from)).await
    }

    /// Up to where records have to go for a partition to be no larger than retention says, whoever needs them. Whoever holds
    /// the log should let go of what is before; [`retain`](Self::retain) removes it then. The growing segment stays.
    ///
    /// # Errors
    /// [`Error::Partition`] if there is no such partition.
    pub fn oversize(&self, partition: PartitionId) -> Result<Offset, Error> {
        retain::limit(&self.shared, partition, None)
    }

    fn room_in(&self, partition: &Partition) -> bool {
        !self.shared.is_full() && !partition.buffer().is_full(self.shared.config.buffer_bytes)
    }

    /// Runs what touches the disk on a thread meant for that.
    async fn blocking<T, F>(&self, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&Shared) -> Result<T, Error> + Send + 'static,
    {
        let shared = self.shared.clone();
        match tokio::task::spawn_blocking(move || work(&shared)).await {
            Ok(result) => result,
            Err(error) => Err(std::io::Error::other(error).into()),
        }
    }

    fn stop_writer(&self) -> Option<JoinHandle<()>> {
        self.shared.closing.store(true, Ordering::SeqCst);
        self.shared.unpark();
        self.writer.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Drop for SegmentLog {
    fn drop(&mut self) {
        if let Some(writer) = self.stop_writer() {
            // A panic of the writer was reported where it happened.
            let _ = writer.join();
        }
    }
}

fn folder_name(partition: u16) -> String {
    format!("{partition:05}")
}

fn check_partitions(storage: &dyn Storage, folder: &Path, config: &Config) -> Result<(), Error> {
    let format = |what| Err(Error::Format { path: folder.display().to_string(), what });
    if config.partitions == 0 {
        return format("a log needs at least one partition; configure 1 or more".to_owned());
    }
    let names = storage.list(folder)?;
    let found = names.iter().filter_map(|name| name.parse::<u16>().ok().filter(|n| *name == folder_name(*n)));
    match found.max() {
        Some(last) if last >= config.partitions => format(format!(
            "it has {} partitions, configured are {}; configure as many, they cannot become fewer",
            u32::from(last) + 1,
            config.partitions
        )),
        _ => Ok(()),
    }
}

/// Waits until the published state is as wanted, or the log ended.
async fn wait(
    published: &watch::Sender<Published>,
    mut is_wanted: impl FnMut(&Published) -> bool,
) -> Result<Published, Error> {
    let now = *published.borrow();
    if now.status != Status::Poisoned && is_wanted(&now) {
        return Ok(now);
    }
    let mut changes = published.subscribe();
    let found = changes.wait_for(|now| now.status != Status::Open || is_wanted(now)).await;
    // The sender lives as long as the log does.
    let found = *found.map_err(|_| Error::Closed)?;
    if found.status != Status::Poisoned && is_wanted(&found) {
        return Ok(found);
    }
    found.status.check().map(|()| found)
}

#[async_trait]
impl Log for SegmentLog {
    fn partitions(&self) -> u16 {
        self.shared.config.partitions
    }

    fn append(&self, partition: PartitionId, record: Append<'_>) -> Result<Ticket, Error> {
        let part = self.shared.partition(partition)?;
        let length = record::length_max(&record);
        if length > record::MAX_RECORD_BYTES || record.queues.len() > record::MAX_QUEUES {
            return Err(Error::TooLarge(length));
        }
        let mut buffer = part.buffer();
        // Checked under the lock: the writer's last round comes after the log began to close.
        self.shared.check()?;
        if self.shared.is_full() || buffer.is_full(self.shared.config.buffer_bytes) {
            return Err(Error::Full);
        }
        let offset = buffer.append((part.salt, part.flags), &record);
        drop(buffer);
        self.shared.notify_writer();
        Ok(Ticket { partition, offset: Offset(offset) })
    }

    async fn room(&self, partition: PartitionId) -> Result<(), Error> {
        let part = self.shared.partition(partition)?;
        let mut changes = part.published.subscribe();
        loop {
            self.shared.check()?;
            if self.room_in(part) {
                return Ok(());
            }
            changes.changed().await.map_err(|_| Error::Closed)?;
        }
    }

    async fn durable(&self, ticket: Ticket) -> Result<(), Error> {
        let part = self.shared.partition(ticket.partition)?;
        part.waiters.wait(ticket.offset.0, &self.shared.runtime).await
    }

    fn poll_durable(
        &self,
        ticket: Ticket,
        wait: &mut Wait,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Offset, Error>> {
        let part = self.shared.partition(ticket.partition)?;
        part.waiters.poll(ticket.offset.0, wait, &self.shared.runtime, cx).map_ok(Offset)
    }

    async fn read(
        &self,
        partition: PartitionId,
        queue: QueueId,
        from: Offset,
        max_records: usize,
        max_bytes: usize,
    ) -> Result<Batch, Error> {
        self.shared.check()?;
        let request = read::Request { queue, from: from.0, max_records, max_bytes };
        if let Some(batch) = read::from_cache(self.shared.partition(partition)?, request) {
            return Ok(batch);
        }
        self.blocking(move |shared| read::from_files(shared, partition, request)).await
    }

    async fn tail(&self, partition: PartitionId, from: Offset) -> Result<Offset, Error> {
        self.shared.check()?;
        let part = self.shared.partition(partition)?;
        let found = wait(&part.published, |now| now.end.offset > from.0).await?;
        Ok(Offset(found.end.offset))
    }

    async fn seek(&self, partition: PartitionId, place: Seek) -> Result<Offset, Error> {
        self.shared.check()?;
        let bounds = self.bounds(partition);
        self.shared.partition(partition)?;
        let place = match place {
            Seek::Earliest => return Ok(bounds.first),
            Seek::Latest => return Ok(bounds.end),
            Seek::EventSequence(sequence) if sequence >= bounds.end_event_sequence => return Ok(bounds.end),
            Seek::EventSequence(sequence) => seek::Place::Event(sequence),
            Seek::EnqueuedAt(time) => seek::Place::Time(time.as_millis()),
        };
        self.blocking(move |shared| seek::seek(shared, partition, place)).await
    }

    fn bounds(&self, partition: PartitionId) -> Bounds {
        let Ok(part) = self.shared.partition(partition) else { return Bounds::default() };
        let end = part.published.borrow().end;
        let first = part.view().first();
        end.bounds(&first)
    }

    async fn trim(&self, partition: PartitionId, before: Offset) -> Result<(), Error> {
        self.shared.check()?;
        let durable = self.bounds(partition).end;
        self.blocking(move |shared| retain::trim(shared, partition, before.min(durable))).await
    }

    async fn close(&self) {
        if let Some(writer) = self.stop_writer() {
            // A panic of the writer was reported where it happened.
            let _ = tokio::task::spawn_blocking(move || writer.join()).await;
        }
    }
}
