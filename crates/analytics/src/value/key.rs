//! Values as keys of groups, joins and distinct counts.

use super::Value;
use std::cmp::Ordering;
use std::hash::{Hash, Hasher};

/// A value with the equality of group keys: `NULL` equals `NULL`, `bigint` and `float` equal by value, texts are equal
/// byte for byte, records are equal field by field in any order. Other types never equal each other.
///
/// Several keys are a `Box<[GroupKey]>`, which a map finds by `&[GroupKey]`.
#[derive(Debug, Clone)]
pub struct GroupKey(pub Value);

impl From<Value> for GroupKey {
    fn from(value: Value) -> Self {
        Self(value)
    }
}

impl PartialEq for GroupKey {
    fn eq(&self, other: &Self) -> bool {
        equal(&self.0, &other.0)
    }
}

impl Eq for GroupKey {}

impl Hash for GroupKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        hash(&self.0, state);
    }
}

impl PartialOrd for GroupKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// A total order that agrees with the equality: by type, `NULL` first, then by value.
impl Ord for GroupKey {
    fn cmp(&self, other: &Self) -> Ordering {
        order(&self.0, &other.0)
    }
}

/// The equality of [`GroupKey`].
pub(crate) fn equal(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::NVarchar(a), Value::NVarchar(b)) => a == b,
        // Events of one source name their fields in one order: try that before sorting.
        (Value::Record(x), Value::Record(y)) if x.len() == y.len() => {
            x.iter().zip(y.iter()).all(|(x, y)| x.0 == y.0 && equal(x.1, y.1)) || order(a, b).is_eq()
        }
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b.iter()).all(|(a, b)| equal(a, b))
        }
        _ => order(a, b).is_eq(),
    }
}

fn rank(value: &Value) -> u8 {
    match value {
        Value::Null => 0,
        Value::Bit(_) => 1,
        Value::BigInt(_) | Value::Float(_) => 2,
        Value::NVarchar(_) => 3,
        Value::DateTime(_) => 4,
        Value::Array(_) => 5,
        Value::Record(_) => 6,
    }
}

/// The order of [`GroupKey`].
pub(crate) fn order(a: &Value, b: &Value) -> Ordering {
    match (a, b) {
        (Value::Bit(a), Value::Bit(b)) => a.cmp(b),
        (Value::BigInt(a), Value::BigInt(b)) => a.cmp(b),
        (Value::BigInt(a), Value::Float(b)) => bigint_to_float(*a, *b),
        (Value::Float(a), Value::BigInt(b)) => bigint_to_float(*b, *a).reverse(),
        (Value::Float(a), Value::Float(b)) => (a + 0.0).total_cmp(&(b + 0.0)),
        (Value::NVarchar(a), Value::NVarchar(b)) => a.cmp(b),
        (Value::DateTime(a), Value::DateTime(b)) => a.cmp(b),
        (Value::Array(a), Value::Array(b)) => {
            let first = a.iter().zip(b.iter()).map(|(a, b)| order(a, b)).find(|order| order.is_ne());
            first.unwrap_or_else(|| a.len().cmp(&b.len()))
        }
        (Value::Record(a), Value::Record(b)) => {
            let (a, b) = (sorted(a), sorted(b));
            let pairs = a.iter().zip(b.iter());
            let first = pairs.map(|(a, b)| a.0.cmp(b.0).then_with(|| order(a.1, b.1)));
            first.into_iter().find(|order| order.is_ne()).unwrap_or_else(|| a.len().cmp(&b.len()))
        }
        _ => rank(a).cmp(&rank(b)),
    }
}

fn sorted(record: &super::Record) -> Vec<(&str, &Value)> {
    let mut fields: Vec<_> = record.iter().map(|(name, value)| (&**name, value)).collect();
    fields.sort_unstable_by_key(|(name, _)| *name);
    fields
}

