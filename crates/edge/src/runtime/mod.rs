//! The seam behind which modules run.
//!
//! [`ModuleRuntime`] is the contract, [`process`] its embedded form: modules as child processes. What is *not* here: when a module should run (that is the [`agent`](crate::agent)) and who
//! it is (that is the [`daemon`](crate::daemon)).

pub(crate) mod files;
mod logs;
pub mod process;

pub use logs::{LogLine, LogQuery, ModuleLogs};

use async_trait::async_trait;
use ironbrook_model::Timestamp;
use std::collections::BTreeMap;
use std::time::Duration;

/// How a module is made. Two specs that are equal need no re-creation.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ModuleSpec {
    /// Its name: the key in the deployment, also the module id (`edgeHub` is `$edgeHub`).
    pub name: String,
    /// Always `docker` in stock deployments, whatever runs it.
    #[serde(rename = "type")]
    pub kind: String,
    /// The image as it is written in the deployment.
    pub image: String,
    /// The body of Docker's "create container" call, an object.
    pub create_options: serde_json::Value,
    /// Environment: the deployment's, then what the agent adds.
    pub env: BTreeMap<String, String>,
}

/// The state of a module as its runtime sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ModuleState {
    /// Made, never started.
    Created,
    /// Running.
    Running,
    /// Ended or stopped; the code is the process's, 128 + signal where a signal ended it.
    Exited {
        /// The exit code.
        code: i64,
    },
    /// Cannot be started again; remove it.
    Dead,
}

/// What is known of a module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModuleInfo {
    /// How it was made.
    pub spec: ModuleSpec,
    /// A digest of what runs (`sha256:…`), empty where there is none.
    pub image_hash: String,
    /// Its state.
    pub state: ModuleState,
    /// When it was last started.
    pub started: Option<Timestamp>,
    /// When it last ended.
    pub exited: Option<Timestamp>,
    /// Process id while it runs.
    pub pid: Option<u32>,
}

/// Why a module could not be handled.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// Nothing here can run this image.
    #[error("module {module}: nothing here runs image {image}; {cure}")]
    NoImage {
        /// The module.
        module: String,
        /// The image.
        image: String,
        /// What would help.
        cure: String,
    },
    /// No module of this name.
    #[error("there is no module {0}")]
    NotFound(String),
    /// The create options ask for what cannot be given.
    #[error("module {module}: createOptions: {reason}")]
    CreateOptions {
        /// The module.
        module: String,
        /// What and why.
        reason: String,
    },
    /// The operating system refused.
    #[error("module {module}: {doing}: {source}")]
    Io {
        /// The module.
        module: String,
        /// What was being done.
        doing: &'static str,
        /// Why it failed.
        source: std::io::Error,
    },
}

/// Runs modules.
///
/// Contract: calls for one module come one at a time. `create` replaces nothing: a module of the name must not exist. `start` of
/// a running module and `stop` of a stopped one do nothing. `stop` asks first (SIGTERM), and ends by force after `grace`, the
/// module's own children included. What runs dies with this process, also when this process is killed.
///
/// `replace` keeps what a module has of its own, its state and its log; only `remove` takes that away. A module that ended by
/// itself is known as ended after a restart of this process; one that ran until then, or was stopped, as `Created`.
#[async_trait]
pub trait ModuleRuntime: Send + Sync + 'static {
    /// Makes sure that the module could be created: fetches its image, checks its options. Nothing running changes.
    async fn prepare(&self, spec: &ModuleSpec) -> Result<(), RuntimeError>;

    /// Makes a module, not yet running.
    async fn create(&self, spec: &ModuleSpec) -> Result<(), RuntimeError>;

    /// Stops a module and makes it as the new spec of its name says, not yet running; its state and log stay. An error may leave
    /// it stopped with its old spec, never half changed. Other modules are not touched.
    async fn replace(&self, spec: &ModuleSpec) -> Result<(), RuntimeError>;

    /// Starts it.
    async fn start(&self, name: &str) -> Result<(), RuntimeError>;

    /// Stops it.
    async fn stop(&self, name: &str, grace: Duration) -> Result<(), RuntimeError>;

    /// Stops and removes it, its state and its log too.
    async fn remove(&self, name: &str) -> Result<(), RuntimeError>;

    /// All modules, by name.
    async fn list(&self) -> Result<Vec<ModuleInfo>, RuntimeError>;

    /// The last lines a module wrote (standard output and error in the order they came), at most so many.
    async fn logs(&self, name: &str, tail: usize) -> Result<Vec<String>, RuntimeError>;

    /// Waits until the state of any module has changed since the last call. Cancel-safe; may return early.
    async fn changed(&self);
}
