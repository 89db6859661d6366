//! What the agent stands on, besides the [`ModuleRuntime`](crate::runtime::ModuleRuntime): its own twin, who the modules are, and
//! where it keeps what it must remember.

use async_trait::async_trait;
use ironbrook_model::twin::Object;
use serde_json::Value;
use std::collections::BTreeSet;
use std::io;
use tokio::sync::oneshot;

/// Both sections of the agent's twin, without `$version` and `$metadata`.
#[derive(Debug, Clone, PartialEq)]
pub struct FullTwin {
    /// What is deployed.
    pub desired: Object,
    /// `$version` of `desired`.
    pub desired_version: u64,
    /// What was reported last.
    pub reported: Object,
}

/// A change to the desired properties.
#[derive(Debug, Clone, PartialEq)]
pub struct DesiredChange {
    /// `$version` after the change.
    pub version: u64,
    /// The changed members, `null` for removed ones; or all members where `complete`.
    pub properties: Object,
    /// Whether `properties` is the whole section.
    pub complete: bool,
}

/// Why the hub did not do as asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TwinError {
    /// It understood and said no.
    #[error("refused with {status}: {message}")]
    Refused {
        /// The status of the answer.
        status: u16,
        /// The hub's text.
        message: String,
    },
    /// It could not be reached, or did not answer; later it may.
    #[error("{0}")]
    Away(String),
}

/// The answer to a direct method.
#[derive(Debug, Clone, PartialEq)]
pub struct MethodAnswer {
    /// 200, 400 or 500.
    pub status: i32,
    /// Any JSON.
    pub payload: Value,
}

/// A call of a direct method.
#[derive(Debug)]
pub struct MethodRequest {
    /// Its name, in any case.
    pub name: String,
    /// The payload, `null` if there was none.
    pub payload: Value,
    /// Where the answer goes. Dropped, the caller waits in vain.
    pub answer: oneshot::Sender<MethodAnswer>,
}

/// The agent's own connection to the hub: the twin and the direct methods of `$edgeAgent`.
#[async_trait]
pub trait AgentTwin: Send + Sync + 'static {
    /// Reads the whole twin.
    async fn get(&self) -> Result<FullTwin, TwinError>;

    /// Waits for the next change of the desired properties. Cancel-safe; never returns once the connection was closed for good.
    async fn changed(&self) -> DesiredChange;

    /// Merges into the reported properties.
    async fn report(&self, patch: &Object) -> Result<(), TwinError>;

    /// Waits for the next call of a direct method. Cancel-safe; never returns once the connection was closed for good.
    async fn method(&self) -> MethodRequest;
}

/// Why an identity could not be had. The text names cause and cure, and no secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct IdentityError(pub String);

/// Who the modules are: what the [`daemon`](crate::daemon) does for the agent. Modules are named as in the deployment.
#[async_trait]
pub trait Identities: Send + Sync + 'static {
    /// Makes sure that a module has its identity, its keys and its workload socket, and gives the environment it finds them by.
    /// Works without the hub for a module that was known before.
    async fn ensure(&self, module: &str) -> Result<Vec<(String, String)>, IdentityError>;

    /// The modules whose identities were made for deployments. The runtime's own are not among them.
    async fn managed(&self) -> Result<BTreeSet<String>, IdentityError>;

    /// Removes a module's identity from the hub.
    async fn remove(&self, module: &str) -> Result<(), IdentityError>;

    /// Closes a module's workload socket. Its identity stays.
    async fn release(&self, module: &str);
}

/// A few small files that survive a restart. Both calls see only whole files, whatever happened in between.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// The content of a file; `None` where there is none.
    async fn load(&self, name: &'static str) -> io::Result<Option<Vec<u8>>>;

    /// Replaces a file's content; durable when it returns.
    async fn save(&self, name: &'static str, content: Vec<u8>) -> io::Result<()>;
}
