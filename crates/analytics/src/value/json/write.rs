//! From values to bytes.

use crate::value::{Record, Value};

/// Appends a value.
pub fn value(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Null => out.extend(b"null"),
        Value::Bit(true) => out.extend(b"true"),
        Value::Bit(false) => out.extend(b"false"),
        Value::BigInt(number) => written(serde_json::to_writer(out, number)),
        Value::Float(number) => written(serde_json::to_writer(out, number)),
        Value::NVarchar(text) => written(serde_json::to_writer(out, text.as_ref())),
        // rule JSON-01
        Value::DateTime(time) => {
            out.push(b'"');
            out.extend(time.to_bytes());
            out.push(b'"');
        }
        Value::Record(fields) => record(fields, out),
        Value::Array(items) => {
            out.push(b'[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                self::value(item, out);
            }
            out.push(b']');
        }
    }
}

/// Appends an object.
pub fn record(record: &Record, out: &mut Vec<u8>) {
    out.push(b'{');
    for (index, (name, field)) in record.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        written(serde_json::to_writer(&mut *out, name.as_ref()));
        out.push(b':');
        value(field, out);
    }
    out.push(b'}');
}

/// Writing to memory cannot fail, and numbers and texts have no way to refuse.
fn written(result: serde_json::Result<()>) {
    debug_assert!(result.is_ok());
}
