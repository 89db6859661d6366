//! Who the modules are: their identities in the hub, their keys and certificates, and the sockets through which they and the
//! tools ask for them.
//!
//! Start with [`Daemon`]. [`identities`] makes module identities with the device's credential, [`certificates`] has the edge CA
//! and what it signs, `workload` answers a module's requests, [`management`] those of the command line.
//!
//! What is *not* here: when a module runs ([`agent`](crate::agent)) and how ([`runtime`](crate::runtime)).

pub mod certificates;
mod cipher;
mod files;
pub mod identities;
pub mod management;
mod server;
mod sockets;
mod workload;

use arc_swap::ArcSwap;
use certificates::Certificates;
use cipher::Cipher;
use identities::Identities;
pub use identities::{ModuleIdentity, ModuleRegistry, RegistryError};
use ironbrook_hub::seams::Clock;
use ironbrook_model::{DeviceId, IdError, SharedAccessKey};
use management::{ModuleLogs, ModuleStatusProvider};
use rustls::ServerConfig;
use sockets::{Folder, Socket};
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

/// The newest version of the workload API; what modules are told to use.
pub const API_VERSION: &str = "2022-08-03";
/// How long requests may take to end after the stop was asked for.
const DRAIN_TIME: Duration = Duration::from_secs(5);

/// What the daemon must know. `Debug` shows no key.
#[derive(Debug, Clone)]
pub struct Config {
    /// The hub's host name, as modules name it in tokens (`IOTEDGE_IOTHUBHOSTNAME`).
    pub hub_host: String,
    /// This device.
    pub device: DeviceId,
    /// Its key; keys of modules are derived from it.
    pub device_key: SharedAccessKey,
    /// The name under which modules reach this machine's hub (`IOTEDGE_GATEWAYHOSTNAME`); in the server's certificate.
    pub gateway_host: String,
    /// More DNS names and IP addresses for the server's certificate; loopback and the host name are added.
    pub names: Vec<String>,
    /// Authorities that modules shall trust besides the edge CA: a PEM file.
    pub extra_trust: Option<PathBuf>,
    /// The data folder; everything here is below `edge/`.
    pub data_dir: PathBuf,
    /// Where the folder of sockets is made; `XDG_RUNTIME_DIR` or the folder for temporary files by default.
    pub runtime_dir: Option<PathBuf>,
}

/// Why something could not be had from the daemon. No text holds a secret.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or socket cannot be made, read or written.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The hub said no or did not answer.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// Not a module id.
    #[error("module {module:?}: {source}")]
    Id {
        /// The text.
        module: String,
        /// Why.
        source: IdError,
    },
    /// The module was never seen at the hub.
    #[error("module {0} has no identity yet; it gets one as soon as the hub can be reached")]
    NoIdentity(String),
    /// A certificate cannot be made or used.
    #[error("certificate: {0}")]
    Certificate(String),
    /// Sockets cannot be served from a folder.
    #[error("{0}")]
    Socket(String),
}

/// What a module is started with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModuleEnvironment {
    /// The stock variables, `IOTEDGE_WORKLOADURI` and the others. They hold no key.
    pub variables: Vec<(String, String)>,
    /// The module's own workload socket.
    pub socket: PathBuf,
}

/// What both APIs answer from.
pub(crate) struct Services {
    hub_host: String,
    device: DeviceId,
    identities: Identities,
    certificates: Certificates,
    cipher: Cipher,
    clock: Arc<dyn Clock>,
    modules: OnceLock<Arc<dyn ModuleStatusProvider>>,
    logs: OnceLock<Arc<dyn ModuleLogs>>,
}

struct Inner {
    services: Arc<Services>,
    gateway_host: String,
    folder: Folder,
    management_socket: PathBuf,
    sockets: Mutex<HashMap<String, Socket>>,
    tracker: TaskTracker,
    stop: CancellationToken,
    _stop_with_the_last_handle: DropGuard,
}

/// The daemon; a cheap handle. Sockets are served from the moment they are added until [`run`](Self::run) is cancelled or the
/// last handle is dropped.
#[derive(Clone)]
pub struct Daemon {
    inner: Arc<Inner>,
}

