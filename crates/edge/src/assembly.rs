//! Puts the parts of an edge device together, in the order in which they need each other.
//!
//! Start with [`Edge::open`]. What it hands out (the core, HTTP routes, TLS settings) is served by the doors, which the caller owns.

mod first_routes;
mod known;

use crate::agent::{self, Agent, ClientTwin, FileStore};
use crate::daemon::{self, Daemon, ModuleIdentity};
use crate::hub::upstream::LinksConfig;
use crate::hub::{self, Access, EdgeHub};
use crate::runtime::ModuleRuntime;
use crate::runtime::process::{ImageCommand, ProcessConfig, ProcessRuntime};
use arc_swap::ArcSwap;
use first_routes::FirstRoutes;
use ironbrook_client::{Builder, DeviceClient, DeviceRegistryClient, Transport, Trust};
use ironbrook_hub::Hub;
use ironbrook_hub::seams::Clock;
use ironbrook_log::{Keys, Storage, SyncPolicy};
use ironbrook_model::{
    ConnectionString, ConnectionStringError, DeviceId, IdError, Identity, ModuleId, SharedAccessKey,
};
use known::Known;
use rustls::ServerConfig;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The module id of the agent.
const AGENT: &str = "$edgeAgent";
/// How long a start waits for the hub where the identities are known from before.
const KNOWN_WAIT: Duration = Duration::from_secs(3);
/// Pause before the hub is asked again for the identities of the system modules, at first and at most.
const AGAIN_FIRST: Duration = Duration::from_millis(500);
const AGAIN_LONGEST: Duration = Duration::from_secs(30);

/// The folder of everything an edge device keeps, in the data folder.
pub const FOLDER: &str = "edge";

/// What an edge device is. `Debug` shows no key.
#[derive(Clone)]
pub struct Config {
    /// The device's connection string: `HostName`, `DeviceId`, `SharedAccessKey`. A port in `HostName` is that of MQTT.
    pub connection_string: String,
    /// Whom to believe about the hub.
    pub trust: Trust,
    /// Where the hub's MQTT door is, if not where its host name leads.
    pub mqtt_address: Option<SocketAddr>,
    /// Where the hub's HTTPS door is, if not where its host name leads.
    pub https_address: Option<SocketAddr>,
    /// The name under which modules and devices reach this machine.
    pub gateway_host: String,
    /// More names and addresses of this machine, for the certificate and as audience of tokens.
    pub names: Vec<String>,
    /// Authorities that modules shall trust besides the edge CA: a PEM file.
    pub extra_trust: Option<PathBuf>,
    /// The data folder; the root of the storage that is handed in. Everything is below `edge/`.
    pub data_dir: PathBuf,
    /// Where the folder of sockets is made; `XDG_RUNTIME_DIR` or the folder for temporary files by default.
    pub runtime_dir: Option<PathBuf>,
    /// The ironbrook program, which runs the built-in modules.
    pub program: PathBuf,
    /// Repository suffix of each built-in module, and the program's arguments that run it.
    pub builtin: Vec<(String, Vec<String>)>,
    /// Further images that may run, and what runs for them.
    pub images: Vec<ImageCommand>,
    /// Reported as the agent's image while nothing is deployed.
    pub agent_image: String,
    /// Connections to the hub on behalf of clients.
    pub links: LinksConfig,
    /// When messages are synced, and so acknowledged.
    pub sync: SyncPolicy,
    /// Keys for encryption of the log at rest; nothing is encrypted without.
    pub keys: Keys,
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("gateway_host", &self.gateway_host)
            .field("data_dir", &self.data_dir)
            .finish_non_exhaustive()
    }
}

