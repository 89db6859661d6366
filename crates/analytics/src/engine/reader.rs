//! Gives events their time and their order (docs: "Understand time handling", "Configure event ordering policies").
//!
//! The *watermark* promises that no row with an earlier time will come. It follows the greatest time seen at the distance
//! of the out-of-order tolerance, and the clock at that of the late-arrival tolerance. Events between the watermark and the
//! greatest time wait in a heap; those before the watermark are moved up to it or dropped. Each partition of an input has a
//! watermark of its own, so that a device whose clock is ahead makes nobody's events late but those beside it.

use super::eval::View;
use super::policy::{DataErrorKind, DataErrors, OnViolation, ticks};
use super::row::{END_OF_TIME, Extra, Part, Row};
use super::shard::Work;
use crate::plan::{self, DeclaredColumn, Located, Plan};
use crate::value::snapshot::{self, SnapshotError};
use crate::value::{DateTime, GroupKey, Record, Value};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

/// Events of one input on their way to rows.
#[derive(Debug)]
pub(crate) struct ReaderState {
    /// The first partition; all of them where they need not be told apart.
    first: Partition,
    /// The others.
    others: Vec<Partition>,
    /// Whether rows of all partitions go out in one order; else those of each do.
    is_merged: bool,
    weight: usize,
}

/// Events of one partition of an input, with a watermark of their own. rule SQL-13
#[derive(Debug)]
struct Partition {
    waiting: BinaryHeap<Reverse<Waiting>>,
    /// Events so far, so that equal times keep the order of arrival.
    sequence: u64,
    watermark: DateTime,
}

#[derive(Debug)]
struct Waiting {
    sequence: u64,
    row: Row,
}

impl ReaderState {
    /// Empty, for a reader of a plan.
    pub(crate) fn new(plan: &Plan, reader: usize, partitions: usize) -> Self {
        let known = &plan.readers[reader];
        // Arrivals come in one order anyway, and a timeline of OVER is as good as a partition.
        let is_split = partitions > 1 && known.timestamp.is_some() && known.over.is_empty();
        let others = if is_split { partitions - 1 } else { 0 };
        Self {
            first: Partition::new(DateTime::MIN),
            others: (0..others).map(|_| Partition::new(DateTime::MIN)).collect(),
            is_merged: is_split && plan.needs_order(reader),
            weight: 0,
        }
    }

    /// No row with an earlier time will come: that of the slowest partition.
    pub(crate) fn watermark(&self) -> DateTime {
        self.others.iter().fold(self.first.watermark, |least, other| least.min(other.watermark))
    }

    pub(crate) fn weight(&self) -> usize {
        self.weight
    }

    /// Takes in an event; rows that are due go to `out`, in order, or the event's own is given if it needs not wait for
    /// anything.
    pub(crate) fn push(
        &mut self,
        reader: &plan::Reader,
        mut at: Arrived<'_>,
        work: &mut Work<'_>,
        out: &mut Vec<Row>,
    ) -> Option<Row> {
        let is_alone = self.others.is_empty() || !self.is_merged;
        let own = at.partition.checked_sub(1).and_then(|other| self.others.get_mut(other));
        let partition = own.unwrap_or(&mut self.first);
        if partition.watermark == END_OF_TIME {
            work.errors.add(DataErrorKind::OutOfOrderEvent, at.input, at.arrival, || {
                "the input had ended".to_owned()
            });
            return None;
        }
        let time = partition.time(reader, &at, work)?;
        let tolerance = if reader.timestamp.is_some() { ticks(work.policies.out_of_order) } else { 0 };
        partition.watermark = partition.watermark.max(DateTime(time.0.saturating_sub(tolerance)));
        at.part.time = time;
        let row = Row::of(time, at.part);
        if is_alone && partition.waiting.is_empty() && time <= partition.watermark {
            return Some(row);
        }
        self.weight += size_of::<Waiting>() + row.weight();
        partition.sequence += 1;
        partition.waiting.push(Reverse(Waiting { sequence: partition.sequence, row }));
        self.release(out);
        None
    }

