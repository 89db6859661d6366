//! The first packet, its version, and what is answered to what is not served.

use super::{MAX, field, frame, generate_v4, generate_v5, properties};
use bytes::BytesMut;
use ironbrook_wire::mqtt::first::{First, Refused, decode_first};
use ironbrook_wire::mqtt::{v4, v5};
use proptest::prelude::*;

fn connect(name: &str, level: u8, rest: &[u8]) -> Vec<u8> {
    frame(0x10, &[&field(name), &[level][..], rest].concat())
}

#[test]
fn mqtt_32_what_is_not_served_gets_the_answer_of_its_version() {
    let v4_rest = &[2, 0, 60, 0, 1, b'd'];
    let v5_rest = &[2, 0, 60, 0, 0, 1, b'd'];
    let level_1 = &[0x20, 2, 0, 1][..];
    let cases: &[(&str, Vec<u8>, Refused, &[u8])] = &[
        // [MQTT-3.1.0-1]
        ("PINGREQ", frame(0xc0, &[]), Refused::NotConnect(0xc0), &[]),
        ("CONNECT with flags", frame(0x11, &[]), Refused::NotConnect(0x11), &[]),
        ("TLS", vec![0x16, 3, 1, 2, 0], Refused::NotConnect(0x16), &[]),
        ("HTTP", b"GET / HTTP/1.1".to_vec(), Refused::NotConnect(b'G'), &[]),
        // [MQTT-3.1.2-1]
        ("another name", connect("MQTX", 4, v4_rest), Refused::ProtocolName, &[]),
        ("a longer name", connect("MQTTX", 4, v4_rest), Refused::ProtocolName, &[]),
        ("a name in lower case", connect("mqtt", 5, v5_rest), Refused::ProtocolName, &[]),
        // [MQTT-3.1.2-2]
        ("MQTT 3.1", connect("MQIsdp", 3, v4_rest), Refused::ProtocolLevel(3), level_1),
        ("MQTT 3.1 with the name of 3.1.1", connect("MQTT", 3, v4_rest), Refused::ProtocolLevel(3), level_1),
        ("a bridge of MQTT 3.1", connect("MQIsdp", 0x83, v4_rest), Refused::ProtocolLevel(0x83), level_1),
        ("a bridge of MQTT 3.1.1", connect("MQTT", 0x84, v4_rest), Refused::ProtocolLevel(0x84), level_1),
        (
            "a bridge of MQTT 5.0",
            connect("MQTT", 0x85, v5_rest),
            Refused::ProtocolLevel(0x85),
            &[0x20, 3, 0, 0x84, 0],
        ),
        ("a later version", connect("MQTT", 6, v5_rest), Refused::ProtocolLevel(6), &[0x20, 3, 0, 0x84, 0]),
        // [MQTT-3.1.4-1]
        ("no level", frame(0x10, &field("MQTT")), Refused::Malformed, &[]),
        ("half a name", frame(0x10, b"\0\x04MQ"), Refused::Malformed, &[]),
        ("nothing", frame(0x10, &[]), Refused::Malformed, &[]),
        ("no length", vec![0x10, 0xff, 0xff, 0xff, 0xff], Refused::Malformed, &[]),
        (
            "3.1.1 and a reserved flag",
            connect("MQTT", 4, &[3, 0, 0, 0, 0]),
            Refused::V4(v4::Violation::ConnectFlagReserved),
            &[],
        ),
        (
            "5.0 and a reserved flag",
            connect("MQTT", 5, &[3, 0, 0, 0, 0, 0]),
            Refused::V5(v5::Violation::ConnectFlagReserved),
            &[0x20, 3, 0, 0x81, 0],
        ),
        (
            "5.0 cut",
            connect("MQTT", 5, &[2, 0]),
            Refused::V5(v5::Violation::Truncated),
            &[0x20, 3, 0, 0x81, 0],
        ),
        (
            "5.0 with a property twice",
            connect("MQTT", 5, &[&[2, 0, 0][..], &properties(&[0x21, 0, 1, 0x21, 0, 1]), &[0, 0]].concat()),
            Refused::V5(v5::Violation::PropertyRepeated(v5::PropertyId::ReceiveMaximum)),
            &[0x20, 3, 0, 0x82, 0],
        ),
    ];
    for (what, bytes, refused, answer) in cases {
        let got = decode_first(&mut BytesMut::from(&bytes[..]), MAX).unwrap_err();
        assert_eq!(got, *refused, "{what}");
        let mut out = BytesMut::new();
        assert_eq!(got.answer(&mut out), !answer.is_empty(), "{what}");
        assert_eq!(&out[..], *answer, "{what}");
    }
}

