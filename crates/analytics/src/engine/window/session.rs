//! Session windows: events that follow each other within a timeout, cut where they go on for too long.
//!
//! A session that began at `b` ends at the earlier of its last event plus the timeout, and the first multiple of the maximum
//! duration that is at least that duration after `b` (reference: "Session window"). Both are known as soon as an event is
//! in, so a session needs one timer.

use super::Closed;
use super::groups::{Contribution, Groups};
use super::key::{Key, key_weight, read_key, write_key};
use crate::engine::eval::View;
use crate::plan::{AggregateSpec, Located};
use crate::value::snapshot::{Reader, SnapshotError, Writer};
use crate::value::{DateTime, EvalError, GroupKey};
use std::collections::{BTreeSet, HashMap};

/// The open sessions, at most one per value of the partition.
#[derive(Debug)]
pub(crate) struct Sessions {
    timeout: i64,
    longest: i64,
    open: HashMap<Key, Session>,
    /// End and number of every open session.
    timers: BTreeSet<(i64, u64)>,
    /// Whose number it is.
    numbers: HashMap<u64, Key>,
    next: u64,
}

#[derive(Debug)]
struct Session {
    number: u64,
    began: i64,
    end: i64,
    groups: Groups,
}

impl Sessions {
    pub(super) fn new(timeout: i64, longest: i64) -> Self {
        Self {
            timeout,
            longest,
            open: HashMap::new(),
            timers: BTreeSet::new(),
            numbers: HashMap::new(),
            next: 0,
        }
    }

    pub(super) fn add(
        &mut self,
        view: &View<'_>,
        partition: &[Located],
        event: &Contribution,
        aggregates: &[AggregateSpec],
    ) -> Result<(), EvalError> {
        let key =
            partition.iter().map(|key| key.expr.value(view).map(GroupKey)).collect::<Result<Key, _>>()?;
        let time = view.time.0;
        let number = match self.open.get(&key) {
            Some(session) => session.number,
            None => self.begin(key.clone(), time),
        };
        let end = self.end(self.open.get(&key).map_or(time, |session| session.began), time);
        let Some(session) = self.open.get_mut(&key) else { return Ok(()) };
        if session.end != end {
            self.timers.remove(&(session.end, number));
            self.timers.insert((end, number));
            session.end = end;
        }
        session.groups.add(event, aggregates)
    }

    fn begin(&mut self, key: Key, time: i64) -> u64 {
        self.next += 1;
        let (number, end) = (self.next, self.end(time, time));
        self.timers.insert((end, number));
        self.numbers.insert(number, key.clone());
        self.open.insert(key, Session { number, began: time, end, groups: Groups::default() });
        number
    }

    fn end(&self, began: i64, last: i64) -> i64 {
        // rule SQL-06
        let full = began + self.longest;
        let cut = full + (-full).rem_euclid(self.longest);
        cut.min(last + self.timeout)
    }

    pub(super) fn close(&mut self, watermark: DateTime, closed: &mut Vec<Closed>) {
        while let Some(&(end, number)) = self.timers.first()
            && end < watermark.0
        {
            self.timers.pop_first();
            let session = self.numbers.remove(&number).and_then(|key| self.open.remove(&key));
            if let Some(session) = session {
                closed.push(Closed {
                    end: DateTime(end),
                    start: DateTime(session.began),
                    groups: session.groups,
                });
            }
        }
    }

    pub(super) fn weight(&self) -> usize {
        let session = |(key, session): (&Key, &Session)| {
            size_of::<Session>() + 2 * key_weight(key) + session.groups.weight()
        };
        self.open.iter().map(session).sum()
    }

    pub(super) fn write(&self, out: &mut Writer) {
        out.unsigned(self.next);
        out.size(self.timers.len());
        for (end, number) in &self.timers {
            let Some((key, session)) = self.numbers.get(number).and_then(|key| self.open.get_key_value(key))
            else {
                continue;
            };
            out.signed(*end);
            out.unsigned(*number);
            write_key(key, out);
            out.signed(session.began);
            session.groups.write(out);
        }
    }

    pub(super) fn read(
        &mut self,
        from: &mut Reader<'_>,
        aggregates: &[AggregateSpec],
    ) -> Result<(), SnapshotError> {
        self.next = from.unsigned()?;
        for _ in 0..from.size()? {
            let (end, number, key, began) =
                (from.signed()?, from.unsigned()?, read_key(from)?, from.signed()?);
            if super::grid::outside(end) || super::grid::outside(began) || number > self.next {
                return Err(SnapshotError::Damaged("a session"));
            }
            let groups = Groups::read(from, aggregates)?;
            self.timers.insert((end, number));
            let twice = self.numbers.insert(number, key.clone()).is_some();
            if twice || self.open.insert(key, Session { number, began, end, groups }).is_some() {
                return Err(SnapshotError::Damaged("a session that comes twice"));
            }
        }
        Ok(())
    }
}
