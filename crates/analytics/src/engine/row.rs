//! What flows between operators.

use crate::value::{DateTime, Record};
use smallvec::SmallVec;
use std::sync::Arc;

/// A row: a time, and the record of each source it was made of.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    /// `System.Timestamp()`.
    pub(crate) time: DateTime,
    /// One per source of the SELECT that reads it; more than one only behind joins and applies.
    pub(crate) parts: SmallVec<[Part; 1]>,
}

/// A source's part in a row.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    /// The time it had before it was joined.
    #[allow(dead_code, reason = "read by joins")]
    pub(crate) time: DateTime,
    /// Nothing where a LEFT JOIN or OUTER APPLY found nothing.
    pub(crate) record: Option<Arc<Record>>,
}

impl Row {
    /// A row of one source.
    pub(crate) fn single(time: DateTime, record: Arc<Record>) -> Self {
        let mut parts = SmallVec::new();
        parts.push(Part { time, record: Some(record) });
        Self { time, parts }
    }

    /// About how many bytes it holds.
    pub(crate) fn weight(&self) -> usize {
        let record = |part: &Part| part.record.as_ref().map_or(0, |record| record_weight(record));
        size_of::<Self>() + self.parts.iter().map(record).sum::<usize>()
    }
}

/// About how many bytes a record holds.
pub(crate) fn record_weight(record: &Record) -> usize {
    record.iter().map(|(name, value)| size_of::<Arc<str>>() + name.len() + value.weight()).sum()
}

/// A time no watermark passes but the one at the end of all input.
pub(crate) const END_OF_TIME: DateTime = DateTime(i64::MAX);
