//! What flows through a query: values of the language's types.
//!
//! Types belong to values, not to columns (reference: "Data types"). Values are cheap to clone: texts, records and arrays are
//! shared. [`json`] brings them in and out, [`key`] groups by them, [`snapshot`] keeps them over a restart; comparison and
//! arithmetic are in [`ops`](crate::ops).

pub mod convert;
pub mod date_part;
pub mod datetime;
pub mod error;
pub mod json;
pub mod key;
pub mod snapshot;

pub use convert::DataType;
pub use date_part::DatePart;
pub use datetime::DateTime;
pub use error::EvalError;
pub use json::{JsonError, JsonOptions, JsonReader, Wanted};
pub use key::GroupKey;

use std::sync::Arc;

/// A value of a field or expression. A missing field is [`Null`](Value::Null) in expressions.
///
/// `==` compares structure and type (`1` is not `1.0`, fields in order), for tests and caches; the comparison of the language
/// is [`ops::compare`](crate::ops::compare), the equality of group keys [`GroupKey`].
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// `NULL`.
    Null,
    /// `bit`: true or false.
    Bit(bool),
    /// `bigint`.
    BigInt(i64),
    /// `float`, never NaN or infinite.
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
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Record {
    fields: Vec<(Arc<str>, Value)>,
}

impl Value {
    /// A text.
    pub fn text(text: impl AsRef<str>) -> Self {
        Self::NVarchar(Arc::from(text.as_ref()))
    }

    /// Whether it is `NULL`.
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// The name of its type as `GetType` gives it; `null` for `NULL`, which the language gives no name.
    pub fn type_name(&self) -> &'static str {
        self.data_type().map_or("null", DataType::name)
    }

    /// Its type; `NULL` has none.
    pub fn data_type(&self) -> Option<DataType> {
        Some(match self {
            Self::Null => return None,
            Self::Bit(_) => DataType::Bit,
            Self::BigInt(_) => DataType::BigInt,
            Self::Float(_) => DataType::Float,
            Self::NVarchar(_) => DataType::NVarchar,
            Self::DateTime(_) => DataType::DateTime,
            Self::Record(_) => DataType::Record,
            Self::Array(_) => DataType::Array,
        })
    }

    /// The field of a record, by exact name; `NULL` where it is missing or this is no record.
    pub fn field(&self, name: &str) -> &Value {
        match self {
            Self::Record(record) => record.get(name).unwrap_or(&Self::Null),
            _ => &Self::Null,
        }
    }

    /// About how much memory it holds, in bytes, shared parts counted in full.
    pub fn weight(&self) -> usize {
        let held = match self {
            Self::NVarchar(text) => text.len(),
            Self::Record(record) => {
                record.fields.iter().map(|(name, value)| name.len() + value.weight()).sum()
            }
            Self::Array(items) => items.iter().map(Value::weight).sum(),
            _ => 0,
        };
        size_of::<Self>() + held
    }
}

impl From<bool> for Value {
    fn from(bit: bool) -> Self {
        Self::Bit(bit)
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::BigInt(number)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::text(text)
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::NVarchar(text.into())
    }
}

impl From<DateTime> for Value {
    fn from(time: DateTime) -> Self {
        Self::DateTime(time)
    }
}

impl From<Record> for Value {
    fn from(record: Record) -> Self {
        Self::Record(Arc::new(record))
    }
}

impl From<Vec<Value>> for Value {
    fn from(items: Vec<Value>) -> Self {
        Self::Array(items.into())
    }
}

/// A missing value is `NULL`.
impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

impl Record {
    /// An empty record with room for so many fields.
    pub fn with_capacity(fields: usize) -> Self {
        Self { fields: Vec::with_capacity(fields) }
    }

    /// The value of a field, by exact name.
    pub fn get(&self, name: &str) -> Option<&Value> {
        // Names are mostly shared: then where they are tells it already.
        let is_same = |field: &str| std::ptr::eq(field, name) || field == name;
        self.fields.iter().find(|(field, _)| is_same(field)).map(|(_, value)| value)
    }

    /// Sets a field, in its old place where there is one. Takes time linear in the number of fields.
    pub fn set(&mut self, name: Arc<str>, value: Value) {
        match self.fields.iter_mut().find(|(field, _)| *field == name) {
            Some((_, old)) => *old = value,
            None => self.fields.push((name, value)),
        }
    }

    /// Adds a field that it does not have yet.
    pub(crate) fn push(&mut self, name: Arc<str>, value: Value) {
        self.fields.push((name, value));
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

    /// Takes all fields out.
    pub(crate) fn take_fields(&mut self) -> Vec<(Arc<str>, Value)> {
        std::mem::take(&mut self.fields)
    }

    /// A record of fields whose names the caller knows to be distinct.
    pub(crate) fn from_distinct(fields: Vec<(Arc<str>, Value)>) -> Self {
        Self { fields }
    }
}

/// Later fields of a name replace earlier ones.
impl FromIterator<(Arc<str>, Value)> for Record {
    fn from_iter<I: IntoIterator<Item = (Arc<str>, Value)>>(fields: I) -> Self {
        let mut record = Self::default();
        for (name, value) in fields {
            record.set(name, value);
        }
        record
    }
}