/// Compares by exact value; a float has room for only 53 bits, so neither side may be converted blindly.
pub(crate) fn bigint_to_float(a: i64, b: f64) -> Ordering {
    match super::convert::float_to_bigint(b) {
        Some(whole) => a.cmp(&whole).then_with(|| 0f64.total_cmp(&(b - b.trunc() + 0.0))),
        None if b > 0.0 => Ordering::Less,
        None => Ordering::Greater,
    }
}

fn hash<H: Hasher>(value: &Value, state: &mut H) {
    rank(value).hash(state);
    match value {
        Value::Null => {}
        Value::Bit(bit) => bit.hash(state),
        Value::BigInt(number) => number.hash(state),
        // Equal numbers of both types must hash alike.
        Value::Float(number) => match super::convert::float_to_bigint(*number) {
            Some(whole) if *number == whole as f64 => whole.hash(state),
            _ => number.to_bits().hash(state),
        },
        Value::NVarchar(text) => text.hash(state),
        Value::DateTime(time) => time.hash(state),
        Value::Array(items) => items.iter().for_each(|item| hash(item, state)),
        // Fields may stand in any order: only their number counts here, the rest is left to the equality.
        Value::Record(record) => record.len().hash(state),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::Record;
    use proptest::prelude::*;
    use std::collections::HashMap;
    use std::hash::{DefaultHasher, Hasher};

    fn hashed(key: &GroupKey) -> u64 {
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        hasher.finish()
    }

    #[test]
    fn what_groups_together() {
        let record = |names: [&str; 2]| {
            Value::from(Record::from_iter(names.map(|name| (name.into(), Value::text(name)))))
        };
        for (a, b) in [
            (Value::Null, Value::Null),
            (Value::BigInt(3), Value::Float(3.0)),
            (Value::Float(0.0), Value::Float(-0.0)),
            (record(["a", "b"]), record(["b", "a"])),
        ] {
            let (a, b) = (GroupKey(a), GroupKey(b));
            assert_eq!(a, b);
            assert_eq!(a.cmp(&b), Ordering::Equal);
            assert_eq!(hashed(&a), hashed(&b));
        }
        for (a, b) in [
            (Value::Null, Value::text("")),
            (Value::text("1"), Value::BigInt(1)),
            (Value::Bit(true), Value::BigInt(1)),
            (Value::text("a"), Value::text("A")),
            (Value::BigInt(i64::MAX), Value::Float(i64::MAX as f64)),
            (record(["a", "b"]), record(["a", "c"])),
        ] {
            assert_ne!(GroupKey(a), GroupKey(b));
        }
    }

    #[test]
    fn several_keys_are_found_by_a_slice() {
        let key = |number| [GroupKey(Value::text("pump")), GroupKey(Value::BigInt(number))];
        let map = HashMap::from([(Box::from(key(1)) as Box<[GroupKey]>, "one")]);
        assert_eq!(map.get(&key(1)[..]), Some(&"one"));
        assert_eq!(map.get(&key(2)[..]), None);
    }

    fn numbers() -> impl Strategy<Value = GroupKey> {
        let exact = prop_oneof![any::<i64>(), Just(i64::MAX), Just(i64::MIN), -3i64..3];
        prop_oneof![
            exact.prop_map(|number| GroupKey(Value::BigInt(number))),
            (-3i64..3).prop_map(|half| GroupKey(Value::Float(half as f64 / 2.0))),
            any::<i64>().prop_map(|number| GroupKey(Value::Float(number as f64))),
            prop::num::f64::NORMAL.prop_map(|number| GroupKey(Value::Float(number))),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn numbers_are_totally_ordered(mut keys in prop::collection::vec(numbers(), 3)) {
            keys.sort();
            prop_assert!(keys[0] <= keys[1] && keys[1] <= keys[2] && keys[0] <= keys[2]);
            for pair in keys.windows(2).filter(|pair| pair[0] == pair[1]) {
                prop_assert_eq!(hashed(&pair[0]), hashed(&pair[1]));
                prop_assert_eq!(pair[0].cmp(&pair[1]), Ordering::Equal);
            }
        }
    }
}
