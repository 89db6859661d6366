//! Puts the parts of a hub together, in the order in which they need each other.
//!
//! Start with [`Cloud::open`]. What it hands out (a router, AMQP links, the core) is served by the doors, which the caller owns.

mod birth;
mod config;
mod history;
mod metrics;
mod retention;
mod routing;

pub use config::{
    Config, Encoding, EndpointConfig, EndpointKind, LogConfig, Profile, Routing, S3, StorageEndpointConfig,
    StorageTarget, Throttles,
};
pub use routing::AzureRouting;

use crate::events::{self, ServiceLinks};
use crate::provisioning::ProvisioningService;
use crate::registry::{self, Registry, SeedFile};
use crate::service_api;
use crate::storage::account::{self, Account};
use crate::storage::endpoint;
use crate::streaming::{self, Streaming};
use crate::uploads::{self, Uploads};
use axum::Extension;
use ironbrook_gateway::{AmqpService, Provisioning};
use ironbrook_hub::executor::{self, Executors};
use ironbrook_hub::fabric::InProcess;
use ironbrook_hub::router::{self, Router};
use ironbrook_hub::seams::{Checkpoints, Clock, Log, Seams};
use ironbrook_hub::{Hub, Metrics};
use ironbrook_log::{Error as LogError, FileCheckpoints, QueueId, SegmentLog, Storage};
use ironbrook_model::{Refusal, SharedAccessPolicy, Timestamp};
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Folders of the stores, and the file of checkpoints.
const REGISTRY: &str = "registry";
const LOG: &str = "log";
const CHECKPOINTS: &str = "checkpoints";
const ACCOUNT: &str = "account";

/// All that a hub makes in the root of its storage, by the names that the stores themselves have. Parts of unfinished writes have
/// one of [`UNFINISHED`] behind them.
pub const OWN: [&str; 9] = [
    REGISTRY,
    LOG,
    CHECKPOINTS,
    ACCOUNT,
    birth::FILE,
    history::NEWER,
    history::OLDER,
    crate::streaming::FOLDER,
    crate::topics::FOLDER,
];

/// Endings of what is written beside a file to be put in its place.
pub const UNFINISHED: [&str; 2] = [".new", ".part"];

/// Of how many batches is remembered what became of them.
const HISTORY_BATCHES: usize = 20_000;

