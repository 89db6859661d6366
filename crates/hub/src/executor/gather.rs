//! The rules by which messages become a batch.

use crate::seams::{Batching, Routed};
use ironbrook_log::Offset;
use ironbrook_model::Timestamp;

/// A batch being gathered.
pub(super) struct Gathering {
    bounds: Batching,
    pub(super) batch: Vec<Routed>,
    bytes: usize,
    /// Where the next batch begins.
    pub(super) next: Offset,
}

/// What became of a message offered to a batch.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// It is in; there may be room for more.
    Yes,
    /// It begins the next batch; this one is complete.
    No,
}

impl Gathering {
    pub(super) fn new(bounds: Batching, from: Offset) -> Self {
        Self { bounds, batch: Vec::new(), bytes: 0, next: from }
    }

    /// Until when messages must have been enqueued to be in this batch; `None` while it is empty or where only bytes and
    /// messages count.
    pub(super) fn deadline(&self) -> Option<Timestamp> {
        let first = self.batch.first().filter(|_| !self.bounds.max_delay.is_zero())?;
        Some(first.enqueued.plus(self.bounds.max_delay))
    }

    pub(super) fn is_full(&self) -> bool {
        self.batch.len() >= self.bounds.max_messages.max(1) || self.bytes >= self.bounds.max_bytes
    }

    /// Messages and bytes that still fit; at least one.
    pub(super) fn room(&self) -> (usize, usize) {
        let messages = self.bounds.max_messages.saturating_sub(self.batch.len()).max(1);
        (messages, self.bounds.max_bytes.saturating_sub(self.bytes).max(1))
    }

    /// Offers a message of this stored length.
    pub(super) fn offer(&mut self, message: Routed, len: usize) -> Taken {
        let late = self.deadline().is_some_and(|deadline| message.enqueued > deadline);
        let too_much = !self.batch.is_empty() && self.bytes.saturating_add(len) > self.bounds.max_bytes;
        if late || too_much || self.is_full() {
            self.next = message.offset;
            return Taken::No;
        }
        self.bytes += len;
        self.next = Offset(message.offset.0 + 1);
        self.batch.push(message);
        Taken::Yes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ironbrook_model::{Message, MessageSource};
    use std::time::Duration;

    fn routed(offset: u64, millis: i64) -> Routed {
        Routed {
            offset: Offset(offset),
            event_sequence: None,
            enqueued: Timestamp::from_millis(millis),
            source: MessageSource::DeviceMessages,
            message: Message::new("x"),
        }
    }

    fn gathering(max_messages: usize, max_bytes: usize, millis: u64) -> Gathering {
        let max_delay = Duration::from_millis(millis);
        Gathering::new(Batching { max_messages, max_bytes, max_delay }, Offset(0))
    }

    #[test]
    fn ends_at_each_bound_and_the_next_begins_where_it_ended() {
        let mut by_count = gathering(2, 1000, 0);
        assert_eq!(by_count.offer(routed(0, 0), 10), Taken::Yes);
        assert_eq!(by_count.offer(routed(5, 9000), 10), Taken::Yes);
        assert!(by_count.is_full());
        assert_eq!(by_count.next, Offset(6));

        let mut by_bytes = gathering(100, 25, 0);
        assert_eq!(by_bytes.offer(routed(0, 0), 10), Taken::Yes);
        assert_eq!(by_bytes.offer(routed(1, 0), 16), Taken::No);
        assert_eq!(by_bytes.next, Offset(1));

        let mut by_time = gathering(100, 1000, 50);
        assert_eq!(by_time.offer(routed(0, 100), 1), Taken::Yes);
        assert_eq!(by_time.offer(routed(1, 150), 1), Taken::Yes);
        assert_eq!(by_time.offer(routed(2, 151), 1), Taken::No);
        assert_eq!(by_time.next, Offset(2));
    }

    #[test]
    fn one_message_larger_than_the_bound_goes_alone() {
        let mut gathering = gathering(100, 5, 0);
        assert_eq!(gathering.offer(routed(0, 0), 50), Taken::Yes);
        assert!(gathering.is_full());
    }
}
