//! Routes: which endpoints get a message. Evaluated once, when the message is appended.
//!
//! Start with [`Route`]. An endpoint has a queue for each priority that a route to it has ([`queue_name`]); a message that
//! several routes lead to one endpoint is put into one queue, that of the best priority.

mod facts;
mod members;
mod path;
mod table;
mod trial;
mod twins;

pub use facts::Facts;
pub use trial::Trial;
pub use twins::{TwinCache, TwinPath};

pub(crate) use table::{Choice, Outlook};

use crate::Limits;
use crate::seams::Twins;
use arc_swap::ArcSwap;
use ironbrook_log::QueueId;
use ironbrook_model::{Identity, MessageSource, Refusal};
use serde_json::Value;
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use table::Table;

/// The name of the built-in endpoint.
pub const EVENTS: &str = "events";

/// The priority of a route that has none; lower numbers are served first.
pub const DEFAULT_PRIORITY: u32 = 2_000_000_000;

/// The name of an endpoint's queue for routes of a priority: the endpoint's own for [`DEFAULT_PRIORITY`], otherwise
/// `{endpoint}/priority/{n}`. Names of queues are what numbers, checkpoints and tables of queues go by, for ever.
pub fn queue_name(endpoint: &str, priority: u32) -> Cow<'_, str> {
    match priority {
        DEFAULT_PRIORITY => Cow::Borrowed(endpoint),
        _ => Cow::Owned(format!("{endpoint}/priority/{priority}")),
    }
}

/// One route as it is configured.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Route {
    /// Its name.
    pub name: String,
    /// Which messages it looks at.
    #[serde(default)]
    pub source: MessageSource,
    /// Which of them, by the way they came: `/messages/modules/m/outputs/o`, also with `/*` at the end. `None` takes all.
    ///
    /// The path of a message is `/messages` from a device, `/messages/modules/{m}` from a module and
    /// `/messages/modules/{m}/outputs/{o}` where the module named an output; `/twinChangeNotifications` is that of a twin
    /// change. A route takes the paths that begin with its own, by whole segments and without regard to case.
    #[serde(skip)]
    pub path: Option<String>,
    /// The condition; `true` takes all.
    #[serde(default = "always")]
    pub condition: String,
    /// Where they go; `events` is the built-in endpoint.
    #[serde(alias = "endpointNames")]
    pub endpoints: Vec<String>,
    /// Whether it takes part.
    #[serde(default = "enabled", alias = "isEnabled")]
    pub enabled: bool,
    /// Which of its endpoints' queues it fills, see [`queue_name`]; the lower number is served first.
    #[serde(skip, default = "default_priority")]
    pub priority: u32,
    /// How long its messages wait for an endpoint; `None` leaves it to the endpoint's queue. The router does not look at it:
    /// [`wanted_queues`] gives it to who makes the queues.
    #[serde(skip)]
    pub time_to_live: Option<Duration>,
}

impl Default for Route {
    /// Telemetry without condition, to nowhere yet.
    fn default() -> Self {
        Self {
            name: String::new(),
            source: MessageSource::default(),
            path: None,
            condition: always(),
            endpoints: Vec::new(),
            enabled: true,
            priority: DEFAULT_PRIORITY,
            time_to_live: None,
        }
    }
}

fn always() -> String {
    "true".to_owned()
}

fn enabled() -> bool {
    true
}

fn default_priority() -> u32 {
    DEFAULT_PRIORITY
}

/// A queue that routes fill.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedQueue {
    /// The endpoint it belongs to.
    pub endpoint: String,
    /// The priority of its routes.
    pub priority: u32,
    /// The longest time to live of its routes; `None` where one of them has none.
    pub time_to_live: Option<Duration>,
}

impl WantedQueue {
    /// Its name.
    pub fn name(&self) -> Cow<'_, str> {
        queue_name(&self.endpoint, self.priority)
    }
}

/// The queues that enabled routes fill, those of `events` left out, in the order in which routes name them.
pub fn wanted_queues(routes: &[Route]) -> Vec<WantedQueue> {
    let mut queues: Vec<WantedQueue> = Vec::new();
    for route in routes.iter().filter(|route| route.enabled) {
        for endpoint in route.endpoints.iter().filter(|endpoint| *endpoint != EVENTS) {
            match queues.iter_mut().find(|q| q.endpoint == *endpoint && q.priority == route.priority) {
                Some(queue) => {
                    let both = queue.time_to_live.zip(route.time_to_live);
                    queue.time_to_live = both.map(|(one, other)| one.max(other));
                }
                None => queues.push(WantedQueue {
                    endpoint: endpoint.clone(),
                    priority: route.priority,
                    time_to_live: route.time_to_live,
                }),
            }
        }
    }
    queues
}

