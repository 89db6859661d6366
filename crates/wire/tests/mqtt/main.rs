//! MQTT as the standards say it: every normative statement that a codec decides is named beside the test that shows it, as
//! `[MQTT-…]` of the standard that the file is about.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops where it fails")]

mod differential;
mod first_packet;
mod generate_v4;
mod generate_v5;
mod limits_v5;
mod malformed_v4;
mod malformed_v5;
mod round_trip;
mod statements_v4;
mod statements_v5;
mod tables_v5;
mod verdict;

use ironbrook_wire::mqtt::basic::REMAINING_LEN_MAX;
use ironbrook_wire::mqtt::{PacketId, v4, v5};

/// Longest packet the tests take.
const MAX: usize = 1 << 20;

/// A packet of a first byte and what follows the length.
fn frame(first: u8, body: &[u8]) -> Vec<u8> {
    assert!(body.len() <= REMAINING_LEN_MAX);
    let mut bytes = vec![first];
    bytes.extend(variable_byte_integer(body.len()));
    bytes.extend_from_slice(body);
    bytes
}

/// Independent of the codec's own.
fn variable_byte_integer(mut value: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let (rest, digit) = (value / 128, (value % 128) as u8);
        bytes.push(if rest > 0 { digit + 128 } else { digit });
        if rest == 0 {
            return bytes;
        }
        value = rest;
    }
}

/// Bytes behind a two-byte length.
fn field(bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let bytes = bytes.as_ref();
    let mut out = u16::try_from(bytes.len()).unwrap().to_be_bytes().to_vec();
    out.extend_from_slice(bytes);
    out
}

/// Properties behind their length.
fn properties(bytes: &[u8]) -> Vec<u8> {
    [&variable_byte_integer(bytes.len()), bytes].concat()
}

fn id(number: u16) -> PacketId {
    PacketId::new(number).unwrap()
}

fn read_v4(bytes: &[u8]) -> Result<Option<v4::Packet>, v4::Violation> {
    v4::decode(&mut bytes.into(), MAX)
}

fn read_v5(bytes: &[u8]) -> Result<Option<v5::Packet>, v5::Violation> {
    v5::decode(&mut bytes.into(), MAX)
}
