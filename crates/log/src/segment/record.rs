//! The bytes of a record; `docs/log-format.md` has the table.

use super::header::array;
use super::seal::TAG_BYTES;
use crate::{Append, Offset, QueueId, Record};
use bytes::{BufMut, Bytes, BytesMut};
use ironbrook_model::Timestamp;
use smallvec::SmallVec;

/// Bytes of the fixed part.
pub(super) const HEAD_BYTES: usize = 44;
/// Bytes of the checksum at the front.
pub(super) const CRC_BYTES: usize = 4;
/// Where the checksum of the data is.
pub(super) const DATA_CRC_AT: usize = 40;
/// The largest record, all told. It bounds what recovery reads at once.
pub(super) const MAX_RECORD_BYTES: usize = 16 << 20;

/// Flag: all records of the partition before this one were synced before it was written. Recovery goes by it.
pub(super) const FIRST_OF_GROUP: u16 = 1;
/// Flag: header and body are encrypted on disk, and the last bytes are their tag.
pub(super) const SEALED: u16 = 2;

/// The fixed part of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    /// Of the whole record, fixed part included.
    pub length: usize,
    pub offset: u64,
    /// Records of the numbered queue before this one: its sequence there, if it is in it.
    pub events: u64,
    pub enqueued: i64,
    header_length: usize,
    queue_count: usize,
    flags: u16,
    data_crc: u32,
}

/// The most queues a record can be in.
pub(super) const MAX_QUEUES: usize = u16::MAX as usize;

/// How long a record will be, with the room for a tag if there is any chance of one.
pub(super) fn length_max(append: &Append<'_>) -> usize {
    HEAD_BYTES + 2 * append.queues.len() + append.header.len() + append.body.len() + TAG_BYTES
}

/// Appends the bytes of a record, whose length and number of queues are within the limits. One that is to be sealed gets
/// room for its tag, and its checksums when it is.
pub(super) fn encode(
    into: &mut BytesMut,
    salt: u32,
    (offset, events, enqueued, flags): (u64, u64, i64, u16),
    append: &Append<'_>,
) {
    let is_sealed = flags & SEALED != 0;
    let length = length_max(append) - if is_sealed { 0 } else { TAG_BYTES };
    let start = into.len();
    into.reserve(length);
    into.put_bytes(0, HEAD_BYTES);
    for queue in append.queues {
        into.put_u16_le(queue.0);
    }
    into.put_slice(append.header);
    into.put_slice(append.body);
    into.put_bytes(0, if is_sealed { TAG_BYTES } else { 0 });
    let record = &mut into[start..];
    let head = &mut record[..HEAD_BYTES];
    // The lengths fit: they are parts of a length that was checked against the limit.
    head[4..8].copy_from_slice(&low32(length).to_le_bytes());
    head[8..16].copy_from_slice(&offset.to_le_bytes());
    head[16..24].copy_from_slice(&events.to_le_bytes());
    head[24..32].copy_from_slice(&enqueued.to_le_bytes());
    head[32..36].copy_from_slice(&low32(append.header.len()).to_le_bytes());
    head[36..38].copy_from_slice(&append.queues.len().to_le_bytes()[..2]);
    head[38..40].copy_from_slice(&flags.to_le_bytes());
    if !is_sealed {
        put_checksums(record, salt);
    }
}

/// Sets both checksums of a whole record.
pub(super) fn put_checksums(record: &mut [u8], salt: u32) {
    let (head, data) = record.split_at_mut(HEAD_BYTES);
    head[DATA_CRC_AT..].copy_from_slice(&crc32c::crc32c(data).to_le_bytes());
    let crc = crc32c::crc32c_append(salt, &head[CRC_BYTES..]);
    head[..CRC_BYTES].copy_from_slice(&crc.to_le_bytes());
}

