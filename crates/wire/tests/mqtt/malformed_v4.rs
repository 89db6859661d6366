//! Packets that MQTT 3.1.1 forbids, and the violation that each is. A server closes the connection without an answer.

use super::{field, frame, read_v4};
use ironbrook_wire::mqtt::topic::TopicFault;
use ironbrook_wire::mqtt::v4::{FILTERS_MAX, Violation};
use ironbrook_wire::mqtt::{PacketType, Sender};

/// A CONNECT of these flags and this payload.
fn connect(flags: u8, payload: &[Vec<u8>]) -> Vec<u8> {
    frame(0x10, &[&b"\0\x04MQTT\x04"[..], &[flags], &[0, 60], &payload.concat()].concat())
}

fn check(cases: &[(&str, Vec<u8>, Violation)]) {
    for (what, bytes, violation) in cases {
        assert_eq!(read_v4(bytes), Err(*violation), "{what}: {bytes:02x?}");
    }
}

#[test]
fn headers() {
    let flags = |packet_type, flags| Violation::Flags { packet_type, flags };
    check(&[
        ("type 0", frame(0x00, &[]), Violation::PacketType(0)),
        ("type 15", frame(0xf0, &[]), Violation::PacketType(15)),
        ("a length of five bytes", vec![0x30, 0xff, 0xff, 0xff, 0xff, 1], Violation::RemainingLength),
        // [MQTT-2.2.2-1] [MQTT-2.2.2-2]: every type but PUBLISH, with all its bits turned
        ("CONNECT", vec![0x1f, 0], flags(1, 15)),
        ("CONNACK", vec![0x21, 0], flags(2, 1)),
        ("PUBACK", vec![0x42, 0], flags(4, 2)),
        ("PUBREC", vec![0x52, 0], flags(5, 2)),
        ("PUBREL", vec![0x60, 0], flags(6, 0)), // [MQTT-3.6.1-1]
        ("PUBREL with DUP", vec![0x6a, 0], flags(6, 10)),
        ("PUBCOMP", vec![0x74, 0], flags(7, 4)),
        ("SUBSCRIBE", vec![0x80, 0], flags(8, 0)), // [MQTT-3.8.1-1]
        ("SUBSCRIBE with DUP", vec![0x8a, 0], flags(8, 10)),
        ("SUBACK", vec![0x92, 0], flags(9, 2)),
        ("UNSUBSCRIBE", vec![0xa0, 0], flags(10, 0)), // [MQTT-3.10.1-1]
        ("UNSUBACK", vec![0xb2, 0], flags(11, 2)),
        ("PINGREQ", vec![0xc1, 0], flags(12, 1)),
        ("PINGRESP", vec![0xd8, 0], flags(13, 8)),
        ("DISCONNECT", vec![0xe1, 0], flags(14, 1)), // [MQTT-3.14.1-1]
    ]);
}

#[test]
fn texts() {
    let topic = |bytes: &[u8]| frame(0x30, &field(bytes));
    check(&[
        // [MQTT-1.5.3-1]
        ("a lone byte", topic(&[0xff]), Violation::Utf8),
        ("a surrogate", topic(&[0xed, 0xa0, 0x80]), Violation::Utf8),
        ("the last surrogate", topic(&[0xed, 0xbf, 0xbf]), Violation::Utf8),
        ("an overlong form", topic(&[0xc1, 0x81]), Violation::Utf8),
        ("above U+10FFFF", topic(&[0xf4, 0x90, 0x80, 0x80]), Violation::Utf8),
        ("a cut character", topic(&[b'a', 0xc3]), Violation::Utf8),
        // [MQTT-1.5.3-2] [MQTT-4.7.3-2]
        ("null", topic(b"a\0b"), Violation::NullCharacter),
        ("an overlong null", topic(&[0xc0, 0x80]), Violation::Utf8),
        // [MQTT-3.3.2-1]
        ("no topic", frame(0x30, &[]), Violation::Truncated),
        ("a topic longer than the packet", frame(0x30, &[0, 5, b'a']), Violation::Truncated),
        // [MQTT-4.7.3-1]
        ("an empty topic", topic(b""), Violation::EmptyTopic),
        // [MQTT-3.8.3-1] [MQTT-3.10.3-1]
        ("a filter not UTF-8", frame(0x82, &[0, 1, 0, 1, 0xff, 0]), Violation::Utf8),
        ("a filter to unsubscribe not UTF-8", frame(0xa2, &[0, 1, 0, 1, 0xff]), Violation::Utf8),
    ]);
}