/// Why a hub cannot be put together or go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The registry.
    #[error("registry: {0}")]
    Registry(#[from] registry::Error),
    /// The seed file.
    #[error(transparent)]
    Seed(#[from] registry::SeedError),
    /// The registry refused a change.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The message log or the checkpoints.
    #[error("message log: {0}")]
    Log(#[from] LogError),
    /// The storage account.
    #[error("storage account: {0}")]
    Account(#[from] account::Error),
    /// A storage endpoint.
    #[error("endpoint {name}: {error}")]
    Endpoint {
        /// Which.
        name: String,
        /// Why.
        error: endpoint::Error,
    },
    /// File upload.
    #[error(transparent)]
    Uploads(#[from] uploads::Error),
    /// An endpoint elsewhere.
    #[error("endpoint {name}: {error}")]
    Elsewhere {
        /// Which.
        name: String,
        /// Why.
        error: crate::endpoints::Error,
    },
    /// Enrichments, or routing as Azure's templates have it.
    #[error("routing: {0}")]
    Routing(String),
    /// A route.
    #[error(transparent)]
    Route(#[from] router::Error),
    /// A route in the seed file.
    #[error("route {name} in the seed file: {error}")]
    SeedRoute {
        /// Which.
        name: String,
        /// Why.
        error: String,
    },
    /// Two endpoints of one name, or one named as the built-in endpoint.
    #[error("the endpoint name {0} is taken; names of endpoints are unique and not 'events'")]
    EndpointName(String),
    /// More endpoints than the limit.
    #[error(
        "{0} endpoints are configured and {1} are allowed besides 'events'; remove some, or choose the profile with raised limits"
    )]
    TooManyEndpoints(usize, usize),
    /// The storage itself.
    #[error("storage: {0}")]
    Storage(#[from] std::io::Error),
    /// A file of the registry or of the storage account is damaged beyond what its library can tell.
    #[error(
        "registry/registry.redb or account/index.redb in the data folder is damaged ({0}); restore the folder from a copy, or start in a new one"
    )]
    Damaged(String),
    /// The process is ending.
    #[error("stopped while starting")]
    Stopped,
}

/// A hub with everything around it but the doors.
pub struct Cloud {
    hub: Hub,
    registry: Registry,
    account: Account,
    links: ServiceLinks,
    provisioning: ProvisioningService,
    uploads: Uploads,
    log: Arc<SegmentLog>,
    executors: Executors,
    routing: service_api::Routing,
    history: history::Keeper,
    streaming: Streaming,
}

/// What was opened on threads that may block.
struct Opened {
    registry: Registry,
    account: Account,
    log: Arc<SegmentLog>,
    checkpoints: Arc<dyn Checkpoints>,
    created_at: Timestamp,
    id_scope: String,
}

impl Cloud {
    /// Opens everything in `storage` and recovers what is there. `seed` prepares identities and adds routes.
    pub async fn open(
        storage: Arc<dyn Storage>,
        clock: Arc<dyn Clock>,
        config: Config,
        seed: Option<&SeedFile>,
        metrics: &mut prometheus_client::registry::Registry,
    ) -> Result<Self, Error> {
        let opened = {
            let (storage, clock, config) = (storage.clone(), clock.clone(), config.clone());
            tokio::task::spawn_blocking(move || open_stores(storage, clock, &config))
                .await
                .map_err(interrupted)??
        };
        let registry = opened.registry.clone();
        let built = Self::build(opened, storage, clock, config, seed, metrics).await;
        if built.is_err() {
            // Its writer would still be at the file when somebody opens that again.
            registry.close().await;
        }
        built
    }

    async fn build(
        opened: Opened,
        storage: Arc<dyn Storage>,
        clock: Arc<dyn Clock>,
        mut config: Config,
        seed: Option<&SeedFile>,
        metrics: &mut prometheus_client::registry::Registry,
    ) -> Result<Self, Error> {
        let Opened { registry, account, log, checkpoints, created_at, id_scope } = opened;
        routing::take_seed(&mut config, seed)?;
        let routes = routing::all_routes(&config, seed)?;
        routing::check(&config)?;
        let twins = routing::twins(&config, &registry)?;
        let endpoints = routing::open(&config, &registry, &account, &twins, &clock).await?;
        let queues: HashMap<String, QueueId> =
            endpoints.iter().map(|(id, e)| (e.name().to_owned(), *id)).collect();
        let limits = config.throttles.on(config.profile.limits());
        let router = Router::with_twins(&routes, config.fallback_route, &queues, &limits)?;
        // Only now: a seed file with a wrong route makes no identity.
        if let Some(seed) = seed {
            let summary = registry.seed(seed).await?;
            tracing::info!(created = summary.created, kept = summary.kept, "seed file applied");
        }
        registry.set_wanted_sources(&routing::wanted_sources(&routes));

        let seams = Seams {
            identities: Arc::new(registry.clone()),
            twins: Arc::new(registry.clone()),
            inbox: Arc::new(registry.clone()),
            log: log.clone() as Arc<dyn Log>,
            checkpoints,
            fabric: Arc::new(InProcess::new(clock.clone(), limits.methods_in_flight)),
            clock: clock.clone(),
        };
        let core_metrics = Metrics::new(metrics);
        let executing = executor::Config { history: HISTORY_BATCHES, ..executor::Config::default() };
        let executors = Executors::new(&seams, &endpoints, executing, &core_metrics);
        metrics::register(metrics, &executors.handle());
        let history = history::Keeper::open(storage.clone(), executors.handle().history(), clock).await;
        let enricher = routing::enricher(router::EVENTS, &config, &twins)?;
        let core = ironbrook_hub::Config { name: config.hub_name, hosts: config.hosts.clone(), limits };
        let hub = Hub::new(core, seams, router, core_metrics);
        registry.set_fabric(hub.seams().fabric.clone());
        let provisioning = ProvisioningService::new(registry.clone(), hub.clone(), id_scope);
        let groups = config.consumer_groups.clone();
        let streaming =
            Streaming::open(hub.clone(), account.clone(), storage, groups, config.streaming).await?;
        streaming::register(metrics, &streaming);
        let links = events::Config { consumer_groups: config.consumer_groups, created_at, enricher };
        let uploads =
            Uploads::open(hub.clone(), registry.clone(), &account, &config.hosts, config.file_upload).await?;
        let links = ServiceLinks::new(hub.clone(), registry.clone(), links);
        let queues = endpoints.iter().map(|(id, e)| (*id, e.name().to_owned())).collect();
        let routing = service_api::Routing::new(hub.clone(), executors.handle(), queues);
        Ok(Self {
            links,
            provisioning,
            uploads,
            hub,
            registry,
            account,
            log,
            executors,
            routing,
            history,
            streaming,
        })
    }

    /// The core.
    pub fn hub(&self) -> &Hub {
        &self.hub
    }

    /// Identities, twins, policies.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// The built-in storage account; its router is served by a listener of its own.
    pub fn account(&self) -> &Account {
        &self.account
    }

    /// The message log, to ask how it does.
    pub fn log(&self) -> &Arc<SegmentLog> {
        &self.log
    }

    /// The service API, and what devices ask about uploads.
    pub fn http(&self) -> axum::Router {
        service_api::router(self.registry.clone(), self.hub.clone(), self.provisioning.clone())
            .merge(self.uploads.router())
            .layer(Extension(self.routing.clone()))
            .layer(Extension(self.streaming.clone()))
    }

    /// The streaming jobs.
    pub fn streaming(&self) -> &Streaming {
        &self.streaming
    }

    /// The provisioning service, for the doors.
    pub fn provisioning(&self) -> Arc<dyn Provisioning> {
        Arc::new(self.provisioning.clone())
    }

    /// The provisioning service itself.
    pub fn provisioning_service(&self) -> &ProvisioningService {
        &self.provisioning
    }

    /// What devices name the provisioning service by.
    pub fn id_scope(&self) -> &str {
        self.provisioning.id_scope()
    }

    /// The service links of AMQP.
    pub fn amqp(&self) -> Arc<dyn AmqpService> {
        Arc::new(self.links.clone())
    }

    /// Works until cancelled, then brings what is gathered to its endpoints, and closes log and registry. The doors must have let go of
    /// their connections before. An error means that the log is poisoned: only a restart helps.
    pub async fn run(self, cancel: CancellationToken) -> Result<(), Error> {
        let Self { hub, registry, account, log, executors, history, streaming, .. } = self;
        // Executors outlive the others: their drain needs log and account.
        let (stop, others) = (CancellationToken::new(), TaskTracker::new());
        {
            let (registry, stop) = (registry.clone(), stop.clone());
            others.spawn(async move { registry.run(stop).await });
        }
        {
            let (registry, hub, stop) = (registry.clone(), hub.clone(), stop.clone());
            others.spawn(async move { registry.pump_outbox(hub, stop).await });
        }
        {
            let (registry, hub, stop) = (registry.clone(), hub.clone(), stop.clone());
            others.spawn(async move { registry.run_jobs(hub, stop).await });
        }
        {
            let (registry, stop) = (registry.clone(), stop.clone());
            others.spawn(async move { registry.run_transfers(stop).await });
        }
        others.spawn(account.run(stop.clone()));
        others.spawn(history.run(stop.clone()));
        others.spawn(streaming.run(stop.clone()));
        others.spawn(retention::run(log.clone(), executors.handle(), hub.clone(), stop.clone()));
        let result = executors.run(cancel).await;
        stop.cancel();
        others.close();
        others.wait().await;
        hub.close().await;
        log.close().await;
        registry.close().await;
        Ok(result?)
    }
}

/// Why work on a thread that may block did not end: redb panics where a database file was cut short.
fn interrupted(error: tokio::task::JoinError) -> Error {
    match error.try_into_panic() {
        Ok(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|t| (*t).to_owned()));
            Error::Damaged(text.unwrap_or_else(|| "no reason told".to_owned()))
        }
        Err(_) => Error::Stopped,
    }
}

