//! JSON inside texts: `JSON_PARSE` of the reference, and the functions of T-SQL by their meaning there.
//!
//! Paths are `$`, then names after dots (`."in quotes"` where need be) and places from 0 in brackets. Mode `lax`, the
//! default, gives `NULL` for what is not there; `strict` makes that an error.

use super::ScalarFunction;
use super::arguments::Arguments;
use crate::value::{EvalError, JsonOptions, JsonReader, Record, Value};

/// The rows.
pub const TABLE: &[ScalarFunction] = &[
    ScalarFunction::strict("JSON_PARSE", [1, 1], |values| {
        let record = match &values[0] {
            Value::NVarchar(text) => parse(text).filter(|value| matches!(value, Value::Record(_))),
            _ => None,
        };
        Ok(record.into())
    }),
    ScalarFunction::strict("ISJSON", [1, 1], |values| {
        let text = Arguments { function: "ISJSON", values }.text(0)?;
        Ok(Value::BigInt(parse(&text).is_some_and(|value| is_nested(&value)).into()))
    }),
    ScalarFunction::strict("JSON_VALUE", [2, 2], |values| {
        let args = Arguments { function: "JSON_VALUE", values };
        let found = select(&args)?.filter(|value| !is_nested(value));
        Ok(found.and_then(|value| scalar(&value)).into())
    }),
    ScalarFunction::strict("JSON_QUERY", [1, 2], |values| {
        let found = select(&Arguments { function: "JSON_QUERY", values })?;
        Ok(found.filter(is_nested).map(|value| value.to_json()).into())
    }),
    ScalarFunction::lenient("JSON_MODIFY", [3, 3], modify),
];

fn parse(text: &str) -> Option<Value> {
    JsonReader::new(JsonOptions::default()).read_value(text.as_bytes()).ok()
}

fn is_nested(value: &Value) -> bool {
    matches!(value, Value::Record(_) | Value::Array(_))
}

/// `true` and `false` by name, numbers as JSON writes them.
fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::NVarchar(text) => Some((**text).to_owned()),
        other => Some(other.to_json()),
    }
}

/// The first argument as a value: a text is parsed, a record or array is taken as it is.
fn document(args: &Arguments<'_>) -> Result<Value, EvalError> {
    match &args.values[0] {
        nested if is_nested(nested) => Ok(nested.clone()),
        _ => parse(&args.text(0)?).ok_or_else(|| args.domain("the first argument is no JSON")),
    }
}

/// What the path in the second argument leads to.
fn select(args: &Arguments<'_>) -> Result<Option<Value>, EvalError> {
    let path = if args.values.len() > 1 { args.text(1)? } else { "$".into() };
    let path = Path::parse(&path).ok_or_else(|| args.domain(BAD_PATH))?;
    let document = document(args)?;
    let found = path.steps.iter().try_fold(&document, |value, step| step.from(value)).cloned();
    match found {
        None if path.strict => Err(args.domain("nothing is at the path; use a lax path to get NULL instead")),
        found => Ok(found),
    }
}

const BAD_PATH: &str = "the path is wrong; it looks like $.name.\"other name\"[0]";

/// How deep a path may lead, as deep as JSON may be.
const MAX_STEPS: usize = crate::value::json::MAX_DEPTH;

struct Path {
    strict: bool,
    append: bool,
    steps: Vec<Step>,
}

enum Step {
    Name(String),
    Place(usize),
}

impl Step {
    fn from<'a>(&self, value: &'a Value) -> Option<&'a Value> {
        match (self, value) {
            (Self::Name(name), Value::Record(record)) => record.get(name),
            (Self::Place(place), Value::Array(items)) => items.get(*place),
            _ => None,
        }
    }
}

impl Path {
    fn parse(text: &str) -> Option<Self> {
        let (append, text) = after_word(text.trim(), "append");
        let (strict, text) = after_word(text, "strict");
        let (_, text) = after_word(text, "lax");
        let (mut rest, mut steps) = (text.strip_prefix('$')?, Vec::new());
        while !rest.is_empty() {
            let step;
            if let Some(after) = rest.strip_prefix(".\"") {
                let (name, after) = after.split_once('"')?;
                (step, rest) = (Step::Name(name.to_owned()), after);
            } else if let Some(after) = rest.strip_prefix('.') {
                let end = after.find(['.', '[']).unwrap_or(after.len());
                let (name, after) = after.split_at(end);
                (step, rest) = (Step::Name(Some(name.to_owned()).filter(|name| !name.is_empty())?), after);
            } else {
                let (place, after) = rest.strip_prefix('[')?.split_once(']')?;
                (step, rest) = (Step::Place(place.trim().parse().ok()?), after);
            }
            steps.push(step);
        }
        (steps.len() <= MAX_STEPS).then_some(Self { strict, append, steps })
    }
}

fn after_word<'a>(text: &'a str, word: &str) -> (bool, &'a str) {
    match text.split_once(' ') {
        Some((first, rest)) if first.eq_ignore_ascii_case(word) => (true, rest.trim_start()),
        _ => (false, text),
    }
}

/// Sets, adds, appends (`append $.path`) or, with `NULL`, removes; `NULL` in place of the text or path gives `NULL`.
fn modify(values: &[Value]) -> Result<Value, EvalError> {
    let args = Arguments { function: "JSON_MODIFY", values };
    if values[0].is_null() || values[1].is_null() {
        return Ok(Value::Null);
    }
    let path = Path::parse(&args.text(1)?).filter(|path| !path.steps.is_empty() || path.append);
    let path = path.ok_or_else(|| args.domain(BAD_PATH))?;
    let changed = put(&document(&args)?, &path.steps, &values[2], path.append);
    args.text_result(changed.to_json())
}

/// The same value but for what is at a path; unchanged where the path cannot lead.
fn put(value: &Value, steps: &[Step], new: &Value, append: bool) -> Value {
    match (steps, value) {
        ([], Value::Array(items)) if append => items.iter().chain([new]).cloned().collect::<Vec<_>>().into(),
        ([], _) if append => value.clone(),
        ([], _) => new.clone(),
        ([Step::Name(name)], Value::Record(record)) if new.is_null() => {
            let others = record.iter().filter(|(field, _)| ***field != **name);
            Record::from_distinct(others.map(|(name, value)| (name.clone(), value.clone())).collect()).into()
        }
        ([Step::Name(name), rest @ ..], Value::Record(record)) => {
            // Only the last step of a path may name what is not there yet.
            if record.get(name).is_none() && !rest.is_empty() {
                return value.clone();
            }
            let inner = put(record.get(name).unwrap_or(&Value::Null), rest, new, append);
            let mut record = (**record).clone();
            record.set(name.as_str().into(), inner);
            record.into()
        }
        ([Step::Place(place), rest @ ..], Value::Array(items)) => {
            let changed = items
                .iter()
                .enumerate()
                .map(|(at, item)| if at == *place { put(item, rest, new, append) } else { item.clone() });
            changed.collect::<Vec<_>>().into()
        }
        _ => value.clone(),
    }
}
