//! The filters of all subscribers, for all threads: shards by first level, and a count of changes that lets a publisher
//! keep what it found.
//!
//! A publisher mostly comes back with the same name. It keeps the subscribers of that name with the shards' generations
//! ([`Seen`]); as long as these stand, matching is two loads of shared, unchanging memory and no lock at all. Else it
//! takes the read locks of the shard of the name's first level and, if any filter begins with a wildcard, of the wild one.

use super::filters::Found;
use super::{Entry, Filter, Filters, Matches};
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// Shards of filters that begin with a plain level. More than threads, so that changes seldom meet.
const SHARDS: usize = 64;
/// The shard of filters that begin with a wildcard, after the plain ones.
const WILD: usize = SHARDS;

/// Aligned so that the count of one shard does not share a cache line with another's lock.
#[derive(Default)]
#[repr(align(128))]
struct Shard {
    generation: AtomicU64,
    len: AtomicUsize,
    bytes: AtomicUsize,
    filters: RwLock<Filters>,
}

impl Shard {
    fn read(&self) -> RwLockReadGuard<'_, Filters> {
        self.filters.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Filters> {
        self.filters.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn changed(&self, filters: &Filters) {
        self.len.store(filters.len(), Ordering::Relaxed);
        self.bytes.store(filters.bytes(), Ordering::Relaxed);
        // Under the lock: who reads the new count finds the new filters.
        self.generation.fetch_add(1, Ordering::Release);
    }
}

/// The generations under which a name's subscribers were found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    shard: usize,
    generations: (u64, u64),
}

/// The filters of all subscribers.
pub struct Index {
    shards: Vec<Shard>,
    hash: RandomState,
}

impl Default for Index {
    fn default() -> Self {
        Self {
            shards: std::iter::repeat_with(Shard::default).take(SHARDS + 1).collect(),
            hash: RandomState::new(),
        }
    }
}

impl Index {
    /// Adds or replaces a subscription; true if it is new. Publishers that look it up afterwards see it.
    pub fn add(&self, filter: &Filter, entry: Entry) -> bool {
        let shard = &self.shards[self.shard_of(filter.pattern())];
        let mut filters = shard.write();
        let new = filters.add(filter, entry);
        shard.changed(&filters);
        new
    }

    /// Removes a subscription; false if there was none.
    pub fn remove(&self, filter: &Filter, who: u32) -> bool {
        let shard = &self.shards[self.shard_of(filter.pattern())];
        let mut filters = shard.write();
        let removed = filters.remove(filter, who);
        if removed {
            shard.changed(&filters);
        }
        removed
    }

    /// All subscribers of a valid name, and the generations they belong to.
    pub fn matches(&self, name: &str, publisher: Option<u32>) -> (Matches, Seen) {
        let shard = self.shard_of(name);
        // Before the filters are read: a change in between makes what is found look old, never new.
        let seen = Seen { shard, generations: self.generations(shard) };
        let mut found = Found::default();
        for at in [shard, WILD] {
            if self.shards[at].len.load(Ordering::Acquire) > 0 {
                self.shards[at].read().collect(name, publisher, &mut found);
            }
        }
        (found.join(), seen)
    }

    /// Whether what was found then is still true.
    pub fn is_current(&self, seen: Seen) -> bool {
        seen.generations == self.generations(seen.shard)
    }

    /// How many subscriptions there are.
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.len.load(Ordering::Relaxed)).sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// About how much memory the filters take.
    pub fn bytes(&self) -> usize {
        self.shards.iter().map(|shard| shard.bytes.load(Ordering::Relaxed)).sum()
    }

    fn generations(&self, shard: usize) -> (u64, u64) {
        let of = |at: usize| self.shards[at].generation.load(Ordering::Acquire);
        (of(shard), of(WILD))
    }

    fn shard_of(&self, text: &str) -> usize {
        match text.split('/').next().unwrap_or_default() {
            "+" | "#" => WILD,
            level => usize::try_from(self.hash.hash_one(level) % SHARDS as u64).unwrap_or_default(),
        }
    }
}
