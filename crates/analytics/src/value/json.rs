//! JSON in and out.
//!
//! In: one object, an array of objects, or objects one after the other ("line separated", though any white space will do),
//! read straight into values. The reader is our own because the language tells `100000000000000000000` (an integer that no
//! `bigint` holds, so the event fails) from `1e20` (a float), which general readers do not. Out: compact, datetimes in their
//! seven-digit form.

mod read;
mod scan;
mod shape;
#[cfg(test)]
pub(crate) mod tests;
mod wanted;
mod write;

pub use wanted::Wanted;

use super::{Record, Value};
use read::Parser;
use shape::Shape;
use std::sync::Arc;

/// How deep objects and arrays may stand in each other.
pub const MAX_DEPTH: usize = 64;
/// How many bytes a payload may have.
pub const MAX_BYTES: usize = 64 << 20;

/// What depends on the compatibility level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JsonOptions {
    /// `true` and `false` are `bit` (level 1.2); else `bigint` 1 and 0.
    pub bits: bool,
    /// Texts that look like a date and time are `datetime` (level 1.0).
    pub dates: bool,
    /// Names of fields become lower case, and an event with two names equal but for case is invalid (level 1.0).
    pub lower_case_names: bool,
}

impl Default for JsonOptions {
    /// Level 1.2.
    fn default() -> Self {
        Self { bits: true, dates: false, lower_case_names: false }
    }
}

/// Why a payload or an event of it could not be read. Positions are bytes from the beginning of the payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// Something other than an object where an event should be. The text is the service's.
    #[error(
        "Json input stream should either be an array of objects or line separated objects. Found token type: {found}"
    )]
    NotEvents {
        /// What stood there, in the service's word.
        found: &'static str,
    },
    /// Not JSON. Nothing after that place is read.
    #[error("no JSON at byte {offset}: expected {expected}")]
    Syntax {
        /// Where.
        offset: usize,
        /// What should have come.
        expected: &'static str,
    },
    /// A number that the type it would have cannot hold.
    #[error("the number at byte {offset} does not fit into '{ty}'")]
    NumberRange {
        /// Where.
        offset: usize,
        /// `bigint` for an integer, else `float`.
        ty: &'static str,
    },
    /// Two names in one object that differ in case only, where case does not count.
    #[error("two names in the object that ends at byte {offset} are equal ignoring case")]
    SameName {
        /// Where.
        offset: usize,
    },
    /// Nesting beyond [`MAX_DEPTH`]. Nothing after that place is read.
    #[error("objects and arrays stand more than {MAX_DEPTH} deep in each other at byte {offset}")]
    TooDeep {
        /// Where.
        offset: usize,
    },
    /// More than [`MAX_BYTES`]; nothing is read.
    #[error("a payload of {bytes} bytes is too large, {MAX_BYTES} are allowed")]
    TooLarge {
        /// How many came.
        bytes: usize,
    },
}

/// Reads the payloads of one source. Knows what its events look like, since they mostly look alike: names of fields are
/// shared between them, and the memory of an event that nobody holds any more is used for the next one.
#[derive(Debug)]
pub struct JsonReader {
    options: JsonOptions,
    events: Shape,
    /// What has to be read to know whether the rest is wanted.
    glance: Option<Shape>,
    value: Option<Box<Shape>>,
    /// How many names more are kept.
    left: usize,
}

impl JsonReader {
    /// A reader of all that events hold.
    pub fn new(options: JsonOptions) -> Self {
        Self::of(options, Wanted::Whole)
    }

    /// A reader of some fields of events; what is not read is checked all the same.
    pub fn of(options: JsonOptions, wanted: Wanted) -> Self {
        Self { options, events: Shape::new(wanted), glance: None, value: None, left: shape::MAX_NAMES }
    }

    /// Glances at these fields first; [`read_where`](Self::read_where) asks then whether to read the event.
    #[must_use]
    pub fn glancing_at(mut self, wanted: Wanted) -> Self {
        self.glance = Some(Shape::new(wanted));
        self
    }

    /// Hands out each event of a payload in order, or why it has none. An event that is JSON but not valid fails alone;
    /// what is not JSON ends the payload. A payload of white space has no events.
    pub fn read(&mut self, payload: &[u8], each: &mut dyn FnMut(Result<Arc<Record>, JsonError>)) {
        let glance = self.glance.take();
        self.read_where(payload, &mut |_| true, each);
        self.glance = glance;
    }

    /// As [`read`](Self::read), but of an event of which `wants` does not want more than a [glance](Self::glancing_at) the
    /// fields glanced at are handed out alone.
    pub fn read_where(
        &mut self,
        payload: &[u8],
        wants: &mut dyn FnMut(&Arc<Record>) -> bool,
        each: &mut dyn FnMut(Result<Arc<Record>, JsonError>),
    ) {
        let (events, glance) = (&mut self.events, &mut self.glance);
        let mut parser = match Parser::new(payload, self.options, &mut self.left) {
            Ok(parser) => parser,
            Err(error) => return each(Err(error)),
        };
        let read = parser.events(&mut |parser| {
            if let Some(glance) = glance {
                let place = parser.place();
                match parser.event(glance)? {
                    Ok(event) if wants(&event) => parser.go_back(place),
                    event => {
                        each(event);
                        return Ok(());
                    }
                }
            }
            each(parser.event(events)?);
            Ok(())
        });
        if let Err(error) = read {
            each(Err(error));
        }
    }

    /// One value of any type that takes up the whole text.
    ///
    /// # Errors
    /// [`JsonError`], of which the first is given.
    pub fn read_value(&mut self, text: &[u8]) -> Result<Value, JsonError> {
        Parser::new(text, self.options, &mut self.left)?.only(&mut self.value)
    }
}

impl Value {
    /// All events of one payload, as records. [`JsonReader`] is quicker when there are many payloads.
    ///
    /// # Errors
    /// The first [`JsonError`]; there are no events then.
    pub fn from_json(payload: &[u8], options: &JsonOptions) -> Result<Vec<Value>, JsonError> {
        let mut events = Ok(Vec::new());
        JsonReader::new(*options).read(payload, &mut |event| match (&mut events, event) {
            (Ok(list), Ok(event)) => list.push(Value::Record(event)),
            (Ok(_), Err(error)) => events = Err(error),
            (Err(_), _) => {}
        });
        events
    }

    /// Appends the compact JSON of this value.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        write::value(self, out);
    }

    /// The compact JSON of this value.
    pub fn to_json(&self) -> String {
        let mut out = Vec::new();
        self.write_json(&mut out);
        String::from_utf8(out).unwrap_or_default()
    }
}

impl Record {
    /// Appends the compact JSON of this record.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        write::record(self, out);
    }
}
