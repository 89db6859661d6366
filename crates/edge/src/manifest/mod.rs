//! The deployment, as the twins of `$edgeAgent` and `$edgeHub` bring it, and the document that people write.
//!
//! - [`AgentDesired`]: which modules run and how; [`HubDesired`]: routes, and how long messages are kept.
//! - [`ConfigError`]: why such a section cannot be used, with the code that is reported for it.
//! - [`Manifest`]: the whole document with the twins of the modules; [`Manifest::validate`] gives all findings before it is sent.
//!
//! Keys are found in any case, as stock agents read them. What is *not* here: the text of a route, which the edge hub reads; and
//! everything that happens because of a deployment, which is the [`agent`](crate::agent)'s.

mod agent;
mod create_options;
mod document;
mod error;
mod hub;
mod image;
mod module;
mod node;
mod schema;
#[cfg(test)]
mod tests;

pub(crate) use agent::without_passwords;
pub use agent::{AgentDesired, RegistryCredential, RuntimeSettings, SystemModules};
pub use document::{Manifest, ManifestError};
pub use error::{ConfigError, Finding};
pub use hub::{DEFAULT_ROUTE, HubDesired, PRIORITY_LAST, RouteDesired, StoreAndForward, TimeToLive};
pub use module::{DesiredStatus, EnvironmentMap, ModuleDesired, PullPolicy, RestartPolicy, STARTUP_LAST};
pub use schema::SchemaVersion;

/// The name of the agent's entry in a deployment; its module id is `$edgeAgent`.
pub const EDGE_AGENT: &str = "edgeAgent";
/// The name of the edge hub's entry in a deployment; its module id is `$edgeHub`.
pub const EDGE_HUB: &str = "edgeHub";
