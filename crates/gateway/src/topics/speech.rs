//! What the broker answers, in the words of the version that a client speaks.

use super::convert::{reason_code, to_wire_qos};
use crate::packet_io::Io;
use bytes::{BufMut as _, BytesMut};
use ironbrook_pubsub::{OutgoingPublish, QoS, Reason};
use ironbrook_wire::mqtt::v5::{
    Ack, AckProperties, Disconnect, Packet, PeerLimits, PublishProperties, ReasonCode, SubAck, UnsubAck,
    encode_within,
};
use ironbrook_wire::mqtt::{PacketId, PacketType, v4, v5};
use tokio::io::{AsyncRead, AsyncWrite};

/// An answer to a packet. It leaves when what it acknowledges is on disk.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reply {
    PubAck(PacketId, Option<Reason>),
    PubRec(PacketId, Option<Reason>),
    PubRel(PacketId, Option<Reason>),
    PubComp(PacketId, Option<Reason>),
    SubAck(PacketId, Vec<Result<QoS, Reason>>),
    UnsubAck(PacketId, Vec<Result<(), Reason>>),
    /// To PINGREQ.
    Pong,
}

/// The version a client speaks, and what it takes.
#[derive(Debug, Clone, Copy)]
pub(super) enum Speech {
    V4,
    V5(V5),
}

/// How a client of MQTT 5.0 is spoken to.
#[derive(Debug, Clone, Copy)]
pub(super) struct V5 {
    pub(super) limits: PeerLimits,
    /// Whether it is told that a rule forbids what it wants, or only that it is not done.
    pub(super) tells_why: bool,
}

