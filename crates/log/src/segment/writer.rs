//! The one thread that writes and syncs: it takes what all partitions gathered, makes it durable and says so.

use super::SyncPolicy;
use super::file::{MARK_BYTES, Segment};
use super::header::Header;
use super::partition::{Group, Status};
use super::shared::Shared;
use crate::storage::is_full;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How long the writer waits before it tries a full disk again.
const FULL_RETRY: Duration = Duration::from_millis(100);

/// How many files are synced at the same time.
const PARALLEL_SYNCS: usize = 16;
/// How often a waiting group is looked at.
const GATHER_LOOK: Duration = Duration::from_millis(1);

/// The writer; it lives on a thread of its own.
pub(super) struct Writer {
    shared: Arc<Shared>,
    ends: Vec<End>,
}

/// The growing end of a partition's files.
struct End {
    segment: Arc<Segment>,
    position: u64,
    /// Where the last mark of the index is.
    marked: Option<u64>,
    /// Taken from the buffer and not yet durable; stays here while the disk is full.
    group: Option<Group>,
    /// Something was written since the last sync.
    unsynced: bool,
    /// The segment takes no further record: its key is another run's, or it has none and ours are sealed.
    is_closed: bool,
}

impl End {
    fn sync(&mut self, syncs: &AtomicU64) -> io::Result<()> {
        if self.unsynced {
            // A failed sync is never tried again, not even for want of space: nobody knows what it left.
            self.segment.file.sync_data().map_err(io::Error::other)?;
            self.unsynced = false;
            syncs.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }
}

/// Says on every way out of the thread, a panic included, that no record will become durable any more.
struct LastWords(Arc<Shared>);

impl Drop for LastWords {
    fn drop(&mut self) {
        // Does nothing where the log was closed or poisoned in order.
        self.0.stop(Status::Poisoned);
    }
}

impl Writer {
    /// `positions` are the lengths of the partitions' last segments, and whether these take no further records.
    pub(super) fn new(shared: Arc<Shared>, positions: &[(u64, bool)]) -> Self {
        let ends =
            shared.partitions.iter().zip(positions).filter_map(|(partition, (position, is_closed))| {
                let segment = partition.view().segments.back()?.clone();
                let marked =
                    segment.state().index.as_deref().and_then(|index| index.last()).map(|mark| mark.position);
                let (position, is_closed) = (*position, *is_closed);
                Some(End { segment, position, marked, group: None, unsynced: false, is_closed })
            });
        let ends = ends.collect();
        Self { shared, ends }
    }

    /// Runs until the log is closed or poisoned.
    pub(super) fn run(mut self) {
        let _last_words = LastWords(self.shared.clone());
        let mut full = false;
        loop {
            if full {
                std::thread::park_timeout(FULL_RETRY);
            } else {
                self.shared.wait_for_records();
                self.gather();
            }
            let closing = self.shared.closing.load(Ordering::SeqCst);
            full = match self.round() {
                Ok(full) => full,
                Err(error) => {
                    tracing::error!(%error, "the log is poisoned: a write or sync failed, restart to recover");
                    return self.shared.stop(Status::Poisoned);
                }
            };
            self.shared.set_full(full);
            if closing {
                return self.finish();
            }
        }
    }

    /// One round: take, write, sync, publish. True if the disk is full and something waits for it.
    fn round(&mut self) -> io::Result<bool> {
        for (partition, end) in self.shared.partitions.iter().zip(&mut self.ends) {
            if end.group.is_none() {
                end.group = partition.buffer().take();
            }
        }
        let mut written = Vec::with_capacity(self.ends.len());
        let mut full = false;
        for index in 0..self.ends.len() {
            match self.write(index) {
                Ok(true) => written.push(index),
                Ok(false) => {}
                Err(error) if is_full(&error) => full = true,
                Err(error) => return Err(error),
            }
        }
        if self.shared.config.sync != SyncPolicy::Never {
            self.sync_all()?;
        }
        for index in written {
            self.publish(index);
        }
        Ok(full)
    }

