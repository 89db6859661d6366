//! Packets that MQTT 5.0 forbids, the violation that each is, and the reason code to answer.

use super::{field, frame, properties, read_v5, variable_byte_integer};
use ironbrook_wire::mqtt::topic::TopicFault;
use ironbrook_wire::mqtt::v5::ReasonCode::{self, *};
use ironbrook_wire::mqtt::v5::{FILTERS_MAX, PropertyId, Violation};
use ironbrook_wire::mqtt::{PacketType, Sender};

type Case<'a> = (&'a str, Vec<u8>, Violation, ReasonCode);

/// A CONNECT of these flags and this payload.
fn connect(flags: u8, payload: &[Vec<u8>]) -> Vec<u8> {
    frame(0x10, &[&b"\0\x04MQTT\x05"[..], &[flags], &[0, 60], &[0], &payload.concat()].concat())
}

/// A PUBLISH of quality 0 with these properties.
fn publish(topic: &str, bytes: &[u8]) -> Vec<u8> {
    frame(0x30, &[field(topic), properties(bytes)].concat())
}

/// A SUBSCRIBE of one filter.
fn subscribe(filter: impl AsRef<[u8]>, options: u8) -> Vec<u8> {
    frame(0x82, &[&[0, 1, 0][..], &field(filter), &[options]].concat())
}

