//! The groups of one window: a key and the states of its aggregates each.

use super::key::{Key, key_weight, read_key, write_key};
use crate::functions::aggregates::Accumulator;
use crate::plan::AggregateSpec;
use crate::value::snapshot::{Reader, SnapshotError, Writer};
use crate::value::{EvalError, GroupKey, Value};
use foldhash::fast::RandomState;
use indexmap::IndexMap;

/// Groups in the order in which their first events came, so that results come in an order that a replay repeats.
#[derive(Debug, Default, Clone)]
pub(crate) struct Groups(IndexMap<Key, States, RandomState>);

/// The states of all aggregates of a group.
pub(crate) type States = Box<[Accumulator]>;

/// An event as windows take it in: its key and the arguments of all aggregates.
#[derive(Debug, Default)]
pub(crate) struct Contribution {
    pub(crate) key: Vec<GroupKey>,
    /// One after the other, as the aggregates name them.
    pub(crate) arguments: Vec<Value>,
}

/// New states for all aggregates.
pub(crate) fn fresh(aggregates: &[AggregateSpec]) -> States {
    aggregates.iter().map(|spec| Accumulator::new(&spec.aggregate)).collect()
}

/// Adds an event's arguments to the states of all aggregates.
pub(crate) fn add(
    states: &mut [Accumulator],
    aggregates: &[AggregateSpec],
    arguments: &[Value],
) -> Result<(), EvalError> {
    let mut rest = arguments;
    for (state, spec) in states.iter_mut().zip(aggregates) {
        let (own, others) = rest.split_at(spec.arguments.len().min(rest.len()));
        state.add(own)?;
        rest = others;
    }
    Ok(())
}

impl Groups {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Key, &States)> {
        self.0.iter()
    }

    /// Adds an event to its group.
    pub(crate) fn add(
        &mut self,
        event: &Contribution,
        aggregates: &[AggregateSpec],
    ) -> Result<(), EvalError> {
        add(self.states(&event.key, aggregates), aggregates, &event.arguments)
    }

    /// A group that is complete already, as sliding windows make them.
    pub(crate) fn put(&mut self, key: Key, states: States) {
        self.0.insert(key, states);
    }

    /// Takes in the groups of a later time.
    pub(crate) fn merge(&mut self, later: &Self) -> Result<(), EvalError> {
        if self.is_empty() {
            *self = later.clone();
            return Ok(());
        }
        for (key, others) in &later.0 {
            match self.0.get_mut(key) {
                Some(states) => {
                    states.iter_mut().zip(others).try_for_each(|(state, other)| state.merge(other))?;
                }
                None => self.put(key.clone(), others.clone()),
            }
        }
        Ok(())
    }

    fn states(&mut self, key: &[GroupKey], aggregates: &[AggregateSpec]) -> &mut States {
        // Without key columns there is one group; it needs no hashing.
        let place = if key.is_empty() && !self.is_empty() { Some(0) } else { self.0.get_index_of(key) };
        let place = place.unwrap_or_else(|| self.0.insert_full(key.into(), fresh(aggregates)).0);
        &mut self.0[place]
    }

    pub(crate) fn weight(&self) -> usize {
        let group = |(key, states): (&Key, &States)| GROUP_WEIGHT + key_weight(key) + states_weight(states);
        self.0.iter().map(group).sum()
    }

    pub(crate) fn write(&self, out: &mut Writer) {
        out.size(self.0.len());
        for (key, states) in &self.0 {
            write_key(key, out);
            states.iter().for_each(|state| state.write(out));
        }
    }

    pub(crate) fn read(from: &mut Reader<'_>, aggregates: &[AggregateSpec]) -> Result<Self, SnapshotError> {
        let mut groups = Self::default();
        for _ in 0..from.size()? {
            let key = read_key(from)?;
            if groups.0.insert(key, read_states(from, aggregates)?).is_some() {
                return Err(SnapshotError::Damaged("a group that comes twice"));
            }
        }
        Ok(groups)
    }
}

/// What a group costs beside its values: an entry with its hash, and its place in the index.
const GROUP_WEIGHT: usize = size_of::<(u64, Key, States)>() + 2 * size_of::<usize>();

pub(crate) fn states_weight(states: &[Accumulator]) -> usize {
    states.iter().map(|state| size_of::<Accumulator>() + state.weight()).sum()
}

pub(crate) fn read_states(
    from: &mut Reader<'_>,
    aggregates: &[AggregateSpec],
) -> Result<States, SnapshotError> {
    aggregates.iter().map(|spec| Accumulator::read(&spec.aggregate, from)).collect()
}
