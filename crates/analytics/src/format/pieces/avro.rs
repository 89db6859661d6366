//! Avro: block by block, each time behind the file's header.

use super::Place;
use crate::format::MAX_BYTES;
use std::io::{BufRead, Read as _, Result};

/// Of the four bytes that a container file begins with.
const MAGIC_LEN: u64 = 4;
/// Between blocks.
const SYNC_LEN: usize = 16;
/// How long the header, which has the schema in it, may be.
const MAX_HEAD: usize = 4 << 20;

#[derive(Debug, Default)]
pub(super) struct Splitter {
    head: Option<Vec<u8>>,
    objects: u64,
    /// Whether something is not as it should be: the format's reader says what, and where to go on is not known.
    is_over: bool,
}

impl Splitter {
    pub(super) fn next(&mut self, from: &mut impl BufRead, buffer: &mut Vec<u8>) -> Result<Option<Place>> {
        if self.is_over {
            return Ok(None);
        }
        buffer.clear();
        match &self.head {
            Some(head) => buffer.extend_from_slice(head),
            None => match head(from, buffer)? {
                true => self.head = Some(buffer.clone()),
                false => {
                    self.is_over = true;
                    return Ok((!buffer.is_empty()).then_some(Place::Objects(0)));
                }
            },
        }
        if from.fill_buf()?.is_empty() {
            // A file without blocks is one without events.
            self.is_over = true;
            return Ok(None);
        }
        let before = self.objects;
        match self.block(from, buffer)? {
            Some(objects) => self.objects += objects,
            None => self.is_over = true,
        }
        Ok(Some(Place::Objects(before)))
    }

    /// Reads a block behind the header; how many objects it has, if it is whole.
    fn block(&self, from: &mut impl BufRead, buffer: &mut Vec<u8>) -> Result<Option<u64>> {
        let head = buffer.len();
        let Some(objects) = long(from, buffer)?.and_then(|count| u64::try_from(count).ok()) else {
            return Ok(None);
        };
        let Some(length) = long(from, buffer)?.and_then(|length| usize::try_from(length).ok()) else {
            return Ok(None);
        };
        if length > MAX_BYTES {
            return Ok(None);
        }
        let length = length + SYNC_LEN;
        let read = from.by_ref().take(length as u64).read_to_end(buffer)?;
        let sync = &buffer[head - SYNC_LEN..head];
        Ok((read == length && buffer.ends_with(sync)).then_some(objects))
    }
}

/// Reads what stands before the blocks; whether it is whole.
fn head(from: &mut impl BufRead, buffer: &mut Vec<u8>) -> Result<bool> {
    if from.by_ref().take(MAGIC_LEN).read_to_end(buffer)? < MAGIC_LEN as usize {
        return Ok(false);
    }
    loop {
        let count = match long(from, buffer)? {
            None => return Ok(false),
            Some(0) => break,
            Some(count) => count,
        };
        // With a negative number the length in bytes follows.
        if count < 0 && long(from, buffer)?.is_none() {
            return Ok(false);
        }
        for _ in 0..count.unsigned_abs().saturating_mul(2) {
            let length = long(from, buffer)?.and_then(|length| usize::try_from(length).ok());
            let Some(length) = length.filter(|length| buffer.len().saturating_add(*length) <= MAX_HEAD)
            else {
                return Ok(false);
            };
            if from.by_ref().take(length as u64).read_to_end(buffer)? < length {
                return Ok(false);
            }
        }
    }
    Ok(from.by_ref().take(SYNC_LEN as u64).read_to_end(buffer)? == SYNC_LEN)
}

/// A whole number, of variable length and zigzag; what it was read from goes into the buffer.
fn long(from: &mut impl BufRead, buffer: &mut Vec<u8>) -> Result<Option<i64>> {
    let mut number: u64 = 0;
    for shift in (0..64).step_by(7) {
        let before = buffer.len();
        if from.by_ref().take(1).read_to_end(buffer)? == 0 {
            return Ok(None);
        }
        let byte = buffer[before];
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(Some((number >> 1) as i64 ^ -((number & 1) as i64)));
        }
    }
    Ok(None)
}
