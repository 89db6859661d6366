//! How a message lies in the log: a compact header, and the body as it came.
//!
//! Header, version 1:
//!
//! | part | bytes | meaning |
//! |---|---|---|
//! | version | 1 | `1` |
//! | source | 1 | [`MessageSource::number`] |
//! | system count | 1 | entries that follow |
//! | system entry | 1 + … | [`SystemProperty::number`]; with the top bit set one byte follows, an index into the table of common values, otherwise a text |
//! | application count | varint | pairs that follow |
//! | application pair | … | two texts |
//!
//! A text is its length as varint (LEB128, at most 5 bytes) and UTF-8. A reader refuses versions it does not know.

use crate::seams::Routed;
use bytes::{Buf, Bytes};
use bytestring::ByteString;
use ironbrook_log::Record;
use ironbrook_model::{Message, MessageSource, SystemProperty};

/// The version this code writes.
const VERSION: u8 = 1;
/// Marks a system property whose value is an index into [`COMMON`].
const CODED: u8 = 0x80;

/// Values that stand in most messages, stored as one byte. Part of the format: append only, never reorder.
pub(crate) const COMMON: [&str; 9] = [
    r#"{"scope":"device","type":"sas","issuer":"iothub","acceptingIpFilterRule":null}"#,
    r#"{"scope":"module","type":"sas","issuer":"iothub","acceptingIpFilterRule":null}"#,
    r#"{"scope":"hub","type":"sas","issuer":"iothub","acceptingIpFilterRule":null}"#,
    r#"{"scope":"device","type":"x509","issuer":"iothub","acceptingIpFilterRule":null}"#,
    r#"{"scope":"module","type":"x509","issuer":"iothub","acceptingIpFilterRule":null}"#,
    r#"{"scope":"device","type":"x509","issuer":"external","acceptingIpFilterRule":null}"#,
    r#"{"scope":"module","type":"x509","issuer":"external","acceptingIpFilterRule":null}"#,
    "application/json",
    "utf-8",
];

/// A record that cannot be read as a message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Written by a newer program, or not a message at all.
    #[error(
        "a message header of version {0} is not known; it was written by a newer version of this program"
    )]
    Version(u8),
    /// The header ends too early or holds something impossible.
    #[error("a message header is damaged: {0}")]
    Damaged(&'static str),
}

/// System properties already encoded: what the hub stamps on every message of a session.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stamps {
    bytes: Vec<u8>,
    count: u8,
    /// A module's, so that the output it names is kept.
    is_module: bool,
}

impl Stamps {
    /// Adds a property; each at most once.
    pub(crate) fn push(&mut self, property: SystemProperty, value: &str) {
        put_system(&mut self.bytes, property, value);
        self.count += 1;
        self.is_module |= property == SystemProperty::ConnectionModuleId;
    }

    /// Whether a sender's own value is kept.
    ///
    /// rule HUB-09: only modules have outputs, and nobody sends to an input.
    fn keeps(&self, property: SystemProperty) -> bool {
        match property {
            SystemProperty::OutputName => self.is_module,
            SystemProperty::InputName => false,
            property => !property.is_stamped(),
        }
    }
}

/// Writes the header of a message. The sender's own values of properties that are not its to set are dropped.
pub(crate) fn encode(out: &mut Vec<u8>, source: MessageSource, stamps: &Stamps, message: &Message) {
    out.clear();
    out.extend_from_slice(&[VERSION, source.number(), stamps.count]);
    out.extend_from_slice(&stamps.bytes);
    for (property, value) in message.system.iter().filter(|(p, _)| stamps.keeps(*p)) {
        put_system(out, property, value);
        // There are fewer than 256 properties, each at most once.
        out[2] += 1;
    }
    put_varint(out, message.properties.len());
    for (name, value) in message.properties.iter() {
        put_text(out, name);
        put_text(out, value);
    }
}

/// Reads a message back from the log. Shares the record's bytes.
pub fn decode(record: &Record) -> Result<Routed, Error> {
    let mut header = record.header.clone();
    let version = take_byte(&mut header)?;
    if version != VERSION {
        return Err(Error::Version(version));
    }
    let source =
        MessageSource::from_number(take_byte(&mut header)?).ok_or(Error::Damaged("unknown source"))?;
    let mut message = Message::new(record.body.clone());
    for _ in 0..take_byte(&mut header)? {
        let number = take_byte(&mut header)?;
        let property =
            SystemProperty::from_number(number & !CODED).ok_or(Error::Damaged("unknown system property"))?;
        let value = if number & CODED == 0 {
            take_text(&mut header)?
        } else {
            let index = usize::from(take_byte(&mut header)?);
            ByteString::from_static(COMMON.get(index).ok_or(Error::Damaged("unknown common value"))?)
        };
        message.system.set(property, value);
    }
    for _ in 0..take_varint(&mut header)? {
        let name = take_text(&mut header)?;
        message.properties.set(name, take_text(&mut header)?);
    }
    if header.has_remaining() {
        return Err(Error::Damaged("bytes after the last property"));
    }
    Ok(Routed {
        offset: record.offset,
        event_sequence: record.event_sequence,
        enqueued: record.enqueued,
        source,
        message,
    })
}

