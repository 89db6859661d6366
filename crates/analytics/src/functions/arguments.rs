//! Arguments as the types functions work on, with the conversions that are made for the caller.

use crate::value::{DateTime, EvalError, Record, Value};
use std::borrow::Cow;

/// The arguments of one call, none of them `NULL`. Places count from 0 here and from 1 in errors.
#[derive(Clone, Copy)]
pub struct Arguments<'a> {
    /// The function's name.
    pub function: &'static str,
    /// The values.
    pub values: &'a [Value],
}

/// A number that keeps its type.
pub enum Number {
    /// `bigint`, or a `bit`.
    Whole(i64),
    /// `float`, or a text.
    Float(f64),
}

impl<'a> Arguments<'a> {
    /// Why a value is not taken.
    pub fn invalid(&self, place: usize, allowed: &'static [&'static str]) -> EvalError {
        let found = self.values.get(place).map_or("null", Value::type_name);
        EvalError::InvalidArgument { function: self.function, position: place + 1, found, allowed }
    }

    /// Why a value of the right type is not taken.
    pub fn domain(&self, problem: &'static str) -> EvalError {
        EvalError::Domain { function: self.function, problem }
    }

    /// Why there is no result.
    pub fn out_of_range(&self, ty: &'static str) -> EvalError {
        EvalError::OutOfRange { operation: self.function, ty }
    }

    fn get(&self, place: usize) -> &'a Value {
        self.values.get(place).unwrap_or(&Value::Null)
    }

    /// A text; other scalars are converted as by CAST.
    pub fn text(&self, place: usize) -> Result<Cow<'a, str>, EvalError> {
        match self.get(place) {
            Value::NVarchar(text) => Ok(Cow::Borrowed(text)),
            other => other.to_text().map(Cow::Owned).ok_or_else(|| self.invalid(place, &["nvarchar(max)"])),
        }
    }

    /// A whole number; a float loses its fraction.
    pub fn whole(&self, place: usize) -> Result<i64, EvalError> {
        let value = self.get(place);
        let whole = value.to_bigint().or_else(|| crate::value::convert::float_to_bigint(value.to_float()?));
        whole.ok_or_else(|| self.invalid(place, &["bigint"]))
    }

    /// A whole number, if it was given.
    pub fn whole_or(&self, place: usize, default: i64) -> Result<i64, EvalError> {
        if place < self.values.len() { self.whole(place) } else { Ok(default) }
    }

    /// A number as float.
    pub fn float(&self, place: usize) -> Result<f64, EvalError> {
        self.get(place).to_float().ok_or_else(|| self.invalid(place, &["bigint", "float"]))
    }

    /// A number of either type.
    pub fn number(&self, place: usize) -> Result<Number, EvalError> {
        match self.get(place) {
            Value::BigInt(number) => Ok(Number::Whole(*number)),
            Value::Bit(bit) => Ok(Number::Whole(i64::from(*bit))),
            _ => self.float(place).map(Number::Float),
        }
    }

    /// A point in time; a text is read as one.
    pub fn time(&self, place: usize) -> Result<DateTime, EvalError> {
        match self.get(place) {
            Value::DateTime(time) => Some(*time),
            Value::NVarchar(text) => DateTime::parse(text),
            _ => None,
        }
        .ok_or_else(|| self.invalid(place, &["datetime"]))
    }

    /// A record.
    pub fn record(&self, place: usize) -> Result<&'a Record, EvalError> {
        match self.get(place) {
            Value::Record(record) => Ok(record),
            _ => Err(self.invalid(place, &["record"])),
        }
    }

    /// An array.
    pub fn array(&self, place: usize) -> Result<&'a [Value], EvalError> {
        match self.get(place) {
            Value::Array(items) => Ok(items),
            _ => Err(self.invalid(place, &["array"])),
        }
    }

    /// A float result, if there is one; without the sign of a zero.
    pub fn float_result(&self, result: f64) -> Result<Value, EvalError> {
        if result.is_finite() { Ok(Value::Float(result + 0.0)) } else { Err(self.out_of_range("float")) }
    }

    /// A text result, if it is not too long.
    pub fn text_result(&self, text: String) -> Result<Value, EvalError> {
        if text.len() > super::MAX_TEXT { Err(self.too_long()) } else { Ok(text.into()) }
    }

    /// Why a text is not made.
    pub fn too_long(&self) -> EvalError {
        self.domain("the result is longer than 1 MiB; make the text or the number smaller")
    }
}
