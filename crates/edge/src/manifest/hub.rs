//! The desired properties of `$edgeHub`.

use super::error::{ConfigError, Findings};
use super::node::{Node, kind};
use super::schema::SchemaVersion;
use ironbrook_model::twin::Object;
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;

const ROOT: &str = "properties.desired";
/// The priority of routes that have none: after all others.
pub const PRIORITY_LAST: u32 = 2_000_000_000;
/// Highest number of a priority; 0 goes first.
const PRIORITY_MAX: i64 = 9;
/// The route while a deployment has brought none.
pub const DEFAULT_ROUTE: &str = "FROM /* INTO $upstream";

/// Routes, and how long messages are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubDesired {
    /// Its schema.
    pub schema_version: SchemaVersion,
    /// Routes by name.
    pub routes: BTreeMap<String, RouteDesired>,
    /// How long and how much is kept.
    pub store_and_forward: StoreAndForward,
}

/// One route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteDesired {
    /// The routing text, not yet read.
    pub text: String,
    /// 0 to 9, 0 first; [`PRIORITY_LAST`] where there is none.
    pub priority: u32,
    /// How long its messages are kept; the general time where there is none.
    pub time_to_live: Option<Duration>,
}

/// `storeAndForwardConfiguration`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreAndForward {
    /// How long messages are kept.
    pub time_to_live: TimeToLive,
    /// How many bytes are kept; stock hubs honour it in memory only.
    pub max_size_bytes: Option<u64>,
}

/// How long messages are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeToLive {
    /// Until they are delivered.
    ForEver,
    /// For a while, which may be none.
    For(Duration),
}

impl HubDesired {
    /// Reads the section, without `$version` and `$metadata`. The hub reports every error with code 400 and
    /// [`ConfigError::hub_description`].
    pub fn parse(desired: &Object) -> Result<Self, ConfigError> {
        if desired.keys().all(|key| key.starts_with('$')) {
            return Err(ConfigError::Empty);
        }
        let mut findings = Findings::default();
        let read = Self::read(&Node { path: ROOT.to_owned(), members: desired }, &mut findings)?;
        findings.finish(read)
    }

    /// Reads it, gathering all that is wrong but the version of the schema.
    pub(super) fn read(node: &Node<'_>, findings: &mut Findings) -> Result<Option<Self>, ConfigError> {
        let schema_version = SchemaVersion::hub(node)?;
        let objects = schema_version.minor() >= 1;
        let routes = node
            .object("routes", findings)
            .map(|node| read_routes(&node, objects, findings))
            .unwrap_or_default();
        let store = node
            .required_object("storeAndForwardConfiguration", findings)
            .map(|node| read_store_and_forward(&node, findings));
        Ok(store.map(|store_and_forward| Self { schema_version, routes, store_and_forward }))
    }
}

fn read_routes(node: &Node<'_>, objects: bool, findings: &mut Findings) -> BTreeMap<String, RouteDesired> {
    let mut routes = BTreeMap::new();
    for (name, value) in node.entries() {
        let route = match value {
            // Blank routes are how tools switch a route off.
            Value::String(text) if text.trim().is_empty() => None,
            Value::String(text) => {
                Some(RouteDesired { text: text.clone(), priority: PRIORITY_LAST, time_to_live: None })
            }
            Value::Object(_) if objects => {
                Node::new(node.at(name), value, findings).and_then(|node| read_route(&node, findings))
            }
            Value::Object(_) => {
                findings.add(node.at(name), "must be a text in schema 1.0; objects need schemaVersion 1.1");
                None
            }
            other => {
                findings.add(node.at(name), format!("must be a text or an object, and is {}", kind(other)));
                None
            }
        };
        if let Some(route) = route {
            routes.insert(name.clone(), route);
        }
    }
    routes
}

fn read_route(node: &Node<'_>, findings: &mut Findings) -> Option<RouteDesired> {
    let text = node.required_text("route", findings)?.to_owned();
    // rule AGENT-04
    let priority = node.integer("priority", 0, PRIORITY_MAX, findings);
    let seconds = node.integer("timeToLiveSecs", 0, u32::MAX.into(), findings).unwrap_or(0);
    Some(RouteDesired {
        text,
        priority: priority.and_then(|number| u32::try_from(number).ok()).unwrap_or(PRIORITY_LAST),
        time_to_live: u64::try_from(seconds).ok().filter(|seconds| *seconds > 0).map(Duration::from_secs),
    })
}

fn read_store_and_forward(node: &Node<'_>, findings: &mut Findings) -> StoreAndForward {
    let seconds = node.integer("timeToLiveSecs", i32::MIN.into(), i32::MAX.into(), findings).unwrap_or(0);
    // A negative number has no unsigned form: for ever.
    let time_to_live = u64::try_from(seconds)
        .map_or(TimeToLive::ForEver, |seconds| TimeToLive::For(Duration::from_secs(seconds)));
    let max_size_bytes = node
        .object("storeLimits", findings)
        .and_then(|limits| limits.integer("maxSizeBytes", i64::MIN, i64::MAX, findings))
        .and_then(|bytes| u64::try_from(bytes).ok());
    StoreAndForward { time_to_live, max_size_bytes }
}