fn put_system(out: &mut Vec<u8>, property: SystemProperty, value: &str) {
    match COMMON.iter().position(|common| *common == value) {
        // The position is below 256: the table is short.
        Some(index) => out.extend_from_slice(&[property.number() | CODED, index as u8]),
        None => {
            out.push(property.number());
            put_text(out, value);
        }
    }
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    put_varint(out, text.len());
    out.extend_from_slice(text.as_bytes());
}

fn put_varint(out: &mut Vec<u8>, mut value: usize) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn take_byte(from: &mut Bytes) -> Result<u8, Error> {
    from.try_get_u8().map_err(|_| Error::Damaged("it ends too early"))
}

fn take_varint(from: &mut Bytes) -> Result<usize, Error> {
    let mut value = 0_usize;
    for shift in [0, 7, 14, 21, 28] {
        let byte = take_byte(from)?;
        value |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(Error::Damaged("a length of more than 5 bytes"))
}

fn take_text(from: &mut Bytes) -> Result<ByteString, Error> {
    let len = take_varint(from)?;
    if len > from.len() {
        return Err(Error::Damaged("it ends too early"));
    }
    ByteString::try_from(from.split_to(len)).map_err(|_| Error::Damaged("text that is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ironbrook_log::Offset;
    use ironbrook_model::Timestamp;
    use proptest::prelude::*;
    use smallvec::SmallVec;

    fn record(header: impl Into<Bytes>, body: &'static [u8]) -> Record {
        Record {
            offset: Offset(7),
            event_sequence: Some(3),
            enqueued: Timestamp::from_secs(1),
            queues: SmallVec::new(),
            header: header.into(),
            body: Bytes::from_static(body),
        }
    }

    #[test]
    fn stamped_properties_of_the_sender_are_dropped_rule_hub_06() {
        let mut stamps = Stamps::default();
        stamps.push(SystemProperty::ConnectionDeviceId, "d1");
        stamps.push(SystemProperty::ConnectionAuthMethod, COMMON[0]);
        let mut message = Message::new("x");
        message.system.set(SystemProperty::ConnectionDeviceId, "somebody-else");
        message.system.set(SystemProperty::MessageId, "m");
        let mut header = Vec::new();
        encode(&mut header, MessageSource::DeviceMessages, &stamps, &message);
        let routed = decode(&record(header, b"x")).unwrap();
        let system = &routed.message.system;
        assert_eq!(system.get(SystemProperty::ConnectionDeviceId).unwrap(), "d1");
        assert_eq!(system.get(SystemProperty::ConnectionAuthMethod).unwrap(), COMMON[0]);
        assert_eq!(system.get(SystemProperty::MessageId).unwrap(), "m");
        assert_eq!(system.len(), 3);
        assert_eq!((routed.offset, routed.event_sequence), (Offset(7), Some(3)));
    }

    #[test]
    fn only_modules_have_outputs_rule_hub_09() {
        let mut message = Message::new("x");
        message.system.set(SystemProperty::OutputName, "out");
        message.system.set(SystemProperty::InputName, "in");
        let output = |stamps: &Stamps| {
            let mut header = Vec::new();
            encode(&mut header, MessageSource::DeviceMessages, stamps, &message);
            let system = decode(&record(header, b"x")).unwrap().message.system;
            assert_eq!(system.get(SystemProperty::InputName), None);
            system.get(SystemProperty::OutputName).cloned()
        };
        let mut stamps = Stamps::default();
        stamps.push(SystemProperty::ConnectionDeviceId, "d1");
        assert_eq!(output(&stamps), None);
        stamps.push(SystemProperty::ConnectionModuleId, "m1");
        assert_eq!(output(&stamps).as_deref(), Some("out"));
    }

    #[test]
    fn common_values_take_two_bytes_and_their_numbers_never_change() {
        let mut out = Vec::new();
        put_system(&mut out, SystemProperty::ContentEncoding, "utf-8");
        assert_eq!(out, [0x86, 8]);
        assert_eq!(COMMON.len(), 9);
    }

    #[test]
    fn a_newer_version_is_refused_with_its_number() {
        assert_eq!(decode(&record(vec![2, 0, 0, 0], b"")).unwrap_err(), Error::Version(2));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn what_is_written_is_read_back(
            system in proptest::collection::vec((1_u8..=16, ".{0,40}"), 0..6),
            properties in proptest::collection::vec((".{0,12}", ".{0,200}"), 0..6),
            source in 0_u8..4,
        ) {
            let mut message = Message::new("body");
            for (number, value) in system {
                let property = SystemProperty::from_number(number).unwrap();
                if Stamps::default().keeps(property) {
                    message.system.set(property, value);
                }
            }
            for (name, value) in properties {
                message.properties.set(name, value);
            }
            let source = MessageSource::from_number(source).unwrap();
            let mut header = vec![9; 3];
            encode(&mut header, source, &Stamps::default(), &message);
            let routed = decode(&record(header.clone(), b"body")).unwrap();
            prop_assert_eq!(routed.message, message);
            prop_assert_eq!(routed.source, source);
            // Cut short anywhere it is an error, never a panic and never another message.
            for end in 0..header.len() {
                prop_assert!(decode(&record(header[..end].to_vec(), b"body")).is_err());
            }
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&record(bytes.clone(), b""));
            let mut known = vec![VERSION, 0];
            known.extend(bytes);
            let _ = decode(&record(known, b""));
        }
    }
}
