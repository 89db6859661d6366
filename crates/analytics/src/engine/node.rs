//! The state of one node, whatever it does.

use super::join::JoinState;
use super::lookup::{self, Versions};
use super::recognize::RecognizeState;
use super::row::Row;
use super::select::{Failed, SelectState};
use super::union::UnionState;
use super::{apply, former::FormerState};
use crate::plan::Operator;
use crate::value::DateTime;
use crate::value::snapshot::{Reader, SnapshotError, Writer};

/// A node at work.
#[derive(Debug)]
pub(crate) struct NodeState {
    /// What the node has told those behind it.
    pub(crate) watermark: DateTime,
    state: OperatorState,
}

#[derive(Debug)]
enum OperatorState {
    Select(Box<SelectState>),
    Union(UnionState),
    Join(Box<JoinState>),
    Former(FormerState),
    Recognize(Box<RecognizeState>),
    /// What a row becomes is decided by it alone.
    Stateless,
}

impl NodeState {
    /// An empty node; of windows, those that begin before `complete_from` give no result.
    pub(crate) fn new(operator: &Operator, complete_from: DateTime) -> Self {
        let state = match operator {
            Operator::Select(select) => {
                OperatorState::Select(Box::new(SelectState::new(select, complete_from)))
            }
            Operator::Union { ports } => OperatorState::Union(UnionState::new(*ports)),
            Operator::Join(join) => OperatorState::Join(Box::new(JoinState::new(join))),
            Operator::Former(specs) => OperatorState::Former(FormerState::new(specs)),
            Operator::Recognize(_) => OperatorState::Recognize(Box::default()),
            Operator::Apply(_) | Operator::Lookup(_) => OperatorState::Stateless,
        };
        Self { watermark: DateTime::MIN, state }
    }

    /// Takes in a row. `table` is the reference data of the node, where it reads some.
    pub(crate) fn row(
        &mut self,
        operator: &Operator,
        table: &Versions,
        port: usize,
        row: Row,
        out: &mut Vec<Row>,
    ) -> Result<(), Failed> {
        match (&mut self.state, operator) {
            (OperatorState::Select(state), Operator::Select(select)) => state.row(select, &row, out),
            (OperatorState::Union(state), _) => {
                state.row(port, row, out);
                Ok(())
            }
            (OperatorState::Join(state), Operator::Join(join)) => state.row(join, port, row, out),
            (OperatorState::Former(state), Operator::Former(specs)) => state.extend(specs, row, out),
            (OperatorState::Recognize(state), Operator::Recognize(recognize)) => state.row(recognize, row),
            (_, Operator::Apply(apply)) => apply::row(apply, &row, out),
            (_, Operator::Lookup(join)) => lookup::row(join, table, &row, out),
            _ => Ok(()),
        }
    }

    /// Takes in that a port has reached a watermark; gives the node's own.
    pub(crate) fn reached(
        &mut self,
        operator: &Operator,
        port: usize,
        watermark: DateTime,
        out: &mut Vec<Row>,
    ) -> (Result<(), Failed>, DateTime) {
        match (&mut self.state, operator) {
            (OperatorState::Select(state), Operator::Select(select)) => {
                (state.close(select, watermark, out), watermark)
            }
            (OperatorState::Union(state), _) => {
                state.reached(port, watermark, out);
                (Ok(()), state.watermark())
            }
            (OperatorState::Join(state), Operator::Join(join)) => {
                let result = state.reached(join, port, watermark, out);
                (result, state.watermark())
            }
            (OperatorState::Recognize(state), Operator::Recognize(recognize)) => {
                let result = state.reached(recognize, watermark, out);
                (result, state.watermark())
            }
            (OperatorState::Former(state), Operator::Former(specs)) => {
                state.forget(specs, watermark);
                (Ok(()), watermark)
            }
            _ => (Ok(()), watermark),
        }
    }

    /// Whether [`reached`](Self::reached) may have something to do but pass the watermark on: a cheap look before it.
    #[inline]
    pub(crate) fn may_be_due(&self, watermark: DateTime) -> bool {
        match &self.state {
            OperatorState::Select(state) => state.may_be_due(watermark),
            OperatorState::Stateless => false,
            _ => true,
        }
    }

    /// The time of the earliest row that is still to come although the watermark is beyond it.
    pub(crate) fn held(&self) -> Option<DateTime> {
        match &self.state {
            OperatorState::Join(state) => state.held(),
            OperatorState::Recognize(state) => state.held(),
            _ => None,
        }
    }

    /// About how many bytes it holds.
    pub(crate) fn weight(&self) -> usize {
        match &self.state {
            OperatorState::Select(state) => state.weight(),
            OperatorState::Union(state) => state.weight(),
            OperatorState::Join(state) => state.weight(),
            OperatorState::Former(state) => state.weight(),
            OperatorState::Recognize(state) => state.weight(),
            OperatorState::Stateless => 0,
        }
    }

    pub(crate) fn write(&self, out: &mut Writer) {
        match &self.state {
            OperatorState::Select(state) => state.write(out),
            OperatorState::Union(state) => state.write(out),
            OperatorState::Join(state) => state.write(out),
            OperatorState::Former(state) => state.write(out),
            OperatorState::Recognize(state) => state.write(out),
            OperatorState::Stateless => {}
        }
    }

    /// Reads what [`write`](Self::write) wrote for a node that does the same.
    pub(crate) fn read(
        operator: &Operator,
        watermark: DateTime,
        from: &mut Reader<'_>,
    ) -> Result<Self, SnapshotError> {
        let state = match operator {
            Operator::Select(select) => OperatorState::Select(Box::new(SelectState::read(select, from)?)),
            Operator::Union { ports } => OperatorState::Union(UnionState::read(*ports, from)?),
            Operator::Join(join) => OperatorState::Join(Box::new(JoinState::read(join, from)?)),
            Operator::Former(specs) => OperatorState::Former(FormerState::read(specs, from)?),
            Operator::Recognize(_) => OperatorState::Recognize(Box::new(RecognizeState::read(from)?)),
            Operator::Apply(_) | Operator::Lookup(_) => OperatorState::Stateless,
        };
        Ok(Self { watermark, state })
    }
}
