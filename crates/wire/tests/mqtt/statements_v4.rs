//! What MQTT 3.1.1 allows, byte for byte, and what the encoder refuses to write.

use super::{field, frame, id, read_v4};
use bytes::{Bytes, BytesMut};
use ironbrook_wire::mqtt::v4::*;

/// A short packet of each type.
pub fn one_of_each() -> Vec<Vec<u8>> {
    vec![
        frame(0x10, b"\0\x04MQTT\x04\x02\0\x3c\0\x01d"),
        frame(0x20, &[0, 0]),
        frame(0x30, b"\0\x01ab"),
        frame(0x40, &[0, 1]),
        frame(0x50, &[0, 1]),
        frame(0x62, &[0, 1]),
        frame(0x70, &[0, 1]),
        frame(0x82, b"\0\x01\0\x01a\x01"),
        frame(0x90, &[0, 1, 1]),
        frame(0xa2, b"\0\x01\0\x01a"),
        frame(0xb0, &[0, 1]),
        frame(0xc0, &[]),
        frame(0xd0, &[]),
        frame(0xe0, &[]),
    ]
}

fn publish(qos: QoS) -> Publish {
    let packet_id = (qos != QoS::AtMostOnce).then(|| id(258));
    Publish {
        dup: false,
        qos,
        retain: false,
        topic: "t".into(),
        packet_id,
        payload: Bytes::from_static(b"p"),
    }
}

fn connect() -> Connect {
    Connect {
        client_id: "d".into(),
        keep_alive: 60,
        clean_session: true,
        will: None,
        username: None,
        password: None,
    }
}

fn written(packet: Packet) -> Result<Vec<u8>, Unencodable> {
    let mut out = BytesMut::new();
    encode(&packet, &mut out).map(|()| out.to_vec()).inspect_err(|_| assert!(out.is_empty()))
}

#[test]
fn each_packet_is_written_as_it_was_read() {
    for bytes in one_of_each() {
        let packet = read_v4(&bytes).unwrap().unwrap();
        assert_eq!(written(packet), Ok(bytes));
    }
}

#[test]
fn a_connect_has_its_fields_in_order() {
    // [MQTT-3.1.3-1]
    let fields = [field("client"), field("will"), field("message"), field("user"), field("password")];
    let bytes = frame(0x10, &[&b"\0\x04MQTT\x04\xf4\x01\x02"[..], &fields.concat()].concat());
    let will = Will { topic: "will".into(), payload: "message".into(), qos: QoS::ExactlyOnce, retain: true };
    let expected = Packet::Connect(Box::new(Connect {
        client_id: "client".into(),
        keep_alive: 258,
        clean_session: false,
        will: Some(will),
        username: Some("user".into()),
        password: Some("password".into()),
    }));
    assert_eq!(read_v4(&bytes), Ok(Some(expected.clone())));
    assert_eq!(written(expected), Ok(bytes));
}

#[test]
fn a_client_without_a_name_cannot_have_its_session_kept() {
    // [MQTT-3.1.3-8]
    let named =
        |client_id: &str, clean_session| Connect { client_id: client_id.into(), clean_session, ..connect() };
    assert_eq!(named("", false).check_client_id(), Err(ConnectReturnCode::IdentifierRejected));
    for (client_id, clean_session) in [("", true), ("d", false), ("d", true)] {
        assert_eq!(named(client_id, clean_session).check_client_id(), Ok(()));
    }
    // [MQTT-3.1.3-5]
    let allowed = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    for client_id in allowed.as_bytes().chunks(23) {
        let client_id = std::str::from_utf8(client_id).unwrap();
        let bytes = written(Packet::Connect(Box::new(named(client_id, false)))).unwrap();
        assert_eq!(read_v4(&bytes), Ok(Some(Packet::Connect(Box::new(named(client_id, false))))));
    }
}

#[test]
fn a_byte_order_mark_stays() {
    // [MQTT-1.5.3-3]
    let Ok(Some(Packet::Publish(got))) = read_v4(&frame(0x30, &field("\u{feff}a"))) else {
        panic!("a PUBLISH")
    };
    assert_eq!(got.topic.as_bytes()[..], [0xef, 0xbb, 0xbf, b'a']);
}

