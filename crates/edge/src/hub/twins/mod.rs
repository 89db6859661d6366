//! Twins of the clients here: the hub's, with a copy on disk that serves while the hub is away.
//!
//! Desired properties come down through the client's connection; reported ones are merged here, answered at once, and told to the
//! hub in order, several together where they come quickly. What was not told yet survives a restart.

mod document;

pub(crate) use document::merge;

use super::store::{Store, Table};
use super::upstream::{Away, Links};
use async_trait::async_trait;
use bytes::Bytes;
use document::Known;
use ironbrook_client::{DesiredUpdate, Error, Twin as HubTwin};
use ironbrook_hub::seams::{Clock, DesiredChange, Section, Twins};
use ironbrook_model::twin::Object;
use ironbrook_model::{DeviceId, ErrorCode, Identity, ModuleId, Refusal};
use serde_json::Value;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;
use tokio::sync::OwnedMutexGuard;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Longest wait for the hub before the copy is given.
const HUB_TIME: Duration = Duration::from_secs(20);
/// Longest wait for a connection before the copy is given.
const LINK_TIME: Duration = Duration::from_secs(5);
/// A reading that is behind by more versions was not overtaken: the twin was made anew.
const OVERTAKEN_MAX: u64 = 16;
/// Pause between two reports of one identity, so that quick ones go together.
const REPORT_PAUSE: Duration = Duration::from_secs(1);
/// Longest wait for a connection before a report is tried again.
const REPORT_WAIT: Duration = Duration::from_secs(3600);

/// Twins by proxy. Cheap to clone.
#[derive(Clone)]
pub struct TwinProxy(Arc<Inner>);

struct Inner {
    store: Store,
    links: Links,
    clock: Arc<dyn Clock>,
    listeners: Mutex<Vec<Arc<Listener>>>,
    watcher: OnceLock<Weak<dyn TwinWatcher>>,
    /// One at a time works on a twin.
    turns: Mutex<HashMap<Identity, Arc<tokio::sync::Mutex<()>>>>,
    /// Identities whose reports are being sent.
    sending: Mutex<HashSet<Identity>>,
    tracker: TaskTracker,
    cancel: CancellationToken,
}

/// Hears of changes of twins, for routes; must not block.
pub(crate) trait TwinWatcher: Send + Sync + 'static {
    /// A patch was merged into a section of an identity's twin.
    fn changed(&self, identity: &Identity, section: Section, patch: &Object);
}

type Listener = dyn Fn(&DesiredChange) + Send + Sync;

impl TwinProxy {
    pub(crate) fn new(store: Store, links: Links, clock: Arc<dyn Clock>) -> Self {
        Self(Arc::new(Inner {
            store,
            links,
            clock,
            listeners: Mutex::default(),
            watcher: OnceLock::new(),
            turns: Mutex::default(),
            sending: Mutex::default(),
            tracker: TaskTracker::new(),
            cancel: CancellationToken::new(),
        }))
    }

    /// Tells who watches, for as long as it lives; the first counts.
    pub(crate) fn watch(&self, watcher: Weak<dyn TwinWatcher>) {
        let _ = self.0.watcher.set(watcher);
    }

    fn tell_watcher(&self, identity: &Identity, section: Section, patch: &Object) {
        if let Some(watcher) = self.0.watcher.get().and_then(Weak::upgrade) {
            watcher.changed(identity, section, patch);
        }
    }

    /// Sends what an earlier run left, then waits until cancelled, and for what is under way.
    pub(crate) async fn run(self, cancel: CancellationToken) {
        match self.0.store.all(Table::Twins).await {
            Ok(rows) => {
                for (key, bytes) in rows {
                    if let (Some(identity), Some(true)) =
                        (identity(&key), parse(&bytes).map(|k| k.is_dirty()))
                    {
                        self.send_reports(&identity);
                    }
                }
            }
            Err(error) => tracing::error!(%error, "stored twins cannot be read"),
        }
        cancel.cancelled().await;
        self.0.cancel.cancel();
        self.0.tracker.close();
        self.0.tracker.wait().await;
    }

