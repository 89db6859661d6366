//! A partition in memory: what is gathered, and what is durable.

use super::cursor::Cursor;
use super::file::{MARK_BYTES, Mark, Segment};
use super::record;
use super::recovery::Recovered;
use super::waiters::Waiters;
use crate::{Append, QueueId};
use bytes::{Bytes, BytesMut};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// What an idle buffer keeps allocated at most; larger ones go with their group.
const IDLE_BUFFER_BYTES: usize = 256 << 10;
/// Groups up to this size are copied out, so that the buffer stays where it is.
const COPIED_GROUP_BYTES: usize = 64 << 10;
/// The chunks of larger groups are copied into the cache; those of smaller ones share the group's memory, so that a cache holds
/// at most this much more than its limit.
const SHARED_GROUP_BYTES: usize = 256 << 10;
/// How many times as large as its last group a buffer may be to be kept for the next one.
const SPARE_FACTOR: usize = 4;
/// What a cached chunk costs beside its bytes.
const CHUNK_OVERHEAD: usize = 128;

/// A partition.
pub(super) struct Partition {
    pub salt: u32,
    /// What every record is marked with: whether it will be sealed.
    pub flags: u16,
    pub buffer: Mutex<Buffer>,
    pub view: Mutex<View>,
    /// Tells readers of new durable records, of new room and of the end. Sent after `view` shows them.
    pub published: watch::Sender<Published>,
    /// Told after `published`.
    pub waiters: Waiters,
    /// Held while segments are removed, so that removals come in order.
    pub trimming: Mutex<()>,
}

/// What tasks look at that wait for records to read or for room.
#[derive(Debug, Clone, Copy)]
pub(super) struct Published {
    pub end: Cursor,
    pub status: Status,
}

/// Whether the log works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Status {
    Open = 0,
    Poisoned = 1,
    Closed = 2,
}

/// Records that are gathered and not yet handed to the writer.
pub(super) struct Buffer {
    bytes: BytesMut,
    /// Positions in `bytes`; the first record has one.
    marks: Vec<Mark>,
    first: Cursor,
    pub cursor: Cursor,
    newest: Newest,
    /// Bytes the writer has taken that are not yet durable.
    in_flight: usize,
    /// The memory of the group before, for the next one. Under load two buffers so take turns, and none has to grow anew.
    spare: Option<BytesMut>,
}

/// Records that become durable together.
#[derive(Debug)]
pub(super) struct Group {
    pub bytes: Bytes,
    pub marks: Vec<Mark>,
    pub first: Cursor,
    pub end: Cursor,
    newest: Newest,
}

/// The newest record of each queue. A hub has few, so a list beats a map.
#[derive(Debug, Default)]
struct Newest(Vec<(QueueId, u64)>);

impl Newest {
    fn note(&mut self, queue: QueueId, offset: u64) {
        match self.0.iter_mut().find(|(known, _)| *known == queue) {
            Some((_, newest)) => *newest = offset,
            None => self.0.push((queue, offset)),
        }
    }

    fn of(&self, queue: QueueId) -> Option<u64> {
        self.0.iter().find(|(known, _)| *known == queue).map(|(_, newest)| *newest)
    }
}

/// What readers may see, and where it is.
pub(super) struct View {
    /// In order, never empty; the last one grows.
    pub segments: VecDeque<Arc<Segment>>,
    /// Of records since the log was opened, which begin at `opened`.
    newest: Newest,
    opened: u64,
    cache: VecDeque<Chunk>,
    cached_bytes: usize,
}

/// Some of the newest records, without a gap between chunks.
#[derive(Debug, Clone)]
pub(super) struct Chunk {
    pub first: u64,
    pub bytes: Bytes,
}

impl Partition {
    pub(super) fn new(found: Recovered, is_sealed: bool) -> Self {
        let cursor = found.cursor;
        let (bytes, marks) = (BytesMut::new(), Vec::new());
        let newest = Newest::default();
        let buffer = Buffer { bytes, marks, first: cursor, cursor, newest, in_flight: 0, spare: None };
        let salt = found.segments.last().map_or(0, |segment| segment.header.salt);
        let view = View {
            segments: found.segments.into(),
            newest: Newest::default(),
            opened: cursor.offset,
            cache: VecDeque::new(),
            cached_bytes: 0,
        };
        Self {
            salt,
            flags: if is_sealed { record::SEALED } else { 0 },
            buffer: Mutex::new(buffer),
            view: Mutex::new(view),
            published: watch::Sender::new(Published { end: cursor, status: Status::Open }),
            waiters: Waiters::new(cursor.offset),
            trimming: Mutex::new(()),
        }
    }

