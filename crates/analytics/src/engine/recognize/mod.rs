//! MATCH_RECOGNIZE at work: every row of a sequence may begin a match.
//!
//! A beginning is tried again with each row that follows, until the pattern is decided or no row in reach can come any more.
//! What it gives has the time of the match's last row, which may be behind that of the rows that decided it; so matches wait
//! until no earlier one can be found.

mod matcher;

use super::eval::View;
use super::row::Row;
use super::select::Failed;
use super::window::Key;
use crate::plan::Recognize;
use crate::value::snapshot::{Reader, SnapshotError, Writer};
use crate::value::{DateTime, EvalError, GroupKey};
use matcher::{Outcome, attempt, measures};
use std::collections::{BTreeMap, HashMap, VecDeque};

/// Rows that may be part of a match.
#[derive(Debug, Default)]
pub(crate) struct RecognizeState {
    sequences: HashMap<Key, Sequence>,
    /// Beginnings that are not decided, by time and number.
    open: BTreeMap<(DateTime, u64), Key>,
    /// Matches that wait for their turn, by time.
    due: BTreeMap<DateTime, VecDeque<Row>>,
    next: u64,
    weight: usize,
    reached: Option<DateTime>,
}

/// The rows of one key from the first open beginning on, oldest first, each with its number.
#[derive(Debug, Default)]
struct Sequence {
    rows: VecDeque<(u64, Row)>,
    /// The numbers of rows that are open beginnings.
    open: VecDeque<u64>,
}

impl Sequence {
    /// The rows from a beginning on that are in its reach, and whether there is one behind them.
    fn from(&self, number: u64, length: i64) -> (Vec<&Row>, bool) {
        let start = self.rows.partition_point(|(other, _)| *other < number);
        let Some((_, first)) = self.rows.get(start) else { return (Vec::new(), true) };
        let end = first.time.0.saturating_add(length);
        let all = self.rows.range(start..).map(|(_, row)| row);
        let rows: Vec<&Row> = all.take_while(|row| row.time.0 < end).collect();
        let closed = start + rows.len() < self.rows.len();
        (rows, closed)
    }
}

impl RecognizeState {
    /// Takes in a row.
    pub(crate) fn row(&mut self, plan: &Recognize, row: Row) -> Result<(), Failed> {
        let failed = |error: EvalError, time| Failed { error, span: plan.span, time };
        let view = View::of(&row);
        let key = plan.partition.iter().map(|key| key.value(&view).map(GroupKey));
        let key: Key = key.collect::<Result<_, _>>().map_err(|error| failed(error, row.time))?;
        let time = row.time;
        self.add(&key, row, true);
        let Some(sequence) = self.sequences.get(&key) else { return Ok(()) };
        let mut result = Ok(());
        for number in sequence.open.iter().copied().collect::<Vec<_>>() {
            let decided = self.decide(plan, &key, number, false);
            result = result.and(decided.map_err(|error| failed(error, time)));
        }
        result
    }

    fn add(&mut self, key: &Key, row: Row, open: bool) {
        let sequence = self.sequences.entry(key.clone()).or_default();
        if open {
            sequence.open.push_back(self.next);
            self.open.insert((row.time, self.next), key.clone());
        }
        self.weight += row.weight();
        sequence.rows.push_back((self.next, row));
        self.next += 1;
    }

    /// Takes in that no row before a time will come any more, and gives the matches whose turn it is.
    pub(crate) fn reached(
        &mut self,
        plan: &Recognize,
        watermark: DateTime,
        out: &mut Vec<Row>,
    ) -> Result<(), Failed> {
        let mut result = Ok(());
        while let Some((&(time, number), key)) = self.open.first_key_value()
            && time.0.saturating_add(plan.length) <= watermark.0
        {
            let key = key.clone();
            let decided = self.decide(plan, &key, number, true);
            result = result.and(decided.map_err(|error| Failed { error, span: plan.span, time }));
        }
        self.reached = Some(watermark);
        let until = self.watermark();
        while let Some(entry) = self.due.first_entry()
            && *entry.key() <= until
        {
            for row in entry.remove() {
                self.weight -= row.weight();
                out.push(row);
            }
        }
        result
    }

