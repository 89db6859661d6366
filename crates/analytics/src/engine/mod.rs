//! Runs a compiled query: events in, rows out, no clock, no threads, no waiting.
//!
//! [`Engine::push`] takes an event and [`Engine::advance`] tells how late it is; both may make rows, which
//! [`Engine::rows`] hands out. All that happens is decided by what was pushed and advanced, in that order: the same calls
//! give the same rows, also across [`Engine::snapshot`] and [`Engine::restore`].
//!
//! An event goes through a `reader` (time, order, watermark), then through the nodes of the plan: `join`, `lookup` of
//! reference data, `apply`, `former` events, `select` with its `window`s, `union`. Rows flow forward at once, depth first;
//! watermarks follow them. All of that is a `shard`, of which a query has one per key of TIMESTAMP BY … OVER.

mod decoder;

mod shard;

mod policy;
mod reader;

mod anomaly;
mod apply;
mod former;
mod join;
mod lookup;
mod node;
mod recognize;
mod select;
mod union;
mod window;

mod eval;
mod row;

mod snapshot;

#[cfg(test)]
mod tests;

pub use crate::value::snapshot::SnapshotError;
pub use decoder::Decoder;
pub use policy::{DataError, DataErrorKind, DataErrors, OnError, OnViolation, Policies};

pub(crate) use reader::event_time;

use crate::format::ReadError;
use crate::query::Query;
use crate::value::{DateTime, EvalError, Record};
use lookup::Versions;
use policy::ticks;
use reader::Arrived;
use row::{END_OF_TIME, Row};
use shard::{Shard, Work};
use std::collections::HashMap;
use std::sync::Arc;
use window::Key;

/// A row that a query gave.
#[derive(Debug, Clone, PartialEq)]
pub struct OutputRow {
    /// Index of the output in [`Query::outputs`].
    pub output: usize,
    /// `System.Timestamp()` of the row. Rows of one output come in its order; where an input has several partitions and nothing
    /// is kept from row to row, those of each partition do.
    pub timestamp: DateTime,
    /// The columns.
    pub record: Arc<Record>,
}

/// Why an engine stopped. It gives no rows any more and must be made anew, from a snapshot or empty.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// An expression could not be computed, and [`OnError::Stop`] is set.
    #[error("{step}, line {line}, column {column}: {error}")]
    Evaluation {
        /// The step or output of the SELECT.
        step: Arc<str>,
        /// Line of the query text, from 1.
        line: usize,
        /// Column in characters, from 1.
        column: usize,
        /// What went wrong.
        error: EvalError,
    },
    /// Open windows and waiting events hold more than [`Policies::max_state`].
    #[error(
        "open windows and waiting events hold about {bytes} bytes, {limit} are allowed; use shorter windows, fewer \
         groups or a smaller out-of-order tolerance, or raise the limit"
    )]
    StateTooLarge {
        /// What they hold.
        bytes: usize,
        /// What they may hold.
        limit: usize,
    },
    /// It was used after it had stopped.
    #[error("the query has stopped because of an error before; start it again from its last checkpoint")]
    Stopped,
    /// An input that the query does not have, or of the other kind: a stream takes events, reference data is loaded.
    #[error("the query has no such input number {0}")]
    NoSuchInput(usize),
}

/// A query at work.
#[derive(Debug)]
pub struct Engine {
    query: Arc<Query>,
    policies: Policies,
    timelines: Timelines,
    /// The reference data of each node.
    tables: Vec<Versions>,
    rows: Vec<OutputRow>,
    errors: DataErrors,
    stopped: bool,
    /// Calls until the state is weighed again.
    until_weighed: usize,
    scratch: Vec<Vec<Row>>,
}

/// The state is weighed after so many calls, and after more where there is more of it.
const WEIGH_EVERY: usize = 1024;

impl Engine {
    /// An engine without any events behind it.
    pub fn new(query: Arc<Query>, policies: Policies) -> Self {
        let plan = query.plan();
        let one = || vec![Shard::new(&query, policies.partitions, DateTime::MIN)];
        let shards = if plan.substreams() { Vec::new() } else { one() };
        Self {
            policies,
            timelines: Timelines {
                shards,
                keys: HashMap::new(),
                complete_from: DateTime::MIN,
                now: DateTime::MIN,
            },
            tables: plan.nodes.iter().map(|_| Versions::default()).collect(),
            rows: Vec::new(),
            errors: DataErrors::default(),
            stopped: false,
            until_weighed: WEIGH_EVERY,
            scratch: Vec::new(),
            query,
        }
    }