impl Daemon {
    /// Opens what is kept in the data folder, or makes it at first use, and serves the management socket. Needs no hub. Must be
    /// called inside a tokio runtime.
    pub fn open(
        config: Config,
        registry: Arc<dyn ModuleRegistry>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, Error> {
        let home = config.data_dir.join(crate::assembly::FOLDER);
        files::make_folder(&home)?;
        let folder = Folder::open(&config.data_dir, config.runtime_dir.as_deref())?;
        let socket = folder.bind("mgmt")?;
        let services = Arc::new(Services {
            identities: Identities::open(&home, &config, registry, clock.clone())?,
            certificates: Certificates::open(&home, &config, clock.clone())?,
            cipher: Cipher::open(&home)?,
            hub_host: config.hub_host,
            device: config.device,
            clock,
            modules: OnceLock::new(),
            logs: OnceLock::new(),
        });
        files::write(&home.join(sockets::MANAGEMENT_PATH_FILE), path_text(socket.path())?.as_bytes(), 0o600)?;
        let (tracker, stop) = (TaskTracker::new(), CancellationToken::new());
        let management_socket = socket.path().to_owned();
        tracker.spawn(server::serve(socket, management::router(services.clone()), stop.clone()));
        Ok(Self {
            inner: Arc::new(Inner {
                services,
                gateway_host: config.gateway_host,
                folder,
                management_socket,
                sockets: Mutex::default(),
                tracker,
                _stop_with_the_last_handle: stop.clone().drop_guard(),
                stop,
            }),
        })
    }

    /// Tells who knows how the modules are; the first call counts.
    pub fn set_modules(&self, modules: Arc<dyn ModuleStatusProvider>) {
        let _ = self.inner.services.modules.set(modules);
    }

    /// Tells who keeps what the modules write; the first call counts.
    pub fn set_logs(&self, logs: Arc<dyn ModuleLogs>) {
        let _ = self.inner.services.logs.set(logs);
    }

    /// Makes sure that the hub knows a module with the keys derived here. `module` is the module id (`$edgeHub`) or the name in a
    /// deployment (`edgeHub`). Without a hub the identity kept on disk is given.
    pub async fn ensure_identity(&self, module: &str) -> Result<ModuleIdentity, Error> {
        self.inner.services.identities.ensure(module).await
    }

    /// All module identities of this device: the hub's list, or without a hub those kept on disk.
    pub async fn identities(&self) -> Result<Vec<ModuleIdentity>, Error> {
        self.inner.services.identities.list().await
    }

    /// Removes a module's identity from the hub; one that is not there is as good as removed. Fails without a hub.
    pub async fn remove_identity(&self, module: &str) -> Result<(), Error> {
        self.inner.services.identities.remove(module).await
    }

    /// The identity as it is kept here, without asking the hub.
    pub fn known_identity(&self, module: &str) -> Option<ModuleIdentity> {
        self.inner.services.identities.known(module)
    }

    /// The key with which a module signs, for what runs inside this process.
    pub fn module_key(&self, module: &str) -> Result<SharedAccessKey, Error> {
        self.inner.services.identities.key(module)
    }

    /// Opens a module's workload socket and tells with which environment it is to be started. Makes the identity if there is none
    /// yet. Calling it again changes nothing.
    pub async fn add_module(&self, module: &str) -> Result<ModuleEnvironment, Error> {
        let identity = match self.known_identity(module) {
            Some(identity) => identity,
            None => self.ensure_identity(module).await?,
        };
        let socket = self.open_socket(&identity)?;
        let services = &self.inner.services;
        let variables = [
            ("IOTEDGE_WORKLOADURI", format!("unix://{}", path_text(&socket)?)),
            ("IOTEDGE_APIVERSION", API_VERSION.to_owned()),
            ("IOTEDGE_AUTHSCHEME", "sasToken".to_owned()),
            ("IOTEDGE_DEVICEID", services.device.to_string()),
            ("IOTEDGE_MODULEID", identity.module_id.to_string()),
            ("IOTEDGE_MODULEGENERATIONID", identity.generation_id),
            ("IOTEDGE_IOTHUBHOSTNAME", services.hub_host.clone()),
            ("IOTEDGE_GATEWAYHOSTNAME", self.inner.gateway_host.clone()),
        ];
        let variables = variables.map(|(name, value)| (name.to_owned(), value)).into();
        Ok(ModuleEnvironment { variables, socket })
    }

    fn open_socket(&self, identity: &ModuleIdentity) -> Result<PathBuf, Error> {
        let name = bare_name(identity.module_id.as_str()).to_owned();
        let mut sockets = self.inner.sockets.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(socket) = sockets.get(&name) {
            return Ok(socket.path.clone());
        }
        let listener = self.inner.folder.bind(&name)?;
        let socket = Socket { path: listener.path().to_owned(), stop: self.inner.stop.child_token() };
        let router = workload::router(name.clone(), self.inner.services.clone());
        self.inner.tracker.spawn(server::serve(listener, router, socket.stop.clone()));
        let path = socket.path.clone();
        sockets.insert(name, socket);
        Ok(path)
    }

    /// Closes and removes a module's socket. Its identity stays; see [`remove_identity`](Self::remove_identity).
    pub fn remove_module(&self, module: &str) {
        let mut sockets = self.inner.sockets.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(socket) = sockets.remove(bare_name(module)) {
            // The path must be free at once: the same module may be added again before the server has ended.
            socket.close();
        }
    }

    /// The TLS settings of this machine's hub; replaced in place on renewal.
    pub fn server_config(&self) -> Arc<ArcSwap<ServerConfig>> {
        self.inner.services.certificates.server_config()
    }

    /// What modules and devices behind this machine must trust: the edge CA, while it is being replaced the old and the new, and
    /// the configured file. PEM.
    pub fn trust_bundle_pem(&self) -> Arc<String> {
        self.inner.services.certificates.trust_bundle()
    }

    /// Where the management API is served.
    pub fn management_socket(&self) -> &std::path::Path {
        &self.inner.management_socket
    }

    /// Renews certificates until cancelled, then closes all sockets.
    pub async fn run(self, cancel: CancellationToken) {
        self.inner.services.certificates.run(&cancel).await;
        self.inner.stop.cancel();
        self.inner.tracker.close();
        if tokio::time::timeout(DRAIN_TIME, self.inner.tracker.wait()).await.is_err() {
            tracing::warn!("workload requests did not end in time and are cut");
        }
        self.inner.folder.remove();
    }
}

/// A module's name as the workload API compares it: without the dollar of the system modules.
fn bare_name(module: &str) -> &str {
    module.strip_prefix('$').unwrap_or(module)
}

fn path_text(path: &std::path::Path) -> Result<&str, Error> {
    path.to_str()
        .ok_or_else(|| Error::Socket(format!("{} is not UTF-8; set another runtime folder", path.display())))
}

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
