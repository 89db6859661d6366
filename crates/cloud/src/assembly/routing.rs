//! Routes, endpoints and enrichments: from settings to what the core takes.

mod azure;

pub use azure::AzureRouting;

use super::{Config, Error, Profile, StorageTarget, interrupted};
use crate::endpoints::enrich::{self, Enriched, Enricher, Enrichment};
use crate::endpoints::{self, event_hub, mqtt, webhook};
use crate::registry::{Registry, SeedFile, SeedRoute};
use crate::storage::account::Account;
use crate::storage::endpoint::{StorageEndpoint, Target};
use ironbrook_hub::router::{self, Route, TwinCache};
use ironbrook_hub::seams::{Clock, Endpoint};
use ironbrook_log::QueueId;
use ironbrook_model::MessageSource;
use std::sync::Arc;

/// Enrichments of a hub. Source: Azure docs "Message enrichments".
const ENRICHMENTS_MAX: usize = 10;

/// What is routed where besides routes and storage endpoints.
#[derive(Debug, Clone, Default)]
pub struct Routing {
    /// Endpoints elsewhere.
    pub endpoints: Vec<EndpointConfig>,
    /// Properties added to messages on their way.
    pub enrichments: Vec<Enrichment>,
}

/// An endpoint elsewhere.
#[derive(Debug, Clone)]
pub struct EndpointConfig {
    /// Its name in routes.
    pub name: String,
    /// What it is.
    pub kind: EndpointKind,
}

/// What an endpoint elsewhere is.
#[derive(Debug, Clone)]
pub enum EndpointKind {
    /// A web hook.
    Webhook(webhook::Config),
    /// An event hub, or a device of another hub.
    EventHub(event_hub::Config),
    /// An MQTT broker.
    Mqtt(mqtt::Config),
}

impl EndpointConfig {
    fn open(&self, config: &Config, clock: &Arc<dyn Clock>) -> Result<Arc<dyn Endpoint>, Error> {
        let (name, hub) = (self.name.as_str(), config.hub_name.as_str());
        let opened = match &self.kind {
            EndpointKind::Webhook(settings) => {
                let clock = Arc::clone(clock);
                webhook::Webhook::open(name, hub, settings.clone(), config.partitions, clock)
                    .map(|endpoint| Arc::new(endpoint) as Arc<dyn Endpoint>)
            }
            EndpointKind::EventHub(settings) => event_hub::EventHub::open(name, settings.clone())
                .map(|endpoint| Arc::new(endpoint) as Arc<dyn Endpoint>),
            EndpointKind::Mqtt(settings) => mqtt::Mqtt::open(name, hub, settings.clone())
                .map(|endpoint| Arc::new(endpoint) as Arc<dyn Endpoint>),
        };
        opened.map_err(|error| elsewhere(name, error))
    }
}

fn elsewhere(name: &str, error: endpoints::Error) -> Error {
    Error::Elsewhere { name: name.to_owned(), error }
}

/// Takes what a seed file has under `routing` into the settings.
pub(super) fn take_seed(config: &mut Config, seed: Option<&SeedFile>) -> Result<(), Error> {
    let Some(routing) = seed.and_then(|seed| seed.routing.as_ref()) else { return Ok(()) };
    routing.clone().apply(config).map_err(|error| Error::Routing(format!("the seed file: {error}")))
}

/// Checks what no part sees alone.
pub(super) fn check(config: &Config) -> Result<(), Error> {
    let (count, most) = (names(config).count(), config.profile.limits().endpoints);
    if count > most {
        return Err(Error::TooManyEndpoints(count, most));
    }
    let mut known: Vec<&str> = vec![router::EVENTS];
    for name in names(config) {
        if known.contains(&name) {
            return Err(Error::EndpointName(name.to_owned()));
        }
        known.push(name);
    }
    let enrichments = &config.routing.enrichments;
    if enrichments.len() > ENRICHMENTS_MAX {
        let text = format!("{} enrichments; {ENRICHMENTS_MAX} are allowed", enrichments.len());
        return Err(Error::Routing(text));
    }
    for enrichment in enrichments {
        if let Some(name) = enrichment.endpoints.iter().find(|name| !known.contains(&name.as_str())) {
            let text = format!("enrichment {}: there is no endpoint {name}", enrichment.key);
            return Err(Error::Routing(text));
        }
    }
    Ok(())
}

fn names(config: &Config) -> impl Iterator<Item = &str> {
    let stores = config.storage_endpoints.iter().map(|endpoint| endpoint.name.as_str());
    stores.chain(config.routing.endpoints.iter().map(|endpoint| endpoint.name.as_str()))
}

/// Twins as far as enrichments name them.
pub(super) fn twins(config: &Config, registry: &Registry) -> Result<Arc<TwinCache>, Error> {
    let paths = enrich::twin_paths(&config.routing.enrichments).map_err(Error::Routing)?;
    Ok(TwinCache::new(Arc::new(registry.clone()), &paths))
}

/// What is added on the way to an endpoint.
pub(super) fn enricher(
    endpoint: &str,
    config: &Config,
    twins: &Arc<TwinCache>,
) -> Result<Option<Enricher>, Error> {
    let most = config.profile.limits().telemetry_bytes;
    Enricher::new(endpoint, &config.routing.enrichments, &config.hub_name, twins, most)
        .map_err(Error::Routing)
}

/// Opens all endpoints, with the numbers of their queues.
pub(super) async fn open(
    config: &Config,
    registry: &Registry,
    account: &Account,
    twins: &Arc<TwinCache>,
    clock: &Arc<dyn Clock>,
) -> Result<Vec<(QueueId, Arc<dyn Endpoint>)>, Error> {
    let mut opened: Vec<Arc<dyn Endpoint>> = Vec::new();
    for settings in &config.storage_endpoints {
        let name = settings.name.clone();
        let with_name = |error| Error::Endpoint { name: name.clone(), error };
        let made = settings.to_endpoint(&config.hub_name);
        if config.profile == Profile::Azure {
            made.check_azure_limits().map_err(with_name)?;
        }
        let target = match &settings.target {
            StorageTarget::BuiltIn => Target::BuiltIn(account.clone()),
            StorageTarget::ConnectionString(text) => Target::ConnectionString(text.clone()),
            StorageTarget::S3(settings) => Target::S3(settings.clone()),
            StorageTarget::Folder(path) => Target::Folder(path.clone()),
        };
        opened.push(Arc::new(StorageEndpoint::open(made, target).await.map_err(with_name)?));
    }
    for settings in &config.routing.endpoints {
        opened.push(settings.open(config, clock)?);
    }
    let mut endpoints = Vec::with_capacity(opened.len());
    for endpoint in opened {
        let queue = {
            let (registry, name) = (registry.clone(), endpoint.name().to_owned());
            tokio::task::spawn_blocking(move || registry.queue_id(&name)).await.map_err(interrupted)??
        };
        let endpoint: Arc<dyn Endpoint> = match enricher(endpoint.name(), config, twins)? {
            None => endpoint,
            Some(enricher) => Arc::new(Enriched::new(endpoint, enricher)),
        };
        endpoints.push((queue, endpoint));
    }
    Ok(endpoints)
}

/// The routes of the configuration and of the seed file; the latter replace those of the same name.
pub(super) fn all_routes(config: &Config, seed: Option<&SeedFile>) -> Result<Vec<Route>, Error> {
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

pub(super) fn wanted_sources(routes: &[Route]) -> Vec<MessageSource> {
    routes
        .iter()
        .filter(|r| r.enabled)
        .map(|r| r.source)
        .filter(|s| *s != MessageSource::DeviceMessages)
        .collect()
}
