//! The management API: what the tools of this machine ask. Which modules there are and how they are, their logs, a restart.
//!
//! It is served on one unix socket that only the same user can open; tools find its path in the file `edge/mgmt.path` of the
//! data folder. [`Client`] asks it. Requests and answers have the stock shapes, so that an `iotedge` command line with
//! `-H unix://…` can ask it too. The deployment decides what runs: modules are not created or removed here.

mod client;
mod frames;
mod server;
mod system;

pub use client::{Client, ClientError, Logs, Module};
pub(crate) use server::{details, router};
pub(crate) use system::host_name;

pub use crate::runtime::{LogLine, LogQuery, ModuleLogs};
use async_trait::async_trait;
use ironbrook_model::Timestamp;

/// How a module is, as lists show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModuleStatus {
    /// Its name in the deployment (`edgeHub`, not `$edgeHub`).
    pub name: String,
    /// `running`, `stopped`, `failed`, `backoff`, `unhealthy`, `dead` or `unknown`.
    pub status: String,
    /// For people: `Up 2 minutes`, `Failed (1) 5 minutes ago`.
    pub description: String,
    /// The image as the deployment writes it.
    pub image: String,
    /// When it was last started.
    pub started: Option<Timestamp>,
    /// When it last ended.
    pub exited: Option<Timestamp>,
    /// The code it last ended with.
    pub exit_code: Option<i64>,
}

/// Why a module was not restarted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RestartError {
    /// No module of this name.
    #[error("there is no module {0}")]
    NotFound(String),
    /// It is part of this process, or cannot be restarted now.
    #[error("{0}")]
    Refused(String),
}

/// Knows how the modules are; the agent's part of this API. Holds no [`Daemon`](super::Daemon), which holds it.
#[async_trait]
pub trait ModuleStatusProvider: Send + Sync + 'static {
    /// All modules, those inside this process among them, sorted by name.
    fn modules(&self) -> Vec<ModuleStatus>;

    /// Stops and starts a module; returns when that is done or refused.
    async fn restart(&self, name: &str) -> Result<(), RestartError>;
}