    pub(super) fn buffer(&self) -> MutexGuard<'_, Buffer> {
        self.buffer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn view(&self) -> MutexGuard<'_, View> {
        self.view.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Buffer {
    /// Bytes that are not yet durable.
    pub(super) fn held(&self) -> usize {
        self.bytes.len() + self.in_flight
    }

    /// Whether no more records are taken. Two buffers take turns, one that fills and one that is written, each half of what a
    /// partition may hold.
    pub(super) fn is_full(&self, bytes_max: usize) -> bool {
        self.bytes.len() >= bytes_max / 2
    }

    /// Takes a record in and returns its offset.
    pub(super) fn append(&mut self, (salt, flags): (u32, u16), append: &Append<'_>) -> u64 {
        let Cursor { offset, events, enqueued, .. } = self.cursor;
        let enqueued = append.enqueued.as_millis().max(enqueued);
        let position = self.bytes.len() as u64;
        if self.marks.last().is_none_or(|last| position - last.position >= MARK_BYTES) {
            self.marks.push(Mark { offset, events, enqueued, position });
        }
        let flags = flags | if position == 0 { record::FIRST_OF_GROUP } else { 0 };
        record::encode(&mut self.bytes, salt, (offset, events, enqueued, flags), append);
        append.queues.iter().for_each(|queue| self.newest.note(*queue, offset));
        let is_event = append.queues.contains(&QueueId::EVENTS);
        let last_event = if is_event { Some((offset, enqueued)) } else { self.cursor.last_event };
        self.cursor =
            Cursor { offset: offset + 1, events: events + u64::from(is_event), enqueued, last_event };
        offset
    }

    /// Hands over what is gathered.
    pub(super) fn take(&mut self) -> Option<Group> {
        if self.bytes.is_empty() {
            return None;
        }
        let bytes = if self.bytes.len() <= COPIED_GROUP_BYTES && self.bytes.capacity() <= IDLE_BUFFER_BYTES {
            let bytes = Bytes::copy_from_slice(&self.bytes);
            self.bytes.clear();
            self.spare = None;
            bytes
        } else {
            let new = || BytesMut::with_capacity(self.bytes.len().min(IDLE_BUFFER_BYTES));
            let next = self.spare.take().unwrap_or_else(new);
            std::mem::replace(&mut self.bytes, next).freeze()
        };
        self.in_flight = bytes.len();
        let (marks, newest) = (std::mem::take(&mut self.marks), std::mem::take(&mut self.newest));
        let group = Group { bytes, marks, first: self.first, end: self.cursor, newest };
        self.first = self.cursor;
        Some(group)
    }

    /// A group is durable.
    pub(super) fn written(&mut self, group: Group) {
        self.in_flight = 0;
        let length = group.bytes.len();
        // Where the cache shares it, it is not free; and one that was not nearly filled is too large for what comes.
        if let Ok(mut memory) = group.bytes.try_into_mut()
            && length > IDLE_BUFFER_BYTES
            && memory.capacity() <= SPARE_FACTOR * length
        {
            memory.clear();
            self.spare = Some(memory);
        }
    }
}

impl View {
    /// The segment that has or would have a record, and the first one where the record was trimmed.
    pub(super) fn segment_of(&self, offset: u64) -> Option<&Arc<Segment>> {
        let behind = self.segments.partition_point(|segment| segment.header.base.offset <= offset);
        self.segments.get(behind.saturating_sub(1))
    }

    /// Where the oldest segment begins.
    pub(super) fn first(&self) -> Cursor {
        self.segments.front().map_or(Cursor::START, |segment| segment.header.base)
    }

