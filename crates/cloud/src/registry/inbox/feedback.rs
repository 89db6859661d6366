//! Feedback on cloud-to-device messages: gathered to batches of 64 records or 15 seconds.

use super::super::error::Error;
use super::super::store::{Changes, Store};
use super::super::{Inner, Registry, tables};
use ironbrook_hub::seams::{Feedback, FeedbackRecord};
use ironbrook_hub::{LockToken, Settlement};
use ironbrook_model::{ErrorCode, Refusal, Timestamp};
use redb::ReadableTable;
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// Records in a batch. rule C2D-05
const BATCH_MAX: usize = 64;
/// How long the first record of a batch waits for others. rule C2D-05
const BATCH_DELAY: Duration = Duration::from_secs(15);
/// Records kept for services that do not fetch them; the oldest go first.
const RECORDS_MAX: usize = 10_000;

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Entry {
    #[serde(skip)]
    number: u64,
    at: Timestamp,
    record: FeedbackRecord,
}

#[derive(Debug)]
struct LockedBatch {
    entries: Vec<Entry>,
    until: Timestamp,
}

/// Feedback in memory: what is free, in order, and what is locked.
#[derive(Debug, Default)]
pub(super) struct FeedbackQueue {
    free: VecDeque<Entry>,
    locked: HashMap<LockToken, LockedBatch>,
}

impl FeedbackQueue {
    /// Reads what waits. Blocks.
    pub fn load(store: &Store) -> Result<Self, Error> {
        let free = store.read_now(|tx| {
            let table = tx.open_table(tables::FEEDBACK)?;
            let rows = table.iter()?.map(|row| {
                let (number, bytes) = row?;
                let mut entry: Entry = tables::decode("feedback", bytes.value())?;
                entry.number = number.value();
                Ok(entry)
            });
            rows.collect::<Result<_, Error>>()
        })?;
        Ok(Self { free, locked: HashMap::new() })
    }

    /// A batch if one is full or old enough, otherwise when to look again.
    fn take(&mut self, now: Timestamp, until: Timestamp) -> Result<Feedback, Option<Timestamp>> {
        let Some(first) = self.free.front() else { return Err(None) };
        let due = first.at.plus(BATCH_DELAY);
        if self.free.len() < BATCH_MAX && now < due {
            return Err(Some(due));
        }
        let entries: Vec<_> = self.free.drain(..self.free.len().min(BATCH_MAX)).collect();
        let lock = LockToken(uuid::Uuid::new_v4());
        let records = entries.iter().map(|entry| entry.record.clone()).collect();
        self.locked.insert(lock, LockedBatch { entries, until });
        Ok(Feedback { lock, enqueued: now, records })
    }

    fn give_back(&mut self, entries: Vec<Entry>) {
        self.free.extend(entries);
        self.free.make_contiguous().sort_by_key(|entry| entry.number);
    }

