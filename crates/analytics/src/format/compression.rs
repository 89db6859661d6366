//! Compressed payloads.

use super::{EventReader, MAX_BYTES, ReadError};
use crate::value::Record;
use flate2::read::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use std::io::{self, BufRead, Read};
use std::sync::Arc;

/// What was done to the bytes of a payload (docs: "Stream data as input", Event compression type).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compression {
    /// Nothing.
    #[default]
    None,
    /// gzip, one member or several.
    GZip,
    /// Deflate, bare or in a zlib envelope: senders call both so.
    Deflate,
}

impl Compression {
    /// From the service's name, in any case.
    pub fn parse(name: &str) -> Option<Self> {
        [("None", Self::None), ("GZip", Self::GZip), ("Deflate", Self::Deflate)]
            .into_iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, compression)| compression)
    }

    /// The bytes before compression, at most [`MAX_BYTES`].
    ///
    /// # Errors
    /// [`ReadError::Compression`] and [`ReadError::TooLarge`].
    pub fn expand(self, payload: &[u8], into: &mut Vec<u8>) -> Result<(), ReadError> {
        into.clear();
        match self {
            Self::None => bounded(payload, "uncompressed", into),
            Self::GZip => bounded(MultiGzDecoder::new(payload), "GZip", into),
            Self::Deflate if is_zlib(payload) => bounded(ZlibDecoder::new(payload), "Deflate", into),
            Self::Deflate => bounded(DeflateDecoder::new(payload), "Deflate", into),
        }
    }

    /// The bytes before compression, as they come. A file may be of any size, so there is no limit.
    ///
    /// # Errors
    /// Of the first read, which tells what a deflate stream is wrapped in; later ones come from the reader.
    pub fn reader<'a>(self, mut from: impl BufRead + 'a) -> io::Result<Box<dyn Read + 'a>> {
        Ok(match self {
            Self::None => Box::new(from),
            Self::GZip => Box::new(MultiGzDecoder::new(from)),
            Self::Deflate if is_zlib(from.fill_buf()?) => Box::new(ZlibDecoder::new(from)),
            Self::Deflate => Box::new(DeflateDecoder::new(from)),
        })
    }
}

/// A zlib envelope: method 8, and a check over its first two bytes that no bare deflate stream of a sender has by chance.
fn is_zlib(payload: &[u8]) -> bool {
    matches!(payload, [first, second, ..]
        if first & 0x0f == 8 && first >> 4 <= 7 && (u16::from(*first) << 8 | u16::from(*second)) % 31 == 0)
}

/// A small payload may expand a thousandfold, so its end is not waited for.
pub(super) fn bounded(from: impl Read, expected: &'static str, into: &mut Vec<u8>) -> Result<(), ReadError> {
    let mut from = from.take(MAX_BYTES as u64 + 1);
    from.read_to_end(into).map_err(|_| ReadError::Compression { expected })?;
    if into.len() > MAX_BYTES { Err(ReadError::TooLarge) } else { Ok(()) }
}

/// Expands payloads for another reader.
#[derive(Debug)]
pub(super) struct Reader {
    compression: Compression,
    inner: Box<dyn EventReader>,
    expanded: Vec<u8>,
}

/// Room that is kept from one payload to the next.
const KEPT: usize = 1 << 20;

impl Reader {
    pub(super) fn new(compression: Compression, inner: Box<dyn EventReader>) -> Self {
        Self { compression, inner, expanded: Vec::new() }
    }
}

impl EventReader for Reader {
    fn read(&mut self, payload: &[u8], each: &mut dyn FnMut(Result<Arc<Record>, ReadError>)) {
        match self.compression.expand(payload, &mut self.expanded) {
            Ok(()) => self.inner.read(&self.expanded, each),
            Err(error) => each(Err(error)),
        }
        if self.expanded.capacity() > KEPT {
            self.expanded = Vec::new();
        }
    }
}
