//! Where a partition stands: the numbers the next record gets.

use super::record::Head;
use crate::Bounds;
use crate::Offset;
use ironbrook_model::Timestamp;

/// Where a partition stands between two records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cursor {
    /// Offset of the next record.
    pub offset: u64,
    /// How many records of the numbered queue came before: the sequence of the next one.
    pub events: u64,
    /// Enqueued time of the record before, in milliseconds; no record after may be earlier.
    pub enqueued: i64,
    /// Offset and enqueued time of the newest record of the numbered queue.
    pub last_event: Option<(u64, i64)>,
}

impl Cursor {
    /// Before the first record of all.
    pub(super) const START: Self = Self { offset: 0, events: 0, enqueued: i64::MIN, last_event: None };

    /// Behind a record. Its own numbers count, so that records lost before it do not matter.
    pub(super) fn behind(&self, head: &Head, is_event: bool) -> Self {
        Self {
            offset: head.offset + 1,
            events: head.events + u64::from(is_event),
            enqueued: head.enqueued,
            last_event: if is_event { Some((head.offset, head.enqueued)) } else { self.last_event },
        }
    }

    /// As the bounds of a partition whose oldest record is at `first`.
    pub(super) fn bounds(&self, first: &Self) -> Bounds {
        let last_event = self.last_event.map(|(offset, time)| (Offset(offset), Timestamp::from_millis(time)));
        Bounds {
            first: Offset(first.offset),
            end: Offset(self.offset),
            first_event_sequence: first.events,
            end_event_sequence: self.events,
            last_event,
        }
    }
}
