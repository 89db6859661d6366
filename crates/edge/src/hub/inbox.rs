//! Messages from the hub to devices behind this one: passed through, never kept here.
//!
//! A message stays the hub's until the device completed it. What is in memory is bounded by what the hub has under way to an
//! identity, ten messages.

use super::store::{Store, Table};
use super::upstream::Links;
use async_trait::async_trait;
use ironbrook_client::ReceivedMessage;
use ironbrook_hub::seams::{Clock, Feedback, Inbox};
use ironbrook_hub::{LockToken, LockedMessage, Settlement};
use ironbrook_model::{ErrorCode, Identity, Message, Refusal, Timestamp};
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

/// Messages that wait for an identity; the hub has no more under way.
const WAITING_MAX: usize = 16;
/// The key under which stored subscriptions stand.
const SUBSCRIBED: &str = "subscribed/";

/// Messages on their way to devices. Cheap to clone.
#[derive(Clone)]
pub struct PassThrough(Arc<Inner>);

struct Inner {
    store: Store,
    links: Links,
    clock: Arc<dyn Clock>,
    queues: Mutex<HashMap<Identity, Queue>>,
    numbers: std::sync::atomic::AtomicU64,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Item>,
    locked: Vec<(LockToken, Timestamp, Item)>,
    /// Rung when a message may be available, or there may be room.
    changed: Arc<Notify>,
}

struct Item {
    number: u64,
    enqueued: Timestamp,
    deliveries: u8,
    received: ReceivedMessage,
}

impl Queue {
    /// Locks that ended by themselves make their messages available again, in their old places.
    fn release_ended(&mut self, now: Timestamp) {
        while let Some(index) = self.locked.iter().position(|(_, until, _)| *until <= now) {
            let (_, _, mut item) = self.locked.swap_remove(index);
            item.deliveries = item.deliveries.saturating_add(1);
            self.put_back(item);
        }
    }

    fn put_back(&mut self, item: Item) {
        let place = self.waiting.partition_point(|other| other.number < item.number);
        self.waiting.insert(place, item);
        self.changed.notify_waiters();
    }

    fn is_unused(&self) -> bool {
        self.waiting.is_empty() && self.locked.is_empty() && Arc::strong_count(&self.changed) == 1
    }
}

impl PassThrough {
    pub(crate) fn new(store: Store, links: Links, clock: Arc<dyn Clock>) -> Self {
        let (queues, numbers) = (Mutex::default(), Default::default());
        Self(Arc::new(Inner { store, links, clock, queues, numbers }))
    }

    fn queues(&self) -> MutexGuard<'_, HashMap<Identity, Queue>> {
        // No code under this lock can leave the map half changed.
        self.0.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a message of the hub over; waits while there is no room.
    pub(crate) async fn take(&self, identity: &Identity, received: ReceivedMessage) {
        let number = self.0.numbers.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1;
        let mut item = Some(Item { number, enqueued: self.0.clock.now(), deliveries: 0, received });
        loop {
            let changed = {
                let mut queues = self.queues();
                let queue = queues.entry(identity.clone()).or_default();
                if queue.waiting.len() + queue.locked.len() < WAITING_MAX
                    && let Some(item) = item.take()
                {
                    queue.put_back(item);
                    return;
                }
                Arc::clone(&queue.changed).notified_owned()
            };
            changed.await;
        }
    }

    /// Forgets what came by an earlier connection: the hub sends it again.
    pub(crate) fn forget(&self, identity: &Identity) {
        let mut queues = self.queues();
        if let Some(queue) = queues.get_mut(identity) {
            queue.waiting.clear();
            queue.changed.notify_waiters();
        }
        queues.retain(|_, queue| !queue.is_unused());
    }
}

#[async_trait]
impl Inbox for PassThrough {
    async fn enqueue(&self, to: &Identity, _message: Message) -> Result<(), Refusal> {
        let text = format!("messages to {to} are sent at the hub, not here");
        Err(Refusal::new(ErrorCode::OperationNotAllowedInCurrentState, text))
    }