    /// Raises the watermark, as time without events does.
    pub(crate) fn raise(&mut self, watermark: DateTime, out: &mut Vec<Row>) {
        let mut is_raised = false;
        for partition in self.partitions_mut() {
            is_raised |= watermark > partition.watermark;
            partition.watermark = partition.watermark.max(watermark);
        }
        if is_raised {
            self.release(out);
        }
    }

    fn release(&mut self, out: &mut Vec<Row>) {
        let before = out.len();
        if self.is_merged {
            while let Some(row) = self.next_merged() {
                out.push(row);
            }
        } else {
            for partition in self.partitions_mut() {
                partition.release(out);
            }
        }
        let released = &out[before..];
        self.weight -= released.iter().map(|row| size_of::<Waiting>() + row.weight()).sum::<usize>();
        for partition in self.partitions_mut() {
            partition.give_back();
        }
    }

    /// The next row of all partitions, where none before it can come any more. Of rows of one time those of the first partition
    /// come first, so that the order is the same however partitions are read side by side.
    fn next_merged(&mut self) -> Option<Row> {
        let firsts = self.partitions().enumerate().filter_map(|(place, one)| Some((one.next_time()?, place)));
        let next = firsts.min()?;
        let reached = self.partitions().enumerate().map(|(place, one)| (one.watermark, place)).min()?;
        if next > reached {
            return None;
        }
        let Reverse(first) = self.partitions_mut().nth(next.1)?.waiting.pop()?;
        Some(first.row)
    }

    fn partitions(&self) -> impl Iterator<Item = &Partition> {
        std::iter::once(&self.first).chain(&self.others)
    }

    fn partitions_mut(&mut self) -> impl Iterator<Item = &mut Partition> {
        std::iter::once(&mut self.first).chain(&mut self.others)
    }

    pub(crate) fn write(&self, out: &mut snapshot::Writer) {
        out.size(1 + self.others.len());
        self.partitions().for_each(|partition| partition.write(out));
    }

    /// Takes in what [`write`](Self::write) wrote, also where there were more partitions or fewer: a new one begins where the
    /// slowest is.
    pub(crate) fn restore(&mut self, kept: KeptReader) {
        let least = kept.watermark();
        self.weight = kept.weight;
        let mut kept = kept.partitions.into_iter();
        for partition in self.partitions_mut() {
            *partition = kept.next().unwrap_or_else(|| Partition::new(least));
        }
        for surplus in kept {
            self.first.take_over(surplus);
        }
    }
}

/// A reader's state out of a snapshot.
pub(crate) struct KeptReader {
    /// At least one.
    partitions: Vec<Partition>,
    weight: usize,
}

impl KeptReader {
    /// Reads the form that snapshots of a version have.
    pub(crate) fn read(from: &mut snapshot::Reader<'_>, version: u8) -> Result<Self, SnapshotError> {
        // Before the third version an input had one watermark.
        let count = if version < 3 { 1 } else { from.size()? };
        let partitions = (0..count).map(|_| Partition::read(from)).collect::<Result<Vec<_>, _>>()?;
        if partitions.is_empty() {
            return Err(SnapshotError::Damaged("an input without partitions"));
        }
        let waiting = partitions.iter().flat_map(|partition| &partition.waiting);
        let weight = waiting.map(|Reverse(event)| size_of::<Waiting>() + event.row.weight()).sum();
        Ok(Self { partitions, weight })
    }

    /// No row with an earlier time will come.
    fn watermark(&self) -> DateTime {
        self.partitions.iter().map(|partition| partition.watermark).min().unwrap_or(DateTime::MIN)
    }

    /// No row behind this went out yet.
    pub(crate) fn reached(&self) -> DateTime {
        let watermarks = self.partitions.iter().map(|partition| partition.watermark);
        watermarks.filter(|watermark| *watermark != END_OF_TIME).max().unwrap_or(DateTime::MIN)
    }
}

impl Partition {
    fn new(watermark: DateTime) -> Self {
        Self { waiting: BinaryHeap::new(), sequence: 0, watermark }
    }

