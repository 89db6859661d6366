//! One timeline: the readers and nodes of a query with their state.
//!
//! Without TIMESTAMP BY … OVER a query has one, with it one per key: each has watermarks of its own, so that a slow device
//! keeps back nobody but itself.

use super::lookup::Versions;
use super::node::NodeState;
use super::policy::{DataErrorKind, DataErrors, OnError, Policies};
use super::reader::{Arrived, ReaderState};
use super::row::Row;
use super::select::Failed;
use super::{EngineError, OutputRow};
use crate::error::Place;
use crate::plan::Target;
use crate::query::Query;
use crate::value::DateTime;

/// State of all readers and nodes.
#[derive(Debug)]
pub(crate) struct Shard {
    pub(crate) readers: Vec<ReaderState>,
    pub(crate) nodes: Vec<NodeState>,
}

/// What all timelines of an engine share while one of them works.
pub(crate) struct Work<'a> {
    pub(crate) query: &'a Query,
    pub(crate) policies: &'a Policies,
    /// The reference data of each node.
    pub(crate) tables: &'a [Versions],
    pub(crate) rows: &'a mut Vec<OutputRow>,
    pub(crate) errors: &'a mut DataErrors,
    /// Kept only to keep its memory.
    pub(crate) scratch: &'a mut Vec<Vec<Row>>,
}

impl Shard {
    /// Empty state; windows that begin before `complete_from` give no result.
    pub(crate) fn new(query: &Query, partitions: usize, complete_from: DateTime) -> Self {
        let plan = query.plan();
        Self {
            readers: (0..plan.readers.len())
                .map(|reader| ReaderState::new(plan, reader, partitions))
                .collect(),
            nodes: plan.nodes.iter().map(|node| NodeState::new(&node.operator, complete_from)).collect(),
        }
    }

    /// About how many bytes it holds beside its own.
    pub(crate) fn weight(&self) -> usize {
        self.readers.iter().map(ReaderState::weight).sum::<usize>()
            + self.nodes.iter().map(NodeState::weight).sum::<usize>()
    }

    /// The moment before which no more rows come.
    pub(crate) fn watermark(&self) -> DateTime {
        let readers = self.readers.iter().map(ReaderState::watermark);
        readers.chain(self.nodes.iter().filter_map(NodeState::held)).min().unwrap_or(DateTime::MIN)
    }

    pub(crate) fn push(
        &mut self,
        work: &mut Work<'_>,
        reader: usize,
        arrived: Arrived<'_>,
    ) -> Result<(), EngineError> {
        let plan = &work.query.plan().readers[reader];
        let mut due = work.scratch.pop().unwrap_or_default();
        let at_once = self.readers[reader].push(plan, arrived, work, &mut due);
        let mut result = Ok(());
        if let Some(row) = at_once {
            result = self.pass_on(work, &plan.targets, row);
        }
        let result = result.and_then(|()| self.release(work, reader, &mut due));
        work.give_back(due);
        result
    }

    pub(crate) fn raise(
        &mut self,
        work: &mut Work<'_>,
        reader: usize,
        watermark: DateTime,
    ) -> Result<(), EngineError> {
        let mut due = work.scratch.pop().unwrap_or_default();
        self.readers[reader].raise(watermark, &mut due);
        let result = self.release(work, reader, &mut due);
        work.give_back(due);
        result
    }

    /// Sends rows of a reader on, then its watermark.
    fn release(&mut self, work: &mut Work<'_>, reader: usize, due: &mut Vec<Row>) -> Result<(), EngineError> {
        let targets = &work.query.plan().readers[reader].targets;
        self.deliver(work, targets, due)?;
        let watermark = self.readers[reader].watermark();
        for target in targets {
            self.watermark_to(work, *target, watermark)?;
        }
        Ok(())
    }

    fn deliver(
        &mut self,
        work: &mut Work<'_>,
        targets: &[Target],
        rows: &mut Vec<Row>,
    ) -> Result<(), EngineError> {
        if rows.is_empty() {
            return Ok(());
        }
        rows.drain(..).try_for_each(|row| self.pass_on(work, targets, row))
    }

    fn pass_on(&mut self, work: &mut Work<'_>, targets: &[Target], row: Row) -> Result<(), EngineError> {
        let Some((last, others)) = targets.split_last() else { return Ok(()) };
        for target in others {
            self.row_to(work, *target, row.clone())?;
        }
        self.row_to(work, *last, row)
    }

    fn row_to(&mut self, work: &mut Work<'_>, target: Target, row: Row) -> Result<(), EngineError> {
        let (node, port) = match target {
            Target::Output(output) => {
                if let Some(record) = row.parts.into_iter().next().and_then(|part| part.record) {
                    work.rows.push(OutputRow { output, timestamp: row.time, record });
                }
                return Ok(());
            }
            Target::Node { node, port } => (node, port),
        };
        let plan = &work.query.plan().nodes[node];
        let mut out = work.scratch.pop().unwrap_or_default();
        let result = self.nodes[node].row(&plan.operator, &work.tables[node], port, row, &mut out);
        let result = work.tolerate(node, result).and_then(|()| self.deliver(work, &plan.targets, &mut out));
        work.give_back(out);
        result
    }

    fn watermark_to(
        &mut self,
        work: &mut Work<'_>,
        target: Target,
        watermark: DateTime,
    ) -> Result<(), EngineError> {
        let Target::Node { node, port } = target else { return Ok(()) };
        let plan = &work.query.plan().nodes[node];
        let mut reached = watermark;
        if self.nodes[node].may_be_due(watermark) {
            let mut out = work.scratch.pop().unwrap_or_default();
            let result;
            (result, reached) = self.nodes[node].reached(&plan.operator, port, watermark, &mut out);
            let result = work.tolerate(node, result);
            let result = result.and_then(|()| self.deliver(work, &plan.targets, &mut out));
            work.give_back(out);
            result?;
        }
        if reached > self.nodes[node].watermark {
            self.nodes[node].watermark = reached;
            for target in &plan.targets {
                self.watermark_to(work, *target, reached)?;
            }
        }
        Ok(())
    }
}

/// A list with room for more rows gives its memory back.
const KEPT_ROWS: usize = 1024;

impl Work<'_> {
    /// Stops at an error or counts it, as the policy says.
    #[inline]
    fn tolerate(&mut self, node: usize, result: Result<(), Failed>) -> Result<(), EngineError> {
        result.or_else(|failed| self.judge(node, failed))
    }

    fn judge(&mut self, node: usize, Failed { error, span, time }: Failed) -> Result<(), EngineError> {
        let step = &self.query.plan().nodes[node].name;
        let Place { line, column, .. } = Place::of(self.query.text(), span.start);
        let error = EngineError::Evaluation { step: step.clone(), line, column, error };
        if self.policies.on_error == OnError::Skip {
            self.errors.add(DataErrorKind::EvaluationError, step, time, || error.to_string());
            return Ok(());
        }
        Err(error)
    }

    /// Keeps a list for the next use, unless a burst has made it large.
    #[inline]
    fn give_back(&mut self, mut list: Vec<Row>) {
        list.clear();
        if list.capacity() <= KEPT_ROWS {
            self.scratch.push(list);
        }
    }
}
