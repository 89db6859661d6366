//! From rows to lines.

use crate::format::json::fits;
use crate::format::{Decimal, Delimiter, RowWriter, WriteError};
use crate::value::{Record, Value};
use std::sync::Arc;

/// Writes a header with the columns of the first row, then rows of the same columns.
#[derive(Debug)]
pub(in crate::format) struct Writer {
    delimiter: u8,
    decimal: Decimal,
    columns: Vec<Arc<str>>,
    out: Vec<u8>,
    rows: usize,
}

impl Writer {
    pub(in crate::format) fn new(delimiter: Delimiter, decimal: Decimal) -> Self {
        Self { delimiter: delimiter.byte(), decimal, columns: Vec::new(), out: Vec::new(), rows: 0 }
    }

    fn line<T>(&mut self, fields: impl IntoIterator<Item = T>, mut write: impl FnMut(&mut Self, T)) {
        for (index, field) in fields.into_iter().enumerate() {
            if index > 0 {
                self.out.push(self.delimiter);
            }
            write(self, field);
        }
        self.out.extend(b"\r\n");
    }

    /// A value as the service writes it (reference: "Data types", CSV out).
    // rule FORMAT-02
    fn value(&mut self, value: &Value) {
        match value {
            Value::Null => {}
            Value::Bit(bit) => self.out.extend(bit.to_string().as_bytes()),
            Value::BigInt(number) => self.out.extend(number.to_string().as_bytes()),
            Value::Float(_) => {
                let text = value.to_text().unwrap_or_default();
                match self.decimal {
                    Decimal::Point => self.text(&text),
                    Decimal::Comma => self.text(&text.replace('.', ",")),
                }
            }
            Value::NVarchar(text) => self.text(text),
            Value::DateTime(time) => self.out.extend(time.to_bytes()),
            Value::Record(_) => self.out.extend(b"Record"),
            Value::Array(_) => self.out.extend(b"Array"),
        }
    }

    /// A text, in quotes where it could be taken for something else: an empty one for none.
    fn text(&mut self, text: &str) {
        let special = |byte: u8| byte == self.delimiter || matches!(byte, b'"' | b'\r' | b'\n');
        if !text.is_empty() && !text.bytes().any(special) {
            return self.out.extend(text.as_bytes());
        }
        self.out.push(b'"');
        self.out.extend(text.replace('"', "\"\"").as_bytes());
        self.out.push(b'"');
    }
}

impl RowWriter for Writer {
    fn write(&mut self, row: &Record) -> Result<(), WriteError> {
        let before = self.out.len();
        if self.rows == 0 {
            self.columns = row.iter().map(|(name, _)| name.clone()).collect();
            let columns = self.columns.clone();
            self.line(&columns, |writer, name| writer.text(name));
        }
        let same = row.len() == self.columns.len()
            && row.iter().zip(&self.columns).all(|((name, _), column)| name == column);
        if same {
            self.line(row.iter(), |writer, (_, value)| writer.value(value));
        } else {
            let fields: Option<Vec<_>> = self.columns.iter().map(|name| row.get(name)).collect();
            let Some(fields) = fields.filter(|fields| fields.len() == row.len()) else {
                return Err(WriteError::OtherColumns);
            };
            self.line(fields, Self::value);
        }
        fits(&mut self.out, before)?;
        self.rows += 1;
        Ok(())
    }

    fn drain(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.out)
    }

    fn rows(&self) -> usize {
        self.rows
    }

    fn size(&self) -> usize {
        self.out.len()
    }

    fn finish(self: Box<Self>) -> Result<Vec<u8>, WriteError> {
        Ok(self.out)
    }
}
