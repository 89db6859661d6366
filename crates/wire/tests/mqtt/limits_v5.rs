//! Bounds: those of the peer, which shorten packets, and our own, which refuse them.

use super::{MAX, field, frame, id, properties, read_v5, variable_byte_integer};
use bytes::{Bytes, BytesMut};
use ironbrook_wire::mqtt::v5::*;

const ANY: PeerLimits = PeerLimits { packet_max: usize::MAX, problem_information: true };

fn user() -> UserProperties {
    UserProperties::from_pairs([("name", "value")]).unwrap()
}

/// Each packet that has a reason string, with one and a user property.
fn explained() -> Vec<Packet> {
    let properties = || AckProperties { reason_string: Some("because".into()), user: user() };
    let ack = || Ack { packet_id: id(1), reason: ReasonCode::Success, properties: properties() };
    let mut conn_ack = ConnAck::refusal(ReasonCode::ServerBusy);
    (conn_ack.properties.reason_string, conn_ack.properties.user) = (Some("because".into()), user());
    let mut end = Disconnect::new(ReasonCode::ServerBusy);
    (end.properties.reason_string, end.properties.user) = (Some("because".into()), user());
    let auth = AuthProperties {
        authentication_method: Some("m".into()),
        reason_string: Some("because".into()),
        user: user(),
        ..Default::default()
    };
    vec![
        Packet::ConnAck(Box::new(conn_ack)), // [MQTT-3.2.2-19] [MQTT-3.2.2-20]
        Packet::PubAck(ack()),               // [MQTT-3.4.2-2] [MQTT-3.4.2-3]
        Packet::PubRec(ack()),               // [MQTT-3.5.2-2] [MQTT-3.5.2-3]
        Packet::PubRel(ack()),               // [MQTT-3.6.2-2] [MQTT-3.6.2-3]
        Packet::PubComp(ack()),              // [MQTT-3.7.2-2] [MQTT-3.7.2-3]
        Packet::SubAck(SubAck {
            packet_id: id(1),
            properties: properties(),
            reasons: vec![ReasonCode::Success],
        }), // [MQTT-3.9.2-1] [MQTT-3.9.2-2]
        Packet::UnsubAck(UnsubAck {
            packet_id: id(1),
            properties: properties(),
            reasons: vec![ReasonCode::Success],
        }), // [MQTT-3.11.2-1] [MQTT-3.11.2-2]
        Packet::Disconnect(end),             // [MQTT-3.14.2-3] [MQTT-3.14.2-4]
        Packet::Auth(Auth { reason: ReasonCode::ContinueAuthentication, properties: auth }), // [MQTT-3.15.2-2] [MQTT-3.15.2-3]
    ]
}

/// Whether the packet as written has its reason string and its user property.
fn written_within(packet: &Packet, limits: PeerLimits) -> Result<(bool, bool), Unencodable> {
    let mut out = BytesMut::new();
    encode_within(packet, limits, &mut out).inspect_err(|_| assert!(out.is_empty()))?;
    assert!(out.len() <= limits.packet_max);
    let has = |text: &[u8]| out.windows(text.len()).any(|window| window == text);
    let found = (has(b"because"), has(b"value"));
    assert_eq!(decode(&mut out, MAX).unwrap().map(|read| read.packet_type()), Some(packet.packet_type()));
    Ok(found)
}

#[test]
fn explanations_are_left_out_where_the_packet_would_be_too_long() {
    for packet in explained() {
        let whole = encoded_len(&packet).unwrap();
        let at_most = |packet_max| written_within(&packet, PeerLimits { packet_max, ..ANY });
        assert_eq!(at_most(whole), Ok((true, true)), "{packet:?}");
        // A user property of 14 bytes, then a reason string of 10.
        assert_eq!(at_most(whole - 1), Ok((true, false)), "{packet:?}");
        assert_eq!(at_most(whole - 14), Ok((true, false)), "{packet:?}");
        assert_eq!(at_most(whole - 15), Ok((false, false)), "{packet:?}");
        assert_eq!(at_most(whole - 24), Ok((false, false)), "{packet:?}");
        assert!(matches!(at_most(1), Err(Unencodable::TooLarge { max: 1, .. })), "{packet:?}");
    }
}

#[test]
fn explanations_are_left_out_where_the_client_does_not_want_them() {
    // [MQTT-3.1.2-29]
    let limits = PeerLimits { problem_information: false, ..ANY };
    for packet in explained() {
        let expected = matches!(packet, Packet::ConnAck(_) | Packet::Disconnect(_));
        assert_eq!(written_within(&packet, limits), Ok((expected, expected)), "{packet:?}");
    }
}