    /// What no match that still goes out is before.
    pub(crate) fn watermark(&self) -> DateTime {
        let reached = self.reached.unwrap_or(DateTime::MIN);
        self.held().map_or(reached, |held| held.min(reached))
    }

    /// The time of the first open beginning.
    pub(crate) fn held(&self) -> Option<DateTime> {
        self.open.first_key_value().map(|((time, _), _)| *time)
    }

    /// Tries a beginning; once it is decided it is open no more. `closed` says that no row in its reach can come.
    fn decide(&mut self, plan: &Recognize, key: &Key, number: u64, closed: bool) -> Result<(), EvalError> {
        let Some(sequence) = self.sequences.get_mut(key) else { return Ok(()) };
        let (rows, behind) = sequence.from(number, plan.length);
        let outcome = attempt(plan, &rows, closed || behind);
        if matches!(outcome, Ok(Outcome::Open)) {
            return Ok(());
        }
        let begun = rows.first().map(|row| row.time);
        let given = outcome.and_then(|outcome| match outcome {
            Outcome::Match(taken) if !taken.is_empty() => {
                let last = rows[taken.len() - 1].time;
                measures(plan, &rows, &taken).map(|record| Some(Row::single(last, record)))
            }
            _ => Ok(None),
        });
        sequence.open.retain(|open| *open != number);
        let keep = sequence.open.front().copied().unwrap_or(u64::MAX);
        while sequence.rows.front().is_some_and(|(other, _)| *other < keep) {
            if let Some((_, row)) = sequence.rows.pop_front() {
                self.weight -= row.weight();
            }
        }
        if sequence.rows.is_empty() {
            self.sequences.remove(key);
        }
        if let Some(begun) = begun {
            self.open.remove(&(begun, number));
        }
        if let Some(row) = given? {
            self.weight += row.weight();
            self.due.entry(row.time).or_default().push_back(row);
        }
        Ok(())
    }

    /// About how many bytes it holds.
    pub(crate) fn weight(&self) -> usize {
        self.weight + self.open.len() * size_of::<((DateTime, u64), Key)>()
    }

    pub(crate) fn write(&self, out: &mut Writer) {
        out.signed(self.reached.unwrap_or(DateTime::MIN).0);
        let mut rows = Vec::new();
        for (key, sequence) in &self.sequences {
            rows.extend(sequence.rows.iter().map(|(number, row)| (*number, key, sequence, row)));
        }
        rows.sort_unstable_by_key(|(number, ..)| *number);
        out.size(rows.len());
        for (number, key, sequence, row) in rows {
            super::window::write_key(key, out);
            out.flag(sequence.open.contains(&number));
            row.write(out);
        }
        out.size(self.due.values().map(VecDeque::len).sum());
        self.due.values().flatten().for_each(|row| row.write(out));
    }

    pub(crate) fn read(from: &mut Reader<'_>) -> Result<Self, SnapshotError> {
        let mut state = Self { reached: Some(DateTime(from.signed()?)), ..Self::default() };
        let mut before = DateTime::MIN;
        for _ in 0..from.size()? {
            let key = super::window::read_key(from)?;
            let open = from.flag()?;
            let row = Row::read(1, from)?;
            if row.time < before {
                return Err(SnapshotError::Damaged("the order of rows"));
            }
            before = row.time;
            state.add(&key, row, open);
        }
        for _ in 0..from.size()? {
            let row = Row::read(1, from)?;
            state.weight += row.weight();
            state.due.entry(row.time).or_default().push_back(row);
        }
        Ok(state)
    }
}
