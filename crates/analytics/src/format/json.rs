//! JSON, in the words of the other formats.

use super::{EventReader, JsonLayout, MAX_FILE, ReadError, RowWriter, WriteError};
use crate::value::{JsonOptions, JsonReader, Record};
use std::sync::Arc;

/// Reads whole events.
#[derive(Debug)]
pub(super) struct Reader(JsonReader);

impl Reader {
    pub(super) fn new(options: JsonOptions) -> Self {
        Self(JsonReader::new(options))
    }
}

impl EventReader for Reader {
    fn read(&mut self, payload: &[u8], each: &mut dyn FnMut(Result<Arc<Record>, ReadError>)) {
        self.0.read(payload, &mut |event| each(event.map_err(ReadError::from)));
    }
}

/// Writes an array or lines.
#[derive(Debug)]
pub(super) struct Writer {
    layout: JsonLayout,
    out: Vec<u8>,
    rows: usize,
}

impl Writer {
    pub(super) fn new(layout: JsonLayout) -> Self {
        Self { layout, out: Vec::new(), rows: 0 }
    }
}

impl RowWriter for Writer {
    fn write(&mut self, row: &Record) -> Result<(), WriteError> {
        let before = self.out.len();
        match (self.layout, self.rows) {
            (JsonLayout::LineSeparated, _) => {}
            (JsonLayout::Array, 0) => self.out.push(b'['),
            (JsonLayout::Array, _) => self.out.push(b','),
        }
        row.write_json(&mut self.out);
        if self.layout == JsonLayout::LineSeparated {
            self.out.push(b'\n');
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

    fn finish(mut self: Box<Self>) -> Result<Vec<u8>, WriteError> {
        if self.layout == JsonLayout::Array {
            if self.rows == 0 {
                self.out.push(b'[');
            }
            self.out.push(b']');
        }
        Ok(self.out)
    }
}

/// Takes a row away again that makes a file too large.
pub(super) fn fits(out: &mut Vec<u8>, before: usize) -> Result<(), WriteError> {
    if out.len() <= MAX_FILE {
        return Ok(());
    }
    let bytes = out.len() - before;
    out.truncate(before);
    Err(if before > 0 { WriteError::Full } else { WriteError::RowTooLarge { bytes } })
}
