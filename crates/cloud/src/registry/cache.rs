//! Recently used identity records, so that a reconnecting crowd does not read the database for each.

use ironbrook_model::{Identity, IdentityRecord};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Records in each of the two halves.
const HALF_MAX: usize = 8192;

/// Two halves: new entries go into the young one; when it is full it becomes the old one, whose entries are forgotten.
#[derive(Default)]
pub(super) struct Cache(Mutex<Halves>);

#[derive(Default)]
struct Halves {
    young: HashMap<Identity, Arc<IdentityRecord>>,
    old: HashMap<Identity, Arc<IdentityRecord>>,
    /// Counts removals: what was read before one must not be put in after it.
    age: u64,
}

/// Proof of when a read began.
#[derive(Debug, Clone, Copy)]
pub(super) struct Begun(u64);

impl Cache {
    /// The record if it is here, otherwise what [`put`](Self::put) needs after the read.
    pub fn get(&self, identity: &Identity) -> Result<Arc<IdentityRecord>, Begun> {
        let mut halves = self.lock();
        if let Some(record) = halves.young.get(identity) {
            return Ok(record.clone());
        }
        match halves.old.remove(identity) {
            Some(record) => {
                halves.insert(identity.clone(), record.clone());
                Ok(record)
            }
            None => Err(Begun(halves.age)),
        }
    }

    /// Keeps a record, unless something changed since the read began.
    pub fn put(&self, begun: Begun, record: &Arc<IdentityRecord>) {
        let mut halves = self.lock();
        if halves.age == begun.0 {
            halves.insert(record.identity.clone(), record.clone());
        }
    }

    /// Forgets a record.
    pub fn remove(&self, identity: &Identity) {
        let mut halves = self.lock();
        halves.age += 1;
        halves.young.remove(identity);
        halves.old.remove(identity);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Halves> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Halves {
    fn insert(&mut self, identity: Identity, record: Arc<IdentityRecord>) {
        if self.young.len() >= HALF_MAX {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(identity, record);
    }
}

#[cfg(test)]
mod tests {
    use super::super::Stored;
    use super::*;
    use ironbrook_model::{DeviceId, Timestamp};

    fn record(n: usize) -> Arc<IdentityRecord> {
        let identity = Identity::device(DeviceId::new(format!("d{n}")).unwrap());
        Arc::new(Stored::new(Timestamp::from_millis(0)).record(&identity))
    }

    #[test]
    fn a_record_read_before_a_change_is_not_kept_after_it() {
        let cache = Cache::default();
        let one = record(1);
        let begun = cache.get(&one.identity).unwrap_err();
        cache.remove(&one.identity);
        cache.put(begun, &one);
        let begun = cache.get(&one.identity).unwrap_err();
        cache.put(begun, &one);
        assert!(cache.get(&one.identity).is_ok());
    }

    #[test]
    fn it_stays_bounded_and_keeps_what_is_used() {
        let cache = Cache::default();
        let used = record(usize::MAX);
        cache.put(cache.get(&used.identity).unwrap_err(), &used);
        for n in 0..3 * HALF_MAX {
            let other = record(n);
            cache.put(cache.get(&other.identity).unwrap_err(), &other);
            assert!(cache.get(&used.identity).is_ok());
        }
        let halves = cache.lock();
        assert!(halves.young.len() + halves.old.len() <= 2 * HALF_MAX);
    }
}
