//! What MQTT 5.0 allows, byte for byte, and what the encoder refuses to write.

use super::{MAX, field, frame, id, properties, read_v5};
use bytes::{Bytes, BytesMut};
use ironbrook_wire::mqtt::PacketType;
use ironbrook_wire::mqtt::v5::*;

fn written(packet: Packet) -> Result<Vec<u8>, Unencodable> {
    let mut out = BytesMut::new();
    encode(&packet, &mut out).map(|()| out.to_vec()).inspect_err(|_| assert!(out.is_empty()))
}

fn publish(qos: QoS) -> Publish {
    let packet_id = (qos != QoS::AtMostOnce).then(|| id(258));
    let properties = PublishProperties::default();
    Publish {
        dup: false,
        qos,
        retain: false,
        topic: "t".into(),
        packet_id,
        properties,
        payload: Bytes::from_static(b"p"),
    }
}

fn connect() -> Connect {
    let properties = ConnectProperties::default();
    Connect {
        client_id: "d".into(),
        keep_alive: 60,
        clean_start: true,
        will: None,
        username: None,
        password: None,
        properties,
    }
}

/// Read, written again, and the same bytes.
fn both_ways(bytes: Vec<u8>, expected: Packet) {
    assert_eq!(read_v5(&bytes), Ok(Some(expected.clone())));
    assert_eq!(written(expected), Ok(bytes));
}

#[test]
fn a_connect_has_its_fields_in_order() {
    // [MQTT-3.1.3-1] [MQTT-3.1.2-9]
    let will_properties = properties(&[0x18, 0, 0, 0, 5]);
    let payload =
        [field("client"), will_properties, field("will"), field("message"), field("user"), field("password")]
            .concat();
    let head = [&b"\0\x04MQTT\x05\xf4\x01\x02"[..], &properties(&[0x11, 0, 0, 0, 9])].concat();
    let will = Will {
        topic: "will".into(),
        payload: "message".into(),
        qos: QoS::ExactlyOnce,
        retain: true,
        properties: WillProperties { will_delay_interval: Some(5), ..Default::default() },
    };
    let expected = Connect {
        client_id: "client".into(),
        keep_alive: 258,
        clean_start: false,
        will: Some(will),
        username: Some("user".into()),
        password: Some("password".into()),
        properties: ConnectProperties { session_expiry_interval: Some(9), ..Default::default() },
    };
    both_ways(frame(0x10, &[head, payload].concat()), Packet::Connect(Box::new(expected)));
}

#[test]
fn a_password_needs_no_user_name() {
    // Section 3.1.2.9, other than MQTT 3.1.1.
    let bytes = frame(0x10, &[&b"\0\x04MQTT\x05\x42\0\x3c\0"[..], &field("d"), &field("p")].concat());
    both_ways(bytes, Packet::Connect(Box::new(Connect { password: Some("p".into()), ..connect() })));
}

#[test]
fn a_byte_order_mark_stays() {
    // [MQTT-1.5.4-3]
    let Ok(Some(Packet::Publish(got))) = read_v5(&frame(0x30, b"\0\x04\xef\xbb\xbfa\0")) else {
        panic!("a PUBLISH")
    };
    assert_eq!(got.topic.as_bytes()[..], [0xef, 0xbb, 0xbf, b'a']);
}

#[test]
fn a_message_has_an_identifier_exactly_where_it_is_acknowledged() {
    // [MQTT-2.2.1-2] [MQTT-2.2.2-1]: no identifier, and a length of properties even if there are none.
    both_ways(b"\x30\x05\0\x01t\0p".to_vec(), Packet::Publish(publish(QoS::AtMostOnce)));
    both_ways(b"\x32\x07\0\x01t\x01\x02\0p".to_vec(), Packet::Publish(publish(QoS::AtLeastOnce)));
    let again = Publish { dup: true, retain: true, ..publish(QoS::ExactlyOnce) };
    both_ways(b"\x3d\x07\0\x01t\x01\x02\0p".to_vec(), Packet::Publish(again));
    let without = Publish { packet_id: None, ..publish(QoS::AtLeastOnce) };
    let with = Publish { packet_id: Some(id(1)), ..publish(QoS::AtMostOnce) };
    assert_eq!(written(Packet::Publish(without)), Err(Unencodable::PacketId));
    assert_eq!(written(Packet::Publish(with)), Err(Unencodable::PacketId));
}

