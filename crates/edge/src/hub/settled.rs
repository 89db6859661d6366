//! What of a batch is settled already, so that a batch that comes again repeats only the rest.

use ironbrook_hub::seams::{Routed, Sent};
use ironbrook_log::{Offset, PartitionId};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Fates remembered at most; batches of all priorities and partitions together are far smaller.
const REMEMBERED_MAX: usize = 16 * 1024;

/// The end of a message at an endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fate {
    /// Taken.
    Done,
    /// Never to be taken, and why.
    Rejected(String),
}

/// The fates of messages whose batch is not settled as a whole. They live in memory: after a restart a batch may come in part
/// again, as the endpoint's contract says.
#[derive(Debug, Default)]
pub(super) struct Settled(Mutex<BTreeMap<(PartitionId, Offset), Fate>>);

impl Settled {
    fn fates(&self) -> MutexGuard<'_, BTreeMap<(PartitionId, Offset), Fate>> {
        // No code under this lock can leave the map half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The messages of a batch that are not settled, by index.
    pub(super) fn open(&self, partition: PartitionId, batch: &[Routed]) -> Vec<usize> {
        let fates = self.fates();
        (0..batch.len()).filter(|index| !fates.contains_key(&(partition, batch[*index].offset))).collect()
    }

    /// Notes the end of a message.
    pub(super) fn note(&self, partition: PartitionId, offset: Offset, fate: Fate) {
        let mut fates = self.fates();
        if fates.len() >= REMEMBERED_MAX {
            // Left over from messages that expired under way.
            fates.pop_first();
        }
        fates.insert((partition, offset), fate);
    }

    /// What to tell of a batch: settled as a whole, or `otherwise`.
    pub(super) fn tell(
        &self,
        partition: PartitionId,
        batch: &[Routed],
        otherwise: impl FnOnce() -> Sent,
    ) -> Sent {
        let mut fates = self.fates();
        if batch.iter().any(|routed| !fates.contains_key(&(partition, routed.offset))) {
            drop(fates);
            return otherwise();
        }
        let mut rejected = Vec::new();
        for (index, routed) in batch.iter().enumerate() {
            if let Some(Fate::Rejected(why)) = fates.remove(&(partition, routed.offset)) {
                rejected.push((index, why));
            }
        }
        if rejected.is_empty() { Sent::Done } else { Sent::Reject(rejected) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ironbrook_model::{Message, MessageSource, Timestamp};
    use std::time::Duration;

    fn routed(offset: u64) -> Routed {
        Routed {
            offset: Offset(offset),
            event_sequence: None,
            enqueued: Timestamp::from_millis(0),
            source: MessageSource::DeviceMessages,
            message: Message::new("x"),
        }
    }

    #[test]
    fn a_batch_is_settled_when_all_of_it_is_and_then_forgotten() {
        let settled = Settled::default();
        let (low, high) = (PartitionId(0), [routed(3), routed(5), routed(9)]);
        let later = || Sent::RetryAfter(Duration::ZERO, "later".to_owned());
        settled.note(low, Offset(5), Fate::Rejected("too large".to_owned()));
        // The same offset of another partition is another message.
        assert_eq!(settled.open(PartitionId(1), &high), [0, 1, 2]);
        assert_eq!(settled.open(low, &high), [0, 2]);
        assert_eq!(settled.tell(low, &high, later), later());
        settled.note(low, Offset(3), Fate::Done);
        settled.note(low, Offset(9), Fate::Done);
        assert_eq!(settled.tell(low, &high, later), Sent::Reject(vec![(1, "too large".to_owned())]));
        assert_eq!(settled.open(low, &high), [0, 1, 2]);
    }
}