#[test]
fn messages_are_never_shortened() {
    // [MQTT-3.1.2-24] [MQTT-3.1.2-25] [MQTT-3.2.2-15]
    let properties = PublishProperties { user: user(), ..Default::default() };
    let message = Packet::Publish(Publish {
        dup: false,
        qos: QoS::AtMostOnce,
        retain: false,
        topic: "t".into(),
        packet_id: None,
        properties,
        payload: Bytes::from_static(b"because"),
    });
    let len = encoded_len(&message).unwrap();
    assert_eq!(
        written_within(&message, PeerLimits { packet_max: len, problem_information: false }),
        Ok((true, true))
    );
    let refused = Err(Unencodable::TooLarge { len, max: len - 1 });
    assert_eq!(written_within(&message, PeerLimits { packet_max: len - 1, ..ANY }), refused);
}

#[test]
fn a_client_says_what_it_takes() {
    let bytes = |bytes: &[u8]| {
        frame(0x10, &[&b"\0\x04MQTT\x05\x02\0\0"[..], &properties(bytes), &field("d")].concat())
    };
    let limits = |block: &[u8]| match read_v5(&bytes(block)) {
        Ok(Some(Packet::Connect(connect))) => PeerLimits::of_client(&connect),
        other => panic!("not a CONNECT: {other:?}"),
    };
    assert_eq!(limits(&[]), ANY);
    assert_eq!(
        limits(&[0x27, 0, 0, 1, 0, 0x17, 0]),
        PeerLimits { packet_max: 256, problem_information: false }
    );
    assert_eq!(limits(&[0x17, 1]), ANY);
}

#[test]
fn our_own_bounds_refuse_and_name_a_reason() {
    let message = |block: Vec<u8>| read_v5(&frame(0x30, &[field("t"), properties(&block)].concat()));
    let user = [&[0x26][..], &field("n"), &field("v")].concat();
    assert!(matches!(message(user.repeat(USER_PROPERTIES_MAX)), Ok(Some(_))));
    assert_eq!(message(user.repeat(USER_PROPERTIES_MAX + 1)), Err(Violation::TooManyUserProperties));
    assert!(matches!(message([0x0b, 1].repeat(SUBSCRIPTION_IDS_MAX)), Ok(Some(_))));
    assert_eq!(message([0x0b, 1].repeat(SUBSCRIPTION_IDS_MAX + 1)), Err(Violation::TooManySubscriptionIds));
    let long = [&[0x26][..], &field([b'n'; 65_535]), &field([b'v'; 65_535])].concat();
    assert!(matches!(message(long.clone()), Ok(Some(_))));
    let len = 2 * long.len();
    assert_eq!(message(long.repeat(2)), Err(Violation::PropertiesTooLarge(len)));
    // Refused by its length, before it is looked at.
    let announced = [&field("t")[..], &variable_byte_integer(PROPERTIES_LEN_MAX + 1)].concat();
    assert_eq!(read_v5(&frame(0x30, &announced)), Err(Violation::PropertiesTooLarge(PROPERTIES_LEN_MAX + 1)));
    assert_eq!(Violation::PropertiesTooLarge(len).reason(), ReasonCode::PacketTooLarge);
    assert_eq!(Violation::TooManyUserProperties.reason(), ReasonCode::QuotaExceeded);
    assert_eq!(Violation::TooManySubscriptionIds.reason(), ReasonCode::QuotaExceeded);
}

#[test]
fn a_long_packet_is_refused_by_its_head() {
    let mut head = BytesMut::from(&[0x30, 0xff, 0xff, 0xff, 0x7f][..]);
    let violation = Violation::TooLarge { len: 5 + REMAINING_LEN_MAX, max: 1000 };
    assert_eq!(decode(&mut head, 1000), Err(violation));
    assert_eq!(violation.reason(), ReasonCode::PacketTooLarge);
    for (bytes, whole) in
        [(frame(0xe0, &[0]), 3), (frame(0x30, &[&b"\0\x01t\0"[..], &[7; 200]].concat()), 207)]
    {
        assert!(matches!(decode(&mut BytesMut::from(&bytes[..]), whole), Ok(Some(_))));
        let violation = Violation::TooLarge { len: whole, max: whole - 1 };
        assert_eq!(decode(&mut BytesMut::from(&bytes[..]), whole - 1), Err(violation));
    }
}

#[test]
fn a_packet_longer_than_any_length_is_not_written() {
    let packet = |payload: usize| {
        Packet::Publish(Publish {
            dup: false,
            qos: QoS::AtMostOnce,
            retain: false,
            topic: "t".into(),
            packet_id: None,
            properties: Default::default(),
            payload: Bytes::from(vec![0; payload]),
        })
    };
    assert_eq!(encoded_len(&packet(REMAINING_LEN_MAX - 4)), Ok(5 + REMAINING_LEN_MAX));
    assert_eq!(encoded_len(&packet(REMAINING_LEN_MAX - 3)), Err(Unencodable::Packet(REMAINING_LEN_MAX + 1)));
}

#[test]
fn a_packet_takes_little_room() {
    // Packets are moved a few times on their way; what is rare is boxed.
    assert!(size_of::<Packet>() <= 320, "{}", size_of::<Packet>());
}
