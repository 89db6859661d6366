//! Whether rows are the expected ones: numbers by value, a missing member is not a null one.

use serde_json::{Map, Value};
use std::fmt::Write as _;

/// How a case wants to be compared.
#[derive(Debug, Default)]
pub(super) struct Compare {
    in_order: bool,
    float_tolerance: f64,
    relative_tolerance: f64,
    /// Members whose arrays may be in any order.
    multisets: Vec<String>,
}

impl Compare {
    pub(super) fn new(members: &Map<String, Value>) -> Self {
        let number = |name| members.get(name).and_then(Value::as_f64).unwrap_or_default();
        let multisets = members.get("multiset_fields").and_then(Value::as_array).into_iter().flatten();
        Self {
            in_order: members.get("order").and_then(Value::as_str).is_some_and(|order| order != "any"),
            float_tolerance: number("float_tol"),
            relative_tolerance: number("float_rel_tol"),
            multisets: multisets.filter_map(|name| name.as_str().map(str::to_owned)).collect(),
        }
    }

    /// What differs, for people; `None` if nothing does.
    pub(super) fn difference(&self, output: &str, expected: &[Value], found: &[Value]) -> Option<String> {
        let mut rest: Vec<&Value> = found.iter().collect();
        let mut missing = Vec::new();
        for row in expected {
            match rest.iter().position(|other| self.same(row, other, false)) {
                Some(position) => {
                    rest.remove(position);
                }
                None => missing.push(row),
            }
        }
        if missing.is_empty() && rest.is_empty() {
            let pairs = expected.iter().zip(found);
            let place = pairs.into_iter().position(|(a, b)| !self.same(a, b, false))?;
            return self.in_order.then(|| {
                format!(
                    "output {output}: the rows are the right ones in another order, from row {} on",
                    place + 1
                )
            });
        }
        let mut text = format!(
            "output {output}: {} of {} rows missing, {} not expected",
            missing.len(),
            expected.len(),
            rest.len()
        );
        for (sign, rows) in [('-', missing), ('+', rest)] {
            for row in rows.iter().take(MAX_SHOWN) {
                let _ = write!(text, "\n  {sign} {row}");
            }
            if rows.len() > MAX_SHOWN {
                let _ = write!(text, "\n  {sign} and {} more", rows.len() - MAX_SHOWN);
            }
        }
        Some(text)
    }

    fn same(&self, a: &Value, b: &Value, any_order: bool) -> bool {
        match (a, b) {
            (Value::Number(a), Value::Number(b)) => {
                if let (Some(a), Some(b)) = (a.as_i64(), b.as_i64()) {
                    return a == b;
                }
                let (a, b) = (a.as_f64().unwrap_or(f64::NAN), b.as_f64().unwrap_or(f64::NAN));
                let tolerance = self.float_tolerance.max(self.relative_tolerance * a.abs());
                a == b || (a - b).abs() <= tolerance
            }
            (Value::Array(a), Value::Array(b)) if any_order => {
                let mut rest: Vec<&Value> = b.iter().collect();
                let mut taken = |item| match rest.iter().position(|other| self.same(item, other, false)) {
                    Some(position) => {
                        rest.remove(position);
                        true
                    }
                    None => false,
                };
                a.len() == b.len() && a.iter().all(&mut taken)
            }
            (Value::Array(a), Value::Array(b)) => {
                a.len() == b.len() && a.iter().zip(b).all(|(a, b)| self.same(a, b, false))
            }
            (Value::Object(a), Value::Object(b)) => {
                a.len() == b.len()
                    && a.iter().all(|(name, a)| {
                        b.get(name).is_some_and(|b| self.same(a, b, self.multisets.contains(name)))
                    })
            }
            _ => a == b,
        }
    }
}

/// So many rows of each kind are shown.
const MAX_SHOWN: usize = 20;
