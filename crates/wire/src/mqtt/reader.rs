//! Fields off the front of a packet. What is read shares the packet's memory.

use super::basic::PacketId;
use super::frame::{Minimal, variable_byte_integer};
use bytes::{Buf, Bytes};
use bytestring::ByteString;

/// What can be wrong with lengths and single fields in either version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    VariableByteInteger,
    TooLarge { len: usize, max: usize },
    Truncated,
    Utf8,
    NullCharacter,
    PacketIdZero,
}

/// The rest of a packet, or of a part of it.
pub(super) struct Reader(Bytes);

impl Reader {
    pub(super) fn new(bytes: Bytes) -> Self {
        Self(bytes)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// All that is left.
    pub(super) fn rest(&mut self) -> Bytes {
        self.0.split_off(0)
    }

    /// That many bytes.
    pub(super) fn take(&mut self, len: usize) -> Result<Bytes, Fault> {
        if self.0.len() < len { Err(Fault::Truncated) } else { Ok(self.0.split_to(len)) }
    }

    pub(super) fn u8(&mut self) -> Result<u8, Fault> {
        self.0.try_get_u8().map_err(|_| Fault::Truncated)
    }

    pub(super) fn u16(&mut self) -> Result<u16, Fault> {
        self.0.try_get_u16().map_err(|_| Fault::Truncated)
    }

    pub(super) fn u32(&mut self) -> Result<u32, Fault> {
        self.0.try_get_u32().map_err(|_| Fault::Truncated)
    }

    /// A variable byte integer of MQTT 5.0.
    pub(super) fn variable_byte_integer(&mut self) -> Result<usize, Fault> {
        let (value, len) = variable_byte_integer(&self.0, Minimal::Demanded)?.ok_or(Fault::Truncated)?;
        self.0.advance(len);
        Ok(value)
    }

    pub(super) fn packet_id(&mut self) -> Result<PacketId, Fault> {
        PacketId::new(self.u16()?).ok_or(Fault::PacketIdZero)
    }

    /// Bytes behind a two-byte length.
    pub(super) fn binary(&mut self) -> Result<Bytes, Fault> {
        let len = usize::from(self.u16()?);
        self.take(len)
    }

    /// Text behind a two-byte length.
    pub(super) fn string(&mut self) -> Result<ByteString, Fault> {
        let bytes = self.binary()?;
        if bytes.contains(&0) {
            return Err(Fault::NullCharacter);
        }
        ByteString::try_from(bytes).map_err(|_| Fault::Utf8)
    }
}
