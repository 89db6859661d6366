//! Any packet of MQTT 3.1.1, and texts and bytes for both versions.

use bytes::Bytes;
use bytestring::ByteString;
use ironbrook_wire::mqtt::v4::*;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

pub fn text(min: usize) -> impl Strategy<Value = ByteString> {
    let char = prop_oneof![
        8 => proptest::char::range(' ', '~'),
        2 => any::<char>().prop_map(|char| if char == '\0' { 'x' } else { char }),
    ];
    vec(char, min..20).prop_map(|chars| ByteString::from(chars.into_iter().collect::<String>()))
}

/// A topic name with the characters that matter.
pub fn topic_name() -> impl Strategy<Value = ByteString> {
    "[a-c$/ é]{1,12}".prop_map(ByteString::from)
}

/// A topic filter, often a valid one.
pub fn topic_filter() -> impl Strategy<Value = ByteString> {
    prop_oneof![
        4 => "([a-c$]{0,3}/|\\+/){0,3}(\\+|#|[a-c]{1,3})",
        2 => "\\$share/[a-z]{1,3}/(a/){0,2}(\\+|#|b)",
        1 => "[a-c$/+#]{1,8}",
        1 => "\\$share/[a+#/]{0,4}",
    ]
    .prop_map(ByteString::from)
}

pub fn binary() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..40).prop_map(Bytes::from)
}

pub fn qos() -> impl Strategy<Value = QoS> {
    (0_u8..3).prop_map(|number| QoS::from_number(number).unwrap())
}

pub fn packet_id() -> impl Strategy<Value = PacketId> {
    (1..=u16::MAX).prop_map(super::id)
}

fn connect() -> impl Strategy<Value = Packet> {
    let will = (topic_name(), binary(), qos(), any::<bool>())
        .prop_map(|(topic, payload, qos, retain)| Will { topic, payload, qos, retain });
    let login = option::of((text(0), option::of(binary())));
    (text(0), any::<u16>(), any::<bool>(), option::of(will), login).prop_map(
        |(client_id, keep_alive, clean_session, will, login)| {
            let (username, password) = login.map_or((None, None), |(name, password)| (Some(name), password));
            Packet::Connect(Box::new(Connect {
                client_id,
                keep_alive,
                clean_session,
                will,
                username,
                password,
            }))
        },
    )
}

fn publish() -> impl Strategy<Value = Packet> {
    (any::<bool>(), qos(), any::<bool>(), topic_name(), packet_id(), binary()).prop_map(
        |(dup, qos, retain, topic, packet_id, payload)| {
            let acknowledged = qos != QoS::AtMostOnce;
            let packet_id = acknowledged.then_some(packet_id);
            Packet::Publish(Publish { dup: dup && acknowledged, qos, retain, topic, packet_id, payload })
        },
    )
}

/// Any packet.
pub fn packet() -> impl Strategy<Value = Packet> {
    let wish = (topic_filter(), qos()).prop_map(|(filter, qos)| SubscribeFilter { filter, qos });
    let code = prop_oneof![qos().prop_map(SubAckCode::Granted), Just(SubAckCode::Failure)];
    prop_oneof![
        connect(),
        (any::<bool>(), 0_u8..6).prop_map(|(present, code)| Packet::ConnAck(ConnAck {
            session_present: present && code == 0,
            code: ConnectReturnCode::from_number(code).unwrap(),
        })),
        publish(),
        packet_id().prop_map(Packet::PubAck),
        packet_id().prop_map(Packet::PubRec),
        packet_id().prop_map(Packet::PubRel),
        packet_id().prop_map(Packet::PubComp),
        (packet_id(), vec(wish, 1..4))
            .prop_map(|(packet_id, filters)| Packet::Subscribe(Subscribe { packet_id, filters })),
        (packet_id(), vec(code, 1..4))
            .prop_map(|(packet_id, codes)| Packet::SubAck(SubAck { packet_id, codes })),
        (packet_id(), vec(topic_filter(), 1..4))
            .prop_map(|(packet_id, filters)| Packet::Unsubscribe(Unsubscribe { packet_id, filters })),
        packet_id().prop_map(Packet::UnsubAck),
        Just(Packet::PingReq),
        Just(Packet::PingResp),
        Just(Packet::Disconnect),
    ]
}