    /// The query it runs.
    pub fn query(&self) -> &Arc<Query> {
        &self.query
    }

    /// The settings it runs with.
    pub fn policies(&self) -> &Policies {
        &self.policies
    }

    /// Takes in an event of an input (an index into [`Query::inputs`]), read by a [`Decoder`]
    /// or whole, with [`Query::json_options`].
    ///
    /// `arrival` is when it came in, by the clock that [`advance`](Self::advance) is told of; it should not go back.
    ///
    /// # Errors
    /// [`EngineError`]; the engine has stopped then. Events that cannot be taken are no errors but counted in
    /// [`data_errors`](Self::data_errors).
    pub fn push(&mut self, input: usize, arrival: DateTime, event: Arc<Record>) -> Result<(), EngineError> {
        self.push_with_metadata(input, arrival, event, None)
    }

    /// As [`push`](Self::push), with what `GetMetadataPropertyValue` is to find: a record as `{"EventId": …, "IoTHub": {…},
    /// "User": {…}}`.
    ///
    /// # Errors
    /// As [`push`](Self::push).
    pub fn push_with_metadata(
        &mut self,
        input: usize,
        arrival: DateTime,
        event: Arc<Record>,
        metadata: Option<Arc<Record>>,
    ) -> Result<(), EngineError> {
        self.push_from(0, input, arrival, event, metadata)
    }

    /// As [`push_with_metadata`](Self::push_with_metadata), for an input of several partitions ([`Policies::partitions`]; a number
    /// beyond is the first). Events of one partition decide what is out of order in it alone; the input goes on with the slowest.
    ///
    /// # Errors
    /// As [`push`](Self::push).
    pub fn push_from(
        &mut self,
        partition: usize,
        input: usize,
        arrival: DateTime,
        event: Arc<Record>,
        metadata: Option<Arc<Record>>,
    ) -> Result<(), EngineError> {
        self.check()?;
        let arrival = arrival.clamp(DateTime::MIN, DateTime::MAX);
        let (timelines, mut work) = self.parts();
        let result = timelines.push(&mut work, input, (arrival, partition), event, metadata.as_ref());
        self.keep_going(result)?;
        self.weigh(1)
    }

    /// Gives the rows of an input of reference data, read with [`Query::json_options`]: rows of the streams from `from` on
    /// are looked up in them, earlier ones in those loaded before. Snapshots have no reference data: load it again behind
    /// [`restore`](Self::restore) and [`replace`](Self::replace), before the next event.
    ///
    /// # Errors
    /// [`EngineError::NoSuchInput`].
    pub fn load_reference(
        &mut self,
        input: usize,
        from: DateTime,
        rows: &[Arc<Record>],
    ) -> Result<(), EngineError> {
        let query = self.query.clone();
        let plan = query.plan();
        let known = plan.inputs.get(input).filter(|known| known.reference);
        let name = &known.ok_or(EngineError::NoSuchInput(input))?.name;
        // What no row will be looked up in any more can go.
        let passed = self.watermark();
        for (node, table) in plan.nodes.iter().zip(&mut self.tables) {
            if let crate::plan::Operator::Lookup(lookup) = &node.operator
                && lookup.input == input
            {
                table.load(lookup, from, rows, name, &mut self.errors);
                table.forget(passed);
            }
        }
        Ok(())
    }

    /// Counts an event that could not be read, so that all data errors stand in one place.
    pub fn reject(&mut self, input: usize, arrival: DateTime, message: &str) {
        if let Some(input) = self.query.inputs().get(input) {
            self.errors.add(DataErrorKind::InvalidData, &input.name, arrival, || message.to_owned());
        }
    }

    /// [`reject`](Self::reject) under the name that the service has for the error.
    pub fn refuse(&mut self, input: usize, arrival: DateTime, error: &ReadError) {
        if let Some(input) = self.query.inputs().get(input) {
            self.errors.add(error.kind(), &input.name, arrival, || error.to_string());
        }
    }

