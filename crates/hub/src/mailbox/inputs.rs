//! The messages to inputs that a session has: those it did not take yet, and the locks of all that are not settled.

use crate::input::{INPUTS_UNSETTLED_BYTES_MAX, INPUTS_UNSETTLED_MAX, InputBatch, InputStop, Receipt};
use crate::operation::{Delivery, LockToken, LockedMessage, Settlement};
use bytestring::ByteString;
use std::collections::VecDeque;
use std::sync::Arc;

struct Unsettled {
    lock: LockToken,
    receipt: Receipt,
    len: usize,
}

#[derive(Default)]
pub(super) struct Inputs {
    /// Not taken by the session yet; each has its lock below.
    waiting: VecDeque<(ByteString, LockedMessage)>,
    /// In the order they came, which is nearly that in which they are settled. Few, so a list beats a map.
    unsettled: VecDeque<Unsettled>,
    /// Bytes of the unsettled ones.
    bytes: usize,
    /// Batches that found no room.
    waiters: Vec<Arc<InputBatch>>,
}

impl Inputs {
    /// Takes a message over, if there is room; otherwise its batch is woken when there may be.
    pub(super) fn push(&mut self, input: &ByteString, message: LockedMessage, receipt: Receipt) -> bool {
        let len = message.message.metered_len();
        let is_full = self.unsettled.len() >= INPUTS_UNSETTLED_MAX
            || !self.unsettled.is_empty() && self.bytes.saturating_add(len) > INPUTS_UNSETTLED_BYTES_MAX;
        if is_full {
            if !self.waiters.iter().any(|other| Arc::ptr_eq(other, &receipt.batch)) {
                self.waiters.push(receipt.batch);
            }
            return false;
        }
        receipt.accepted();
        self.bytes += len;
        self.unsettled.push_back(Unsettled { lock: message.lock, receipt, len });
        self.waiting.push_back((input.clone(), message));
        true
    }

    pub(super) fn take(&mut self) -> Option<Delivery> {
        let (input, message) = self.waiting.pop_front()?;
        Some(Delivery::Input { input, message })
    }

    /// Ends a lock; false where it is none of an input.
    pub(super) fn settle(&mut self, lock: LockToken, settlement: Settlement) -> bool {
        let Some(unsettled) = self.remove(lock) else { return false };
        unsettled.receipt.settle(settlement);
        self.wake();
        true
    }

    /// Takes back what is waiting of a batch, or of all; where `locks`, what the session has already, too.
    pub(super) fn recall(&mut self, of: Option<&Arc<InputBatch>>, locks: bool, why: Option<InputStop>) {
        let is_of = |receipt: &Receipt| of.is_none_or(|batch| Arc::ptr_eq(batch, &receipt.batch));
        let waits = |lock| self.waiting.iter().any(|(_, message)| message.lock == lock);
        let recalled: Vec<_> = self
            .unsettled
            .iter()
            .filter(|u| is_of(&u.receipt) && (locks || waits(u.lock)))
            .map(|u| u.lock)
            .collect();
        if recalled.is_empty() {
            return;
        }
        self.waiting.retain(|(_, message)| !recalled.contains(&message.lock));
        for lock in recalled {
            if let Some(unsettled) = self.remove(lock) {
                unsettled.receipt.end(why);
            }
        }
        self.wake();
    }

    /// Wakes those who wait for room or for the end.
    pub(super) fn wake(&mut self) {
        self.waiters.drain(..).for_each(|batch| batch.wake());
    }

    fn remove(&mut self, lock: LockToken) -> Option<Unsettled> {
        let index = self.unsettled.iter().position(|unsettled| unsettled.lock == lock)?;
        let unsettled = self.unsettled.remove(index)?;
        self.bytes -= unsettled.len;
        Some(unsettled)
    }
}