    async fn lock(
        &self,
        identity: &Identity,
        max: usize,
        lock_for: Duration,
    ) -> Result<Vec<LockedMessage>, Refusal> {
        let now = self.0.clock.now();
        let mut queues = self.queues();
        let Some(queue) = queues.get_mut(identity) else { return Ok(Vec::new()) };
        queue.release_ended(now);
        let count = max.min(queue.waiting.len());
        let mut locked = Vec::with_capacity(count);
        for item in queue.waiting.drain(..count) {
            let lock = LockToken(uuid::Uuid::new_v4());
            locked.push(LockedMessage {
                lock,
                sequence_number: item.number,
                enqueued: item.enqueued,
                delivery_count: item.deliveries,
                message: item.received.message.clone(),
            });
            queue.locked.push((lock, now.plus(lock_for), item));
        }
        Ok(locked)
    }

    async fn settle(
        &self,
        identity: &Identity,
        lock: LockToken,
        settlement: Settlement,
    ) -> Result<(), Refusal> {
        let item = {
            let mut queues = self.queues();
            let queue = queues.get_mut(identity).ok_or_else(lock_lost)?;
            let index = queue.locked.iter().position(|(other, ..)| *other == lock).ok_or_else(lock_lost)?;
            let (_, _, mut item) = queue.locked.swap_remove(index);
            match settlement {
                Settlement::Complete | Settlement::Reject => {
                    queue.changed.notify_waiters();
                    Some(item)
                }
                Settlement::Abandon | Settlement::Release => {
                    item.deliveries =
                        item.deliveries.saturating_add(u8::from(settlement == Settlement::Abandon));
                    queue.put_back(item);
                    None
                }
            }
        };
        let Some(item) = item else { return Ok(()) };
        // The way up has no rejection: what a device rejects is complete for the hub. An error means that the connection is
        // another one by now, and the hub delivers it again.
        item.received.complete().await.map_err(|_| lock_lost())
    }

    async fn available(&self, identity: &Identity) {
        self.0.links.want_commands(identity);
        loop {
            let (changed, next_end) = {
                let mut queues = self.queues();
                let queue = queues.entry(identity.clone()).or_default();
                queue.release_ended(self.0.clock.now());
                if !queue.waiting.is_empty() {
                    return;
                }
                let next_end = queue.locked.iter().map(|(_, until, _)| *until).min();
                (Arc::clone(&queue.changed).notified_owned(), next_end)
            };
            tokio::select! {
                () = changed => {}
                () = async { match next_end {
                    Some(end) => self.0.clock.sleep_until(end).await,
                    None => std::future::pending().await,
                } } => {}
            }
        }
    }

    async fn purge(&self, _identity: &Identity) -> Result<u64, Refusal> {
        Ok(0)
    }

    async fn is_subscribed(&self, identity: &Identity) -> Result<bool, Refusal> {
        Ok(self.0.store.get(Table::Settings, &format!("{SUBSCRIBED}{identity}")).await?.is_some())
    }

    async fn set_subscribed(&self, identity: &Identity, subscribed: bool) -> Result<(), Refusal> {
        if self.is_subscribed(identity).await? == subscribed {
            return Ok(());
        }
        let value = subscribed.then(|| b"true".to_vec());
        Ok(self.0.store.put(Table::Settings, vec![(format!("{SUBSCRIBED}{identity}"), value)]).await?)
    }

    async fn lock_feedback(&self, _lock_for: Duration) -> Result<Feedback, Refusal> {
        // Feedback is the hub's.
        std::future::pending().await
    }

    async fn settle_feedback(&self, _lock: LockToken, _settlement: Settlement) -> Result<(), Refusal> {
        Err(lock_lost())
    }
}

fn lock_lost() -> Refusal {
    Refusal::new(
        ErrorCode::DeviceMessageLockLost,
        "the lock of this message is not held any more; the hub delivers it again",
    )
}
