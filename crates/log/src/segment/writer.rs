//! The one thread that writes and syncs: it takes what all partitions gathered, makes it durable and says so.

use super::SyncPolicy;
use super::file::{MARK_BYTES, Segment};
use super::header::Header;
use super::pages::Pages;
use super::partition::{Group, Status};
use super::shared::Shared;
use super::syncers::{PARALLEL_SYNCS, Syncers};
use super::waiters::Told;
use crate::File;
use crate::storage::is_full;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How long the writer waits before it tries a full disk again.
const FULL_RETRY: Duration = Duration::from_millis(100);

/// How often a waiting group is looked at. Where nothing came in between, those who send wait for their acknowledgements, and waiting
/// longer is of no use.
const GATHER_LOOK: Duration = Duration::from_micros(300);
/// A sync costs as much CPU as a hundred records. So a round waits the longer, the more records the one before had: a few are
/// synced at once, and under load syncs take a small part of the time.
const GATHER_PER_RECORD: Duration = Duration::from_micros(10);
/// Rounds of fewer records are followed by the next without waiting.
const GATHER_FROM: u64 = 8;
/// The longest such wait. Only a hub whose CPU is used up waits so long, and answers earlier for it: fewer syncs leave it more.
const GATHER_MAX: Duration = Duration::from_millis(8);

/// The writer; it lives on a thread of its own.
pub(super) struct Writer {
    shared: Arc<Shared>,
    ends: Vec<End>,
    syncers: Syncers,
    /// Records of the last round that had any. One without, as there is behind a wake that came too late, says nothing of the load.
    records: u64,
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
    pages: Pages,
}

impl End {
    fn sync(&mut self, syncs: &AtomicU64) -> io::Result<()> {
        if self.unsynced {
            let result = self.segment.file.sync_data();
            self.synced(result, syncs)?;
        }
        Ok(())
    }

