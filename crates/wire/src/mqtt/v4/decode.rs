//! Bytes to packets.

use super::packet::{
    ConnAck, Connect, ConnectReturnCode, Packet, PacketId, Publish, QoS, SubAck, SubAckCode, Subscribe,
    SubscribeFilter, Unsubscribe, Will,
};
use super::{FILTERS_MAX, Violation};
use bytes::{Buf, Bytes, BytesMut};
use bytestring::ByteString;

/// Takes one packet off the front of a buffer; `None` if it is not complete yet.
///
/// `max_packet` bounds the whole packet in bytes, fixed header included; an announced length above it is refused before
/// the packet has arrived. After a [`Violation`] the buffer's content is of no use.
pub fn decode(buffer: &mut BytesMut, max_packet: usize) -> Result<Option<Packet>, Violation> {
    let Some(&first) = buffer.first() else { return Ok(None) };
    let (packet_type, flags) = (first >> 4, first & 0x0f);
    check_fixed_header(packet_type, flags)?;
    let Some((remaining, header_len)) = remaining_length(&buffer[1..])? else { return Ok(None) };
    let total = 1 + header_len + remaining;
    if total > max_packet {
        return Err(Violation::TooLarge { len: total, max: max_packet });
    }
    if buffer.len() < total {
        return Ok(None);
    }
    let mut body = buffer.split_to(total).freeze();
    body.advance(1 + header_len);
    let mut body = Body(body);
    let packet = match packet_type {
        1 => Packet::Connect(Box::new(connect(&mut body)?)),
        2 => Packet::ConnAck(conn_ack(&mut body)?),
        // A PUBLISH has the rest as payload, so nothing is left over.
        3 => return publish(body, flags).map(|p| Some(Packet::Publish(p))),
        4 => Packet::PubAck(body.packet_id()?),
        5 => Packet::PubRec(body.packet_id()?),
        6 => Packet::PubRel(body.packet_id()?),
        7 => Packet::PubComp(body.packet_id()?),
        8 => Packet::Subscribe(subscribe(&mut body)?),
        9 => Packet::SubAck(sub_ack(&mut body)?),
        10 => Packet::Unsubscribe(unsubscribe(&mut body)?),
        11 => Packet::UnsubAck(body.packet_id()?),
        12 => Packet::PingReq,
        13 => Packet::PingResp,
        _ => Packet::Disconnect,
    };
    if !body.0.is_empty() {
        return Err(Violation::TrailingBytes);
    }
    Ok(Some(packet))
}

fn check_fixed_header(packet_type: u8, flags: u8) -> Result<(), Violation> {
    let wanted = match packet_type {
        0 | 15 => return Err(Violation::PacketType(packet_type)),
        3 => return Ok(()),
        6 | 8 | 10 => 0b0010,
        _ => 0,
    };
    if flags == wanted { Ok(()) } else { Err(Violation::Flags { packet_type, flags }) }
}

/// The remaining length and how many bytes it took.
fn remaining_length(bytes: &[u8]) -> Result<Option<(usize, usize)>, Violation> {
    let mut value = 0;
    for (index, byte) in bytes.iter().take(4).enumerate() {
        value |= usize::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Ok(Some((value, index + 1)));
        }
    }
    if bytes.len() >= 4 { Err(Violation::RemainingLength) } else { Ok(None) }
}

/// What follows the fixed header.
struct Body(Bytes);

impl Body {
    fn u8(&mut self) -> Result<u8, Violation> {
        self.0.try_get_u8().map_err(|_| Violation::Truncated)
    }

    fn u16(&mut self) -> Result<u16, Violation> {
        self.0.try_get_u16().map_err(|_| Violation::Truncated)
    }

    fn packet_id(&mut self) -> Result<PacketId, Violation> {
        PacketId::new(self.u16()?).ok_or(Violation::PacketIdZero)
    }

    fn binary(&mut self) -> Result<Bytes, Violation> {
        let len = usize::from(self.u16()?);
        if self.0.len() < len {
            return Err(Violation::Truncated);
        }
        Ok(self.0.split_to(len))
    }

    fn string(&mut self) -> Result<ByteString, Violation> {
        let bytes = self.binary()?;
        if bytes.contains(&0) {
            return Err(Violation::NullCharacter);
        }
        ByteString::try_from(bytes).map_err(|_| Violation::Utf8)
    }

    fn topic(&mut self) -> Result<ByteString, Violation> {
        let topic = self.string()?;
        if topic.is_empty() { Err(Violation::EmptyTopic) } else { Ok(topic) }
    }
}

fn connect(body: &mut Body) -> Result<Connect, Violation> {
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
        Some(Will { topic: body.topic()?, payload: body.binary()?, qos: will_qos, retain: flag(5) })
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

fn conn_ack(body: &mut Body) -> Result<ConnAck, Violation> {
    let (flags, code) = (body.u8()?, body.u8()?);
    let code = ConnectReturnCode::from_number(code).ok_or(Violation::ConnectReturnCode(code))?;
    if flags > 1 || (flags == 1 && code != ConnectReturnCode::Accepted) {
        return Err(Violation::ConnAckFlags);
    }
    Ok(ConnAck { session_present: flags == 1, code })
}

fn publish(mut body: Body, flags: u8) -> Result<Publish, Violation> {
    let qos = QoS::from_number((flags >> 1) & 3).ok_or(Violation::QoS)?;
    let dup = flags & 0b1000 != 0;
    if dup && qos == QoS::AtMostOnce {
        return Err(Violation::DupWithoutQoS);
    }
    let topic = body.topic()?;
    let packet_id = if qos == QoS::AtMostOnce { None } else { Some(body.packet_id()?) };
    Ok(Publish { dup, qos, retain: flags & 1 != 0, topic, packet_id, payload: body.0 })
}

fn subscribe(body: &mut Body) -> Result<Subscribe, Violation> {
    let packet_id = body.packet_id()?;
    let mut filters = Vec::new();
    while !body.0.is_empty() {
        if filters.len() == FILTERS_MAX {
            return Err(Violation::TooManyFilters);
        }
        let filter = body.topic()?;
        let qos = QoS::from_number(body.u8()?).ok_or(Violation::RequestedQoS)?;
        filters.push(SubscribeFilter { filter, qos });
    }
    if filters.is_empty() { Err(Violation::NoFilter) } else { Ok(Subscribe { packet_id, filters }) }
}

fn sub_ack(body: &mut Body) -> Result<SubAck, Violation> {
    let packet_id = body.packet_id()?;
    if body.0.len() > FILTERS_MAX {
        return Err(Violation::TooManyFilters);
    }
    let codes = body.0.split_off(0);
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

fn unsubscribe(body: &mut Body) -> Result<Unsubscribe, Violation> {
    let packet_id = body.packet_id()?;
    let mut filters = Vec::new();
    while !body.0.is_empty() {
        if filters.len() == FILTERS_MAX {
            return Err(Violation::TooManyFilters);
        }
        filters.push(body.topic()?);
    }
    if filters.is_empty() { Err(Violation::NoFilter) } else { Ok(Unsubscribe { packet_id, filters }) }
}
