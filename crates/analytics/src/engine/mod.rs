//! Runs a compiled query: events in, rows out, no clock, no threads, no waiting.
//!
//! [`Engine::push`] takes an event and [`Engine::advance`] tells how late it is; both may make rows, which
//! [`Engine::rows`] hands out. All that happens is decided by what was pushed and advanced, in that order: the same calls
//! give the same rows, also across [`Engine::snapshot`] and [`Engine::restore`].
//!
//! An event goes through a `reader` (time, order, watermark), then through the nodes of the plan: `select` with its
//! `window`s, `union`. Rows flow forward at once, depth first; watermarks follow them.

mod eval;
mod policy;
mod reader;
mod row;
mod select;
mod union;
mod window;

mod snapshot;

#[cfg(test)]
mod tests;

pub use crate::value::snapshot::SnapshotError;
pub use policy::{DataError, DataErrorKind, DataErrors, OnError, OnViolation, Policies};

pub(crate) use reader::event_time;

use crate::error::Place;
use crate::plan::{Operator, Target};
use crate::query::Query;
use crate::value::{DateTime, EvalError, Record};
use policy::ticks;
use reader::{Arrived, ReaderState};
use row::{END_OF_TIME, Row};
use select::{Failed, SelectState};
use std::sync::Arc;
use union::UnionState;

/// A row that a query gave.
#[derive(Debug, Clone, PartialEq)]
pub struct OutputRow {
    /// Index of the output in [`Query::outputs`].
    pub output: usize,
    /// `System.Timestamp()` of the row. Rows of one output come in its order.
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
    /// An input that the query does not have.
    #[error("the query has no input number {0}")]
    NoSuchInput(usize),
}

/// A query at work.
#[derive(Debug)]
pub struct Engine {
    query: Arc<Query>,
    policies: Policies,
    readers: Vec<ReaderState>,
    nodes: Vec<NodeState>,
    rows: Vec<OutputRow>,
    errors: DataErrors,
    stopped: bool,
    /// Calls until the state is weighed again.
    until_weighed: usize,
    /// Kept only to keep its memory.
    scratch: Vec<Vec<Row>>,
}

#[derive(Debug)]
struct NodeState {
    /// What the node has told those behind it.
    watermark: DateTime,
    operator: OperatorState,
}

#[derive(Debug)]
enum OperatorState {
    Select(SelectState),
    Union(UnionState),
}

/// The state is weighed after so many calls, and after more where there is more of it.
const WEIGH_EVERY: usize = 1024;

