//! Where packets are written to: a buffer, or a mere count of its bytes.

use super::Unencodable;
use crate::mqtt::basic::REMAINING_LEN_MAX;
use crate::mqtt::frame::{put_variable_byte_integer, variable_byte_integer_len};
use bytes::{BufMut, BytesMut};

/// Takes bytes. A packet is written twice by the same code: once into a [`Count`] that finds the lengths and every fault,
/// then into a buffer.
pub(super) trait Sink {
    fn put(&mut self, bytes: &[u8]);

    fn put_u8(&mut self, value: u8) {
        self.put(&[value]);
    }

    fn put_u16(&mut self, value: u16) {
        self.put(&value.to_be_bytes());
    }

    fn put_u32(&mut self, value: u32) {
        self.put(&value.to_be_bytes());
    }

    fn put_variable_byte_integer(&mut self, value: usize) -> Result<(), Unencodable>;

    fn put_binary(&mut self, bytes: &[u8]) -> Result<(), Unencodable> {
        let len = u16::try_from(bytes.len()).map_err(|_| Unencodable::Field(bytes.len()))?;
        self.put_u16(len);
        self.put(bytes);
        Ok(())
    }

    fn put_string(&mut self, text: &str) -> Result<(), Unencodable> {
        if text.as_bytes().contains(&0) {
            return Err(Unencodable::NullCharacter);
        }
        self.put_binary(text.as_bytes())
    }

    /// A topic or filter that must not be empty.
    fn put_topic(&mut self, topic: &str) -> Result<(), Unencodable> {
        if topic.is_empty() { Err(Unencodable::EmptyTopic) } else { self.put_string(topic) }
    }
}

impl Sink for BytesMut {
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }

    fn put_variable_byte_integer(&mut self, value: usize) -> Result<(), Unencodable> {
        check_len(value)?;
        put_variable_byte_integer(value, self);
        Ok(())
    }
}

/// Counts.
#[derive(Default)]
pub(super) struct Count(pub(super) usize);

impl Sink for Count {
    fn put(&mut self, bytes: &[u8]) {
        self.0 += bytes.len();
    }

    fn put_variable_byte_integer(&mut self, value: usize) -> Result<(), Unencodable> {
        check_len(value)?;
        self.0 += variable_byte_integer_len(value);
        Ok(())
    }
}

fn check_len(value: usize) -> Result<(), Unencodable> {
    if value > REMAINING_LEN_MAX { Err(Unencodable::Packet(value)) } else { Ok(()) }
}

/// Writes the fixed header and makes room for the rest.
pub(super) fn put_head(first: u8, len: usize, out: &mut BytesMut) -> Result<(), Unencodable> {
    check_len(len)?;
    out.reserve(1 + variable_byte_integer_len(len) + len);
    BufMut::put_u8(out, first);
    put_variable_byte_integer(len, out);
    Ok(())
}
