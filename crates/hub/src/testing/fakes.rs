//! Seams in memory, as small as the tests allow.

use super::within;
use crate::auth::certificate::CertificateAuthority;
use crate::operation::{LockToken, LockedMessage, Settlement};
use crate::seams::{Activity, Clock, DesiredChange, Feedback, Identities, Inbox, Kept, Twins};
use async_trait::async_trait;
use bytes::Bytes;
use ironbrook_model::{
    ErrorCode, Identity, IdentityRecord, Message, Permissions, Refusal, SharedAccessPolicy, Timestamp,
};
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{Notify, Semaphore, watch};

/// A clock that stands until a test turns it, and knows who sleeps.
pub(crate) struct ManualClock {
    now: watch::Sender<Timestamp>,
    /// Until when, in no order. Whom the clock has passed stands here until it ran.
    sleepers: watch::Sender<Vec<Timestamp>>,
}

impl ManualClock {
    pub(crate) fn new(start: Timestamp) -> Self {
        Self { now: watch::Sender::new(start), sleepers: watch::Sender::default() }
    }

    pub(crate) fn advance(&self, duration: Duration) {
        self.now.send_modify(|now| *now = now.plus(duration));
    }

    /// Waits until somebody sleeps until `deadline`, and so until all that comes before that sleep is done.
    pub(crate) async fn sleeper(&self, deadline: Timestamp) {
        let asleep = async {
            self.sleepers.subscribe().wait_for(|all| all.contains(&deadline)).await.unwrap();
        };
        within(&format!("a sleep until {deadline}"), asleep).await;
    }

    /// How many sleep.
    pub(crate) fn sleeping(&self) -> usize {
        self.sleepers.borrow().len()
    }

    /// Turns the clock to the next deadline whenever somebody sleeps, and no further, until `done` is.
    pub(crate) async fn drive<T>(&self, done: impl Future<Output = T>) -> T {
        let turning = async {
            let mut sleepers = self.sleepers.subscribe();
            loop {
                let first = |all: &Vec<Timestamp>| all.iter().min().copied();
                // Whom the last turn woke runs before the next turn.
                let asleep = sleepers.wait_for(|all| first(all).is_some_and(|first| first > self.now()));
                let next = first(&asleep.await.unwrap());
                self.now.send_modify(|now| *now = next.unwrap());
            }
        };
        tokio::select! {
            biased;
            done = done => done,
            () = turning => unreachable!("it turns for ever"),
        }
    }
}

#[async_trait]
impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        *self.now.borrow()
    }

    async fn sleep_until(&self, deadline: Timestamp) {
        let _sleeper = Sleeper::new(&self.sleepers, deadline);
        self.now.subscribe().wait_for(|now| *now >= deadline).await.unwrap();
    }
}

/// A place in the list of sleepers, as long as it lives.
struct Sleeper<'a> {
    sleepers: &'a watch::Sender<Vec<Timestamp>>,
    deadline: Timestamp,
}

impl<'a> Sleeper<'a> {
    fn new(sleepers: &'a watch::Sender<Vec<Timestamp>>, deadline: Timestamp) -> Self {
        sleepers.send_modify(|all| all.push(deadline));
        Self { sleepers, deadline }
    }
}

impl Drop for Sleeper<'_> {
    fn drop(&mut self) {
        self.sleepers.send_modify(|all| {
            let place = all.iter().position(|other| *other == self.deadline).unwrap();
            all.swap_remove(place);
        });
    }
}

type Listener<T> = Box<dyn Fn(&T) + Send + Sync>;

#[derive(Default)]
pub(crate) struct FakeIdentities {
    records: Mutex<HashMap<Identity, Arc<IdentityRecord>>>,
    listeners: Mutex<Vec<Listener<Identity>>>,
    authorities: Mutex<Arc<Vec<CertificateAuthority>>>,
    authority_listeners: Mutex<Vec<Box<dyn Fn() + Send + Sync>>>,
    pub(crate) noted: Mutex<Vec<(String, Activity)>>,
}

impl FakeIdentities {
    pub(crate) fn put(&self, record: IdentityRecord) {
        let identity = record.identity.clone();
        self.records.lock().unwrap().insert(identity.clone(), Arc::new(record));
        self.tell(&identity);
    }

