//! The groups of one window: a key and the states of its aggregates each.

use crate::functions::aggregates::Accumulator;
use crate::plan::AggregateSpec;
use crate::value::snapshot::{Reader, SnapshotError, Writer};
use crate::value::{EvalError, GroupKey, Value};
use std::collections::HashMap;
use std::sync::Arc;

/// The values of the key columns; empty where there are none.
pub(crate) type Key = Arc<[GroupKey]>;

/// Groups in the order in which their first events came, so that results come in an order that a replay repeats.
#[derive(Debug, Default, Clone)]
pub(crate) struct Groups {
    index: HashMap<Key, usize>,
    list: Vec<Group>,
}

#[derive(Debug, Clone)]
pub(crate) struct Group {
    pub(crate) key: Key,
    pub(crate) states: Vec<Accumulator>,
}

/// An event as windows take it in: its key and the arguments of all aggregates.
#[derive(Debug, Default)]
pub(crate) struct Contribution {
    pub(crate) key: Vec<GroupKey>,
    /// One after the other, as the aggregates name them.
    pub(crate) arguments: Vec<Value>,
}

/// New states for all aggregates.
pub(crate) fn fresh(aggregates: &[AggregateSpec]) -> Vec<Accumulator> {
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
        self.list.is_empty()
    }

    pub(crate) fn into_groups(self) -> Vec<Group> {
        self.list
    }

    /// Adds an event to its group.
    pub(crate) fn add(
        &mut self,
        event: &Contribution,
        aggregates: &[AggregateSpec],
    ) -> Result<(), EvalError> {
        let position = self.position(&event.key, aggregates);
        add(&mut self.list[position].states, aggregates, &event.arguments)
    }

    /// A group that is complete already, as sliding windows make them.
    pub(crate) fn put(&mut self, key: Key, states: Vec<Accumulator>) {
        self.list.push(Group { key, states });
    }

    /// Takes in the groups of a later time.
    pub(crate) fn merge(&mut self, later: &Self, aggregates: &[AggregateSpec]) -> Result<(), EvalError> {
        for group in &later.list {
            let position = self.position(&group.key, aggregates);
            for (state, other) in self.list[position].states.iter_mut().zip(&group.states) {
                state.merge(other)?;
            }
        }
        Ok(())
    }

    fn position(&mut self, key: &[GroupKey], aggregates: &[AggregateSpec]) -> usize {
        // Without key columns there is one group; it needs no hashing.
        if key.is_empty() && !self.list.is_empty() {
            return 0;
        }
        if let Some(position) = self.index.get(key) {
            return *position;
        }
        let key: Key = key.into();
        self.list.push(Group { key: key.clone(), states: fresh(aggregates) });
        if !key.is_empty() {
            self.index.insert(key, self.list.len() - 1);
        }
        self.list.len() - 1
    }

    pub(crate) fn weight(&self) -> usize {
        let group = |group: &Group| GROUP_WEIGHT + key_weight(&group.key) + states_weight(&group.states);
        self.list.iter().map(group).sum()
    }

    pub(crate) fn write(&self, out: &mut Writer) {
        out.size(self.list.len());
        for group in &self.list {
            write_key(&group.key, out);
            group.states.iter().for_each(|state| state.write(out));
        }
    }

    pub(crate) fn read(from: &mut Reader<'_>, aggregates: &[AggregateSpec]) -> Result<Self, SnapshotError> {
        let mut groups = Self::default();
        for _ in 0..from.size()? {
            let key = read_key(from)?;
            let states = read_states(from, aggregates)?;
            let position = groups.position(&key, aggregates);
            if position + 1 != groups.list.len() {
                return Err(SnapshotError::Damaged("a group that comes twice"));
            }
            groups.list[position].states = states;
        }
        Ok(groups)
    }
}

/// What a group costs beside its values: entries in list and index.
const GROUP_WEIGHT: usize = size_of::<Group>() + 2 * size_of::<(Key, usize)>();

pub(crate) fn key_weight(key: &[GroupKey]) -> usize {
    key.iter().map(|key| key.0.weight()).sum()
}

pub(crate) fn states_weight(states: &[Accumulator]) -> usize {
    states.iter().map(|state| size_of::<Accumulator>() + state.weight()).sum()
}

pub(crate) fn write_key(key: &[GroupKey], out: &mut Writer) {
    out.size(key.len());
    key.iter().for_each(|key| out.value(&key.0));
}

pub(crate) fn read_key(from: &mut Reader<'_>) -> Result<Key, SnapshotError> {
    Ok(from.values()?.into_iter().map(GroupKey).collect())
}

pub(crate) fn read_states(
    from: &mut Reader<'_>,
    aggregates: &[AggregateSpec],
) -> Result<Vec<Accumulator>, SnapshotError> {
    aggregates.iter().map(|spec| Accumulator::read(&spec.aggregate, from)).collect()
}
