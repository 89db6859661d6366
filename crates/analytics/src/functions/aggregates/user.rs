//! Aggregates that the user wrote.

use crate::script::{Function, State};
use crate::value::snapshot::{Reader, SnapshotError, Writer};
use crate::value::{DateTime, EvalError, Value};
use std::sync::Arc;

/// The state of one.
#[derive(Debug, Clone)]
pub(super) struct User {
    function: Arc<Function>,
    state: State,
    /// The events, where they are kept instead of what they make of the state.
    events: Option<Vec<(Value, DateTime)>>,
}

impl User {
    pub(super) fn new(function: &Arc<Function>, merged: bool) -> Self {
        Self { function: function.clone(), state: function.initial(), events: merged.then(Vec::new) }
    }

    /// Takes in an event. A script sees `NULL` too: only it can know what a missing value means.
    pub(super) fn add(&mut self, value: &Value, time: Option<&Value>) -> Result<(), EvalError> {
        let time = match time {
            Some(Value::DateTime(time)) => *time,
            _ => DateTime::MIN,
        };
        match &mut self.events {
            Some(events) => events.push((value.clone(), time)),
            None => self.function.accumulate(&mut self.state, value, time)?,
        }
        Ok(())
    }

    pub(super) fn merge(&mut self, later: &Self) {
        match (&mut self.events, &later.events) {
            (Some(events), Some(later)) => events.extend_from_slice(later),
            _ => debug_assert!(false, "states of scripts that are not to be merged"),
        }
    }

    pub(super) fn result(&self) -> Result<Value, EvalError> {
        self.function.result(&self.state, self.events.as_deref().unwrap_or_default())
    }

    pub(super) fn weight(&self) -> usize {
        let event = |(value, _): &(Value, DateTime)| size_of::<DateTime>() + value.weight();
        size_of::<Self>() + self.state.weight() + self.events.iter().flatten().map(event).sum::<usize>()
    }

    pub(super) fn write(&self, out: &mut Writer) {
        match &self.events {
            None => self.state.write(out),
            Some(events) => {
                out.size(events.len());
                for (value, time) in events {
                    out.value(value);
                    out.time(*time);
                }
            }
        }
    }

    pub(super) fn restore(&mut self, from: &mut Reader<'_>) -> Result<(), SnapshotError> {
        match &mut self.events {
            None => self.state = State::read(from)?,
            Some(events) => {
                for _ in 0..from.size()? {
                    events.push((from.value()?, from.time()?));
                }
            }
        }
        Ok(())
    }
}
