//! The first packet of a connection, which tells the version.
//!
//! ```
//! use bytes::BytesMut;
//! use ironbrook_wire::mqtt::first::{First, decode_first};
//!
//! let mut buffer = BytesMut::from(&b"\x10\x0e\0\x04MQTT\x05\x02\0\x3c\0\0\x01d"[..]);
//! let Ok(Some(First::V5(connect))) = decode_first(&mut buffer, 1024) else { panic!("a CONNECT of MQTT 5.0") };
//! assert_eq!(connect.client_id, "d");
//! ```

use super::basic::PacketType;
use super::frame::{Minimal, variable_byte_integer};
use super::reader::Fault;
use super::v5::ReasonCode;
use super::{v4, v5};
use bytes::{BufMut, BytesMut};

/// A CONNECT of a version that is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum First {
    /// MQTT 3.1.1: go on with [`v4::decode`].
    V4(Box<v4::Connect>),
    /// MQTT 5.0: go on with [`v5::decode`].
    V5(Box<v5::Connect>),
}

/// A first packet that is not served. [`answer`](Self::answer) writes what is to be sent before the connection is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refused {
    /// Not a CONNECT.
    #[error("the connection does not begin with CONNECT but with the byte {0:#04x} [MQTT-3.1.0-1]")]
    NotConnect(u8),
    /// Not a CONNECT of MQTT.
    #[error("the protocol name is not MQTT [MQTT-3.1.2-1]")]
    ProtocolName,
    /// Neither MQTT 3.1.1 nor 5.0. MQTT 3.1 has level 3.
    #[error("protocol level {0} is not supported, use 4 (MQTT 3.1.1) or 5 (MQTT 5.0) [MQTT-3.1.2-2]")]
    ProtocolLevel(u8),
    /// The length is not valid, or the packet ends before its protocol level.
    #[error("the first packet is malformed [MQTT-3.1.4-1]")]
    Malformed,
    /// A CONNECT of MQTT 3.1.1 that breaks a rule.
    #[error(transparent)]
    V4(v4::Violation),
    /// A CONNECT of MQTT 5.0 that breaks a rule.
    #[error(transparent)]
    V5(v5::Violation),
}

/// Takes the first packet off the front of a buffer; `None` if it is not complete yet.
///
/// `max_packet` bounds the whole packet in bytes. Its version is looked at as soon as it is there, before the rest has
/// arrived.
pub fn decode_first(buffer: &mut BytesMut, max_packet: usize) -> Result<Option<First>, Refused> {
    let Some(level) = level(buffer)? else { return Ok(None) };
    match level {
        4 => match v4::decode(buffer, max_packet).map_err(Refused::V4)? {
            Some(v4::Packet::Connect(connect)) => Ok(Some(First::V4(connect))),
            _ => Ok(None),
        },
        5 => match v5::decode(buffer, max_packet).map_err(Refused::V5)? {
            Some(v5::Packet::Connect(connect)) => Ok(Some(First::V5(connect))),
            _ => Ok(None),
        },
        level => Err(Refused::ProtocolLevel(level)),
    }
}

/// First byte of a CONNECT.
const CONNECT: u8 = (PacketType::Connect as u8) << 4;
/// The bit of the protocol level by which some brokers say that they are a bridge.
const BRIDGE: u8 = 0x80;
/// The protocol names of MQTT 3.1.1 and 5.0, and of MQTT 3.1, each with its length.
const NAMES: [&[u8]; 2] = [b"\0\x04MQTT", b"\0\x06MQIsdp"];

/// The protocol level, without taking anything.
fn level(buffer: &[u8]) -> Result<Option<u8>, Refused> {
    let Some((&first, rest)) = buffer.split_first() else { return Ok(None) };
    if first != CONNECT {
        return Err(Refused::NotConnect(first));
    }
    let length = variable_byte_integer(rest, Minimal::NotDemanded).map_err(|_: Fault| Refused::Malformed)?;
    let Some((remaining, len_len)) = length else { return Ok(None) };
    let body = &rest[len_len..];
    let body = &body[..body.len().min(remaining)];
    for name in NAMES {
        if let Some(after) = body.strip_prefix(name) {
            return match after.first() {
                Some(&level) => Ok(Some(level)),
                None if body.len() == remaining => Err(Refused::Malformed),
                None => Ok(None),
            };
        }
    }
    if NAMES.iter().any(|name| name.starts_with(body)) {
        return if body.len() == remaining { Err(Refused::Malformed) } else { Ok(None) };
    }
    Err(Refused::ProtocolName)
}

impl Refused {
    /// Writes the CONNACK that the client understands; nothing where there is none to send. Says whether it wrote.
    ///
    /// A malformed CONNECT of MQTT 3.1.1 gets no answer [MQTT-3.1.4-1], one of MQTT 5.0 gets its reason.
    pub fn answer(&self, out: &mut BytesMut) -> bool {
        match self {
            // rule MQTT-32
            // Levels below 5 know return codes only; the CONNACK of MQTT 3.1 is that of 3.1.1. Bridges between brokers set the
            // highest bit at first, and drop it when they are refused in their version.
            Self::ProtocolLevel(level) if level & !BRIDGE < 5 => {
                out.put_slice(&[0x20, 2, 0, v4::ConnectReturnCode::UnacceptableProtocolVersion as u8]);
            }
            Self::ProtocolLevel(_) => put_refusal(ReasonCode::UnsupportedProtocolVersion, out),
            Self::V5(violation) => put_refusal(violation.reason(), out),
            Self::NotConnect(_) | Self::ProtocolName | Self::Malformed | Self::V4(_) => return false,
        }
        true
    }
}

/// A CONNACK of MQTT 5.0 without properties.
fn put_refusal(reason: ReasonCode, out: &mut BytesMut) {
    let reason = if reason.is_allowed_in(PacketType::ConnAck) { reason } else { ReasonCode::ProtocolError };
    out.put_slice(&[0x20, 3, 0, reason.number(), 0]);
}
