//! Sliding windows: a result for every instant at which an event enters or leaves, per key.
//!
//! Per key the events are two stacks. The *front* has the older ones; each of its entries knows the aggregates of itself and
//! all younger ones of the front. The *back* has the younger ones and their aggregates together. So an event that leaves is
//! taken away with what it added, nothing is ever subtracted, and the aggregates of the window are those of the top of the
//! front and of the back: every event is merged at most twice. Where states grow with the events in them (Collect,
//! percentiles, DISTINCT), the front would cost the square, and the window is computed anew instead.

use super::Closed;
use super::groups::{self, Contribution, Groups, States};
use super::key::{Key, key_weight, read_key, write_key};
use crate::functions::aggregates::{Accumulator, Aggregate};
use crate::plan::AggregateSpec;
use crate::value::snapshot::{Reader, SnapshotError, Writer};
use crate::value::{DateTime, EvalError, Value};
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

/// Windows of one length that end at every change.
#[derive(Debug)]
pub(crate) struct Sliding {
    size: i64,
    keys: HashMap<Key, Events>,
    /// Instants at which something enters or leaves, with the keys concerned.
    changes: BTreeMap<i64, Vec<Key>>,
}

/// The events of a key, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Events {
    events: VecDeque<(i64, Box<[Value]>)>,
    /// For the first `front.len()` events, youngest first: the states of it and of all younger ones of the front.
    front: Vec<States>,
    /// The states of the others together.
    back: Option<States>,
}

impl Sliding {
    pub(super) fn new(size: i64) -> Self {
        Self { size, keys: HashMap::new(), changes: BTreeMap::new() }
    }

    pub(super) fn add(
        &mut self,
        time: DateTime,
        event: &Contribution,
        aggregates: &[AggregateSpec],
    ) -> Result<(), EvalError> {
        let key: Key = match self.keys.get_key_value(event.key.as_slice()) {
            Some((key, _)) => key.clone(),
            None => event.key.as_slice().into(),
        };
        let events = self.keys.entry(key.clone()).or_default();
        let again = events.events.back().is_some_and(|(last, _)| *last == time.0);
        events.push(time.0, &event.arguments, aggregates)?;
        if !again {
            // rule SQL-05
            for instant in [time.0, time.0 + self.size] {
                self.changes.entry(instant).or_default().push(key.clone());
            }
        }
        Ok(())
    }

    pub(super) fn close(
        &mut self,
        watermark: DateTime,
        aggregates: &[AggregateSpec],
        closed: &mut Vec<Closed>,
    ) -> Result<(), EvalError> {
        while let Some(entry) = self.changes.first_entry()
            && *entry.key() < watermark.0
        {
            let (instant, keys) = entry.remove_entry();
            let mut groups = Groups::default();
            let mut seen = HashSet::with_capacity(keys.len());
            for key in keys {
                // One key may enter and leave at once.
                if !seen.insert(key.clone()) {
                    continue;
                }
                let Some(events) = self.keys.get_mut(&key) else { continue };
                events.leave(instant - self.size, aggregates)?;
                if events.events.is_empty() {
                    self.keys.remove(&key);
                } else {
                    groups.put(key, events.states(aggregates)?);
                }
            }
            if !groups.is_empty() {
                closed.push(Closed { end: DateTime(instant), start: DateTime(instant - self.size), groups });
            }
        }
        Ok(())
    }

    pub(super) fn weight(&self) -> usize {
        let change = |keys: &Vec<Key>| size_of::<(i64, Vec<Key>)>() + keys.len() * size_of::<Key>();
        self.keys.iter().map(|(key, events)| key_weight(key) + events.weight()).sum::<usize>()
            + self.changes.values().map(change).sum::<usize>()
    }

    pub(super) fn write(&self, out: &mut Writer) {
        // In order, so that equal states give equal bytes.
        let mut keys: Vec<_> = self.keys.iter().collect();
        keys.sort_unstable_by(|a, b| a.0.cmp(b.0));
        out.size(keys.len());
        for (key, events) in keys {
            write_key(key, out);
            events.write(out);
        }
        out.size(self.changes.len());
        for (instant, keys) in &self.changes {
            out.signed(*instant);
            out.size(keys.len());
            keys.iter().for_each(|key| write_key(key, out));
        }
    }