    /// Tells that no event has come until this moment, by the clock of the arrivals. Windows close, at the latest, when
    /// this is the late-arrival tolerance behind their end.
    ///
    /// Events that arrive later are moved up to that tolerance before their arrival anyway, so it does not matter for any
    /// row how often and when this is called.
    ///
    /// # Errors
    /// As [`push`](Self::push).
    pub fn advance(&mut self, now: DateTime) -> Result<(), EngineError> {
        self.check()?;
        let (timelines, mut work) = self.parts();
        let result = timelines.advance(&mut work, now.clamp(DateTime::MIN, DateTime::MAX));
        self.keep_going(result)?;
        self.weigh(1)
    }

    /// Tells that no event will come any more: everything that is open is closed. Events after this
    /// are counted as out of order and dropped.
    ///
    /// # Errors
    /// As [`push`](Self::push).
    pub fn flush(&mut self) -> Result<(), EngineError> {
        self.check()?;
        let (timelines, mut work) = self.parts();
        let result = timelines.flush(&mut work);
        self.keep_going(result)
    }

    /// Hands out the rows made since the last time, in the order of their timestamps per output (and per key, with TIMESTAMP
    /// BY … OVER). To be called after every call that may make some, since they wait in memory until then.
    pub fn rows(&mut self) -> std::vec::IntoIter<OutputRow> {
        std::mem::take(&mut self.rows).into_iter()
    }

    /// Events and rows that were left out or moved, since the engine was made.
    pub fn data_errors(&self) -> &DataErrors {
        &self.errors
    }

    /// The moment before which no more rows of any output will come, of the keys seen so far.
    pub fn watermark(&self) -> DateTime {
        self.timelines.shards.iter().map(Shard::watermark).min().unwrap_or(DateTime::MIN)
    }

    /// About how many bytes open windows and waiting events hold.
    pub fn state_bytes(&self) -> usize {
        let Timelines { shards, keys, .. } = &self.timelines;
        let keys: usize = keys.keys().map(|key| window::key_weight(key) + self.shard_bytes()).sum();
        keys + shards.iter().map(Shard::weight).sum::<usize>()
    }

    fn shard_bytes(&self) -> usize {
        let plan = self.query.plan();
        plan.readers.len() * size_of::<reader::ReaderState>()
            + plan.nodes.len() * size_of::<node::NodeState>()
    }

    fn check(&self) -> Result<(), EngineError> {
        if self.stopped { Err(EngineError::Stopped) } else { Ok(()) }
    }

    fn keep_going(&mut self, result: Result<(), EngineError>) -> Result<(), EngineError> {
        self.stopped |= result.as_ref().is_err_and(|error| !matches!(error, EngineError::NoSuchInput(_)));
        result
    }

    /// The timelines, and what they work with.
    fn parts(&mut self) -> (&mut Timelines, Work<'_>) {
        let work = Work {
            query: &self.query,
            policies: &self.policies,
            tables: &self.tables,
            rows: &mut self.rows,
            errors: &mut self.errors,
            scratch: &mut self.scratch,
        };
        (&mut self.timelines, work)
    }

    /// Weighs the state now and then. What lies between two times is at most as many events as that.
    fn weigh(&mut self, calls: usize) -> Result<(), EngineError> {
        self.until_weighed = self.until_weighed.saturating_sub(calls);
        if self.until_weighed > 0 {
            return Ok(());
        }
        let reached = self.timelines.now.0.saturating_sub(ticks(self.policies.late_arrival));
        self.timelines.drop_idle(DateTime(reached));
        let bytes = self.state_bytes();
        // Weighing costs about as much as there is state: done rarer, it stays a small part of the whole.
        self.until_weighed = WEIGH_EVERY.max(bytes / BYTES_PER_CALL);
        let limit = self.policies.max_state;
        if bytes > limit {
            self.stopped = true;
            return Err(EngineError::StateTooLarge { bytes, limit });
        }
        Ok(())
    }
}