/// Why an edge device cannot be put together or go on. No text holds a secret.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The connection string.
    #[error("the device's connection string: {0}")]
    ConnectionString(#[from] ConnectionStringError),
    /// The device's id.
    #[error("the device's id: {0}")]
    Id(#[from] IdError),
    /// A client cannot be made from the settings.
    #[error(transparent)]
    Client(#[from] ironbrook_client::Error),
    /// The daemon.
    #[error(transparent)]
    Daemon(#[from] daemon::Error),
    /// The edge hub.
    #[error("edge hub: {0}")]
    Hub(#[from] hub::Error),
    /// The module runtime.
    #[error("module runtime: {0}")]
    Runtime(std::io::Error),
}

/// An edge device with everything but its doors.
pub struct Edge {
    upstream: Upstream,
    daemon: Daemon,
    hub: EdgeHub,
    runtime: Arc<ProcessRuntime>,
    agent_config: agent::Config,
    agent_metrics: agent::Metrics,
    storage: Arc<dyn Storage>,
    clock: Arc<dyn Clock>,
}

/// How the hub is reached.
#[derive(Clone)]
struct Upstream {
    host: String,
    device: DeviceId,
    key: SharedAccessKey,
    mqtt: Transport,
    https: Transport,
}

impl Upstream {
    fn new(config: &Config) -> Result<Self, Error> {
        let parts = ConnectionString::parse(&config.connection_string)?;
        let (host, port) = split_port(parts.require("HostName")?);
        // Read once: every connection shares it.
        let trust = config.trust.load()?;
        let to = |address: Option<SocketAddr>| {
            let transport = Transport::new(trust.clone());
            match address {
                Some(address) => transport.address(address),
                None => transport,
            }
        };
        let mqtt = to(config.mqtt_address);
        Ok(Self {
            device: DeviceId::new(parts.require("DeviceId")?.to_owned())?,
            key: parts.require_key("SharedAccessKey")?,
            mqtt: match port {
                Some(port) => mqtt.port(port),
                None => mqtt,
            },
            https: to(config.https_address),
            host: host.to_owned(),
        })
    }

    fn registry(&self, identity: Identity, key: SharedAccessKey) -> Result<DeviceRegistryClient, Error> {
        let builder = DeviceRegistryClient::with_key(self.host.clone(), identity, key);
        Ok(builder.transport(self.https.clone()).build()?)
    }

    fn connection(&self, identity: Identity, key: SharedAccessKey) -> Builder {
        Builder::with_key(self.host.clone(), identity, key).transport(self.mqtt.clone())
    }
}

/// A host name without its port.
fn split_port(host: &str) -> (&str, Option<u16>) {
    match host.rsplit_once(':').map(|(name, port)| (name, port.parse().ok())) {
        Some((name, Some(port))) => (name, Some(port)),
        _ => (host, None),
    }
}

impl Edge {
    /// Opens everything and recovers what is there; needs no hub. Must be called inside a tokio runtime. `storage` has
    /// [`Config::data_dir`] as its root.
    pub async fn open(
        config: Config,
        storage: Arc<dyn Storage>,
        clock: Arc<dyn Clock>,
        metrics: &mut prometheus_client::registry::Registry,
    ) -> Result<Self, Error> {
        let upstream = Upstream::new(&config)?;
        let device = Identity::device(upstream.device.clone());
        let registry = upstream.registry(device, upstream.key.clone())?;
        let daemon_config = daemon::Config {
            hub_host: upstream.host.clone(),
            device: upstream.device.clone(),
            device_key: upstream.key.clone(),
            gateway_host: config.gateway_host.clone(),
            names: config.names.clone(),
            extra_trust: config.extra_trust,
            data_dir: config.data_dir.clone(),
            runtime_dir: config.runtime_dir,
        };
        let daemon = Daemon::open(daemon_config, Arc::new(registry), clock.clone())?;
        let mut hub_config = hub::Config::new(upstream.device.clone(), upstream.host.clone());
        hub_config.gateway_hosts.push(config.gateway_host);
        hub_config.gateway_hosts.extend(config.names);
        hub_config.links = config.links;
        (hub_config.sync, hub_config.keys) = (config.sync, config.keys);
        let hub = EdgeHub::open(storage.clone(), clock.clone(), hub_config, metrics).await?;
        let runtime = ProcessRuntime::new(ProcessConfig {
            program: config.program,
            builtin: config.builtin,
            images: config.images,
            data_dir: config.data_dir,
            clock: clock.clone(),
        });
        let runtime = Arc::new(runtime.map_err(Error::Runtime)?);
        daemon.set_logs(runtime.clone());
        let agent_config = agent::Config {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            agent_image: config.agent_image,
            hub_host: upstream.host.clone(),
            device: upstream.device.to_string(),
        };
        let agent_metrics = agent::Metrics::new(metrics);
        Ok(Self { upstream, daemon, hub, runtime, agent_config, agent_metrics, storage, clock })
    }

    /// The core, for the doors.
    pub fn hub(&self) -> &Hub {
        self.hub.hub()
    }

    /// What others ask of the edge hub.
    pub fn handle(&self) -> hub::Handle {
        self.hub.handle()
    }

    /// HTTP routes for the doors.
    pub fn http(&self) -> axum::Router {
        self.hub.http()
    }

    /// The TLS settings for the doors; replaced in place on renewal.
    pub fn tls(&self) -> Arc<ArcSwap<ServerConfig>> {
        self.daemon.server_config()
    }

    /// Identities, certificates and sockets.
    pub fn daemon(&self) -> &Daemon {
        &self.daemon
    }

    /// Works until cancelled, then stops the modules, lets endpoints end what they began, and closes everything. An error means
    /// that the log is poisoned: only a restart helps.
    pub async fn run(self, cancel: CancellationToken) -> Result<(), Error> {
        let Self { upstream, daemon, hub, runtime, agent_config, agent_metrics, storage, clock } = self;
        let handle = hub.handle();
        // The agent ends first: its modules still have their hub then.
        let (stop_daemon, stop_hub, others) =
            (CancellationToken::new(), CancellationToken::new(), TaskTracker::new());
        others.spawn(daemon.clone().run(stop_daemon.clone()));
        let hub = hub.run(stop_hub.clone());
        let first = FirstRoutes::new(handle.configured(), clock.clone(), cancel.clone());
        let identities = Known::new(daemon.clone(), handle.clone(), upstream.device.clone(), first);
        let start = Start { upstream, daemon, clock: clock.clone() };
        let agent = async {
            let Some(client) = start.connect(&handle, &cancel).await? else { return Ok(()) };
            let seams = agent::Seams {
                twin: Arc::new(ClientTwin::new(client.clone())),
                identities: Arc::new(identities),
                runtime: runtime.clone() as Arc<dyn ModuleRuntime>,
                logs: runtime.clone(),
                clock,
                store: Arc::new(FileStore::new(storage, "edge/agent")),
            };
            let agent = Agent::new(agent_config, seams, agent_metrics);
            start.daemon.set_modules(Arc::new(agent.handle()));
            agent.run(cancel.clone()).await;
            // What it reported last is on its way; an error means that the hub is away.
            let _ = client.close().await;
            Ok::<(), Error>(())
        };
        tokio::pin!(hub, agent);
        let result = tokio::select! {
            biased;
            ended = &mut hub => {
                // Poisoned: nothing can be taken any more, so nothing shall go on as if it could.
                cancel.cancel();
                let stopped = agent.await;
                ended.map_err(Error::from).and(stopped)
            }
            stopped = &mut agent => {
                if stopped.is_ok() {
                    cancel.cancelled().await;
                }
                stop_hub.cancel();
                hub.await.map_err(Error::from).and(stopped)
            }
        };
        stop_daemon.cancel();
        others.close();
        others.wait().await;
        result
    }
}

/// The beginning: credentials of the system modules.
struct Start {
    upstream: Upstream,
    daemon: Daemon,
    clock: Arc<dyn Clock>,
}

impl Start {
    /// Connects the edge hub, and gives the agent's client; `None` where the stop came first.
    async fn connect(
        &self,
        hub: &hub::Handle,
        cancel: &CancellationToken,
    ) -> Result<Option<DeviceClient>, Error> {
        let identities = async { tokio::join!(self.identity(ModuleId::GATEWAY), self.identity(AGENT)) };
        let (own, agent) = tokio::select! {
            biased;
            () = cancel.cancelled() => return Ok(None),
            both = identities => both,
        };
        let key = self.daemon.module_key(ModuleId::GATEWAY)?;
        let own = Identity::module(self.upstream.device.clone(), own.module_id);
        hub.connect(Access {
            connection: self.upstream.connection(own.clone(), key.clone()),
            registry: self.upstream.registry(own, key)?,
        });
        let agent = Identity::module(self.upstream.device.clone(), agent.module_id);
        let client = self.upstream.connection(agent, self.daemon.module_key(AGENT)?);
        Ok(Some(client.retry_unauthorized(true).start()?))
    }

    /// The identity of a system module; asked for until there is one.
    async fn identity(&self, module: &str) -> ModuleIdentity {
        let mut pause = AGAIN_FIRST;
        loop {
            let known = self.daemon.known_identity(module);
            let asked = tokio::select! {
                biased;
                asked = self.daemon.ensure_identity(module) => asked,
                () = self.clock.sleep(KNOWN_WAIT), if known.is_some() => match known {
                    Some(known) => Ok(known),
                    None => continue,
                },
            };
            match asked {
                Ok(identity) => return identity,
                Err(error) => {
                    tracing::warn!(module, %error, "a system module has no identity at the hub yet; trying again");
                    self.clock.sleep(pause).await;
                    pause = (pause * 2).min(AGAIN_LONGEST);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
