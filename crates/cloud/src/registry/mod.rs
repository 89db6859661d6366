//! Identities, policies, twins, waiting messages and events to publish, in one embedded database.
//!
//! Start with [`Registry`]: it implements the core's seams `Identities`, `Twins` and `Inbox`, and has the calls of the
//! service API. Every change is one job of the one writer in [`store`], which syncs many of them at once; a change and the
//! event that tells of it are in the same transaction (the outbox). What is *not* here: HTTP, and who may ask for what.

mod activity;
mod bulk;
mod cache;
mod certificates;
mod configuration;
mod configurations;
mod documents;
mod error;
mod file;
mod identities;
mod inbox;
mod index;
mod jobs;
mod outbox;
mod policies;
mod scan;
mod scope;
mod seed;
mod store;
mod stored;
mod tables;
#[cfg(test)]
pub(crate) mod tests;
mod transfers;
mod twins;
mod view;

pub use bulk::ImportMode;
pub(crate) use bulk::camel_case;
pub use certificates::StoredCertificate;
pub use configuration::ConfigurationContent;
pub use configurations::{ConfigurationWish, MetricsWish, TestedQueries};
pub(crate) use documents::Shelf;
pub use error::Error;
pub use identities::{Counts, IfMatch};
pub use inbox::{FileNotification, Upload};
pub use jobs::{JobWish, MethodWish, PropertiesWish, TwinWish};
pub use policies::{parse_permissions, permissions_text};
pub use scan::{Page, Place};
pub use scope::ScopePage;
pub use seed::{SeedError, SeedFile, SeedRoute, SeedSummary};
pub(crate) use stored::new_etag;
pub use stored::{Kind, Stored, StoredAuthentication, Wish};
pub use transfers::TransferWish;
pub use twins::TwinChange;

use ironbrook_hub::Limits;
use ironbrook_hub::seams::{Clock, DesiredChange};
use ironbrook_log::{QueueId, Storage};
use ironbrook_model::twin::TwinLimits;
use ironbrook_model::{Identity, MessageSource, SharedAccessPolicy};
use redb::ReadableTable;
use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use store::Store;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Settings of the registry.
#[derive(Debug, Clone)]
pub struct Config {
    /// The hub's short name, for events.
    pub hub_name: String,
    /// Modules a device may have.
    pub modules_per_device: usize,
    /// Modules an edge device may have.
    pub modules_per_edge_device: usize,
    /// Authorities whose certificates prove devices.
    pub certificates: usize,
    /// Largest cloud-to-device message in metered bytes.
    pub inbox_message_bytes: usize,
    /// Messages that may wait for a device.
    pub inbox_depth: usize,
    /// Life of a waiting message that names no expiry, and the longest life of one that does.
    pub inbox_ttl: std::time::Duration,
    /// Explicit refusals after which a message is given up.
    pub inbox_max_delivery_count: u8,
    /// Life of feedback that nobody fetches.
    pub feedback_ttl: std::time::Duration,
    /// Configurations of the hub: deployments and automatic device configurations.
    pub configurations: usize,
    /// Custom metrics of a configuration.
    pub configuration_metrics: usize,
    /// Jobs that run at once; others wait.
    pub jobs_at_once: usize,
    /// Largest sections of twins.
    pub twins: TwinLimits,
    /// Uploads a device may have under way.
    pub uploads_open_max: usize,
    /// Life of a notice of an upload that nobody fetches.
    pub file_notification_ttl: std::time::Duration,
}

impl Config {
    /// The documented limits of an Azure hub.
    pub fn azure(hub_name: impl Into<String>) -> Self {
        Self {
            hub_name: hub_name.into(),
            modules_per_device: 20,
            modules_per_edge_device: 50,
            certificates: 25,
            inbox_message_bytes: Limits::azure().cloud_to_device_bytes,
            inbox_depth: 50,
            inbox_ttl: std::time::Duration::from_secs(3600),
            inbox_max_delivery_count: 10,
            feedback_ttl: std::time::Duration::from_secs(3600),
            configurations: 100,
            configuration_metrics: 5,
            jobs_at_once: 10,
            twins: TwinLimits::AZURE,
            uploads_open_max: 10,
            file_notification_ttl: std::time::Duration::from_secs(3600),
        }
    }

    /// Raised limits.
    pub fn native(hub_name: impl Into<String>) -> Self {
        Self {
            modules_per_device: 200,
            modules_per_edge_device: 200,
            certificates: 100,
            inbox_message_bytes: Limits::native().cloud_to_device_bytes,
            inbox_depth: 1000,
            configurations: 1000,
            configuration_metrics: 20,
            twins: TwinLimits::NATIVE,
            uploads_open_max: 100,
            ..Self::azure(hub_name)
        }
    }
}

