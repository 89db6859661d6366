//! The routes of the deployment at work: checked as a whole, endpoints added before and retired after, the last good ones kept.

use super::input::ModuleInput;
use super::route::{RouteSet, Sink};
use super::scope::Scope;
use super::store::{Store, Table};
use super::upstream::{Links, Upstream};
use crate::manifest::{ConfigError, DEFAULT_ROUTE, HubDesired};
use ironbrook_hub::Hub;
use ironbrook_hub::executor::{EndpointQueue, Handle};
use ironbrook_hub::router::{WantedQueue, queue_name, wanted_queues};
use ironbrook_hub::seams::Endpoint;
use ironbrook_log::QueueId;
use ironbrook_model::twin::Object;
use ironbrook_model::{DeviceId, Identity};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Where the last good deployment is kept.
const DEPLOYMENT: &str = "deployment";
/// Where the queues of each endpoint are kept.
const QUEUES: &str = "queues";
/// Longest description of what is wrong.
const DESCRIPTION_LEN_MAX: usize = 2048;

/// How a deployment was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Status {
    pub(super) code: u16,
    pub(super) description: String,
}

impl Status {
    pub(super) fn good() -> Self {
        Self { code: 200, description: String::new() }
    }

    /// rule EDGEHUB-07: whatever is wrong with the routes is told as 400 with these words, and the old routes stay.
    fn bad(description: String) -> Self {
        let mut description = description;
        description.truncate(description.floor_char_boundary(DESCRIPTION_LEN_MAX));
        Self { code: 400, description }
    }

    fn failed(why: &dyn std::fmt::Display) -> Self {
        Self { code: 500, description: why.to_string() }
    }
}

/// A queue of an endpoint, as it is kept.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct KeptQueue {
    priority: u32,
    time_to_live_secs: u64,
}

/// Keeps routes and endpoints as the deployment says.
pub(super) struct Routing {
    device: DeviceId,
    hub: Hub,
    executors: Handle,
    links: Links,
    scope: Scope,
    store: Store,
    /// The endpoints at work; one deployment is applied at a time.
    endpoints: tokio::sync::Mutex<BTreeMap<String, Arc<dyn Endpoint>>>,
    configured: watch::Sender<bool>,
}

impl Routing {
    pub(super) fn new(
        device: DeviceId,
        hub: Hub,
        executors: Handle,
        links: Links,
        scope: Scope,
        store: Store,
    ) -> Self {
        let (endpoints, configured) = (tokio::sync::Mutex::default(), watch::Sender::new(false));
        Self { device, hub, executors, links, scope, store, endpoints, configured }
    }

    /// Whether routes of a deployment were seen, in an earlier run or since, good or bad.
    pub(super) fn configured(&self) -> watch::Receiver<bool> {
        self.configured.subscribe()
    }

    /// Applies the deployment of the last run, or the route a hub without deployment has.
    pub(super) async fn restore(&self) -> Result<(), Status> {
        let kept =
            self.store.get(Table::Settings, DEPLOYMENT).await.map_err(|error| Status::failed(&error))?;
        let kept: Option<Object> = kept.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        if let Some(kept) = kept {
            match self.apply(&kept).await {
                // Written by a newer version, or damaged: the hub has it.
                Err(status) if status.code == 400 => {
                    tracing::error!(why = status.description, "the kept routes cannot be used");
                }
                applied => {
                    self.configured.send_replace(true);
                    return applied;
                }
            }
        }
        let plain = json!({
            "schemaVersion": "1.1", "routes": {"r1": DEFAULT_ROUTE},
            "storeAndForwardConfiguration": {"timeToLiveSecs": 7200},
        });
        self.apply(plain.as_object().unwrap_or(&Object::new())).await
    }

    /// Applies a deployment's desired properties, and keeps them.
    pub(super) async fn take(&self, desired: &Object) -> Result<(), Status> {
        let applied = self.apply(desired).await;
        // Bad ones leave nothing to wait for either.
        self.configured.send_replace(true);
        applied?;
        let bytes = serde_json::to_vec(desired).unwrap_or_default();
        let kept = self.store.put(Table::Settings, vec![(DEPLOYMENT.to_owned(), Some(bytes))]).await;
        kept.map_err(|error| Status::failed(&error))
    }

