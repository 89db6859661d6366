//! A file as payloads: parts that a reader of its format reads by themselves, so that a file of any size needs little memory.

mod avro;
mod csv;
mod json;
#[cfg(test)]
mod tests;

use super::{InputSerialization, ReadError};
use crate::value::JsonError;
use std::fmt;
use std::io::{BufRead, Result};

/// Hands out the parts of a file, or of what a pipe brings, as soon as they are there.
#[derive(Debug)]
pub struct Pieces<R> {
    from: R,
    splitter: Splitter,
    buffer: Vec<u8>,
}

/// What knows where a part ends.
#[derive(Debug)]
enum Splitter {
    Json(json::Splitter),
    Csv(csv::Splitter),
    Avro(avro::Splitter),
}

/// A part of a file.
#[derive(Debug, Clone, Copy)]
pub struct Piece<'a> {
    /// What is to be read as one payload, in the [`Pieces::serialization`].
    pub payload: &'a [u8],
    place: Place,
}

/// Where a part stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// It is one line, of this number.
    Line(u64),
    /// It is the whole file.
    Whole,
    /// It begins with so many lines that are repeated; the next is this line of the file.
    Lines { repeated: u64, first: u64 },
    /// So many objects of the file stand before it.
    Objects(u64),
}

/// What is wrong with an event of a file, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Located {
    /// The line or object, from 1, as far as the format has such.
    pub place: Option<String>,
    /// What is wrong there. Holds no data of the event.
    pub problem: String,
}

impl fmt::Display for Located {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Some(place) => write!(f, "{place}: {}", self.problem),
            None => f.write_str(&self.problem),
        }
    }
}

impl<R: BufRead> Pieces<R> {
    /// Of a file that is not compressed. JSON whose first line is no value of its own is read as a whole, unless it is known
    /// to be in `lines`.
    pub fn new(from: R, serialization: InputSerialization, lines: bool) -> Self {
        let splitter = match serialization {
            InputSerialization::Json => Splitter::Json(json::Splitter::new(lines)),
            InputSerialization::Csv { delimiter, header } => {
                Splitter::Csv(csv::Splitter::new(delimiter, header))
            }
            InputSerialization::Avro => Splitter::Avro(avro::Splitter::default()),
        };
        Self { from, splitter, buffer: Vec::new() }
    }

    /// How the parts are written: CSV has a header in each of them.
    pub fn serialization(&self) -> InputSerialization {
        match &self.splitter {
            Splitter::Json(_) => InputSerialization::Json,
            Splitter::Csv(splitter) => {
                InputSerialization::Csv { delimiter: splitter.delimiter(), header: true }
            }
            Splitter::Avro(_) => InputSerialization::Avro,
        }
    }

    /// The next part; `None` at the end.
    ///
    /// # Errors
    /// What reading the file gives. What stands in it is the business of the format's reader.
    // Not an iterator: the parts lie in a buffer of this.
    #[allow(clippy::should_implement_trait, reason = "a part borrows from this")]
    pub fn next(&mut self) -> Result<Option<Piece<'_>>> {
        let place = match &mut self.splitter {
            Splitter::Json(splitter) => splitter.next(&mut self.from, &mut self.buffer)?,
            Splitter::Csv(splitter) => splitter.next(&mut self.from, &mut self.buffer)?,
            Splitter::Avro(splitter) => splitter.next(&mut self.from, &mut self.buffer)?,
        };
        Ok(place.map(|place| Piece { payload: &self.buffer, place }))
    }
}

impl Piece<'_> {
    /// An error of this part, in terms of the file.
    pub fn locate(&self, error: &ReadError) -> Located {
        let line = |number: u64| Some(format!("line {number}"));
        let (place, problem) = match (self.place, error) {
            (Place::Line(number), error) => (line(number), error.to_string()),
            (Place::Lines { repeated, first }, ReadError::Line { line: number, problem }) => {
                (line((*number as u64 + first).saturating_sub(repeated + 1)), problem.to_string())
            }
            (Place::Objects(before), ReadError::AvroObject { object, problem }) => {
                (Some(format!("object {}", before + object)), (*problem).to_owned())
            }
            (Place::Objects(before), error) if before > 0 => {
                (Some(format!("behind object {before}")), error.to_string())
            }
            (Place::Whole, ReadError::Json(JsonError::TooLarge { .. })) => {
                let problem = "a file that is one JSON text can have 64 MiB; write one object a line";
                (None, problem.to_owned())
            }
            (Place::Whole, ReadError::Json(json)) => {
                let at = offset(json).map(|offset| &self.payload[..offset.min(self.payload.len())]);
                let number = at.map(|before| before.iter().filter(|byte| **byte == b'\n').count() as u64 + 1);
                (number.and_then(line), json.to_string())
            }
            (_, error) => (None, error.to_string()),
        };
        Located { place, problem }
    }
}

/// The place of an error in a payload of JSON.
fn offset(error: &JsonError) -> Option<usize> {
    match error {
        JsonError::Syntax { offset, .. }
        | JsonError::NumberRange { offset, .. }
        | JsonError::SameName { offset }
        | JsonError::TooDeep { offset } => Some(*offset),
        JsonError::NotEvents { .. } | JsonError::TooLarge { .. } => None,
    }
}
