//! `= <> < <= > >=`, BETWEEN and IN.
//!
//! Numbers of all types compare by exact value. Texts compare byte by byte, case counts (the service's documents leave it
//! open). A text beside a number or a time is read as one; where it is none, and for types that have nothing in common,
//! the comparison is unknown, like one with `NULL`: values of a column may change their type from event to event, and one odd
//! event must not stop a query. Records and arrays know only equality.

use crate::value::{DateTime, Value, key};
use std::cmp::Ordering;

/// A comparison operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Comparison {
    /// `=`
    Equal,
    /// `<>`, `!=`
    NotEqual,
    /// `<`
    Less,
    /// `<=`, `!>`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`, `!<`
    GreaterOrEqual,
}

impl Comparison {
    /// Whether it holds; `None` if that is unknown.
    pub fn holds(self, a: &Value, b: &Value) -> Option<bool> {
        match self {
            Self::Equal => equal(a, b),
            Self::NotEqual => equal(a, b).map(|equal| !equal),
            Self::Less => compare(a, b).map(Ordering::is_lt),
            Self::LessOrEqual => compare(a, b).map(Ordering::is_le),
            Self::Greater => compare(a, b).map(Ordering::is_gt),
            Self::GreaterOrEqual => compare(a, b).map(Ordering::is_ge),
        }
    }
}

/// The order of two values, if they have one.
pub fn compare(a: &Value, b: &Value) -> Option<Ordering> {
    match (a, b) {
        (Value::Float(a), Value::Float(b)) => a.partial_cmp(b),
        (Value::BigInt(a), Value::BigInt(b)) => Some(a.cmp(b)),
        (Value::BigInt(a), Value::Float(b)) => Some(key::bigint_to_float(*a, *b)),
        (Value::Float(a), Value::BigInt(b)) => Some(key::bigint_to_float(*b, *a).reverse()),
        (Value::NVarchar(a), Value::NVarchar(b)) => Some(a.cmp(b)),
        (Value::DateTime(a), Value::DateTime(b)) => Some(a.cmp(b)),
        (Value::DateTime(a), Value::NVarchar(b)) => DateTime::parse(b).map(|b| a.cmp(&b)),
        (Value::NVarchar(a), Value::DateTime(b)) => DateTime::parse(a).map(|a| a.cmp(b)),
        (Value::Bit(a), Value::Bit(b)) => Some(a.cmp(b)),
        (Value::Bit(a), Value::NVarchar(_)) => b.to_bit().map(|b| a.cmp(&b)),
        (Value::NVarchar(_), Value::Bit(b)) => a.to_bit().map(|a| a.cmp(b)),
        (Value::Bit(a), _) if !b.is_null() => compare(&Value::BigInt(i64::from(*a)), b),
        (_, Value::Bit(b)) if !a.is_null() => compare(a, &Value::BigInt(i64::from(*b))),
        (Value::NVarchar(_), Value::BigInt(_) | Value::Float(_)) => compare(&Value::Float(a.to_float()?), b),
        (Value::BigInt(_) | Value::Float(_), Value::NVarchar(_)) => compare(a, &Value::Float(b.to_float()?)),
        _ => None,
    }
}

/// Whether two values are equal, if that is known; also for records and arrays, which are equal item by item as group keys are.
pub fn equal(a: &Value, b: &Value) -> Option<bool> {
    match (a, b) {
        (Value::Record(_), Value::Record(_)) | (Value::Array(_), Value::Array(_)) => Some(key::equal(a, b)),
        _ => compare(a, b).map(Ordering::is_eq),
    }
}

/// `value BETWEEN low AND high`, both ends included.
pub fn between(value: &Value, low: &Value, high: &Value) -> Option<bool> {
    super::and3(Comparison::GreaterOrEqual.holds(value, low), Comparison::LessOrEqual.holds(value, high))
}

/// `value IN (list)`: unknown if nothing is equal but something is not comparable.
pub fn in_list<'a>(value: &Value, list: impl IntoIterator<Item = &'a Value>) -> Option<bool> {
    let mut found = Some(false);
    for item in list {
        found = super::or3(found, equal(value, item));
        if found == Some(true) {
            break;
        }
    }
    found
}