    async fn apply(&self, desired: &Object) -> Result<(), Status> {
        let desired =
            HubDesired::parse(desired).map_err(|error| Status::bad(ConfigError::hub_description(&error)))?;
        let routes = RouteSet::parse(&desired)
            .map_err(|errors| Status::bad(format!("Error while parsing desired properties - {errors}")))?;
        for warning in routes.warnings() {
            tracing::warn!(warning, "a route leads nothing anywhere");
        }
        let core = routes.to_core(&self.device);
        let mut endpoints = self.endpoints.lock().await;
        let queues = self.queues(&wanted_queues(&core)).await.map_err(|error| Status::failed(&error))?;
        let numbers: HashMap<String, QueueId> = queues
            .iter()
            .flat_map(|(name, queues)| {
                queues.iter().map(|q| (queue_name(name, q.priority).into_owned(), q.id))
            })
            .collect();
        for (name, sink) in routes.sinks(&self.device) {
            let endpoint =
                endpoints.entry(name.clone()).or_insert_with(|| self.endpoint(&name, sink)).clone();
            let queues = queues.get(&name).map(Vec::as_slice).unwrap_or_default();
            self.executors.add(endpoint, queues).await.map_err(|error| Status::failed(&error))?;
        }
        let replaced = self.hub.router().replace(&core, false, &numbers);
        replaced.map_err(|error| Status::bad(format!("Error while parsing desired properties - {error}")))?;
        let gone: Vec<String> =
            endpoints.keys().filter(|name| !queues.contains_key(*name)).cloned().collect();
        for name in gone {
            self.executors.retire(&name).await;
            endpoints.remove(&name);
        }
        tracing::info!(routes = core.len(), endpoints = endpoints.len(), "routes in force");
        Ok(())
    }

    /// The queues of each endpoint, with those of earlier routes to it: what is in them still goes its way.
    async fn queues(
        &self,
        wanted: &[WantedQueue],
    ) -> Result<BTreeMap<String, Vec<EndpointQueue>>, super::store::Error> {
        let kept = self.store.get(Table::Settings, QUEUES).await?;
        let mut kept: BTreeMap<String, Vec<KeptQueue>> =
            kept.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
        kept.retain(|name, _| wanted.iter().any(|queue| queue.endpoint == *name));
        for queue in wanted {
            let time_to_live_secs = queue.time_to_live.unwrap_or(Duration::MAX).as_secs();
            let queues = kept.entry(queue.endpoint.clone()).or_default();
            queues.retain(|other| other.priority != queue.priority);
            queues.push(KeptQueue { priority: queue.priority, time_to_live_secs });
            queues.sort_by_key(|queue| queue.priority);
        }
        let bytes = serde_json::to_vec(&kept).unwrap_or_default();
        self.store.put(Table::Settings, vec![(QUEUES.to_owned(), Some(bytes))]).await?;
        let names = kept.iter().flat_map(|(name, queues)| {
            queues.iter().map(move |queue| queue_name(name, queue.priority).into_owned())
        });
        let mut ids = self.store.queues(names.collect()).await?.into_iter();
        let mut queues = BTreeMap::new();
        for (name, of_endpoint) in kept {
            let with_ids = of_endpoint.iter().zip(ids.by_ref()).map(|(queue, id)| EndpointQueue {
                id,
                priority: queue.priority,
                time_to_live: Some(Duration::from_secs(queue.time_to_live_secs)),
            });
            queues.insert(name, with_ids.collect());
        }
        Ok(queues)
    }

    fn endpoint(&self, name: &str, sink: Sink) -> Arc<dyn Endpoint> {
        match sink {
            Sink::Upstream => {
                let own = Identity::gateway(self.device.clone());
                Arc::new(Upstream::new(self.links.clone(), self.scope.clone(), own))
            }
            Sink::Input { module, input } => {
                let module = Identity::module(self.device.clone(), module);
                Arc::new(ModuleInput::new(self.hub.clone(), name.to_owned(), module, input))
            }
        }
    }
}
