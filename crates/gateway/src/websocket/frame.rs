//! WebSocket frames (RFC 6455, section 5), taken apart as their bytes arrive.
//!
//! A frame is never collected: payload is handed on at once, however long its frame says it is, so a connection costs what
//! [`Decoder`] is in size and no more. What is *not* here: sockets, and the handshake.

use bytes::{BufMut, BytesMut};

/// Longest payload of a control frame, in bytes.
const CONTROL_LEN_MAX: usize = 125;
/// Longest head of a frame: two bytes, eight of length, four of mask.
const HEAD_LEN_MAX: usize = 14;
/// Longest frame made, in bytes of payload.
pub(super) const FRAME_LEN: usize = 16 * 1024;
/// What a frame adds to its payload at most, as we make them: they are short and not masked.
pub(super) const FRAME_HEAD_LEN: usize = 4;

const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// Why the peer's frames cannot be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Violation {
    #[error("a WebSocket frame without mask; clients mask all they send")]
    Unmasked,
    #[error("reserved bits of a WebSocket frame are set, but no extension was agreed on")]
    Reserved,
    #[error("a WebSocket frame of an unknown kind")]
    Opcode,
    #[error("a WebSocket control frame is in pieces or longer than 125 bytes")]
    Control,
    #[error("a WebSocket message begins inside another, or goes on without a beginning")]
    Order,
    #[error("the length of a WebSocket frame is above 2^63")]
    Length,
    #[error("a WebSocket close frame with a status code that may not be sent")]
    CloseCode,
    #[error("a WebSocket text frame; send the bytes in binary frames")]
    Text,
}

impl Violation {
    /// The status code for the close frame.
    pub(super) fn code(self) -> u16 {
        match self {
            Self::Text => 1003,
            _ => 1002,
        }
    }
}

/// The end of what the peer sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// It said goodbye, with a status code or without.
    Closed(Option<u16>),
    Violated(Violation),
}

/// The payload of a control frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Short {
    len: u8,
    bytes: [u8; CONTROL_LEN_MAX],
}

impl Short {
    const EMPTY: Self = Self { len: 0, bytes: [0; CONTROL_LEN_MAX] };

    fn push(&mut self, more: &[u8]) {
        let len = usize::from(self.len);
        self.bytes[len..len + more.len()].copy_from_slice(more);
        self.len += more.len() as u8;
    }

