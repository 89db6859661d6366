//! Joins of two streams: each row with those of the other side that are near it in time.
//!
//! Rows of both sides are taken in the order of their times, so each waits until neither side can send an earlier one. A row
//! is compared with those of the other side that came before it, and kept as long as one that still comes can match it. So a
//! match is found at the later of its two times, which is the time of the joined row. A left row of a LEFT JOIN that found
//! nothing is given when its last possible match has not come, with the time at which DATEDIFF has its upper bound.

mod left;
mod right;

use super::eval::View;
use super::row::{Part, Row};
use super::select::Failed;
use super::window::Key;
use crate::plan::{Expr, Join};
use crate::value::snapshot::{Reader, SnapshotError, Writer};
use crate::value::{DateTime, EvalError, GroupKey, Value};
use left::Lefts;
use right::Rights;
use std::collections::{BTreeMap, VecDeque};

/// Rows that wait on both sides.
#[derive(Debug)]
pub(crate) struct JoinState {
    /// Of the left and the right side, the watermark it has reached.
    ports: [DateTime; 2],
    /// Rows that have come but whose turn has not, by time.
    waiting: BTreeMap<DateTime, VecDeque<(usize, Row)>>,
    left: Lefts,
    right: Rights,
    /// Joined rows that go out later than they are found, because an earlier one may still be found. Only of LEFT JOIN.
    due: BTreeMap<DateTime, VecDeque<Row>>,
    /// Of all rows in `waiting` and `due`.
    weight: usize,
}

impl JoinState {
    pub(crate) fn new(join: &Join) -> Self {
        Self {
            ports: [DateTime::MIN; 2],
            waiting: BTreeMap::new(),
            left: Lefts::new(join.outer),
            right: Rights::default(),
            due: BTreeMap::new(),
            weight: 0,
        }
    }

    /// Takes in a row of a side.
    pub(crate) fn row(
        &mut self,
        join: &Join,
        port: usize,
        row: Row,
        out: &mut Vec<Row>,
    ) -> Result<(), Failed> {
        self.ports[port] = self.ports[port].max(row.time);
        // Its time is reached at once, but nothing before it is passed: what the turn of others takes is left to the
        // watermark that follows.
        if self.waiting.is_empty() && row.time <= self.ports[1 - port] {
            return self.take(join, port, row, out);
        }
        self.weight += row.weight();
        self.waiting.entry(row.time).or_default().push_back((port, row));
        self.take_due(join, out)
    }

    /// Takes in that a side has reached a watermark.
    pub(crate) fn reached(
        &mut self,
        join: &Join,
        port: usize,
        watermark: DateTime,
        out: &mut Vec<Row>,
    ) -> Result<(), Failed> {
        self.ports[port] = self.ports[port].max(watermark);
        let result = self.take_due(join, out);
        let reached = self.both();
        self.expire(join, reached, out);
        if join.outer {
            self.give(out);
        }
        result
    }

    fn both(&self) -> DateTime {
        self.ports[0].min(self.ports[1])
    }

    /// What no row that still goes out is before.
    pub(crate) fn watermark(&self) -> DateTime {
        self.held().map_or(self.both(), |held| held.min(self.both()))
    }

    /// The time of the first left row without a match so far.
    pub(crate) fn held(&self) -> Option<DateTime> {
        self.left.first_stamp()
    }

    fn take_due(&mut self, join: &Join, out: &mut Vec<Row>) -> Result<(), Failed> {
        let reached = self.both();
        let mut first_error = Ok(());
        while let Some(entry) = self.waiting.first_entry()
            && *entry.key() <= reached
        {
            for (port, row) in entry.remove() {
                self.weight -= row.weight();
                first_error = first_error.and(self.take(join, port, row, out));
            }
        }
        first_error
    }

    fn take(&mut self, join: &Join, port: usize, row: Row, out: &mut Vec<Row>) -> Result<(), Failed> {
        self.expire(join, row.time, out);
        let mut found = Vec::new();
        let taken = if port == 0 {
            self.left.take(join, row, &self.right, &mut found)
        } else {
            self.right.take(join, row, &mut self.left, &mut found)
        };
        found.into_iter().for_each(|row| self.emit(join, row, out));
        taken
    }

