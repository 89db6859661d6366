//! The left side: rows that wait for matches, each between two times.

use super::{Rights, key_or_failed, pair, settled};
use crate::engine::eval::View;
use crate::engine::row::{Part, Row};
use crate::engine::select::Failed;
use crate::engine::window::Key;
use crate::plan::Join;
use crate::value::DateTime;
use crate::value::snapshot::{Reader, SnapshotError, Writer};
use std::collections::{BTreeMap, HashMap};

/// Left rows by what must be equal.
#[derive(Debug)]
pub(super) struct Lefts {
    /// Whether rows without a match are given.
    outer: bool,
    /// By number, which grows with the order of coming; rows with a NULL are under no key.
    rows: HashMap<Option<Key>, BTreeMap<u64, Left>>,
    /// By the last time at which a match can come, and number.
    last: BTreeMap<(DateTime, u64), Option<Key>>,
    /// Times of rows without a match so far, counted; only of LEFT JOIN.
    stamps: BTreeMap<DateTime, usize>,
    next: u64,
    weight: usize,
}

#[derive(Debug)]
struct Left {
    row: Row,
    first: DateTime,
    last: DateTime,
    stamp: DateTime,
    matched: bool,
}

impl Left {
    fn new(join: &Join, row: Row) -> Self {
        let (mut first, mut last, mut stamp) = (DateTime(i64::MIN), DateTime(i64::MAX), DateTime::MAX);
        for bound in &join.bounds {
            let part = &row.parts[bound.part];
            if part.record.is_none() {
                // What is not there has no time, so nothing is near it.
                (last, stamp) = (DateTime(i64::MIN), row.time);
                break;
            }
            let from = |ticks: i64| DateTime(part.time.0.saturating_add(ticks));
            first = first.max(bound.low.map_or(first, from));
            last = last.min(bound.high.map_or(last, from));
            stamp = stamp.min(bound.latest.map_or(stamp, from));
        }
        // A result cannot be before its cause, nor behind the calendar.
        let stamp = stamp.max(row.time).min(DateTime::MAX);
        Self { row, first, last, stamp, matched: false }
    }

    fn unmatched(self) -> Row {
        let nothing = Part { time: self.stamp, record: None, extra: None };
        self.row.with(self.stamp, nothing)
    }

    fn weight(&self) -> usize {
        LEFT_WEIGHT + self.row.weight()
    }
}

/// What a row costs beside its own weight: entries in maps.
const LEFT_WEIGHT: usize = size_of::<Left>() + 2 * size_of::<((DateTime, u64), Option<Key>)>();

impl Lefts {
    pub(super) fn new(outer: bool) -> Self {
        Self {
            outer,
            rows: HashMap::new(),
            last: BTreeMap::new(),
            stamps: BTreeMap::new(),
            next: 0,
            weight: 0,
        }
    }

    /// Compares a row with the right ones before it, and keeps it for those behind it.
    pub(super) fn take(
        &mut self,
        join: &Join,
        row: Row,
        rights: &Rights,
        found: &mut Vec<Row>,
    ) -> Result<(), Failed> {
        let key = key_or_failed(join.keys.iter().map(|(left, _)| left), &View::of(&row), join)?;
        let mut left = Left::new(join, row);
        let mut result = Ok(());
        if let Some(key) = &key {
            for right in rights.between(key, left.first, left.last) {
                match settled(&join.on.expr, &pair(&left.row, right)) {
                    Ok(true) => {
                        left.matched = true;
                        found.push(left.row.with(left.row.time.max(right.time), right.clone()));
                    }
                    Ok(false) => {}
                    Err(error) => {
                        result = result.and(Err(Failed { error, span: join.on.span, time: left.row.time }));
                    }
                }
            }
        }
        if left.last >= left.row.time {
            self.keep(key, left);
        } else if self.outer && !left.matched {
            found.push(left.unmatched());
        }
        result
    }

    fn keep(&mut self, key: Option<Key>, left: Left) {
        // Without a chance it waits only to be given as one without a match.
        if key.is_none() && !self.outer {
            return;
        }
        if self.outer && !left.matched {
            *self.stamps.entry(left.stamp).or_default() += 1;
        }
        self.weight += left.weight();
        self.last.insert((left.last, self.next), key.clone());
        self.rows.entry(key).or_default().insert(self.next, left);
        self.next += 1;
    }

    /// Compares the rows under a key with a right one behind them.
    pub(super) fn meet(
        &mut self,
        join: &Join,
        key: &Key,
        right: &Part,
        found: &mut Vec<Row>,
    ) -> Result<(), Failed> {
        let mut result = Ok(());
        let Some(rows) = self.rows.get_mut(&Some(key.clone())) else { return Ok(()) };
        for left in rows.values_mut().filter(|left| left.first <= right.time && right.time <= left.last) {
            match settled(&join.on.expr, &pair(&left.row, right)) {
                Ok(true) => {
                    if self.outer && !left.matched {
                        uncount(&mut self.stamps, left.stamp);
                    }
                    left.matched = true;
                    found.push(left.row.with(left.row.time.max(right.time), right.clone()));
                }
                Ok(false) => {}
                Err(error) => {
                    result = result.and(Err(Failed { error, span: join.on.span, time: right.time }));
                }
            }
        }
        result
    }

    /// Lets go the next row that nothing from a time on can match; it is given if it found nothing and that counts.
    pub(super) fn expire(&mut self, time: DateTime) -> Option<Row> {
        while let Some(entry) = self.last.first_entry()
            && entry.key().0 < time
        {
            let ((_, number), key) = entry.remove_entry();
            let Some(rows) = self.rows.get_mut(&key) else { continue };
            let Some(left) = rows.remove(&number) else { continue };
            if rows.is_empty() {
                self.rows.remove(&key);
            }
            self.weight -= left.weight();
            if self.outer && !left.matched {
                uncount(&mut self.stamps, left.stamp);
                return Some(left.unmatched());
            }
        }
        None
    }

    /// The earliest time that a row without a match would be given at.
    pub(super) fn first_stamp(&self) -> Option<DateTime> {
        self.stamps.first_key_value().map(|(stamp, _)| *stamp)
    }

    pub(super) fn weight(&self) -> usize {
        self.weight
    }

    pub(super) fn write(&self, out: &mut Writer) {
        let mut rows: Vec<_> = self.rows.values().flatten().collect();
        rows.sort_unstable_by_key(|(number, _)| **number);
        out.size(rows.len());
        for (_, left) in rows {
            out.flag(left.matched);
            left.row.write(out);
        }
    }

    pub(super) fn read(&mut self, join: &Join, from: &mut Reader<'_>) -> Result<(), SnapshotError> {
        for _ in 0..from.size()? {
            let matched = from.flag()?;
            let row = Row::read(join.parts, from)?;
            let key = key_or_failed(join.keys.iter().map(|(left, _)| left), &View::of(&row), join);
            let key = key.map_err(|_| SnapshotError::Damaged("a row of a join"))?;
            let left = Left { matched, ..Left::new(join, row) };
            self.keep(key, left);
        }
        Ok(())
    }
}

fn uncount(stamps: &mut BTreeMap<DateTime, usize>, stamp: DateTime) {
    if let Some(count) = stamps.get_mut(&stamp) {
        *count -= 1;
        if *count == 0 {
            stamps.remove(&stamp);
        }
    }
}