    /// A sync came to its end. A failed one is never tried again, not even for want of space: nobody knows what it left.
    fn synced(&mut self, result: io::Result<()>, syncs: &AtomicU64) -> io::Result<()> {
        result.map_err(io::Error::other)?;
        self.unsynced = false;
        syncs.fetch_add(1, Ordering::Relaxed);
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
    pub(super) fn new(shared: Arc<Shared>, positions: &[(u64, bool)]) -> io::Result<Self> {
        let ends =
            shared.partitions.iter().zip(positions).filter_map(|(partition, (position, is_closed))| {
                let segment = partition.view().segments.back()?.clone();
                let marked =
                    segment.state().index.as_deref().and_then(|index| index.last()).map(|mark| mark.position);
                let (position, is_closed) = (*position, *is_closed);
                let pages = Pages::default();
                Some(End { segment, position, marked, group: None, unsynced: false, is_closed, pages })
            });
        let ends = ends.collect();
        let syncers = Syncers::start(positions.len())?;
        Ok(Self { shared, ends, syncers, records: 0 })
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
        let mut told = Told::default();
        if !written.is_empty() {
            self.records = 0;
        }
        for index in written {
            self.publish(index, &mut told);
        }
        self.shared.runtime.wake(told);
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
        (end.position, end.segment, end.marked) = (segment.header.len(), segment, None);
        (end.unsynced, end.is_closed) = (false, false);
        Ok(())
    }

    /// Syncs what was written, in parallel: a file system makes one journal entry of syncs that come together.
    fn sync_all(&mut self) -> io::Result<()> {
        let syncs = &self.shared.syncs;
        let mut unsynced: Vec<&mut End> = self.ends.iter_mut().filter(|end| end.unsynced).collect();
        for some in unsynced.chunks_mut(PARALLEL_SYNCS) {
            let files: Vec<Arc<dyn File>> = some.iter().map(|end| end.segment.file.clone()).collect();
            let mut outcome = Ok(());
            for (end, result) in some.iter_mut().zip(self.syncers.sync(&files)) {
                outcome = outcome.and(end.synced(result, syncs));
            }
            outcome?;
        }
        Ok(())
    }

    /// Shows a durable group to readers; who waits for it is to be told.
    fn publish(&mut self, index: usize, told: &mut Told) {
        let (end, partition) = (&mut self.ends[index], &self.shared.partitions[index]);
        let Some(group) = end.group.take() else { return };
        let (base, length, group_end) = (end.position, group.bytes.len() as u64, group.end);
        end.position += length;
        if !end.unsynced {
            end.pages.synced(&end.segment.file, base..end.position);
        }
        self.records += group_end.offset - group.first.offset;
        {
            let mut state = end.segment.state();
            (state.len, state.end) = (end.position, group_end.offset);
            for mark in &group.marks {
                let position = base + mark.position;
                if end.marked.is_none_or(|last| position - last >= MARK_BYTES) {
                    end.marked = Some(position);
                    state.index.get_or_insert_default().push(super::file::Mark { position, ..*mark });
                }
            }
        }
        partition.view().show(&group, self.shared.config.cache_bytes);
        partition.buffer().written(group);
        self.shared.written_bytes.fetch_add(length, Ordering::Relaxed);
        partition.published.send_modify(|published| published.end = group_end);
        partition.waiters.publish(group_end.offset, told);
    }

    /// Waits for more records where the policy or the load says so.
    fn gather(&self) {
        let SyncPolicy::Group { max_delay, max_bytes } = self.shared.config.sync else { return };
        let begin = Instant::now();
        let mut gathering =
            Gathering { max_delay, max_bytes, load_delay: delay_after(self.records), before: None };
        while !self.shared.closing.load(Ordering::SeqCst)
            && !self.shared.has_full_buffer()
            && let Some(wait) = gathering.goes_on(self.shared.gathered(), begin.elapsed())
        {
            // Appends do not wake the writer here; it looks now and then whether there is enough.
            std::thread::park_timeout(wait);
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

/// A group that waits for more records.
struct Gathering {
    /// It waits as long as the policy says, and no longer once it is this large.
    max_delay: Duration,
    max_bytes: usize,
    /// It waits as long because of the load, unless that has ended.
    load_delay: Duration,
    /// Bytes gathered at the last look.
    before: Option<usize>,
}

impl Gathering {
    /// How long to wait until the next look, with so many bytes after so long; `None` for no longer.
    fn goes_on(&mut self, gathered: usize, waited: Duration) -> Option<Duration> {
        let has_paused = self.before.replace(gathered) == Some(gathered);
        let load_delay = if has_paused { Duration::ZERO } else { self.load_delay };
        let left = self.max_delay.max(load_delay).saturating_sub(waited);
        (gathered < self.max_bytes && !left.is_zero()).then(|| left.min(GATHER_LOOK))
    }
}

/// How long to gather after a round of so many records.
fn delay_after(records: u64) -> Duration {
    match u32::try_from(records) {
        Ok(records) if u64::from(records) < GATHER_FROM => Duration::ZERO,
        Ok(records) => GATHER_PER_RECORD.saturating_mul(records).min(GATHER_MAX),
        Err(_) => GATHER_MAX,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segment::partition::Partition;
    use crate::segment::{Config, recovery};
    use crate::{Append, Memory, QueueId};
    use ironbrook_model::Timestamp;
    use std::path::Path;

    #[test]
    fn a_group_waits_as_the_policy_says_and_for_the_load_while_records_come() {
        let ms = Duration::from_millis;
        let group = |max_delay, load_delay| Gathering { max_delay, max_bytes: 100, load_delay, before: None };
        assert_eq!(group(ms(0), ms(0)).goes_on(10, ms(0)), None);
        let mut loaded = group(ms(0), ms(2));
        assert_eq!(loaded.goes_on(10, ms(0)), Some(GATHER_LOOK));
        assert_eq!(loaded.goes_on(20, ms(1)), Some(GATHER_LOOK));
        assert_eq!(loaded.goes_on(20, ms(1)), None, "nobody sends any more");
        assert_eq!(group(ms(0), ms(2)).goes_on(10, ms(2)), None);
        assert_eq!(group(ms(0), ms(2)).goes_on(100, ms(0)), None);
        let mut patient = group(ms(9), ms(2));
        assert_eq!(patient.goes_on(10, ms(5)), Some(GATHER_LOOK));
        assert_eq!(patient.goes_on(10, ms(9) - GATHER_LOOK / 2), Some(GATHER_LOOK / 2));
        assert_eq!(patient.goes_on(10, ms(9)), None);
    }

    #[test]
    fn the_load_is_that_of_the_last_round_with_records() {
        let (storage, config) = (Arc::new(Memory::new()), Config { partitions: 1, ..Config::default() });
        let damaged = AtomicU64::new(0);
        let found = recovery::recover(&*storage, Path::new("log/00000"), 0, &config.keys, &damaged).unwrap();
        let positions = [(found.position, found.is_closed)];
        let shared = Arc::new(Shared::new(config, storage, vec![Partition::new(found, false)], damaged));
        let mut writer = Writer::new(shared.clone(), &positions).unwrap();
        let mut after = |records: usize| {
            for _ in 0..records {
                let enqueued = Timestamp::from_millis(1);
                let append = Append { enqueued, queues: &[QueueId::EVENTS], header: b"h", body: b"b" };
                shared.partitions[0].buffer().append((shared.partitions[0].salt, 0), &append);
            }
            assert!(!writer.round().unwrap());
            writer.records
        };
        assert_eq!([after(0), after(40), after(0), after(3)], [0, 40, 40, 3]);
    }

    #[test]
    fn few_records_wait_for_nobody_and_many_not_long() {
        assert_eq!([0, 1, 7].map(delay_after), [Duration::ZERO; 3]);
        assert_eq!(delay_after(50), Duration::from_micros(500));
        assert_eq!([1000, 10_000, u64::MAX].map(delay_after), [GATHER_MAX; 3]);
    }
}