// Also [MQTT-4.13.1-1]: a violation has the reason code that the connection is closed with.
fn check(cases: &[Case<'_>]) {
    for (what, bytes, violation, reason) in cases {
        assert_eq!(read_v5(bytes), Err(*violation), "{what}: {bytes:02x?}");
        assert_eq!(violation.reason(), *reason, "{what}");
    }
}

#[test]
fn headers() {
    check(&[
        ("type 0", frame(0x00, &[]), Violation::PacketType(0), MalformedPacket),
        // [MQTT-1.5.5-1]
        (
            "a length of five bytes",
            vec![0x30, 0xff, 0xff, 0xff, 0xff, 1],
            Violation::VariableByteInteger,
            MalformedPacket,
        ),
        (
            "a length with a byte too many",
            vec![0xc0, 0x80, 0],
            Violation::VariableByteInteger,
            MalformedPacket,
        ),
        (
            "a length with two bytes too many",
            vec![0xc0, 0x81, 0x80, 0],
            Violation::VariableByteInteger,
            MalformedPacket,
        ),
    ]);
    // [MQTT-2.1.3-1] [MQTT-3.6.1-1] [MQTT-3.8.1-1] [MQTT-3.10.1-1] [MQTT-3.14.1-1] [MQTT-3.15.1-1]: all flags of all types
    for number in (1..=15).filter(|number| *number != 3) {
        let packet_type = PacketType::from_number(number).unwrap();
        let wanted = if [6, 8, 10].contains(&number) { 2 } else { 0 };
        for flags in (0..16).filter(|flags| *flags != wanted) {
            let violation = Violation::Flags { packet_type, flags };
            check(&[("flags", vec![number << 4 | flags, 0], violation, MalformedPacket)]);
        }
    }
}

#[test]
fn texts() {
    // [MQTT-1.5.4-1] [MQTT-1.5.4-2] [MQTT-4.7.3-2], in every text that a packet may have
    let bad: &[(&[u8], Violation)] = &[
        (&[0xff], Violation::Utf8),
        (&[0xed, 0xa0, 0x80], Violation::Utf8),
        (&[0xed, 0xbf, 0xbf], Violation::Utf8),
        (&[0xc1, 0x81], Violation::Utf8),
        (&[0xc0, 0x80], Violation::Utf8),
        (&[0xf4, 0x90, 0x80, 0x80], Violation::Utf8),
        (&[b'a', 0xc3], Violation::Utf8),
        (b"a\0b", Violation::NullCharacter),
    ];
    for (text, violation) in bad {
        let (text, d) = (field(text), field("d"));
        let property = |id: u8| [&[id][..], &text].concat();
        let will = |bytes: &[u8]| connect(0x06, &[d.clone(), properties(bytes), d.clone(), d.clone()]);
        let cases = [
            ("topic", frame(0x30, &text)),                             // [MQTT-3.3.2-1]
            ("client id", connect(0x02, std::slice::from_ref(&text))), // [MQTT-3.1.3-4]
            ("will topic", connect(0x06, &[d.clone(), vec![0], text.clone(), d.clone()])), // [MQTT-3.1.3-11]
            ("user name", connect(0x82, &[d.clone(), text.clone()])),  // [MQTT-3.1.3-12]
            ("filter", subscribe(&text[2..], 0)),                      // [MQTT-3.8.3-1]
            ("filter to unsubscribe", frame(0xa2, &[&[0, 1, 0][..], &text].concat())), // [MQTT-3.10.3-1]
            ("response topic", publish("a", &property(0x08))),         // [MQTT-3.3.2-13]
            ("content type", publish("a", &property(0x03))),           // [MQTT-3.3.2-19]
            ("content type of a will", will(&property(0x03))),
            ("reason string", frame(0xe0, &[&[0x81][..], &properties(&property(0x1f))].concat())),
            ("name of a user property", publish("a", &[property(0x26), d.clone()].concat())), // [MQTT-1.5.7-1]
            ("value of a user property", publish("a", &[&[0x26][..], &d, &text].concat())), // [MQTT-1.5.7-1]
        ];
        for (what, bytes) in cases {
            check(&[(what, bytes, *violation, MalformedPacket)]);
        }
    }
}

#[test]
fn connects() {
    let (d, p) = (field("d"), vec![0]);
    let malformed = |what, bytes, violation| (what, bytes, violation, MalformedPacket);
    check(&[
        // [MQTT-3.1.2-1] [MQTT-3.1.2-2]
        (
            "another name",
            frame(0x10, b"\0\x04MQTX\x05\x02\0\0\0\0\0"),
            Violation::ProtocolName,
            UnsupportedProtocolVersion,
        ),
        (
            "level 4",
            frame(0x10, b"\0\x04MQTT\x04\x02\0\0\0\0"),
            Violation::ProtocolLevel(4),
            UnsupportedProtocolVersion,
        ),
        malformed("reserved flag", connect(0x03, std::slice::from_ref(&d)), Violation::ConnectFlagReserved), // [MQTT-3.1.2-3]
        // [MQTT-3.1.2-9] [MQTT-3.1.4-1]
        malformed("will without fields", connect(0x06, std::slice::from_ref(&d)), Violation::Truncated),
        malformed("will without topic", connect(0x06, &[d.clone(), p.clone()]), Violation::Truncated),
        malformed(
            "will without message",
            connect(0x06, &[d.clone(), p.clone(), d.clone()]),
            Violation::Truncated,
        ),
        (
            "will topic empty",
            connect(0x06, &[d.clone(), p.clone(), field(""), d.clone()]),
            Violation::EmptyTopic,
            ProtocolError,
        ),
        malformed(
            "will fields without will",
            connect(0x02, &[d.clone(), p.clone(), d.clone(), d.clone()]),
            Violation::TrailingBytes,
        ), // [MQTT-3.1.3-1]
        malformed("will quality without will", connect(0x0a, std::slice::from_ref(&d)), Violation::WillFlags), // [MQTT-3.1.2-11]
        malformed(
            "will quality 3",
            connect(0x1e, &[d.clone(), p.clone(), d.clone(), d.clone()]),
            Violation::WillFlags,
        ), // [MQTT-3.1.2-12]
        malformed("will retain without will", connect(0x22, std::slice::from_ref(&d)), Violation::WillFlags), // [MQTT-3.1.2-13]
        malformed("user name without flag", connect(0x02, &[d.clone(), d.clone()]), Violation::TrailingBytes), // [MQTT-3.1.2-16]
        malformed("no user name", connect(0x82, std::slice::from_ref(&d)), Violation::Truncated), // [MQTT-3.1.2-17]
        malformed(
            "password without flag",
            connect(0x82, &[d.clone(), d.clone(), d.clone()]),
            Violation::TrailingBytes,
        ), // [MQTT-3.1.2-18]
        malformed("no password", connect(0x42, std::slice::from_ref(&d)), Violation::Truncated), // [MQTT-3.1.2-19]
        malformed("no client id", connect(0x02, &[]), Violation::Truncated), // [MQTT-3.1.3-3]
        malformed("no properties", frame(0x10, b"\0\x04MQTT\x05\x02\0\0"), Violation::Truncated), // [MQTT-2.2.2-1]
        malformed("nothing", frame(0x10, &[]), Violation::Truncated),
        (
            "authentication data alone",
            frame(0x10, &[&b"\0\x04MQTT\x05\x02\0\0"[..], &properties(&[0x16, 0, 1, 7]), &d].concat()),
            Violation::NoAuthMethod,
            ProtocolError,
        ),
    ]);
}

#[test]
fn messages_and_their_answers() {
    let malformed = |what, bytes, violation| (what, bytes, violation, MalformedPacket);
    let protocol = |what, bytes, violation| (what, bytes, violation, ProtocolError);
    let topic_id = |number: u8| [&field("a")[..], &[0, number, 0]].concat();
    check(&[
        malformed("CONNACK with reserved flags", frame(0x20, &[2, 0, 0]), Violation::ConnAckFlags), // [MQTT-3.2.2-1]
        malformed("a refusal with a session", frame(0x20, &[1, 0x87, 0]), Violation::ConnAckFlags), // [MQTT-3.2.2-6]
        malformed("CONNACK without properties", frame(0x20, &[0, 0]), Violation::Truncated), // [MQTT-2.2.2-1]
        malformed(
            "DUP at quality 0",
            frame(0x38, &[&field("a")[..], &[0]].concat()),
            Violation::DupWithoutQoS,
        ), // [MQTT-3.3.1-2]
        malformed("quality 3", frame(0x36, &topic_id(1)), Violation::QoS),                   // [MQTT-3.3.1-4]
        malformed("no topic", frame(0x30, &[]), Violation::Truncated),                       // [MQTT-3.3.2-1]
        malformed("no properties", frame(0x30, &field("a")), Violation::Truncated),          // [MQTT-2.2.2-1]
        protocol("no topic and no alias", publish("", &[]), Violation::EmptyTopic),          // [MQTT-4.7.3-1]
        // [MQTT-3.3.2-8], rule MQTT-33
        (
            "alias 0",
            publish("a", &[0x23, 0, 0]),
            Violation::PropertyValue(PropertyId::TopicAlias),
            TopicAliasInvalid,
        ),
        // [MQTT-2.2.1-3] [MQTT-2.2.1-4]
        protocol("PUBLISH with identifier 0", frame(0x32, &topic_id(0)), Violation::PacketIdZero),
        protocol("PUBACK with identifier 0", frame(0x40, &[0, 0]), Violation::PacketIdZero),
        protocol("PUBREC with identifier 0", frame(0x50, &[0, 0]), Violation::PacketIdZero),
        protocol("PUBREL with identifier 0", frame(0x62, &[0, 0]), Violation::PacketIdZero),
        protocol("PUBCOMP with identifier 0", frame(0x70, &[0, 0]), Violation::PacketIdZero),
        protocol("SUBSCRIBE with identifier 0", frame(0x82, b"\0\0\0\0\x01a\0"), Violation::PacketIdZero),
        protocol("UNSUBSCRIBE with identifier 0", frame(0xa2, b"\0\0\0\0\x01a"), Violation::PacketIdZero),
        malformed("PUBLISH without identifier", frame(0x32, &field("a")), Violation::Truncated),
        malformed("PUBACK cut", frame(0x40, &[0]), Violation::Truncated),
        malformed("PUBACK too long", frame(0x40, &[0, 1, 0, 0, 0]), Violation::TrailingBytes),
        malformed("PINGREQ with a body", frame(0xc0, &[0]), Violation::TrailingBytes),
        malformed("PINGRESP with a body", frame(0xd0, &[0]), Violation::TrailingBytes),
        malformed("DISCONNECT too long", frame(0xe0, &[0, 0, 0]), Violation::TrailingBytes),
        protocol("AUTH without method", frame(0xf0, &[0x18, 0]), Violation::NoAuthMethod),
        malformed("AUTH without properties", frame(0xf0, &[0x18]), Violation::Truncated),
    ]);
}

#[test]
fn subscriptions() {
    let malformed = |what, bytes, violation| (what, bytes, violation, MalformedPacket);
    let protocol = |what, bytes, violation| (what, bytes, violation, ProtocolError);
    check(&[
        protocol("no filter", frame(0x82, &[0, 1, 0]), Violation::NoFilter), // [MQTT-3.8.3-2]
        malformed("a filter without options", frame(0x82, b"\0\x01\0\0\x01a"), Violation::Truncated),
        protocol("an empty filter", subscribe("", 0), Violation::EmptyTopic), // [MQTT-4.7.3-1]
        protocol("requested quality 3", subscribe("a", 3), Violation::RequestedQoS),
        protocol("retain handling 3", subscribe("a", 0x30), Violation::RetainHandling),
        // [MQTT-3.8.3-5]
        malformed("reserved bit 6", subscribe("a", 0x40), Violation::SubscriptionOptions),
        malformed("reserved bit 7", subscribe("a", 0x80), Violation::SubscriptionOptions),
        protocol("nothing to unsubscribe", frame(0xa2, &[0, 1, 0]), Violation::NoFilter), // [MQTT-3.10.3-2]
        protocol("an empty filter to unsubscribe", frame(0xa2, &[0, 1, 0, 0, 0]), Violation::EmptyTopic),
        protocol("SUBACK without answers", frame(0x90, &[0, 1, 0]), Violation::NoReasonCode),
        protocol("UNSUBACK without answers", frame(0xb0, &[0, 1, 0]), Violation::NoReasonCode),
        (
            "too many filters",
            frame(0xa2, &[&[0, 1, 0][..], &field("a").repeat(FILTERS_MAX + 1)].concat()),
            Violation::TooManyFilters,
            QuotaExceeded,
        ),
        (
            "too many answers",
            frame(0xb0, &[&[0, 1, 0][..], &vec![0; FILTERS_MAX + 1]].concat()),
            Violation::TooManyFilters,
            QuotaExceeded,
        ),
    ]);
}

#[test]
fn property_blocks() {
    let malformed = |what, bytes, violation| (what, bytes, violation, MalformedPacket);
    let block = |bytes: &[u8]| frame(0x30, &[&field("a")[..], bytes].concat());
    let overlong = [&[0x8b, 0][..], &variable_byte_integer(7)].concat();
    check(&[
        malformed("a block longer than the packet", block(&[2, 0x01]), Violation::Truncated),
        malformed("a block that ends within a value", block(&[2, 0x23, 0, 1]), Violation::Truncated),
        malformed(
            "a block that ends within a text",
            block(&[4, 0x03, 0, 5, b'a', b'b', b'c']),
            Violation::Truncated,
        ),
        malformed(
            "a block that ends within a user property",
            block(&[4, 0x26, 0, 1, b'a', 0]),
            Violation::Truncated,
        ),
        malformed("a length with a byte too many", block(&[0x80, 0]), Violation::VariableByteInteger), // [MQTT-1.5.5-1]
        malformed(
            "an identifier with a byte too many",
            publish("a", &overlong),
            Violation::VariableByteInteger,
        ),
        malformed(
            "a subscription number with a byte too many",
            publish("a", &[0x0b, 0x87, 0]),
            Violation::VariableByteInteger,
        ),
        malformed(
            "a subscription number of five bytes",
            publish("a", &[0x0b, 255, 255, 255, 255, 1]),
            Violation::VariableByteInteger,
        ),
        malformed("identifier 0", publish("a", &[0, 0]), Violation::PropertyUnknown(0)),
        malformed("identifier 300", publish("a", &[0xac, 2, 0]), Violation::PropertyUnknown(300)),
    ]);
}

#[test]
fn only_ordinary_topics_and_the_right_sender_pass_the_check() {
    let response = |topic: &str| [&[0x08][..], &field(topic)].concat();
    let unsubscribe = |filter| frame(0xa2, &[&[0, 1, 0][..], &field(filter)].concat());
    let name = |fault| (Violation::TopicName(fault), TopicNameInvalid);
    let filter = |fault| (Violation::TopicFilter(fault), TopicFilterInvalid);
    let subscription_id =
        Violation::PropertySender { id: PropertyId::SubscriptionIdentifier, sender: Sender::Client };
    let reference = Violation::PropertySender { id: PropertyId::ServerReference, sender: Sender::Client };
    let cases = [
        ("a wildcard in a topic", publish("a/#", &[]), name(TopicFault::Wildcard)), // [MQTT-3.3.2-2] [MQTT-4.7.0-1]
        ("a wildcard in a response topic", publish("a", &response("+")), name(TopicFault::Wildcard)), // [MQTT-3.3.2-14]
        ("an empty response topic", publish("a", &response("")), name(TopicFault::Empty)), // [MQTT-4.7.3-1]
        (
            "a wildcard in a will",
            connect(0x06, &[field("d"), vec![0], field("+"), field("")]),
            name(TopicFault::Wildcard),
        ),
        (
            "a wildcard in the response topic of a will",
            connect(0x06, &[field("d"), properties(&response("#")), field("a"), field("")]),
            name(TopicFault::Wildcard),
        ),
        ("# in the middle", subscribe("#/a", 0), filter(TopicFault::MultiLevelWildcard)), // [MQTT-4.7.1-1]
        ("+ beside others", unsubscribe("a+"), filter(TopicFault::SingleLevelWildcard)),  // [MQTT-4.7.1-2]
        ("a shared subscription without a group", subscribe("$share//a", 0), filter(TopicFault::ShareName)), // [MQTT-4.8.2-1]
        ("a shared subscription without a filter", subscribe("$share/g", 0), filter(TopicFault::ShareFilter)), // [MQTT-4.8.2-2]
        (
            "no local on a shared subscription",
            subscribe("$share/g/a", 4),
            (Violation::NoLocalOnShared, ProtocolError),
        ), // [MQTT-3.8.3-4]
        ("a subscription number from a client", publish("a", &[0x0b, 1]), (subscription_id, ProtocolError)), // [MQTT-3.3.4-6]
        (
            "a server reference from a client",
            frame(0xe0, &[0, 4, 0x1c, 0, 1, b'a']),
            (reference, ProtocolError),
        ),
    ];
    for (what, bytes, (violation, reason)) in cases {
        let packet = read_v5(&bytes).unwrap().unwrap();
        assert_eq!(packet.check(Sender::Client), Err(violation), "{what}");
        assert_eq!(violation.reason(), reason, "{what}");
    }
    // [MQTT-3.14.2-2]
    let packet = read_v5(&frame(0xe0, &[0, 5, 0x11, 0, 0, 0, 0])).unwrap().unwrap();
    let expiry = Violation::PropertySender { id: PropertyId::SessionExpiryInterval, sender: Sender::Server };
    assert_eq!((packet.check(Sender::Client), packet.check(Sender::Server)), (Ok(()), Err(expiry)));
    for good in [
        publish("a", &response("a/b")),
        subscribe("a/+/#", 4),
        unsubscribe("$share/g/a"),
        subscribe("$share/g/#", 0),
    ] {
        assert_eq!(read_v5(&good).unwrap().unwrap().check(Sender::Client), Ok(()));
    }
}
