//! The header of a segment file; `docs/log-format.md` has the table.

use super::cursor::Cursor;
use crate::Error;
use std::path::Path;

/// Bytes of one copy of the header.
const COPY: usize = 64;
/// Bytes before the first record: two copies of the header, so that one damaged sector costs nothing.
pub(super) const HEADER_BYTES: usize = 2 * COPY;
/// The first bytes of every segment file.
const MAGIC: [u8; 8] = *b"IRBKSEG\n";
/// The version this code writes, and the newest it reads.
const VERSION: u16 = 1;
/// Stands for "no event yet" in the last event's offset.
const NO_EVENT: u64 = u64::MAX;

/// What a segment file says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub partition: u16,
    /// Mixed into the checksum of every record of the partition, chosen by chance when it is made. Bytes that a device
    /// made up, found where a record is damaged, can so not be taken for a record.
    pub salt: u32,
    /// Where the partition stood when the segment was begun.
    pub base: Cursor,
}

/// What reading a header gave.
pub(super) enum Found {
    Header(Header),
    /// Both copies are damaged or missing.
    Damaged,
}

impl Header {
    /// Both copies.
    pub(super) fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut copy = [0; COPY];
        let (last_offset, last_time) = self.base.last_event.unwrap_or((NO_EVENT, 0));
        copy[0..8].copy_from_slice(&MAGIC);
        copy[8..10].copy_from_slice(&VERSION.to_le_bytes());
        copy[10..12].copy_from_slice(&self.partition.to_le_bytes());
        // Bytes 12 to 16 are reserved and zero.
        copy[16..24].copy_from_slice(&self.base.offset.to_le_bytes());
        copy[24..32].copy_from_slice(&self.base.events.to_le_bytes());
        copy[32..40].copy_from_slice(&self.base.enqueued.to_le_bytes());
        copy[40..48].copy_from_slice(&last_offset.to_le_bytes());
        copy[48..56].copy_from_slice(&last_time.to_le_bytes());
        copy[56..60].copy_from_slice(&self.salt.to_le_bytes());
        let crc = crc32c::crc32c(&copy[..60]);
        copy[60..64].copy_from_slice(&crc.to_le_bytes());
        let mut both = [0; HEADER_BYTES];
        both[..COPY].copy_from_slice(&copy);
        both[COPY..].copy_from_slice(&copy);
        both
    }

    /// Reads the first bytes of a segment file.
    ///
    /// # Errors
    /// [`Error::Format`] where a copy is sound but of a version this code does not know.
    pub(super) fn decode(bytes: &[u8], path: &Path) -> Result<Found, Error> {
        for copy in bytes.chunks_exact(COPY).take(2) {
            let Some(header) = Self::decode_copy(copy, path)? else { continue };
            return Ok(Found::Header(header));
        }
        Ok(Found::Damaged)
    }

    fn decode_copy(copy: &[u8], path: &Path) -> Result<Option<Self>, Error> {
        if copy[..8] != MAGIC || crc32c::crc32c(&copy[..60]) != u32::from_le_bytes(array(copy, 60)) {
            return Ok(None);
        }
        let version = u16::from_le_bytes(array(copy, 8));
        if version == 0 || version > VERSION {
            let what = format!("segment version {version} is unknown; use the newer program that wrote it");
            return Err(Error::Format { path: path.display().to_string(), what });
        }
        let last_offset = u64::from_le_bytes(array(copy, 40));
        let last_time = i64::from_le_bytes(array(copy, 48));
        let base = Cursor {
            offset: u64::from_le_bytes(array(copy, 16)),
            events: u64::from_le_bytes(array(copy, 24)),
            enqueued: i64::from_le_bytes(array(copy, 32)),
            last_event: (last_offset != NO_EVENT).then_some((last_offset, last_time)),
        };
        let partition = u16::from_le_bytes(array(copy, 10));
        Ok(Some(Self { partition, salt: u32::from_le_bytes(array(copy, 56)), base }))
    }
}

/// `N` bytes at a place that is known to be inside.
pub(super) fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut out = [0; N];
    if let Some(found) = bytes.get(at..at + N) {
        out.copy_from_slice(found);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Header {
        let base = Cursor { offset: 7, events: 3, enqueued: -5, last_event: Some((6, -5)) };
        Header { partition: 2, salt: 0xDEAD_BEEF, base }
    }

    fn decode(bytes: &[u8]) -> Option<Header> {
        match Header::decode(bytes, Path::new("x")).unwrap() {
            Found::Header(header) => Some(header),
            Found::Damaged => None,
        }
    }

    #[test]
    fn either_copy_is_enough_and_no_damaged_byte_goes_unseen() {
        let good = header().encode();
        assert_eq!(decode(&good), Some(header()));
        for byte in 0..COPY {
            let mut bad = good;
            bad[byte] ^= 0x10;
            assert_eq!(decode(&bad), Some(header()), "byte {byte}");
            bad[byte + COPY] ^= 0x10;
            assert_eq!(decode(&bad), None, "byte {byte}");
        }
        assert_eq!(decode(&good[..40]), None);
    }

    #[test]
    fn a_newer_version_is_refused_by_name() {
        let mut bytes = header().encode();
        bytes[8] = 9;
        let crc = crc32c::crc32c(&bytes[..60]);
        bytes[60..64].copy_from_slice(&crc.to_le_bytes());
        let error = Header::decode(&bytes, Path::new("some.log")).err().unwrap().to_string();
        assert!(error.contains("some.log") && error.contains("version 9"), "{error}");
    }
}