#[test]
fn an_alias_stands_for_a_topic() {
    let mut message = publish(QoS::AtMostOnce);
    message.topic = "".into();
    assert_eq!(written(Packet::Publish(message.clone())), Err(Unencodable::EmptyTopic));
    message.properties.topic_alias = std::num::NonZeroU16::new(258);
    both_ways(b"\x30\x07\0\0\x03\x23\x01\x02p".to_vec(), Packet::Publish(message));
}

#[test]
fn the_shortest_answers_are_those_of_the_version_before() {
    type Wrap = fn(Ack) -> Packet;
    let acks: [(u8, Wrap); 4] =
        [(0x40, Packet::PubAck), (0x50, Packet::PubRec), (0x62, Packet::PubRel), (0x70, Packet::PubComp)];
    for (first, wrap) in acks {
        both_ways(frame(first, &[1, 2]), wrap(Ack::success(id(258))));
        // Longer forms of the same are taken.
        for rest in [&[1, 2, 0][..], &[1, 2, 0, 0]] {
            assert_eq!(read_v5(&frame(first, rest)), Ok(Some(wrap(Ack::success(id(258))))));
        }
        let properties = AckProperties { reason_string: Some("no".into()), ..Default::default() };
        let explained = Ack { properties, ..Ack::success(id(258)) };
        both_ways(frame(first, &[1, 2, 0, 5, 0x1f, 0, 2, b'n', b'o']), wrap(explained));
    }
    both_ways(
        frame(0x40, &[1, 2, 0x10]),
        Packet::PubAck(Ack::new(id(258), ReasonCode::NoMatchingSubscribers)),
    );
    both_ways(
        frame(0x70, &[1, 2, 0x92]),
        Packet::PubComp(Ack::new(id(258), ReasonCode::PacketIdentifierNotFound)),
    );
    both_ways(frame(0xe0, &[]), Packet::Disconnect(Disconnect::new(ReasonCode::NORMAL_DISCONNECTION)));
    both_ways(frame(0xe0, &[0x04]), Packet::Disconnect(Disconnect::new(ReasonCode::DisconnectWithWill)));
    assert_eq!(read_v5(&frame(0xe0, &[0, 0])), read_v5(&frame(0xe0, &[])));
    both_ways(
        frame(0xf0, &[]),
        Packet::Auth(Auth { reason: ReasonCode::Success, properties: Default::default() }),
    );
    // rule MQTT-35
    assert_eq!(read_v5(&frame(0xf0, &[0, 0])), read_v5(&frame(0xf0, &[])));
    both_ways(frame(0xc0, &[]), Packet::PingReq);
    both_ways(frame(0xd0, &[]), Packet::PingResp);
}

#[test]
fn answers_keep_the_order_of_the_filters() {
    // [MQTT-3.9.3-1] [MQTT-3.11.3-1]
    let reasons = vec![ReasonCode::GrantedQoS2, ReasonCode::NotAuthorized, ReasonCode::GRANTED_QOS_0];
    let sub_ack = SubAck { packet_id: id(258), properties: Default::default(), reasons };
    both_ways(frame(0x90, &[1, 2, 0, 2, 0x87, 0]), Packet::SubAck(sub_ack));
    let reasons = vec![ReasonCode::NoSubscriptionExisted, ReasonCode::Success];
    let unsub_ack = UnsubAck { packet_id: id(258), properties: Default::default(), reasons };
    both_ways(frame(0xb0, &[1, 2, 0, 0x11, 0]), Packet::UnsubAck(unsub_ack));
}

