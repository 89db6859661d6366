//! The broker: sessions by client id and by number, the filters, the retained messages, the journal.
//!
//! Locks, always taken in this order and never across an await: clients of a shard, `changes`, the journal's pen, one
//! session. A publish that nobody has to keep takes only the locks of the sessions it goes to, one after the other.

mod compact;
mod connect;
mod deliver;
mod handle;
mod open;
mod rules;
mod slot;
mod subscribe;
#[cfg(test)]
mod tests;
mod timers;

use crate::acl::{Acl, Rules};
use crate::journal::{Journal, Pen};
use crate::retained::Retained;
use crate::sys::{Counters, Snapshot};
use crate::topic::Index;
use crate::{Config, Message, Publish, Reason};
use bytestring::ByteString;
pub use connect::{ClientInfo, Connected};
pub use handle::{Answer, SessionHandle};
use ironbrook_model::Timestamp;
pub use open::OpenError;
pub use rules::Rechecked;
use slot::Slot;
pub use slot::Wakes;
use std::collections::{BTreeSet, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;
pub use subscribe::Granted;

/// Shards of the map of client ids; more than threads, so that connects seldom meet.
const CLIENT_SHARDS: usize = 64;
/// How long a publisher that a full queue holds back waits at most before it looks again: the room may also come from elsewhere.
const HELD_BACK_LOOK: Duration = Duration::from_millis(100);

type Clients = HashMap<ByteString, Arc<Slot>>;

/// A handle of the broker; clones are the same broker.
#[derive(Clone)]
pub struct Broker {
    inner: Arc<Inner>,
}

struct Inner {
    config: Config,
    acl: RwLock<Arc<Acl>>,
    acl_generation: AtomicU64,
    clients: Vec<Mutex<Clients>>,
    hash: RandomState,
    /// All sessions by their name in the filters.
    slots: RwLock<HashMap<u32, Arc<Slot>>>,
    next_who: AtomicU32,
    next_number: AtomicU64,
    index: Index,
    /// A queue that [holds back](ClientInfo::holds_back) was full, and nothing was taken from it since.
    held_back: tokio::sync::watch::Sender<bool>,
    /// Held by those who subscribe and those who set a retained message, so that the one does not miss the other.
    changes: Mutex<()>,
    retained: RwLock<Retained>,
    journal: Option<Journal>,
    timers: Mutex<BTreeSet<(Timestamp, u32)>>,
    /// Where the search for expired retained messages goes on.
    sweep: Mutex<Option<ByteString>>,
    counters: Counters,
    /// The newest time handed in, milliseconds.
    now: AtomicI64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing under these locks leaves its state half changed.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

impl Broker {
    /// Users and rules, to authenticate with before [`connect`](Self::connect).
    pub fn acl(&self) -> Arc<Acl> {
        read(&self.inner.acl).clone()
    }

    /// Publishes for the broker's own side, without rules: `$SYS`, bridges, wills. The packet id is ignored.
    ///
    /// Gives how many sessions got it, and a mark that [`durable`](Self::durable) waits for, if it is kept for any.
    ///
    /// # Errors
    /// As [`SessionHandle::publish`].
    pub fn publish(
        &self,
        publish: Publish,
        now: Timestamp,
        wakes: &mut Wakes,
    ) -> Result<(usize, Option<u64>), Reason> {
        crate::topic::check_name(&publish.topic).map_err(|_| Reason::TopicNameInvalid)?;
        let route = self.inner.route(&publish.topic, None, true);
        let done = self.inner.deliver(Message::new(publish, now), &route, None, now, wakes)?;
        Ok((done.receivers, done.mark))
    }

    /// Settings and bounds, as a door tells them its clients.
    pub fn config(&self) -> &Config {
        &self.inner.config
    }

    /// Whether what a mark stands for is on disk.
    pub fn is_durable(&self, mark: u64) -> bool {
        self.inner.journal.as_ref().is_none_or(|journal| journal.sealed() > mark)
    }

    /// Waits until what a mark stands for is on disk. Cancel-safe.
    pub async fn durable(&self, mark: u64) -> Result<(), Reason> {
        match &self.inner.journal {
            Some(journal) => journal.durable(mark).await,
            None => Ok(()),
        }
    }

    /// Waits until everything written so far is on disk: before the process goes down in order.
    pub async fn synced(&self) -> Result<(), Reason> {
        match self.inner.journal.as_ref().and_then(Journal::last) {
            Some(mark) => self.durable(mark).await,
            None => Ok(()),
        }
    }

    /// Waits until there is room again after [`Reason::ServerBusy`]: in the journal, and in queues that hold publishers back.
    pub async fn room(&self) -> Result<(), Reason> {
        if let Some(journal) = &self.inner.journal {
            journal.room().await?;
        }
        let mut held_back = self.inner.held_back.subscribe();
        // Whether it was in vain shows when it is tried again.
        let _ = tokio::time::timeout(HELD_BACK_LOOK, held_back.wait_for(|held_back| !held_back)).await;
        Ok(())
    }

    /// Counters and sizes now. Walks the shards of the filters: for once a second, not for each message.
    pub fn snapshot(&self) -> Snapshot {
        let inner = &self.inner;
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counters = &inner.counters;
        let (retained, retained_bytes) = {
            let retained = read(&inner.retained);
            (retained.len() as u64, retained.bytes() as u64)
        };
        Snapshot {
            messages_received: of(&counters.received),
            messages_sent: of(&counters.sent),
            bytes_received: of(&counters.bytes_received),
            bytes_sent: of(&counters.bytes_sent),
            messages_dropped: of(&counters.dropped),
            messages_expired: of(&counters.expired),
            clients_connected: of(&counters.connected),
            sessions: read(&inner.slots).len() as u64,
            subscriptions: inner.index.len() as u64,
            subscription_bytes: inner.index.bytes() as u64,
            retained,
            retained_bytes,
            stored_bytes: inner.journal.as_ref().map_or(0, |journal| journal.held() as u64),
            journal_damaged: of(&counters.damaged),
        }
    }

    /// Follows the journal, shows what became durable, and writes the journal anew when it has grown too long. Runs until
    /// cancelled; fails when the journal does, after which nothing that has to be kept can be published.
    pub async fn run(self, cancel: tokio_util::sync::CancellationToken) -> Result<(), Reason> {
        let Some(journal) = &self.inner.journal else {
            cancel.cancelled().await;
            return Ok(());
        };
        let overgrown = tokio::sync::Notify::new();
        let follow = async {
            loop {
                if self.inner.is_overgrown() {
                    overgrown.notify_one();
                }
                journal.follow().await?;
            }
        };
        let compact = async {
            loop {
                overgrown.notified().await;
                if self.inner.is_overgrown() {
                    self.compact().await?;
                }
            }
        };
        tokio::select! {
            () = cancel.cancelled() => Ok(()),
            failed = follow => failed,
            failed = compact => failed,
        }
    }
}

impl Inner {
    fn clients_of(&self, client_id: &str) -> MutexGuard<'_, Clients> {
        let shard = self.hash.hash_one(client_id) % CLIENT_SHARDS as u64;
        lock(&self.clients[usize::try_from(shard).unwrap_or_default()])
    }

    fn pen(&self) -> Option<Pen<'_>> {
        self.journal.as_ref().map(Journal::pen)
    }

    fn rules_of(&self, user: Option<&str>, client_id: &str) -> (Arc<Rules>, u64) {
        // The generation first: a change in between makes the rules look old, never new.
        let generation = self.acl_generation.load(Ordering::Acquire);
        (read(&self.acl).rules_of(user, client_id), generation)
    }

    fn saw(&self, now: Timestamp) {
        self.now.fetch_max(now.as_millis(), Ordering::Relaxed);
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.now.load(Ordering::Relaxed))
    }
}
