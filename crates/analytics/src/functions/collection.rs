//! Records, arrays, and functions of values of any type.

use super::ScalarFunction;
use super::arguments::Arguments;
use crate::ops;
use crate::value::{EvalError, Value};

/// The rows.
pub const TABLE: &[ScalarFunction] = &[
    ScalarFunction::strict("GetArrayElement", [2, 2], array_element),
    ScalarFunction::strict("GetArrayLength", [1, 1], |values| {
        let items = Arguments { function: "GetArrayLength", values }.array(0)?;
        Ok(Value::BigInt(items.len() as i64))
    }),
    ScalarFunction::strict("GetRecordPropertyValue", [2, 2], |values| {
        let args = Arguments { function: "GetRecordPropertyValue", values };
        Ok(args.record(0)?.get(&args.text(1)?).cloned().unwrap_or(Value::Null))
    }),
    ScalarFunction::strict("GetType", [1, 1], |values| Ok(values[0].type_name().into())),
    ScalarFunction::lenient("COALESCE", [1, usize::MAX], |values| Ok(ops::coalesce(values))),
    ScalarFunction::lenient("NULLIF", [2, 2], |values| Ok(ops::null_if(&values[0], &values[1]))),
];

/// By place from 0; `NULL` outside.
fn array_element(values: &[Value]) -> Result<Value, EvalError> {
    let args = Arguments { function: "GetArrayElement", values };
    let (items, place) = (args.array(0)?, args.whole(1)?);
    let item = usize::try_from(place).ok().and_then(|place| items.get(place));
    Ok(item.cloned().unwrap_or(Value::Null))
}