    /// The event's time after all policies; `None` if it is dropped.
    fn time(&self, reader: &plan::Reader, at: &Arrived<'_>, work: &mut Work<'_>) -> Option<DateTime> {
        let Some(timestamp) = &reader.timestamp else {
            return Some(at.arrival.max(self.watermark)); // rule SQL-04
        };
        let mut time = match timestamp_of(timestamp, &at.part) {
            Ok(time) => time,
            Err(message) => return at.drop(work.errors, DataErrorKind::InvalidInputTimeStamp, &message),
        };
        // rule SQL-03: in this order.
        if time.0 > at.arrival.0.saturating_add(ticks(work.policies.early_arrival)) {
            let message = "the event's time is too far behind its arrival";
            return at.drop(work.errors, DataErrorKind::EarlyInputEvent, message);
        }
        let earliest = DateTime(at.arrival.0.saturating_sub(ticks(work.policies.late_arrival)));
        if time < earliest {
            time = at.moved(work, DataErrorKind::LateInputEvent, earliest)?;
        }
        if time < self.watermark {
            time = at.moved(work, DataErrorKind::OutOfOrderEvent, self.watermark)?;
        }
        Some(time)
    }

    fn next_time(&self) -> Option<DateTime> {
        self.waiting.peek().map(|Reverse(first)| first.row.time)
    }

    fn release(&mut self, out: &mut Vec<Row>) {
        while self.next_time().is_some_and(|first| first <= self.watermark) {
            out.extend(self.waiting.pop().map(|Reverse(first)| first.row));
        }
    }

    fn give_back(&mut self) {
        if self.waiting.is_empty() && self.waiting.capacity() > KEPT_CAPACITY {
            self.waiting = BinaryHeap::new();
        }
    }

    /// Takes in what waits in a partition that is no more.
    fn take_over(&mut self, other: Self) {
        for Reverse(waiting) in other.waiting.into_sorted_vec().into_iter().rev() {
            self.sequence += 1;
            self.waiting.push(Reverse(Waiting { sequence: self.sequence, row: waiting.row }));
        }
    }

    fn write(&self, out: &mut snapshot::Writer) {
        out.signed(self.watermark.0);
        out.unsigned(self.sequence);
        let mut waiting: Vec<&Waiting> = self.waiting.iter().map(|Reverse(waiting)| waiting).collect();
        waiting.sort_unstable();
        out.size(waiting.len());
        for event in waiting {
            out.unsigned(event.sequence);
            event.row.write(out);
        }
    }

    fn read(from: &mut snapshot::Reader<'_>) -> Result<Self, SnapshotError> {
        let mut state = Self::new(DateTime(from.signed()?));
        state.sequence = from.unsigned()?;
        for _ in 0..from.size()? {
            let (sequence, row) = (from.unsigned()?, Row::read(1, from)?);
            state.waiting.push(Reverse(Waiting { sequence, row }));
        }
        if state.watermark < DateTime::MIN
            || (state.watermark > DateTime::MAX && state.watermark != END_OF_TIME)
        {
            return Err(SnapshotError::Damaged("a watermark"));
        }
        Ok(state)
    }
}

/// An empty heap larger than this gives its memory back.
const KEPT_CAPACITY: usize = 1024;

/// An event with what decides about it.
pub(crate) struct Arrived<'a> {
    /// The event, still without its time.
    pub(crate) part: Part,
    pub(crate) arrival: DateTime,
    /// Which partition of its input it came by.
    pub(crate) partition: usize,
    /// The input's name.
    pub(crate) input: &'a Arc<str>,
}

impl<'a> Arrived<'a> {
    pub(crate) fn new(
        event: Arc<Record>,
        metadata: Option<&Arc<Record>>,
        (arrival, partition): (DateTime, usize),
        input: &'a Arc<str>,
    ) -> Self {
        let extra =
            |metadata: &Arc<Record>| Arc::new(Extra { former: Vec::new(), metadata: Some(metadata.clone()) });
        let part = Part { time: DateTime::MIN, record: Some(event), extra: metadata.map(extra) };
        Self { part, arrival, partition, input }
    }