#[test]
fn connects() {
    let (d, empty) = (field("d"), field(""));
    check(&[
        // [MQTT-3.1.2-1] [MQTT-3.1.2-2]
        ("another name", frame(0x10, b"\0\x04MQTX\x04\x02\0\0\0\0"), Violation::ProtocolName),
        ("level 5", frame(0x10, b"\0\x04MQTT\x05\x02\0\0\0\0\0"), Violation::ProtocolLevel(5)),
        ("MQTT 3.1", frame(0x10, b"\0\x06MQIsdp\x03\x02\0\0\0\0"), Violation::ProtocolLevel(3)),
        ("reserved flag", connect(0x03, std::slice::from_ref(&d)), Violation::ConnectFlagReserved), // [MQTT-3.1.2-3]
        // [MQTT-3.1.2-9] [MQTT-3.1.4-1]
        ("will without fields", connect(0x06, std::slice::from_ref(&d)), Violation::Truncated),
        ("will without message", connect(0x06, &[d.clone(), d.clone()]), Violation::Truncated),
        ("will topic empty", connect(0x06, &[d.clone(), empty.clone(), d.clone()]), Violation::EmptyTopic),
        // [MQTT-3.1.3-10]
        ("will topic not UTF-8", connect(0x06, &[d.clone(), field([0xff]), d.clone()]), Violation::Utf8),
        (
            "will fields without will",
            connect(0x02, &[d.clone(), d.clone(), d.clone()]),
            Violation::TrailingBytes,
        ), // [MQTT-3.1.2-11]
        ("will quality without will", connect(0x0a, std::slice::from_ref(&d)), Violation::WillFlags), // [MQTT-3.1.2-13]
        ("will quality 3", connect(0x1e, &[d.clone(), d.clone(), d.clone()]), Violation::WillFlags), // [MQTT-3.1.2-14]
        ("will retain without will", connect(0x22, std::slice::from_ref(&d)), Violation::WillFlags), // [MQTT-3.1.2-15]
        ("user name without flag", connect(0x02, &[d.clone(), d.clone()]), Violation::TrailingBytes), // [MQTT-3.1.2-18]
        ("no user name", connect(0x82, std::slice::from_ref(&d)), Violation::Truncated), // [MQTT-3.1.2-19]
        (
            "password without flag",
            connect(0x82, &[d.clone(), d.clone(), d.clone()]),
            Violation::TrailingBytes,
        ), // [MQTT-3.1.2-20]
        ("no password", connect(0xc2, &[d.clone(), d.clone()]), Violation::Truncated),   // [MQTT-3.1.2-21]
        ("password alone", connect(0x42, &[d.clone(), d.clone()]), Violation::PasswordWithoutUserName), // [MQTT-3.1.2-22]
        ("no client id", connect(0x02, &[]), Violation::Truncated), // [MQTT-3.1.3-3]
        ("client id not UTF-8", connect(0x02, &[field([0xff])]), Violation::Utf8), // [MQTT-3.1.3-4]
        ("user name not UTF-8", connect(0x82, &[d.clone(), field([0xff])]), Violation::Utf8), // [MQTT-3.1.3-11]
        ("nothing", frame(0x10, &[]), Violation::Truncated),
    ]);
}