    /// Writes the group of a partition; false if there is none.
    fn write(&mut self, index: usize) -> io::Result<bool> {
        let Some(length) = self.ends[index].group.as_ref().map(|group| group.bytes.len() as u64) else {
            return Ok(false);
        };
        let End { position, is_closed, segment, .. } = &self.ends[index];
        let is_long =
            *position > segment.header.len() && position + length > self.shared.config.segment_bytes;
        if is_long || *is_closed {
            self.roll(index)?;
        }
        let end = &mut self.ends[index];
        if let Some(group) = &end.group {
            // Set before: a write that fails may have left a part.
            end.unsynced = true;
            end.segment.file.write_at(&end.segment.on_disk(&group.bytes)?, end.position)?;
        }
        Ok(true)
    }

    /// Begins a new segment. The old one is synced before: recovery expects torn bytes in the last segment only.
    fn roll(&mut self, index: usize) -> io::Result<()> {
        let end = &mut self.ends[index];
        end.sync(&self.shared.syncs)?;
        let Some(group) = &end.group else { return Ok(()) };
        let old = &end.segment.header;
        let is_empty = old.base.offset == group.first.offset;
        let header = Header::new(old.partition, old.salt, group.first, &self.shared.config.keys)?;
        let folder = crate::storage::folder_of(&end.segment.path);
        let segment = Arc::new(Segment::create(
            &*self.shared.storage,
            folder,
            header,
            &self.shared.config.keys,
            is_empty,
        )?);
        {
            let mut view = self.shared.partitions[index].view();
            if is_empty {
                view.segments.pop_back();
            }
            view.segments.push_back(segment.clone());
        }
        let (position, group) = (segment.header.len(), end.group.take());
        *end = End { segment, position, marked: None, group, unsynced: false, is_closed: false };
        Ok(())
    }

    /// Syncs what was written, in parallel: a file system makes one journal entry of syncs that come together.
    fn sync_all(&mut self) -> io::Result<()> {
        let syncs = &self.shared.syncs;
        let mut unsynced: Vec<&mut End> = self.ends.iter_mut().filter(|end| end.unsynced).collect();
        for some in unsynced.chunks_mut(PARALLEL_SYNCS) {
            let Some((first, others)) = some.split_first_mut() else { break };
            std::thread::scope(|scope| {
                let mut running = Vec::with_capacity(others.len());
                for end in others {
                    running.push(std::thread::Builder::new().spawn_scoped(scope, || end.sync(syncs))?);
                }
                first.sync(syncs)?;
                let panicked = |_| Err(io::Error::other("a sync panicked"));
                running.into_iter().try_for_each(|sync| sync.join().unwrap_or_else(panicked))
            })?;
        }
        Ok(())
    }

    /// Shows a durable group to readers, then wakes those who wait.
    fn publish(&mut self, index: usize) {
        let (end, partition) = (&mut self.ends[index], &self.shared.partitions[index]);
        let Some(group) = end.group.take() else { return };
        let base = end.position;
        end.position += group.bytes.len() as u64;
        {
            let mut state = end.segment.state();
            (state.len, state.end) = (end.position, group.end.offset);
            for mark in &group.marks {
                let position = base + mark.position;
                if end.marked.is_none_or(|last| position - last >= MARK_BYTES) {
                    end.marked = Some(position);
                    state.index.get_or_insert_default().push(super::file::Mark { position, ..*mark });
                }
            }
        }
        partition.view().cache(&group, self.shared.config.cache_bytes);
        partition.buffer().in_flight = 0;
        self.shared.written_bytes.fetch_add(group.bytes.len() as u64, Ordering::Relaxed);
        partition.published.send_modify(|published| published.end = group.end);
    }

    /// Waits for more records where the policy says so.
    fn gather(&self) {
        let SyncPolicy::Group { max_delay, max_bytes } = self.shared.config.sync else { return };
        let Some(until) = (!max_delay.is_zero()).then(|| Instant::now() + max_delay) else { return };
        while !self.shared.closing.load(Ordering::SeqCst) && self.shared.gathered() < max_bytes {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            // Appends do not wake the writer here; it looks now and then whether there is enough.
            std::thread::park_timeout(left.min(GATHER_LOOK));
        }
    }

    /// The end: what could not be written for want of space was never acknowledged and is given up.
    fn finish(&mut self) {
        if let Err(error) = self.sync_all() {
            tracing::error!(%error, "the last sync of the log failed");
            return self.shared.stop(Status::Poisoned);
        }
        self.shared.stop(Status::Closed);
    }
}