    /// Converts the declared columns; `false` if one does not convert or is missing, and the event is dropped.
    pub(crate) fn convert(&mut self, reader: &plan::Reader, errors: &mut DataErrors) -> bool {
        let (Some(columns), Some(event)) = (&reader.columns, &self.part.record) else { return true };
        match typed(columns, event) {
            Ok(record) => {
                self.part.record = Some(record);
                true
            }
            Err((kind, message)) => self.drop::<()>(errors, kind, &message).is_some(),
        }
    }

    /// The key of its timeline; `None` if it has none and is dropped.
    pub(crate) fn key(&self, reader: &plan::Reader, errors: &mut DataErrors) -> Option<Vec<GroupKey>> {
        let mut key = Vec::with_capacity(reader.over.len());
        for expr in &reader.over {
            // rule SQL-11
            match expr.expr.value(&View::alone(&self.part)) {
                Ok(Value::Null) => {
                    return self.drop(
                        errors,
                        DataErrorKind::InvalidInputTimeStampKey,
                        "a key of OVER is NULL",
                    );
                }
                Ok(value) => key.push(GroupKey(value)),
                Err(error) => {
                    return self.drop(errors, DataErrorKind::InvalidInputTimeStampKey, &error.to_string());
                }
            }
        }
        Some(key)
    }

    fn drop<T>(&self, errors: &mut DataErrors, kind: DataErrorKind, message: &str) -> Option<T> {
        errors.add(kind, self.input, self.arrival, || message.to_owned());
        None
    }

    fn moved(&self, work: &mut Work<'_>, kind: DataErrorKind, to: DateTime) -> Option<DateTime> {
        let adjust = work.policies.on_violation == OnViolation::Adjust;
        work.errors.add(kind, self.input, self.arrival, || {
            if adjust {
                "the timestamp was moved forward".to_owned()
            } else {
                "the event was dropped".to_owned()
            }
        });
        adjust.then_some(to)
    }
}

/// What TIMESTAMP BY gives, or why it gives no time.
fn timestamp_of(timestamp: &Located, part: &Part) -> Result<DateTime, String> {
    match timestamp.expr.value(&View::alone(part)) {
        Ok(Value::DateTime(time)) => Ok(time),
        Ok(Value::NVarchar(text)) => {
            DateTime::parse(&text).ok_or_else(|| "TIMESTAMP BY gives a text that is no time".to_owned())
        }
        Ok(Value::Null) => Err("TIMESTAMP BY gives NULL".to_owned()),
        Ok(value) => Err(format!(
            "TIMESTAMP BY gives a {}; it takes datetime or a text that is one",
            value.type_name()
        )),
        Err(error) => Err(error.to_string()),
    }
}

/// The time of an event before any policy.
pub(crate) fn event_time(reader: &plan::Reader, record: &Arc<Record>) -> Option<DateTime> {
    timestamp_of(reader.timestamp.as_ref()?, &Part::new(DateTime::MIN, record.clone())).ok()
}

/// An event with its declared columns converted, or why it is dropped.
pub(crate) fn typed(
    columns: &[DeclaredColumn],
    event: &Arc<Record>,
) -> Result<Arc<Record>, (DataErrorKind, String)> {
    let mut record = (**event).clone();
    for (name, ty) in columns {
        let Some(value) = event.get(name) else {
            return Err((DataErrorKind::MissingColumns, format!("the event has no column {name}")));
        };
        let Some(value) = value.try_cast(*ty) else {
            let message =
                format!("column {name} is {} and does not convert to {}", value.type_name(), ty.name());
            return Err((DataErrorKind::TypeConversionError, message));
        };
        record.set(name.clone(), value);
    }
    Ok(Arc::new(record))
}

impl Waiting {
    fn key(&self) -> (DateTime, u64) {
        (self.row.time, self.sequence)
    }
}

impl PartialEq for Waiting {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Waiting {}

impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Waiting {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key().cmp(&other.key())
    }
}
