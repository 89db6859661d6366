//! Why payloads cannot be read and rows cannot be written. The names of data errors are the service's.

use crate::engine::DataErrorKind;
use crate::value::JsonError;

/// Why a payload or an event of it could not be read. Texts hold no data of events.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// JSON.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// The bytes are not compressed as the input says.
    #[error("the payload is no {expected} data; set the input's compression to what its sender uses")]
    Compression {
        /// What it should be.
        expected: &'static str,
    },
    /// More than [`MAX_BYTES`](super::MAX_BYTES), here or behind a compression; nothing is read.
    #[error("the payload has more than {} bytes; send less in one", super::MAX_BYTES)]
    TooLarge,
    /// The first line of CSV names no columns.
    #[error("the first line of the CSV payload is no header: {0}")]
    Header(&'static str),
    /// A line of CSV.
    #[error("line {line} of the CSV payload: {problem}")]
    Line {
        /// Which, from 1.
        line: usize,
        /// What is wrong.
        problem: LineProblem,
    },
    /// Avro.
    #[error("the Avro payload {0}")]
    Avro(&'static str),
    /// An object of an Avro payload that is none of an event.
    #[error("object {object} of the Avro payload {problem}")]
    AvroObject {
        /// Which, from 1.
        object: u64,
        /// What is wrong.
        problem: &'static str,
    },
}

/// What is wrong with a line of CSV.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LineProblem {
    /// Not as many fields as columns.
    #[error("{found} fields, the header has {columns}")]
    Fields {
        /// Of the line.
        found: usize,
        /// Of the header.
        columns: usize,
    },
    /// A quoted field without end.
    #[error("a quoted field has no end")]
    OpenQuote,
    /// Something between the end of a quoted field and the delimiter.
    #[error("text stands behind the end of a quoted field; double the quotes inside one")]
    BehindQuote,
    /// Bytes that are no text.
    #[error("it is not UTF-8")]
    NotUtf8,
}

impl ReadError {
    /// What it counts as.
    pub fn kind(&self) -> DataErrorKind {
        match self {
            Self::Compression { .. } => DataErrorKind::InvalidCompressionType,
            Self::Header(_) => DataErrorKind::InvalidHeader,
            _ => DataErrorKind::InvalidData,
        }
    }
}

/// Why a row was not written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// The file is as large as files become: begin another.
    #[error("the file has {} bytes, which is the most; begin another one", super::MAX_FILE)]
    Full,
    /// The row has not the columns of the rows before it: begin another file.
    #[error("the row has other columns than the rows of this file; begin another one")]
    OtherColumns,
    /// A column whose name the format does not take.
    #[error(
        "OutputDataConversionError.ColumnNameInvalid: {format} takes no column {name:?}; name it with AS, from letters, \
         digits and underscores"
    )]
    ColumnName {
        /// The format.
        format: &'static str,
        /// The name.
        name: String,
    },
    /// A single row beyond what a file may have.
    #[error(
        "OutputDataConversionError.RecordExceededSizeLimit: the row has {bytes} bytes, {} are allowed",
        super::MAX_FILE
    )]
    RowTooLarge {
        /// How many.
        bytes: usize,
    },
    /// The file could not be made; a mistake of this program.
    #[error("{format} cannot be written: {message}")]
    Format {
        /// The format.
        format: &'static str,
        /// Why.
        message: String,
    },
}

impl WriteError {
    /// Whether another file takes the row.
    pub fn wants_new_file(&self) -> bool {
        matches!(self, Self::Full | Self::OtherColumns)
    }
}
