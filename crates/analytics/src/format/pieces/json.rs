//! JSON: line by line, or all of it.

use super::Place;
use crate::format::MAX_BYTES;
use std::io::{BufRead, Read as _, Result};

#[derive(Debug)]
pub(super) struct Splitter {
    /// Whether every line is a payload; else all is one. `None` until the first line that has something in it.
    by_lines: Option<bool>,
    line: u64,
}

impl Splitter {
    pub(super) fn new(lines: bool) -> Self {
        Self { by_lines: lines.then_some(true), line: 0 }
    }

    pub(super) fn next(&mut self, from: &mut impl BufRead, buffer: &mut Vec<u8>) -> Result<Option<Place>> {
        // One byte more than a payload may have, so that its reader sees that it is too long.
        let limit = MAX_BYTES as u64 + 1;
        loop {
            buffer.clear();
            if self.by_lines == Some(false) || from.by_ref().take(limit).read_until(b'\n', buffer)? == 0 {
                return Ok(None);
            }
            self.line += 1;
            if buffer.trim_ascii().is_empty() {
                continue;
            }
            if self.by_lines.is_none() {
                // A first line that is no JSON of its own is the beginning of something longer.
                let text = buffer.strip_prefix(b"\xef\xbb\xbf").unwrap_or(buffer);
                let whole = serde_json::from_slice::<serde::de::IgnoredAny>(text).is_ok();
                self.by_lines = Some(whole);
                if !whole {
                    // Lines before it had nothing in them, but they count.
                    buffer.splice(0..0, std::iter::repeat_n(b'\n', self.line as usize - 1));
                    from.by_ref().take(limit).read_to_end(buffer)?;
                    return Ok(Some(Place::Whole));
                }
            }
            return Ok(Some(Place::Line(self.line)));
        }
    }
}