    pub(super) fn read(
        &mut self,
        from: &mut Reader<'_>,
        aggregates: &[AggregateSpec],
    ) -> Result<(), SnapshotError> {
        for _ in 0..from.size()? {
            let key = read_key(from)?;
            let events = Events::read(from, aggregates)?;
            self.keys.insert(key, events);
        }
        for _ in 0..from.size()? {
            let instant = from.signed()?;
            if super::grid::outside(instant) {
                return Err(SnapshotError::Damaged("the instant of a change"));
            }
            let keys = (0..from.size()?).map(|_| read_key(from)).collect::<Result<_, _>>()?;
            self.changes.insert(instant, keys);
        }
        Ok(())
    }
}

impl Events {
    /// The time of the youngest.
    pub(crate) fn newest(&self) -> i64 {
        self.events.back().map_or(i64::MIN, |(time, _)| *time)
    }

    pub(crate) fn write(&self, out: &mut Writer) {
        out.size(self.events.len());
        for (time, arguments) in &self.events {
            out.signed(*time);
            out.values(arguments);
        }
    }

    pub(crate) fn read(from: &mut Reader<'_>, aggregates: &[AggregateSpec]) -> Result<Self, SnapshotError> {
        let mut events = Self::default();
        for _ in 0..from.size()? {
            let (time, arguments) = (from.signed()?, from.values()?);
            if super::grid::outside(time) {
                return Err(SnapshotError::Damaged("the time of an event"));
            }
            let added = events.push(time, &arguments, aggregates);
            added.map_err(|_| SnapshotError::Damaged("an argument of an aggregate"))?;
        }
        Ok(events)
    }

    pub(crate) fn push(
        &mut self,
        time: i64,
        arguments: &[Value],
        aggregates: &[AggregateSpec],
    ) -> Result<(), EvalError> {
        self.events.push_back((time, arguments.into()));
        if light(aggregates) {
            let back = self.back.get_or_insert_with(|| groups::fresh(aggregates));
            groups::add(back, aggregates, arguments)?;
        }
        Ok(())
    }

    /// Takes away all events up to a time.
    pub(crate) fn leave(&mut self, until: i64, aggregates: &[AggregateSpec]) -> Result<(), EvalError> {
        while self.events.front().is_some_and(|(time, _)| *time <= until) {
            if light(aggregates) {
                if self.front.is_empty() {
                    self.turn(aggregates)?;
                }
                self.front.pop();
            }
            self.events.pop_front();
        }
        Ok(())
    }

    /// Makes the back the front.
    fn turn(&mut self, aggregates: &[AggregateSpec]) -> Result<(), EvalError> {
        for (_, arguments) in self.events.iter().rev() {
            let mut states = groups::fresh(aggregates);
            groups::add(&mut states, aggregates, arguments)?;
            if let Some(younger) = self.front.last() {
                merge(&mut states, younger)?;
            }
            self.front.push(states);
        }
        self.back = None;
        Ok(())
    }

    pub(crate) fn states(&self, aggregates: &[AggregateSpec]) -> Result<States, EvalError> {
        if !light(aggregates) {
            let mut states = groups::fresh(aggregates);
            for (_, arguments) in &self.events {
                groups::add(&mut states, aggregates, arguments)?;
            }
            return Ok(states);
        }
        let mut states = self.front.last().cloned().unwrap_or_else(|| groups::fresh(aggregates));
        if let Some(back) = &self.back {
            merge(&mut states, back)?;
        }
        Ok(states)
    }

    pub(crate) fn weight(&self) -> usize {
        let arguments = |(_, arguments): &(i64, Box<[Value]>)| {
            size_of::<(i64, Box<[Value]>)>() + arguments.iter().map(Value::weight).sum::<usize>()
        };
        self.events.iter().map(arguments).sum::<usize>()
            + self.front.iter().chain(&self.back).map(|states| groups::states_weight(states)).sum::<usize>()
    }
}

fn merge(states: &mut [Accumulator], later: &[Accumulator]) -> Result<(), EvalError> {
    states.iter_mut().zip(later).try_for_each(|(state, other)| state.merge(other))
}

/// Whether all states keep their size, however many events are in them.
fn light(aggregates: &[AggregateSpec]) -> bool {
    aggregates.iter().all(|spec| {
        matches!(
            spec.aggregate,
            Aggregate::CountAll
                | Aggregate::Count
                | Aggregate::Sum
                | Aggregate::Avg
                | Aggregate::Min { .. }
                | Aggregate::Max { .. }
                | Aggregate::StDev
                | Aggregate::StDevP
                | Aggregate::Var
                | Aggregate::VarP
        )
    })
}