#[test]
fn the_other_packets() {
    check(&[
        ("CONNACK with reserved flags", frame(0x20, &[2, 0]), Violation::ConnAckFlags),
        ("a refusal with a session", frame(0x20, &[1, 5]), Violation::ConnAckFlags), // [MQTT-3.2.2-4]
        ("return code 6", frame(0x20, &[0, 6]), Violation::ConnectReturnCode(6)),
        ("DUP at quality 0", frame(0x38, &field("a")), Violation::DupWithoutQoS), // [MQTT-3.3.1-2]
        ("quality 3", frame(0x36, &[&field("a")[..], &[0, 1]].concat()), Violation::QoS), // [MQTT-3.3.1-4]
        // [MQTT-2.3.1-1]
        ("PUBLISH without identifier", frame(0x32, &field("a")), Violation::Truncated),
        (
            "PUBLISH with identifier 0",
            frame(0x34, &[&field("a")[..], &[0, 0]].concat()),
            Violation::PacketIdZero,
        ),
        ("PUBACK with identifier 0", frame(0x40, &[0, 0]), Violation::PacketIdZero),
        ("PUBREC with identifier 0", frame(0x50, &[0, 0]), Violation::PacketIdZero),
        ("PUBREL with identifier 0", frame(0x62, &[0, 0]), Violation::PacketIdZero),
        ("PUBCOMP with identifier 0", frame(0x70, &[0, 0]), Violation::PacketIdZero),
        ("SUBSCRIBE with identifier 0", frame(0x82, &[0, 0, 0, 1, b'a', 0]), Violation::PacketIdZero),
        ("UNSUBSCRIBE with identifier 0", frame(0xa2, &[0, 0, 0, 1, b'a']), Violation::PacketIdZero),
        ("UNSUBACK with identifier 0", frame(0xb0, &[0, 0]), Violation::PacketIdZero),
        ("PUBACK cut", frame(0x40, &[0]), Violation::Truncated),
        ("PUBACK too long", frame(0x40, &[0, 1, 0]), Violation::TrailingBytes),
        ("PINGREQ with a body", frame(0xc0, &[0]), Violation::TrailingBytes),
        ("DISCONNECT with a body", frame(0xe0, &[0]), Violation::TrailingBytes),
        ("no filter", frame(0x82, &[0, 1]), Violation::NoFilter), // [MQTT-3.8.3-3]
        // [MQTT-3.8.3-4]
        ("requested quality 3", frame(0x82, &[0, 1, 0, 1, b'a', 3]), Violation::RequestedQoS),
        ("a reserved bit", frame(0x82, &[0, 1, 0, 1, b'a', 0x40]), Violation::RequestedQoS),
        ("no quality", frame(0x82, &[0, 1, 0, 1, b'a']), Violation::Truncated),
        ("an empty filter", frame(0x82, &[0, 1, 0, 0, 0]), Violation::EmptyTopic), // [MQTT-4.7.3-1]
        ("answer 3", frame(0x90, &[0, 1, 3]), Violation::SubAckCode(3)),           // [MQTT-3.9.3-2]
        ("nothing to unsubscribe", frame(0xa2, &[0, 1]), Violation::NoFilter),     // [MQTT-3.10.3-2]
        ("nothing empty to unsubscribe", frame(0xa2, &[0, 1, 0, 0]), Violation::EmptyTopic),
        (
            "too many filters",
            frame(0xa2, &[&[0, 1][..], &field("a").repeat(FILTERS_MAX + 1)].concat()),
            Violation::TooManyFilters,
        ),
    ]);
}

#[test]
fn only_ordinary_topics_and_the_right_sender_pass_the_check() {
    let name = Violation::TopicName;
    let filter = Violation::TopicFilter;
    let cases = [
        // [MQTT-3.3.2-2] [MQTT-4.7.1-1]
        ("a topic with a wildcard", frame(0x30, &field("a/+")), name(TopicFault::Wildcard)),
        (
            "a will with a wildcard",
            connect(0x06, &[field("d"), field("#"), field("")]),
            name(TopicFault::Wildcard),
        ),
        // [MQTT-4.7.1-2] [MQTT-4.7.1-3]
        (
            "# in the middle",
            frame(0x82, &[0, 1, 0, 3, b'#', b'/', b'a', 0]),
            filter(TopicFault::MultiLevelWildcard),
        ),
        ("+ beside others", frame(0xa2, &[0, 1, 0, 2, b'a', b'+']), filter(TopicFault::SingleLevelWildcard)),
    ];
    for (what, bytes, violation) in cases {
        let packet = read_v4(&bytes).unwrap().unwrap();
        assert_eq!(packet.check(Sender::Client), Err(violation), "{what}");
    }
    let from_server = [PacketType::ConnAck, PacketType::SubAck, PacketType::UnsubAck, PacketType::PingResp];
    let from_client = [
        PacketType::Connect,
        PacketType::Subscribe,
        PacketType::Unsubscribe,
        PacketType::PingReq,
        PacketType::Disconnect,
    ];
    for bytes in super::statements_v4::one_of_each() {
        let packet = read_v4(&bytes).unwrap().unwrap();
        let packet_type = packet.packet_type();
        let verdict = |sender, others: &[PacketType]| {
            if others.contains(&packet_type) {
                Err(Violation::Sender { packet_type, sender })
            } else {
                Ok(())
            }
        };
        assert_eq!(packet.check(Sender::Client), verdict(Sender::Client, &from_server));
        assert_eq!(packet.check(Sender::Server), verdict(Sender::Server, &from_client));
    }
}
