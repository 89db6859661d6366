//! Answers in the order of what they answer, each held back until what it acknowledges is on disk.
//!
//! rule TOPIC-01: PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK and UNSUBACK leave in order [MQTT-4.6.0-2 to -4], and only after what
//! they stand for is durable.

use super::speech::Reply;
use ironbrook_pubsub::Broker;
use std::collections::VecDeque;

/// Answers that may wait. More than the receive maximum of the standard settings, so that it seldom is the limit.
pub(super) const ANSWERS_MAX: usize = 2048;
/// Capacity an empty queue may keep.
const KEPT: usize = 64;

#[derive(Debug, Default)]
pub(super) struct Answers {
    queue: VecDeque<(Option<u64>, Reply)>,
}

impl Answers {
    /// An answer that waits for a mark, or for nothing of its own.
    pub(super) fn push(&mut self, mark: Option<u64>, reply: Reply) {
        self.queue.push_back((mark, reply));
    }

    pub(super) fn is_full(&self) -> bool {
        self.queue.len() >= ANSWERS_MAX
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// The mark to wait for, where one is: that of the oldest answer that has one. What became durable together leaves together then,
    /// and nothing that may leave waits for what came after it. It may be durable by now, as the disk does not wait for who asks.
    pub(super) fn awaited(&self) -> Option<u64> {
        self.queue.iter().find_map(|(mark, _)| *mark)
    }

    /// The next answer that may leave.
    pub(super) fn pop(&mut self, broker: &Broker) -> Option<Reply> {
        let (mark, _) = self.queue.front()?;
        if mark.is_some_and(|mark| !broker.is_durable(mark)) {
            return None;
        }
        let (_, reply) = self.queue.pop_front()?;
        if self.queue.is_empty() {
            self.queue.shrink_to(KEPT);
        }
        Some(reply)
    }
}
