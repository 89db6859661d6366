//! Both versions of MQTT as one: everything inside speaks in packets of 5.0, and this turns them into bytes of either.

use super::{Error, ReasonCode, Result, UserProperties, Version};
use bytes::BytesMut;
use ironbrook_wire::mqtt::v5::{self, Ack, Packet, PeerLimits};
use ironbrook_wire::mqtt::{QoS, Sender, v4};

/// The bit of the protocol level by which a bridge tells mosquitto what it is.
const BRIDGE: u8 = 0x80;
/// Bytes between the remaining length of a CONNECT and its protocol level: the protocol name.
const NAME_LEN: usize = 6;

/// Reads and writes the packets of a connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Codec {
    pub version: Version,
    /// Longest packet that is taken, bytes.
    pub packet_max: usize,
    /// Longest packet the server takes, bytes.
    pub peer_packet_max: usize,
}

impl Codec {
    /// Appends a packet; writes nothing where it cannot be written.
    pub(super) fn encode(&self, packet: &Packet, out: &mut BytesMut) -> Result<()> {
        let unusable = |error: String| Error::Configuration(format!("a packet cannot be sent: {error}"));
        match self.version {
            Version::V5 => {
                let limits = PeerLimits { packet_max: self.peer_packet_max, problem_information: true };
                v5::encode_within(packet, limits, out).map_err(|e| unusable(e.to_string()))
            }
            Version::V4 => v4::encode(&to_v4(packet)?, out).map_err(|e| unusable(e.to_string())),
        }
    }

    /// Appends a CONNECT. A `bridge` says so, in the way of mosquitto, which MQTT 5.0 does not need.
    pub(super) fn encode_connect(
        &self,
        connect: v5::Connect,
        bridge: bool,
        out: &mut BytesMut,
    ) -> Result<()> {
        let start = out.len();
        self.encode(&Packet::Connect(Box::new(connect)), out)?;
        if bridge && self.version == Version::V4 {
            let len_bytes = out[start + 1..].iter().take_while(|byte| **byte & 0x80 != 0).count() + 1;
            out[start + 1 + len_bytes + NAME_LEN] |= BRIDGE;
        }
        Ok(())
    }

    /// Takes one packet off the front; `None` if it is not complete yet.
    pub(super) fn decode(&self, buffer: &mut BytesMut) -> Result<Option<Packet>> {
        let broken = |error: String| Error::Protocol(error);
        match self.version {
            Version::V5 => {
                let packet = v5::decode(buffer, self.packet_max).map_err(|e| broken(e.to_string()))?;
                let Some(packet) = packet else { return Ok(None) };
                packet.check(Sender::Server).map_err(|e| broken(e.to_string()))?;
                Ok(Some(packet))
            }
            Version::V4 => {
                let packet = v4::decode(buffer, self.packet_max).map_err(|e| broken(e.to_string()))?;
                let Some(packet) = packet else { return Ok(None) };
                packet.check(Sender::Server).map_err(|e| broken(e.to_string()))?;
                from_v4(packet).map(Some)
            }
        }
    }
}

fn to_v4(packet: &Packet) -> Result<v4::Packet> {
    Ok(match packet {
        Packet::Connect(connect) => v4::Packet::Connect(Box::new(connect_to_v4(connect))),
        Packet::Publish(publish) => v4::Packet::Publish(v4::Publish {
            dup: publish.dup,
            qos: publish.qos,
            retain: publish.retain,
            topic: publish.topic.clone(),
            packet_id: publish.packet_id,
            payload: publish.payload.clone(),
        }),
        Packet::PubAck(ack) => v4::Packet::PubAck(ack.packet_id),
        Packet::PubRec(ack) => v4::Packet::PubRec(ack.packet_id),
        Packet::PubRel(ack) => v4::Packet::PubRel(ack.packet_id),
        Packet::PubComp(ack) => v4::Packet::PubComp(ack.packet_id),
        Packet::Subscribe(subscribe) => {
            let wish = |wish: &v5::SubscribeFilter| v4::SubscribeFilter {
                filter: wish.filter.clone(),
                qos: wish.qos,
            };
            let filters = subscribe.filters.iter().map(wish).collect();
            v4::Packet::Subscribe(v4::Subscribe { packet_id: subscribe.packet_id, filters })
        }
        Packet::Unsubscribe(unsubscribe) => v4::Packet::Unsubscribe(v4::Unsubscribe {
            packet_id: unsubscribe.packet_id,
            filters: unsubscribe.filters.clone(),
        }),
        Packet::PingReq => v4::Packet::PingReq,
        Packet::Disconnect(_) => v4::Packet::Disconnect,
        other => {
            return Err(Error::Configuration(format!(
                "MQTT 3.1.1 has no {} from a client",
                other.packet_type()
            )));
        }
    })
}

