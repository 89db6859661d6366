//! Brings the rows of several ports into the order of their times.

use super::row::Row;
use crate::value::DateTime;
use crate::value::snapshot::{Reader, SnapshotError, Writer};
use std::collections::{BTreeMap, VecDeque};

/// Rows that wait for the slowest port.
#[derive(Debug)]
pub(crate) struct UnionState {
    /// Per port, the watermark it has reached.
    ports: Vec<DateTime>,
    /// By time; those of one time in the order of coming.
    waiting: BTreeMap<DateTime, VecDeque<Row>>,
    weight: usize,
}

impl UnionState {
    pub(crate) fn new(ports: usize) -> Self {
        Self { ports: vec![DateTime::MIN; ports], waiting: BTreeMap::new(), weight: 0 }
    }

    pub(crate) fn row(&mut self, port: usize, row: Row, out: &mut Vec<Row>) {
        self.weight += row.weight();
        let time = row.time;
        self.waiting.entry(time).or_default().push_back(row);
        self.reached(port, time, out);
    }

    /// A port has reached a watermark: rows that no port can come before any more go out.
    pub(crate) fn reached(&mut self, port: usize, watermark: DateTime, out: &mut Vec<Row>) {
        self.ports[port] = self.ports[port].max(watermark);
        let least = self.watermark();
        while let Some(entry) = self.waiting.first_entry()
            && *entry.key() <= least
        {
            for row in entry.remove() {
                self.weight -= row.weight();
                out.push(row);
            }
        }
    }

    /// That of the slowest port.
    pub(crate) fn watermark(&self) -> DateTime {
        self.ports.iter().copied().min().unwrap_or(DateTime::MIN)
    }

    pub(crate) fn weight(&self) -> usize {
        self.weight
    }

    pub(crate) fn write(&self, out: &mut Writer) {
        self.ports.iter().for_each(|port| out.signed(port.0));
        out.size(self.waiting.values().map(VecDeque::len).sum());
        for row in self.waiting.values().flatten() {
            row.write(out);
        }
    }

    pub(crate) fn read(ports: usize, from: &mut Reader<'_>) -> Result<Self, SnapshotError> {
        let mut state = Self::new(ports);
        for port in &mut state.ports {
            *port = DateTime(from.signed()?);
        }
        for _ in 0..from.size()? {
            // Unions stand behind SELECTs, whose rows have one part.
            let row = Row::read(1, from)?;
            state.weight += row.weight();
            state.waiting.entry(row.time).or_default().push_back(row);
        }
        Ok(state)
    }
}
