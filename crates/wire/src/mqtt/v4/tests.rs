//! Round trips, the standard's examples, and bytes from nowhere.

use super::*;
use bytes::{Bytes, BytesMut};
use bytestring::ByteString;
use proptest::prelude::*;

fn id(n: u16) -> PacketId {
    PacketId::new(n).unwrap()
}

fn read(bytes: &[u8]) -> Result<Option<Packet>, Violation> {
    decode(&mut BytesMut::from(bytes), 1 << 20)
}

fn text(min: usize) -> impl Strategy<Value = ByteString> {
    proptest::collection::vec(any::<char>().prop_filter("no null", |c| *c != '\0'), min..40)
        .prop_map(|chars| ByteString::from(chars.into_iter().collect::<String>()))
}

fn binary() -> impl Strategy<Value = Bytes> {
    proptest::collection::vec(any::<u8>(), 0..300).prop_map(Bytes::from)
}

fn qos() -> impl Strategy<Value = QoS> {
    prop_oneof![Just(QoS::AtMostOnce), Just(QoS::AtLeastOnce), Just(QoS::ExactlyOnce)]
}

fn packet_id() -> impl Strategy<Value = PacketId> {
    (1..=u16::MAX).prop_map(id)
}

fn will() -> impl Strategy<Value = Will> {
    (text(1), binary(), qos(), any::<bool>()).prop_map(|(topic, payload, qos, retain)| Will {
        topic,
        payload,
        qos,
        retain,
    })
}

