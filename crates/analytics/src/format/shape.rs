//! What the rows of a file have in common, for formats whose files have a schema: types belong to values, not to columns, so
//! it is known when the last row is.

use super::{MAX_FILE, WriteError};
use crate::value::{Record, Value};
use indexmap::IndexMap;
use std::sync::Arc;

/// Columns by name, in the order in which they came up.
pub(super) type Columns = IndexMap<Arc<str>, Shape>;

/// Which kinds of values a column has. `NULL` is everywhere.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Shape {
    pub(super) bit: bool,
    pub(super) bigint: bool,
    pub(super) float: bool,
    pub(super) text: bool,
    pub(super) datetime: bool,
    /// The fields of its records, if it has any records.
    pub(super) record: Option<Columns>,
    /// The items of its arrays, if it has any arrays.
    pub(super) array: Option<Box<Shape>>,
}

impl Shape {
    /// Takes in a value.
    pub(super) fn meet(&mut self, value: &Value) {
        match value {
            Value::Null => {}
            Value::Bit(_) => self.bit = true,
            Value::BigInt(_) => self.bigint = true,
            Value::Float(_) => self.float = true,
            Value::NVarchar(_) => self.text = true,
            Value::DateTime(_) => self.datetime = true,
            Value::Record(record) => meet_row(self.record.get_or_insert_default(), record),
            Value::Array(items) => {
                let shape = self.array.get_or_insert_default();
                items.iter().for_each(|item| shape.meet(item));
            }
        }
    }

    /// As the function below. A name that is new with others inside it may count as one: it is counted right with the next row.
    fn strangers(&self, value: &Value) -> usize {
        match value {
            Value::Record(record) => match &self.record {
                Some(columns) => strangers(columns, record),
                None => record.len(),
            },
            Value::Array(items) => match &self.array {
                Some(shape) => items.iter().map(|item| shape.strangers(item)).max().unwrap_or(0),
                None => 1,
            },
            _ => 0,
        }
    }
}

/// Takes in the fields of a row.
fn meet_row(columns: &mut Columns, row: &Record) {
    for (name, value) in row.iter() {
        match columns.get_mut(name) {
            Some(shape) => shape.meet(value),
            None => columns.entry(name.clone()).or_default().meet(value),
        }
    }
}

/// How many names in a row, at any depth, are new.
fn strangers(columns: &Columns, row: &Record) -> usize {
    row.iter().map(|(name, value)| columns.get(name).map_or(1, |shape| shape.strangers(value))).sum()
}

/// Rows of a file that is not written before all are known.
#[derive(Debug, Default)]
pub(super) struct Rows {
    pub(super) rows: Vec<Record>,
    pub(super) columns: Columns,
    /// How many names there are at any depth.
    names: usize,
    pub(super) size: usize,
}

/// How many places for values a file may have, also where rows have none: few rows of many columns, or many of few.
const MAX_CELLS: usize = 16 << 20;

impl Rows {
    /// Takes in a row, if there is room.
    pub(super) fn add(&mut self, row: &Record) -> Result<(), WriteError> {
        let bytes = row.iter().map(|(name, value)| name.len() + value.weight()).sum::<usize>();
        let names = self.names + strangers(&self.columns, row);
        if self.size + bytes > MAX_FILE || names.saturating_mul(self.rows.len() + 1) > MAX_CELLS {
            return Err(if self.rows.is_empty() {
                WriteError::RowTooLarge { bytes }
            } else {
                WriteError::Full
            });
        }
        meet_row(&mut self.columns, row);
        self.names = names;
        self.size += bytes;
        self.rows.push(row.clone());
        Ok(())
    }
}