fn low32(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

impl Head {
    /// Reads a fixed part; `None` if these bytes are not one: too few, a wrong checksum, lengths that do not add up.
    pub(super) fn check(bytes: &[u8], salt: u32) -> Option<Self> {
        let head = Self::read(bytes)?;
        // The cheap look at the lengths comes first: recovery asks for every byte of a damaged stretch.
        (crc32c::crc32c_append(salt, &bytes[4..HEAD_BYTES]) == u32::from_le_bytes(array(bytes, 0)))
            .then_some(head)
    }

    /// Reads a fixed part that never left memory: lengths are checked, the checksum is not.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.get(..HEAD_BYTES)?;
        let length = u32::from_le_bytes(array(bytes, 4)) as usize;
        let header_length = u32::from_le_bytes(array(bytes, 32)) as usize;
        let queue_count = usize::from(u16::from_le_bytes(array(bytes, 36)));
        let flags = u16::from_le_bytes(array(bytes, 38));
        let tag = if flags & SEALED == 0 { 0 } else { TAG_BYTES };
        let parts = (HEAD_BYTES + tag).checked_add(queue_count * 2)?.checked_add(header_length)?;
        (parts <= length && length <= MAX_RECORD_BYTES).then(|| Self {
            length,
            offset: u64::from_le_bytes(array(bytes, 8)),
            events: u64::from_le_bytes(array(bytes, 16)),
            enqueued: i64::from_le_bytes(array(bytes, 24)),
            header_length,
            queue_count,
            flags,
            data_crc: u32::from_le_bytes(array(bytes, 40)),
        })
    }

    /// Whether the rest of the record is what it was; `record` is at least as long as the head says.
    pub(super) fn check_data(&self, record: &[u8]) -> bool {
        record.get(HEAD_BYTES..self.length).is_some_and(|data| crc32c::crc32c(data) == self.data_crc)
    }

    /// Whether all before was synced before this was written.
    pub(super) fn is_first_of_group(&self) -> bool {
        self.flags & FIRST_OF_GROUP != 0
    }

    /// Whether header and body are encrypted on disk.
    pub(super) fn is_sealed(&self) -> bool {
        self.flags & SEALED != 0
    }

    /// Where the header begins.
    pub(super) fn header_at(&self) -> usize {
        HEAD_BYTES + 2 * self.queue_count
    }

    /// Whether the record is in a queue.
    pub(super) fn is_in(&self, record: &[u8], queue: QueueId) -> bool {
        self.queues(record).any(|found| found == queue)
    }

    pub(super) fn queues<'a>(&self, record: &'a [u8]) -> impl Iterator<Item = QueueId> + use<'a> {
        let bytes = record.get(HEAD_BYTES..HEAD_BYTES + 2 * self.queue_count).unwrap_or_default();
        bytes.chunks_exact(2).map(|pair| QueueId(u16::from_le_bytes(array(pair, 0))))
    }

    /// The record whose bytes these are in plain, sharing them.
    pub(super) fn record(&self, bytes: &Bytes) -> Record {
        let queues: SmallVec<[QueueId; 4]> = self.queues(bytes).collect();
        let header_at = self.header_at();
        let body_at = header_at + self.header_length;
        let body_end = self.length - if self.is_sealed() { TAG_BYTES } else { 0 };
        Record {
            offset: Offset(self.offset),
            event_sequence: queues.contains(&QueueId::EVENTS).then_some(self.events),
            enqueued: Timestamp::from_millis(self.enqueued),
            queues,
            header: bytes.slice(header_at..body_at),
            body: bytes.slice(body_at..body_end),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SALT: u32 = 77;

    fn bytes_of(queues: &[u16], header: &[u8], body: &[u8]) -> BytesMut {
        let queues: Vec<QueueId> = queues.iter().copied().map(QueueId).collect();
        let body = Bytes::copy_from_slice(body);
        let append = Append { enqueued: Timestamp::from_millis(5), queues: &queues, header, body: &body };
        let mut bytes = BytesMut::new();
        encode(&mut bytes, SALT, (10, 4, 5, FIRST_OF_GROUP), &append);
        bytes
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn a_record_comes_back_and_every_flipped_bit_is_seen(
            queues in prop::collection::vec(any::<u16>(), 0..6),
            header in prop::collection::vec(any::<u8>(), 0..40),
            body in prop::collection::vec(any::<u8>(), 0..200),
            flip in any::<prop::sample::Index>(),
        ) {
            let bytes = bytes_of(&queues, &header, &body);
            let head = Head::check(&bytes, SALT).unwrap();
            prop_assert!(head.check_data(&bytes));
            prop_assert!(head.is_first_of_group());
            let record = head.record(&bytes.clone().freeze());
            prop_assert_eq!(&record.header[..], &header[..]);
            prop_assert_eq!(&record.body[..], &body[..]);
            prop_assert_eq!(record.queues.iter().map(|q| q.0).collect::<Vec<_>>(), queues.clone());
            prop_assert_eq!(record.event_sequence, queues.contains(&0).then_some(4));
            prop_assert!(Head::check(&bytes, SALT + 1).is_none(), "the salt counts");

            let mut bad = bytes.clone();
            let bit = flip.index(bad.len() * 8);
            bad[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(!Head::check(&bad, SALT).is_some_and(|head| head.check_data(&bad)));
        }

        #[test]
        fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..120)) {
            if let Some(head) = Head::read(&bytes) {
                let _ = (head.check_data(&bytes), head.is_in(&bytes, QueueId::EVENTS));
            }
        }
    }
}