/// Why a packet was not written.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unwritten {
    #[error(transparent)]
    V4(#[from] v4::Unencodable),
    #[error(transparent)]
    V5(#[from] v5::Unencodable),
}

impl Speech {
    /// Appends an answer.
    pub(super) fn reply(self, reply: &Reply, out: &mut BytesMut) -> Result<(), Unwritten> {
        match (reply, self) {
            (Reply::Pong, _) => out.put_slice(&[0xd0, 0]),
            (Reply::PubAck(id, None), _) => short(0x40, *id, out),
            (Reply::PubRec(id, None), _) => short(0x50, *id, out),
            (Reply::PubRel(id, None), _) => short(0x62, *id, out),
            (Reply::PubComp(id, None), _) => short(0x70, *id, out),
            // A 3.1.1 client cannot be told more than that the step was taken.
            (Reply::PubAck(id, _), Self::V4) => short(0x40, *id, out),
            (Reply::PubRec(id, _), Self::V4) => short(0x50, *id, out),
            (Reply::PubRel(id, _), Self::V4) => short(0x62, *id, out),
            (Reply::PubComp(id, _), Self::V4) => short(0x70, *id, out),
            (Reply::SubAck(id, answers), Self::V4) => {
                let code = |answer: &Result<QoS, Reason>| match answer {
                    Ok(qos) => v4::SubAckCode::Granted(to_wire_qos(*qos)),
                    Err(_) => v4::SubAckCode::Failure,
                };
                let codes = answers.iter().map(code).collect();
                v4::encode(&v4::Packet::SubAck(v4::SubAck { packet_id: *id, codes }), out)?;
            }
            (Reply::UnsubAck(id, _), Self::V4) => short(0xb0, *id, out),
            (reply, Self::V5(v5)) => encode_within(&packet(reply, v5.tells_why), v5.limits, out)?,
        }
        Ok(())
    }

    /// Appends a message.
    pub(super) fn publish(self, publish: &OutgoingPublish, out: &mut BytesMut) -> Result<(), Unwritten> {
        let OutgoingPublish { message, qos, retain, dup, packet_id, expiry, alias, ids } = publish;
        let (qos, packet_id) = (to_wire_qos(*qos), *packet_id);
        let (dup, retain, payload) = (*dup, *retain, &message.payload[..]);
        if matches!(self, Self::V4) {
            let publish = v4::PublishRef { dup, qos, retain, topic: &message.topic, packet_id, payload };
            return Ok(v4::encode_publish(publish, out)?);
        }
        let plain = message.properties.is_none() && expiry.is_none() && alias.is_none() && ids.is_empty();
        let properties =
            if plain { PublishProperties::default() } else { super::convert::properties_v5(publish)? };
        // The name goes along only until the client knows the alias.
        let topic = if matches!(alias, Some((_, false))) { "" } else { &*message.topic };
        let publish = v5::PublishRef { dup, qos, retain, topic, packet_id, properties: &properties, payload };
        Ok(v5::encode_publish(publish, out)?)
    }

    /// Appends the server's last word, where the version has one.
    pub(super) fn disconnect(
        self,
        reason: ReasonCode,
        text: Option<String>,
        out: &mut BytesMut,
    ) -> Result<(), Unwritten> {
        let Self::V5(V5 { limits, .. }) = self else { return Ok(()) };
        let mut packet = Disconnect::new(reason);
        packet.properties.reason_string = text.map(Into::into);
        Ok(encode_within(&Packet::Disconnect(packet), limits, out)?)
    }
}

/// A packet of a packet identifier alone, which is the same in both versions.
fn short(first: u8, id: PacketId, out: &mut BytesMut) {
    let [high, low] = id.get().to_be_bytes();
    out.put_slice(&[first, 2, high, low]);
}

fn packet(reply: &Reply, tells_why: bool) -> Packet {
    let ack = |id: PacketId, reason: Option<Reason>, packet_type: PacketType| {
        let code = reason.map_or(ReasonCode::Success, |reason| code(reason, packet_type, tells_why));
        Ack { packet_id: id, reason: code, properties: explained(reason, tells_why) }
    };
    match reply {
        Reply::Pong => Packet::PingResp,
        Reply::PubAck(id, reason) => Packet::PubAck(ack(*id, *reason, PacketType::PubAck)),
        Reply::PubRec(id, reason) => Packet::PubRec(ack(*id, *reason, PacketType::PubRec)),
        Reply::PubRel(id, reason) => Packet::PubRel(ack(*id, *reason, PacketType::PubRel)),
        Reply::PubComp(id, reason) => Packet::PubComp(ack(*id, *reason, PacketType::PubComp)),
        Reply::SubAck(id, answers) => {
            let reasons = answers.iter().map(|answer| match answer {
                Ok(QoS::AtMostOnce) => ReasonCode::GRANTED_QOS_0,
                Ok(QoS::AtLeastOnce) => ReasonCode::GrantedQoS1,
                Ok(QoS::ExactlyOnce) => ReasonCode::GrantedQoS2,
                Err(reason) => code(*reason, PacketType::SubAck, tells_why),
            });
            let (reasons, properties) = (reasons.collect(), explained(failure(answers), tells_why));
            Packet::SubAck(SubAck { packet_id: *id, properties, reasons })
        }
        Reply::UnsubAck(id, answers) => {
            let reasons = answers.iter().map(|answer| match answer {
                Ok(()) => ReasonCode::Success,
                Err(reason) => code(*reason, PacketType::UnsubAck, tells_why),
            });
            let (reasons, properties) = (reasons.collect(), explained(failure(answers), tells_why));
            Packet::UnsubAck(UnsubAck { packet_id: *id, properties, reasons })
        }
    }
}

fn code(reason: Reason, packet_type: PacketType, tells_why: bool) -> ReasonCode {
    if reason == Reason::NotAuthorized && !tells_why {
        return ReasonCode::UnspecifiedError;
    }
    reason_code(reason, packet_type)
}

/// A failure in words.
fn explained(reason: Option<Reason>, tells_why: bool) -> AckProperties {
    let failure = reason.filter(|reason| !reason.is_success());
    let told = failure.filter(|reason| tells_why || *reason != Reason::NotAuthorized);
    AckProperties { reason_string: told.map(|reason| reason.to_string().into()), ..Default::default() }
}

/// The first failure.
fn failure<T>(answers: &[Result<T, Reason>]) -> Option<Reason> {
    let failures = answers.iter().filter_map(|answer| answer.as_ref().err());
    failures.copied().find(|reason| !reason.is_success())
}

impl<S: AsyncRead + AsyncWrite + Unpin> Io<S> {
    pub(in crate::topics) fn put_reply(&mut self, speech: Speech, reply: &Reply) -> Result<(), Unwritten> {
        self.put_with(|out| speech.reply(reply, out))
    }
}
