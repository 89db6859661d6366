//! Whether rows are the expected ones: numbers by value, a missing member is not a null one.

use serde_json::Value;

/// How a case wants to be compared.
#[derive(serde::Deserialize, Default)]
pub struct Compare {
    #[serde(default)]
    order: Option<String>,
    #[serde(default)]
    float_tol: f64,
    #[serde(default)]
    float_rel_tol: f64,
    /// Members whose arrays may be in any order.
    #[serde(default)]
    multiset_fields: Vec<String>,
}

/// Says what differs.
pub fn same_rows(expected: &[Value], found: &[Value], how: &Compare) -> Result<(), String> {
    let ordered = how.order.as_deref().is_some_and(|order| order != "any");
    let mut rest: Vec<&Value> = found.iter().collect();
    for row in expected {
        let position = if ordered {
            0
        } else {
            rest.iter().position(|other| how.same(row, other, false)).unwrap_or(rest.len())
        };
        if rest.get(position).is_none_or(|other| !how.same(row, other, false)) {
            return Err(format!("missing {row}\n  found {}", list(found)));
        }
        rest.remove(position);
    }
    if rest.is_empty() { Ok(()) } else { Err(format!("not expected {}\n  found {}", rest[0], list(found))) }
}

fn list(rows: &[Value]) -> String {
    rows.iter().map(Value::to_string).collect::<Vec<_>>().join("\n        ")
}

impl Compare {
    fn same(&self, a: &Value, b: &Value, any_order: bool) -> bool {
        match (a, b) {
            (Value::Number(a), Value::Number(b)) => {
                if let (Some(a), Some(b)) = (a.as_i64(), b.as_i64()) {
                    return a == b;
                }
                let (a, b) = (a.as_f64().unwrap_or(f64::NAN), b.as_f64().unwrap_or(f64::NAN));
                let tolerance = self.float_tol.max(self.float_rel_tol * a.abs());
                a == b || (a - b).abs() <= tolerance
            }
            (Value::Array(a), Value::Array(b)) if any_order => {
                let mut rest: Vec<&Value> = b.iter().collect();
                a.len() == b.len()
                    && a.iter().all(|item| {
                        match rest.iter().position(|other| self.same(item, other, false)) {
                            Some(position) => {
                                rest.remove(position);
                                true
                            }
                            None => false,
                        }
                    })
            }
            (Value::Array(a), Value::Array(b)) => {
                a.len() == b.len() && a.iter().zip(b).all(|(a, b)| self.same(a, b, false))
            }
            (Value::Object(a), Value::Object(b)) => {
                a.len() == b.len()
                    && a.iter().all(|(name, a)| {
                        b.get(name).is_some_and(|b| self.same(a, b, self.multiset_fields.contains(name)))
                    })
            }
            _ => a == b,
        }
    }
}
