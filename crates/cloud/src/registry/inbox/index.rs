//! What waits for whom, and who holds a lock on what.

use ironbrook_hub::LockToken;
use ironbrook_model::{Identity, Timestamp};
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use tokio::sync::Notify;

/// A waiting message.
#[derive(Debug)]
struct Entry {
    sequence: u64,
    expires: Timestamp,
    delivery_count: u8,
    lock: Option<Lock>,
}

#[derive(Debug, Clone, Copy)]
struct Lock {
    token: LockToken,
    until: Timestamp,
    /// Its end is being written; the lock does not run out meanwhile.
    settling: bool,
}

impl Entry {
    /// Whether it may be locked; a lock that ended counts no more, even before the expiring task came by.
    fn is_free(&self, now: Timestamp) -> bool {
        self.expires > now && self.lock.is_none_or(|lock| !lock.settling && lock.until <= now)
    }
}

#[derive(Debug, Default)]
struct Queue {
    entries: VecDeque<Entry>,
    filled: Arc<Notify>,
}

/// A message just locked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Locked {
    pub sequence: u64,
    pub token: LockToken,
    pub delivery_count: u8,
}

/// All queues.
#[derive(Debug, Default)]
pub(super) struct Index {
    queues: HashMap<Identity, Queue>,
    /// When a lock or a free message ends, soonest first. May name what is gone; never lacks what is there.
    deadlines: BTreeSet<(Timestamp, u64, Identity)>,
}

impl Index {
    /// Adds a message at the end; true if the soonest deadline changed.
    pub fn insert(
        &mut self,
        identity: &Identity,
        sequence: u64,
        expires: Timestamp,
        delivery_count: u8,
    ) -> bool {
        let queue = self.queues.entry(identity.clone()).or_default();
        queue.entries.push_back(Entry { sequence, expires, delivery_count, lock: None });
        queue.filled.notify_waiters();
        self.deadline(expires, sequence, identity)
    }

    fn deadline(&mut self, at: Timestamp, sequence: u64, identity: &Identity) -> bool {
        let sooner = self.deadlines.first().is_none_or(|(first, ..)| at < *first);
        self.deadlines.insert((at, sequence, identity.clone()));
        sooner
    }

    /// How many messages there are, locked or not.
    pub fn count(&self, identity: &Identity) -> usize {
        self.queues.get(identity).map_or(0, |queue| queue.entries.len())
    }

    /// Whether a message is free, and what tells of a change if none is.
    pub fn watch(&mut self, identity: &Identity, now: Timestamp) -> Result<(), Arc<Notify>> {
        let queue = self.queues.entry(identity.clone()).or_default();
        if queue.entries.iter().any(|e| e.is_free(now)) { Ok(()) } else { Err(queue.filled.clone()) }
    }

    /// Forgets the queue of somebody who waits no longer, if it is empty and nobody else waits.
    pub fn unwatch(&mut self, identity: &Identity) {
        if let Some(queue) = self.queues.get(identity)
            && queue.entries.is_empty()
            && Arc::strong_count(&queue.filled) == 1
        {
            self.queues.remove(identity);
        }
    }

    /// Locks up to `max` free messages in order; the flag is true if the soonest deadline changed.
    pub fn lock(
        &mut self,
        identity: &Identity,
        max: usize,
        now: Timestamp,
        until: Timestamp,
        mut new_token: impl FnMut() -> LockToken,
    ) -> (Vec<Locked>, bool) {
        let Some(queue) = self.queues.get_mut(identity) else { return (Vec::new(), false) };
        let mut locked = Vec::new();
        for entry in queue.entries.iter_mut().filter(|e| e.is_free(now)).take(max) {
            let token = new_token();
            entry.lock = Some(Lock { token, until, settling: false });
            locked.push(Locked { sequence: entry.sequence, token, delivery_count: entry.delivery_count });
        }
        let mut sooner = false;
        for one in &locked {
            sooner |= self.deadline(until, one.sequence, identity);
        }
        (locked, sooner)
    }

    /// Begins the end of a lock: from now on it cannot run out. `None` if it is not held.
    pub fn begin_settle(
        &mut self,
        identity: &Identity,
        token: LockToken,
        now: Timestamp,
    ) -> Option<(u64, u8)> {
        let entry = self.queues.get_mut(identity)?.entries.iter_mut().find(
            |e| matches!(e.lock, Some(lock) if lock.token == token && !lock.settling && lock.until > now),
        )?;
        entry.lock.as_mut()?.settling = true;
        Some((entry.sequence, entry.delivery_count))
    }

    /// Makes a message free again in its old place; true if the soonest deadline changed.
    pub fn free(&mut self, identity: &Identity, sequence: u64, delivery_count: u8) -> bool {
        let Some(queue) = self.queues.get_mut(identity) else { return false };
        let Some(entry) = queue.entries.iter_mut().find(|e| e.sequence == sequence) else { return false };
        entry.lock = None;
        entry.delivery_count = delivery_count;
        let expires = entry.expires;
        queue.filled.notify_waiters();
        self.deadline(expires, sequence, identity)
    }

