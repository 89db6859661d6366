//! Who may speak, as far as this device needs to know it: itself, its modules, the devices behind it and theirs.
//!
//! A copy of what the hub's scope calls tell, kept on disk, so that known clients are let in while the hub is away. It is read
//! anew each hour, and single identities when they are not known, or connect a while after they were last asked for.

mod cache;
mod record;
mod source;

pub(crate) use source::HubScope;
pub use source::{ScopePage, ScopeSource};

use super::store::{Error as StoreError, Store, Table};
use async_trait::async_trait;
use cache::Cache;
use ironbrook_hub::seams::{Clock, Identities};
use ironbrook_model::{
    AuthenticationType, DeviceId, Identity, IdentityRecord, IdentityStatus, Refusal, SharedAccessPolicy,
};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// How often the whole scope is read.
const EVERY: Duration = Duration::from_secs(3600);
/// How soon it is tried again after a failure.
const AGAIN: Duration = Duration::from_secs(30);
/// An identity is asked for at most this often.
const ASK_EVERY: Duration = Duration::from_secs(30);
/// Identities asked for within [`ASK_EVERY`] at most, so that a stranger who tries ids loads the hub little.
const ASKED_MAX: usize = 60;
/// Longest wait for the hub before an unknown identity is refused.
const ASK_TIMEOUT: Duration = Duration::from_secs(5);
/// Identities that are kept at most.
const ENTRIES_MAX: usize = 10_000;
/// Pages of one reading at most.
const PAGES_MAX: usize = 2_000;

/// The identities of this device's scope. Cheap to clone.
#[derive(Clone)]
pub struct Scope(Arc<Inner>);

struct Inner {
    device: DeviceId,
    clock: Arc<dyn Clock>,
    store: Store,
    source: Arc<dyn ScopeSource>,
    cache: Mutex<Cache>,
    listeners: Mutex<Vec<Arc<Listener>>>,
    /// Changes are stored one after the other, so that the disk ends with the newest.
    storing: tokio::sync::Mutex<()>,
    /// Rung to read the whole scope now.
    all: Notify,
    /// Rung when an identity waits to be asked for.
    asked: Notify,
}

type Listener = dyn Fn(&Identity) + Send + Sync;

impl Scope {
    /// Reads what is on disk.
    pub(crate) async fn open(
        device: DeviceId,
        store: Store,
        source: Arc<dyn ScopeSource>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, StoreError> {
        let mut cache = Cache::default();
        for (key, value) in store.all(Table::Identities).await? {
            match record::from_bytes(&value) {
                Some(record) => cache.set(record, None),
                // It is told anew by the hub.
                None => tracing::warn!(identity = key, "a stored identity cannot be read and is left out"),
            }
        }
        Ok(Self(Arc::new(Inner {
            device,
            clock,
            store,
            source,
            cache: Mutex::new(cache),
            listeners: Mutex::default(),
            storing: tokio::sync::Mutex::default(),
            all: Notify::new(),
            asked: Notify::new(),
        })))
    }

    /// Takes in an identity that is known before the hub told of it, e.g. a module made just now. Of one that is known already
    /// with this key the hub's word stands; with other keys it was read before this key was set, and is asked for again.
    pub async fn learn(&self, record: IdentityRecord) -> Result<(), Refusal> {
        let known = self.cache().get(&record.identity);
        if let Some(known) = known
            && known.generation_id == record.generation_id
        {
            if shares_key(&known, &record) {
                return Ok(());
            }
            self.ask_soon(&record.identity);
        }
        self.cache().note_learned(record.identity.clone());
        Ok(self.apply(vec![record], Vec::new()).await?)
    }

    /// Forgets an identity that was removed just now.
    pub async fn forget(&self, identity: &Identity) -> Result<(), Refusal> {
        Ok(self.apply(Vec::new(), vec![identity.clone()]).await?)
    }

    /// Asks the hub for one identity, now. The error's text names the cause.
    pub async fn refresh(&self, identity: &Identity) -> Result<(), String> {
        self.cache().asked(identity, self.0.clock.now(), ASK_EVERY, usize::MAX);
        self.ask(identity).await
    }

    /// Asks for one identity in the background, however lately that was done: the hub has just refused it.
    pub(crate) fn ask_soon(&self, identity: &Identity) {
        self.cache().wait(identity.clone());
        self.0.asked.notify_one();
    }

    /// Asks for the whole scope as soon as possible.
    pub fn refresh_all(&self) {
        self.0.all.notify_one();
    }

    /// Whether the identity is in the scope, and enabled, as last known.
    pub fn admits(&self, identity: &Identity) -> bool {
        self.cache().get(identity).is_some_and(|record| record.status == IdentityStatus::Enabled)
    }

    /// Keeps the copy fresh until cancelled.
    pub async fn run(self, cancel: CancellationToken) {
        let singles = async {
            loop {
                self.0.asked.notified().await;
                self.ask_waiting().await;
            }
        };
        tokio::select! {
            () = cancel.cancelled() => {}
            () = self.read_all_again_and_again() => {}
            () = singles => {}
        }
    }

    async fn read_all_again_and_again(&self) {
        loop {
            let pause = match self.read_all().await {
                Ok(count) => {
                    tracing::debug!(identities = count, "scope read");
                    EVERY
                }
                Err(error) => {
                    tracing::info!(%error, "the scope could not be read; known identities stay as they are");
                    AGAIN
                }
            };
            tokio::select! {
                () = self.0.clock.sleep(pause) => {}
                () = self.0.all.notified() => {}
            }
        }
    }

    /// Reads the whole scope; gives how many identities are in it.
    pub async fn read_all(&self) -> Result<usize, String> {
        let (began, learned) = (self.0.clock.now(), self.cache().learned());
        let (mut records, mut from) = (Vec::new(), None);
        for _ in 0..PAGES_MAX {
            let page = self.0.source.page(from.as_deref()).await?;
            records.extend(page.records);
            if records.len() > ENTRIES_MAX {
                return Err(format!("the scope has more than {ENTRIES_MAX} identities"));
            }
            from = page.next.filter(|next| !next.is_empty());
            if from.is_none() {
                let count = records.len();
                let gone = self.cache().missing(&records, began);
                self.drop_older(&mut records, learned);
                self.apply(records, gone).await.map_err(|error| error.to_string())?;
                return Ok(count);
            }
        }
        Err(format!("the scope has more than {PAGES_MAX} pages"))
    }

    async fn ask(&self, identity: &Identity) -> Result<(), String> {
        let began = self.cache().learned();
        let mut page = self.0.source.one(identity).await?;
        let gone = match page.records.iter().any(|record| record.identity == *identity) {
            true => Vec::new(),
            // The hub's answer for a stranger is nothing.
            false => vec![identity.clone()],
        };
        self.drop_older(&mut page.records, began);
        self.apply(page.records, gone).await.map_err(|error| error.to_string())
    }

    /// Leaves out what was learned while a reading was under way: the reading may be from before.
    fn drop_older(&self, records: &mut Vec<IdentityRecord>, began: u64) {
        let cache = self.cache();
        records.retain(|record| !cache.is_learned_since(&record.identity, began));
    }

    async fn ask_waiting(&self) {
        loop {
            let Some(identity) = self.cache().next_waiting() else { return };
            if let Err(error) = self.ask(&identity).await {
                tracing::debug!(%identity, %error, "an identity could not be asked for");
            }
        }
    }

    /// Takes changes in: memory and disk first, then whoever listens.
    async fn apply(&self, records: Vec<IdentityRecord>, gone: Vec<Identity>) -> Result<(), StoreError> {
        let _turn = self.0.storing.lock().await;
        let now = self.0.clock.now();
        let (mut rows, mut changed) = (Vec::new(), Vec::new());
        {
            let cache = self.cache();
            for record in &records {
                if cache.get(&record.identity).as_deref() != Some(record) {
                    rows.push((record.identity.to_string(), Some(record::to_bytes(record))));
                    changed.push(record.identity.clone());
                }
            }
            for identity in gone.iter().filter(|identity| cache.get(identity).is_some()) {
                rows.push((identity.to_string(), None));
                changed.push(identity.clone());
            }
        }
        if !rows.is_empty() {
            self.0.store.put(Table::Identities, rows).await?;
        }
        {
            let mut cache = self.cache();
            records.into_iter().for_each(|record| cache.set(record, Some(now)));
            gone.iter().for_each(|identity| cache.remove(identity));
        }
        let listeners = lock(&self.0.listeners).clone();
        for identity in &changed {
            tracing::debug!(%identity, "identity of the scope changed");
            listeners.iter().for_each(|listener| listener(identity));
        }
        Ok(())
    }

    fn cache(&self) -> MutexGuard<'_, Cache> {
        lock(&self.0.cache)
    }

