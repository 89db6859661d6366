//! Bytes to packets.

use super::{
    Ack, Auth, ConnAck, Connect, Disconnect, Packet, Publish, ReasonCode, SubAck, Subscribe, UnsubAck,
    Unsubscribe, Violation,
};
use crate::mqtt::basic::PacketType;
use crate::mqtt::frame::{self, Minimal};
use crate::mqtt::reader::Reader;
use bytes::BytesMut;

/// Takes one packet off the front of a buffer; `None` if it is not complete yet.
///
/// `max_packet` bounds the whole packet in bytes, fixed header included; an announced length above it is refused before
/// the packet has arrived. After a [`Violation`] the buffer's content is of no use.
pub fn decode(buffer: &mut BytesMut, max_packet: usize) -> Result<Option<Packet>, Violation> {
    let Some(&first) = buffer.first() else { return Ok(None) };
    let (packet_type, flags) = check_first_byte(first)?;
    let Some(mut body) = frame::take(buffer, max_packet, Minimal::Demanded)? else { return Ok(None) };
    let packet = read(packet_type, flags, &mut body)?;
    if body.is_empty() { Ok(Some(packet)) } else { Err(Violation::TrailingBytes) }
}

fn check_first_byte(first: u8) -> Result<(PacketType, u8), Violation> {
    let (number, flags) = (first >> 4, first & 0x0f);
    let packet_type = PacketType::from_number(number).ok_or(Violation::PacketType(number))?;
    match packet_type.fixed_flags() {
        Some(wanted) if wanted != flags => Err(Violation::Flags { packet_type, flags }),
        _ => Ok((packet_type, flags)),
    }
}

fn read(packet_type: PacketType, flags: u8, body: &mut Reader) -> Result<Packet, Violation> {
    Ok(match packet_type {
        PacketType::Connect => Packet::Connect(Box::new(Connect::read(body)?)),
        PacketType::ConnAck => Packet::ConnAck(Box::new(ConnAck::read(body)?)),
        PacketType::Publish => Packet::Publish(Publish::read(body, flags)?),
        PacketType::PubAck => Packet::PubAck(Ack::read(packet_type, body)?),
        PacketType::PubRec => Packet::PubRec(Ack::read(packet_type, body)?),
        PacketType::PubRel => Packet::PubRel(Ack::read(packet_type, body)?),
        PacketType::PubComp => Packet::PubComp(Ack::read(packet_type, body)?),
        PacketType::Subscribe => Packet::Subscribe(Subscribe::read(body)?),
        PacketType::SubAck => Packet::SubAck(SubAck::read(body)?),
        PacketType::Unsubscribe => Packet::Unsubscribe(Unsubscribe::read(body)?),
        PacketType::UnsubAck => Packet::UnsubAck(UnsubAck::read(body)?),
        PacketType::PingReq => Packet::PingReq,
        PacketType::PingResp => Packet::PingResp,
        PacketType::Disconnect => Packet::Disconnect(Disconnect::read(body)?),
        PacketType::Auth => Packet::Auth(Auth::read(body)?),
    })
}

impl ReasonCode {
    pub(super) fn read(packet_type: PacketType, reader: &mut Reader) -> Result<Self, Violation> {
        let code = reader.u8()?;
        Self::from_number(code)
            .filter(|reason| reason.is_allowed_in(packet_type))
            .ok_or(Violation::ReasonCode { packet_type, code })
    }
}
