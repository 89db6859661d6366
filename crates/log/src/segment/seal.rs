//! Records sealed for the disk: header and body encrypted, everything else authenticated beside them.
//!
//! A nonce is the record's offset under a key that only this segment has. No pair of them comes twice: a sealed segment takes
//! records only from the process that made it, which gives each offset once, and what is made again in its place has
//! another salt and so another key.

use super::header::array;
use super::record::{CRC_BYTES, DATA_CRC_AT, HEAD_BYTES, Head};
use crate::keys::Cipher;
use aws_lc_rs::aead::{Aad, Nonce};
use bytes::{Bytes, BytesMut};
use smallvec::SmallVec;
use std::io;

/// What sealing adds to a record.
pub(super) const TAG_BYTES: usize = 16;

/// What is authenticated and stays readable: the numbers of the fixed part, and the queues.
fn open_part(record: &[u8], head: &Head) -> SmallVec<[u8; 64]> {
    let mut part = SmallVec::from_slice(&record[CRC_BYTES..DATA_CRC_AT]);
    part.extend_from_slice(&record[HEAD_BYTES..head.header_at()]);
    part
}

fn nonce(offset: u64) -> Nonce {
    let mut bytes = [0; 12];
    bytes[4..].copy_from_slice(&offset.to_le_bytes());
    Nonce::assume_unique_for_key(bytes)
}

/// A group as it goes to the disk. Its records have the room for their tags already.
pub(super) fn seal(group: &[u8], salt: u32, cipher: &Cipher) -> io::Result<Bytes> {
    let mut sealed = BytesMut::from(group);
    let mut rest = &mut sealed[..];
    while let Some(head) = Head::read(rest) {
        let (record, behind) = rest
            .split_at_mut_checked(head.length)
            .ok_or_else(|| io::Error::other("a gathered record is longer than its group"))?;
        let open = open_part(record, &head);
        let body_end = head.length - TAG_BYTES;
        let secret = &mut record[head.header_at()..body_end];
        let failed = |_| io::Error::other("a record could not be encrypted");
        let tag = cipher.0.seal_in_place_separate_tag(nonce(head.offset), Aad::from(open), secret);
        record[body_end..].copy_from_slice(tag.map_err(failed)?.as_ref());
        super::record::put_checksums(record, salt);
        rest = behind;
    }
    Ok(sealed.freeze())
}

/// The record in plain, with what its tag was at the end; `None` if it is not what was sealed.
pub(super) fn open(head: &Head, record: &[u8], cipher: &Cipher) -> Option<Bytes> {
    let mut plain = BytesMut::from(record.get(..head.length)?);
    let open = open_part(&plain, head);
    cipher.0.open_in_place(nonce(head.offset), Aad::from(open), &mut plain[head.header_at()..]).ok()?;
    Some(plain.freeze())
}

/// Chance for a segment's key, from the system's generator.
pub(super) fn chance<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| io::Error::other("the system gives no random numbers"))?;
    Ok(bytes)
}

/// The second part of a sealed segment's header; `docs/log-format.md` has the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sealing {
    pub key: crate::KeyId,
    pub salt: [u8; crate::keys::SEGMENT_SALT_BYTES],
}

/// AES-256-GCM under a key derived with HKDF-SHA-256.
const CIPHER: u16 = 1;

impl Sealing {
    /// Bytes of one copy.
    pub(super) const COPY: usize = 64;

    pub(super) fn encode(&self) -> [u8; Self::COPY] {
        let mut copy = [0; Self::COPY];
        copy[0..2].copy_from_slice(&CIPHER.to_le_bytes());
        copy[8..16].copy_from_slice(&self.key.0);
        copy[16..48].copy_from_slice(&self.salt);
        let crc = crc32c::crc32c(&copy[..60]);
        copy[60..64].copy_from_slice(&crc.to_le_bytes());
        copy
    }

    /// From the first sound copy of one or two.
    pub(super) fn decode(copies: &[u8]) -> Option<Self> {
        copies.chunks_exact(Self::COPY).take(2).find_map(|copy| {
            let sound = crc32c::crc32c(&copy[..60]) == u32::from_le_bytes(array(copy, 60));
            let known = u16::from_le_bytes(array(copy, 0)) == CIPHER;
            (sound && known).then(|| Self { key: crate::KeyId(array(copy, 8)), salt: array(copy, 16) })
        })
    }
}
