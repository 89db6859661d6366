//! Bytes to packets.

use super::packet::{
    ConnAck, Connect, ConnectReturnCode, Packet, Publish, SubAck, SubAckCode, Subscribe, SubscribeFilter,
    Unsubscribe, Will,
};
use super::{FILTERS_MAX, QoS, Violation};
use crate::mqtt::basic::PacketType;
use crate::mqtt::frame::{self, Minimal};
use crate::mqtt::reader::Reader;
use bytes::BytesMut;
use bytestring::ByteString;

/// Takes one packet off the front of a buffer; `None` if it is not complete yet.
///
/// `max_packet` bounds the whole packet in bytes, fixed header included; an announced length above it is refused before
/// the packet has arrived. After a [`Violation`] the buffer's content is of no use.
pub fn decode(buffer: &mut BytesMut, max_packet: usize) -> Result<Option<Packet>, Violation> {
    let Some(&first) = buffer.first() else { return Ok(None) };
    let (packet_type, flags) = check_first_byte(first)?;
    let Some(mut body) = frame::take(buffer, max_packet, Minimal::NotDemanded)? else { return Ok(None) };
    let packet = match packet_type {
        PacketType::Connect => Packet::Connect(Box::new(connect(&mut body)?)),
        PacketType::ConnAck => Packet::ConnAck(conn_ack(&mut body)?),
        PacketType::Publish => Packet::Publish(publish(&mut body, flags)?),
        PacketType::PubAck => Packet::PubAck(body.packet_id()?),
        PacketType::PubRec => Packet::PubRec(body.packet_id()?),
        PacketType::PubRel => Packet::PubRel(body.packet_id()?),
        PacketType::PubComp => Packet::PubComp(body.packet_id()?),
        PacketType::Subscribe => Packet::Subscribe(subscribe(&mut body)?),
        PacketType::SubAck => Packet::SubAck(sub_ack(&mut body)?),
        PacketType::Unsubscribe => Packet::Unsubscribe(unsubscribe(&mut body)?),
        PacketType::UnsubAck => Packet::UnsubAck(body.packet_id()?),
        PacketType::PingReq => Packet::PingReq,
        PacketType::PingResp => Packet::PingResp,
        PacketType::Disconnect | PacketType::Auth => Packet::Disconnect,
    };
    if !body.is_empty() {
        return Err(Violation::TrailingBytes);
    }
    Ok(Some(packet))
}

/// The packet type, which is never AUTH, and its flags.
fn check_first_byte(first: u8) -> Result<(PacketType, u8), Violation> {
    let (number, flags) = (first >> 4, first & 0x0f);
    let packet_type = match PacketType::from_number(number) {
        None | Some(PacketType::Auth) => return Err(Violation::PacketType(number)),
        Some(packet_type) => packet_type,
    };
    match packet_type.fixed_flags() {
        Some(wanted) if wanted != flags => Err(Violation::Flags { packet_type: number, flags }),
        _ => Ok((packet_type, flags)),
    }
}

fn topic(body: &mut Reader) -> Result<ByteString, Violation> {
    let topic = body.string()?;
    if topic.is_empty() { Err(Violation::EmptyTopic) } else { Ok(topic) }
}

fn connect(body: &mut Reader) -> Result<Connect, Violation> {
    let name = body.binary()?;
    let level = body.u8()?;
    match (&name[..], level) {
        (b"MQTT", 4) => {}
        // MQTT 3.1 has a name of its own; its clients understand return code 1 as well.
        (b"MQTT" | b"MQIsdp", level) => return Err(Violation::ProtocolLevel(level)),
        _ => return Err(Violation::ProtocolName),
    }
    let flags = body.u8()?;
    let flag = |bit: u8| flags & (1 << bit) != 0;
    if flag(0) {
        return Err(Violation::ConnectFlagReserved);
    }
    let keep_alive = body.u16()?;
    let client_id = body.string()?;
    let will_qos = QoS::from_number((flags >> 3) & 3).ok_or(Violation::WillFlags)?;
    let will = if flag(2) {
        Some(Will { topic: topic(body)?, payload: body.binary()?, qos: will_qos, retain: flag(5) })
    } else if will_qos != QoS::AtMostOnce || flag(5) {
        return Err(Violation::WillFlags);
    } else {
        None
    };
    if flag(6) && !flag(7) {
        return Err(Violation::PasswordWithoutUserName);
    }
    let username = if flag(7) { Some(body.string()?) } else { None };
    let password = if flag(6) { Some(body.binary()?) } else { None };
    Ok(Connect { client_id, keep_alive, clean_session: flag(1), will, username, password })
}

fn conn_ack(body: &mut Reader) -> Result<ConnAck, Violation> {
    let (flags, code) = (body.u8()?, body.u8()?);
    let code = ConnectReturnCode::from_number(code).ok_or(Violation::ConnectReturnCode(code))?;
    if flags > 1 || (flags == 1 && code != ConnectReturnCode::Accepted) {
        return Err(Violation::ConnAckFlags);
    }
    Ok(ConnAck { session_present: flags == 1, code })
}

fn publish(body: &mut Reader, flags: u8) -> Result<Publish, Violation> {
    let qos = QoS::from_number((flags >> 1) & 3).ok_or(Violation::QoS)?;
    let dup = flags & 0b1000 != 0;
    if dup && qos == QoS::AtMostOnce {
        return Err(Violation::DupWithoutQoS);
    }
    let topic = topic(body)?;
    let packet_id = if qos == QoS::AtMostOnce { None } else { Some(body.packet_id()?) };
    Ok(Publish { dup, qos, retain: flags & 1 != 0, topic, packet_id, payload: body.rest() })
}

fn subscribe(body: &mut Reader) -> Result<Subscribe, Violation> {
    let packet_id = body.packet_id()?;
    let mut filters = Vec::new();
    while !body.is_empty() {
        if filters.len() == FILTERS_MAX {
            return Err(Violation::TooManyFilters);
        }
        let filter = topic(body)?;
        let qos = QoS::from_number(body.u8()?).ok_or(Violation::RequestedQoS)?;
        filters.push(SubscribeFilter { filter, qos });
    }
    if filters.is_empty() { Err(Violation::NoFilter) } else { Ok(Subscribe { packet_id, filters }) }
}

fn sub_ack(body: &mut Reader) -> Result<SubAck, Violation> {
    let packet_id = body.packet_id()?;
    if body.len() > FILTERS_MAX {
        return Err(Violation::TooManyFilters);
    }
    let codes = body.rest();
    let codes = codes
        .iter()
        .map(|&code| match (code, QoS::from_number(code)) {
            (_, Some(qos)) => Ok(SubAckCode::Granted(qos)),
            (0x80, None) => Ok(SubAckCode::Failure),
            _ => Err(Violation::SubAckCode(code)),
        })
        .collect::<Result<_, _>>()?;
    Ok(SubAck { packet_id, codes })
}

fn unsubscribe(body: &mut Reader) -> Result<Unsubscribe, Violation> {
    let packet_id = body.packet_id()?;
    let mut filters = Vec::new();
    while !body.is_empty() {
        if filters.len() == FILTERS_MAX {
            return Err(Violation::TooManyFilters);
        }
        filters.push(topic(body)?);
    }
    if filters.is_empty() { Err(Violation::NoFilter) } else { Ok(Unsubscribe { packet_id, filters }) }
}