/// `NULLIF(a, b)`: `NULL` where they are equal, else `a`.
pub fn null_if(a: &Value, b: &Value) -> Value {
    if equal(a, b) == Some(true) { Value::Null } else { a.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::Record;

    #[test]
    fn orders() {
        use Ordering::{Equal, Greater, Less};
        let time = |text| Value::from(DateTime::parse(text).unwrap());
        for (a, b, expected) in [
            (Value::BigInt(2), Value::BigInt(3), Some(Less)),
            (Value::BigInt(3), Value::Float(3.0), Some(Equal)),
            (Value::BigInt(i64::MAX), Value::Float(9.3e18), Some(Less)),
            (Value::BigInt(i64::MAX), Value::Float(i64::MAX as f64), Some(Less)),
            (Value::BigInt(-3), Value::Float(-3.5), Some(Greater)),
            (Value::Float(0.0), Value::Float(-0.0), Some(Equal)),
            (Value::text("a"), Value::text("B"), Some(Greater)),
            (Value::text("10"), Value::BigInt(9), Some(Greater)),
            (Value::text("ten"), Value::BigInt(9), None),
            (Value::Bit(true), Value::BigInt(1), Some(Equal)),
            (Value::Bit(false), Value::text("true"), Some(Less)),
            (time("2024-01-01"), Value::text("2024-01-01T00:00:01Z"), Some(Less)),
            (time("2024-01-01"), Value::text("yesterday"), None),
            (time("2024-01-01"), Value::BigInt(1), None),
            (Value::Null, Value::Null, None),
            (Value::Null, Value::Bit(true), None),
            (Value::Bit(true), Value::from(vec![]), None),
        ] {
            assert_eq!(compare(&a, &b), expected, "{a:?} {b:?}");
            assert_eq!(compare(&b, &a), expected.map(Ordering::reverse), "{b:?} {a:?}");
        }
    }

    #[test]
    fn operators_are_unknown_with_null() {
        use Comparison::*;
        let (two, three) = (Value::BigInt(2), Value::BigInt(3));
        let all = [Equal, NotEqual, Less, LessOrEqual, Greater, GreaterOrEqual];
        let holds = |a, b| all.map(|operator| operator.holds(a, b));
        let some = |list: [bool; 6]| list.map(Some);
        assert_eq!(holds(&two, &three), some([false, true, true, true, false, false]));
        assert_eq!(holds(&three, &three), some([true, false, false, true, false, true]));
        assert_eq!(holds(&Value::Null, &three), [None; 6]);
    }

    #[test]
    fn records_and_arrays_are_only_equal_or_not() {
        let record = |number| Value::from(Record::from_iter([("a".into(), Value::BigInt(number))]));
        assert_eq!(equal(&record(1), &record(1)), Some(true));
        assert_eq!(equal(&record(1), &record(2)), Some(false));
        assert_eq!(compare(&record(1), &record(1)), None);
        assert_eq!(equal(&record(1), &Value::from(vec![])), None);
    }

    #[test]
    fn between_and_in() {
        let [one, two, three] = [1, 2, 3].map(Value::BigInt);
        assert_eq!(between(&one, &one, &three), Some(true));
        assert_eq!(between(&three, &one, &three), Some(true));
        assert_eq!(between(&three, &one, &two), Some(false));
        assert_eq!(between(&three, &Value::Null, &two), Some(false));
        assert_eq!(between(&two, &Value::Null, &three), None);
        assert_eq!(in_list(&two, [&one, &two]), Some(true));
        assert_eq!(in_list(&two, [&Value::Null, &two]), Some(true));
        assert_eq!(in_list(&two, [&one, &three]), Some(false));
        assert_eq!(in_list(&two, [&one, &Value::Null]), None);
        assert_eq!(null_if(&two, &Value::Float(2.0)), Value::Null);
        assert_eq!(null_if(&two, &Value::Null), two);
    }
}
