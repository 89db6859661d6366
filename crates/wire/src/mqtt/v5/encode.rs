//! Packets to bytes.

use super::write::{Count, Sink, put_head};
use super::{Connect, Packet, ReasonCode, Unencodable};
use crate::mqtt::basic::{PacketType, REMAINING_LEN_MAX};
use crate::mqtt::frame::variable_byte_integer_len;
use bytes::BytesMut;

/// Appends a packet to a buffer.
pub fn encode(packet: &Packet, out: &mut BytesMut) -> Result<(), Unencodable> {
    let len = body_len(packet)?;
    put_head(first_byte(packet), len, out)?;
    write(packet, out)
}

/// Bytes of a packet on the wire.
pub fn encoded_len(packet: &Packet) -> Result<usize, Unencodable> {
    let len = body_len(packet)?;
    Ok(1 + variable_byte_integer_len(len) + len)
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
/// Reason strings and user properties are left out where the client does not want them [MQTT-3.1.2-32], and where the packet
/// would be too long with them; first the user properties, then the reason. What is too long even so is
/// [`Unencodable::TooLarge`] and not written [MQTT-3.1.2-27].
pub fn encode_within(packet: &Packet, limits: PeerLimits, out: &mut BytesMut) -> Result<(), Unencodable> {
    let unwanted =
        !limits.problem_information && !matches!(packet, Packet::ConnAck(_) | Packet::Disconnect(_));
    let mut len = encoded_len(packet)?;
    if len <= limits.packet_max && !unwanted {
        return encode(packet, out);
    }
    let mut shorter = packet.clone();
    if let Some((_, user)) = shorter.problem_information() {
        *user = Default::default();
        len = encoded_len(&shorter)?;
    }
    if (len > limits.packet_max || unwanted)
        && let Some((reason_string, _)) = shorter.problem_information()
    {
        *reason_string = None;
        len = encoded_len(&shorter)?;
    }
    if len > limits.packet_max {
        return Err(Unencodable::TooLarge { len, max: limits.packet_max });
    }
    encode(&shorter, out)
}

fn body_len(packet: &Packet) -> Result<usize, Unencodable> {
    let mut count = Count::default();
    write(packet, &mut count)?;
    if count.0 > REMAINING_LEN_MAX { Err(Unencodable::Packet(count.0)) } else { Ok(count.0) }
}

fn first_byte(packet: &Packet) -> u8 {
    let packet_type = packet.packet_type();
    let flags = match packet {
        Packet::Publish(publish) => publish.flags(),
        _ => packet_type.fixed_flags().unwrap_or(0),
    };
    ((packet_type as u8) << 4) | flags
}

fn write(packet: &Packet, out: &mut impl Sink) -> Result<(), Unencodable> {
    match packet {
        Packet::Connect(connect) => connect.write(out),
        Packet::ConnAck(ack) => ack.write(out),
        Packet::Publish(publish) => publish.write(out),
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
