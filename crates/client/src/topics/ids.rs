//! Packet identifiers: which are in use.

use ironbrook_wire::mqtt::PacketId;

/// One bit for each of the 65,536 numbers.
pub(super) struct Ids {
    used: Box<[u64; 1024]>,
    last: PacketId,
}

impl Default for Ids {
    fn default() -> Self {
        Self { used: Box::new([0; 1024]), last: PacketId::MAX }
    }
}

impl Ids {
    /// The next free identifier. There always is one: windows and requests are bounded far below their number.
    pub(super) fn take(&mut self) -> PacketId {
        loop {
            self.last = self.last.checked_add(1).unwrap_or(PacketId::MIN);
            let (word, bit) = place(self.last);
            if self.used[word] & bit == 0 {
                self.used[word] |= bit;
                return self.last;
            }
        }
    }

    pub(super) fn free(&mut self, id: PacketId) {
        let (word, bit) = place(id);
        self.used[word] &= !bit;
    }
}

fn place(id: PacketId) -> (usize, u64) {
    (usize::from(id.get() >> 6), 1 << (id.get() & 63))
}

impl std::fmt::Debug for Ids {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Ids({})", self.used.iter().map(|word| word.count_ones()).sum::<u32>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_go_round_and_leave_out_what_is_in_use() {
        let mut ids = Ids::default();
        let held = ids.take();
        assert_eq!(held.get(), 1);
        for expected in 2..=u16::MAX {
            let id = ids.take();
            assert_eq!(id.get(), expected);
            ids.free(id);
        }
        assert_eq!(ids.take().get(), 2, "1 is still in use");
        ids.free(held);
        assert_eq!(ids.take().get(), 3);
    }
}