#[test]
fn a_message_has_an_identifier_exactly_where_it_is_acknowledged() {
    // [MQTT-2.3.1-5]: what follows the topic is payload.
    let Ok(Some(Packet::Publish(got))) = read_v4(&frame(0x30, b"\0\x01a\0\x01")) else { panic!("a PUBLISH") };
    assert_eq!((got.packet_id, &got.payload[..]), (None, &[0, 1][..]));
    assert_eq!(written(Packet::Publish(publish(QoS::AtMostOnce))), Ok(b"\x30\x04\0\x01tp".to_vec()));
    assert_eq!(written(Packet::Publish(publish(QoS::AtLeastOnce))), Ok(b"\x32\x06\0\x01t\x01\x02p".to_vec()));
    let redelivered = Publish { dup: true, retain: true, ..publish(QoS::ExactlyOnce) };
    assert_eq!(written(Packet::Publish(redelivered)), Ok(b"\x3d\x06\0\x01t\x01\x02p".to_vec()));
    let without = Publish { packet_id: None, ..publish(QoS::AtLeastOnce) };
    let with = Publish { packet_id: Some(id(1)), ..publish(QoS::AtMostOnce) };
    assert_eq!(written(Packet::Publish(without)), Err(Unencodable::PacketId));
    assert_eq!(written(Packet::Publish(with)), Err(Unencodable::PacketId));
}

#[test]
fn answers_keep_the_order_of_the_filters() {
    // [MQTT-3.9.3-1]
    let codes = vec![
        SubAckCode::Granted(QoS::ExactlyOnce),
        SubAckCode::Failure,
        SubAckCode::Granted(QoS::AtMostOnce),
        SubAckCode::Granted(QoS::AtLeastOnce),
    ];
    let bytes = frame(0x90, &[1, 2, 2, 0x80, 0, 1]);
    let packet = Packet::SubAck(SubAck { packet_id: id(258), codes });
    assert_eq!(read_v4(&bytes), Ok(Some(packet.clone())));
    assert_eq!(written(packet), Ok(bytes));
}

#[test]
fn the_remaining_length_has_up_to_four_bytes() {
    for (payload, head) in [(124, 2), (125, 3), (16_380, 3), (16_381, 4)] {
        let message = Publish { payload: vec![7; payload].into(), ..publish(QoS::AtMostOnce) };
        let bytes = written(Packet::Publish(message.clone())).unwrap();
        assert_eq!(bytes.len(), head + 3 + payload);
        assert_eq!(read_v4(&bytes), Ok(Some(Packet::Publish(message))));
    }
    // The standard's table 2.4 allows more bytes than needed; MQTT 5.0 no longer does.
    assert_eq!(read_v4(&[0xc0, 0x80, 0x00]), Ok(Some(Packet::PingReq)));
}

#[test]
fn nothing_forbidden_is_written() {
    let long = "x".repeat(65_536);
    let topic = |topic: &str| Packet::Publish(Publish { topic: topic.into(), ..publish(QoS::AtMostOnce) });
    assert_eq!(written(topic("a\0")), Err(Unencodable::NullCharacter)); // [MQTT-1.5.3-2]
    assert_eq!(written(topic("")), Err(Unencodable::EmptyTopic)); // [MQTT-4.7.3-1]
    assert_eq!(written(topic(&long)), Err(Unencodable::Field(65_536))); // [MQTT-4.7.3-3]
    let duplicate = Publish { dup: true, ..publish(QoS::AtMostOnce) };
    assert_eq!(written(Packet::Publish(duplicate)), Err(Unencodable::DupWithoutQoS)); // [MQTT-3.3.1-2]
    let secret = Connect { password: Some("p".into()), ..connect() };
    assert_eq!(written(Packet::Connect(Box::new(secret))), Err(Unencodable::PasswordWithoutUserName)); // [MQTT-3.1.2-22]
    let subscribe = Packet::Subscribe(Subscribe { packet_id: id(1), filters: vec![] });
    assert_eq!(written(subscribe), Err(Unencodable::NoFilter)); // [MQTT-3.8.3-3]
    let unsubscribe = |filters| Packet::Unsubscribe(Unsubscribe { packet_id: id(1), filters });
    assert_eq!(written(unsubscribe(vec![])), Err(Unencodable::NoFilter)); // [MQTT-3.10.3-2]
    assert_eq!(written(unsubscribe(vec!["".into()])), Err(Unencodable::EmptyTopic));
    let refusal = ConnAck { session_present: true, code: ConnectReturnCode::NotAuthorized };
    assert_eq!(written(Packet::ConnAck(refusal)), Err(Unencodable::SessionPresent)); // [MQTT-3.2.2-4]
}
