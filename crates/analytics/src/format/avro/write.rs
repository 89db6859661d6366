//! From rows to a container file.

use crate::format::shape::{Columns, Rows, Shape};
use crate::format::{RowWriter, WriteError};
use crate::value::{Record, Value};
use apache_avro::types::Value as Avro;
use apache_avro::{Codec, DeflateSettings, Schema};
use serde_json::{Value as Json, json};
use std::sync::Arc;

/// Keeps rows until the schema is known that all of them have.
#[derive(Debug, Default)]
pub(in crate::format) struct Writer(Rows);

impl RowWriter for Writer {
    fn write(&mut self, row: &Record) -> Result<(), WriteError> {
        check_names(row)?;
        self.0.add(row)
    }

    fn rows(&self) -> usize {
        self.0.rows.len()
    }

    fn size(&self) -> usize {
        self.0.size
    }

    fn finish(self: Box<Self>) -> Result<Vec<u8>, WriteError> {
        if self.0.rows.is_empty() {
            return Ok(Vec::new());
        }
        let failed =
            |error: apache_avro::Error| WriteError::Format { format: "Avro", message: error.to_string() };
        let schema = Schema::parse(&record_schema(&self.0.columns, &mut 0)).map_err(failed)?;
        let codec = Codec::Deflate(DeflateSettings::default());
        let mut writer = apache_avro::Writer::with_codec(&schema, Vec::new(), codec);
        for row in &self.0.rows {
            writer.append(record(row, &self.0.columns)).map_err(failed)?;
        }
        writer.into_inner().map_err(failed)
    }
}

/// Names as Avro takes them, also in records and arrays.
fn check_names(row: &Record) -> Result<(), WriteError> {
    row.iter().try_for_each(|(name, value)| {
        let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        if !name.bytes().all(word) || name.bytes().next().is_none_or(|byte| byte.is_ascii_digit()) {
            return Err(WriteError::ColumnName { format: "Avro", name: name.to_string() });
        }
        check_value(value)
    })
}

fn check_value(value: &Value) -> Result<(), WriteError> {
    match value {
        Value::Record(record) => check_names(record),
        Value::Array(items) => items.iter().try_for_each(check_value),
        _ => Ok(()),
    }
}

/// Every record needs a name of its own.
fn record_schema(columns: &Columns, records: &mut usize) -> Json {
    *records += 1;
    let name = if *records == 1 { "Row".to_owned() } else { format!("Row{records}") };
    let fields: Vec<Json> = columns
        .iter()
        .map(|(name, shape)| json!({"name": &**name, "type": schema(shape, records), "default": null}))
        .collect();
    json!({"type": "record", "name": name, "fields": fields})
}

/// The types of the values, `null` first. A datetime is a text (reference: "Data types", Avro out).
// rule FORMAT-04
fn schema(shape: &Shape, records: &mut usize) -> Json {
    let mut branches = vec![json!("null")];
    let simple = simple_kinds(shape).into_iter().zip(["boolean", "long", "double", "string"]);
    branches.extend(simple.filter(|(has, _)| *has).map(|(_, name)| json!(name)));
    if let Some(fields) = &shape.record {
        branches.push(record_schema(fields, records));
    }
    if let Some(items) = &shape.array {
        branches.push(json!({"type": "array", "items": schema(items, records)}));
    }
    Json::Array(branches)
}

/// Which of boolean, long, double and string a column has. A column without any value is one of texts.
fn simple_kinds(shape: &Shape) -> [bool; 4] {
    let nothing = *shape == Shape::default();
    [shape.bit, shape.bigint, shape.float, shape.text || shape.datetime || nothing]
}

fn record(row: &Record, columns: &Columns) -> Avro {
    let field = |(name, shape): (&Arc<str>, &Shape)| {
        (name.to_string(), value(row.get(name).unwrap_or(&Value::Null), shape))
    };
    Avro::Record(columns.iter().map(field).collect())
}

fn value(value: &Value, shape: &Shape) -> Avro {
    let simple = simple_kinds(shape);
    // Places of branches: null, then those that there are.
    let place = |kind: usize| simple[..kind].iter().filter(|has| **has).count() as u32 + 1;
    let branch = |kind, value| Avro::Union(place(kind), Box::new(value));
    match (value, &shape.record, &shape.array) {
        (Value::Bit(bit), ..) => branch(0, Avro::Boolean(*bit)),
        (Value::BigInt(number), ..) => branch(1, Avro::Long(*number)),
        (Value::Float(number), ..) => branch(2, Avro::Double(*number)),
        (Value::NVarchar(text), ..) => branch(3, Avro::String(text.as_ref().to_owned())),
        (Value::DateTime(time), ..) => branch(3, Avro::String(time.to_string())),
        (Value::Record(fields), Some(columns), _) => branch(4, record(fields, columns)),
        (Value::Array(items), records, Some(shape)) => {
            let items = items.iter().map(|item| self::value(item, shape)).collect();
            let place = place(4) + u32::from(records.is_some());
            Avro::Union(place, Box::new(Avro::Array(items)))
        }
        _ => Avro::Union(0, Box::new(Avro::Null)),
    }
}
