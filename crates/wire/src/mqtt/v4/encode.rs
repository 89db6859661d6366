//! Packets to bytes.

use super::error::Unencodable;
use super::packet::{
    ConnAck, Connect, ConnectReturnCode, Packet, PublishRef, SubAckCode, Subscribe, Unsubscribe,
};
use super::{PACKET_LEN_MAX, QoS};
use crate::mqtt::frame::put_variable_byte_integer;
use bytes::{BufMut, BytesMut};

/// Appends a packet to a buffer.
pub fn encode(packet: &Packet, out: &mut BytesMut) -> Result<(), Unencodable> {
    match packet {
        Packet::Connect(connect) => encode_connect(connect, out)?,
        Packet::ConnAck(ack) => encode_conn_ack(*ack, out)?,
        Packet::Publish(publish) => encode_publish(publish.as_parts(), out)?,
        Packet::PubAck(id) => short(0x40, id.get(), out),
        Packet::PubRec(id) => short(0x50, id.get(), out),
        Packet::PubRel(id) => short(0x62, id.get(), out),
        Packet::PubComp(id) => short(0x70, id.get(), out),
        Packet::Subscribe(subscribe) => encode_subscribe(subscribe, out)?,
        Packet::SubAck(ack) => {
            head(0x90, 2 + ack.codes.len(), out)?;
            out.put_u16(ack.packet_id.get());
            out.extend(ack.codes.iter().map(|code| match code {
                SubAckCode::Granted(qos) => *qos as u8,
                SubAckCode::Failure => 0x80,
            }));
        }
        Packet::Unsubscribe(unsubscribe) => encode_unsubscribe(unsubscribe, out)?,
        Packet::UnsubAck(id) => short(0xb0, id.get(), out),
        Packet::PingReq => out.put_slice(&[0xc0, 0]),
        Packet::PingResp => out.put_slice(&[0xd0, 0]),
        Packet::Disconnect => out.put_slice(&[0xe0, 0]),
    }
    Ok(())
}

fn encode_connect(connect: &Connect, out: &mut BytesMut) -> Result<(), Unencodable> {
    if connect.password.is_some() && connect.username.is_none() {
        return Err(Unencodable::PasswordWithoutUserName);
    }
    let mut flags = u8::from(connect.clean_session) << 1;
    let mut len = 10 + text_len(&connect.client_id)?;
    if let Some(will) = &connect.will {
        flags |= 0b100 | ((will.qos as u8) << 3) | (u8::from(will.retain) << 5);
        len += topic_len(&will.topic)? + field_len(&will.payload)?;
    }
    if let Some(username) = &connect.username {
        flags |= 0x80;
        len += text_len(username)?;
    }
    if let Some(password) = &connect.password {
        flags |= 0x40;
        len += field_len(password)?;
    }
    head(0x10, len, out)?;
    put_field(b"MQTT", out);
    out.put_slice(&[4, flags]);
    out.put_u16(connect.keep_alive);
    put_field(connect.client_id.as_bytes(), out);
    if let Some(will) = &connect.will {
        put_field(will.topic.as_bytes(), out);
        put_field(&will.payload, out);
    }
    if let Some(username) = &connect.username {
        put_field(username.as_bytes(), out);
    }
    if let Some(password) = &connect.password {
        put_field(password, out);
    }
    Ok(())
}

fn encode_conn_ack(ack: ConnAck, out: &mut BytesMut) -> Result<(), Unencodable> {
    if ack.session_present && ack.code != ConnectReturnCode::Accepted {
        return Err(Unencodable::SessionPresent);
    }
    out.put_slice(&[0x20, 2, u8::from(ack.session_present), ack.code as u8]);
    Ok(())
}

fn encode_subscribe(subscribe: &Subscribe, out: &mut BytesMut) -> Result<(), Unencodable> {
    if subscribe.filters.is_empty() {
        return Err(Unencodable::NoFilter);
    }
    let mut len = 2;
    for wish in &subscribe.filters {
        len += topic_len(&wish.filter)? + 1;
    }
    head(0x82, len, out)?;
    out.put_u16(subscribe.packet_id.get());
    for wish in &subscribe.filters {
        put_field(wish.filter.as_bytes(), out);
        out.put_u8(wish.qos as u8);
    }
    Ok(())
}

fn encode_unsubscribe(unsubscribe: &Unsubscribe, out: &mut BytesMut) -> Result<(), Unencodable> {
    if unsubscribe.filters.is_empty() {
        return Err(Unencodable::NoFilter);
    }
    let mut len = 2;
    for filter in &unsubscribe.filters {
        len += topic_len(filter)?;
    }
    head(0xa2, len, out)?;
    out.put_u16(unsubscribe.packet_id.get());
    for filter in &unsubscribe.filters {
        put_field(filter.as_bytes(), out);
    }
    Ok(())
}

/// Appends a PUBLISH to a buffer.
pub fn encode_publish(publish: PublishRef<'_>, out: &mut BytesMut) -> Result<(), Unencodable> {
    if publish.packet_id.is_some() == (publish.qos == QoS::AtMostOnce) {
        return Err(Unencodable::PacketId);
    }
    if publish.dup && publish.qos == QoS::AtMostOnce {
        return Err(Unencodable::DupWithoutQoS);
    }
    let first = 0x30 | (u8::from(publish.dup) << 3) | ((publish.qos as u8) << 1) | u8::from(publish.retain);
    let id_len = if publish.packet_id.is_some() { 2 } else { 0 };
    head(first, topic_len(publish.topic)? + id_len + publish.payload.len(), out)?;
    put_field(publish.topic.as_bytes(), out);
    if let Some(id) = publish.packet_id {
        out.put_u16(id.get());
    }
    out.put_slice(publish.payload);
    Ok(())
}

/// A packet of a packet identifier alone.
fn short(first: u8, id: u16, out: &mut BytesMut) {
    let [high, low] = id.to_be_bytes();
    out.put_slice(&[first, 2, high, low]);
}

fn head(first: u8, len: usize, out: &mut BytesMut) -> Result<(), Unencodable> {
    if len > PACKET_LEN_MAX {
        return Err(Unencodable::Packet(len));
    }
    out.reserve(5 + len);
    out.put_u8(first);
    put_variable_byte_integer(len, out);
    Ok(())
}

/// Bytes of a topic or filter.
fn topic_len(topic: &str) -> Result<usize, Unencodable> {
    if topic.is_empty() { Err(Unencodable::EmptyTopic) } else { text_len(topic) }
}

/// Bytes of a text.
fn text_len(text: &str) -> Result<usize, Unencodable> {
    if text.as_bytes().contains(&0) { Err(Unencodable::NullCharacter) } else { field_len(text) }
}

/// Bytes of a length-prefixed field.
fn field_len(field: &(impl AsRef<[u8]> + ?Sized)) -> Result<usize, Unencodable> {
    let len = field.as_ref().len();
    if len > usize::from(u16::MAX) { Err(Unencodable::Field(len)) } else { Ok(2 + len) }
}

/// Writes a field whose length [`field_len`] has checked.
fn put_field(field: &[u8], out: &mut BytesMut) {
    out.put_u16(field.len() as u16);
    out.put_slice(field);
}
