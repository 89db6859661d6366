//! The copy in memory, and when each identity was last asked for.

use super::ENTRIES_MAX;
use ironbrook_model::{Identity, IdentityRecord, Timestamp};
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// Identities that wait to be asked for.
const WAITING_MAX: usize = 64;
/// How many of the last learned are remembered: more than a deployment makes at once.
const LATELY_MAX: usize = 128;

struct Known {
    record: Arc<IdentityRecord>,
    /// When the hub last told it; `None` for what was read from disk.
    told: Option<Timestamp>,
}

#[derive(Default)]
pub(super) struct Cache {
    known: HashMap<Identity, Known>,
    /// When an identity was last asked for, of the last while only.
    asked: HashMap<Identity, Timestamp>,
    waiting: VecDeque<Identity>,
    learned: u64,
    /// The last that were learned, with their numbers.
    lately: VecDeque<(Identity, u64)>,
}

impl Cache {
    pub(super) fn get(&self, identity: &Identity) -> Option<Arc<IdentityRecord>> {
        self.known.get(identity).map(|known| Arc::clone(&known.record))
    }

    pub(super) fn set(&mut self, record: IdentityRecord, told: Option<Timestamp>) {
        let identity = record.identity.clone();
        if self.known.len() >= ENTRIES_MAX && !self.known.contains_key(&identity) {
            return;
        }
        self.known.insert(identity, Known { record: Arc::new(record), told });
    }

    pub(super) fn remove(&mut self, identity: &Identity) {
        self.known.remove(identity);
    }

    /// Known identities that a reading which began at a time did not hold, but for those told since.
    pub(super) fn missing(&self, records: &[IdentityRecord], began: Timestamp) -> Vec<Identity> {
        let there: HashSet<&Identity> = records.iter().map(|record| &record.identity).collect();
        let gone = self.known.iter().filter(|(id, known)| !there.contains(id) && known.told < Some(began));
        gone.map(|(identity, _)| identity.clone()).collect()
    }

    /// How many identities were learned from others than the hub, ever.
    pub(super) fn learned(&self) -> u64 {
        self.learned
    }

    pub(super) fn note_learned(&mut self, identity: Identity) {
        self.learned += 1;
        self.lately.push_back((identity, self.learned));
        if self.lately.len() > LATELY_MAX {
            self.lately.pop_front();
        }
    }

    /// Whether an identity was learned after so many others were.
    pub(super) fn is_learned_since(&self, identity: &Identity, before: u64) -> bool {
        self.lately.iter().any(|(learned, number)| learned == identity && *number > before)
    }

    pub(super) fn is_stale(&self, identity: &Identity, now: Timestamp, after: Duration) -> bool {
        let told = self.known.get(identity).and_then(|known| known.told);
        told.is_none_or(|told| now.since(told) >= after)
    }

    /// Notes that an identity is asked for, where it may be: not again within `every`, and not more than `most` in that time.
    pub(super) fn asked(
        &mut self,
        identity: &Identity,
        now: Timestamp,
        every: Duration,
        most: usize,
    ) -> bool {
        self.asked.retain(|_, at| now.since(*at) < every);
        if self.asked.contains_key(identity) || self.asked.len() >= most {
            return false;
        }
        self.asked.insert(identity.clone(), now);
        true
    }

    pub(super) fn wait(&mut self, identity: Identity) {
        if self.waiting.len() < WAITING_MAX {
            self.waiting.push_back(identity);
        }
    }

    pub(super) fn next_waiting(&mut self) -> Option<Identity> {
        self.waiting.pop_front()
    }
}