fn connect_to_v4(connect: &v5::Connect) -> v4::Connect {
    let will = connect.will.as_ref().map(|will| v4::Will {
        topic: will.topic.clone(),
        payload: will.payload.clone(),
        qos: will.qos,
        retain: will.retain,
    });
    v4::Connect {
        client_id: connect.client_id.clone(),
        keep_alive: connect.keep_alive,
        clean_session: connect.clean_start,
        will,
        username: connect.username.clone(),
        password: connect.password.clone(),
    }
}

fn from_v4(packet: v4::Packet) -> Result<Packet> {
    Ok(match packet {
        v4::Packet::ConnAck(ack) => Packet::ConnAck(Box::new(v5::ConnAck {
            session_present: ack.session_present,
            reason: reason_of(ack.code),
            properties: v5::ConnAckProperties::default(),
        })),
        v4::Packet::Publish(publish) => Packet::Publish(v5::Publish {
            dup: publish.dup,
            qos: publish.qos,
            retain: publish.retain,
            topic: publish.topic,
            packet_id: publish.packet_id,
            properties: v5::PublishProperties::default(),
            payload: publish.payload,
        }),
        v4::Packet::PubAck(id) => Packet::PubAck(Ack::success(id)),
        v4::Packet::PubRec(id) => Packet::PubRec(Ack::success(id)),
        v4::Packet::PubRel(id) => Packet::PubRel(Ack::success(id)),
        v4::Packet::PubComp(id) => Packet::PubComp(Ack::success(id)),
        v4::Packet::SubAck(ack) => Packet::SubAck(v5::SubAck {
            packet_id: ack.packet_id,
            properties: v5::AckProperties::default(),
            reasons: ack.codes.into_iter().map(granted).collect(),
        }),
        v4::Packet::UnsubAck(packet_id) => {
            let properties = v5::AckProperties { user: UserProperties::new(), ..Default::default() };
            Packet::UnsubAck(v5::UnsubAck { packet_id, properties, reasons: Vec::new() })
        }
        v4::Packet::PingResp => Packet::PingResp,
        other => {
            return Err(Error::Protocol(format!("a server does not send {}", other.packet_type())));
        }
    })
}

fn granted(code: v4::SubAckCode) -> ReasonCode {
    match code {
        v4::SubAckCode::Granted(QoS::AtMostOnce) => ReasonCode::GRANTED_QOS_0,
        v4::SubAckCode::Granted(QoS::AtLeastOnce) => ReasonCode::GrantedQoS1,
        v4::SubAckCode::Granted(QoS::ExactlyOnce) => ReasonCode::GrantedQoS2,
        v4::SubAckCode::Failure => ReasonCode::UnspecifiedError,
    }
}

fn reason_of(code: v4::ConnectReturnCode) -> ReasonCode {
    use v4::ConnectReturnCode as Code;
    match code {
        Code::Accepted => ReasonCode::Success,
        Code::UnacceptableProtocolVersion => ReasonCode::UnsupportedProtocolVersion,
        Code::IdentifierRejected => ReasonCode::ClientIdentifierNotValid,
        Code::ServerUnavailable => ReasonCode::ServerUnavailable,
        Code::BadUserNameOrPassword => ReasonCode::BadUserNameOrPassword,
        Code::NotAuthorized => ReasonCode::NotAuthorized,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bridge_sets_the_highest_bit_of_the_level_in_3_1_1_alone() {
        let connect = |client_id: String| v5::Connect {
            client_id: client_id.into(),
            keep_alive: 60,
            clean_start: true,
            will: None,
            username: None,
            password: None,
            properties: v5::ConnectProperties::default(),
        };
        for (version, bridge, level) in
            [(Version::V4, true, 0x84), (Version::V4, false, 4), (Version::V5, true, 5)]
        {
            let codec = Codec { version, packet_max: 1024, peer_packet_max: usize::MAX };
            // The second is long enough for a length of two bytes.
            for (client_id, len_bytes) in [("b".to_owned(), 1), ("b".repeat(200), 2)] {
                let mut out = BytesMut::from(&b"before"[..]);
                codec.encode_connect(connect(client_id), bridge, &mut out).unwrap();
                let level_at = "before".len() + 1 + len_bytes + NAME_LEN;
                assert_eq!((&out[level_at - 4..level_at], out[level_at]), (&b"MQTT"[..], level));
            }
        }
    }
}