#[test]
fn subscription_options_are_bits() {
    let wish = SubscribeFilter {
        no_local: true,
        retain_as_published: true,
        retain_handling: RetainHandling::DoNotSend,
        ..SubscribeFilter::new("a/#", QoS::ExactlyOnce)
    };
    let plain = SubscribeFilter::new("b", QoS::AtMostOnce);
    let properties =
        SubscribeProperties { subscription_identifier: SubscriptionId::new(300), ..Default::default() };
    let subscribe = Subscribe { packet_id: id(1), properties, filters: vec![wish, plain] };
    let bytes = [&[0, 1, 3, 0x0b, 0xac, 0x02][..], &field("a/#"), &[0b10_1110], &field("b"), &[0]].concat();
    both_ways(frame(0x82, &bytes), Packet::Subscribe(subscribe));
    assert_eq!((SubscriptionId::new(0), SubscriptionId::new(268_435_456)), (None, None));
}

#[test]
fn user_properties_are_unaltered_in_order_and_not_copied() {
    // [MQTT-3.3.2-17] [MQTT-3.3.2-18] [MQTT-1.5.7-1], also where the names repeat
    let pair = |name: &str, value: &str| [&[0x26][..], &field(name), &field(value)].concat();
    let pairs = [pair("b", "1"), pair("a", "2"), pair("b", ""), pair("b", "1")].concat();
    let bytes = frame(0x30, &[field("t"), properties(&[&pairs[..], &[0x01, 1]].concat())].concat());
    let mut buffer = BytesMut::from(&bytes[..]);
    let memory = buffer.as_ptr_range();
    let Ok(Some(Packet::Publish(got))) = decode(&mut buffer, MAX) else { panic!("a PUBLISH") };
    let user = &got.properties.user;
    assert_eq!(user.iter().collect::<Vec<_>>(), [("b", "1"), ("a", "2"), ("b", ""), ("b", "1")]);
    assert_eq!((user.len(), user.wire_len(), user.is_empty()), (4, pairs.len(), false));
    assert_eq!((user.get("b"), user.get("c")), (Some("1"), None));
    assert!(user.iter().all(|(name, _)| memory.contains(&name.as_ptr())));
    // Other properties between them change nothing.
    let apart =
        [pair("b", "1"), vec![0x01, 1], pair("a", "2"), vec![0x23, 0, 1], pair("b", ""), pair("b", "1")]
            .concat();
    let bytes = frame(0x30, &[field("t"), properties(&apart)].concat());
    let Ok(Some(Packet::Publish(other))) = read_v5(&bytes) else { panic!("a PUBLISH") };
    assert_eq!(other.properties.user, *user);
    assert_eq!(UserProperties::from_pairs(user.iter()).as_ref(), Ok(user));
}

#[test]
fn texts_and_payloads_share_the_read_buffer() {
    let mut message = publish(QoS::AtLeastOnce);
    message.properties.response_topic = Some("answer/here".into());
    message.properties.correlation_data = Some(Bytes::from_static(b"correlation"));
    message.properties.content_type = Some("text/plain".into());
    let mut buffer = BytesMut::new();
    encode(&Packet::Publish(message.clone()), &mut buffer).unwrap();
    let memory = buffer.as_ptr_range();
    let Ok(Some(Packet::Publish(got))) = decode(&mut buffer, MAX) else { panic!("a PUBLISH") };
    assert_eq!(got, message);
    let properties = got.properties;
    let texts = [Some(got.topic), properties.response_topic, properties.content_type]
        .map(|text| text.unwrap().into_bytes());
    let all = texts.into_iter().chain([got.payload, properties.correlation_data.unwrap()]);
    assert!(all.into_iter().all(|bytes| memory.contains(&bytes.as_ptr())));
}

