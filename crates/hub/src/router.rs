//! Routes: which endpoints get a message. Evaluated once, when the message is appended.

mod facts;

pub(crate) use facts::Facts;

use crate::Limits;
use arc_swap::ArcSwap;
use ironbrook_log::QueueId;
use ironbrook_model::MessageSource;
use ironbrook_query::Condition;
use smallvec::SmallVec;
use std::collections::HashMap;
use std::sync::Arc;

/// The name of the built-in endpoint.
pub const EVENTS: &str = "events";

/// One route as it is configured.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Route {
    /// Its name.
    pub name: String,
    /// Which messages it looks at.
    #[serde(default)]
    pub source: MessageSource,
    /// The condition; `true` takes all.
    #[serde(default = "always")]
    pub condition: String,
    /// Where they go; `events` is the built-in endpoint.
    #[serde(alias = "endpointNames")]
    pub endpoints: Vec<String>,
    /// Whether it takes part.
    #[serde(default = "enabled", alias = "isEnabled")]
    pub enabled: bool,
}

fn always() -> String {
    "true".to_owned()
}

fn enabled() -> bool {
    true
}

/// A route that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// An endpoint nobody configured.
    #[error("route {route}: there is no endpoint {endpoint}; configure it first")]
    Endpoint {
        /// The route.
        route: String,
        /// The endpoint's name.
        endpoint: String,
    },
    /// A condition that cannot be read.
    #[error("route {route}: {error}")]
    Condition {
        /// The route.
        route: String,
        /// Where and why.
        error: ironbrook_query::Error,
    },
    /// A condition on the twin, which is not evaluated yet.
    #[error("route {0}: conditions on $twin are not supported yet")]
    Twin(String),
    /// Two routes of one name.
    #[error("two routes are named {0}")]
    Twice(String),
    /// More routes than the limit.
    #[error(
        "{0} routes are configured and {1} are allowed; remove some, or choose the profile with raised limits"
    )]
    TooMany(usize, usize),
}

/// Queues a message goes to.
type Queues = SmallVec<[QueueId; 4]>;

/// What the routes say about a message.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Choice {
    /// Its queues, each once.
    pub(crate) queues: Queues,
    /// Whether only the fallback route wanted it.
    pub(crate) fallback: bool,
}

/// The routes of one source.
#[derive(Debug, Default)]
struct Source {
    /// Queues of routes that take all.
    always: Queues,
    /// The other routes.
    conditional: Vec<(Condition, Queues)>,
}

#[derive(Debug, Default)]
struct Table {
    sources: [Source; MessageSource::ALL.len()],
    fallback: bool,
}

/// The routes of a hub, compiled. Replaceable while in use.
#[derive(Debug)]
pub struct Router {
    table: ArcSwap<Table>,
    routes_max: usize,
}

impl Router {
    /// Compiles routes. `queues` tells the queue of each endpoint name; `events` need not be in it. With `fallback`,
    /// telemetry that matches no route goes to `events`. [`Limits::routes`] holds now and at each
    /// [`replace`](Self::replace), disabled routes counted.
    pub fn new(
        routes: &[Route],
        fallback: bool,
        queues: &HashMap<String, QueueId>,
        limits: &Limits,
    ) -> Result<Self, Error> {
        let routes_max = limits.routes;
        let table = Table::compile(routes, fallback, queues, routes_max)?;
        Ok(Self { table: ArcSwap::from_pointee(table), routes_max })
    }

    /// Replaces all routes; messages appended from now on go by the new ones. Nothing changes on an error.
    pub fn replace(
        &self,
        routes: &[Route],
        fallback: bool,
        queues: &HashMap<String, QueueId>,
    ) -> Result<(), Error> {
        self.table.store(Arc::new(Table::compile(routes, fallback, queues, self.routes_max)?));
        Ok(())
    }

    /// Whether any route looks at a source, so that nobody makes events that nobody wants.
    pub fn wants(&self, source: MessageSource) -> bool {
        let table = self.table.load();
        let routes = &table.sources[usize::from(source.number())];
        !routes.always.is_empty() || !routes.conditional.is_empty()
    }

    pub(crate) fn choose(&self, facts: &Facts<'_>) -> Choice {
        let table = self.table.load();
        let source = &table.sources[usize::from(facts.source.number())];
        let mut queues = source.always.clone();
        for (condition, wanted) in &source.conditional {
            // Its endpoints may all have the message already.
            if wanted.iter().any(|queue| !queues.contains(queue)) && condition.matches(facts) {
                add(&mut queues, wanted);
            }
        }
        // rule ROUTE-03: what matched no route goes to `events`; telemetry only.
        let fallback = queues.is_empty() && table.fallback && facts.source == MessageSource::DeviceMessages;
        if fallback {
            queues.push(QueueId::EVENTS);
        }
        Choice { queues, fallback }
    }
}

impl Table {
    fn compile(
        routes: &[Route],
        fallback: bool,
        queues: &HashMap<String, QueueId>,
        most: usize,
    ) -> Result<Self, Error> {
        if routes.len() > most {
            return Err(Error::TooMany(routes.len(), most));
        }
        let mut table = Self { fallback, ..Self::default() };
        for (index, route) in routes.iter().enumerate() {
            if routes[..index].iter().any(|other| other.name == route.name) {
                return Err(Error::Twice(route.name.clone()));
            }
            let condition = Condition::parse(&route.condition)
                .map_err(|error| Error::Condition { route: route.name.clone(), error })?;
            if condition.reads_twin() {
                return Err(Error::Twin(route.name.clone()));
            }
            let wanted = endpoints(route, queues)?;
            if !route.enabled || wanted.is_empty() {
                continue;
            }
            let source = &mut table.sources[usize::from(route.source.number())];
            if condition.is_always() {
                add(&mut source.always, &wanted);
            } else {
                source.conditional.push((condition, wanted));
            }
        }
        Ok(table)
    }
}

fn endpoints(route: &Route, queues: &HashMap<String, QueueId>) -> Result<Queues, Error> {
    let mut wanted = Queues::new();
    for name in &route.endpoints {
        let queue = match queues.get(name) {
            Some(queue) => *queue,
            None if name == EVENTS => QueueId::EVENTS,
            None => return Err(Error::Endpoint { route: route.name.clone(), endpoint: name.clone() }),
        };
        add(&mut wanted, &[queue]);
    }
    Ok(wanted)
}

/// rule ROUTE-02: an endpoint gets a message once, however many routes lead there.
fn add(queues: &mut Queues, more: &[QueueId]) {
    for queue in more {
        if !queues.contains(queue) {
            queues.push(*queue);
        }
    }
}

#[cfg(test)]
mod tests;
