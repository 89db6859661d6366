//! Messages on their way to the device, until they are settled.

use ironbrook_hub::LockToken;
use ironbrook_wire::mqtt::v4::PacketId;
use std::collections::VecDeque;

/// Messages handed to a client and not settled: the hub's windows, 10 for a device and 64 for the inputs of a module, bound it;
/// this is the door's own guard, large enough not to hold up anything else.
const OUTGOING_MAX: usize = 128;

/// Locked messages by what settles them.
#[derive(Debug)]
pub(super) struct Outgoing {
    /// Quality 1: the client's PUBACK. Few, so a list beats a map.
    acknowledged: Vec<(PacketId, LockToken)>,
    /// Quality 0: the packet left, up to this position of the output.
    written: VecDeque<(u64, LockToken)>,
    last_id: PacketId,
}

impl Default for Outgoing {
    fn default() -> Self {
        Self { acknowledged: Vec::new(), written: VecDeque::new(), last_id: PacketId::MAX }
    }
}

impl Outgoing {
    pub(super) fn is_full(&self) -> bool {
        self.acknowledged.len() + self.written.len() >= OUTGOING_MAX
    }

    /// A packet identifier that no message under way has.
    pub(super) fn next_id(&mut self) -> PacketId {
        loop {
            self.last_id = self.last_id.checked_add(1).unwrap_or(PacketId::MIN);
            if self.acknowledged.iter().all(|(id, _)| *id != self.last_id) {
                return self.last_id;
            }
        }
    }

    pub(super) fn await_acknowledgement(&mut self, id: PacketId, lock: LockToken) {
        self.acknowledged.push((id, lock));
    }

    pub(super) fn await_write(&mut self, position: u64, lock: LockToken) {
        self.written.push_back((position, lock));
    }

    /// The message of a PUBACK.
    pub(super) fn acknowledge(&mut self, id: PacketId) -> Option<LockToken> {
        let index = self.acknowledged.iter().position(|(known, _)| *known == id)?;
        Some(self.acknowledged.remove(index).1)
    }

    /// A message whose packet has left.
    pub(super) fn written(&mut self, flushed: u64) -> Option<LockToken> {
        let (position, lock) = *self.written.front()?;
        if position > flushed {
            return None;
        }
        self.written.pop_front();
        Some(lock)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lock(n: u128) -> LockToken {
        LockToken(uuid::Uuid::from_u128(n))
    }

    #[test]
    fn identifiers_wrap_and_skip_those_in_use() {
        let mut outgoing = Outgoing::default();
        let first = outgoing.next_id();
        assert_eq!(first.get(), 1);
        outgoing.await_acknowledgement(first, lock(1));
        outgoing.last_id = PacketId::MAX;
        assert_eq!(outgoing.next_id().get(), 2);
        assert_eq!(outgoing.acknowledge(first), Some(lock(1)));
        assert_eq!(outgoing.acknowledge(first), None);
    }

    #[test]
    fn quality_0_is_settled_when_its_bytes_left() {
        let mut outgoing = Outgoing::default();
        outgoing.await_write(10, lock(1));
        outgoing.await_write(20, lock(2));
        assert_eq!(outgoing.written(9), None);
        assert_eq!(outgoing.written(10), Some(lock(1)));
        assert_eq!(outgoing.written(10), None);
        assert_eq!(outgoing.written(25), Some(lock(2)));
    }
}
