//! Settings of a running query and what it tells about events it could not take.

use crate::value::DateTime;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// What happens to an event that comes too late or out of order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnViolation {
    /// Its timestamp is moved forward to the earliest one allowed; its fields stay.
    #[default]
    Adjust,
    /// It is left out.
    Drop,
}

/// What happens when an expression cannot be computed, as by `CAST('x' AS bigint)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnError {
    /// [`Engine::push`](super::Engine::push) gives the error, and the engine takes no more: the job is to stop, as it does
    /// in the service.
    #[default]
    Stop,
    /// The row is left out and counted.
    Skip,
}

/// Settings of a running query (docs: "Configure event ordering policies").
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policies {
    /// How far an event's time may lie before its arrival. Without events the watermark follows the clock at this distance.
    pub late_arrival: Duration,
    /// How far an event's time may lie before the greatest one seen.
    pub out_of_order: Duration,
    /// How far an event's time may lie behind its arrival; what is beyond is dropped.
    pub early_arrival: Duration,
    /// What happens to events beyond the first two.
    pub on_violation: OnViolation,
    /// What happens to rows that cannot be computed.
    pub on_error: OnError,
    /// How many bytes open windows and waiting events may hold, roughly; beyond, the engine stops with an error.
    pub max_state: usize,
    /// How many partitions an input has, each with a watermark of its own; [`Engine::push_from`](super::Engine::push_from) says by
    /// which one an event came.
    pub partitions: usize,
}

impl Default for Policies {
    /// The service's: 5 s late, none out of order, 5 minutes early, adjust, stop; 256 MiB of state, and one partition.
    fn default() -> Self {
        Self {
            late_arrival: Duration::from_secs(5),
            out_of_order: Duration::ZERO,
            early_arrival: Duration::from_secs(300),
            on_violation: OnViolation::Adjust,
            on_error: OnError::Stop,
            max_state: 256 << 20,
            partitions: 1,
        }
    }
}

/// A duration in ticks of 100 ns; 20 days, the longest tolerance of the service, is far within.
pub(crate) fn ticks(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos() / 100).unwrap_or(i64::MAX / 4).min(i64::MAX / 4)
}

/// Why an event or row was left out or moved. The names are the service's (docs: "Data errors").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names are the service's and say it")]
pub enum DataErrorKind {
    InvalidData,
    InvalidCompressionType,
    InvalidHeader,
    MissingColumns,
    TypeConversionError,
    InvalidInputTimeStamp,
    InvalidInputTimeStampKey,
    LateInputEvent,
    EarlyInputEvent,
    OutOfOrderEvent,
    EvaluationError,
}

impl DataErrorKind {
    const ALL: [Self; 11] = [
        Self::InvalidData,
        Self::InvalidCompressionType,
        Self::InvalidHeader,
        Self::MissingColumns,
        Self::TypeConversionError,
        Self::InvalidInputTimeStamp,
        Self::InvalidInputTimeStampKey,
        Self::LateInputEvent,
        Self::EarlyInputEvent,
        Self::OutOfOrderEvent,
        Self::EvaluationError,
    ];

    /// The name as logs of the service have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::InvalidData => "InputDeserializerError.InvalidData",
            Self::InvalidCompressionType => "InputDeserializerError.InvalidCompressionType",
            Self::InvalidHeader => "InputDeserializerError.InvalidHeader",
            Self::MissingColumns => "InputDeserializerError.MissingColumns",
            Self::TypeConversionError => "InputDeserializerError.TypeConversionError",
            Self::InvalidInputTimeStamp => "InvalidInputTimeStamp",
            Self::InvalidInputTimeStampKey => "InvalidInputTimeStampKey",
            Self::LateInputEvent => "LateInputEvent",
            Self::EarlyInputEvent => "EarlyInputEvent",
            Self::OutOfOrderEvent => "OutOfOrderEvent",
            Self::EvaluationError => "EvaluationError",
        }
    }
}

/// One event or row that was left out or moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataError {
    /// Why.
    pub kind: DataErrorKind,
    /// The input, or for rows the step or output.
    pub source: Arc<str>,
    /// When: the event's arrival, or the row's timestamp.
    pub at: DateTime,
    /// For people; holds no data of the event.
    pub message: String,
}

/// How many of the last data errors are kept.
const SAMPLES: usize = 32;

/// Counts of data errors and the last few of them. They are not part of a snapshot.
#[derive(Debug, Clone, Default)]
pub struct DataErrors {
    counts: [u64; DataErrorKind::ALL.len()],
    samples: VecDeque<DataError>,
}

impl DataErrors {
    /// How many of a kind there were.
    pub fn count(&self, kind: DataErrorKind) -> u64 {
        self.counts[kind as usize]
    }

    /// How many of each kind there were; kinds that did not occur are left out.
    pub fn counts(&self) -> impl Iterator<Item = (DataErrorKind, u64)> {
        DataErrorKind::ALL.into_iter().map(|kind| (kind, self.count(kind))).filter(|(_, count)| *count > 0)
    }

    /// The last ones, oldest first.
    pub fn samples(&self) -> impl ExactSizeIterator<Item = &DataError> {
        self.samples.iter()
    }

    pub(crate) fn add(
        &mut self,
        kind: DataErrorKind,
        source: &Arc<str>,
        at: DateTime,
        message: impl FnOnce() -> String,
    ) {
        self.counts[kind as usize] += 1;
        if self.samples.len() == SAMPLES {
            self.samples.pop_front();
        }
        self.samples.push_back(DataError { kind, source: source.clone(), at, message: message() });
    }
}
