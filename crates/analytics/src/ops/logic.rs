//! AND, OR and NOT over true, false and unknown (`None`), and the way between conditions and values.

use crate::value::{EvalError, Value};

/// AND: false if either is false, whatever the other.
pub fn and3(a: Option<bool>, b: Option<bool>) -> Option<bool> {
    match (a, b) {
        (Some(false), _) | (_, Some(false)) => Some(false),
        (Some(true), Some(true)) => Some(true),
        _ => None,
    }
}

/// OR: true if either is true, whatever the other.
pub fn or3(a: Option<bool>, b: Option<bool>) -> Option<bool> {
    not3(and3(not3(a), not3(b)))
}

/// NOT: unknown stays unknown.
pub fn not3(a: Option<bool>) -> Option<bool> {
    a.map(|known| !known)
}

/// What a condition keeps: true, not false, not unknown.
pub fn is_true(condition: Option<bool>) -> bool {
    condition == Some(true)
}

/// A value in the place of a condition: a `bit`, or a number, of which all but zero are true (the geo functions give 1 and 0).
///
/// # Errors
/// [`EvalError::Cast`] for other types.
pub fn truth(value: &Value) -> Result<Option<bool>, EvalError> {
    match value {
        Value::Null => Ok(None),
        Value::Bit(_) | Value::BigInt(_) | Value::Float(_) => Ok(value.to_bit()),
        _ => Err(EvalError::Cast { from: value.type_name(), to: "bit", expression: None }),
    }
}

/// `COALESCE`: the first that is not `NULL`.
pub fn coalesce(values: &[Value]) -> Value {
    values.iter().find(|value| !value.is_null()).cloned().unwrap_or(Value::Null)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_valued_tables() {
        let all = [Some(true), Some(false), None];
        let table = |op: fn(Option<bool>, Option<bool>) -> Option<bool>| {
            all.map(|a| all.map(|b| op(a, b).map_or('?', |known| if known { 't' } else { 'f' })))
        };
        assert_eq!(table(and3), [['t', 'f', '?'], ['f', 'f', 'f'], ['?', 'f', '?']]);
        assert_eq!(table(or3), [['t', 't', 't'], ['t', 'f', '?'], ['t', '?', '?']]);
        assert_eq!(all.map(not3), [Some(false), Some(true), None]);
        assert_eq!(all.map(is_true), [true, false, false]);
    }

    #[test]
    fn values_as_conditions() {
        assert_eq!(truth(&Value::Bit(false)), Ok(Some(false)));
        assert_eq!(truth(&Value::BigInt(2)), Ok(Some(true)));
        assert_eq!(truth(&Value::Null), Ok(None));
        assert!(truth(&Value::text("true")).is_err());
        assert_eq!(coalesce(&[Value::Null, Value::text("a"), Value::BigInt(1)]), Value::text("a"));
        assert_eq!(coalesce(&[Value::Null]), Value::Null);
    }
}
