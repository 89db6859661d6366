//! A queue in memory that tells how each message ended.

use async_trait::async_trait;
use ironbrook_hub::seams::{Feedback, Inbox, Kept};
use ironbrook_hub::{LockToken, LockedMessage, Settlement};
use ironbrook_model::{ErrorCode, Identity, Message, Refusal, Timestamp};
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Mutex;
use std::time::Duration;
use tokio::sync::Notify;

#[derive(Default)]
struct State {
    waiting: VecDeque<LockedMessage>,
    locked: Vec<LockedMessage>,
    settled: Vec<(u64, Settlement)>,
    subscribed: HashSet<Identity>,
    kept: HashMap<Identity, Kept>,
    next: u64,
}

/// All identities share one queue: tests use one at a time.
#[derive(Default)]
pub(crate) struct FakeInbox {
    state: Mutex<State>,
    changed: Notify,
}

impl FakeInbox {
    pub(crate) fn put(&self, message: Message) {
        let mut state = self.state.lock().unwrap();
        state.next += 1;
        let locked = LockedMessage {
            lock: LockToken(uuid::Uuid::new_v4()),
            sequence_number: state.next,
            enqueued: Timestamp::from_millis(1_769_850_000_123),
            delivery_count: 0,
            message,
        };
        state.waiting.push_back(locked);
        drop(state);
        self.changed.notify_waiters();
    }

    /// How the messages ended, by number, in the order they did.
    pub(crate) fn settled(&self) -> Vec<(u64, Settlement)> {
        self.state.lock().unwrap().settled.clone()
    }

    /// Waits until that many messages ended.
    pub(crate) async fn settlements(&self, count: usize) -> Vec<(u64, Settlement)> {
        super::eventually(&format!("the end of {count} messages"), || self.settled().len() >= count).await;
        self.settled()
    }
}

#[async_trait]
impl Inbox for FakeInbox {
    async fn enqueue(&self, _: &Identity, message: Message) -> Result<(), Refusal> {
        self.put(message);
        Ok(())
    }

    async fn lock(&self, _: &Identity, max: usize, _: Duration) -> Result<Vec<LockedMessage>, Refusal> {
        let mut state = self.state.lock().unwrap();
        let count = max.min(state.waiting.len());
        let taken: Vec<_> = state.waiting.drain(..count).collect();
        state.locked.extend(taken.iter().cloned());
        Ok(taken)
    }

    async fn settle(&self, _: &Identity, lock: LockToken, settlement: Settlement) -> Result<(), Refusal> {
        let mut state = self.state.lock().unwrap();
        let Some(index) = state.locked.iter().position(|m| m.lock == lock) else {
            return Err(Refusal::new(ErrorCode::DeviceMessageLockLost, "the lock is not held"));
        };
        let message = state.locked.remove(index);
        state.settled.push((message.sequence_number, settlement));
        if matches!(settlement, Settlement::Release | Settlement::Abandon) {
            state.waiting.push_front(message);
            drop(state);
            self.changed.notify_waiters();
        }
        Ok(())
    }

    async fn available(&self, _: &Identity) {
        loop {
            let changed = self.changed.notified();
            if !self.state.lock().unwrap().waiting.is_empty() {
                return;
            }
            changed.await;
        }
    }

    async fn purge(&self, _: &Identity) -> Result<u64, Refusal> {
        Ok(0)
    }

    async fn is_subscribed(&self, identity: &Identity) -> Result<bool, Refusal> {
        Ok(self.state.lock().unwrap().subscribed.contains(identity))
    }

    async fn set_subscribed(&self, identity: &Identity, subscribed: bool) -> Result<(), Refusal> {
        let mut state = self.state.lock().unwrap();
        if subscribed {
            state.subscribed.insert(identity.clone());
        } else {
            state.subscribed.remove(identity);
        }
        Ok(())
    }

    async fn kept(&self, identity: &Identity) -> Result<Kept, Refusal> {
        Ok(self.state.lock().unwrap().kept.get(identity).copied().unwrap_or_default())
    }

    async fn keep(&self, identity: &Identity, kept: Kept) -> Result<(), Refusal> {
        self.state.lock().unwrap().kept.insert(identity.clone(), kept);
        Ok(())
    }

    async fn lock_feedback(&self, _: Duration) -> Result<Feedback, Refusal> {
        std::future::pending().await
    }

    async fn settle_feedback(&self, _: LockToken, _: Settlement) -> Result<(), Refusal> {
        Ok(())
    }
}
