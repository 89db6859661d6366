//! Formats of payloads: bytes to events, rows to bytes.
//!
//! | format | in | out |
//! |-|-|-|
//! | JSON | [`value::json`](crate::value::json) | array, or one object per line |
//! | CSV | every field is a text, an empty one `NULL` | header, then rows; `Record` and `Array` in place of such |
//! | Avro | container files | container files |
//! | Parquet | – | files of one row group |
//!
//! [`InputFormat`] and [`OutputFormat`] are what a job says; [`InputFormat::reader`] and [`OutputFormat::writer`] do it. An
//! engine's [`Decoder`](crate::engine::Decoder) does the reading for it. Payloads may be compressed ([`Compression`]).
//! Source: Stream Analytics reference, "Data types"; Azure docs "Understand inputs for Azure Stream Analytics".

mod avro;
mod compression;
mod csv;
mod error;
mod json;
mod parquet;
mod pieces;
mod shape;
#[cfg(test)]
mod tests;

pub use compression::Compression;
pub use error::{ReadError, WriteError};
pub use pieces::{Located, Piece, Pieces};

use crate::value::{JsonOptions, Record};
use std::fmt::Debug;
use std::sync::Arc;

/// How many bytes a payload may have, compressed or not.
pub const MAX_BYTES: usize = crate::value::json::MAX_BYTES;
/// How many bytes of rows go into one file at most; beyond, [`RowWriter::write`] asks for another.
pub const MAX_FILE: usize = 64 << 20;

/// How the payloads of an input are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct InputFormat {
    /// The format.
    pub serialization: InputSerialization,
    /// What was done to its bytes.
    pub compression: Compression,
}

/// Formats of inputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum InputSerialization {
    /// One object, an array of objects, or objects one after the other.
    #[default]
    Json,
    /// Separated values, as text.
    Csv {
        /// What stands between fields.
        delimiter: Delimiter,
        /// Whether the first line of a payload names the columns; else they are `column1`, `column2` and so on.
        header: bool,
    },
    /// A container file, which has its schema with it.
    Avro,
}

/// What stands between the fields of a line of CSV.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Delimiter {
    #[default]
    Comma,
    Semicolon,
    Space,
    Tab,
    VerticalBar,
}

impl Delimiter {
    /// All there are.
    pub const ALL: [Self; 5] = [Self::Comma, Self::Semicolon, Self::Space, Self::Tab, Self::VerticalBar];

    /// The character.
    pub fn byte(self) -> u8 {
        match self {
            Self::Comma => b',',
            Self::Semicolon => b';',
            Self::Space => b' ',
            Self::Tab => b'\t',
            Self::VerticalBar => b'|',
        }
    }

    /// From the character; a tab may be written `\t`.
    pub fn parse(text: &str) -> Option<Self> {
        let text = if text == "\\t" { "\t" } else { text };
        Self::ALL.into_iter().find(|delimiter| text.as_bytes() == [delimiter.byte()])
    }
}

impl InputFormat {
    /// A reader of the payloads of one input.
    pub fn reader(&self, options: JsonOptions) -> Box<dyn EventReader> {
        let reader: Box<dyn EventReader> = match self.serialization {
            InputSerialization::Json => Box::new(json::Reader::new(options)),
            InputSerialization::Csv { delimiter, header } => {
                Box::new(csv::Reader::new(options, delimiter, header))
            }
            InputSerialization::Avro => Box::new(avro::Reader::new(options)),
        };
        match self.compression {
            Compression::None => reader,
            compression => Box::new(compression::Reader::new(compression, reader)),
        }
    }
}

/// Turns payloads into events.
pub trait EventReader: Debug + Send {
    /// Hands out each event of a payload in order, or why it has none. An event that cannot be read does not take its
    /// neighbours with it, as far as the format tells where the next one begins.
    fn read(&mut self, payload: &[u8], each: &mut dyn FnMut(Result<Arc<Record>, ReadError>));
}