    /// Takes news of desired properties in, and passes on what is new to the client.
    pub(crate) async fn desired(&self, identity: &Identity, update: DesiredUpdate) {
        if let Err(refusal) = self.take_desired(identity, update).await {
            tracing::warn!(%identity, error = %refusal, "a change of desired properties is not taken in; the next reading brings it");
        }
    }

    async fn take_desired(&self, identity: &Identity, update: DesiredUpdate) -> Result<(), Refusal> {
        let DesiredUpdate { version, properties, complete } = update;
        {
            let _turn = self.turn(identity).await;
            let mut known = self.load(identity).await?;
            let patch = if complete {
                known.set_desired(properties, version)
            } else {
                known.patch_desired(&properties, version).then_some(properties)
            };
            if let Some(patch) = patch {
                self.save(identity, &known).await?;
                self.tell(identity, known.desired_version, patch);
                return Ok(());
            }
            if complete || version <= known.desired_version {
                return Ok(());
            }
        }
        self.read(identity).await.map(drop)
    }

    /// Reads the twin from the hub; what changed of the desired properties is told to the client.
    async fn read(&self, identity: &Identity) -> Result<Known, Refusal> {
        let away =
            |error: &dyn std::fmt::Display| Refusal::new(ErrorCode::ServiceUnavailable, error.to_string());
        let lease = self.0.links.lease(identity, LINK_TIME).await.map_err(|error| away(&error))?;
        let sent_before = self.load(identity).await?.sent;
        let twin: HubTwin = tokio::select! {
            twin = lease.twin() => twin.map_err(|error| away(&error))?,
            () = self.0.clock.sleep(HUB_TIME) => return Err(away(&"no answer in time")),
        };
        let _turn = self.turn(identity).await;
        let mut known = self.load(identity).await?;
        let before = known.clone();
        // An answer that was overtaken is older than what is known: by a change that came down, or a report that went up.
        let behind = known.desired_version.saturating_sub(twin.desired_version);
        if (1..=OVERTAKEN_MAX).contains(&behind) || known.sent != sent_before {
            return Ok(known);
        }
        let patch = known.set(twin);
        if known != before {
            self.save(identity, &known).await?;
        }
        if let Some(patch) = patch.filter(|_| before.desired_version > 0) {
            self.tell(identity, known.desired_version, patch);
        }
        Ok(known)
    }

    fn tell(&self, identity: &Identity, version: u64, mut patch: Object) {
        self.tell_watcher(identity, Section::Desired, &patch);
        patch.insert("$version".to_owned(), version.into());
        let change = DesiredChange {
            identity: identity.clone(),
            version,
            patch: Bytes::from(Value::Object(patch).to_string()),
        };
        let listeners = lock(&self.0.listeners).clone();
        listeners.iter().for_each(|listener| listener(&change));
    }

    async fn turn(&self, identity: &Identity) -> OwnedMutexGuard<()> {
        let turn = {
            let mut turns = lock(&self.0.turns);
            // Those nobody waits for.
            turns.retain(|other, turn| other == identity || Arc::strong_count(turn) > 1);
            Arc::clone(turns.entry(identity.clone()).or_default())
        };
        turn.lock_owned().await
    }

    async fn load(&self, identity: &Identity) -> Result<Known, Refusal> {
        let bytes = self.0.store.get(Table::Twins, &identity.to_string()).await?;
        Ok(bytes.as_deref().and_then(parse).unwrap_or_default())
    }

    async fn save(&self, identity: &Identity, known: &Known) -> Result<(), Refusal> {
        // Objects with text keys: this cannot fail.
        let bytes = serde_json::to_vec(known).unwrap_or_default();
        Ok(self.0.store.put(Table::Twins, vec![(identity.to_string(), Some(bytes))]).await?)
    }

