//! Routing as an Azure hub has it: the `properties.routing` of its resource, as templates and `az iot hub show` give it.

use super::super::{Config, Encoding, EndpointConfig, EndpointKind, StorageEndpointConfig, StorageTarget};
use crate::endpoints::enrich::Enrichment;
use crate::endpoints::{Gather, event_hub};
use crate::storage::endpoint;
use ironbrook_client::Transport;
use ironbrook_hub::Route;
use ironbrook_model::MessageSource;
use serde::Deserialize;
use serde_json::Value;
use std::time::Duration;

/// The `properties.routing` of an Azure hub. What an export adds and nobody needs (ids, resource groups) is passed over.
///
/// An account of `https://{name}.blob.core.windows.net` is that account; without a connection string, and where the hub of Azure
/// would use an identity of its own, the built-in account takes its place.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AzureRouting {
    #[serde(default)]
    endpoints: Endpoints,
    #[serde(default)]
    routes: Vec<AzureRoute>,
    fallback_route: Option<AzureRoute>,
    #[serde(default)]
    enrichments: Vec<AzureEnrichment>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Endpoints {
    service_bus_queues: Vec<Value>,
    service_bus_topics: Vec<Value>,
    event_hubs: Vec<EventHub>,
    storage_containers: Vec<Container>,
    #[serde(alias = "cosmosDBSqlCollections", alias = "cosmosDBSqlContainers")]
    cosmos_db_sql_containers: Vec<Value>,
}

#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct EventHub {
    name: String,
    connection_string: Option<String>,
}

#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Container {
    name: String,
    container_name: String,
    connection_string: Option<String>,
    file_name_format: Option<String>,
    batch_frequency_in_seconds: Option<u64>,
    max_chunk_size_in_bytes: Option<u64>,
    encoding: Option<String>,
}

// Connection strings hold keys.
impl std::fmt::Debug for EventHub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EventHub").field("name", &self.name).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Container {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Container").field("name", &self.name).finish_non_exhaustive()
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct AzureRoute {
    #[serde(default)]
    name: String,
    source: String,
    condition: Option<String>,
    #[serde(default)]
    endpoint_names: Vec<String>,
    #[serde(default)]
    is_enabled: bool,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct AzureEnrichment {
    key: String,
    value: String,
    #[serde(default)]
    endpoint_names: Vec<String>,
}

impl AzureRouting {
    /// Reads the JSON: `properties.routing` itself, or a whole hub that has it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let place = |error: serde_json::Error| {
            // The parser's own words could quote a key.
            let what =
                if error.is_data() { "a member is missing or of the wrong type" } else { "this is not JSON" };
            format!("line {}, column {}: {what}", error.line(), error.column())
        };
        let whole: Value = serde_json::from_str(text).map_err(place)?;
        let routing = whole.pointer("/properties/routing").or_else(|| whole.get("routing"));
        let found = routing.unwrap_or(&whole);
        if ["endpoints", "routes", "fallbackRoute"].iter().all(|name| found.get(name).is_none()) {
            return Err(
                "there is no properties.routing with endpoints, routes or fallbackRoute in it".to_owned()
            );
        }
        Self::deserialize(found)
            .map_err(|_| "a member of properties.routing is missing or of the wrong type".to_owned())
    }

    /// Puts it into the settings of a hub: its routes, endpoints and enrichments come on top, and its fallback route decides.
    pub fn apply(self, config: &mut Config) -> Result<(), String> {
        let endpoints = self.endpoints;
        for (list, kind) in [
            (&endpoints.service_bus_queues, "Service Bus queue"),
            (&endpoints.service_bus_topics, "Service Bus topic"),
            (&endpoints.cosmos_db_sql_containers, "Cosmos DB container"),
        ] {
            if let Some(first) = list.first() {
                let name = first.get("name").and_then(Value::as_str).unwrap_or_default();
                return Err(format!(
                    "endpoint {name} is a {kind}, which there is not here; a web hook can stand for it"
                ));
            }
        }
        for container in endpoints.storage_containers {
            config.storage_endpoints.push(container.settings()?);
        }
        for hub in endpoints.event_hubs {
            config.routing.endpoints.push(hub.settings()?);
        }
        for route in self.routes {
            let route = route.route()?;
            config.routes.retain(|known| known.name != route.name);
            config.routes.push(route);
        }
        if let Some(fallback) = self.fallback_route {
            config.fallback_route = fallback.is_enabled;
        }
        config.routing.enrichments.extend(self.enrichments.into_iter().map(|enrichment| Enrichment {
            key: enrichment.key,
            value: enrichment.value,
            endpoints: enrichment.endpoint_names,
        }));
        Ok(())
    }
}

impl AzureRoute {
    fn route(self) -> Result<Route, String> {
        let source = MessageSource::from_route_name(&self.source)
            .ok_or_else(|| format!("route {}: there is no source {}", self.name, self.source))?;
        Ok(Route {
            name: self.name,
            source,
            condition: self.condition.unwrap_or_else(|| "true".to_owned()),
            endpoints: self.endpoint_names,
            enabled: self.is_enabled,
            ..Route::default()
        })
    }
}

impl Container {
    fn settings(self) -> Result<StorageEndpointConfig, String> {
        let encoding = match self.encoding.as_deref().map(str::to_ascii_lowercase).as_deref() {
            None | Some("avro" | "avrodeflate") => Encoding::Avro,
            Some("json") => Encoding::Json,
            Some(other) => return Err(format!("endpoint {}: there is no encoding {other}", self.name)),
        };
        let defaults = endpoint::Config::new("", "", "");
        Ok(StorageEndpointConfig {
            name: self.name,
            container: self.container_name,
            encoding,
            file_name_format: self.file_name_format.unwrap_or(defaults.file_name_format),
            batch_frequency: self
                .batch_frequency_in_seconds
                .map_or(defaults.batch_frequency, Duration::from_secs),
            max_chunk_bytes: self.max_chunk_size_in_bytes.unwrap_or(defaults.max_chunk_bytes),
            target: self.connection_string.map_or(StorageTarget::BuiltIn, StorageTarget::ConnectionString),
        })
    }
}

impl EventHub {
    fn settings(self) -> Result<EndpointConfig, String> {
        let connection_string = self.connection_string.ok_or_else(|| {
            format!(
                "endpoint {}: give its connectionString; identities of Azure do not reach here",
                self.name
            )
        })?;
        let settings = event_hub::Config {
            connection_string,
            transport: Transport::default(),
            gather: Gather::default(),
        };
        Ok(EndpointConfig { name: self.name, kind: EndpointKind::EventHub(settings) })
    }
}
