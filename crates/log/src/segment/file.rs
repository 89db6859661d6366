//! One segment: an open file, how much of it counts, and where records are in it.

use super::cursor::Cursor;
use super::header::Header;
use super::record::Head;
use super::scan::{Damage, Item, Scanner};
use super::seal;
use crate::keys::Cipher;
use crate::storage::folder_of;
use crate::{Error, File, Keys, QueueId, Storage};
use bytes::Bytes;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// About how many bytes lie between two marks of the index.
pub(super) const MARK_BYTES: u64 = 64 << 10;
/// How much a whole segment is read at once.
pub(super) const SCAN_CHUNK: usize = 256 << 10;

/// A record the index knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    pub offset: u64,
    /// Records of the numbered queue before it.
    pub events: u64,
    pub enqueued: i64,
    /// Where it begins in the file (or in a buffer not yet written).
    pub position: u64,
}

/// One segment.
pub(super) struct Segment {
    pub header: Header,
    pub path: PathBuf,
    pub file: Arc<dyn File>,
    /// What its records are sealed with. `None` where they are not, or where what the key is derived with was lost.
    cipher: Option<Cipher>,
    state: Mutex<State>,
}

/// What changes in a segment.
#[derive(Debug)]
pub(super) struct State {
    /// Bytes that are durable; what is behind is not there for readers.
    pub len: u64,
    /// The cursor's offset behind the last durable record.
    pub end: u64,
    /// Marks in order; `None` for a segment found at start and not read since.
    pub index: Option<Vec<Mark>>,
    /// Damage found so far, so that each is counted once.
    damage: Vec<Damage>,
}

/// What reading a whole segment told.
pub(super) struct Whole {
    /// Where the partition stands behind it.
    pub cursor: Cursor,
    /// The damage it ends with, if it does.
    pub torn: Option<Damage>,
    /// Where the last group of records begins: all before it was synced when it was written.
    pub last_group: u64,
}

/// The name of the segment whose first record has this offset.
pub(super) fn file_name(base: u64) -> String {
    format!("{base:020}.log")
}

/// The first offset by a file's name; `None` for files that are no segments.
pub(super) fn base_of(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".log")?;
    (digits.len() == 20 && digits.bytes().all(|b| b.is_ascii_digit())).then(|| digits.parse().ok())?
}

impl Segment {
    /// A segment found on disk: `len` bytes, of which nothing is known but the header.
    pub(super) fn found(
        header: Header,
        path: PathBuf,
        file: Arc<dyn File>,
        keys: &Keys,
        (len, end): (u64, u64),
    ) -> Self {
        let state = Mutex::new(State { len, end, index: None, damage: Vec::new() });
        Self { header, path, file, cipher: header.cipher(keys), state }
    }

    /// Makes the file of a new segment; its header and its name are durable when this returns. One in whose place there is
    /// another without records is made beside it, so that at every moment one of them is there.
    ///
    /// # Errors
    /// Writes come before syncs, so a full disk is told by [`is_full`](crate::storage::is_full) as long as nothing
    /// was synced; it may be tried again then.
    pub(super) fn create(
        storage: &dyn Storage,
        folder: &Path,
        header: Header,
        keys: &Keys,
        replaces: bool,
    ) -> std::io::Result<Self> {
        let path = folder.join(file_name(header.base.offset));
        let made = if replaces { path.with_extension("new") } else { path.clone() };
        let file = storage.open(&made, true)?;
        if replaces {
            file.set_len(0)?;
        }
        file.write_at(&header.encode(), 0)?;
        let placed = || if replaces { storage.rename(&made, &path) } else { Ok(()) };
        let synced =
            file.sync_data().and_then(|()| placed()).and_then(|()| storage.sync_folder(folder_of(&path)));
        synced.map_err(std::io::Error::other)?;
        let (len, end) = (header.len(), header.base.offset);
        let state = Mutex::new(State { len, end, index: Some(Vec::new()), damage: Vec::new() });
        Ok(Self { header, path, file, cipher: header.cipher(keys), state })
    }

    /// A group as it is written to this segment.
    pub(super) fn on_disk(&self, group: &Bytes) -> std::io::Result<Bytes> {
        match &self.cipher {
            Some(cipher) => seal::seal(group, self.header.salt, cipher),
            None => Ok(group.clone()),
        }
    }

    /// A record read from this segment, in plain; `None` if it is not what was sealed here, whatever its checksums say.
    pub(super) fn in_plain(&self, head: &Head, record: Bytes) -> Option<Bytes> {
        match (&self.cipher, head.is_sealed(), self.header.is_sealed()) {
            (None, false, false) => Some(record),
            (Some(cipher), true, _) => seal::open(head, &record, cipher),
            _ => None,
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Walks over all that is durable from a mark on, or from the beginning.
    pub(super) fn scanner(&self, from: Option<Mark>, chunk: usize) -> Scanner {
        let (limit, below) = {
            let state = self.state();
            (state.len, state.end)
        };
        let (position, expected) =
            from.map_or((self.header.len(), self.header.base.offset), |mark| (mark.position, mark.offset));
        Scanner::new(self.file.clone(), self.header.salt, (position, limit), (expected, below), chunk)
    }

    /// The last mark for which `before` holds; marks are sorted by it. `None` is the beginning of the segment.
    pub(super) fn last_mark(
        &self,
        counter: &AtomicU64,
        before: impl Fn(&Mark) -> bool,
    ) -> Result<Option<Mark>, Error> {
        if self.state().index.is_none() {
            let whole = self.read_whole(counter)?;
            if let Some(damage) = whole.torn {
                let end = self.state().end;
                self.note(damage, end.saturating_sub(whole.cursor.offset), counter);
            }
        }
        let state = self.state();
        let index = state.index.as_deref().unwrap_or_default();
        Ok(index.partition_point(before).checked_sub(1).and_then(|at| index.get(at)).copied())
    }

    /// Reads and verifies the whole segment to make its index.
    pub(super) fn read_whole(&self, counter: &AtomicU64) -> Result<Whole, Error> {
        let mut index = Vec::<Mark>::new();
        let mut whole = Whole { cursor: self.header.base, torn: None, last_group: 0 };
        let mut scanner = self.scanner(None, SCAN_CHUNK);
        while let Some(item) = scanner.next()? {
            let (head, bytes, position) = match item {
                Item::Record { head, bytes, position } => (head, bytes, position),
                Item::Damage(damage) => {
                    whole.torn = Some(damage);
                    continue;
                }
            };
            if let Some(damage) = whole.torn.take() {
                self.note(damage, head.offset.saturating_sub(whole.cursor.offset), counter);
            }
            if index.last().is_none_or(|last| position - last.position >= MARK_BYTES) {
                let (offset, events, enqueued) = (head.offset, head.events, head.enqueued);
                index.push(Mark { offset, events, enqueued, position });
            }
            if head.is_first_of_group() {
                whole.last_group = position;
            }
            whole.cursor = whole.cursor.behind(&head, head.is_in(&bytes, QueueId::EVENTS));
        }
        self.state().index = Some(index);
        Ok(whole)
    }

    /// Counts and reports damage, once.
    pub(super) fn note(&self, damage: Damage, records: u64, counter: &AtomicU64) {
        let mut state = self.state();
        if state.damage.contains(&damage) {
            return;
        }
        state.damage.push(damage);
        drop(state);
        counter.fetch_add(records, Ordering::Relaxed);
        tracing::error!(
            segment = %self.path.display(), from = damage.from, to = damage.to, records,
            "damaged records are left out; all others are served"
        );
    }
}
