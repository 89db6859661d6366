//! Gives events their time and their order (docs: "Understand time handling", "Configure event ordering policies").
//!
//! The *watermark* promises that no row with an earlier time will come. It follows the greatest time seen at the distance
//! of the out-of-order tolerance, and the clock at that of the late-arrival tolerance. Events between the watermark and the
//! greatest time wait in a heap; those before the watermark are moved up to it or dropped.

use super::eval::View;
use super::policy::{DataErrorKind, DataErrors, OnViolation, Policies, ticks};
use super::row::{END_OF_TIME, Part, Row, record_weight};
use crate::plan::{self, Located};
use crate::value::snapshot::{self, SnapshotError};
use crate::value::{DateTime, Record, Value};
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
    time: DateTime,
    sequence: u64,
    record: Arc<Record>,
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

    /// Takes in an event; rows that are due go to `out`, in order.
    pub(crate) fn push(&mut self, reader: &plan::Reader, at: &mut Arrived<'_>, out: &mut Vec<Row>) {
        if self.watermark == END_OF_TIME {
            at.errors.add(DataErrorKind::OutOfOrderEvent, at.input, at.arrival, || {
                "the input had ended".to_owned()
            });
            return;
        }
        let Some(record) = typed(reader, at) else { return };
        let Some(time) = self.time(reader, at, &record) else { return };
        let tolerance = if reader.timestamp.is_some() { ticks(at.policies.out_of_order) } else { 0 };
        self.watermark = self.watermark.max(DateTime(time.0.saturating_sub(tolerance)));
        if self.waiting.is_empty() && time <= self.watermark {
            out.push(Row::single(time, record));
            return;
        }
        self.weight += size_of::<Waiting>() + record_weight(&record);
        self.sequence += 1;
        self.waiting.push(Reverse(Waiting { time, sequence: self.sequence, record }));
        self.release(out);
    }

    /// The event's time after all policies; `None` if it is dropped.
    fn time(&self, reader: &plan::Reader, at: &mut Arrived<'_>, record: &Arc<Record>) -> Option<DateTime> {
        let Some(timestamp) = &reader.timestamp else {
            return Some(at.arrival.max(self.watermark)); // rule SQL-04
        };
        let mut time = match timestamp_of(timestamp, record) {
            Ok(time) => time,
            Err(message) => return at.drop(DataErrorKind::InvalidInputTimeStamp, &message),
        };
        // rule SQL-03: in this order.
        if time.0 > at.arrival.0.saturating_add(ticks(at.policies.early_arrival)) {
            return at.drop(DataErrorKind::EarlyInputEvent, "the event's time is too far behind its arrival");
        }
        let earliest = DateTime(at.arrival.0.saturating_sub(ticks(at.policies.late_arrival)));
        if time < earliest {
            time = at.moved(DataErrorKind::LateInputEvent, earliest)?;
        }
        if time < self.watermark {
            time = at.moved(DataErrorKind::OutOfOrderEvent, self.watermark)?;
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
        while self.waiting.peek().is_some_and(|Reverse(first)| first.time <= self.watermark) {
            if let Some(Reverse(first)) = self.waiting.pop() {
                self.weight -= size_of::<Waiting>() + record_weight(&first.record);
                out.push(Row::single(first.time, first.record));
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
            out.time(event.time);
            out.unsigned(event.sequence);
            out.record(&event.record);
        }
    }

    pub(crate) fn read(from: &mut snapshot::Reader<'_>) -> Result<Self, SnapshotError> {
        let mut state = Self::new();
        state.watermark = DateTime(from.signed()?);
        state.sequence = from.unsigned()?;
        for _ in 0..from.size()? {
            let (time, sequence) = (from.time()?, from.unsigned()?);
            if !(DateTime::MIN..=DateTime::MAX).contains(&time) {
                return Err(SnapshotError::Damaged("the time of an event"));
            }
            let record = Arc::new(from.record()?);
            state.weight += size_of::<Waiting>() + record_weight(&record);
            state.waiting.push(Reverse(Waiting { time, sequence, record }));
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
    pub(crate) record: Arc<Record>,
    pub(crate) arrival: DateTime,
    pub(crate) policies: &'a Policies,
    /// The input's name.
    pub(crate) input: &'a Arc<str>,
    pub(crate) errors: &'a mut DataErrors,
}

impl Arrived<'_> {
    fn drop<T>(&mut self, kind: DataErrorKind, message: &str) -> Option<T> {
        self.errors.add(kind, self.input, self.arrival, || message.to_owned());
        None
    }

    fn moved(&mut self, kind: DataErrorKind, to: DateTime) -> Option<DateTime> {
        let adjust = self.policies.on_violation == OnViolation::Adjust;
        self.errors.add(kind, self.input, self.arrival, || {
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
fn timestamp_of(timestamp: &Located, record: &Arc<Record>) -> Result<DateTime, String> {
    let parts = [Part { time: DateTime::MIN, record: Some(record.clone()) }];
    let view = View { time: DateTime::MIN, parts: &parts, slots: &[], window: None };
    match timestamp.expr.value(&view) {
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
    timestamp_of(reader.timestamp.as_ref()?, record).ok()
}

/// The event with its declared columns converted; `None` if one does not convert or is missing.
fn typed(reader: &plan::Reader, at: &mut Arrived<'_>) -> Option<Arc<Record>> {
    let Some(columns) = &reader.columns else { return Some(at.record.clone()) };
    let mut record = (*at.record).clone();
    for (name, ty) in columns.iter() {
        let Some(value) = at.record.get(name) else {
            return at.drop(DataErrorKind::MissingColumns, &format!("the event has no column {name}"));
        };
        let Some(value) = value.try_cast(*ty) else {
            let message =
                format!("column {name} is {} and does not convert to {}", value.type_name(), ty.name());
            return at.drop(DataErrorKind::TypeConversionError, &message);
        };
        record.set(name.clone(), value);
    }
    Some(Arc::new(record))
}

impl Waiting {
    fn key(&self) -> (DateTime, u64) {
        (self.time, self.sequence)
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
