//! Routes compiled to a table.

use super::facts::Sight;
use super::path::Path;
use super::{EVENTS, Error, Facts, Route, TwinPath, queue_name};
use ironbrook_log::QueueId;
use ironbrook_model::MessageSource;
use ironbrook_query::Condition;
use smallvec::SmallVec;
use std::collections::HashMap;
use std::sync::Arc;

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

impl Conditional {
    fn matches(&self, facts: &Facts<'_>, sight: &Sight<'_>) -> bool {
        self.path.as_ref().is_none_or(|path| path.matches(facts))
            && self.condition.as_ref().is_none_or(|condition| condition.matches(sight))
    }
}

/// How far the routes of a table are decided for messages that have something in common.
#[derive(Debug, Clone, Default)]
pub(crate) struct Outlook {
    /// Which table; no table has number 0.
    table: u64,
    /// What routes want that are known to match.
    targets: Targets,
    /// Places of the routes that are to be asked about each message.
    open: SmallVec<[u16; 4]>,
}

/// The routes of one source.
#[derive(Debug, Default)]
struct Source {
    /// What is known of any message: the routes that take all match.
    outlook: Outlook,
    /// The other routes.
    conditional: Vec<Conditional>,
    /// The members of bodies that their conditions name.
    members: Vec<String>,
    /// Some condition looks at bodies as a whole.
    reads_whole: bool,
    /// Some condition looks at the sender's twin.
    reads_twin: bool,
}

impl Source {
    fn note_members(&mut self, condition: &Condition) {
        self.reads_twin |= condition.reads_twin();
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
    /// From 1, never that of another table of the hub.
    number: u64,
    sources: [Source; MessageSource::ALL.len()],
    /// As they were given, for people.
    pub(super) routes: Arc<[Route]>,
    pub(super) fallback: bool,
    /// The places in twins that conditions name.
    pub(super) twin_paths: Vec<TwinPath>,
}

impl Table {
    pub(super) fn compile(
        routes: &[Route],
        fallback: bool,
        queues: &HashMap<String, QueueId>,
        (number, most): (u64, usize),
        twins: bool,
    ) -> Result<Self, Error> {
        if routes.len() > most {
            return Err(Error::TooMany(routes.len(), most));
        }
        let mut table = Self { number, fallback, routes: routes.into(), ..Self::default() };
        let mut endpoints = Vec::new();
        for (index, route) in routes.iter().enumerate() {
            if routes[..index].iter().any(|other| other.name == route.name) {
                return Err(Error::Twice(route.name.clone()));
            }
            let condition = Condition::parse(&route.condition)
                .map_err(|error| Error::Condition { route: route.name.clone(), error })?;
            if condition.reads_twin() && !twins {
                return Err(Error::Twin(route.name.clone()));
            }
            let targets = targets(route, queues, &mut endpoints)?;
            if !route.enabled || targets.is_empty() {
                continue;
            }
            let source = &mut table.sources[usize::from(route.source.number())];
            let path = route.path.as_deref().map(Path::parse);
            table.twin_paths.extend(condition.twin_paths());
            let condition = (!condition.is_always()).then_some(condition);
            if path.is_none() && condition.is_none() {
                merge(&mut source.outlook.targets, &targets);
            } else {
                condition.iter().for_each(|condition| source.note_members(condition));
                // There are fewer routes than the limit, and its largest value is below that of a u16.
                source.outlook.open.push(source.conditional.len() as u16);
                source.conditional.push(Conditional { path, condition, targets });
            }
        }
        Ok(table)
    }

    pub(super) fn wants(&self, source: MessageSource) -> bool {
        let routes = &self.sources[usize::from(source.number())];
        !routes.outlook.targets.is_empty() || !routes.conditional.is_empty()
    }

    fn source(&self, facts: &Facts<'_>) -> &Source {
        &self.sources[usize::from(facts.source.number())]
    }

    /// The sources whose conditions look at twins, one bit each by number.
    pub(super) fn twin_sources(&self) -> u8 {
        let bits = self.sources.iter().enumerate().filter(|(_, source)| source.reads_twin);
        bits.fold(0, |bits, (number, _)| bits | 1 << number)
    }

    pub(super) fn choose(&self, facts: &Facts<'_>) -> Choice {
        self.decide(&self.source(facts).outlook, facts)
    }

    pub(super) fn is_of(&self, outlook: &Outlook) -> bool {
        outlook.table == self.number
    }

    /// Decides what can be decided of all messages that differ from this one in body and time alone.
    pub(super) fn foresee(&self, facts: &Facts<'_>) -> Outlook {
        let source = self.source(facts);
        let mut outlook =
            Outlook { table: self.number, targets: source.outlook.targets.clone(), ..Outlook::default() };
        for place in &source.outlook.open {
            let route = &source.conditional[usize::from(*place)];
            let sight = Sight::new(facts, None);
            let matches = route.matches(facts, &sight);
            if sight.asked_body_or_time() {
                outlook.open.push(*place);
            } else if matches {
                merge(&mut outlook.targets, &route.targets);
            }
        }
        outlook
    }

    /// Decides the rest, about one message.
    pub(super) fn decide(&self, outlook: &Outlook, facts: &Facts<'_>) -> Choice {
        let source = self.source(facts);
        let mut targets = outlook.targets.clone();
        let sight = Sight::new(facts, (!source.reads_whole).then_some(&source.members));
        for place in &outlook.open {
            let route = &source.conditional[usize::from(*place)];
            // Its endpoints may all have the message already.
            if route.targets.iter().any(|target| improves(&targets, target)) && route.matches(facts, &sight) {
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
