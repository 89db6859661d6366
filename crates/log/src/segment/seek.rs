//! Finding the offset of a place.

use super::cursor::Cursor;
use super::file::{Mark, SCAN_CHUNK, Segment};
use super::record::Head;
use super::scan::Item;
use super::shared::Shared;
use crate::{Error, Offset, PartitionId, QueueId};
use std::sync::Arc;

/// A place that has to be looked for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Place {
    Event(u64),
    Time(i64),
}

impl Place {
    /// Whether a segment that begins here may have it: whether it is not before.
    fn is_behind(self, base: &Cursor) -> bool {
        match self {
            Self::Event(sequence) => base.events <= sequence,
            // The base tells the time of the record before, so an equal time begins in an earlier segment.
            Self::Time(time) => base.enqueued < time,
        }
    }

    /// Whether looking may begin at this record.
    fn is_not_before(self, mark: &Mark) -> bool {
        match self {
            Self::Event(sequence) => mark.events <= sequence,
            Self::Time(time) => mark.enqueued < time,
        }
    }

    fn is_at(self, head: &Head, bytes: &[u8]) -> bool {
        match self {
            Self::Event(sequence) => head.events >= sequence && head.is_in(bytes, QueueId::EVENTS),
            Self::Time(time) => head.enqueued >= time,
        }
    }
}

/// The offset of the first record at a place or behind it, or where the next record will be. Blocks.
pub(super) fn seek(shared: &Shared, partition: PartitionId, place: Place) -> Result<Offset, Error> {
    let (segments, end) = {
        let partition = shared.partition(partition)?;
        let end = partition.published.borrow().end.offset;
        let view = partition.view();
        let behind = view.segments.partition_point(|segment| place.is_behind(&segment.header.base));
        let segments: Vec<Arc<Segment>> =
            view.segments.iter().skip(behind.saturating_sub(1)).cloned().collect();
        (segments, end)
    };
    for segment in segments {
        let mark = segment.last_mark(&shared.damaged, |mark| place.is_not_before(mark))?;
        let mut scanner = segment.scanner(mark, SCAN_CHUNK);
        while let Some(item) = scanner.next()? {
            // Damage on the way is counted by readers.
            let Item::Record { head, bytes, .. } = item else { continue };
            if place.is_at(&head, &bytes) {
                return Ok(Offset(head.offset));
            }
        }
    }
    Ok(Offset(end))
}
