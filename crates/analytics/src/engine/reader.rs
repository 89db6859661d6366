//! Gives events their time and their order (docs: "Understand time handling", "Configure event ordering policies").
//!
//! The *watermark* promises that no row with an earlier time will come. It follows the greatest time seen at the distance
//! of the out-of-order tolerance, and the clock at that of the late-arrival tolerance. Events between the watermark and the
//! greatest time wait in a heap; those before the watermark are moved up to it or dropped.

use super::eval::View;
use super::policy::{DataErrorKind, DataErrors, OnViolation, ticks};
use super::row::{END_OF_TIME, Extra, Part, Row};
use super::shard::Work;
use crate::plan::{self, DeclaredColumn, Located};
use crate::value::snapshot::{self, SnapshotError};
use crate::value::{DateTime, GroupKey, Record, Value};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

/// Events of one input on their way to rows.
#[derive(Debug)]
pub(crate) struct ReaderState {
    waiting: BinaryHeap<Reverse<Waiting>>,
    /// Events so far, so that equal times keep the order of arrival.
    sequence: u64,
    watermark: DateTime,
    weight: usize,
}

#[derive(Debug)]
struct Waiting {
    sequence: u64,
    row: Row,
}

impl ReaderState {
    pub(crate) fn new() -> Self {
        Self { waiting: BinaryHeap::new(), sequence: 0, watermark: DateTime::MIN, weight: 0 }
    }

    pub(crate) fn watermark(&self) -> DateTime {
        self.watermark
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
        if self.watermark == END_OF_TIME {
            work.errors.add(DataErrorKind::OutOfOrderEvent, at.input, at.arrival, || {
                "the input had ended".to_owned()
            });
            return None;
        }
        let time = self.time(reader, &at, work)?;
        let tolerance = if reader.timestamp.is_some() { ticks(work.policies.out_of_order) } else { 0 };
        self.watermark = self.watermark.max(DateTime(time.0.saturating_sub(tolerance)));
        at.part.time = time;
        let row = Row::of(time, at.part);
        if self.waiting.is_empty() && time <= self.watermark {
            return Some(row);
        }
        self.weight += size_of::<Waiting>() + row.weight();
        self.sequence += 1;
        self.waiting.push(Reverse(Waiting { sequence: self.sequence, row }));
        self.release(out);
        None
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

    /// Raises the watermark, as time without events does.
    pub(crate) fn raise(&mut self, watermark: DateTime, out: &mut Vec<Row>) {
        if watermark > self.watermark {
            self.watermark = watermark;
            self.release(out);
        }
    }

    fn release(&mut self, out: &mut Vec<Row>) {
        while self.waiting.peek().is_some_and(|Reverse(first)| first.row.time <= self.watermark) {
            if let Some(Reverse(first)) = self.waiting.pop() {
                self.weight -= size_of::<Waiting>() + first.row.weight();
                out.push(first.row);
            }
        }
        if self.waiting.is_empty() && self.waiting.capacity() > KEPT_CAPACITY {
            self.waiting = BinaryHeap::new();
        }
    }

    pub(crate) fn write(&self, out: &mut snapshot::Writer) {
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

    pub(crate) fn read(from: &mut snapshot::Reader<'_>) -> Result<Self, SnapshotError> {
        let mut state = Self::new();
        state.watermark = DateTime(from.signed()?);
        state.sequence = from.unsigned()?;
        for _ in 0..from.size()? {
            let (sequence, row) = (from.unsigned()?, Row::read(1, from)?);
            state.weight += size_of::<Waiting>() + row.weight();
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
    /// The input's name.
    pub(crate) input: &'a Arc<str>,
}

impl<'a> Arrived<'a> {
    pub(crate) fn new(
        event: Arc<Record>,
        metadata: Option<&Arc<Record>>,
        arrival: DateTime,
        input: &'a Arc<str>,
    ) -> Self {
        let extra =
            |metadata: &Arc<Record>| Arc::new(Extra { former: Vec::new(), metadata: Some(metadata.clone()) });
        let part = Part { time: DateTime::MIN, record: Some(event), extra: metadata.map(extra) };
        Self { part, arrival, input }
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
