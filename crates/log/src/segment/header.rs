//! The header of a segment file; `docs/log-format.md` has the table.

use super::cursor::Cursor;
use super::seal::{self, Sealing};
use crate::keys::Cipher;
use crate::{Error, KeyId, Keys};
use std::io;
use std::path::Path;

/// Bytes of one copy of the header.
const COPY: usize = 64;
/// Bytes before the first record: two copies of the header, so that one damaged sector costs nothing.
pub(super) const HEADER_BYTES: usize = 2 * COPY;
/// The same of a sealed segment, whose header has a second part.
pub(super) const SEALED_HEADER_BYTES: usize = HEADER_BYTES + 2 * Sealing::COPY;
/// The first bytes of every segment file.
const MAGIC: [u8; 8] = *b"IRBKSEG\n";
/// The version of a segment in plain. It is written as ever, so that older programs can read it.
const PLAIN: u16 = 1;
/// The version of a sealed segment, the newest this code reads.
const SEALED: u16 = 2;
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
    pub seal: Seal,
}

/// Whether a segment is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seal {
    Plain,
    Sealed(Sealing),
    /// It is, and what its key was derived with is damaged: nobody can read its records.
    Lost,
}

/// What reading a header gave.
pub(super) enum Found {
    Header(Header),
    /// Both copies of the first part are damaged or missing; what is left of the second.
    Damaged(Seal),
}

impl Header {
    /// Of a segment that is begun, sealed if there is a key for it.
    pub(super) fn new(partition: u16, salt: u32, base: Cursor, keys: &Keys) -> io::Result<Self> {
        let seal = match keys.current() {
            Some(key) => Seal::Sealed(Sealing { key, salt: seal::chance()? }),
            None => Seal::Plain,
        };
        Ok(Self { partition, salt, base, seal })
    }

    /// Bytes before the first record.
    pub(super) fn len(&self) -> u64 {
        (if self.is_sealed() { SEALED_HEADER_BYTES } else { HEADER_BYTES }) as u64
    }

    pub(super) fn is_sealed(&self) -> bool {
        self.seal != Seal::Plain
    }

    /// The master key the records are encrypted with.
    pub(super) fn key(&self) -> Option<KeyId> {
        match &self.seal {
            Seal::Sealed(sealing) => Some(sealing.key),
            Seal::Plain | Seal::Lost => None,
        }
    }

    /// What the records are sealed with; `None` where they are not, or cannot be read.
    pub(super) fn cipher(&self, keys: &Keys) -> Option<Cipher> {
        let Seal::Sealed(sealing) = &self.seal else { return None };
        keys.cipher(sealing.key, &sealing.salt, (self.partition, self.base.offset))
    }

    /// Fails where records cannot be read for want of their key.
    pub(super) fn check_key(&self, keys: &Keys, path: &Path) -> Result<(), Error> {
        let Seal::Sealed(sealing) = &self.seal else { return Ok(()) };
        if self.cipher(keys).is_some() {
            return Ok(());
        }
        let what = format!(
            "it is encrypted with the key {}, which is not in the key file ([log] encryption_key_file); \
             add the key to that file, or move the segment away to go on without its records",
            sealing.key
        );
        Err(Error::Format { path: path.display().to_string(), what })
    }

    /// All copies.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut copy = [0; COPY];
        let (last_offset, last_time) = self.base.last_event.unwrap_or((NO_EVENT, 0));
        copy[0..8].copy_from_slice(&MAGIC);
        let version = if self.is_sealed() { SEALED } else { PLAIN };
        copy[8..10].copy_from_slice(&version.to_le_bytes());
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
        let mut all = copy.repeat(2);
        if let Seal::Sealed(sealing) = &self.seal {
            all.extend_from_slice(&sealing.encode().repeat(2));
        }
        all
    }

    /// Reads the first bytes of a segment file.
    ///
    /// # Errors
    /// [`Error::Format`] where a copy is sound but of a version this code does not know.
    pub(super) fn decode(bytes: &[u8], path: &Path) -> Result<Found, Error> {
        let second = bytes.get(HEADER_BYTES..).and_then(Sealing::decode).map(Seal::Sealed);
        for copy in bytes.chunks_exact(COPY).take(2) {
            let Some((header, version)) = Self::decode_copy(copy, path)? else { continue };
            let seal = if version == SEALED { second.unwrap_or(Seal::Lost) } else { Seal::Plain };
            return Ok(Found::Header(Self { seal, ..header }));
        }
        Ok(Found::Damaged(second.unwrap_or(Seal::Plain)))
    }

    fn decode_copy(copy: &[u8], path: &Path) -> Result<Option<(Self, u16)>, Error> {
        if copy[..8] != MAGIC || crc32c::crc32c(&copy[..60]) != u32::from_le_bytes(array(copy, 60)) {
            return Ok(None);
        }
        let version = u16::from_le_bytes(array(copy, 8));
        if version == 0 || version > SEALED {
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
        let salt = u32::from_le_bytes(array(copy, 56));
        Ok(Some((Self { partition, salt, base, seal: Seal::Plain }, version)))
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
        Header { partition: 2, salt: 0xDEAD_BEEF, base, seal: Seal::Plain }
    }

    fn sealed() -> Header {
        let sealing = Sealing { key: crate::KeyId([3; 8]), salt: [9; 32] };
        Header { seal: Seal::Sealed(sealing), ..header() }
    }

    fn decode(bytes: &[u8]) -> Option<Header> {
        match Header::decode(bytes, Path::new("x")).unwrap() {
            Found::Header(header) => Some(header),
            Found::Damaged(_) => None,
        }
    }

    #[test]
    fn either_copy_is_enough_and_no_damaged_byte_goes_unseen() {
        for header in [header(), sealed()] {
            let good = header.encode();
            assert_eq!(good.len() as u64, header.len());
            assert_eq!(decode(&good), Some(header));
            for byte in 0..COPY {
                let mut bad = good.clone();
                bad[byte] ^= 0x10;
                assert_eq!(decode(&bad), Some(header), "byte {byte}");
                bad[byte + COPY] ^= 0x10;
                assert_eq!(decode(&bad), None, "byte {byte}");
            }
            assert_eq!(decode(&good[..40]), None);
        }
    }

    #[test]
    fn either_copy_of_the_second_part_is_enough() {
        let good = sealed().encode();
        for byte in HEADER_BYTES..HEADER_BYTES + Sealing::COPY {
            let mut bad = good.clone();
            bad[byte] ^= 0x10;
            assert_eq!(decode(&bad), Some(sealed()), "byte {byte}");
            bad[byte + Sealing::COPY] ^= 0x10;
            assert_eq!(decode(&bad), Some(Header { seal: Seal::Lost, ..sealed() }), "byte {byte}");
        }
        let mut bad = good;
        (bad[0], bad[COPY]) = (0, 0);
        let Found::Damaged(seal) = Header::decode(&bad, Path::new("x")).unwrap() else { panic!() };
        assert_eq!(seal, sealed().seal, "the second part is read without the first");
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
