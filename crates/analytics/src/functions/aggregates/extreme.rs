//! The least or the greatest value.

use crate::functions::arguments::Arguments;
use crate::ops;
use crate::value::snapshot::SnapshotError;
use crate::value::{DateTime, EvalError, Value};
use std::cmp::Ordering;
use std::sync::Arc;

const ALLOWED: &[&str] = &["bit", "bigint", "float", "datetime", "nvarchar(max)"];

/// The best value so far, and which is the best. There is one for each group of each window, so it is a type and eight bytes.
#[derive(Debug, Clone)]
pub enum Extreme {
    /// Before the first value.
    Nothing(Rule),
    /// A `bit`.
    Bit(Rule, bool),
    /// A `bigint`.
    BigInt(Rule, i64),
    /// A `float`.
    Float(Rule, f64),
    /// A `datetime`.
    DateTime(Rule, DateTime),
    /// A text.
    Text(Rule, Box<Arc<str>>),
}

/// Which value is the best.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// The least; texts count as numbers.
    Least,
    /// The least, also of texts.
    LeastText,
    /// The greatest; texts count as numbers.
    Greatest,
    /// The greatest, also of texts.
    GreatestText,
}

impl Rule {
    fn function(self) -> &'static str {
        match self {
            Self::Least | Self::LeastText => "MIN",
            Self::Greatest | Self::GreatestText => "MAX",
        }
    }

    fn takes_text(self) -> bool {
        matches!(self, Self::LeastText | Self::GreatestText)
    }

    fn wanted(self) -> Ordering {
        match self {
            Self::Least | Self::LeastText => Ordering::Less,
            Self::Greatest | Self::GreatestText => Ordering::Greater,
        }
    }
}

impl Extreme {
    /// `MAX` or else `MIN`; `text` as in [`Aggregate::Min`](super::Aggregate::Min).
    pub fn new(greatest: bool, text: bool) -> Self {
        Self::Nothing(match (greatest, text) {
            (false, false) => Rule::Least,
            (false, true) => Rule::LeastText,
            (true, false) => Rule::Greatest,
            (true, true) => Rule::GreatestText,
        })
    }

    fn rule(&self) -> Rule {
        match self {
            Self::Nothing(rule)
            | Self::Bit(rule, _)
            | Self::BigInt(rule, _)
            | Self::Float(rule, _)
            | Self::DateTime(rule, _)
            | Self::Text(rule, _) => *rule,
        }
    }

    /// One more value.
    pub fn add(&mut self, value: &Value) -> Result<(), EvalError> {
        let rule = self.rule();
        let number = match value {
            Value::NVarchar(_) if !rule.takes_text() => {
                // rule FUNC-02: a text counts as float unless the query says that it is to be a text.
                let number = value.to_float().ok_or_else(|| invalid(rule, value, &["bigint", "float"]))?;
                Some(Value::Float(number))
            }
            _ => None,
        };
        let value = number.as_ref().unwrap_or(value);
        let best = self.value();
        match ops::compare(value, &best) {
            _ if best.is_null() => self.put(value),
            Some(order) if order == rule.wanted() => self.put(value),
            Some(_) => Ok(()),
            None if matches!(value, Value::Record(_) | Value::Array(_)) => Err(invalid(rule, value, ALLOWED)),
            None => {
                let (left, right) = (best.type_name(), value.type_name());
                Err(EvalError::Operands { operator: rule.function(), left, right })
            }
        }
    }

    fn put(&mut self, value: &Value) -> Result<(), EvalError> {
        let rule = self.rule();
        *self = match value {
            Value::Null => Self::Nothing(rule),
            Value::Bit(bit) => Self::Bit(rule, *bit),
            Value::BigInt(number) => Self::BigInt(rule, *number),
            Value::Float(number) => Self::Float(rule, *number),
            Value::DateTime(time) => Self::DateTime(rule, *time),
            Value::NVarchar(text) => Self::Text(rule, Box::new(text.clone())),
            Value::Record(_) | Value::Array(_) => return Err(invalid(rule, value, ALLOWED)),
        };
        Ok(())
    }

    /// The best value of another.
    pub fn merge(&mut self, other: &Self) -> Result<(), EvalError> {
        let best = other.value();
        if best.is_null() { Ok(()) } else { self.add(&best) }
    }

    /// The result: `NULL` if there was no value.
    pub fn value(&self) -> Value {
        match self {
            Self::Nothing(_) => Value::Null,
            Self::Bit(_, bit) => Value::Bit(*bit),
            Self::BigInt(_, number) => Value::BigInt(*number),
            Self::Float(_, number) => Value::Float(*number),
            Self::DateTime(_, time) => Value::DateTime(*time),
            Self::Text(_, text) => Value::NVarchar((**text).clone()),
        }
    }

    /// About how many bytes it holds beside its own.
    pub fn weight(&self) -> usize {
        match self {
            Self::Text(_, text) => size_of::<Arc<str>>() + text.len(),
            _ => 0,
        }
    }

    /// Takes a value from a snapshot.
    pub fn restore(&mut self, value: Value) -> Result<(), SnapshotError> {
        *self = Self::Nothing(self.rule());
        match value.is_null() {
            true => Ok(()),
            false => self.add(&value).map_err(|_| SnapshotError::Damaged("a least or greatest value")),
        }
    }
}

fn invalid(rule: Rule, value: &Value, allowed: &'static [&'static str]) -> EvalError {
    Arguments { function: rule.function(), values: std::slice::from_ref(value) }.invalid(0, allowed)
}
