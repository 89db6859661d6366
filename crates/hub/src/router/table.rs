//! Routes compiled to a table.

use super::facts::Sight;
use super::path::Path;
use super::{EVENTS, Error, Facts, Route, queue_name};
use ironbrook_log::QueueId;
use ironbrook_model::MessageSource;
use ironbrook_query::Condition;
use smallvec::SmallVec;
use std::collections::HashMap;

/// Queues a message goes to.
pub(super) type Queues = SmallVec<[QueueId; 4]>;

/// What the routes say about a message.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Choice {
    /// Its queues, each once.
    pub(crate) queues: Queues,
    /// Whether only the fallback route wanted it.
    pub(crate) fallback: bool,
}

/// A queue, with what decides between it and others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Target {
    queue: QueueId,
    /// The number of its endpoint in the table.
    endpoint: u16,
    priority: u32,
}

/// At most one for each endpoint.
type Targets = SmallVec<[Target; 4]>;

#[derive(Debug)]
struct Conditional {
    path: Option<Path>,
    /// `None` where it is always true.
    condition: Option<Condition>,
    targets: Targets,
}

/// The routes of one source.
#[derive(Debug, Default)]
struct Source {
    /// What routes want that take all.
    always: Targets,
    /// The other routes.
    conditional: Vec<Conditional>,
    /// The members of bodies that their conditions name.
    members: Vec<String>,
    /// Some condition looks at bodies as a whole.
    reads_whole: bool,
}

impl Source {
    fn note_members(&mut self, condition: &Condition) {
        match condition.body_members() {
            None => self.reads_whole = true,
            Some(members) => {
                let new: Vec<_> =
                    members.into_iter().filter(|member| !self.members.contains(member)).collect();
                self.members.extend(new);
            }
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Table {
    sources: [Source; MessageSource::ALL.len()],
    fallback: bool,
}

impl Table {
    pub(super) fn compile(
        routes: &[Route],
        fallback: bool,
        queues: &HashMap<String, QueueId>,
        most: usize,
    ) -> Result<Self, Error> {
        if routes.len() > most {
            return Err(Error::TooMany(routes.len(), most));
        }
        let mut table = Self { fallback, ..Self::default() };
        let mut endpoints = Vec::new();
        for (index, route) in routes.iter().enumerate() {
            if routes[..index].iter().any(|other| other.name == route.name) {
                return Err(Error::Twice(route.name.clone()));
            }
            let condition = Condition::parse(&route.condition)
                .map_err(|error| Error::Condition { route: route.name.clone(), error })?;
            if condition.reads_twin() {
                return Err(Error::Twin(route.name.clone()));
            }
            let targets = targets(route, queues, &mut endpoints)?;
            if !route.enabled || targets.is_empty() {
                continue;
            }
            let source = &mut table.sources[usize::from(route.source.number())];
            let path = route.path.as_deref().map(Path::parse);
            let condition = (!condition.is_always()).then_some(condition);
            if path.is_none() && condition.is_none() {
                merge(&mut source.always, &targets);
            } else {
                condition.iter().for_each(|condition| source.note_members(condition));
                source.conditional.push(Conditional { path, condition, targets });
            }
        }
        Ok(table)
    }

    pub(super) fn wants(&self, source: MessageSource) -> bool {
        let routes = &self.sources[usize::from(source.number())];
        !routes.always.is_empty() || !routes.conditional.is_empty()
    }

    pub(super) fn choose(&self, facts: &Facts<'_>) -> Choice {
        let source = &self.sources[usize::from(facts.source.number())];
        let mut targets = source.always.clone();
        let sight = Sight::new(facts, (!source.reads_whole).then_some(&source.members));
        for route in &source.conditional {
            // Its endpoints may all have the message already.
            if route.targets.iter().any(|target| improves(&targets, target))
                && route.path.as_ref().is_none_or(|path| path.matches(facts))
                && route.condition.as_ref().is_none_or(|condition| condition.matches(&sight))
            {
                merge(&mut targets, &route.targets);
            }
        }
        let mut queues: Queues = targets.iter().map(|target| target.queue).collect();
        // rule ROUTE-03: what matched no route goes to `events`; telemetry only.
        let fallback = queues.is_empty() && self.fallback && facts.source == MessageSource::DeviceMessages;
        if fallback {
            queues.push(QueueId::EVENTS);
        }
        Choice { queues, fallback }
    }
}

fn targets(
    route: &Route,
    queues: &HashMap<String, QueueId>,
    endpoints: &mut Vec<String>,
) -> Result<Targets, Error> {
    let mut targets = Targets::new();
    for name in &route.endpoints {
        let queue_name = queue_name(name, route.priority);
        let queue = match queues.get(&*queue_name) {
            Some(queue) => *queue,
            None if *name == EVENTS => QueueId::EVENTS,
            None => {
                return Err(Error::Endpoint { route: route.name.clone(), endpoint: queue_name.into_owned() });
            }
        };
        let number = endpoints.iter().position(|known| known == name).unwrap_or_else(|| {
            endpoints.push(name.clone());
            endpoints.len() - 1
        });
        let endpoint = u16::try_from(number).map_err(|_| Error::TooMany(number, usize::from(u16::MAX)))?;
        merge(&mut targets, &[Target { queue, endpoint, priority: route.priority }]);
    }
    Ok(targets)
}

fn improves(targets: &Targets, more: &Target) -> bool {
    targets.iter().find(|known| known.endpoint == more.endpoint).is_none_or(|k| more.priority < k.priority)
}

/// rule ROUTE-02: an endpoint gets a message once, however many routes lead there; rule ROUTE-07: by the best priority.
fn merge(targets: &mut Targets, more: &[Target]) {
    for target in more {
        match targets.iter_mut().find(|known| known.endpoint == target.endpoint) {
            Some(known) if target.priority < known.priority => *known = *target,
            Some(_) => {}
            None => targets.push(*target),
        }
    }
}