    /// The record as known; asks for it in the background where it was not asked for lately.
    fn known(&self, identity: &Identity) -> Option<Arc<IdentityRecord>> {
        let now = self.0.clock.now();
        let mut cache = self.cache();
        let known = cache.get(identity)?;
        // rule EDGEHUB-02: keys may have changed at the hub since; the client that comes back after a refusal meets the new ones.
        if cache.is_stale(identity, now, ASK_EVERY) && cache.asked(identity, now, ASK_EVERY, ASKED_MAX) {
            cache.wait(identity.clone());
            self.0.asked.notify_one();
        }
        Some(known)
    }
}

#[async_trait]
impl Identities for Scope {
    async fn find(&self, identity: &Identity) -> Result<Option<Arc<IdentityRecord>>, Refusal> {
        if let Some(known) = self.known(identity) {
            return Ok(Some(known));
        }
        let may_ask = self.cache().asked(identity, self.0.clock.now(), ASK_EVERY, ASKED_MAX);
        if may_ask {
            let found = tokio::select! {
                found = self.ask(identity) => found,
                () = self.0.clock.sleep(ASK_TIMEOUT) => Err("no answer in time".to_owned()),
            };
            if let Err(error) = found {
                tracing::info!(%identity, %error, "an unknown identity could not be asked for");
            }
        }
        let known = self.cache().get(identity);
        let is_own_device = identity.module.is_none() && identity.device == self.0.device;
        // The device itself is there, or this program would not run; without the hub it has no keys here.
        Ok(known.or_else(|| is_own_device.then(|| Arc::new(own_device(&self.0.device)))))
    }

    async fn policy(&self, _name: &str) -> Result<Option<Arc<SharedAccessPolicy>>, Refusal> {
        Ok(None)
    }

    fn listen(&self, changed: Box<dyn Fn(&Identity) + Send + Sync>) {
        lock(&self.0.listeners).push(changed.into());
    }
}

fn shares_key(known: &IdentityRecord, learned: &IdentityRecord) -> bool {
    match (&known.authentication, &learned.authentication) {
        (AuthenticationType::Sas(known), AuthenticationType::Sas(learned)) => {
            [&known.primary, &known.secondary].contains(&&learned.primary)
        }
        _ => false,
    }
}

fn own_device(device: &DeviceId) -> IdentityRecord {
    IdentityRecord {
        identity: Identity::device(device.clone()),
        generation_id: String::new(),
        status: IdentityStatus::Enabled,
        authentication: AuthenticationType::None,
        is_gateway: true,
        parents: Vec::new(),
        status_updated: None,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No code under these locks can leave the value half changed.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