    /// Shows a durable group to readers.
    pub(super) fn show(&mut self, group: &Group, cache_limit: usize) {
        group.newest.0.iter().for_each(|(queue, offset)| self.newest.note(*queue, *offset));
        self.cache(group, cache_limit);
    }

    /// Whether no record of a queue is known from an offset on, so that a reader may pass over what others have.
    pub(super) fn is_none_left(&self, queue: QueueId, from: u64) -> bool {
        self.newest.of(queue).map_or(from >= self.opened, |newest| newest < from)
    }

    /// Adds a durable group to the cache, in chunks that can be found by offset, and drops the oldest ones.
    fn cache(&mut self, group: &Group, limit: usize) {
        let length = group.bytes.len() as u64;
        let ends = group.marks.iter().skip(1).map(|mark| mark.position).chain([length]);
        for (mark, end) in group.marks.iter().zip(ends) {
            if length - end > limit as u64 {
                // It would be dropped again below, and so is all before it.
                self.cache.clear();
                self.cached_bytes = 0;
                continue;
            }
            let at = |position| usize::try_from(position).unwrap_or(usize::MAX);
            let bytes = group.bytes.slice(at(mark.position)..at(end));
            // A chunk of a large group is copied: it would hold the whole group in memory.
            let is_large = group.bytes.len() > SHARED_GROUP_BYTES && bytes.len() < group.bytes.len();
            let bytes = if is_large { Bytes::copy_from_slice(&bytes) } else { bytes };
            self.cached_bytes += bytes.len() + CHUNK_OVERHEAD;
            self.cache.push_back(Chunk { first: mark.offset, bytes });
        }
        while self.cached_bytes > limit
            && let Some(oldest) = self.cache.pop_front()
        {
            self.cached_bytes -= oldest.bytes.len() + CHUNK_OVERHEAD;
        }
    }

    /// Forgets cached records before an offset.
    pub(super) fn drop_cached(&mut self, before: u64) {
        while self.cache.get(1).is_some_and(|next| next.first <= before)
            && let Some(oldest) = self.cache.pop_front()
        {
            self.cached_bytes -= oldest.bytes.len() + CHUNK_OVERHEAD;
        }
    }

    /// The chunks from a record on, up to about `bytes`; `None` if the record is older than the cache.
    pub(super) fn cached(&self, offset: u64, bytes: usize, count: usize) -> Option<Vec<Chunk>> {
        let from = self.cache.partition_point(|chunk| chunk.first <= offset).checked_sub(1)?;
        let mut taken = 0;
        let chunks = self.cache.range(from..).take(count).take_while(|chunk| {
            let more = taken < bytes;
            taken += chunk.bytes.len();
            more
        });
        Some(chunks.cloned().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ironbrook_model::Timestamp;

    /// Gathers so many bytes, hands them over, and says where they lay.
    fn group_of(buffer: &mut Buffer, bytes: usize) -> *const u8 {
        while buffer.bytes.len() < bytes {
            let enqueued = Timestamp::from_millis(1);
            let body = [b'x'; 1000];
            buffer.append((0, 0), &Append { enqueued, queues: &[QueueId::EVENTS], header: b"", body: &body });
        }
        let group = buffer.take().unwrap();
        let place = group.bytes.as_ptr();
        buffer.written(group);
        place
    }

    #[test]
    fn under_load_two_buffers_take_turns_and_without_it_one_is_given_back() {
        let bytes = BytesMut::new();
        let (first, newest) = (Cursor::START, Newest::default());
        let marks = Vec::new();
        let mut buffer = Buffer { bytes, marks, first, cursor: first, newest, in_flight: 0, spare: None };
        let large = 2 * IDLE_BUFFER_BYTES;
        let places: Vec<_> = (0..4).map(|_| group_of(&mut buffer, large)).collect();
        assert_eq!([places[0], places[1]], [places[2], places[3]]);
        assert_ne!(places[0], places[1]);
        // The one large buffer goes with its group, which does not fill it; the next ones are small.
        group_of(&mut buffer, COPIED_GROUP_BYTES / 2);
        group_of(&mut buffer, COPIED_GROUP_BYTES / 2);
        assert!(buffer.spare.is_none() && buffer.bytes.capacity() <= IDLE_BUFFER_BYTES);
    }
}
