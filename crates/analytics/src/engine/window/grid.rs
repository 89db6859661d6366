//! Tumbling, hopping and snapshot windows.
//!
//! Events are added up once, into *panes* as long as the greatest common divisor of size and hop; a window's result is
//! that of its panes together. For tumbling windows pane and window are the same. A snapshot window is one tick long.

use super::Closed;
use super::groups::{Contribution, Groups};
use crate::plan::AggregateSpec;
use crate::value::snapshot::{Reader, SnapshotError, Writer};
use crate::value::{DateTime, EvalError};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

/// Windows whose ends lie on a grid.
#[derive(Debug)]
pub(crate) struct Grid {
    size: i64,
    hop: i64,
    offset: i64,
    pane: i64,
    /// By end, in ticks.
    panes: BTreeMap<i64, Groups>,
    /// The last end that was closed; windows are not closed twice.
    closed: Option<i64>,
    /// The first end that is open; kept, as it is asked for with each event.
    next: i64,
    /// The end of the pane that the last event fell into: the next mostly falls into it too.
    last: i64,
}

impl Grid {
    pub(super) fn new(size: i64, hop: i64, offset: i64) -> Self {
        Self {
            size,
            hop,
            offset,
            pane: gcd(size, hop),
            panes: BTreeMap::new(),
            closed: None,
            next: i64::MAX,
            last: i64::MIN,
        }
    }

    pub(super) fn add(
        &mut self,
        time: DateTime,
        event: &Contribution,
        aggregates: &[AggregateSpec],
    ) -> Result<(), EvalError> {
        let end = match self.last {
            last if time.0 <= last && last - time.0 < self.pane => last,
            _ => self.first_end(time.0, self.pane),
        };
        // A hop longer than the window leaves gaps that belong to no window.
        if self.hop > self.size && self.first_end(time.0, self.hop) - time.0 >= self.size {
            return Ok(());
        }
        self.last = end;
        match self.panes.entry(end) {
            Entry::Occupied(pane) => pane.into_mut().add(event, aggregates),
            Entry::Vacant(place) => {
                let added = place.insert(Groups::default()).add(event, aggregates);
                self.find_next();
                added
            }
        }
    }

    /// Whether a window ends before the watermark.
    pub(super) fn is_due(&self, watermark: DateTime) -> bool {
        self.next < watermark.0
    }

    fn find_next(&mut self) {
        self.next = self.panes.first_key_value().map_or(i64::MAX, |(&first, _)| {
            let end = self.first_end(first, self.hop);
            self.closed.map_or(end, |last| end.max(last + self.hop))
        });
    }

    /// The first end on a grid that is not before a time.
    fn first_end(&self, time: i64, step: i64) -> i64 {
        let shifted = time - self.offset;
        time + (-shifted).rem_euclid(step)
    }

    pub(super) fn close(&mut self, watermark: DateTime, closed: &mut Vec<Closed>) -> Result<(), EvalError> {
        // rule SQL-01: an event at exactly the end may still come.
        while self.is_due(watermark) {
            let end = self.next;
            let groups = self.take(end);
            self.closed = Some(end);
            self.find_next();
            let groups = groups?;
            if !groups.is_empty() {
                closed.push(Closed { end: DateTime(end), start: DateTime(end - self.size), groups });
            }
        }
        Ok(())
    }

    /// The groups of the window that ends there; panes that no later window needs are gone then.
    fn take(&mut self, end: i64) -> Result<Groups, EvalError> {
        let needed_later = end + self.hop - self.size;
        let mut groups = Groups::default();
        while let Some(entry) = self.panes.first_entry()
            && *entry.key() <= needed_later.min(end)
        {
            let (pane, later) = entry.remove_entry();
            if pane <= end - self.size {
                continue;
            }
            if groups.is_empty() { groups = later } else { groups.merge(&later)? }
        }
        for later in self.panes.range(..=end).map(|(_, later)| later) {
            groups.merge(later)?;
        }
        Ok(groups)
    }

    pub(super) fn weight(&self) -> usize {
        self.panes.values().map(Groups::weight).sum()
    }

    pub(super) fn write(&self, out: &mut Writer) {
        out.signed(self.closed.unwrap_or(i64::MIN));
        out.size(self.panes.len());
        for (end, groups) in &self.panes {
            out.signed(*end);
            groups.write(out);
        }
    }

    pub(super) fn read(
        &mut self,
        from: &mut Reader<'_>,
        aggregates: &[AggregateSpec],
    ) -> Result<(), SnapshotError> {
        let closed = from.signed()?;
        self.closed = (closed != i64::MIN).then_some(closed);
        if self.closed.is_some_and(outside) {
            return Err(SnapshotError::Damaged("the end of a window"));
        }
        for _ in 0..from.size()? {
            let end = from.signed()?;
            if outside(end) || self.first_end(end, self.pane) != end {
                return Err(SnapshotError::Damaged("the end of a pane"));
            }
            self.panes.insert(end, Groups::read(from, aggregates)?);
        }
        self.find_next();
        Ok(())
    }
}

/// Whether an end is further than any window may reach beyond the calendar.
pub(super) fn outside(end: i64) -> bool {
    !(DateTime::MIN.0 - super::MAX_REACH..=DateTime::MAX.0 + super::MAX_REACH).contains(&end)
}

fn gcd(a: i64, b: i64) -> i64 {
    if b == 0 { a } else { gcd(b, a % b) }
}
