//! The least or the greatest value.

use crate::functions::arguments::Arguments;
use crate::ops;
use crate::value::snapshot::SnapshotError;
use crate::value::{EvalError, Value};
use std::cmp::Ordering;

const ALLOWED: &[&str] = &["bit", "bigint", "float", "datetime", "nvarchar(max)"];

/// The best value so far, `NULL` before the first.
#[derive(Debug, Clone)]
pub struct Extreme {
    greatest: bool,
    text: bool,
    best: Value,
}

impl Extreme {
    /// `MAX` or else `MIN`; `text` as in [`Aggregate::Min`](super::Aggregate::Min).
    pub fn new(greatest: bool, text: bool) -> Self {
        Self { greatest, text, best: Value::Null }
    }

    fn function(&self) -> &'static str {
        if self.greatest { "MAX" } else { "MIN" }
    }

    /// One more value.
    pub fn add(&mut self, value: &Value) -> Result<(), EvalError> {
        let invalid = || Arguments { function: self.function(), values: std::slice::from_ref(value) };
        let value = match value {
            Value::NVarchar(_) if !self.text => {
                // rule FUNC-02: a text counts as float unless the query says that it is to be a text.
                Value::Float(value.to_float().ok_or_else(|| invalid().invalid(0, &["bigint", "float"]))?)
            }
            Value::Record(_) | Value::Array(_) => return Err(invalid().invalid(0, ALLOWED)),
            _ => value.clone(),
        };
        let wanted = if self.greatest { Ordering::Greater } else { Ordering::Less };
        match ops::compare(&value, &self.best) {
            _ if self.best.is_null() => self.best = value,
            Some(order) if order == wanted => self.best = value,
            Some(_) => {}
            None => {
                let (left, right) = (self.best.type_name(), value.type_name());
                return Err(EvalError::Operands { operator: self.function(), left, right });
            }
        }
        Ok(())
    }

    /// The best value of another.
    pub fn merge(&mut self, other: &Self) -> Result<(), EvalError> {
        if other.best.is_null() { Ok(()) } else { self.add(&other.best) }
    }

    /// The result.
    pub fn value(&self) -> &Value {
        &self.best
    }

    /// Takes a value from a snapshot.
    pub fn restore(&mut self, value: Value) -> Result<(), SnapshotError> {
        self.best = Value::Null;
        match value.is_null() {
            true => Ok(()),
            false => self.add(&value).map_err(|_| SnapshotError::Damaged("a least or greatest value")),
        }
    }
}
