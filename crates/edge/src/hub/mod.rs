//! The edge hub: the core with this assembly's seams, which works without the hub above and passes on what it has when that is
//! there again.
//!
//! - [`route`]: routes of a deployment, from text to the core's; `routing` keeps them in force, with their endpoints.
//! - [`scope`]: who may connect. [`twins`], [`inbox`]: twins and messages of the clients here, by proxy.
//! - [`upstream`]: connections to the hub on behalf of clients, and the endpoint `$upstream`; [`input`]: inputs of modules.
//! - `own`: `$edgeHub` itself, its twin and methods.
//!
//! Start with [`EdgeHub`]. What is *not* here: sessions, routing and the log, which are the core's; and who a module is, which is
//! the daemon's.

pub mod http;
pub mod inbox;
pub mod input;
mod metrics;
mod own;
pub mod route;
mod routing;
pub mod scope;
mod sessions;
mod settled;
mod store;
pub mod twins;
pub mod upstream;

pub use store::Error as StoreError;

use inbox::PassThrough;
use ironbrook_client::{Builder, DeviceRegistryClient};
use ironbrook_hub::executor::{self, EndpointHealth, Executors};
use ironbrook_hub::fabric::InProcess;
use ironbrook_hub::router::{self, Router};
use ironbrook_hub::seams::{Checkpoints, Clock, Log, Seams};
use ironbrook_hub::{Hub, Limits, Metrics};
use ironbrook_log::{
    Error as LogError, FileCheckpoints, Keys, Offset, PartitionId, SegmentLog, Storage, SyncPolicy,
};
use ironbrook_model::{DeviceId, Identity, IdentityRecord, Refusal};
use own::Own;
use routing::Routing;
use scope::{HubScope, Scope};
use sessions::Sessions;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use store::Store;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use twins::TwinProxy;
use upstream::{Links, LinksConfig};

/// Partitions of the log. All modules of a device are in one anyway, and each executor of another costs memory.
const PARTITIONS: u16 = 1;
/// What the log keeps in memory of its newest records.
const LOG_CACHE_BYTES: usize = 256 << 10;
/// How often segments that nobody needs are looked for.
const RETAIN_EVERY: Duration = Duration::from_secs(60);
/// Routes of a deployment at most.
const ROUTES_MAX: usize = 1000;

/// What an edge hub is.
#[derive(Debug, Clone)]
pub struct Config {
    /// This device.
    pub device: DeviceId,
    /// The hub's host name.
    pub hub_host: String,
    /// The names under which clients reach this machine; tokens may name them instead of the hub.
    pub gateway_hosts: Vec<String>,
    /// The folder in the storage.
    pub folder: PathBuf,
    /// Bytes of a segment of the log.
    pub segment_bytes: u64,
    /// When messages are synced, and so acknowledged.
    pub sync: SyncPolicy,
    /// Keys for encryption of the log at rest; nothing is encrypted without.
    pub keys: Keys,
    /// Connections to the hub.
    pub links: LinksConfig,
}

impl Config {
    /// The settings that suit most, in the folder `edge`.
    pub fn new(device: DeviceId, hub_host: impl Into<String>) -> Self {
        Self {
            device,
            hub_host: hub_host.into(),
            gateway_hosts: Vec::new(),
            folder: PathBuf::from(crate::assembly::FOLDER),
            segment_bytes: 16 << 20,
            sync: SyncPolicy::default(),
            keys: Keys::default(),
            links: LinksConfig::default(),
        }
    }
}

/// How the hub above is reached, with the credential of `$edgeHub`.
#[derive(Debug, Clone)]
pub struct Access {
    /// Connections, for `$edgeHub`; those of others are made from it.
    pub connection: Builder,
    /// The registry, for `$edgeHub`.
    pub registry: DeviceRegistryClient,
}

