//! What flows between operators.

use crate::value::snapshot::{Reader, SnapshotError, Writer};
use crate::value::{DateTime, Record, Value};
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
    pub(crate) time: DateTime,
    /// Nothing where a LEFT JOIN or OUTER APPLY found nothing.
    pub(crate) record: Option<Arc<Record>>,
    /// What few rows have.
    pub(crate) extra: Option<Arc<Extra>>,
}

/// What a part may have beside the fields of its event.
#[derive(Debug, Clone, Default)]
pub(crate) struct Extra {
    /// What functions over former events gave, where they look at one side of a join only.
    pub(crate) former: Vec<Value>,
    /// What the input knows of the event beside its body.
    pub(crate) metadata: Option<Arc<Record>>,
}

/// The part of a source that is not there.
pub(crate) static MISSING: Part = Part { time: DateTime::MIN, record: None, extra: None };

impl Part {
    /// A part with nothing beside its fields.
    pub(crate) fn new(time: DateTime, record: Arc<Record>) -> Self {
        Self { time, record: Some(record), extra: None }
    }

    fn weight(&self) -> usize {
        self.record.as_ref().map_or(0, |record| record_weight(record))
            + self.extra.as_ref().map_or(0, |extra| extra.weight())
    }

    fn write(&self, out: &mut Writer) {
        out.time(self.time);
        out.flag(self.record.is_some());
        if let Some(record) = &self.record {
            out.record(record);
        }
        out.flag(self.extra.is_some());
        if let Some(extra) = &self.extra {
            out.values(&extra.former);
            out.flag(extra.metadata.is_some());
            if let Some(metadata) = &extra.metadata {
                out.record(metadata);
            }
        }
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, SnapshotError> {
        let time = from.time()?;
        let record = if from.flag()? { Some(Arc::new(from.record()?)) } else { None };
        let mut part = Self { time, record, extra: None };
        if from.flag()? {
            let former = from.values()?;
            let metadata = if from.flag()? { Some(Arc::new(from.record()?)) } else { None };
            part.extra = Some(Arc::new(Extra { former, metadata }));
        }
        Ok(part)
    }
}

impl Extra {
    fn weight(&self) -> usize {
        size_of::<Self>()
            + self.former.iter().map(Value::weight).sum::<usize>()
            + self.metadata.as_ref().map_or(0, |record| record_weight(record))
    }
}

impl Row {
    /// A row of one source.
    pub(crate) fn single(time: DateTime, record: Arc<Record>) -> Self {
        Self::of(time, Part::new(time, record))
    }

    /// A row of one part.
    pub(crate) fn of(time: DateTime, part: Part) -> Self {
        let mut parts = SmallVec::new();
        parts.push(part);
        Self { time, parts }
    }

    /// This row and one part more, at a time.
    pub(crate) fn with(&self, time: DateTime, part: Part) -> Self {
        let mut parts = SmallVec::with_capacity(self.parts.len() + 1);
        parts.extend(self.parts.iter().cloned());
        parts.push(part);
        Self { time, parts }
    }

    /// About how many bytes it holds.
    pub(crate) fn weight(&self) -> usize {
        size_of::<Self>() + self.parts.iter().map(Part::weight).sum::<usize>()
    }

    pub(crate) fn write(&self, out: &mut Writer) {
        out.time(self.time);
        out.size(self.parts.len());
        self.parts.iter().for_each(|part| part.write(out));
    }

    /// Reads a row that must have so many parts.
    pub(crate) fn read(parts: usize, from: &mut Reader<'_>) -> Result<Self, SnapshotError> {
        let time = from.time()?;
        if from.size()? != parts || !(DateTime::MIN..=DateTime::MAX).contains(&time) {
            return Err(SnapshotError::Damaged("a row"));
        }
        let parts = (0..parts).map(|_| Part::read(from)).collect::<Result<_, _>>()?;
        Ok(Self { time, parts })
    }
}

/// About how many bytes a record holds.
pub(crate) fn record_weight(record: &Record) -> usize {
    record.iter().map(|(name, value)| size_of::<Arc<str>>() + name.len() + value.weight()).sum()
}

/// A time no watermark passes but the one at the end of all input.
pub(crate) const END_OF_TIME: DateTime = DateTime(i64::MAX);
