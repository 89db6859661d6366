//! Routing for people and tools: how endpoints do, which routes a message takes and why, and what became of one.
//!
//! | Request | Rights | Answer |
//! |---|---|---|
//! | `GET /routing` | ServiceConnect | routes, endpoints and the fallback route |
//! | `GET /routingEndpointsHealth` | ServiceConnect | how each endpoint does |
//! | `POST /routing/routes/$testall` | ServiceConnect | the routes a message takes |
//! | `POST /routing/routes/$testnew` | ServiceConnect | whether a given route takes it |
//! | `GET /routing/messages/{id}` | ServiceConnect | what became of a message |
//!
//! The first three have the shapes of Azure's resource provider, with more members; in Azure they are not part of the hub's own
//! API, which has nothing like the last.

mod input;
pub(super) mod test;
pub(super) mod why;

use super::input::ok;
use axum::Extension;
use axum::response::Response;
use ironbrook_hub::executor::{EndpointHealth, Handle};
use ironbrook_hub::router::{DEFAULT_PRIORITY, EVENTS};
use ironbrook_hub::{Hub, Route};
use ironbrook_log::QueueId;
use serde_json::{Value, json};
use std::sync::Arc;

/// What the calls work on. Cheap to clone.
#[derive(Clone)]
pub struct Routing {
    hub: Hub,
    executors: Handle,
    /// Endpoints by the number of their queue, `events` left out.
    queues: Arc<[(QueueId, String)]>,
}

impl Routing {
    /// Of a hub and the executors of its endpoints.
    pub fn new(hub: Hub, executors: Handle, queues: Vec<(QueueId, String)>) -> Self {
        Self { hub, executors, queues: queues.into() }
    }

    /// The name of the endpoint a queue belongs to.
    fn endpoint(&self, queue: QueueId) -> Option<&str> {
        if queue == QueueId::EVENTS {
            return Some(EVENTS);
        }
        self.queues.iter().find(|(id, _)| *id == queue).map(|(_, name)| name.as_str())
    }
}

/// A route as Azure's resource provider spells it.
fn route_json(route: &Route) -> Value {
    json!({
        "name": route.name,
        "source": route.source.route_name(),
        "condition": route.condition,
        "endpointNames": route.endpoints,
        "isEnabled": route.enabled,
    })
}

/// `GET /routing`: `{"routes":[…],"fallbackRoute":{…},"endpoints":[…]}`.
pub(super) async fn show(Extension(routing): Extension<Routing>) -> Response {
    let router = routing.hub.router();
    let routes: Vec<Value> = router.configured().iter().map(route_json).collect();
    let endpoints = std::iter::once(EVENTS).chain(routing.queues.iter().map(|(_, name)| name.as_str()));
    let fallback = json!({
        "name": "$fallback", "source": "DeviceMessages", "condition": "true",
        "endpointNames": [EVENTS], "isEnabled": router.fallback(),
    });
    ok(&json!({
        "routes": routes, "fallbackRoute": fallback, "endpoints": endpoints.collect::<Vec<_>>(),
    }))
}

/// `GET /routingEndpointsHealth`: `{"value":[{"endpointId":…,"healthStatus":…},…],"unrouted":…}`. rule ROUTE-15
pub(super) async fn health(Extension(routing): Extension<Routing>) -> Response {
    let backlog = routing.executors.backlog();
    let queued = |name: &str| -> u64 {
        backlog.iter().filter(|(endpoint, ..)| endpoint == name).map(|(_, _, waiting)| waiting).sum()
    };
    let all = routing.executors.health();
    let mut value =
        vec![json!({ "endpointId": EVENTS, "healthStatus": "healthy", "queued": 0, "deadLettered": 0 })];
    value.extend(all.iter().map(|health| health_json(health, queued(&health.name))));
    let unrouted = routing.hub.metrics().telemetry_orphaned.get();
    ok(&json!({ "value": value, "unrouted": unrouted }))
}

fn health_json(health: &EndpointHealth, queued: u64) -> Value {
    let mut json = json!({
        "endpointId": health.name,
        "healthStatus": health.status().name(),
        "queued": queued,
        "sent": health.sent,
        "deadLettered": health.dead_letters,
    });
    if let Some((time, why)) = &health.last_failure {
        json["lastKnownError"] = why.as_str().into();
        json["lastKnownErrorTime"] = time.to_string().into();
    }
    if let Some(time) = health.last_sent {
        json["lastSuccessfulSendAttemptTime"] = time.to_string().into();
    }
    if let Some(time) = health.last_attempt {
        json["lastSendAttemptTime"] = time.to_string().into();
    }
    json
}

/// The name of an endpoint's only queue here: routes of a hub have no priorities.
const PRIORITY: u32 = DEFAULT_PRIORITY;

#[cfg(test)]
mod tests;
