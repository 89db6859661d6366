//! The right side: rows that later left ones may match, for as long as that can be.

use super::{Lefts, key_or_failed};
use crate::engine::eval::View;
use crate::engine::row::{Part, Row};
use crate::engine::select::Failed;
use crate::engine::window::Key;
use crate::plan::Join;
use crate::value::DateTime;
use crate::value::snapshot::{Reader, SnapshotError, Writer};
use std::collections::{HashMap, VecDeque};

/// Right rows by what must be equal, oldest first.
#[derive(Debug, Default)]
pub(super) struct Rights {
    rows: HashMap<Key, VecDeque<Row>>,
    /// The last time at which each is of use, with its key, in the order of coming.
    last: VecDeque<(DateTime, Key)>,
    weight: usize,
}

/// What a row costs beside its own weight.
const RIGHT_WEIGHT: usize = size_of::<Row>() + size_of::<(DateTime, Key)>();

impl Rights {
    /// Compares a row with the left ones before it, and keeps it for those behind it.
    pub(super) fn take(
        &mut self,
        join: &Join,
        row: Row,
        lefts: &mut Lefts,
        found: &mut Vec<Row>,
    ) -> Result<(), Failed> {
        let part = &row.parts[0];
        let key = key_or_failed(join.keys.iter().map(|(_, right)| right), &View::alone(part), join)?;
        let Some(key) = key else { return Ok(()) };
        let result = lefts.meet(join, &key, part, found);
        self.keep(join, key, row);
        result
    }

    fn keep(&mut self, join: &Join, key: Key, row: Row) {
        if join.keep_right < 0 {
            return;
        }
        self.weight += RIGHT_WEIGHT + row.weight();
        self.last.push_back((DateTime(row.time.0.saturating_add(join.keep_right)), key.clone()));
        self.rows.entry(key).or_default().push_back(row);
    }

    /// The rows under a key between two times, inclusive.
    pub(super) fn between(&self, key: &Key, first: DateTime, last: DateTime) -> impl Iterator<Item = &Part> {
        let rows = self.rows.get(key);
        let start = rows.map_or(0, |rows| rows.partition_point(|row| row.time < first));
        let from = rows.into_iter().flat_map(move |rows| rows.range(start..));
        from.take_while(move |row| row.time <= last).map(|row| &row.parts[0])
    }

    /// Lets go what no left row from a time on can match.
    pub(super) fn expire(&mut self, time: DateTime) {
        while self.last.front().is_some_and(|(last, _)| *last < time) {
            let Some((_, key)) = self.last.pop_front() else { break };
            let Some(rows) = self.rows.get_mut(&key) else { continue };
            if let Some(row) = rows.pop_front() {
                self.weight -= RIGHT_WEIGHT + row.weight();
            }
            if rows.is_empty() {
                self.rows.remove(&key);
            }
        }
    }

    pub(super) fn weight(&self) -> usize {
        self.weight
    }

    pub(super) fn write(&self, out: &mut Writer) {
        // In the order of coming: of each key the rows come in that order too.
        let mut rest: HashMap<&Key, std::collections::vec_deque::Iter<'_, Row>> =
            self.rows.iter().map(|(key, rows)| (key, rows.iter())).collect();
        out.size(self.last.len());
        for (_, key) in &self.last {
            if let Some(row) = rest.get_mut(key).and_then(Iterator::next) {
                row.write(out);
            }
        }
    }

    pub(super) fn read(&mut self, join: &Join, from: &mut Reader<'_>) -> Result<(), SnapshotError> {
        let mut before = DateTime::MIN;
        for _ in 0..from.size()? {
            let row = Row::read(1, from)?;
            let keys = join.keys.iter().map(|(_, right)| right);
            let key = key_or_failed(keys, &View::alone(&row.parts[0]), join).ok().flatten();
            let Some(key) = key.filter(|_| row.time >= before) else {
                return Err(SnapshotError::Damaged("a row of a join"));
            };
            before = row.time;
            self.keep(join, key, row);
        }
        Ok(())
    }
}
