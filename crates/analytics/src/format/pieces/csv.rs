//! CSV: some rows at once, each time behind the header.

use super::Place;
use crate::format::Delimiter;
use std::io::{BufRead, Result};

/// How long a row may be before it is taken for one with a quoted field that has no end.
const MAX_ROW: usize = 4 << 20;
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

#[derive(Debug)]
pub(super) struct Splitter {
    delimiter: Delimiter,
    /// Whether the file has a header; else one is made.
    header: bool,
    /// What every part begins with, once it is known.
    head: Option<Vec<u8>>,
    /// What was read behind the last row of a part.
    rest: Vec<u8>,
    /// Lines handed out so far.
    lines: u64,
}

impl Splitter {
    pub(super) fn new(delimiter: Delimiter, header: bool) -> Self {
        Self { delimiter, header, head: None, rest: Vec::new(), lines: 0 }
    }

    pub(super) fn delimiter(&self) -> Delimiter {
        self.delimiter
    }

    pub(super) fn next(&mut self, from: &mut impl BufRead, buffer: &mut Vec<u8>) -> Result<Option<Place>> {
        if self.head.is_none() {
            let Some(row) = self.first_row(from)? else { return Ok(None) };
            self.head = Some(if self.header {
                self.lines = line_breaks(&row);
                row
            } else {
                let head = made_header(&row, self.delimiter);
                self.rest.splice(0..0, row);
                head
            });
        }
        let head = self.head.as_deref().unwrap_or_default();
        buffer.clear();
        buffer.extend_from_slice(head);
        let repeated = line_breaks(head);
        buffer.append(&mut self.rest);
        let mut scanner = Scanner::new(self.delimiter);
        let (mut seen, mut end) = (head.len(), None);
        loop {
            while let Some(byte) = buffer.get(seen) {
                seen += 1;
                if scanner.ends_row(*byte) {
                    end = Some(seen);
                }
            }
            if end.is_none() && buffer.len() > head.len() + MAX_ROW {
                // The reader says what is wrong, and goes on behind the line.
                let last = buffer.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
                end = Some(if last > head.len() { last } else { buffer.len() });
            }
            if let Some(end) = end {
                self.rest.extend_from_slice(&buffer[end..]);
                buffer.truncate(end);
                break;
            }
            let chunk = from.fill_buf()?;
            let length = chunk.len();
            if length == 0 {
                if buffer.len() == head.len() {
                    return Ok(None);
                }
                break;
            }
            buffer.extend_from_slice(chunk);
            from.consume(length);
        }
        let first = self.lines + 1;
        self.lines += line_breaks(&buffer[head.len()..]);
        Ok(Some(Place::Lines { repeated, first }))
    }

    /// The first row that has something in it, with the empty lines before it.
    fn first_row(&mut self, from: &mut impl BufRead) -> Result<Option<Vec<u8>>> {
        let mut row = Vec::new();
        let mut scanner = Scanner::new(self.delimiter);
        let (mut begin, mut is_first) = (0, true);
        loop {
            let chunk = from.fill_buf()?;
            if chunk.is_empty() || row.len() > MAX_ROW {
                return Ok((!row.trim_ascii().is_empty()).then_some(row));
            }
            for (index, byte) in chunk.iter().enumerate() {
                row.push(*byte);
                if is_first && BYTE_ORDER_MARK.starts_with(&row) {
                    if row == BYTE_ORDER_MARK {
                        (row, is_first) = (Vec::new(), false);
                    }
                    continue;
                }
                if scanner.ends_row(*byte) {
                    if !row[begin..].trim_ascii().is_empty() {
                        from.consume(index + 1);
                        return Ok(Some(row));
                    }
                    begin = row.len();
                }
            }
            let length = chunk.len();
            from.consume(length);
        }
    }
}

/// Names for the columns of a file without any, as its reader gives them.
fn made_header(row: &[u8], delimiter: Delimiter) -> Vec<u8> {
    let mut scanner = Scanner::new(delimiter);
    for byte in row {
        scanner.ends_row(*byte);
    }
    let names: Vec<String> = (1..=scanner.delimiters + 1).map(|number| format!("column{number}")).collect();
    let mut head = names.join(&char::from(delimiter.byte()).to_string()).into_bytes();
    head.push(b'\n');
    head
}

fn line_breaks(text: &[u8]) -> u64 {
    text.iter().filter(|byte| **byte == b'\n').count() as u64
}

/// Where rows end, by the rules of their reader: a line break in a quoted field is none.
struct Scanner {
    delimiter: u8,
    at: At,
    delimiters: usize,
}

#[derive(Clone, Copy)]
enum At {
    FieldBegin,
    Plain,
    Quoted,
    BehindQuote,
    /// Something is wrong with the field, which ends with the line.
    Astray,
}

impl Scanner {
    fn new(delimiter: Delimiter) -> Self {
        Self { delimiter: delimiter.byte(), at: At::FieldBegin, delimiters: 0 }
    }

    fn ends_row(&mut self, byte: u8) -> bool {
        self.at = match (self.at, byte) {
            (At::Quoted, b'"') => At::BehindQuote,
            (At::Quoted, _) | (At::BehindQuote | At::FieldBegin, b'"') => At::Quoted,
            (_, b'\n') => {
                self.at = At::FieldBegin;
                return true;
            }
            (At::Astray, _) => At::Astray,
            (_, byte) if byte == self.delimiter => {
                self.delimiters += 1;
                At::FieldBegin
            }
            (At::BehindQuote, _) => At::Astray,
            _ => At::Plain,
        };
        false
    }
}
