//! Packets to bytes.

use super::write::{Count, Sink, put_head};
use super::{Connect, Packet, PublishRef, ReasonCode, Unencodable, UserProperties};
use crate::mqtt::basic::{PacketType, REMAINING_LEN_MAX};
use crate::mqtt::frame::variable_byte_integer_len;
use bytes::BytesMut;

/// Appends a packet to a buffer.
pub fn encode(packet: &Packet, out: &mut BytesMut) -> Result<(), Unencodable> {
    put(packet, body_len(packet)?, out)
}

/// Appends a PUBLISH to a buffer.
pub fn encode_publish(publish: PublishRef<'_>, out: &mut BytesMut) -> Result<(), Unencodable> {
    let mut count = Count::default();
    publish.write(&mut count)?;
    put_head(((PacketType::Publish as u8) << 4) | publish.flags(), count.0, out)?;
    publish.write(out)
}

/// Bytes of a packet on the wire.
pub fn encoded_len(packet: &Packet) -> Result<usize, Unencodable> {
    body_len(packet).map(whole_len)
}

/// What the other side of a connection takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerLimits {
    /// Longest packet, bytes, fixed header included.
    pub packet_max: usize,
    /// Whether reason strings and user properties may come on packets other than PUBLISH, CONNACK and DISCONNECT.
    pub problem_information: bool,
}

impl PeerLimits {
    /// What a client said that it takes.
    pub fn of_client(connect: &Connect) -> Self {
        let packet_max = connect.properties.maximum_packet_size.map_or(usize::MAX, |max| max.get() as usize);
        Self { packet_max, problem_information: connect.properties.wants_problem_information() }
    }
}

/// Appends a packet as its receiver takes it.
///
/// Reason strings and user properties are left out where the client does not want them [MQTT-3.1.2-29], and where the packet
/// would be too long with them; first the user properties, then the reason. What is too long even so is
/// [`Unencodable::TooLarge`] and not written [MQTT-3.1.2-24].
pub fn encode_within(packet: &Packet, limits: PeerLimits, out: &mut BytesMut) -> Result<(), Unencodable> {
    let len = body_len(packet)?;
    let fits = whole_len(len) <= limits.packet_max;
    if fits && (limits.problem_information || may_always_explain(packet)) {
        return put(packet, len, out);
    }
    let shorter = shortened(packet, limits)?;
    let len = body_len(&shorter)?;
    if whole_len(len) > limits.packet_max {
        return Err(Unencodable::TooLarge { len: whole_len(len), max: limits.packet_max });
    }
    put(&shorter, len, out)
}

/// Whether a packet may have a reason string and user properties although the client does not ask for them.
fn may_always_explain(packet: &Packet) -> bool {
    matches!(packet, Packet::Publish(_) | Packet::ConnAck(_) | Packet::Disconnect(_))
}

/// The packet without its user properties, and without its reason string if that is not enough.
fn shortened(packet: &Packet, limits: PeerLimits) -> Result<Packet, Unencodable> {
    let mut shorter = packet.clone();
    if let Some((_, user)) = shorter.problem_information() {
        *user = UserProperties::new();
    }
    let unwanted = !limits.problem_information && !may_always_explain(packet);
    if (unwanted || encoded_len(&shorter)? > limits.packet_max)
        && let Some((reason_string, _)) = shorter.problem_information()
    {
        *reason_string = None;
    }
    Ok(shorter)
}

/// Writes a packet whose body has this length.
fn put(packet: &Packet, len: usize, out: &mut BytesMut) -> Result<(), Unencodable> {
    put_head(first_byte(packet), len, out)?;
    write(packet, out)
}

/// Bytes with the fixed header.
fn whole_len(body_len: usize) -> usize {
    1 + variable_byte_integer_len(body_len) + body_len
}

fn body_len(packet: &Packet) -> Result<usize, Unencodable> {
    let mut count = Count::default();
    write(packet, &mut count)?;
    if count.0 > REMAINING_LEN_MAX { Err(Unencodable::Packet(count.0)) } else { Ok(count.0) }
}

fn first_byte(packet: &Packet) -> u8 {
    let packet_type = packet.packet_type();
    let flags = match packet {
        Packet::Publish(publish) => publish.as_parts().flags(),
        _ => packet_type.fixed_flags().unwrap_or(0),
    };
    ((packet_type as u8) << 4) | flags
}

fn write(packet: &Packet, out: &mut impl Sink) -> Result<(), Unencodable> {
    match packet {
        Packet::Connect(connect) => connect.write(out),
        Packet::ConnAck(ack) => ack.write(out),
        Packet::Publish(publish) => publish.as_parts().write(out),
        Packet::PubAck(ack) => ack.write(PacketType::PubAck, out),
        Packet::PubRec(ack) => ack.write(PacketType::PubRec, out),
        Packet::PubRel(ack) => ack.write(PacketType::PubRel, out),
        Packet::PubComp(ack) => ack.write(PacketType::PubComp, out),
        Packet::Subscribe(subscribe) => subscribe.write(out),
        Packet::SubAck(ack) => ack.write(out),
        Packet::Unsubscribe(unsubscribe) => unsubscribe.write(out),
        Packet::UnsubAck(ack) => ack.write(out),
        Packet::PingReq | Packet::PingResp => Ok(()),
        Packet::Disconnect(end) => end.write(out),
        Packet::Auth(auth) => auth.write(out),
    }
}

impl ReasonCode {
    pub(super) fn write(self, packet_type: PacketType, out: &mut impl Sink) -> Result<(), Unencodable> {
        if !self.is_allowed_in(packet_type) {
            return Err(Unencodable::ReasonCode { packet_type, code: self });
        }
        out.put_u8(self.number());
        Ok(())
    }
}