    /// Removes a message.
    pub fn remove(&mut self, identity: &Identity, sequence: u64) {
        if let Some(queue) = self.queues.get_mut(identity) {
            queue.entries.retain(|entry| entry.sequence != sequence);
        }
        self.unwatch(identity);
    }

    /// Removes all messages of an identity.
    pub fn remove_all(&mut self, identity: &Identity) {
        if let Some(queue) = self.queues.get_mut(identity) {
            queue.entries.clear();
        }
        self.unwatch(identity);
    }

    /// Frees what has an ended lock and returns what expired.
    pub fn take_due(&mut self, now: Timestamp) -> Vec<(Identity, u64)> {
        let mut expired = Vec::new();
        while self.deadlines.first().is_some_and(|(at, ..)| *at <= now) {
            let Some((_, sequence, identity)) = self.deadlines.pop_first() else { break };
            let Some(queue) = self.queues.get_mut(&identity) else { continue };
            let Some(entry) = queue.entries.iter_mut().find(|e| e.sequence == sequence) else { continue };
            match entry.lock {
                Some(lock) if !lock.settling && lock.until <= now => {
                    entry.lock = None;
                    queue.filled.notify_waiters();
                    let expires = entry.expires;
                    // Where it expired under the lock, the loop meets it again.
                    self.deadlines.insert((expires, sequence, identity));
                }
                None if entry.expires <= now => {
                    // Nobody may lock it while its end is written.
                    let token = LockToken(uuid::Uuid::nil());
                    entry.lock = Some(Lock { token, until: now, settling: true });
                    expired.push((identity, sequence));
                }
                // Under a lock still held (its end has a deadline of its own), or the deadline is an old one.
                _ => {}
            }
        }
        expired
    }

    /// When something ends next.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.deadlines.first().map(|(at, ..)| *at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ironbrook_model::DeviceId;

    fn device() -> Identity {
        Identity::device(DeviceId::new("d").unwrap())
    }

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    fn lock(index: &mut Index, max: usize, now: i64, until: i64) -> Vec<Locked> {
        index.lock(&device(), max, at(now), at(until), || LockToken(uuid::Uuid::new_v4())).0
    }

    fn with_three() -> Index {
        let mut index = Index::default();
        for sequence in 1..=3 {
            index.insert(&device(), sequence, at(3600), 0);
        }
        index
    }

    fn sequences(locked: &[Locked]) -> Vec<u64> {
        locked.iter().map(|l| l.sequence).collect()
    }

    // C2D-01
    #[test]
    fn c2d_01_a_lock_that_ends_gives_the_message_back_in_its_old_place() {
        let mut index = with_three();
        let first = lock(&mut index, 2, 0, 60);
        assert_eq!(sequences(&first), [1, 2]);
        assert_eq!(sequences(&lock(&mut index, 9, 1, 61)), [3]);
        assert_eq!(index.take_due(at(60)), []);
        assert!(index.begin_settle(&device(), first[0].token, at(60)).is_none());
        assert_eq!(sequences(&lock(&mut index, 9, 60, 120)), [1, 2]);
    }

    #[test]
    fn a_settled_lock_does_not_run_out_and_is_not_settled_twice() {
        let mut index = with_three();
        let first = lock(&mut index, 1, 0, 60)[0];
        assert_eq!(index.begin_settle(&device(), first.token, at(59)), Some((1, 0)));
        assert_eq!(index.begin_settle(&device(), first.token, at(59)), None);
        assert_eq!(index.take_due(at(100)), []);
        assert_eq!(sequences(&lock(&mut index, 9, 100, 160)), [2, 3]);
    }

    #[test]
    fn messages_expire_when_free_and_after_the_lock_when_locked() {
        let mut index = with_three();
        lock(&mut index, 1, 3590, 3650);
        assert_eq!(index.next_deadline(), Some(at(3600)));
        assert_eq!(index.take_due(at(3600)), [(device(), 2), (device(), 3)]);
        assert!(lock(&mut index, 9, 3600, 3700).is_empty());
        assert_eq!(index.take_due(at(3650)), [(device(), 1)]);
    }

    #[test]
    fn an_empty_queue_is_forgotten() {
        let mut index = with_three();
        for sequence in 1..=3 {
            index.remove(&device(), sequence);
        }
        assert!(index.queues.is_empty());
        let watched = index.watch(&device(), at(0)).unwrap_err();
        index.unwatch(&device());
        assert_eq!(index.queues.len(), 1);
        drop(watched);
        index.unwatch(&device());
        assert!(index.queues.is_empty());
    }
}
