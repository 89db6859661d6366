//! What flows through a query: values of the language's types.
//!
//! Types belong to values, not to columns (reference: "Data types"). Values are cheap to clone: texts, records and arrays are
//! shared.

use std::sync::Arc;

/// A point in time, UTC, in ticks of 100 ns since 0001-01-01T00:00:00 (the resolution and range of `datetime`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DateTime(pub i64);

/// A value of a field or expression. A missing field is [`Null`](Value::Null) in expressions.
#[derive(Debug, Clone)]
pub enum Value {
    /// `NULL`.
    Null,
    /// `bit`: true or false.
    Bit(bool),
    /// `bigint`.
    BigInt(i64),
    /// `float`, never NaN or infinite when it came from JSON.
    Float(f64),
    /// `nvarchar(max)`.
    NVarchar(Arc<str>),
    /// `datetime`.
    DateTime(DateTime),
    /// `record`.
    Record(Arc<Record>),
    /// `array`.
    Array(Arc<[Value]>),
}

/// Named values in the order they came; names are distinct.
#[derive(Debug, Clone, Default)]
pub struct Record {
    fields: Vec<(Arc<str>, Value)>,
}

impl Record {
    /// An empty record with room for so many fields.
    pub fn with_capacity(fields: usize) -> Self {
        Self { fields: Vec::with_capacity(fields) }
    }

    /// The value of a field, by exact name.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.fields.iter().find(|(field, _)| &**field == name).map(|(_, value)| value)
    }

    /// Sets a field, in its old place where there is one.
    pub fn set(&mut self, name: Arc<str>, value: Value) {
        match self.fields.iter_mut().find(|(field, _)| *field == name) {
            Some((_, old)) => *old = value,
            None => self.fields.push((name, value)),
        }
    }

    /// All fields in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&Arc<str>, &Value)> {
        self.fields.iter().map(|(name, value)| (name, value))
    }

    /// How many fields it has.
    pub fn len(&self) -> usize {
        self.fields.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }
}