/// Why an edge hub cannot be put together or go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The message log or the checkpoints.
    #[error("message log: {0}")]
    Log(#[from] LogError),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The storage itself.
    #[error("storage: {0}")]
    Storage(#[from] std::io::Error),
    /// A route.
    #[error(transparent)]
    Route(#[from] router::Error),
    /// The routes of the last run.
    #[error("the routes of the last run: {0}")]
    Routes(String),
    /// The process is ending, or a database file is damaged beyond what its library can tell.
    #[error("opening {0} failed; restore the folder from a copy, or start in a new one")]
    Stopped(String),
}

/// The edge hub with everything around it but the doors.
pub struct EdgeHub {
    hub: Hub,
    log: Arc<SegmentLog>,
    executors: Executors,
    routing: Arc<Routing>,
    own: Arc<Own>,
    handle: Handle,
}

/// What others ask of a running edge hub. Cheap to clone.
#[derive(Clone)]
pub struct Handle {
    scope: Scope,
    scope_source: Arc<HubScope>,
    links: Links,
    twins: TwinProxy,
    executors: executor::Handle,
    log: Arc<SegmentLog>,
    configured: watch::Receiver<bool>,
}

impl Handle {
    /// Begins to speak to the hub above; the first call counts. Until then everything else works.
    pub fn connect(&self, access: Access) {
        let Access { connection, registry } = access;
        self.scope_source.set(registry);
        self.scope.refresh_all();
        self.links.start(connection);
    }

    /// Lets an identity connect that is known before the hub told of it: a module made just now.
    pub async fn learn(&self, record: IdentityRecord) -> Result<(), Refusal> {
        self.scope.learn(record).await
    }

    /// Asks the hub for one identity, now. The error's text names the cause.
    pub async fn refresh(&self, identity: &Identity) -> Result<(), String> {
        self.scope.refresh(identity).await
    }

    /// Forgets an identity that was removed just now, and ends its connection.
    pub async fn forget(&self, identity: &Identity) -> Result<(), Refusal> {
        self.scope.forget(identity).await
    }

    /// Whether the hub above is there.
    pub fn is_online(&self) -> bool {
        self.links.is_online()
    }

    /// Whether the hub above is there, now and later.
    pub fn online(&self) -> watch::Receiver<bool> {
        self.links.online()
    }

    /// Whether routes of a deployment were seen, in an earlier run or since, now and later. Until then what clients send goes by
    /// the route of a hub without deployment.
    pub fn configured(&self) -> watch::Receiver<bool> {
        self.configured.clone()
    }

    /// How each endpoint does.
    pub fn endpoints(&self) -> Vec<EndpointHealth> {
        self.executors.health()
    }

    /// Whether the log takes messages; an error says why not.
    pub fn log_health(&self) -> Result<(), LogError> {
        self.log.health()
    }
}

/// What was opened on threads that may block.
struct Opened {
    store: Store,
    log: Arc<SegmentLog>,
    checkpoints: Arc<dyn Checkpoints>,
}

impl EdgeHub {
    /// Opens everything in `storage`, recovers what is there, and puts the routes of the last run in force. Needs no hub above.
    pub async fn open(
        storage: Arc<dyn Storage>,
        clock: Arc<dyn Clock>,
        config: Config,
        metrics: &mut prometheus_client::registry::Registry,
    ) -> Result<Self, Error> {
        let Opened { store, log, checkpoints } = {
            let config = config.clone();
            let opened = tokio::task::spawn_blocking(move || open_stores(storage, &config)).await;
            opened.map_err(|error| Error::Stopped(error.to_string()))??
        };
        let own_identity = Identity::gateway(config.device.clone());
        let links = Links::new(own_identity, config.links, clock.clone());
        let scope_source = Arc::new(HubScope::default());
        let scope =
            Scope::open(config.device.clone(), store.clone(), scope_source.clone(), clock.clone()).await?;
        let twins = TwinProxy::new(store.clone(), links.clone(), clock.clone());
        let inbox = PassThrough::new(store.clone(), links.clone(), clock.clone());
        // The documented limits: what is taken here, the hub takes too.
        let limits = Limits { routes: ROUTES_MAX, ..Limits::azure() };
        let sessions = Arc::new(Sessions::new(InProcess::new(clock.clone(), limits.methods_in_flight)));
        let seams = Seams {
            identities: Arc::new(scope.clone()),
            twins: Arc::new(twins.clone()),
            inbox: Arc::new(inbox.clone()),
            log: log.clone() as Arc<dyn Log>,
            checkpoints,
            fabric: sessions.clone(),
            clock: clock.clone(),
        };
        let counters = Metrics::new(metrics);
        let executors = Executors::new(&seams, &[], executor::Config::default(), &counters);
        let device = config.device.as_str();
        metrics::register(metrics, &config.hub_host, device, counters.clone(), executors.handle());
        let router = Router::new(&[], false, &HashMap::new(), &limits)?;
        let mut hosts = vec![config.hub_host.clone()];
        hosts.extend(config.gateway_hosts.iter().cloned());
        let core = ironbrook_hub::Config { name: short_name(&config.hub_host), hosts, limits };
        let hub = Hub::new(core, seams, router, counters);
        let own = Own::new(config.device.clone(), links.clone(), scope.clone(), twins.clone(), inbox);
        own.set_hub(hub.clone());
        let own = Arc::new(own);
        let weak = || Arc::downgrade(&own);
        links.set_down(weak());
        sessions.watch(weak());
        twins.watch(weak());
        let routing =
            Routing::new(config.device, hub.clone(), executors.handle(), links.clone(), scope.clone(), store);
        routing.restore().await.map_err(|status| Error::Routes(status.description))?;
        let (configured, endpoints) = (routing.configured(), executors.handle());
        let handle =
            Handle { scope, scope_source, links, twins, executors: endpoints, log: log.clone(), configured };
        Ok(Self { hub, log, executors, routing: Arc::new(routing), own, handle })
    }

    /// The core, for the doors.
    pub fn hub(&self) -> &Hub {
        &self.hub
    }

    /// What others ask of it.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Calls of direct methods by modules, for the HTTPS door.
    pub fn http(&self) -> axum::Router {
        http::router(self.hub.clone())
    }

    /// Works until cancelled, then lets endpoints end what they began, and closes the log. The doors must have let go of their
    /// connections before. An error means that the log is poisoned: only a restart helps.
    pub async fn run(self, cancel: CancellationToken) -> Result<(), Error> {
        let Self { hub, log, executors, routing, own, handle } = self;
        // Executors outlive the others: their drain needs connections and log.
        let (stop, others) = (CancellationToken::new(), TaskTracker::new());
        others.spawn(handle.scope.clone().run(stop.clone()));
        others.spawn(handle.links.clone().run(stop.clone()));
        others.spawn(handle.twins.clone().run(stop.clone()));
        others.spawn(own.run(routing, stop.clone()));
        others.spawn(retain(log.clone(), executors.handle(), hub.clone(), stop.clone()));
        let result = executors.run(cancel).await;
        stop.cancel();
        others.close();
        others.wait().await;
        hub.close().await;
        log.close().await;
        Ok(result?)
    }
}

fn open_stores(storage: Arc<dyn Storage>, config: &Config) -> Result<Opened, Error> {
    let folder = |name: &str| config.folder.join(name);
    storage.create_folder(&folder("log"))?;
    let store = Store::open(storage.clone(), &folder("hub.redb"))?;
    let segments = ironbrook_log::Config {
        partitions: PARTITIONS,
        segment_bytes: config.segment_bytes,
        sync: config.sync,
        keys: config.keys.clone(),
        cache_bytes: LOG_CACHE_BYTES,
        // Nobody reads here but the endpoints, and they hold what they need.
        retention: ironbrook_log::Retention { max_age: Some(Duration::ZERO), max_bytes: None },
        ..ironbrook_log::Config::default()
    };
    let log = Arc::new(SegmentLog::open(storage.clone(), &folder("log"), segments)?);
    let checkpoints = Arc::new(FileCheckpoints::open(storage.clone(), &folder("checkpoints"))?);
    storage.sync_folder(Path::new(""))?;
    Ok(Opened { store, log, checkpoints })
}

/// The first label of a host name.
fn short_name(host: &str) -> String {
    host.split('.').next().unwrap_or(host).to_owned()
}

/// Drops what no endpoint needs any more.
async fn retain(log: Arc<SegmentLog>, executors: executor::Handle, hub: Hub, cancel: CancellationToken) {
    loop {
        tokio::select! {
            () = cancel.cancelled() => return,
            () = hub.seams().clock.sleep(RETAIN_EVERY) => {}
        }
        for partition in (0..log.partitions()).map(PartitionId) {
            let needed_from = executors.lowest(partition).unwrap_or(Offset(u64::MAX));
            if let Err(error) = log.retain(partition, hub.seams().clock.now(), needed_from).await {
                tracing::warn!(partition = partition.0, %error, "old segments stay for now");
            }
        }
    }
}

#[cfg(test)]
mod tests;