/// How rows are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputFormat {
    /// JSON.
    Json(JsonLayout),
    /// Separated values, with a header.
    Csv {
        /// What stands between fields.
        delimiter: Delimiter,
        /// What stands before the fraction of a number: a point, or as people of some countries write it a comma.
        decimal: Decimal,
    },
    /// A container file.
    Avro,
    /// A file for storage.
    Parquet,
}

impl Default for OutputFormat {
    fn default() -> Self {
        Self::Json(JsonLayout::default())
    }
}

/// How several JSON objects stand together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum JsonLayout {
    /// One object per line.
    #[default]
    LineSeparated,
    /// An array.
    Array,
}

/// What stands before the fraction of a number in CSV.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Decimal {
    #[default]
    Point,
    Comma,
}

impl Decimal {
    /// As people write it whose language and country is a job's `dataLocale`, such as `it-IT`.
    pub fn of_locale(locale: &str) -> Self {
        let (language, country) = locale.split_once('-').unwrap_or((locale, ""));
        let is = |list: &[&str], word: &str| list.iter().any(|known| known.eq_ignore_ascii_case(word));
        let comma = is(COMMA, language) && !is(POINT_ALL_THE_SAME, country);
        if comma || is(&["ZA"], country) { Self::Comma } else { Self::Point }
    }
}

/// Languages that write a comma before the fraction.
const COMMA: &[&str] = &[
    "az", "be", "bg", "bs", "ca", "cs", "da", "de", "el", "es", "et", "eu", "fi", "fr", "gl", "hr", "hu",
    "hy", "id", "is", "it", "ka", "kk", "lt", "lv", "mk", "nb", "nl", "nn", "no", "pl", "pt", "ro", "ru",
    "sk", "sl", "sq", "sr", "sv", "tr", "uk", "uz", "vi",
];
/// Countries that write a point although others of their language do not.
const POINT_ALL_THE_SAME: &[&str] = &["CH", "LI", "MX", "US", "PR", "GT", "HN", "NI", "SV", "DO", "PA", "PE"];

impl OutputFormat {
    /// A writer of one file.
    pub fn writer(&self) -> Box<dyn RowWriter> {
        match *self {
            Self::Json(layout) => Box::new(json::Writer::new(layout)),
            Self::Csv { delimiter, decimal } => Box::new(csv::Writer::new(delimiter, decimal)),
            Self::Avro => Box::new(avro::Writer::default()),
            Self::Parquet => Box::new(parquet::Writer::default()),
        }
    }

    /// The ending of a file's name, without the point.
    pub fn extension(&self) -> &'static str {
        match self {
            Self::Json(_) => "json",
            Self::Csv { .. } => "csv",
            Self::Avro => "avro",
            Self::Parquet => "parquet",
        }
    }

    /// The media type.
    pub fn content_type(&self) -> &'static str {
        match self {
            Self::Json(_) => "application/json",
            Self::Csv { .. } => "text/csv",
            Self::Avro => "application/avro",
            Self::Parquet => "application/vnd.apache.parquet",
        }
    }
}

/// Writes rows to one file or message.
pub trait RowWriter: Debug + Send {
    /// Adds a row. A row that is refused is not in the file; those before it are.
    ///
    /// # Errors
    /// [`WriteError::Full`] and [`WriteError::OtherColumns`] ask for another file, the others are the row's own.
    fn write(&mut self, row: &Record) -> Result<(), WriteError>;

    /// Bytes of the file that are settled, beginning with those behind what was handed out before, so that rows can leave before
    /// the file ends. Formats whose files have a schema settle nothing before all rows are known.
    fn drain(&mut self) -> Vec<u8> {
        Vec::new()
    }

    /// How many rows were taken.
    fn rows(&self) -> usize;

    /// About how many bytes they are, without those that were [drained](Self::drain).
    fn size(&self) -> usize;

    /// The file, behind what was [drained](Self::drain) of it. Without rows it has no bytes, except that an array of JSON is `[]`.
    ///
    /// # Errors
    /// [`WriteError::Format`].
    fn finish(self: Box<Self>) -> Result<Vec<u8>, WriteError>;
}
