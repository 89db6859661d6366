//! Why a condition holds or does not: what each of its comparisons came to, and the values it saw.

use crate::eval::{Scope, eval};
use crate::expr::Expr;
use crate::value::Value;

/// Longest text of a value that is told.
const VALUE_CHARS_MAX: usize = 100;
/// Comparisons of a condition that are told at most.
const PARTS_MAX: usize = 200;

/// What a condition came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// Whether it holds; `None` where that is undefined, which matches nothing.
    pub result: Option<bool>,
    /// Its comparisons in the order of the text, what AND, OR and NOT put together.
    pub parts: Vec<Part>,
}

/// What one comparison came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// The comparison.
    pub text: String,
    /// Whether it holds; `None` where that is undefined.
    pub result: Option<bool>,
    /// What stood there in the message, and why it is undefined if it is.
    pub reason: String,
}

impl Part {
    /// `true`, `false` or `undefined`.
    pub fn result_name(&self) -> &'static str {
        result_name(self.result)
    }
}

impl Explanation {
    /// `true`, `false` or `undefined`.
    pub fn result_name(&self) -> &'static str {
        result_name(self.result)
    }
}

fn result_name(result: Option<bool>) -> &'static str {
    match result {
        Some(true) => "true",
        Some(false) => "false",
        None => "undefined",
    }
}

pub(crate) fn explain(expr: &Expr, scope: &dyn Scope) -> Explanation {
    let mut parts = Vec::new();
    collect(expr, scope, &mut parts);
    Explanation { result: truth(&eval(expr, scope)), parts }
}

fn truth(value: &Value<'_>) -> Option<bool> {
    if let Value::Bool(value) = value { Some(*value) } else { None }
}

fn collect(expr: &Expr, scope: &dyn Scope, parts: &mut Vec<Part>) {
    match expr {
        Expr::All(list) | Expr::Any(list) => list.iter().for_each(|expr| collect(expr, scope, parts)),
        Expr::Not(inner) => collect(inner, scope, parts),
        _ if parts.len() >= PARTS_MAX => {}
        _ => parts.push(part(expr, scope)),
    }
}

fn part(expr: &Expr, scope: &dyn Scope) -> Part {
    let value = eval(expr, scope);
    let result = truth(&value);
    let mut told = Vec::new();
    paths(expr, scope, &mut told);
    if let Expr::Compare(_, left, right) = expr
        && result.is_none()
    {
        told.push(why_incomparable(&eval(left, scope), &eval(right, scope)));
    } else if result.is_none() {
        told.push(format!("that is {}, not true or false", kind(&value)));
    }
    Part { text: expr.to_string(), result, reason: told.join("; ") }
}

/// What stands at each path of an expression.
fn paths(expr: &Expr, scope: &dyn Scope, told: &mut Vec<String>) {
    match expr {
        Expr::Path(path) => {
            let line = match eval(expr, scope) {
                Value::Undefined => format!("{path} is not there"),
                value => format!("{path} is {}", shown(&value)),
            };
            if !told.contains(&line) {
                told.push(line);
            }
        }
        Expr::Not(inner) | Expr::Negate(inner) => paths(inner, scope, told),
        Expr::All(list) | Expr::Any(list) | Expr::Call(_, list) => {
            list.iter().for_each(|expr| paths(expr, scope, told));
        }
        Expr::Compare(_, left, right) => {
            paths(left, scope, told);
            paths(right, scope, told);
        }
        Expr::Arithmetic(first, rest) => {
            paths(first, scope, told);
            rest.iter().for_each(|(_, expr)| paths(expr, scope, told));
        }
        Expr::In { needle, list, .. } => {
            paths(needle, scope, told);
            list.iter().for_each(|expr| paths(expr, scope, told));
        }
        Expr::Undefined | Expr::Null | Expr::Bool(_) | Expr::Number(_) | Expr::Text(_) => {}
    }
}

fn why_incomparable(left: &Value<'_>, right: &Value<'_>) -> String {
    let is_nothing = |value: &Value<'_>| matches!(value, Value::Undefined | Value::Null);
    if is_nothing(left) || is_nothing(right) {
        return "nothing compares with what is missing or null".to_owned();
    }
    if kind(left) == kind(right) {
        return format!("there is no such comparison of {} with another", kind(left));
    }
    let numeric = [left, right].iter().any(|value| matches!(value, Value::Number(_)))
        && [left, right].iter().any(|value| matches!(value, Value::Text(_)));
    let cure = if numeric { "; as_number() makes a number of a text" } else { "" };
    format!("{} and {} do not compare{cure}", kind(left), kind(right))
}

fn kind(value: &Value<'_>) -> &'static str {
    match value {
        Value::Undefined => "undefined",
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::Text(_) => "a text",
        Value::Json(json) if json.is_array() => "an array",
        Value::Json(_) => "an object",
    }
}

fn shown(value: &Value<'_>) -> String {
    let text = value.clone().into_json().map_or_else(|| "undefined".to_owned(), |json| json.to_string());
    match text.char_indices().nth(VALUE_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