    /// Begins to send an identity's reports, where that is not under way.
    fn send_reports(&self, identity: &Identity) {
        if !lock(&self.0.sending).insert(identity.clone()) {
            return;
        }
        let (proxy, identity) = (self.clone(), identity.clone());
        self.0.tracker.spawn(async move {
            let cancel = proxy.0.cancel.clone();
            tokio::select! {
                () = cancel.cancelled() => {}
                () = proxy.send_until_done(&identity) => {}
            }
        });
    }

    async fn send_until_done(&self, identity: &Identity) {
        loop {
            match self.send_once(identity).await {
                Ok(true) => {}
                Ok(false) => return,
                Err(why) => tracing::debug!(%identity, why, "reported properties wait"),
            }
            self.0.clock.sleep(REPORT_PAUSE).await;
        }
    }

    /// Sends what waits; `false` where nothing did.
    async fn send_once(&self, identity: &Identity) -> Result<bool, String> {
        let lease = match self.0.links.lease(identity, REPORT_WAIT).await {
            Ok(lease) => lease,
            Err(error @ Away::Refused(_)) => {
                self.0.clock.sleep(HUB_TIME).await;
                return Err(error.to_string());
            }
            Err(error) => return Err(error.to_string()),
        };
        let patch = {
            let _turn = self.turn(identity).await;
            let mut known = self.load(identity).await.map_err(|error| error.to_string())?;
            let Some(patch) = known.next_report().cloned() else {
                // Under the turn: who reports next finds that nobody sends.
                lock(&self.0.sending).remove(identity);
                return Ok(false);
            };
            self.save(identity, &known).await.map_err(|error| error.to_string())?;
            patch
        };
        match lease.report(&patch).await {
            Ok(_) => {}
            Err(error) if error.is_transient() || matches!(error, Error::Closed) => {
                return Err(error.to_string());
            }
            // It was checked here by the same rules, so this is rare; sent again it would stop all later ones.
            Err(error) => tracing::warn!(%identity, %error, "the hub refused reported properties for good"),
        }
        let _turn = self.turn(identity).await;
        let mut known = self.load(identity).await.map_err(|error| error.to_string())?;
        known.sent();
        self.save(identity, &known).await.map_err(|error| error.to_string())?;
        Ok(true)
    }
}

#[async_trait]
impl Twins for TwinProxy {
    async fn device_view(&self, identity: &Identity) -> Result<Bytes, Refusal> {
        if self.0.links.is_online() {
            match self.read(identity).await {
                Ok(known) => return Ok(known.device_view().into()),
                Err(refusal) => {
                    tracing::debug!(%identity, why = %refusal.message, "the twin is given as last known")
                }
            }
        }
        Ok(self.load(identity).await?.device_view().into())
    }

    async fn patch_reported(&self, identity: &Identity, patch: &[u8]) -> Result<u64, Refusal> {
        let _turn = self.turn(identity).await;
        let mut known = self.load(identity).await?;
        let version = known.report(patch, self.0.clock.now())?;
        self.save(identity, &known).await?;
        if let Ok(Value::Object(patch)) = serde_json::from_slice(patch) {
            self.tell_watcher(identity, Section::Reported, &patch);
        }
        self.send_reports(identity);
        Ok(version)
    }

    async fn service_view(&self, identity: &Identity) -> Result<Arc<Value>, Refusal> {
        Ok(Arc::new(self.load(identity).await?.service_view()))
    }

    fn listen(&self, changed: Box<dyn Fn(&DesiredChange) + Send + Sync>) {
        lock(&self.0.listeners).push(changed.into());
    }
}

fn parse(bytes: &[u8]) -> Option<Known> {
    // A damaged copy is as good as none: the hub has the twin.
    serde_json::from_slice(bytes).ok()
}

/// The identity of a key; ids hold no slash.
fn identity(key: &str) -> Option<Identity> {
    let (device, module) = match key.split_once('/') {
        Some((device, module)) => (device, Some(module)),
        None => (key, None),
    };
    Some(Identity {
        device: DeviceId::new(device.to_owned()).ok()?,
        module: module.map(|module| ModuleId::new(module.to_owned())).transpose().ok()?,
    })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No code under these locks can leave the value half changed.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
