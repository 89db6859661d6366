//! All routes of a deployment: checked together, and as the core wants them.

use super::{Error, Route, Sink};
use crate::manifest::{HubDesired, RouteDesired, TimeToLive};
use ironbrook_model::{DeviceId, MessageSource};
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// The name of the endpoint that leads to the hub.
pub const UPSTREAM: &str = "iothub";

/// How often the original drops expired messages.
const CLEANUP_EVERY: Duration = Duration::from_secs(1800);

/// All that is wrong with the routes of a deployment, by route.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Errors(pub Vec<(String, Error)>);

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (name, error)) in self.0.iter().enumerate() {
            let comma = if index > 0 { "; " } else { "" };
            write!(f, "{comma}route {name}: {error}")?;
        }
        Ok(())
    }
}

/// The routes of a deployment, read and checked.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RouteSet(Vec<Named>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Named {
    name: String,
    route: Route,
    priority: u32,
    time_to_live: Duration,
}

impl RouteSet {
    /// Reads all routes; all errors together.
    pub fn parse(desired: &HubDesired) -> Result<Self, Errors> {
        let (mut routes, mut errors) = (Vec::new(), Vec::new());
        let general = match desired.store_and_forward.time_to_live {
            TimeToLive::ForEver => Duration::MAX,
            // The original looks for expired messages that often, so that none of its messages lives shorter.
            TimeToLive::For(time) if time.is_zero() => CLEANUP_EVERY,
            TimeToLive::For(time) => time,
        };
        for (name, RouteDesired { text, priority, time_to_live }) in &desired.routes {
            match Route::parse(text) {
                Ok(route) => routes.push(Named {
                    name: name.clone(),
                    route,
                    priority: *priority,
                    time_to_live: time_to_live.unwrap_or(general),
                }),
                Err(error) => errors.push((name.clone(), error)),
            }
        }
        if errors.is_empty() { Ok(Self(routes)) } else { Err(Errors(errors)) }
    }

    /// What is allowed and yet surely not meant.
    pub fn warnings(&self) -> Vec<String> {
        let dead = self.0.iter().filter(|named| !named.route.source.can_match());
        dead.map(|Named { name, route, .. }| {
            format!(
                "route {name}: no message ever has a path below {}; sources are /*, /messages/*, /messages/modules/{{module}}/*, \
                 /messages/modules/{{module}}/outputs/{{output}} and /twinChangeNotifications, and a star stands at the end only",
                route.source.prefix(),
            )
        })
        .collect()
    }

    /// The sinks by the names of their endpoints.
    pub fn sinks(&self, device: &DeviceId) -> BTreeMap<String, Sink> {
        self.0
            .iter()
            .map(|named| (endpoint_name(device, &named.route.sink), named.route.sink.clone()))
            .collect()
    }

    /// The routes as the core wants them: one for each kind of message that the source takes.
    pub fn to_core(&self, device: &DeviceId) -> Vec<ironbrook_hub::Route> {
        let mut routes = Vec::new();
        for Named { name, route, priority, time_to_live } in &self.0 {
            let endpoint = endpoint_name(device, &route.sink);
            let of = |suffix: &str, source: MessageSource, path: Option<String>| ironbrook_hub::Route {
                name: format!("{name}{suffix}"),
                source,
                path,
                condition: if route.condition.is_empty() {
                    "true".to_owned()
                } else {
                    route.condition.clone()
                },
                endpoints: vec![endpoint.clone()],
                enabled: true,
                priority: *priority,
                time_to_live: Some(*time_to_live),
            };
            if route.source.takes_telemetry() {
                let path = (!route.source.takes("/messages")).then(|| route.source.prefix().to_owned());
                routes.push(of("", MessageSource::DeviceMessages, path));
            }
            // A name of a route holds no blank, so this one is free.
            if route.source.takes_twin_changes() {
                routes.push(of(" (twin changes)", MessageSource::TwinChangeEvents, None));
            }
        }
        routes
    }
}

/// The name of the endpoint a sink is.
fn endpoint_name(device: &DeviceId, sink: &Sink) -> String {
    match sink {
        Sink::Upstream => UPSTREAM.to_owned(),
        Sink::Input { module, input } => format!("{device}/{module}/{input}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ironbrook_hub::router::wanted_queues;
    use serde_json::{Value, json};

    fn set(routes: Value) -> Result<RouteSet, Errors> {
        let desired = json!({"schemaVersion": "1.1", "routes": routes,
            "storeAndForwardConfiguration": {"timeToLiveSecs": 7200}});
        RouteSet::parse(&HubDesired::parse(desired.as_object().unwrap()).unwrap())
    }

    fn device() -> DeviceId {
        DeviceId::new("d1").unwrap()
    }

    #[test]
    fn all_errors_come_together() {
        let routes = json!({"a": "FROM x", "b": "FROM /* INTO $upstream", "c": "FROM /* INTO $downstream"});
        let errors = set(routes).unwrap_err();
        let text = errors.to_string();
        assert_eq!(errors.0.len(), 2);
        assert!(text.contains("route a: line 1, column 6") && text.contains("; route c: line 1"), "{text}");
    }

    #[test]
    fn an_endpoint_has_a_queue_for_each_priority() {
        let set = set(json!({
            "a": "FROM /* INTO $upstream",
            "b": {"route": "FROM /messages/* INTO $upstream", "priority": 5, "timeToLiveSecs": 10},
            "c": {"route": "FROM /messages/modules/n/* INTO $upstream", "priority": 5, "timeToLiveSecs": 20},
            "d": "FROM /messages/modules/n/outputs/o INTO BrokeredEndpoint('/modules/m/inputs/i')",
        }));
        let set = set.unwrap();
        let routes = set.to_core(&device());
        let told: Vec<_> = routes.iter().map(|r| (&*r.name, r.source, r.path.as_deref())).collect();
        assert_eq!(
            told,
            [
                ("a", MessageSource::DeviceMessages, None),
                ("a (twin changes)", MessageSource::TwinChangeEvents, None),
                ("b", MessageSource::DeviceMessages, None),
                ("c", MessageSource::DeviceMessages, Some("/messages/modules/n/")),
                ("d", MessageSource::DeviceMessages, Some("/messages/modules/n/outputs/o/")),
            ]
        );
        let queues = wanted_queues(&routes);
        let queues: Vec<_> =
            queues.iter().map(|q| (q.name().into_owned(), q.time_to_live.map(|t| t.as_secs()))).collect();
        assert_eq!(queues.len(), 3);
        assert_eq!(queues[0], ("iothub".to_owned(), Some(7200)));
        assert_eq!(queues[1].1, Some(20));
        assert_eq!(queues[2], ("d1/m/i".to_owned(), Some(7200)));
        assert_eq!(set.sinks(&device()).keys().collect::<Vec<_>>(), ["d1/m/i", "iothub"]);
        assert_eq!(set.warnings(), [] as [&str; 0]);
    }

    #[test]
    fn a_source_that_matches_nothing_is_told() {
        let set = set(json!({"a": "FROM /messages/modules/*/outputs/o INTO $upstream"})).unwrap();
        let warnings = set.warnings();
        assert!(warnings[0].contains("route a") && warnings[0].contains("at the end only"), "{warnings:?}");
        assert_eq!(set.to_core(&device()), []);
    }
}