/// A route that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// An endpoint nobody configured.
    #[error("route {route}: there is no endpoint {endpoint}; configure it first")]
    Endpoint {
        /// The route.
        route: String,
        /// The name of its queue, which is the endpoint's for routes without priority.
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
    /// A condition on the twin, where twins cannot be looked at.
    #[error("route {0}: conditions on $twin need a hub that keeps the twins; route by the message instead")]
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

/// The routes of a hub, compiled. Replaceable while in use.
#[derive(Debug)]
pub struct Router {
    table: ArcSwap<Table>,
    /// The number of the newest table.
    newest: AtomicU64,
    routes_max: usize,
    /// Whether conditions may look at twins.
    reads_twins: bool,
    /// Bit n: some route of the source numbered n looks at twins.
    twin_sources: AtomicU8,
    /// Set when the hub is put together.
    twins: OnceLock<Arc<TwinCache>>,
}

impl Router {
    /// Compiles routes that look at messages alone. `queues` tells the number of each queue by its [`queue_name`]; `events` need
    /// not be in it. With `fallback`, telemetry that matches no route goes to `events`. [`Limits::routes`] holds now and at each
    /// [`replace`](Self::replace), disabled routes counted.
    pub fn new(
        routes: &[Route],
        fallback: bool,
        queues: &HashMap<String, QueueId>,
        limits: &Limits,
    ) -> Result<Self, Error> {
        Self::compile(routes, fallback, queues, limits, false)
    }

    /// The same with conditions on the sender's `$twin`, for who tells every change of a twin by [`Twins::watch`].
    pub fn with_twins(
        routes: &[Route],
        fallback: bool,
        queues: &HashMap<String, QueueId>,
        limits: &Limits,
    ) -> Result<Self, Error> {
        Self::compile(routes, fallback, queues, limits, true)
    }

    fn compile(
        routes: &[Route],
        fallback: bool,
        queues: &HashMap<String, QueueId>,
        limits: &Limits,
        reads_twins: bool,
    ) -> Result<Self, Error> {
        let routes_max = limits.routes;
        let table = Table::compile(routes, fallback, queues, (1, routes_max), reads_twins)?;
        let (twin_sources, twins) = (AtomicU8::new(table.twin_sources()), OnceLock::new());
        let (newest, table) = (AtomicU64::new(1), ArcSwap::from_pointee(table));
        Ok(Self { table, newest, routes_max, reads_twins, twin_sources, twins })
    }

    /// Replaces all routes; messages appended from now on go by the new ones. Nothing changes on an error. Endpoints that
    /// are new are added to the executors before, so that no message goes by unseen; those that are gone are retired after.
    pub fn replace(
        &self,
        routes: &[Route],
        fallback: bool,
        queues: &HashMap<String, QueueId>,
    ) -> Result<(), Error> {
        let number = self.newest.fetch_add(1, Ordering::Relaxed) + 1;
        let limits = (number, self.routes_max);
        let table = Table::compile(routes, fallback, queues, limits, self.reads_twins)?;
        if let Some(twins) = self.twins.get().filter(|_| self.reads_twins) {
            // What the old routes name stays until they are gone.
            let both = [&self.table.load().twin_paths[..], &table.twin_paths[..]].concat();
            twins.set_paths(&both);
        }
        self.twin_sources.fetch_or(table.twin_sources(), Ordering::Release);
        let sources = table.twin_sources();
        self.table.store(Arc::new(table));
        self.twin_sources.store(sources, Ordering::Release);
        Ok(())
    }

    /// Whether any route looks at a source, so that nobody makes events that nobody wants.
    pub fn wants(&self, source: MessageSource) -> bool {
        self.table.load().wants(source)
    }

    /// The routes as they were given.
    pub fn configured(&self) -> Arc<[Route]> {
        Arc::clone(&self.table.load().routes)
    }

    /// Whether telemetry that matches no route goes to `events`.
    pub fn fallback(&self) -> bool {
        self.table.load().fallback
    }

    /// Lets conditions look at twins; once, before the first message.
    pub(crate) fn attach(&self, twins: &Arc<dyn Twins>) {
        if self.reads_twins {
            let paths = self.table.load().twin_paths.clone();
            self.twins.get_or_init(|| TwinCache::new(Arc::clone(twins), &paths));
        }
    }

    /// The twin of a sender, where a route of the source looks at it. 503005 where it has to be read first, by
    /// [`load_twin`](Self::load_twin).
    pub(crate) fn twin(
        &self,
        source: MessageSource,
        sender: &Identity,
    ) -> Result<Option<Arc<Value>>, Refusal> {
        match self.twins_for(source) {
            None => Ok(None),
            Some(twins) => twins.get(sender).map(Some).ok_or_else(twins::busy),
        }
    }

    /// Reads the twin of a sender, where a route of the source looks at it.
    pub(crate) async fn load_twin(&self, source: MessageSource, sender: &Identity) -> Result<(), Refusal> {
        match self.twins_for(source) {
            None => Ok(()),
            Some(twins) => twins.load(sender).await.map(drop),
        }
    }

    fn twins_for(&self, source: MessageSource) -> Option<&Arc<TwinCache>> {
        let reads = self.twin_sources.load(Ordering::Acquire) & (1 << source.number()) != 0;
        if reads { self.twins.get() } else { None }
    }

    pub(crate) fn choose(&self, facts: &Facts<'_>) -> Choice {
        self.table.load().choose(facts)
    }

    /// The routes as they are now, for messages that come together.
    pub(crate) fn routes(&self) -> Routes {
        Routes(self.table.load())
    }
}

/// The routes of a hub at one moment; not to be held for long.
pub(crate) struct Routes(arc_swap::Guard<Arc<Table>>);

impl Routes {
    /// The choice for one of the messages that an outlook is kept for: they differ from each other in body and time alone. The
    /// outlook is worked out anew where the routes were replaced.
    pub(crate) fn choose_by(&self, outlook: &mut Outlook, facts: &Facts<'_>) -> Choice {
        if !self.0.is_of(outlook) {
            *outlook = self.0.foresee(facts);
        }
        self.0.decide(outlook, facts)
    }
}

#[cfg(test)]
mod tests;