#[test]
fn a_long_first_packet_is_refused_before_it_has_arrived() {
    let mut head = BytesMut::from(&b"\x10\xff\xff\xff\x7f\0\x04MQTT\x05"[..]);
    let refused = decode_first(&mut head, 1000).unwrap_err();
    let mut out = BytesMut::new();
    assert!(refused.answer(&mut out));
    assert_eq!(&out[..], &[0x20, 3, 0, 0x95, 0]);
    let mut head = BytesMut::from(&b"\x10\xff\xff\xff\x7f\0\x04MQTT\x04"[..]);
    let refused = decode_first(&mut head, 1000).unwrap_err();
    assert!(!refused.answer(&mut out));
}

#[test]
fn an_answer_is_a_packet_that_its_client_reads() {
    for level in [0, 3, 6, 255] {
        let mut out = BytesMut::new();
        assert!(Refused::ProtocolLevel(level).answer(&mut out));
        if level < 5 {
            let code = v4::ConnectReturnCode::UnacceptableProtocolVersion;
            let expected = v4::Packet::ConnAck(v4::ConnAck { session_present: false, code });
            assert_eq!(v4::decode(&mut out, MAX), Ok(Some(expected)));
        } else {
            let expected = v5::ConnAck::refusal(v5::ReasonCode::UnsupportedProtocolVersion);
            assert_eq!(v5::decode(&mut out, MAX), Ok(Some(v5::Packet::ConnAck(Box::new(expected)))));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn a_connect_is_waited_for_and_read_like_by_its_codec(
        v4_packet in generate_v4::packet(),
        v5_packet in generate_v5::packet(),
    ) {
        let (mut four, mut five) = (BytesMut::new(), BytesMut::new());
        v4::encode(&v4_packet, &mut four).unwrap();
        v5::encode(&v5_packet, &mut five).unwrap();
        let expected_4 = match v4_packet {
            v4::Packet::Connect(connect) => Ok(Some(First::V4(connect))),
            _ => Err(Refused::NotConnect(four[0])),
        };
        let expected_5 = match v5_packet {
            v5::Packet::Connect(connect) => Ok(Some(First::V5(connect))),
            _ => Err(Refused::NotConnect(five[0])),
        };
        for (bytes, expected) in [(four, expected_4), (five, expected_5)] {
            if expected.is_ok() {
                for cut in 0..bytes.len() {
                    prop_assert_eq!(decode_first(&mut BytesMut::from(&bytes[..cut]), MAX), Ok(None));
                }
            }
            // What follows the CONNECT stays.
            let mut buffer = BytesMut::from(&[&bytes[..], &[0xc0, 0]].concat()[..]);
            let got = decode_first(&mut buffer, MAX);
            if got.is_ok() {
                prop_assert_eq!(&buffer[..], &[0xc0, 0]);
            }
            prop_assert_eq!(got, expected);
        }
    }

    #[test]
    fn arbitrary_first_bytes_never_panic(tail in proptest::collection::vec(any::<u8>(), 0..60)) {
        let _ = decode_first(&mut BytesMut::from(&tail[..]), 50);
        let _ = decode_first(&mut BytesMut::from(&connect("MQTT", 5, &tail)[..]), 100);
        let _ = decode_first(&mut BytesMut::from(&connect("MQTT", 4, &tail)[..]), 100);
    }
}
