//! Parquet files: columns that may all be `NULL`, records as groups, arrays as lists, one row group.
//!
//! The types of a column are those of its values: `bigint` with `float` is `DOUBLE`, what has no type in common is text (a
//! record or array beside others as JSON). A datetime is in microseconds, which every reader knows; the last of the seven
//! digits is cut off.

mod columns;

use super::shape::Rows;
use super::{RowWriter, WriteError};
use crate::value::Record;
use columns::{Cells, Kind, Leaf};
use parquet::basic::Compression;
use parquet::data_type::{BoolType, ByteArrayType, DoubleType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedColumnWriter, SerializedFileWriter};
use std::sync::Arc;

/// Keeps rows until the columns are known that they have.
#[derive(Debug, Default)]
pub(super) struct Writer(Rows);

impl RowWriter for Writer {
    fn write(&mut self, row: &Record) -> Result<(), WriteError> {
        match row.iter().find(|(name, _)| name.is_empty()) {
            Some((name, _)) => Err(WriteError::ColumnName { format: "Parquet", name: name.to_string() }),
            None if row.is_empty() => {
                Err(WriteError::Format { format: "Parquet", message: "a row has no columns".to_owned() })
            }
            None => self.0.add(row),
        }
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
        file(&self.0).map_err(|error| WriteError::Format { format: "Parquet", message: error.to_string() })
    }
}

fn file(rows: &Rows) -> Result<Vec<u8>, ParquetError> {
    let root = Kind::of_columns(&rows.columns);
    let mut cells = root.cells();
    for row in &rows.rows {
        root.shred_row(row, &mut cells);
    }
    let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
    let mut writer = SerializedFileWriter::new(Vec::new(), root.schema()?, Arc::new(properties))?;
    let mut group = writer.next_row_group()?;
    for cells in &cells {
        if let Some(mut column) = group.next_column()? {
            write(cells, &mut column)?;
            column.close()?;
        }
    }
    group.close()?;
    writer.into_inner()
}

fn write(cells: &Cells, column: &mut SerializedColumnWriter<'_>) -> Result<(), ParquetError> {
    let (levels, repeats) = (Some(cells.levels.as_slice()), cells.repeats.as_deref());
    match &cells.leaf {
        Leaf::Bits(values) => column.typed::<BoolType>().write_batch(values, levels, repeats),
        Leaf::Numbers(values) | Leaf::Times(values) => {
            column.typed::<Int64Type>().write_batch(values, levels, repeats)
        }
        Leaf::Floats(values) => column.typed::<DoubleType>().write_batch(values, levels, repeats),
        Leaf::Texts(values) => column.typed::<ByteArrayType>().write_batch(values, levels, repeats),
    }
    .map(drop)
}
