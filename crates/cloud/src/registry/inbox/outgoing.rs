//! What services fetch, in order and under a lock: feedback on cloud-to-device messages in batches, notices of uploads one by one.

use super::super::error::Error;
use super::super::store::{Changes, Store};
use super::super::{Inner, Registry, tables};
use ironbrook_hub::seams::FeedbackRecord;
use ironbrook_hub::{LockToken, Settlement};
use ironbrook_model::{ErrorCode, Refusal, Timestamp};
use redb::{ReadableTable, TableDefinition};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

/// Records kept for services that do not fetch them; the oldest go first.
const RECORDS_MAX: usize = 10_000;

/// A record that waits for a service.
pub(in super::super) trait Outgoing:
    Clone + Serialize + DeserializeOwned + Send + 'static
{
    /// What it is called where it cannot be read, and the series of its numbers.
    const WHAT: &'static str;
    /// Where it is kept.
    const TABLE: TableDefinition<'static, u64, &'static [u8]>;
    /// Records in a batch.
    const BATCH_MAX: usize;
    /// How long the first record of a batch waits for others.
    const BATCH_DELAY: Duration;
    /// How often a batch is given out before it is given up.
    const DELIVERIES_MAX: u32;

    /// Where those of its kind wait.
    fn queue(inner: &Inner) -> &Queue<Self>;

    /// How long one waits that nobody fetches.
    fn ttl(inner: &Inner) -> Duration;
}

impl Outgoing for FeedbackRecord {
    const WHAT: &'static str = "feedback";
    const TABLE: TableDefinition<'static, u64, &'static [u8]> = tables::FEEDBACK;
    // rule C2D-05
    const BATCH_MAX: usize = 64;
    const BATCH_DELAY: Duration = Duration::from_secs(15);
    // rule C2D-07
    const DELIVERIES_MAX: u32 = 10;

    fn queue(inner: &Inner) -> &Queue<Self> {
        &inner.inbox.feedback
    }

