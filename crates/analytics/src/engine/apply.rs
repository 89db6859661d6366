//! APPLY at work: a row becomes as many as it has elements.

use super::eval::View;
use super::row::{Part, Row};
use super::select::Failed;
use crate::plan::Apply;
use crate::value::{EvalError, Record, Value};
use std::sync::Arc;

/// Takes in a row; its elements go to `out`.
pub(crate) fn row(apply: &Apply, row: &Row, out: &mut Vec<Row>) -> Result<(), Failed> {
    let failed = |error| Failed { error, span: apply.operand.span, time: row.time };
    let operand = apply.operand.expr.value(&View::of(row)).map_err(failed)?;
    let before = out.len();
    let mut give = |name: Value, value: &Value| {
        let [names, values] = &apply.names;
        let fields = vec![(names.clone(), name), (values.clone(), value.clone())];
        out.push(row.with(row.time, Part::new(row.time, Arc::new(Record::from_distinct(fields)))));
    };
    match (&operand, apply.properties) {
        (Value::Null, _) => {}
        (Value::Array(items), false) => {
            items.iter().zip(0..).for_each(|(item, index)| give(Value::BigInt(index), item));
        }
        (Value::Record(record), true) => {
            record.iter().for_each(|(name, value)| give(Value::NVarchar(name.clone()), value));
        }
        (other, properties) => {
            let to = if properties { "record" } else { "array" };
            return Err(failed(EvalError::Cast {
                from: other.type_name(),
                to,
                expression: Some(apply.text.clone()),
            }));
        }
    }
    if apply.outer && out.len() == before {
        out.push(row.with(row.time, Part { time: row.time, record: None, extra: None }));
    }
    Ok(())
}
