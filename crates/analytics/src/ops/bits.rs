//! `& | ^ ~`: between two `bit` values a `bit`, with any `bigint` a `bigint`. A `float` loses its fraction first.

use crate::value::{EvalError, Value};

/// `a & b`.
///
/// # Errors
/// [`EvalError::Operands`] for what is no number, as for all below.
pub fn bit_and(a: &Value, b: &Value) -> Result<Value, EvalError> {
    apply("&", a, b, |a, b| a & b)
}

/// `a | b`.
///
/// # Errors
/// As [`bit_and`].
pub fn bit_or(a: &Value, b: &Value) -> Result<Value, EvalError> {
    apply("|", a, b, |a, b| a | b)
}

/// `a ^ b`: exclusive or.
///
/// # Errors
/// As [`bit_and`].
pub fn bit_xor(a: &Value, b: &Value) -> Result<Value, EvalError> {
    apply("^", a, b, |a, b| a ^ b)
}

/// `~a`: every bit turned.
///
/// # Errors
/// As [`bit_and`].
pub fn bit_not(a: &Value) -> Result<Value, EvalError> {
    match a {
        Value::Null => Ok(Value::Null),
        Value::Bit(bit) => Ok(Value::Bit(!bit)),
        _ => whole(a).map(|number| Value::BigInt(!number)).ok_or(refused("~", a, a)),
    }
}

fn apply(operator: &'static str, a: &Value, b: &Value, op: fn(i64, i64) -> i64) -> Result<Value, EvalError> {
    if a.is_null() || b.is_null() {
        return Ok(Value::Null);
    }
    let (Some(left), Some(right)) = (whole(a), whole(b)) else { return Err(refused(operator, a, b)) };
    Ok(match (a, b) {
        (Value::Bit(_), Value::Bit(_)) => Value::Bit(op(left, right) != 0),
        _ => Value::BigInt(op(left, right)),
    })
}

fn whole(value: &Value) -> Option<i64> {
    value.to_bigint()
}

fn refused(operator: &'static str, a: &Value, b: &Value) -> EvalError {
    EvalError::Operands { operator, left: a.type_name(), right: b.type_name() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables() {
        let (a, b) = (Value::BigInt(0b1100), Value::BigInt(0b1010));
        assert_eq!(bit_and(&a, &b), Ok(Value::BigInt(0b1000)));
        assert_eq!(bit_or(&a, &b), Ok(Value::BigInt(0b1110)));
        assert_eq!(bit_xor(&a, &b), Ok(Value::BigInt(0b0110)));
        assert_eq!(bit_not(&a), Ok(Value::BigInt(-13)));
        let (yes, no) = (Value::Bit(true), Value::Bit(false));
        assert_eq!(bit_and(&yes, &no), Ok(no.clone()));
        assert_eq!(bit_or(&yes, &no), Ok(yes.clone()));
        assert_eq!(bit_xor(&yes, &yes), Ok(no.clone()));
        assert_eq!(bit_not(&no), Ok(yes.clone()));
        assert_eq!(bit_and(&a, &yes), Ok(Value::BigInt(0)));
        assert_eq!(bit_or(&Value::Float(4.9), &yes), Ok(Value::BigInt(5)));
        assert_eq!(bit_or(&Value::Null, &yes), Ok(Value::Null));
        assert_eq!(bit_not(&Value::Null), Ok(Value::Null));
        assert!(bit_and(&a, &Value::text("x")).is_err());
        assert!(bit_not(&Value::Float(1e300)).is_err());
    }
}