    fn ttl(inner: &Inner) -> Duration {
        inner.config.feedback_ttl
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Entry<T> {
    #[serde(skip)]
    number: u64,
    /// How often it was given out since the hub started.
    #[serde(skip)]
    deliveries: u32,
    at: Timestamp,
    record: T,
}

/// Records under a lock.
#[derive(Debug)]
pub(in super::super) struct Batch<T> {
    /// Proof of the lock.
    pub lock: LockToken,
    /// When the batch was closed.
    pub enqueued: Timestamp,
    /// At least one.
    pub records: Vec<T>,
}

#[derive(Debug)]
struct LockedBatch<T> {
    entries: Vec<Entry<T>>,
    until: Timestamp,
}

/// Records of a kind in memory: what is free, in order, and what is locked.
#[derive(Debug)]
struct Waiting<T> {
    free: VecDeque<Entry<T>>,
    locked: HashMap<LockToken, LockedBatch<T>>,
}

/// Records of a kind, and what tells that some came.
#[derive(Debug)]
pub(in super::super) struct Queue<T> {
    waiting: Mutex<Waiting<T>>,
    filled: Notify,
}

impl<T: Outgoing> Queue<T> {
    /// Reads what waits. Blocks.
    pub fn load(store: &Store) -> Result<Self, Error> {
        let free = store.read_now(|tx| {
            let table = tx.open_table(T::TABLE)?;
            let rows = table.iter()?.map(|row| {
                let (number, bytes) = row?;
                let mut entry: Entry<T> = tables::decode(T::WHAT, bytes.value())?;
                entry.number = number.value();
                Ok(entry)
            });
            rows.collect::<Result<_, Error>>()
        })?;
        Ok(Self { waiting: Mutex::new(Waiting { free, locked: HashMap::new() }), filled: Notify::new() })
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting<T>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When a lock or a record ends next.
    pub fn next_deadline(&self, ttl: Duration) -> Option<Timestamp> {
        self.waiting().next_deadline(ttl)
    }
}

impl<T: Outgoing> Waiting<T> {
    /// A batch if one is full or old enough, otherwise when to look again.
    fn take(&mut self, now: Timestamp, until: Timestamp) -> Result<Batch<T>, Option<Timestamp>> {
        let Some(first) = self.free.front() else { return Err(None) };
        let due = first.at.plus(T::BATCH_DELAY);
        if self.free.len() < T::BATCH_MAX && now < due {
            return Err(Some(due));
        }
        let mut entries: Vec<_> = self.free.drain(..self.free.len().min(T::BATCH_MAX)).collect();
        entries.iter_mut().for_each(|entry| entry.deliveries += 1);
        let lock = LockToken(uuid::Uuid::new_v4());
        let records = entries.iter().map(|entry| entry.record.clone()).collect();
        self.locked.insert(lock, LockedBatch { entries, until });
        Ok(Batch { lock, enqueued: now, records })
    }

    /// Makes entries free again in their old place. Those that were given out too often are given up: their numbers.
    fn give_back(&mut self, entries: Vec<Entry<T>>) -> Vec<u64> {
        let (given_up, free): (Vec<_>, Vec<_>) =
            entries.into_iter().partition(|entry| entry.deliveries >= T::DELIVERIES_MAX);
        self.free.extend(free);
        self.free.make_contiguous().sort_by_key(|entry| entry.number);
        given_up.into_iter().map(|entry| entry.number).collect()
    }

    /// Frees batches whose lock ended: whether there was one, and what is given up.
    fn end_locks(&mut self, now: Timestamp) -> (bool, Vec<u64>) {
        let ended: Vec<_> =
            self.locked.iter().filter(|(_, batch)| batch.until <= now).map(|(lock, _)| *lock).collect();
        let batches: Vec<_> = ended.iter().filter_map(|lock| self.locked.remove(lock)).collect();
        let given_up = batches.into_iter().flat_map(|batch| self.give_back(batch.entries)).collect();
        (!ended.is_empty(), given_up)
    }

    /// Takes out what is older than `ttl` or too much.
    fn take_old(&mut self, now: Timestamp, ttl: Duration) -> Vec<u64> {
        let mut old = Vec::new();
        while let Some(first) = self.free.front()
            && (first.at.plus(ttl) <= now || self.free.len() > RECORDS_MAX)
        {
            old.extend(self.free.pop_front().map(|entry| entry.number));
        }
        old
    }

    fn next_deadline(&self, ttl: Duration) -> Option<Timestamp> {
        let locks = self.locked.values().map(|batch| batch.until);
        locks.chain(self.free.front().map(|first| first.at.plus(ttl))).min()
    }
}

/// Writes a record inside a change.
pub(in super::super) fn put<T: Outgoing>(
    inner: &Arc<Inner>,
    changes: &Changes<'_>,
    record: T,
) -> Result<(), Error> {
    let number = changes.next_number(T::WHAT)?;
    let entry = Entry { number, deliveries: 0, at: inner.clock.now(), record };
    let bytes = tables::encode(T::WHAT, &entry)?;
    changes.tx.open_table(T::TABLE)?.insert(number, bytes.as_slice())?;
    let inner = inner.clone();
    changes.after(move || {
        let queue = T::queue(&inner);
        queue.waiting().free.push_back(entry);
        queue.filled.notify_waiters();
        inner.inbox.deadline_changed.notify_one();
    });
    Ok(())
}

impl Registry {
    /// Waits for a batch and locks it. Cancel-safe: nothing is awaited after the lock.
    pub(in super::super) async fn next_outgoing<T: Outgoing>(&self, lock_for: Duration) -> Batch<T> {
        let queue = T::queue(&self.inner);
        loop {
            let filled = queue.filled.notified();
            tokio::pin!(filled);
            filled.as_mut().enable();
            let now = self.inner.clock.now();
            let taken = queue.waiting().take(now, now.plus(lock_for));
            match taken {
                Ok(batch) => {
                    self.inner.inbox.deadline_changed.notify_one();
                    return batch;
                }
                Err(None) => filled.await,
                Err(Some(due)) => tokio::select! {
                    () = filled => {}
                    () = self.inner.clock.sleep_until(due) => {}
                },
            }
        }
    }

    /// Settles a batch; 412002 if its lock is not held any more.
    pub(in super::super) async fn end_outgoing<T: Outgoing>(
        &self,
        lock: LockToken,
        settlement: Settlement,
    ) -> Result<(), Refusal> {
        let queue = T::queue(&self.inner);
        let batch = queue.waiting().locked.remove(&lock).ok_or_else(|| {
            let text = format!("the lock on the {} is not held any more", T::WHAT);
            Refusal::new(ErrorCode::DeviceMessageLockLost, text)
        })?;
        let gone = match settlement {
            Settlement::Complete | Settlement::Reject => {
                batch.entries.iter().map(|entry| entry.number).collect()
            }
            Settlement::Abandon | Settlement::Release => queue.waiting().give_back(batch.entries),
        };
        queue.filled.notify_waiters();
        self.remove_outgoing::<T>(gone).await
    }

    /// Ends locks and forgets what is too old.
    pub(super) async fn expire_outgoing<T: Outgoing>(&self, now: Timestamp) {
        let queue = T::queue(&self.inner);
        let gone = {
            let mut waiting = queue.waiting();
            let (freed, mut gone) = waiting.end_locks(now);
            if freed {
                queue.filled.notify_waiters();
            }
            gone.extend(waiting.take_old(now, T::ttl(&self.inner)));
            gone
        };
        if gone.is_empty() {
            return;
        }
        tracing::info!(records = gone.len(), kind = T::WHAT, "what no service settled in time was dropped");
        if let Err(refusal) = self.remove_outgoing::<T>(gone).await {
            tracing::warn!(%refusal, kind = T::WHAT, "old records could not be removed");
        }
    }

    async fn remove_outgoing<T: Outgoing>(&self, numbers: Vec<u64>) -> Result<(), Refusal> {
        if numbers.is_empty() {
            return Ok(());
        }
        let change = move |changes: &Changes<'_>| {
            let mut table = changes.tx.open_table(T::TABLE)?;
            for number in numbers {
                table.remove(number)?;
            }
            Ok(())
        };
        self.inner.store.write(change).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiting(records: u64) -> Waiting<FeedbackRecord> {
        let record = FeedbackRecord {
            original_message_id: "m".to_owned(),
            enqueued_time_utc: String::new(),
            status_code: "Success".to_owned(),
            description: "Success".to_owned(),
            device_id: "d".to_owned(),
            device_generation_id: "1".to_owned(),
        };
        let entry =
            |number| Entry { number, deliveries: 0, at: Timestamp::from_secs(100), record: record.clone() };
        Waiting { free: (0..records).map(entry).collect(), locked: HashMap::new() }
    }

    // C2D-05
    #[test]
    fn c2d_05_a_batch_has_64_records_or_waits_15_seconds() {
        let (now, until) = (Timestamp::from_secs(100), Timestamp::from_secs(160));
        assert_eq!(waiting(65).take(now, until).unwrap().records.len(), 64);
        assert_eq!(waiting(63).take(now, until).unwrap_err(), Some(Timestamp::from_secs(115)));
        assert_eq!(waiting(63).take(Timestamp::from_secs(115), until).unwrap().records.len(), 63);
        assert_eq!(waiting(0).take(now, until).unwrap_err(), None);
    }

    #[test]
    fn a_lock_that_ends_gives_the_batch_back_in_order() {
        let mut waiting = waiting(70);
        let (now, until) = (Timestamp::from_secs(115), Timestamp::from_secs(160));
        waiting.take(now, until).unwrap();
        assert!(!waiting.end_locks(now).0);
        assert!(waiting.end_locks(until).0);
        assert!(waiting.free.iter().map(|e| e.number).eq(0..70));
    }

    // C2D-07
    #[test]
    fn c2d_07_feedback_that_is_never_completed_is_given_out_ten_times() {
        let mut waiting = waiting(2);
        let (now, until) = (Timestamp::from_secs(115), Timestamp::from_secs(160));
        for _ in 1..10 {
            waiting.take(now, until).unwrap();
            assert_eq!(waiting.end_locks(until), (true, Vec::new()));
        }
        waiting.take(now, until).unwrap();
        assert_eq!(waiting.end_locks(until), (true, vec![0, 1]));
        assert!(waiting.free.is_empty() && waiting.locked.is_empty());
    }
}