    pub(crate) fn remove(&self, identity: &Identity) {
        self.records.lock().unwrap().remove(identity);
        self.tell(identity);
    }

    pub(crate) fn set_authorities(&self, authorities: Vec<CertificateAuthority>) {
        *self.authorities.lock().unwrap() = Arc::new(authorities);
        self.authority_listeners.lock().unwrap().iter().for_each(|listener| listener());
    }

    fn tell(&self, identity: &Identity) {
        self.listeners.lock().unwrap().iter().for_each(|listener| listener(identity));
    }
}

#[async_trait]
impl Identities for FakeIdentities {
    async fn find(&self, identity: &Identity) -> Result<Option<Arc<IdentityRecord>>, Refusal> {
        Ok(self.records.lock().unwrap().get(identity).cloned())
    }

    async fn policy(&self, name: &str) -> Result<Option<Arc<SharedAccessPolicy>>, Refusal> {
        let permissions: HashMap<&str, Permissions> = SharedAccessPolicy::DEFAULTS.into();
        Ok(permissions.get(name).map(|permissions| {
            Arc::new(SharedAccessPolicy {
                name: name.to_owned(),
                primary_key: super::key(name),
                secondary_key: super::key("secondary"),
                permissions: *permissions,
            })
        }))
    }

    async fn authorities(&self) -> Result<Arc<Vec<CertificateAuthority>>, Refusal> {
        Ok(self.authorities.lock().unwrap().clone())
    }

    fn listen_authorities(&self, changed: Box<dyn Fn() + Send + Sync>) {
        self.authority_listeners.lock().unwrap().push(changed);
    }

    fn listen(&self, changed: Listener<Identity>) {
        self.listeners.lock().unwrap().push(changed);
    }

    fn note_activity(&self, identity: &Identity, generation_id: &str, activity: Activity) {
        assert_eq!(generation_id, "1");
        self.noted.lock().unwrap().push((identity.to_string(), activity));
    }
}

#[derive(Default)]
pub(crate) struct FakeTwins {
    listeners: Mutex<Vec<Listener<DesiredChange>>>,
    watchers: Mutex<Vec<Listener<Identity>>>,
    whole: Mutex<HashMap<Identity, Arc<serde_json::Value>>>,
    pub(crate) models: Mutex<Vec<String>>,
}

impl FakeTwins {
    /// Puts a whole twin in the place of the old one, and tells.
    pub(crate) fn put(&self, identity: &Identity, twin: serde_json::Value) {
        self.whole.lock().unwrap().insert(identity.clone(), Arc::new(twin));
        self.watchers.lock().unwrap().iter().for_each(|watcher| watcher(identity));
    }

