//! Reading records: the newest from memory, older ones from files.

use super::file::Segment;
use super::partition::{Chunk, Partition};
use super::record::{HEAD_BYTES, Head};
use super::scan::{Damage, Item};
use super::shared::Shared;
use crate::{Batch, Error, Offset, PartitionId, QueueId};
use bytes::Bytes;
use std::sync::Arc;

/// How many bytes one call looks through at most for the records of a queue.
const SCAN_BYTES: u64 = 4 << 20;
/// How many cached chunks one call looks through at most.
const CHUNKS: usize = 256;
/// How many bytes are read from a file at once at least and at most.
const READ_BYTES: std::ops::RangeInclusive<usize> = 16 << 10..=256 << 10;

/// What a caller asks for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Request {
    pub queue: QueueId,
    pub from: u64,
    pub max_records: usize,
    pub max_bytes: usize,
}

/// A batch that fills.
struct Filling {
    request: Request,
    batch: Batch,
    bytes: usize,
}

impl Filling {
    fn new(request: Request) -> Self {
        Self { request, batch: Batch { records: Vec::new(), next: Offset(request.from) }, bytes: 0 }
    }

    fn is_asked_for(&self, head: &Head, bytes: &Bytes) -> bool {
        head.offset >= self.request.from && head.is_in(bytes, self.request.queue)
    }

    fn is_full(&self) -> bool {
        self.batch.records.len() >= self.request.max_records || self.bytes >= self.request.max_bytes
    }

    /// Takes a record if it is asked for, and moves on; false if it is for the next call.
    fn take(&mut self, head: &Head, bytes: &Bytes) -> bool {
        if self.is_asked_for(head, bytes) {
            let too_much = self.bytes.saturating_add(head.length) > self.request.max_bytes;
            if too_much && !self.batch.records.is_empty() {
                return false;
            }
            self.bytes += head.length;
            self.batch.records.push(head.record(bytes));
        }
        self.move_to(head.offset + 1);
        !self.is_full()
    }

    fn move_to(&mut self, offset: u64) {
        self.batch.next = self.batch.next.max(Offset(offset));
    }
}

/// Reads from the cache; `None` if the records asked for are not in it. Does not block.
pub(super) fn from_cache(partition: &Partition, request: Request) -> Option<Batch> {
    let mut filling = Filling::new(request);
    // Before the view: what it does not know of then may be durable already, but is behind this end.
    let end = partition.published.borrow().end.offset;
    if request.from >= end || request.max_records == 0 {
        return Some(filling.batch);
    }
    let view = partition.view();
    if view.is_none_left(request.queue, request.from) {
        filling.move_to(end);
        return Some(filling.batch);
    }
    let chunks = view.cached(request.from, request.max_bytes.max(1), CHUNKS)?;
    drop(view);
    for Chunk { mut bytes, .. } in chunks {
        while let Some(head) = Head::read(&bytes) {
            let record = bytes.split_to(head.length.clamp(HEAD_BYTES, bytes.len()));
            if head.offset >= request.from && !filling.take(&head, &record) {
                return Some(filling.batch);
            }
        }
    }
    Some(filling.batch)
}

/// Reads from files. Blocks.
pub(super) fn from_files(shared: &Shared, partition: PartitionId, request: Request) -> Result<Batch, Error> {
    let mut filling = Filling::new(request);
    let mut left = SCAN_BYTES;
    loop {
        let next = filling.batch.next.0;
        let (segment, first, end) = {
            let partition = shared.partition(partition)?;
            let end = partition.published.borrow().end.offset;
            let view = partition.view();
            (view.segment_of(next).cloned(), view.first().offset, end)
        };
        let Some(segment) = segment else { return Ok(filling.batch) };
        if next.max(first) >= end {
            filling.move_to(end.min(first));
            return Ok(filling.batch);
        }
        if !read_segment(shared, &segment, &mut filling, &mut left)? || left == 0 {
            return Ok(filling.batch);
        }
    }
}

/// Reads on in one segment; true if its end was reached with room for more.
fn read_segment(
    shared: &Shared,
    segment: &Arc<Segment>,
    filling: &mut Filling,
    left: &mut u64,
) -> Result<bool, Error> {
    let from = filling.batch.next.0;
    // Looked up before the scan: records that become durable meanwhile are for the next call.
    let end = segment.state().end;
    let mark = segment.last_mark(&shared.damaged, |mark| mark.offset <= from)?;
    let chunk = filling.request.max_bytes.clamp(*READ_BYTES.start(), *READ_BYTES.end());
    let mut scanner = segment.scanner(mark, chunk);
    let mut expected = mark.map_or(segment.header.base.offset, |mark| mark.offset);
    let mut damage = None;
    while let Some(item) = scanner.next()? {
        match item {
            Item::Damage(found) => damage = Some(found),
            Item::Record { head, bytes, position } => {
                if let Some(damage) = damage.take() {
                    segment.note(damage, head.offset.saturating_sub(expected), &shared.damaged);
                }
                expected = head.offset + 1;
                *left = left.saturating_sub(head.length as u64);
                if head.offset < from {
                    continue;
                }
                let is_asked_for = filling.is_asked_for(&head, &bytes);
                let opened = if is_asked_for { segment.in_plain(&head, bytes) } else { Some(bytes) };
                let Some(bytes) = opened else {
                    let to = position + head.length as u64;
                    segment.note(Damage { from: position, to }, 1, &shared.damaged);
                    filling.move_to(expected);
                    continue;
                };
                if !filling.take(&head, &bytes) || *left == 0 {
                    return Ok(false);
                }
            }
        }
    }
    if let Some(damage) = damage {
        segment.note(damage, end.saturating_sub(expected), &shared.damaged);
    }
    filling.move_to(end);
    Ok(true)
}
