//! One session as the broker holds it: its state under a lock, and a bell.

use crate::journal::Ring;
use crate::session::{Inbound, Link, Outbound, Replays, Subscriptions};
use crate::{Reason, Will};
use bytestring::ByteString;
use ironbrook_model::Timestamp;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// A session, connected or not. Whoever found it by a filter may hold it longer than it lives.
pub(super) struct Slot {
    /// Its name in the filters.
    pub who: u32,
    /// Its name in the journal; never used again.
    pub number: u64,
    pub client_id: ByteString,
    pub user: Option<ByteString>,
    /// The journal knows it.
    pub persistent: bool,
    online: AtomicBool,
    holds_back: AtomicBool,
    /// That of the state, to be looked at without its lock.
    epoch: AtomicU64,
    rung: AtomicBool,
    bell: Notify,
    state: Mutex<SlotState>,
}

#[derive(Default)]
pub(super) struct SlotState {
    /// The connection that owns the session; handles of older ones are told so.
    pub epoch: u64,
    /// Why older connections, or the one that owns it, were ended.
    pub closed: Option<Reason>,
    /// `None` while nobody is connected.
    pub link: Option<Box<Link>>,
    /// Seconds it outlives its connection; `u32::MAX` is the longest.
    pub expiry: u32,
    pub will: Option<Box<Will>>,
    /// When the will is due and when the session ends, while nobody is connected.
    pub will_at: Option<Timestamp>,
    pub end_at: Option<Timestamp>,
    pub ended: bool,
    pub subscriptions: Subscriptions,
    pub replays: Replays,
    pub outbound: Outbound,
    pub inbound: Inbound,
}

impl SlotState {
    /// What a timer has to look at next.
    pub fn deadline(&self) -> Option<Timestamp> {
        [self.will_at, self.end_at].into_iter().flatten().min()
    }

    /// Whether a message of QoS 1 or 2 is for it.
    pub fn keeps(&self) -> bool {
        !self.ended && (self.link.is_some() || self.expiry > 0)
    }
}

impl Slot {
    pub fn new(
        who: u32,
        number: u64,
        client_id: ByteString,
        user: Option<ByteString>,
        persistent: bool,
        state: SlotState,
    ) -> Arc<Self> {
        Arc::new(Self {
            who,
            number,
            client_id,
            user,
            persistent,
            online: AtomicBool::new(false),
            holds_back: AtomicBool::new(false),
            epoch: AtomicU64::new(state.epoch),
            rung: AtomicBool::new(false),
            bell: Notify::new(),
            state: Mutex::new(state),
        })
    }

    pub fn state(&self) -> MutexGuard<'_, SlotState> {
        // No code under this lock can leave the state half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn is_online(&self) -> bool {
        self.online.load(Ordering::Relaxed)
    }

    pub fn set_online(&self, online: bool) {
        self.online.store(online, Ordering::Relaxed);
    }

    /// Whether its queue, when it is full, holds publishers back.
    pub fn holds_back(&self) -> bool {
        self.holds_back.load(Ordering::Relaxed)
    }

    pub fn set_holds_back(&self, holds_back: bool) {
        self.holds_back.store(holds_back, Ordering::Relaxed);
    }

    /// Marks it as to be rung; true if nobody did before.
    fn mark(&self) -> bool {
        // A load first: a busy subscriber is mostly marked already, and loads do not fight for the cache line.
        !self.rung.load(Ordering::Relaxed) && !self.rung.swap(true, Ordering::AcqRel)
    }

    /// The client looks now; what comes after this rings again.
    pub fn looking(&self) {
        self.rung.store(false, Ordering::Release);
    }

    /// Tells whoever owned the session before that it does no longer.
    pub fn set_epoch(&self, epoch: u64) {
        self.epoch.store(epoch, Ordering::Release);
        self.bell.notify_waiters();
    }

    /// Waits for the bell, or until the session has another owner than that of `epoch`.
    pub async fn rung(&self, epoch: u64) {
        let notified = self.bell.notified();
        tokio::pin!(notified);
        let rung = notified.as_mut().enable();
        // After waiting began: a change before it is seen here, one after it wakes.
        if self.epoch.load(Ordering::Acquire) != epoch {
            if rung {
                // It was for the new owner.
                self.bell.notify_one();
            }
        } else if !rung {
            notified.await;
        }
    }
}

impl Ring for Slot {
    fn ring(&self) {
        self.mark();
        self.bell.notify_one();
    }
}

/// Sessions to wake at the end of a batch: each once, however many messages it got. Waking them is what dropping this does.
#[derive(Default)]
pub struct Wakes {
    slots: Vec<Arc<Slot>>,
}

impl Wakes {
    /// A list for one batch.
    pub fn new() -> Self {
        Self::default()
    }

    pub(super) fn add(&mut self, slot: &Arc<Slot>) {
        if slot.mark() {
            self.slots.push(slot.clone());
        }
    }

    /// Wakes all of them; to be called before anything is waited for.
    pub fn flush(&mut self) {
        for slot in self.slots.drain(..) {
            slot.bell.notify_one();
        }
    }
}

impl Drop for Wakes {
    fn drop(&mut self) {
        self.flush();
    }
}
