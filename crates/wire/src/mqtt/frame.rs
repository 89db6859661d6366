//! Where a packet ends, and the variable byte integer that says so.

use super::basic::REMAINING_LEN_MAX;
use super::reader::{Fault, Reader};
use bytes::{Buf, BufMut, BytesMut};

/// Takes what follows the fixed header of the first packet; `None` if the packet is not complete yet.
///
/// `max_packet` bounds the whole packet in bytes. The caller has looked at the first byte.
pub(super) fn take(
    buffer: &mut BytesMut,
    max_packet: usize,
    minimal: Minimal,
) -> Result<Option<Reader>, Fault> {
    let Some(after_type) = buffer.get(1..) else { return Ok(None) };
    let Some((remaining, len_len)) = variable_byte_integer(after_type, minimal)? else { return Ok(None) };
    let head_len = 1 + len_len;
    let total = head_len + remaining;
    if total > max_packet {
        return Err(Fault::TooLarge { len: total, max: max_packet });
    }
    if buffer.len() < total {
        return Ok(None);
    }
    let mut body = buffer.split_to(total).freeze();
    body.advance(head_len);
    Ok(Some(Reader::new(body)))
}

/// Whether a variable byte integer must have the fewest bytes possible: MQTT 5.0 demands it, MQTT 3.1.1 says nothing.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Minimal {
    Demanded,
    NotDemanded,
}

/// The integer at the front and how many bytes it took; `None` if it is not complete.
pub(super) fn variable_byte_integer(bytes: &[u8], minimal: Minimal) -> Result<Option<(usize, usize)>, Fault> {
    let mut value = 0;
    for (index, byte) in bytes.iter().take(4).enumerate() {
        value |= usize::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            // A last byte of zero adds nothing, unless it is the only one.
            if *byte == 0 && index > 0 && minimal == Minimal::Demanded {
                return Err(Fault::VariableByteInteger);
            }
            return Ok(Some((value, index + 1)));
        }
    }
    if bytes.len() >= 4 { Err(Fault::VariableByteInteger) } else { Ok(None) }
}

/// Writes an integer with the fewest bytes; the caller has checked that it is at most [`REMAINING_LEN_MAX`].
pub(super) fn put_variable_byte_integer(mut value: usize, out: &mut impl BufMut) {
    debug_assert!(value <= REMAINING_LEN_MAX);
    while value >= 0x80 {
        out.put_u8((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.put_u8(value as u8);
}

/// Bytes that [`put_variable_byte_integer`] writes.
pub(super) const fn variable_byte_integer_len(value: usize) -> usize {
    match value {
        0..=0x7f => 1,
        0x80..=0x3fff => 2,
        0x4000..=0x1f_ffff => 3,
        _ => 4,
    }
}
