//! MQTT 3.1.1 packets: those that clients send, and where the packets of a stream begin and end.

/// Where a payload holds its send time: 16 hex digits.
pub const TIME_AT: usize = 6;

/// Types of packets, the upper half of the first byte.
pub mod kind {
    #![allow(missing_docs, reason = "the standard's names")]
    pub const CONNECT: u8 = 1;
    pub const CONNACK: u8 = 2;
    pub const PUBLISH: u8 = 3;
    pub const PUBACK: u8 = 4;
    pub const SUBSCRIBE: u8 = 8;
    pub const SUBACK: u8 = 9;
    pub const PINGREQ: u8 = 12;
    pub const PINGRESP: u8 = 13;
}

/// What a client says of itself.
pub struct Login<'a> {
    /// Client id.
    pub id: &'a str,
    /// User name; empty for none.
    pub user: &'a str,
    /// Password; empty for none.
    pub password: &'a str,
    /// Whether the session is clean.
    pub clean: bool,
    /// Keep-alive in seconds.
    pub keep_alive: u16,
}

/// CONNECT.
pub fn connect(login: &Login<'_>) -> Vec<u8> {
    let mut body = Vec::new();
    put_text(&mut body, "MQTT");
    body.push(4);
    let mut flags = if login.clean { 2 } else { 0 };
    flags |= if login.user.is_empty() { 0 } else { 0x80 };
    flags |= if login.password.is_empty() { 0 } else { 0x40 };
    body.push(flags);
    body.extend_from_slice(&login.keep_alive.to_be_bytes());
    put_text(&mut body, login.id);
    for text in [login.user, login.password] {
        if !text.is_empty() {
            put_text(&mut body, text);
        }
    }
    packet(kind::CONNECT << 4, &body)
}

/// SUBSCRIBE to one filter.
pub fn subscribe(filter: &str, qos: u8) -> Vec<u8> {
    let mut body = vec![0, 1];
    put_text(&mut body, filter);
    body.push(qos);
    packet(kind::SUBSCRIBE << 4 | 2, &body)
}

/// A PUBLISH to be sent many times, and where its packet id and its send time are.
pub struct Publish {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// Where the packet id is; meaningless with QoS 0.
    pub id_at: usize,
    /// Where the 16 hex digits of the time are.
    pub time_at: usize,
}

impl Publish {
    /// With packet id 1.
    pub fn new(topic: &str, qos: u8, payload: &[u8]) -> Self {
        let mut body = Vec::new();
        put_text(&mut body, topic);
        if qos > 0 {
            body.extend_from_slice(&[0, 1]);
        }
        body.extend_from_slice(payload);
        let bytes = packet(kind::PUBLISH << 4 | qos << 1, &body);
        let payload_at = bytes.len() - payload.len();
        Self { bytes, id_at: payload_at.saturating_sub(2), time_at: payload_at + TIME_AT }
    }
}

/// JSON of exactly this many bytes (at least 40) with a place for the send time at [`TIME_AT`].
pub fn payload(len: usize) -> Vec<u8> {
    let mut text = String::from("{\"t\":\"0000000000000000\",\"v\":23.5");
    if len > text.len() + 9 {
        text.push_str(",\"pad\":\"");
        while text.len() < len - 2 {
            text.push((b'a' + (text.len() % 26) as u8) as char);
        }
        text.push('"');
    }
    while text.len() < len - 1 {
        text.push(' ');
    }
    text.push('}');
    text.into_bytes()
}

/// Writes a time as 16 hex digits.
#[inline]
pub fn put_time(into: &mut [u8], time: u64) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for (index, byte) in into[..16].iter_mut().enumerate() {
        *byte = DIGITS[((time >> (60 - 4 * index)) & 15) as usize];
    }
}

/// Reads a time of 16 hex digits.
#[inline]
pub fn time(from: &[u8]) -> u64 {
    from[..16].iter().fold(0, |time, digit| {
        let value = if *digit >= b'a' { digit - b'a' + 10 } else { digit.wrapping_sub(b'0') };
        time << 4 | u64::from(value & 15)
    })
}

/// The body of the packet that begins at `start`, as a range, if all of it is there.
#[inline]
pub fn body(bytes: &[u8], start: usize) -> Option<std::ops::Range<usize>> {
    let (mut len, mut at, mut shift) = (0usize, start + 1, 0);
    loop {
        let byte = *bytes.get(at)?;
        len |= usize::from(byte & 127) << shift;
        at += 1;
        shift += 7;
        if byte & 128 == 0 {
            break;
        }
        if shift == 28 {
            return None;
        }
    }
    (at + len <= bytes.len()).then_some(at..at + len)
}

fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    let mut len = body.len();
    loop {
        let byte = (len % 128) as u8;
        len /= 128;
        if len == 0 {
            bytes.push(byte);
            break;
        }
        bytes.push(byte | 128);
    }
    bytes.extend_from_slice(body);
    bytes
}

fn put_text(into: &mut Vec<u8>, text: &str) {
    into.extend_from_slice(&(text.len() as u16).to_be_bytes());
    into.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_found_whole_or_not_at_all() {
        let publish = Publish::new("a/b", 1, &payload(256));
        assert_eq!(body(&publish.bytes, 0), Some(3..publish.bytes.len()));
        for cut in 0..publish.bytes.len() {
            assert_eq!(body(&publish.bytes[..cut], 0), None);
        }
        assert_eq!(body(&[0x30, 0xff, 0xff, 0xff, 0xff, 1], 0), None);
        assert_eq!(&publish.bytes[publish.id_at..publish.id_at + 2], [0, 1]);
    }

    #[test]
    fn a_payload_has_its_length_and_holds_its_time() {
        for len in [40, 41, 47, 256, 5000] {
            assert_eq!(payload(len).len(), len);
        }
        let mut bytes = payload(64);
        put_time(&mut bytes[TIME_AT..], 0x0123_4567_89ab_cdef);
        assert_eq!(time(&bytes[TIME_AT..]), 0x0123_4567_89ab_cdef);
    }
}
