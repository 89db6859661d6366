//! Messages taken and not yet acknowledged, in the order they came.
//!
//! rule MQTT-17: PUBACKs go out in the order of the PUBLISHes [MQTT-4.6.0-2], each only after its message is durable.

use ironbrook_log::{Offset, Ticket};
use ironbrook_wire::mqtt::v4::PacketId;
use std::collections::VecDeque;

/// Messages of one connection that may wait for the disk.
pub(super) const UNACKNOWLEDGED_MAX: usize = 1024;
/// Capacity an empty queue may keep.
const KEPT: usize = 64;

type Entry = (PacketId, Option<Ticket>);

#[derive(Debug, Default)]
pub(super) struct Unacknowledged {
    /// The first of the queue, here because most clients have no other.
    first: Option<Entry>,
    /// Those behind it.
    queue: VecDeque<Entry>,
    /// All before this offset are durable.
    durable: Offset,
}

impl Unacknowledged {
    /// A message was taken; without an identifier it is never acknowledged, without a ticket it needs no wait of its own.
    pub(super) fn push(&mut self, id: Option<PacketId>, ticket: Option<Ticket>) {
        let Some(id) = id else { return };
        if self.first.is_none() {
            self.first = Some((id, ticket));
        } else {
            self.queue.push_back((id, ticket));
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.queue.len() + 1 >= UNACKNOWLEDGED_MAX
    }

    pub(super) fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    /// The ticket to wait for: the oldest one. What became durable together is acknowledged together then, and does not wait for
    /// what came after it.
    pub(super) fn awaited(&self) -> Option<Ticket> {
        self.first.iter().chain(&self.queue).find_map(|(_, ticket)| *ticket)
    }

    /// All before an offset became durable.
    pub(super) fn became_durable(&mut self, end: Offset) {
        self.durable = self.durable.max(end);
    }

    /// The next message that may be acknowledged.
    pub(super) fn pop(&mut self) -> Option<PacketId> {
        let (id, ticket) = self.first?;
        if !self.is_durable(ticket) {
            return None;
        }
        self.first = self.queue.pop_front();
        if self.first.is_none() {
            self.queue.shrink_to(KEPT);
        }
        Some(id)
    }

    fn is_durable(&self, ticket: Option<Ticket>) -> bool {
        ticket.is_none_or(|ticket| ticket.offset < self.durable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ironbrook_log::PartitionId;

    fn ticket(offset: u64) -> Option<Ticket> {
        Some(Ticket { partition: PartitionId(0), offset: Offset(offset) })
    }

    fn id(n: u16) -> PacketId {
        PacketId::new(n).unwrap()
    }

    fn some(n: u16) -> Option<PacketId> {
        Some(id(n))
    }

    #[test]
    fn mqtt_17_acknowledged_in_order_and_only_when_durable() {
        let mut waiting = Unacknowledged::default();
        waiting.push(some(1), None);
        waiting.push(some(2), ticket(10));
        waiting.push(some(3), None);
        waiting.push(some(4), ticket(12));
        assert_eq!(waiting.pop(), Some(id(1)));
        assert_eq!(waiting.pop(), None);
        assert_eq!(waiting.awaited(), ticket(10));
        waiting.became_durable(Offset(11));
        assert_eq!((waiting.pop(), waiting.pop(), waiting.pop()), (Some(id(2)), Some(id(3)), None));
        assert_eq!(waiting.awaited(), ticket(12));
        waiting.became_durable(Offset(20));
        assert_eq!((waiting.pop(), waiting.awaited()), (Some(id(4)), None));
        assert!(waiting.is_empty());
    }
}