type IdentityListener = Box<dyn Fn(&Identity) + Send + Sync>;
type DesiredListener = Box<dyn Fn(&DesiredChange) + Send + Sync>;

/// The registry. Cheap to clone.
#[derive(Clone)]
pub struct Registry {
    inner: Arc<Inner>,
}

struct Inner {
    store: Store,
    clock: Arc<dyn Clock>,
    config: Config,
    cache: cache::Cache,
    policies: RwLock<HashMap<String, Arc<SharedAccessPolicy>>>,
    certificates: certificates::State,
    identity_listeners: RwLock<Vec<IdentityListener>>,
    desired_listeners: RwLock<Vec<DesiredListener>>,
    /// Who hears of every change of a twin.
    twin_watchers: RwLock<Vec<Arc<IdentityListener>>>,
    inbox: inbox::State,
    /// Bit n: some route wants events of the source numbered n.
    wanted_sources: AtomicU8,
    outbox_filled: Notify,
    activity: activity::State,
    configurations: configurations::State,
    jobs: jobs::State,
    transfers: transfers::State,
}

impl Registry {
    /// Opens or creates the registry's database `registry.redb` in `folder`. Blocks.
    pub fn open(
        storage: Arc<dyn Storage>,
        folder: &Path,
        clock: Arc<dyn Clock>,
        config: Config,
    ) -> Result<Self, Error> {
        let store = Store::open(&storage, &folder.join("registry.redb"))?;
        let policies = policies::load_or_create(&store)?;
        let certificates = certificates::State::load(&store)?;
        let inbox = inbox::State::load(&store)?;
        let configurations = configurations::State::load(&store)?;
        Ok(Self {
            inner: Arc::new(Inner {
                store,
                clock,
                config,
                cache: cache::Cache::default(),
                policies: RwLock::new(policies),
                certificates,
                identity_listeners: RwLock::default(),
                desired_listeners: RwLock::default(),
                twin_watchers: RwLock::default(),
                inbox,
                wanted_sources: AtomicU8::new(0),
                outbox_filled: Notify::new(),
                activity: activity::State::default(),
                configurations,
                jobs: jobs::State::default(),
                transfers: transfers::State::default(),
            }),
        })
    }

    /// Ends locks, messages and feedback whose time has come, stores activity, and brings twins to what configurations say, until
    /// cancelled.
    pub async fn run(&self, cancel: CancellationToken) {
        let expire = async {
            tokio::select! {
                () = self.expire_forever() => {}
                () = cancel.cancelled() => {}
            }
        };
        tokio::join!(expire, self.write_activity_forever(&cancel), self.settle_forever(&cancel));
    }

    /// Stores activity, finishes what was begun and closes the database; later calls are refused.
    pub async fn close(&self) {
        if let Err(refusal) = self.write_activity().await {
            tracing::warn!(%refusal, "the activity of devices in the last minute is lost");
        }
        let inner = self.inner.clone();
        // The writer ends on its own thread; joining it may wait for a sync.
        if tokio::task::spawn_blocking(move || inner.store.close()).await.is_err() {
            tracing::error!("closing the registry was interrupted");
        }
    }

    /// The persistent number of an endpoint's queue; a new name gets the next number. `events` is number 0. Blocks.
    pub fn queue_id(&self, endpoint: &str) -> Result<QueueId, Error> {
        if endpoint == "events" {
            return Ok(QueueId::EVENTS);
        }
        self.inner.store.write_now(|changes| {
            let mut queues = changes.tx.open_table(tables::QUEUES)?;
            if let Some(number) = queues.get(endpoint)? {
                return Ok(QueueId(number.value()));
            }
            // A number is never given twice, not even when its endpoint is gone: the log may still hold its records.
            let last = queues.iter()?.try_fold(0, |last, row| row.map(|(_, n)| last.max(n.value())))?;
            let number = last.checked_add(1).ok_or(Error::Stored {
                what: "queue number",
                why: "all 65535 numbers were given".to_owned(),
            })?;
            queues.insert(endpoint, number)?;
            Ok(QueueId(number))
        })
    }

    /// Tells which events some route wants; no others are written.
    pub fn set_wanted_sources(&self, sources: &[MessageSource]) {
        let bits = sources.iter().fold(0, |bits, source| bits | 1 << source.number());
        self.inner.wanted_sources.store(bits, Ordering::Relaxed);
    }

    /// All shared access policies, by name.
    pub fn policies(&self) -> Vec<Arc<SharedAccessPolicy>> {
        let policies = self.inner.policies.read().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<_> = policies.values().cloned().collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    /// The hub's short name.
    pub fn hub_name(&self) -> &str {
        &self.inner.config.hub_name
    }
}

impl Inner {
    fn wants(&self, source: MessageSource) -> bool {
        self.wanted_sources.load(Ordering::Relaxed) & (1 << source.number()) != 0
    }
}