    pub(crate) fn change(&self, identity: &Identity, version: u64) {
        let patch = Bytes::from(format!(r#"{{"$version":{version}}}"#));
        let change = DesiredChange { identity: identity.clone(), version, patch };
        self.listeners.lock().unwrap().iter().for_each(|listener| listener(&change));
    }
}

#[async_trait]
impl Twins for FakeTwins {
    async fn device_view(&self, _: &Identity) -> Result<Bytes, Refusal> {
        Ok(Bytes::from_static(b"{}"))
    }

    async fn patch_reported(&self, _: &Identity, patch: &[u8]) -> Result<u64, Refusal> {
        if patch.starts_with(b"{") {
            return Ok(2);
        }
        Err(Refusal::new(ErrorCode::ArgumentInvalid, "not an object"))
    }

    async fn announce_model(&self, _: &Identity, model_id: &str) -> Result<(), Refusal> {
        self.models.lock().unwrap().push(model_id.to_owned());
        Ok(())
    }

    async fn service_view(&self, identity: &Identity) -> Result<Arc<serde_json::Value>, Refusal> {
        let found = self.whole.lock().unwrap().get(identity).cloned();
        found.ok_or_else(|| Refusal::new(ErrorCode::DeviceNotFound, "no twin"))
    }

    fn watch(&self, changed: Listener<Identity>) {
        self.watchers.lock().unwrap().push(changed);
    }

    fn listen(&self, changed: Listener<DesiredChange>) {
        self.listeners.lock().unwrap().push(changed);
    }
}

/// Queues of one identity only: the tests need no more.
pub(crate) struct FakeInbox {
    queue: Mutex<BTreeMap<u64, (Message, Option<LockToken>)>>,
    changed: Notify,
    pub(crate) subscribed: AtomicBool,
    pub(crate) kept: Mutex<Kept>,
    pub(crate) locks: AtomicUsize,
    /// A lock takes a permit, so that a test can hold one up.
    pub(crate) gate: Semaphore,
}

impl Default for FakeInbox {
    fn default() -> Self {
        Self {
            queue: Mutex::default(),
            changed: Notify::new(),
            subscribed: AtomicBool::new(false),
            kept: Mutex::default(),
            locks: AtomicUsize::new(0),
            gate: Semaphore::new(Semaphore::MAX_PERMITS),
        }
    }
}

impl FakeInbox {
    pub(crate) fn waiting(&self) -> usize {
        self.queue.lock().unwrap().values().filter(|(_, lock)| lock.is_none()).count()
    }

    pub(crate) fn len(&self) -> usize {
        self.queue.lock().unwrap().len()
    }
}

#[async_trait]
impl Inbox for FakeInbox {
    async fn enqueue(&self, _: &Identity, message: Message) -> Result<(), Refusal> {
        let mut queue = self.queue.lock().unwrap();
        let number = queue.keys().next_back().map_or(0, |last| last + 1);
        queue.insert(number, (message, None));
        self.changed.notify_waiters();
        Ok(())
    }

    async fn lock(&self, _: &Identity, max: usize, _: Duration) -> Result<Vec<LockedMessage>, Refusal> {
        self.locks.fetch_add(1, Ordering::Relaxed);
        let _permit = self.gate.acquire().await.unwrap();
        let mut queue = self.queue.lock().unwrap();
        let free = queue.iter_mut().filter(|(_, (_, lock))| lock.is_none()).take(max);
        Ok(free
            .map(|(number, (message, held))| {
                let lock = LockToken(uuid::Uuid::new_v4());
                *held = Some(lock);
                LockedMessage {
                    lock,
                    sequence_number: *number,
                    enqueued: Timestamp::default(),
                    delivery_count: 0,
                    message: message.clone(),
                }
            })
            .collect())
    }

    async fn settle(&self, _: &Identity, lock: LockToken, settlement: Settlement) -> Result<(), Refusal> {
        let mut queue = self.queue.lock().unwrap();
        let found = queue.iter().find(|(_, (_, held))| *held == Some(lock)).map(|(number, _)| *number);
        let lost = || Refusal::new(ErrorCode::DeviceMessageLockLost, "lost");
        let number = found.ok_or_else(lost)?;
        match settlement {
            Settlement::Complete | Settlement::Reject => _ = queue.remove(&number),
            Settlement::Abandon | Settlement::Release => queue.get_mut(&number).unwrap().1 = None,
        }
        self.changed.notify_waiters();
        Ok(())
    }

    async fn available(&self, _: &Identity) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if self.waiting() > 0 {
                return;
            }
            changed.await;
        }
    }

    async fn purge(&self, _: &Identity) -> Result<u64, Refusal> {
        Ok(0)
    }

    async fn is_subscribed(&self, _: &Identity) -> Result<bool, Refusal> {
        Ok(self.subscribed.load(Ordering::Relaxed))
    }

    async fn set_subscribed(&self, _: &Identity, subscribed: bool) -> Result<(), Refusal> {
        self.subscribed.store(subscribed, Ordering::Relaxed);
        Ok(())
    }

    async fn kept(&self, _: &Identity) -> Result<Kept, Refusal> {
        Ok(*self.kept.lock().unwrap())
    }

    async fn keep(&self, _: &Identity, kept: Kept) -> Result<(), Refusal> {
        *self.kept.lock().unwrap() = kept;
        Ok(())
    }

    async fn lock_feedback(&self, _: Duration) -> Result<Feedback, Refusal> {
        std::future::pending().await
    }

    async fn settle_feedback(&self, _: LockToken, _: Settlement) -> Result<(), Refusal> {
        Ok(())
    }
}
