//! Puts the parts of a hub together, in the order in which they need each other.
//!
//! Start with [`Cloud::open`]. What it hands out (a router, AMQP links, the core) is served by the doors, which the caller owns.

mod birth;
mod config;
mod retention;

pub use config::{Config, Encoding, LogConfig, Profile, StorageEndpointConfig, StorageTarget, Throttles};

use crate::events::{self, ServiceLinks};
use crate::provisioning::ProvisioningService;
use crate::registry::{self, Registry, SeedFile, SeedRoute};
use crate::service_api;
use crate::storage::account::{self, Account};
use crate::storage::endpoint::{self, StorageEndpoint, Target};
use crate::uploads::{self, Uploads};
use ironbrook_gateway::{AmqpService, Provisioning};
use ironbrook_hub::executor::{self, Executors};
use ironbrook_hub::fabric::InProcess;
use ironbrook_hub::router::{self, Route, Router};
use ironbrook_hub::seams::{Checkpoints, Clock, Endpoint, Log, Seams};
use ironbrook_hub::{Hub, Metrics};
use ironbrook_log::{Error as LogError, FileCheckpoints, QueueId, SegmentLog, Storage};
use ironbrook_model::{MessageSource, Refusal, SharedAccessPolicy, Timestamp};
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

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
        let Opened { registry, account, log, checkpoints, created_at, id_scope } = {
            let (storage, clock, config) = (storage.clone(), clock.clone(), config.clone());
            tokio::task::spawn_blocking(move || open_stores(storage, clock, &config))
                .await
                .map_err(interrupted)??
        };
        let routes = all_routes(&config, seed)?;
        let endpoints = open_endpoints(&config, &registry, &account).await?;
        let queues: HashMap<String, QueueId> =
            endpoints.iter().map(|(id, e)| (e.name().to_owned(), *id)).collect();
        let limits = config.throttles.on(config.profile.limits());
        let router = Router::new(&routes, config.fallback_route, &queues, &limits)?;
        // Only now: a seed file with a wrong route makes no identity.
        if let Some(seed) = seed {
            let summary = registry.seed(seed).await?;
            tracing::info!(created = summary.created, kept = summary.kept, "seed file applied");
        }
        registry.set_wanted_sources(&wanted_sources(&routes));

        let seams = Seams {
            identities: Arc::new(registry.clone()),
            twins: Arc::new(registry.clone()),
            inbox: Arc::new(registry.clone()),
            log: log.clone() as Arc<dyn Log>,
            checkpoints,
            fabric: Arc::new(InProcess::new(clock.clone(), limits.methods_in_flight)),
            clock: clock.clone(),
        };
        let metrics = Metrics::new(metrics);
        let executors = Executors::new(&seams, &endpoints, executor::Config::default(), &metrics);
        let core = ironbrook_hub::Config { name: config.hub_name, hosts: config.hosts.clone(), limits };
        let hub = Hub::new(core, seams, router, metrics);
        registry.set_fabric(hub.seams().fabric.clone());
        let provisioning = ProvisioningService::new(registry.clone(), hub.clone(), id_scope);
        let links = events::Config { consumer_groups: config.consumer_groups, created_at };
        let uploads =
            Uploads::open(hub.clone(), registry.clone(), &account, &config.hosts, config.file_upload).await?;
        let links = ServiceLinks::new(hub.clone(), registry.clone(), links);
        Ok(Self { links, provisioning, uploads, hub, registry, account, log, executors })
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
        let Self { hub, registry, account, log, executors, .. } = self;
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
    let registry = Registry::open(storage.clone(), &folder("registry")?, clock.clone(), registry_config)?;
    let log = Arc::new(SegmentLog::open(
        storage.clone(),
        &folder("log")?,
        config.log.to_segments(config.partitions),
    )?);
    let checkpoints = Arc::new(FileCheckpoints::open(storage.clone(), Path::new("checkpoints"))?);
    let birth = birth::load_or_create(&*storage, Path::new(""), clock.now())?;
    let account_config = account::Config { name: config.account_name.clone(), keys: birth.account_keys };
    let account = Account::open(storage.clone(), &folder("account")?, account_config, clock)?;
    storage.sync_folder(Path::new(""))?;
    let (owner, rights) = SharedAccessPolicy::PROVISIONING_OWNER;
    registry.ensure_policy(owner, rights)?;
    let id_scope = registry.id_scope()?;
    Ok(Opened { id_scope, registry, account, log, checkpoints, created_at: birth.created_at })
}

async fn open_endpoints(
    config: &Config,
    registry: &Registry,
    account: &Account,
) -> Result<Vec<(QueueId, Arc<dyn Endpoint>)>, Error> {
    let (count, most) = (config.storage_endpoints.len(), config.profile.limits().endpoints);
    if count > most {
        return Err(Error::TooManyEndpoints(count, most));
    }
    let mut endpoints: Vec<(QueueId, Arc<dyn Endpoint>)> = Vec::new();
    for settings in &config.storage_endpoints {
        let name = settings.name.clone();
        if name == router::EVENTS || endpoints.iter().any(|(_, e)| e.name() == name) {
            return Err(Error::EndpointName(name));
        }
        let with_name = |error| Error::Endpoint { name: name.clone(), error };
        let made = settings.to_endpoint(&config.hub_name);
        if config.profile == Profile::Azure {
            made.check_azure_limits().map_err(with_name)?;
        }
        let target = match &settings.target {
            StorageTarget::BuiltIn => Target::BuiltIn(account.clone()),
            StorageTarget::ConnectionString(text) => Target::ConnectionString(text.clone()),
        };
        let endpoint = StorageEndpoint::open(made, target).await.map_err(with_name)?;
        let queue = {
            let (registry, name) = (registry.clone(), name.clone());
            tokio::task::spawn_blocking(move || registry.queue_id(&name)).await.map_err(interrupted)??
        };
        endpoints.push((queue, Arc::new(endpoint)));
    }
    Ok(endpoints)
}

/// The routes of the configuration and of the seed file; the latter replace those of the same name.
fn all_routes(config: &Config, seed: Option<&SeedFile>) -> Result<Vec<Route>, Error> {
    let mut routes = config.routes.clone();
    for route in seed.map_or(&[][..], |s| &s.routes) {
        let route = to_route(route)?;
        routes.retain(|r| r.name != route.name);
        routes.push(route);
    }
    Ok(routes)
}

fn to_route(route: &SeedRoute) -> Result<Route, Error> {
    let convert = || serde_json::from_value(serde_json::to_value(route)?);
    convert().map_err(|error: serde_json::Error| Error::SeedRoute {
        name: route.name.clone(),
        error: error.to_string(),
    })
}

fn wanted_sources(routes: &[Route]) -> Vec<MessageSource> {
    routes
        .iter()
        .filter(|r| r.enabled)
        .map(|r| r.source)
        .filter(|s| *s != MessageSource::DeviceMessages)
        .collect()
}

#[cfg(test)]
mod tests;
