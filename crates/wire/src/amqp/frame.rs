//! Frames (specification part 2, section 2.3): size, data offset, type, channel, body.

use super::DecodeError;
use bytes::{Buf, BufMut, Bytes, BytesMut};

/// The frame header's length, and so the shortest frame.
pub const FRAME_HEADER_LEN: usize = 8;
/// The longest frame that needs no negotiation, and the shortest limit a peer may set.
pub const FRAME_SIZE_MIN: usize = 512;

/// The type of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameKind {
    /// A performative.
    Amqp = 0,
    /// Authentication.
    Sasl = 1,
}

/// A frame; an empty body is a heartbeat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Its type.
    pub kind: FrameKind,
    /// The session's channel; 0 for SASL.
    pub channel: u16,
    /// What it carries.
    pub body: Bytes,
}

impl Frame {
    /// Takes the next complete frame off the front; `None` if more bytes are needed.
    ///
    /// # Errors
    /// A size beyond `max` (found as soon as the first four bytes are there) or a header that contradicts itself.
    pub fn decode(input: &mut BytesMut, max: usize) -> Result<Option<Self>, DecodeError> {
        let Some(size) = input.first_chunk::<4>() else { return Ok(None) };
        let size = u32::from_be_bytes(*size) as usize;
        if !(FRAME_HEADER_LEN..=max).contains(&size) {
            return Err(DecodeError::FrameSize { size, max });
        }
        if input.len() < size {
            return Ok(None);
        }
        let mut frame = input.split_to(size).freeze();
        let (offset, kind) = (usize::from(frame[4]) * 4, frame[5]);
        let channel = u16::from_be_bytes([frame[6], frame[7]]);
        if !(FRAME_HEADER_LEN..=size).contains(&offset) {
            return Err(DecodeError::DataOffset);
        }
        let kind = match kind {
            0 => FrameKind::Amqp,
            1 => FrameKind::Sasl,
            other => return Err(DecodeError::FrameType(other)),
        };
        frame.advance(offset);
        Ok(Some(Self { kind, channel, body: frame }))
    }

    /// Writes a frame around a body that `write` produces.
    pub fn encode(out: &mut BytesMut, kind: FrameKind, channel: u16, write: impl FnOnce(&mut BytesMut)) {
        let start = out.len();
        out.put_slice(&[0, 0, 0, 0, 2, kind as u8]);
        out.put_u16(if kind == FrameKind::Sasl { 0 } else { channel });
        write(out);
        let size = (out.len() - start) as u32;
        out[start..start + 4].copy_from_slice(&size.to_be_bytes());
    }
}
