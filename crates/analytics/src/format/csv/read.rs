//! From lines to events.

use crate::format::error::LineProblem;
use crate::format::{Delimiter, EventReader, MAX_BYTES, ReadError};
use crate::value::{DateTime, JsonOptions, Record, Value};
use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;

/// Reads payloads whose columns mostly are the same.
#[derive(Debug)]
pub(in crate::format) struct Reader {
    options: JsonOptions,
    delimiter: u8,
    header: bool,
    /// The header of the last payload, as it stood there.
    known: Vec<u8>,
    columns: Vec<Arc<str>>,
}

/// A field: its text, and whether it was quoted.
type Field<'a> = (Cow<'a, [u8]>, bool);

impl Reader {
    pub(in crate::format) fn new(options: JsonOptions, delimiter: Delimiter, header: bool) -> Self {
        Self { options, delimiter: delimiter.byte(), header, known: Vec::new(), columns: Vec::new() }
    }

    /// Names of columns from the first line.
    fn name_columns(&mut self, fields: &[Field<'_>]) -> Result<(), ReadError> {
        self.columns.clear();
        self.known.clear();
        let mut seen = HashSet::new();
        for (field, _) in fields {
            let name = std::str::from_utf8(field).map_err(|_| ReadError::Header("it is not UTF-8"))?.trim();
            let name: Arc<str> =
                if self.options.lower_case_names { name.to_lowercase().into() } else { name.into() };
            if name.is_empty() {
                return Err(ReadError::Header("a column has no name"));
            }
            if !seen.insert(name.clone()) {
                return Err(ReadError::Header("two columns have the same name"));
            }
            self.columns.push(name);
        }
        Ok(())
    }

    /// Names of columns where there is no header.
    fn count_columns(&mut self, columns: usize) {
        self.columns.truncate(columns);
        while self.columns.len() < columns {
            self.columns.push(format!("column{}", self.columns.len() + 1).into());
        }
    }

    fn event(&self, fields: &[Field<'_>]) -> Result<Arc<Record>, LineProblem> {
        if fields.len() != self.columns.len() {
            return Err(LineProblem::Fields { found: fields.len(), columns: self.columns.len() });
        }
        let mut record = Record::with_capacity(fields.len());
        for (name, (text, quoted)) in self.columns.iter().zip(fields) {
            let text = std::str::from_utf8(text).map_err(|_| LineProblem::NotUtf8)?;
            record.push(name.clone(), self.value(text, *quoted));
        }
        Ok(Arc::new(record))
    }

    /// Every field is a text until the query converts it; one that has nothing, not even quotes, has no value.
    // rule FORMAT-01
    fn value(&self, text: &str, quoted: bool) -> Value {
        if text.is_empty() && !quoted {
            return Value::Null;
        }
        match DateTime::parse(text) {
            // rule JSON-02
            Some(time) if self.options.dates && text.as_bytes().get(10) == Some(&b'T') => {
                Value::DateTime(time)
            }
            _ => Value::text(text),
        }
    }
}

impl EventReader for Reader {
    fn read(&mut self, payload: &[u8], each: &mut dyn FnMut(Result<Arc<Record>, ReadError>)) {
        if payload.len() > MAX_BYTES {
            return each(Err(ReadError::TooLarge));
        }
        let rest = payload.strip_prefix(b"\xef\xbb\xbf").unwrap_or(payload);
        let mut lines = Lines { rest, delimiter: self.delimiter, line: 0, next: 1 };
        let mut fields = Vec::new();
        if self.header {
            let (begin, read) = (lines.rest, lines.next(&mut fields));
            match read {
                None => return,
                Some(Err(_)) => {
                    return each(Err(ReadError::Header("a quoted field of it does not end well")));
                }
                Some(Ok(())) => {}
            }
            let line = &begin[..begin.len() - lines.rest.len()];
            if line != self.known || self.columns.is_empty() {
                if let Err(error) = self.name_columns(&fields) {
                    return each(Err(error));
                }
                self.known = line.to_owned();
            }
        }
        let mut first = !self.header;
        while let Some(read) = lines.next(&mut fields) {
            if std::mem::take(&mut first) {
                self.count_columns(fields.len());
            }
            let event = read.and_then(|()| self.event(&fields));
            each(event.map_err(|problem| ReadError::Line { line: lines.line, problem }));
        }
    }
}

/// The lines of a payload that have something in them.
struct Lines<'a> {
    rest: &'a [u8],
    delimiter: u8,
    /// The number of the last one.
    line: usize,
    /// The number of the next one, which is more than one further where a quoted field has line breaks.
    next: usize,
}

impl<'a> Lines<'a> {
    /// The fields of the next line; `None` at the end.
    fn next(&mut self, fields: &mut Vec<Field<'a>>) -> Option<Result<(), LineProblem>> {
        fields.clear();
        loop {
            if self.rest.is_empty() {
                return None;
            }
            let Some(after) = line_break(self.rest) else { break };
            self.rest = after;
            self.next += 1;
        }
        self.line = self.next;
        loop {
            match self.field() {
                Ok(field) => fields.push(field),
                Err(problem) => {
                    self.pass_over();
                    return Some(Err(problem));
                }
            }
            match self.rest.split_first() {
                Some((byte, rest)) if *byte == self.delimiter => self.rest = rest,
                _ => break,
            }
        }
        self.rest = line_break(self.rest).unwrap_or(self.rest);
        self.next += 1;
        Some(Ok(()))
    }

    /// One field; stands before the delimiter or the line break then, or at the end.
    fn field(&mut self) -> Result<Field<'a>, LineProblem> {
        if self.rest.first() == Some(&b'"') {
            return self.quoted().map(|text| (text, true));
        }
        let ends = |(at, byte): (usize, &u8)| {
            *byte == self.delimiter
                || *byte == b'\n'
                || *byte == b'\r' && self.rest.get(at + 1) == Some(&b'\n')
        };
        let end = self.rest.iter().enumerate().position(ends).unwrap_or(self.rest.len());
        let (text, rest) = self.rest.split_at(end);
        self.rest = rest;
        Ok((Cow::Borrowed(text), false))
    }

    fn quoted(&mut self) -> Result<Cow<'a, [u8]>, LineProblem> {
        let mut text = Cow::Borrowed(&self.rest[..0]);
        let mut rest = &self.rest[1..];
        loop {
            let end = rest.iter().position(|byte| *byte == b'"').ok_or(LineProblem::OpenQuote)?;
            let (piece, behind) = (&rest[..end], &rest[end + 1..]);
            self.next += piece.iter().filter(|byte| **byte == b'\n').count();
            if text.is_empty() {
                text = Cow::Borrowed(piece)
            } else {
                text.to_mut().extend(piece)
            }
            rest = behind;
            // Two quotes are one.
            let Some(after) = behind.strip_prefix(b"\"") else { break };
            text.to_mut().push(b'"');
            rest = after;
        }
        self.rest = rest;
        match rest.first() {
            None => Ok(text),
            Some(byte) if *byte == self.delimiter || line_break(rest).is_some() => Ok(text),
            Some(_) => Err(LineProblem::BehindQuote),
        }
    }

    /// Goes to the next line break, whatever quotes say.
    fn pass_over(&mut self) {
        let end = self.rest.iter().position(|byte| *byte == b'\n').map_or(self.rest.len(), |at| at + 1);
        self.rest = &self.rest[end..];
        self.next += 1;
    }
}

/// What follows a line break, if one is here.
fn line_break(text: &[u8]) -> Option<&[u8]> {
    text.strip_prefix(b"\n").or_else(|| text.strip_prefix(b"\r\n"))
}