fn connect() -> impl Strategy<Value = Packet> {
    let login = proptest::option::of((text(0), proptest::option::of(binary())));
    (text(0), any::<u16>(), any::<bool>(), proptest::option::of(will()), login).prop_map(
        |(client_id, keep_alive, clean_session, will, login)| {
            let (username, password) = match login {
                Some((username, password)) => (Some(username), password),
                None => (None, None),
            };
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
    (any::<bool>(), qos(), any::<bool>(), text(1), packet_id(), binary()).prop_map(
        |(dup, qos, retain, topic, packet_id, payload)| {
            let acknowledged = qos != QoS::AtMostOnce;
            Packet::Publish(Publish {
                dup: dup && acknowledged,
                qos,
                retain,
                topic,
                packet_id: acknowledged.then_some(packet_id),
                payload,
            })
        },
    )
}

fn packet() -> impl Strategy<Value = Packet> {
    let filter = (text(1), qos()).prop_map(|(filter, qos)| SubscribeFilter { filter, qos });
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
        (packet_id(), proptest::collection::vec(filter, 1..5))
            .prop_map(|(packet_id, filters)| Packet::Subscribe(Subscribe { packet_id, filters })),
        (packet_id(), proptest::collection::vec(code, 1..5))
            .prop_map(|(packet_id, codes)| Packet::SubAck(SubAck { packet_id, codes })),
        (packet_id(), proptest::collection::vec(text(1), 1..5))
            .prop_map(|(packet_id, filters)| Packet::Unsubscribe(Unsubscribe { packet_id, filters })),
        packet_id().prop_map(Packet::UnsubAck),
        Just(Packet::PingReq),
        Just(Packet::PingResp),
        Just(Packet::Disconnect),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn what_is_written_is_read_back(packets in proptest::collection::vec(packet(), 1..6)) {
        let mut buffer = BytesMut::new();
        for packet in &packets {
            encode(packet, &mut buffer).unwrap();
        }
        for packet in packets {
            prop_assert_eq!(decode(&mut buffer, 1 << 20).unwrap(), Some(packet));
        }
        prop_assert!(buffer.is_empty());
    }

    #[test]
    fn a_part_of_a_packet_is_not_a_packet_and_takes_nothing(packet in packet(), cut in any::<prop::sample::Index>()) {
        let mut whole = BytesMut::new();
        encode(&packet, &mut whole).unwrap();
        let mut part = BytesMut::from(&whole[..cut.index(whole.len())]);
        let len = part.len();
        prop_assert_eq!(decode(&mut part, 1 << 20), Ok(None));
        prop_assert_eq!(part.len(), len);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut buffer = BytesMut::from(&bytes[..]);
        while let Ok(Some(_)) = decode(&mut buffer, 100) {}
    }

    #[test]
    fn a_damaged_packet_never_panics(packet in packet(), at in any::<prop::sample::Index>(), with in any::<u8>()) {
        let mut buffer = BytesMut::new();
        encode(&packet, &mut buffer).unwrap();
        let at = at.index(buffer.len());
        buffer[at] = with;
        while let Ok(Some(_)) = decode(&mut buffer, 1 << 20) {}
    }
}

#[test]
fn violations_name_their_clause() {
    let connect = |rest: &[u8]| {
        let mut bytes = vec![0x10, rest.len() as u8];
        bytes.extend_from_slice(rest);
        read(&bytes)
    };
    let cases: &[(&[u8], Violation)] = &[
        (&[0x00, 0], Violation::PacketType(0)),
        (&[0xf0, 0], Violation::PacketType(15)),
        (&[0xc1, 0], Violation::Flags { packet_type: 12, flags: 1 }),
        (&[0x80, 5, 0, 1, 0, 1, b'a'], Violation::Flags { packet_type: 8, flags: 0 }),
        (&[0x30, 0xff, 0xff, 0xff, 0xff], Violation::RemainingLength),
        (&[0x30, 0xff, 0xff, 0xff, 0x7f], Violation::TooLarge { len: 5 + PACKET_LEN_MAX, max: 1 << 20 }),
        (&[0x40, 1, 0], Violation::Truncated),
        (&[0x40, 2, 0, 0], Violation::PacketIdZero),
        (&[0x40, 3, 0, 1, 0], Violation::TrailingBytes),
        (&[0x36, 4, 0, 1, b'a', 0], Violation::QoS),
        (&[0x38, 3, 0, 1, b'a'], Violation::DupWithoutQoS),
        (&[0x30, 2, 0, 0], Violation::EmptyTopic),
        (&[0x30, 3, 0, 1, 0xff], Violation::Utf8),
        (&[0x30, 3, 0, 1, 0], Violation::NullCharacter),
        (&[0x82, 2, 0, 1], Violation::NoFilter),
        (&[0x82, 6, 0, 1, 0, 1, b'a', 3], Violation::RequestedQoS),
        (&[0xa2, 2, 0, 1], Violation::NoFilter),
        (&[0x90, 3, 0, 1, 9], Violation::SubAckCode(9)),
        (&[0x20, 2, 2, 0], Violation::ConnAckFlags),
        (&[0x20, 2, 1, 5], Violation::ConnAckFlags),
        (&[0x20, 2, 0, 6], Violation::ConnectReturnCode(6)),
    ];
    for (bytes, violation) in cases {
        assert_eq!(read(bytes), Err(*violation), "{bytes:02x?}");
    }
    assert_eq!(connect(b"\0\x04MQTX\x04\0\0\0\0\0"), Err(Violation::ProtocolName));
    assert_eq!(connect(b"\0\x04MQTT\x05\0\0\0\0\0\0"), Err(Violation::ProtocolLevel(5)));
    assert_eq!(connect(b"\0\x06MQIsdp\x03\0\0\0\0\0"), Err(Violation::ProtocolLevel(3)));
    assert_eq!(connect(b"\0\x04MQTT\x04\x01\0\0\0\0"), Err(Violation::ConnectFlagReserved));
    assert_eq!(connect(b"\0\x04MQTT\x04\x18\0\0\0\0"), Err(Violation::WillFlags));
    assert_eq!(connect(b"\0\x04MQTT\x04\x20\0\0\0\0"), Err(Violation::WillFlags));
    assert_eq!(connect(b"\0\x04MQTT\x04\x40\0\0\0\0\0\0"), Err(Violation::PasswordWithoutUserName));
}

#[test]
fn the_number_of_filters_is_bounded() {
    let filters = (0..=FILTERS_MAX)
        .map(|_| SubscribeFilter { filter: ByteString::from("a"), qos: QoS::AtMostOnce })
        .collect();
    let mut buffer = BytesMut::new();
    encode(&Packet::Subscribe(Subscribe { packet_id: id(1), filters }), &mut buffer).unwrap();
    assert_eq!(decode(&mut buffer, 1 << 20), Err(Violation::TooManyFilters));
}

#[test]
fn topics_and_payloads_share_the_read_buffer() {
    let mut buffer = BytesMut::new();
    let sent = Packet::Publish(Publish {
        dup: false,
        qos: QoS::AtLeastOnce,
        retain: false,
        topic: "devices/a#1+%/messages/events/".into(),
        packet_id: Some(id(7)),
        payload: Bytes::from_static(b"21.5"),
    });
    encode(&sent, &mut buffer).unwrap();
    let memory = buffer.as_ptr_range();
    let Some(Packet::Publish(got)) = decode(&mut buffer, 1000).unwrap() else { panic!("a PUBLISH") };
    assert!(memory.contains(&got.payload.as_ptr()));
    assert!(memory.contains(&got.topic.as_bytes().as_ptr()));
    assert_eq!(Packet::Publish(got), sent);
}

#[test]
fn what_cannot_be_written_is_an_error_and_writes_nothing() {
    let mut out = BytesMut::new();
    let long = ByteString::from("x".repeat(65_536));
    let packet = |topic: ByteString, packet_id| {
        Packet::Publish(Publish {
            dup: false,
            qos: QoS::AtMostOnce,
            retain: false,
            topic,
            packet_id,
            payload: Bytes::new(),
        })
    };
    assert_eq!(encode(&packet(long, None), &mut out), Err(Unencodable::Field(65_536)));
    assert_eq!(encode(&packet("a".into(), Some(id(1))), &mut out), Err(Unencodable::PacketId));
    assert!(out.is_empty());
}

#[test]
fn debug_hides_the_password() {
    let connect = Connect {
        client_id: "d".into(),
        keep_alive: 0,
        clean_session: true,
        will: None,
        username: Some("h/d".into()),
        password: Some(Bytes::from_static(b"canary")),
    };
    assert!(!format!("{:?}", Packet::Connect(Box::new(connect))).contains("canary"));
}