fn open_stores(storage: Arc<dyn Storage>, clock: Arc<dyn Clock>, config: &Config) -> Result<Opened, Error> {
    let folder = |name: &str| -> Result<std::path::PathBuf, std::io::Error> {
        storage.create_folder(Path::new(name))?;
        Ok(name.into())
    };
    let registry_config = match config.profile {
        Profile::Azure => registry::Config::azure(config.hub_name.clone()),
        Profile::Native => registry::Config::native(config.hub_name.clone()),
    };
    let registry = Registry::open(storage.clone(), &folder(REGISTRY)?, clock.clone(), registry_config)?;
    let log = Arc::new(SegmentLog::open(
        storage.clone(),
        &folder(LOG)?,
        config.log.to_segments(config.partitions),
    )?);
    let checkpoints = Arc::new(FileCheckpoints::open(storage.clone(), Path::new(CHECKPOINTS))?);
    let birth = birth::load_or_create(&*storage, Path::new(""), clock.now())?;
    let account_config = account::Config { name: config.account_name.clone(), keys: birth.account_keys };
    let account = Account::open(storage.clone(), &folder(ACCOUNT)?, account_config, clock)?;
    storage.sync_folder(Path::new(""))?;
    let (owner, rights) = SharedAccessPolicy::PROVISIONING_OWNER;
    registry.ensure_policy(owner, rights)?;
    let id_scope = registry.id_scope()?;
    Ok(Opened { id_scope, registry, account, log, checkpoints, created_at: birth.created_at })
}

#[cfg(test)]
mod tests;