/// The timelines of a query: one, or one for each key of TIMESTAMP BY … OVER.
#[derive(Debug)]
struct Timelines {
    /// In the order in which they began.
    shards: Vec<Shard>,
    /// Where the timeline of a key is; empty without TIMESTAMP BY … OVER.
    keys: HashMap<Key, usize>,
    /// What windows of timelines that are still to begin must not begin before.
    complete_from: DateTime,
    /// What [`Engine::advance`] told last.
    now: DateTime,
}

impl Timelines {
    /// Takes in an event. `at` is its arrival and its partition.
    fn push(
        &mut self,
        work: &mut Work<'_>,
        input: usize,
        at: (DateTime, usize),
        event: Arc<Record>,
        metadata: Option<&Arc<Record>>,
    ) -> Result<(), EngineError> {
        let plan = work.query.plan();
        let known = plan.inputs.get(input).filter(|known| !known.reference);
        let name = &known.ok_or(EngineError::NoSuchInput(input))?.name;
        let mut readers =
            plan.readers.iter().enumerate().filter(|(_, reader)| reader.input == input).peekable();
        let mut event = Some(event);
        while let Some((number, reader)) = readers.next() {
            let own = if readers.peek().is_some() { event.clone() } else { event.take() };
            let mut arrived = Arrived::new(own.unwrap_or_default(), metadata, at, name);
            if !arrived.convert(reader, work.errors) {
                continue;
            }
            if let Some(shard) = self.of(work, reader, &arrived) {
                shard.push(work, number, arrived)?;
            }
        }
        Ok(())
    }

    fn advance(&mut self, work: &mut Work<'_>, now: DateTime) -> Result<(), EngineError> {
        self.now = now;
        self.shards.iter_mut().try_for_each(|shard| idle(shard, work, now))
    }

    fn flush(&mut self, work: &mut Work<'_>) -> Result<(), EngineError> {
        let readers = work.query.plan().readers.len();
        for shard in &mut self.shards {
            (0..readers).try_for_each(|reader| shard.raise(work, reader, END_OF_TIME))?;
        }
        Ok(())
    }

    /// That of an event; `None` if it has none and is dropped.
    fn of(
        &mut self,
        work: &mut Work<'_>,
        reader: &crate::plan::Reader,
        arrived: &Arrived<'_>,
    ) -> Option<&mut Shard> {
        if !work.query.plan().substreams() {
            return self.shards.first_mut();
        }
        let key = arrived.key(reader, work.errors)?;
        if let Some(shard) = self.keys.get(key.as_slice()) {
            return self.shards.get_mut(*shard);
        }
        let mut shard = Shard::new(work.query, work.policies.partitions, self.complete_from);
        // It holds nothing yet, so there is nothing that could fail.
        let _ = idle(&mut shard, work, self.now);
        self.keys.insert(key.into(), self.shards.len());
        self.shards.push(shard);
        self.shards.last_mut()
    }

    /// Forgets timelines that hold nothing and for which no event can come that they would treat otherwise than new ones:
    /// none before this time is to come.
    fn drop_idle(&mut self, reached: DateTime) {
        let idle = |shard: &Shard| shard.weight() == 0 && shard.watermark() <= reached;
        if self.keys.is_empty() || !self.shards.iter().any(idle) {
            return;
        }
        let mut keys: Vec<Option<Key>> = vec![None; self.shards.len()];
        for (key, shard) in self.keys.drain() {
            keys[shard] = Some(key);
        }
        let shards = std::mem::take(&mut self.shards).into_iter().zip(keys);
        for (shard, key) in shards.filter(|(shard, _)| !idle(shard)) {
            self.keys.extend(key.map(|key| (key, self.shards.len())));
            self.shards.push(shard);
        }
    }
}

/// Raises the watermarks of a timeline to where time without events has brought them.
fn idle(shard: &mut Shard, work: &mut Work<'_>, now: DateTime) -> Result<(), EngineError> {
    let late = ticks(work.policies.late_arrival);
    for (number, reader) in work.query.plan().readers.iter().enumerate() {
        // rule SQL-02
        // Without TIMESTAMP BY the arrival is the time, and what is still to come arrives later.
        let distance = if reader.timestamp.is_some() { late } else { 0 };
        shard.raise(work, number, DateTime(now.0.saturating_sub(distance)))?;
    }
    Ok(())
}

/// An event adds at least so much where it adds anything.
const BYTES_PER_CALL: usize = 1024;