    /// Lets go what no row from a time on can match.
    fn expire(&mut self, join: &Join, time: DateTime, out: &mut Vec<Row>) {
        self.right.expire(time);
        while let Some(row) = self.left.expire(time) {
            self.emit(join, row, out);
        }
    }

    fn emit(&mut self, join: &Join, row: Row, out: &mut Vec<Row>) {
        if !join.outer {
            return out.push(row);
        }
        self.weight += row.weight();
        self.due.entry(row.time).or_default().push_back(row);
    }

    /// Gives the rows that none can come before any more.
    fn give(&mut self, out: &mut Vec<Row>) {
        let watermark = self.watermark();
        while let Some(entry) = self.due.first_entry()
            && *entry.key() <= watermark
        {
            for row in entry.remove() {
                self.weight -= row.weight();
                out.push(row);
            }
        }
    }

    /// About how many bytes it holds.
    pub(crate) fn weight(&self) -> usize {
        self.weight + self.left.weight() + self.right.weight()
    }

    pub(crate) fn write(&self, out: &mut Writer) {
        self.ports.iter().for_each(|port| out.signed(port.0));
        out.size(self.waiting.values().map(VecDeque::len).sum());
        for (port, row) in self.waiting.values().flatten() {
            out.flag(*port == 1);
            row.write(out);
        }
        self.left.write(out);
        self.right.write(out);
        out.size(self.due.values().map(VecDeque::len).sum());
        self.due.values().flatten().for_each(|row| row.write(out));
    }

    pub(crate) fn read(join: &Join, from: &mut Reader<'_>) -> Result<Self, SnapshotError> {
        let mut state = Self::new(join);
        for port in &mut state.ports {
            *port = DateTime(from.signed()?);
        }
        for _ in 0..from.size()? {
            let port = usize::from(from.flag()?);
            let row = Row::read(if port == 0 { join.parts } else { 1 }, from)?;
            state.weight += row.weight();
            state.waiting.entry(row.time).or_default().push_back((port, row));
        }
        state.left.read(join, from)?;
        state.right.read(join, from)?;
        for _ in 0..from.size()? {
            let row = Row::read(join.parts + 1, from)?;
            state.weight += row.weight();
            state.due.entry(row.time).or_default().push_back(row);
        }
        Ok(state)
    }
}

/// Values that a row must have equal to those of the other side; `None` if one is NULL, which is equal to nothing.
pub(crate) fn key_of<'e>(
    exprs: impl Iterator<Item = &'e Expr>,
    view: &View<'_>,
) -> Result<Option<Vec<GroupKey>>, EvalError> {
    let mut key = Vec::new();
    for expr in exprs {
        match expr.value(view)? {
            Value::Null => return Ok(None),
            value => key.push(GroupKey(comparable(value))),
        }
    }
    Ok(Some(key))
}

/// A value in whose place another that the language calls equal gives the same: a text beside a number is read as one, and so
/// on. Unequal values may become equal, since the condition itself decides.
fn comparable(value: Value) -> Value {
    match &value {
        Value::Bit(bit) => Value::BigInt(i64::from(*bit)),
        Value::NVarchar(text) => match value.to_float() {
            Some(number) => Value::Float(number),
            None => match (value.to_bit(), DateTime::parse(text)) {
                (Some(bit), _) => Value::BigInt(i64::from(bit)),
                (_, Some(time)) => Value::DateTime(time),
                _ => value,
            },
        },
        _ => value,
    }
}

/// Whether a condition is true, and not unknown.
pub(crate) fn settled(condition: &Expr, view: &View<'_>) -> Result<bool, EvalError> {
    condition.test(view).map(crate::ops::is_true)
}

/// The view of a left row beside a right part.
fn pair<'a>(left: &'a Row, right: &'a Part) -> View<'a> {
    View { time: left.time.max(right.time), right: Some(right), ..View::of(left) }
}

fn key_or_failed<'e>(
    exprs: impl Iterator<Item = &'e Expr>,
    view: &View<'_>,
    join: &Join,
) -> Result<Option<Key>, Failed> {
    let key = key_of(exprs, view);
    key.map(|key| key.map(Into::into)).map_err(|error| Failed { error, span: join.on.span, time: view.time })
}