    /// Frees batches whose lock ended; true if there was one.
    fn end_locks(&mut self, now: Timestamp) -> bool {
        let ended: Vec<_> =
            self.locked.iter().filter(|(_, batch)| batch.until <= now).map(|(lock, _)| *lock).collect();
        let batches: Vec<_> = ended.iter().filter_map(|lock| self.locked.remove(lock)).collect();
        batches.into_iter().for_each(|batch| self.give_back(batch.entries));
        !ended.is_empty()
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

    /// When a lock or a record ends next.
    pub fn next_deadline(&self, ttl: Duration) -> Option<Timestamp> {
        let locks = self.locked.values().map(|batch| batch.until);
        locks.chain(self.free.front().map(|first| first.at.plus(ttl))).min()
    }
}

/// Writes a record inside a change.
pub(super) fn put(inner: &Arc<Inner>, changes: &Changes<'_>, record: FeedbackRecord) -> Result<(), Error> {
    let number = changes.next_number("feedback")?;
    let entry = Entry { number, at: inner.clock.now(), record };
    let bytes = tables::encode("feedback", &entry)?;
    changes.tx.open_table(tables::FEEDBACK)?.insert(number, bytes.as_slice())?;
    let inner = inner.clone();
    changes.after(move || {
        inner.inbox.feedback().free.push_back(entry);
        inner.inbox.feedback_filled.notify_waiters();
        inner.inbox.deadline_changed.notify_one();
    });
    Ok(())
}

impl Registry {
    /// Waits for a batch and locks it. Cancel-safe: nothing is awaited after the lock.
    pub(super) async fn next_feedback(&self, lock_for: Duration) -> Feedback {
        loop {
            let filled = self.inner.inbox.feedback_filled.notified();
            tokio::pin!(filled);
            filled.as_mut().enable();
            let now = self.inner.clock.now();
            let taken = self.inner.inbox.feedback().take(now, now.plus(lock_for));
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

    pub(super) async fn end_feedback(&self, lock: LockToken, settlement: Settlement) -> Result<(), Refusal> {
        let batch = self.inner.inbox.feedback().locked.remove(&lock).ok_or_else(|| {
            Refusal::new(ErrorCode::DeviceMessageLockLost, "the lock on the feedback is not held any more")
        })?;
        match settlement {
            Settlement::Complete | Settlement::Reject => {
                let numbers = batch.entries.iter().map(|entry| entry.number).collect();
                self.remove_feedback(numbers).await
            }
            Settlement::Abandon | Settlement::Release => {
                self.inner.inbox.feedback().give_back(batch.entries);
                self.inner.inbox.feedback_filled.notify_waiters();
                Ok(())
            }
        }
    }

    /// Ends locks and forgets what is too old.
    pub(super) async fn expire_feedback(&self, now: Timestamp) {
        let old = {
            let mut feedback = self.inner.inbox.feedback();
            if feedback.end_locks(now) {
                self.inner.inbox.feedback_filled.notify_waiters();
            }
            feedback.take_old(now, self.inner.config.feedback_ttl)
        };
        if old.is_empty() {
            return;
        }
        tracing::info!(records = old.len(), "feedback that nobody fetched was dropped");
        if let Err(refusal) = self.remove_feedback(old).await {
            tracing::warn!(%refusal, "old feedback could not be removed");
        }
    }

    async fn remove_feedback(&self, numbers: Vec<u64>) -> Result<(), Refusal> {
        let change = move |changes: &Changes<'_>| {
            let mut table = changes.tx.open_table(tables::FEEDBACK)?;
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

    fn queue(records: u64) -> FeedbackQueue {
        let record = FeedbackRecord {
            original_message_id: "m".to_owned(),
            enqueued_time_utc: String::new(),
            status_code: "Success".to_owned(),
            description: "Success".to_owned(),
            device_id: "d".to_owned(),
            device_generation_id: "1".to_owned(),
        };
        let entry = |number| Entry { number, at: Timestamp::from_secs(100), record: record.clone() };
        FeedbackQueue { free: (0..records).map(entry).collect(), locked: HashMap::new() }
    }

    // C2D-05
    #[test]
    fn c2d_05_a_batch_has_64_records_or_waits_15_seconds() {
        let (now, until) = (Timestamp::from_secs(100), Timestamp::from_secs(160));
        assert_eq!(queue(65).take(now, until).unwrap().records.len(), 64);
        assert_eq!(queue(63).take(now, until).unwrap_err(), Some(Timestamp::from_secs(115)));
        assert_eq!(queue(63).take(Timestamp::from_secs(115), until).unwrap().records.len(), 63);
        assert_eq!(queue(0).take(now, until).unwrap_err(), None);
    }

    #[test]
    fn a_lock_that_ends_gives_the_batch_back_in_order() {
        let mut queue = queue(70);
        let (now, until) = (Timestamp::from_secs(115), Timestamp::from_secs(160));
        queue.take(now, until).unwrap();
        assert!(!queue.end_locks(now));
        assert!(queue.end_locks(until));
        assert!(queue.free.iter().map(|e| e.number).eq(0..70));
    }
}