#[test]
fn nothing_forbidden_is_written() {
    let long = "x".repeat(65_536);
    let topic = |topic: &str| Packet::Publish(Publish { topic: topic.into(), ..publish(QoS::AtMostOnce) });
    assert_eq!(written(topic("a\0")), Err(Unencodable::NullCharacter)); // [MQTT-1.5.4-2]
    assert_eq!(written(topic(&long)), Err(Unencodable::Field(65_536))); // [MQTT-4.7.3-3]
    let duplicate = Publish { dup: true, ..publish(QoS::AtMostOnce) };
    assert_eq!(written(Packet::Publish(duplicate)), Err(Unencodable::DupWithoutQoS)); // [MQTT-3.3.1-2] [MQTT-4.3.1-1]
    assert_eq!(UserProperties::from_pairs([("a", "b\0")]), Err(Unencodable::NullCharacter)); // [MQTT-1.5.7-1]
    let subscribe = |filters| Subscribe { packet_id: id(1), properties: Default::default(), filters };
    assert_eq!(written(Packet::Subscribe(subscribe(vec![]))), Err(Unencodable::NoFilter)); // [MQTT-3.8.3-2]
    let empty = subscribe(vec![SubscribeFilter::new("", QoS::AtMostOnce)]);
    assert_eq!(written(Packet::Subscribe(empty)), Err(Unencodable::EmptyTopic)); // [MQTT-4.7.3-1]
    let nothing = Unsubscribe { packet_id: id(1), properties: Default::default(), filters: vec![] };
    assert_eq!(written(Packet::Unsubscribe(nothing)), Err(Unencodable::NoFilter)); // [MQTT-3.10.3-2]
    let silent = SubAck { packet_id: id(1), properties: Default::default(), reasons: vec![] };
    assert_eq!(written(Packet::SubAck(silent)), Err(Unencodable::NoReasonCode));
    let session = ConnAck { session_present: true, ..ConnAck::refusal(ReasonCode::NotAuthorized) };
    assert_eq!(written(Packet::ConnAck(Box::new(session))), Err(Unencodable::SessionPresent)); // [MQTT-3.2.2-6]
    let mut best = ConnAck::refusal(ReasonCode::Success);
    best.properties.maximum_qos = Some(QoS::ExactlyOnce);
    let refused = Err(Unencodable::PropertyValue(PropertyId::MaximumQoS));
    assert_eq!(written(Packet::ConnAck(Box::new(best))), refused);
    let nameless = Auth { reason: ReasonCode::ContinueAuthentication, properties: Default::default() };
    assert_eq!(written(Packet::Auth(nameless)), Err(Unencodable::NoAuthMethod)); // [MQTT-4.12.0-5]
    let mut data = connect();
    data.properties.authentication_data = Some(AuthData("x".into()));
    assert_eq!(written(Packet::Connect(Box::new(data))), Err(Unencodable::NoAuthMethod));
}

#[test]
fn a_packet_is_not_written_with_a_reason_code_of_others() {
    // [MQTT-3.2.2-8] [MQTT-3.4.2-1] [MQTT-3.5.2-1] [MQTT-3.6.2-1] [MQTT-3.7.2-1] [MQTT-3.9.3-2] [MQTT-3.11.3-2]
    // [MQTT-3.14.2-1] [MQTT-3.15.2-1]
    for &code in ReasonCode::ALL {
        let ack = || Ack::new(id(1), code);
        let method = AuthProperties { authentication_method: Some("m".into()), ..Default::default() };
        let packets = [
            Packet::ConnAck(Box::new(ConnAck::refusal(code))),
            Packet::PubAck(ack()),
            Packet::PubRec(ack()),
            Packet::PubRel(ack()),
            Packet::PubComp(ack()),
            Packet::SubAck(SubAck { packet_id: id(1), properties: Default::default(), reasons: vec![code] }),
            Packet::UnsubAck(UnsubAck {
                packet_id: id(1),
                properties: Default::default(),
                reasons: vec![code],
            }),
            Packet::Disconnect(Disconnect::new(code)),
            Packet::Auth(Auth { reason: code, properties: method }),
        ];
        for packet in packets {
            let packet_type: PacketType = packet.packet_type();
            match written(packet) {
                Ok(_) => assert!(code.is_allowed_in(packet_type)),
                Err(error) => {
                    assert!(!code.is_allowed_in(packet_type));
                    assert_eq!(error, Unencodable::ReasonCode { packet_type, code });
                }
            }
        }
    }
}

#[test]
fn debug_hides_secrets() {
    let mut connect = Connect { password: Some("canary".into()), ..connect() };
    connect.properties.authentication_method = Some("m".into());
    connect.properties.authentication_data = Some(AuthData("canary".into()));
    assert!(!format!("{:?}", Packet::Connect(Box::new(connect))).contains("canary"));
}