impl Engine {
    /// An engine without any events behind it.
    pub fn new(query: Arc<Query>, policies: Policies) -> Self {
        let plan = query.plan();
        let nodes = plan.nodes.iter().map(|node| NodeState::new(&node.operator, DateTime::MIN)).collect();
        let readers = plan.readers.iter().map(|_| ReaderState::new()).collect();
        Self {
            policies,
            readers,
            nodes,
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

    /// Takes in an event of an input (an index into [`Query::inputs`]), read with [`Query::json_options`].
    ///
    /// `arrival` is when it came in, by the clock that [`advance`](Self::advance) is told of; it should not go back.
    ///
    /// # Errors
    /// [`EngineError`]; the engine has stopped then. Events that cannot be taken are no errors but counted in
    /// [`data_errors`](Self::data_errors).
    pub fn push(&mut self, input: usize, arrival: DateTime, event: Arc<Record>) -> Result<(), EngineError> {
        self.check()?;
        let query = self.query.clone();
        let plan = query.plan();
        let name = &plan.inputs.get(input).ok_or(EngineError::NoSuchInput(input))?.name;
        let arrival = arrival.clamp(DateTime::MIN, DateTime::MAX);
        for (number, reader) in plan.readers.iter().enumerate().filter(|(_, reader)| reader.input == input) {
            let mut due = self.scratch.pop().unwrap_or_default();
            let mut arrived = Arrived {
                record: event.clone(),
                arrival,
                policies: &self.policies,
                input: name,
                errors: &mut self.errors,
            };
            self.readers[number].push(reader, &mut arrived, &mut due);
            let result = self.release(number, &mut due);
            self.give_back(due);
            result?;
        }
        self.weigh(1)
    }

    /// Counts an event that could not be read, so that all data errors stand in one place.
    pub fn reject(&mut self, input: usize, arrival: DateTime, message: &str) {
        if let Some(input) = self.query.inputs().get(input) {
            self.errors.add(DataErrorKind::InvalidData, &input.name, arrival, || message.to_owned());
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
        let now = now.clamp(DateTime::MIN, DateTime::MAX);
        let late = ticks(self.policies.late_arrival);
        let query = self.query.clone();
        for (number, reader) in query.plan().readers.iter().enumerate() {
            // rule SQL-02
            // Without TIMESTAMP BY the arrival is the time, and what is still to come arrives later.
            let distance = if reader.timestamp.is_some() { late } else { 0 };
            self.raise(number, DateTime(now.0.saturating_sub(distance)))?;
        }
        self.weigh(1)
    }

    /// Tells that no event will come any more: everything that is open is closed. Events after this
    /// are counted as out of order and dropped.
    ///
    /// # Errors
    /// As [`push`](Self::push).
    pub fn flush(&mut self) -> Result<(), EngineError> {
        self.check()?;
        for number in 0..self.readers.len() {
            self.raise(number, END_OF_TIME)?;
        }
        Ok(())
    }

    /// Hands out the rows made since the last time, in the order of their timestamps per output. To be called after every
    /// call that may make some, since they wait in memory until then.
    pub fn rows(&mut self) -> std::vec::IntoIter<OutputRow> {
        std::mem::take(&mut self.rows).into_iter()
    }

    /// Events and rows that were left out or moved, since the engine was made.
    pub fn data_errors(&self) -> &DataErrors {
        &self.errors
    }

    /// The moment before which no more rows of any output will come: the least watermark of the readers.
    pub fn watermark(&self) -> DateTime {
        self.readers.iter().map(ReaderState::watermark).min().unwrap_or(DateTime::MIN)
    }

    /// About how many bytes open windows and waiting events hold.
    pub fn state_bytes(&self) -> usize {
        self.readers.iter().map(ReaderState::weight).sum::<usize>()
            + self.nodes.iter().map(NodeState::weight).sum::<usize>()
    }

    fn check(&self) -> Result<(), EngineError> {
        if self.stopped { Err(EngineError::Stopped) } else { Ok(()) }
    }

    fn raise(&mut self, reader: usize, watermark: DateTime) -> Result<(), EngineError> {
        let mut due = self.scratch.pop().unwrap_or_default();
        self.readers[reader].raise(watermark, &mut due);
        let result = self.release(reader, &mut due);
        self.give_back(due);
        result
    }

    /// Sends rows of a reader on, then its watermark.
    fn release(&mut self, reader: usize, due: &mut Vec<Row>) -> Result<(), EngineError> {
        let query = self.query.clone();
        let targets = &query.plan().readers[reader].targets;
        self.deliver(&query, targets, due)?;
        let watermark = self.readers[reader].watermark();
        for target in targets {
            self.watermark_to(&query, *target, watermark)?;
        }
        Ok(())
    }

    fn deliver(&mut self, query: &Query, targets: &[Target], rows: &mut Vec<Row>) -> Result<(), EngineError> {
        for row in rows.drain(..) {
            if let Some((last, others)) = targets.split_last() {
                for target in others {
                    self.row_to(query, *target, row.clone())?;
                }
                self.row_to(query, *last, row)?;
            }
        }
        Ok(())
    }

    fn row_to(&mut self, query: &Query, target: Target, row: Row) -> Result<(), EngineError> {
        let (node, port) = match target {
            Target::Output(output) => {
                if let Some(record) = row.parts.into_iter().next().and_then(|part| part.record) {
                    self.rows.push(OutputRow { output, timestamp: row.time, record });
                }
                return Ok(());
            }
            Target::Node { node, port } => (node, port),
        };
        let plan = &query.plan().nodes[node];
        let mut out = self.scratch.pop().unwrap_or_default();
        let result = match (&mut self.nodes[node].operator, &plan.operator) {
            (OperatorState::Select(state), Operator::Select(select)) => state.row(select, &row, &mut out),
            (OperatorState::Union(state), _) => {
                state.row(port, row, &mut out);
                Ok(())
            }
            (OperatorState::Select(_), Operator::Union { .. }) => Ok(()),
        };
        let result =
            self.tolerate(query, node, result).and_then(|()| self.deliver(query, &plan.targets, &mut out));
        self.give_back(out);
        result
    }

    fn watermark_to(
        &mut self,
        query: &Query,
        target: Target,
        watermark: DateTime,
    ) -> Result<(), EngineError> {
        let Target::Node { node, port } = target else { return Ok(()) };
        let plan = &query.plan().nodes[node];
        let mut out = self.scratch.pop().unwrap_or_default();
        let (result, reached) = match (&mut self.nodes[node].operator, &plan.operator) {
            (OperatorState::Select(state), Operator::Select(select)) => {
                (state.close(select, watermark, &mut out), watermark)
            }
            (OperatorState::Union(state), _) => {
                state.reached(port, watermark, &mut out);
                (Ok(()), state.watermark())
            }
            (OperatorState::Select(_), Operator::Union { .. }) => (Ok(()), watermark),
        };
        let result =
            self.tolerate(query, node, result).and_then(|()| self.deliver(query, &plan.targets, &mut out));
        self.give_back(out);
        result?;
        if reached > self.nodes[node].watermark {
            self.nodes[node].watermark = reached;
            for target in &plan.targets {
                self.watermark_to(query, *target, reached)?;
            }
        }
        Ok(())
    }

    /// Stops at an error or counts it, as the policy says.
    fn tolerate(
        &mut self,
        query: &Query,
        node: usize,
        result: Result<(), Failed>,
    ) -> Result<(), EngineError> {
        let Err(Failed { error, span, time }) = result else { return Ok(()) };
        let step = &query.plan().nodes[node].name;
        let Place { line, column, .. } = Place::of(query.text(), span.start);
        let error = EngineError::Evaluation { step: step.clone(), line, column, error };
        if self.policies.on_error == OnError::Skip {
            self.errors.add(DataErrorKind::EvaluationError, step, time, || error.to_string());
            return Ok(());
        }
        self.stopped = true;
        Err(error)
    }

    /// Keeps a list for the next use, unless a burst has made it large.
    fn give_back(&mut self, mut list: Vec<Row>) {
        list.clear();
        if list.capacity() <= KEPT_ROWS {
            self.scratch.push(list);
        }
    }

    /// Weighs the state now and then. What lies between two times is at most as many events as that.
    fn weigh(&mut self, calls: usize) -> Result<(), EngineError> {
        self.until_weighed = self.until_weighed.saturating_sub(calls);
        if self.until_weighed > 0 {
            return Ok(());
        }
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

/// A list with room for more rows gives its memory back.
const KEPT_ROWS: usize = 1024;

/// An event adds at least so much where it adds anything.
const BYTES_PER_CALL: usize = 1024;

impl NodeState {
    fn new(operator: &Operator, complete_from: DateTime) -> Self {
        let operator = match operator {
            Operator::Select(select) => OperatorState::Select(SelectState::new(select, complete_from)),
            Operator::Union { ports } => OperatorState::Union(UnionState::new(*ports)),
        };
        Self { watermark: DateTime::MIN, operator }
    }

    fn weight(&self) -> usize {
        match &self.operator {
            OperatorState::Select(state) => state.weight(),
            OperatorState::Union(state) => state.weight(),
        }
    }
}