    pub(super) fn as_slice(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

/// The client's frames, as they come.
#[derive(Debug)]
pub(super) struct Decoder {
    /// The head of a frame, as far as it is here.
    head: [u8; HEAD_LEN_MAX],
    head_len: usize,
    /// Bytes of payload still to come; not looked at while a head is collected.
    left: u64,
    mask: [u8; 4],
    opcode: u8,
    /// A message has begun and its last frame has not.
    in_message: bool,
    control: Short,
    ping: Option<Short>,
    end: Option<End>,
}

impl Decoder {
    pub(super) fn new() -> Self {
        Self {
            head: [0; HEAD_LEN_MAX],
            head_len: 0,
            left: 0,
            mask: [0; 4],
            opcode: CONTINUATION,
            in_message: false,
            control: Short::EMPTY,
            ping: None,
            end: None,
        }
    }

    /// Takes bytes of the client. The payload in them is moved to their front; returns its length.
    pub(super) fn decode(&mut self, bytes: &mut [u8]) -> usize {
        let (mut at, mut kept) = (0, 0);
        while at < bytes.len() && self.end.is_none() {
            if self.left == 0 {
                self.head[self.head_len] = bytes[at];
                self.head_len += 1;
                at += 1;
                if let Err(violation) = self.read_head() {
                    self.end = Some(End::Violated(violation));
                }
                continue;
            }
            let len = self.left.min((bytes.len() - at) as u64) as usize;
            let payload = &mut bytes[at..at + len];
            unmask(payload, &mut self.mask);
            if self.opcode < CLOSE {
                if kept < at {
                    bytes.copy_within(at..at + len, kept);
                }
                kept += len;
            } else {
                self.control.push(payload);
            }
            at += len;
            self.left -= len as u64;
            if self.left == 0 {
                self.finish();
            }
        }
        kept
    }

    /// Looks at the head so far. What is wrong with it is told by its first two bytes already, but for its length.
    fn read_head(&mut self) -> Result<(), Violation> {
        let [first, second, ..] = self.head;
        match self.head_len {
            1 => return self.check_kind(first),
            2 => return check_length(first, second),
            _ => {}
        }
        let extended = match second & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        if self.head_len < 2 + extended + 4 {
            return Ok(());
        }
        let mut length = [0; 8];
        length[8 - extended..].copy_from_slice(&self.head[2..2 + extended]);
        self.left = if extended == 0 { u64::from(second & 0x7f) } else { u64::from_be_bytes(length) };
        if self.left > i64::MAX as u64 {
            return Err(Violation::Length);
        }
        self.mask.copy_from_slice(&self.head[2 + extended..2 + extended + 4]);
        self.head_len = 0;
        self.opcode = first & 0xf;
        if self.opcode < CLOSE {
            self.in_message = first & 0x80 == 0;
        } else {
            self.control = Short::EMPTY;
        }
        if self.left == 0 {
            self.finish();
        }
        Ok(())
    }

    fn check_kind(&self, first: u8) -> Result<(), Violation> {
        if first & 0x70 != 0 {
            return Err(Violation::Reserved);
        }
        match first & 0xf {
            // rule WS-04: both subprotocols travel in binary frames only.
            TEXT => Err(Violation::Text),
            CONTINUATION if !self.in_message => Err(Violation::Order),
            BINARY if self.in_message => Err(Violation::Order),
            CONTINUATION | BINARY => Ok(()),
            CLOSE | PING | PONG if first & 0x80 == 0 => Err(Violation::Control),
            CLOSE | PING | PONG => Ok(()),
            _ => Err(Violation::Opcode),
        }
    }

    /// A frame is here to its last byte.
    fn finish(&mut self) {
        match self.opcode {
            // Only the newest is answered (RFC 6455, 5.5.3), so that pings cannot pile up.
            PING => self.ping = Some(self.control),
            CLOSE => {
                self.end = Some(match self.control.as_slice() {
                    [] => End::Closed(None),
                    [a, b, ..] if may_be_sent(u16::from_be_bytes([*a, *b])) => {
                        End::Closed(Some(u16::from_be_bytes([*a, *b])))
                    }
                    _ => End::Violated(Violation::CloseCode),
                });
            }
            _ => {}
        }
    }

    /// A ping that is to be answered.
    pub(super) fn take_ping(&mut self) -> Option<Short> {
        self.ping.take()
    }

    /// How it ended. Nothing is taken any more then.
    pub(super) fn end(&self) -> Option<End> {
        self.end
    }
}

fn check_length(first: u8, second: u8) -> Result<(), Violation> {
    if second & 0x80 == 0 {
        return Err(Violation::Unmasked);
    }
    if first & 0xf >= CLOSE && usize::from(second & 0x7f) > CONTROL_LEN_MAX {
        return Err(Violation::Control);
    }
    Ok(())
}

/// RFC 6455, 7.4.
fn may_be_sent(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}

/// Unmasks a piece of payload and turns the mask to where the next piece begins.
fn unmask(bytes: &mut [u8], mask: &mut [u8; 4]) {
    let (words, rest) = bytes.as_chunks_mut::<4>();
    let whole = u32::from_ne_bytes(*mask);
    for word in words {
        *word = (u32::from_ne_bytes(*word) ^ whole).to_ne_bytes();
    }
    for (byte, mask) in rest.iter_mut().zip(*mask) {
        *byte ^= mask;
    }
    mask.rotate_left(rest.len());
}

/// Appends a binary frame of at most [`FRAME_LEN`] bytes.
pub(super) fn put_binary(out: &mut BytesMut, payload: &[u8]) {
    debug_assert!(payload.len() <= FRAME_LEN);
    put(out, BINARY, payload);
}

pub(super) fn put_pong(out: &mut BytesMut, payload: &Short) {
    put(out, PONG, payload.as_slice());
}

/// Appends a close frame, with a status code where there is one to tell.
pub(super) fn put_close(out: &mut BytesMut, code: Option<u16>) {
    match code {
        Some(code) => put(out, CLOSE, &code.to_be_bytes()),
        None => put(out, CLOSE, &[]),
    }
}

fn put(out: &mut BytesMut, opcode: u8, payload: &[u8]) {
    out.reserve(FRAME_HEAD_LEN + payload.len());
    out.put_u8(0x80 | opcode);
    if payload.len() <= CONTROL_LEN_MAX {
        out.put_u8(payload.len() as u8);
    } else {
        out.put_u8(126);
        out.put_u16(payload.len() as u16);
    }
    out.put_slice(payload);
}

#[cfg(test)]
mod tests;
