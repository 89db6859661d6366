//! `+ - * / %` and the sign.
//!
//! Two `bigint` give a `bigint` (division cuts the fraction), any `float` gives a `float`, a `bit` counts as 0 or 1. `+` joins
//! two texts; otherwise a text among numbers is read as a `float`. No result is ever NaN or infinite.

use crate::value::{EvalError, Value};

/// An operand as a number.
enum Number {
    Whole(i64),
    Float(f64),
}

/// One operator's ways to compute; `None` is out of range.
struct Operator {
    symbol: &'static str,
    whole: fn(i64, i64) -> Option<i64>,
    float: fn(f64, f64) -> f64,
    /// Whether a right operand of zero is an error.
    divides: bool,
}

/// `a + b`, also of two texts.
///
/// # Errors
/// [`EvalError::Operands`] for types without this operator, [`EvalError::OutOfRange`] on overflow; so for all below.
pub fn add(a: &Value, b: &Value) -> Result<Value, EvalError> {
    if let (Value::NVarchar(a), Value::NVarchar(b)) = (a, b) {
        return Ok(Value::from([&**a, &**b].concat()));
    }
    let operator = Operator { symbol: "+", whole: i64::checked_add, float: |a, b| a + b, divides: false };
    operator.apply(a, b)
}

/// `a - b`.
///
/// # Errors
/// As [`add`].
pub fn subtract(a: &Value, b: &Value) -> Result<Value, EvalError> {
    let operator = Operator { symbol: "-", whole: i64::checked_sub, float: |a, b| a - b, divides: false };
    operator.apply(a, b)
}

/// `a * b`.
///
/// # Errors
/// As [`add`].
pub fn multiply(a: &Value, b: &Value) -> Result<Value, EvalError> {
    let operator = Operator { symbol: "*", whole: i64::checked_mul, float: |a, b| a * b, divides: false };
    operator.apply(a, b)
}

/// `a / b`.
///
/// # Errors
/// As [`add`], and [`EvalError::DivideByZero`], for floats too.
pub fn divide(a: &Value, b: &Value) -> Result<Value, EvalError> {
    let operator = Operator { symbol: "/", whole: i64::checked_div, float: |a, b| a / b, divides: true };
    operator.apply(a, b)
}

/// `a % b`, with the sign of `a`.
///
/// # Errors
/// As [`divide`].
pub fn modulo(a: &Value, b: &Value) -> Result<Value, EvalError> {
    // The remainder of the smallest bigint and -1 is 0, although their quotient does not exist.
    let operator =
        Operator { symbol: "%", whole: |a, b| Some(a.wrapping_rem(b)), float: |a, b| a % b, divides: true };
    operator.apply(a, b)
}

/// `-a`.
///
/// # Errors
/// As [`add`].
pub fn negate(a: &Value) -> Result<Value, EvalError> {
    match a {
        // Not 0 - a: that has no negative zero.
        Value::Float(number) => Ok(Value::Float(-number)),
        _ => subtract(&Value::BigInt(0), a),
    }
}

impl Operator {
    fn apply(&self, a: &Value, b: &Value) -> Result<Value, EvalError> {
        if a.is_null() || b.is_null() {
            return Ok(Value::Null);
        }
        let (Some(left), Some(right)) = (number(a), number(b)) else {
            let (left, right) = (a.type_name(), b.type_name());
            return Err(EvalError::Operands { operator: self.symbol, left, right });
        };
        match (left, right) {
            (_, Number::Whole(0) | Number::Float(0.0)) if self.divides => Err(EvalError::DivideByZero),
            (Number::Whole(a), Number::Whole(b)) => {
                (self.whole)(a, b).map(Value::BigInt).ok_or(self.out_of_range("bigint"))
            }
            (a, b) => match (self.float)(a.float(), b.float()) {
                result if result.is_finite() => Ok(Value::Float(result)),
                _ => Err(self.out_of_range("float")),
            },
        }
    }

    fn out_of_range(&self, ty: &'static str) -> EvalError {
        EvalError::OutOfRange { operation: self.symbol, ty }
    }
}

impl Number {
    fn float(self) -> f64 {
        match self {
            Self::Whole(number) => number as f64,
            Self::Float(number) => number,
        }
    }
}

fn number(value: &Value) -> Option<Number> {
    match value {
        Value::BigInt(number) => Some(Number::Whole(*number)),
        Value::Bit(bit) => Some(Number::Whole(i64::from(*bit))),
        _ => value.to_float().map(Number::Float),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::DateTime;

    type Binary = fn(&Value, &Value) -> Result<Value, EvalError>;

    fn int(number: i64) -> Value {
        Value::BigInt(number)
    }

    fn float(number: f64) -> Value {
        Value::Float(number)
    }

    #[test]
    fn results_and_their_types() {
        let table: [(Binary, Value, Value, Value); 16] = [
            (add, int(2), int(3), int(5)),
            (add, int(2), float(0.5), float(2.5)),
            (add, Value::text("a"), Value::text("b"), Value::text("ab")),
            (add, Value::text("1.5"), int(1), float(2.5)),
            (add, Value::Bit(true), int(1), int(2)),
            (subtract, int(2), int(3), int(-1)),
            (multiply, float(1.5), int(2), float(3.0)),
            (divide, int(7), int(2), int(3)),
            (divide, int(-7), int(2), int(-3)),
            (divide, int(7), float(2.0), float(3.5)),
            (modulo, int(-7), int(3), int(-1)),
            (modulo, int(i64::MIN), int(-1), int(0)),
            (modulo, float(7.5), int(2), float(1.5)),
            (add, Value::Null, Value::text("x"), Value::Null),
            (divide, Value::Null, int(0), Value::Null),
            (multiply, int(2), Value::Null, Value::Null),
        ];
        for (row, (operator, a, b, expected)) in table.into_iter().enumerate() {
            assert_eq!(operator(&a, &b), Ok(expected), "row {row}");
        }
        assert_eq!(negate(&int(5)), Ok(int(-5)));
        assert_eq!(negate(&float(0.5)), Ok(float(-0.5)));
        assert_eq!(negate(&Value::Null), Ok(Value::Null));
    }

    #[test]
    fn what_has_no_result() {
        let table: [(Binary, Value, Value); 8] = [
            (add, int(i64::MAX), int(1)),
            (multiply, float(1e308), float(10.0)),
            (divide, int(i64::MIN), int(-1)),
            (divide, int(1), int(0)),
            (divide, float(1.0), float(-0.0)),
            (modulo, int(1), Value::Bit(false)),
            (add, Value::text("x"), int(1)),
            (subtract, DateTime(0).into(), int(1)),
        ];
        for (row, (operator, a, b)) in table.into_iter().enumerate() {
            assert!(operator(&a, &b).is_err(), "row {row}");
        }
        assert!(negate(&int(i64::MIN)).is_err());
    }
}
