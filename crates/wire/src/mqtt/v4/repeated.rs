//! The short way for who publishes to one topic again and again.

use super::PacketId;
use crate::mqtt::frame::{Minimal, variable_byte_integer};

/// First byte of a PUBLISH of quality 0 or 1 without the retain flag.
const QUALITY_0: u8 = 0x30;
const QUALITY_1: u8 = 0x32;
/// The flag of quality 1 that says it was sent before.
const DUP: u8 = 0x08;

/// A PUBLISH whose topic is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Repeated<'a> {
    /// Present with quality 1.
    pub packet_id: Option<PacketId>,
    /// Its payload, not copied.
    pub payload: &'a [u8],
    /// Bytes of the whole packet.
    pub len: usize,
}

/// The PUBLISH at the front of a buffer where it is complete, of quality 0 or 1, not to be retained, and to this very topic, which
/// [`decode`](super::decode()) has checked before. `None` for whatever else is there, faults included: `decode` is for that.
pub fn repeated<'a>(buffer: &'a [u8], max_packet: usize, topic: &[u8]) -> Option<Repeated<'a>> {
    let (&first, after) = buffer.split_first()?;
    let has_id = match first {
        QUALITY_0 => false,
        first if first & !DUP == QUALITY_1 => true,
        _ => return None,
    };
    let (remaining, len_len) = variable_byte_integer(after, Minimal::NotDemanded).ok()??;
    let len = 1 + len_len + remaining;
    let body = buffer.get(1 + len_len..len).filter(|_| len <= max_packet)?;
    let (topic_len, body) = body.split_first_chunk()?;
    if usize::from(u16::from_be_bytes(*topic_len)) != topic.len() {
        return None;
    }
    let rest = body.strip_prefix(topic)?;
    if !has_id {
        return Some(Repeated { packet_id: None, payload: rest, len });
    }
    let (id, payload) = rest.split_first_chunk()?;
    Some(Repeated { packet_id: Some(PacketId::new(u16::from_be_bytes(*id))?), payload, len })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mqtt::v4::{Packet, Publish, QoS, decode};
    use bytes::BytesMut;
    use proptest::prelude::*;

    const TOPIC: &str = "devices/d1/messages/events/$.ct=application%2Fjson";

    /// What `decode` makes of the bytes, if it is of the kind that the short way is for.
    fn the_long_way(bytes: &[u8], max_packet: usize) -> Option<(Publish, usize)> {
        let mut buffer = BytesMut::from(bytes);
        match decode(&mut buffer, max_packet) {
            Ok(Some(Packet::Publish(publish)))
                if publish.topic == TOPIC && !publish.retain && publish.qos != QoS::ExactlyOnce =>
            {
                Some((publish, bytes.len() - buffer.len()))
            }
            _ => None,
        }
    }

    fn bytes_of(first: u8, topic: &str, id: Option<u16>, payload: &[u8]) -> Vec<u8> {
        let mut body = (topic.len() as u16).to_be_bytes().to_vec();
        body.extend_from_slice(topic.as_bytes());
        body.extend(id.into_iter().flat_map(u16::to_be_bytes));
        body.extend_from_slice(payload);
        let mut bytes = vec![first];
        bytes.extend_from_slice(&[body.len() as u8 | 0x80, (body.len() >> 7) as u8]);
        bytes.extend(body);
        bytes
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        #[test]
        fn both_ways_say_the_same(
            first in prop_oneof![Just(0x30_u8), Just(0x32), Just(0x3a), 0x30..0x40_u8, any::<u8>()],
            topic in prop_oneof![8 => Just(TOPIC.to_owned()), 1 => "\\PC{1,60}"],
            id in any::<u16>(),
            payload in proptest::collection::vec(any::<u8>(), 0..300),
            damage in proptest::option::weighted(0.3, (any::<prop::sample::Index>(), any::<u8>())),
            cut in proptest::option::weighted(0.2, any::<prop::sample::Index>()),
            max_packet in prop_oneof![Just(1_usize << 20), 0..400_usize],
        ) {
            let id = (first & 6 != 0).then_some(id);
            let mut bytes = bytes_of(first, &topic, id, &payload);
            bytes.extend_from_slice(b"what follows");
            if let Some((at, byte)) = damage {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            if let Some(cut) = cut {
                bytes.truncate(cut.index(bytes.len()));
            }
            let short = repeated(&bytes, max_packet, TOPIC.as_bytes());
            let long = the_long_way(&bytes, max_packet);
            prop_assert_eq!(short.is_some(), long.is_some());
            if let (Some(short), Some((publish, len))) = (short, long) {
                prop_assert_eq!((short.packet_id, short.payload, short.len), (publish.packet_id, &publish.payload[..], len));
            }
        }
    }
}
