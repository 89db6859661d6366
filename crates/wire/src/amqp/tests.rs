//! Codec: golden bytes, round trips, hostile bytes.

use super::*;
use bytes::{BufMut, Bytes, BytesMut};
use bytestring::ByteString;
use ironbrook_model::Timestamp;
use proptest::prelude::*;

fn text() -> impl Strategy<Value = ByteString> {
    "[a-zA-Z0-9:_ -]{0,20}".prop_map(ByteString::from)
}

fn leaf() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<u8>().prop_map(Value::Ubyte),
        any::<u16>().prop_map(Value::Ushort),
        any::<u32>().prop_map(Value::Uint),
        any::<u64>().prop_map(Value::Ulong),
        any::<i8>().prop_map(Value::Byte),
        any::<i16>().prop_map(Value::Short),
        any::<i32>().prop_map(Value::Int),
        any::<i64>().prop_map(Value::Long),
        (-1e9_f32..1e9).prop_map(Value::Float),
        (-1e9_f64..1e9).prop_map(Value::Double),
        any::<char>().prop_map(Value::Char),
        any::<i64>().prop_map(|n| Value::Timestamp(Timestamp::from_millis(n))),
        any::<u128>().prop_map(|n| Value::Uuid(uuid::Uuid::from_u128(n))),
        any::<[u8; 16]>().prop_map(Value::Decimal128),
        proptest::collection::vec(any::<u8>(), 0..300).prop_map(|b| Value::Binary(b.into())),
        ".{0,300}".prop_map(|s| Value::String(s.into())),
        text().prop_map(Value::Symbol),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    leaf().prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::List),
            proptest::collection::vec((inner.clone(), inner.clone()), 0..4).prop_map(Value::Map),
            proptest::collection::vec(text().prop_map(Value::Symbol), 1..5).prop_map(Value::Array),
            proptest::collection::vec(any::<i32>().prop_map(Value::Int), 1..5).prop_map(Value::Array),
            (any::<u64>(), inner).prop_map(|(d, v)| Value::described(Value::Ulong(d), v)),
        ]
    })
}

fn written(value: &Value) -> Bytes {
    let mut out = BytesMut::new();
    encode::value(&mut out, value);
    out.freeze()
}

fn read(bytes: &Bytes) -> Result<Value, DecodeError> {
    decode::Decoder::new(bytes).value()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn values_survive_the_wire(value in value()) {
        prop_assert_eq!(read(&written(&value)).unwrap(), value);
    }

    #[test]
    fn messages_survive_the_wire(
        annotations in proptest::collection::vec((text(), value()), 0..4),
        properties in proptest::collection::vec((text(), leaf()), 0..4),
        id in proptest::option::of(leaf().prop_filter("null is none", |v| !v.is_null())),
        sections in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..400), 1..3),
    ) {
        let message = Message {
            header: Some(Header { durable: true, ttl: Some(5), ..Header::default() }),
            message_annotations: annotations,
            properties: Properties { message_id: id.clone(), correlation_id: id, ..Properties::default() },
            application_properties: properties,
            body: Body::Data(sections.into_iter().map(Bytes::from).collect()),
            ..Message::default()
        };
        prop_assert_eq!(Message::decode(&message.to_bytes()).unwrap(), message);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let bytes = Bytes::from(bytes);
        let _ = read(&bytes);
        let _ = Message::decode_delivery(BATCH_FORMAT, &bytes);
        let _ = Performative::decode(&bytes);
        let _ = SaslFrame::decode(&bytes);
        let _ = Frame::decode(&mut BytesMut::from(&bytes[..]), 1024);
    }

    #[test]
    fn damaged_messages_never_panic(value in value(), at in any::<prop::sample::Index>(), to in any::<u8>()) {
        let mut message = Message::value(value);
        message.annotate("x-opt-offset", "12");
        let mut bytes = message.to_bytes().to_vec();
        let at = at.index(bytes.len());
        bytes[at] = to;
        let _ = Message::decode(&bytes.into());
    }
}

#[test]
fn an_array_of_billions_of_nulls_is_refused() {
    // array32, size 5, 2³²−1 elements of the zero-width type null
    let bomb = Bytes::from_static(&[0xf0, 0, 0, 0, 5, 0xff, 0xff, 0xff, 0xff, 0x40]);
    assert_eq!(read(&bomb), Err(DecodeError::TooMany));
}

#[test]
fn a_list_that_promises_more_than_it_holds_is_refused_before_allocating() {
    let lie = Bytes::from_static(&[0xd0, 0, 0, 0, 4, 0xff, 0xff, 0xff, 0xff]);
    assert_eq!(read(&lie), Err(DecodeError::Size));
}

#[test]
fn nesting_has_a_floor() {
    let mut deep = Vec::new();
    for _ in 0..100 {
        deep.extend_from_slice(&[0x00, 0x44]);
    }
    deep.push(0x40);
    assert_eq!(read(&deep.into()), Err(DecodeError::TooDeep));
}

/// rule AMQP-01
#[test]
fn every_performative_is_a_full_list_after_a_one_byte_descriptor() {
    let all: [(Performative, u8, u8); 9] = [
        (Performative::Open(Box::default()), 0x10, 10),
        (Performative::Begin(Box::default()), 0x11, 8),
        (
            Performative::Attach(Box::new(Attach {
                name: "l".into(),
                handle: 0,
                role: Role::Sender,
                snd_settle_mode: SenderSettleMode::Mixed,
                rcv_settle_mode: ReceiverSettleMode::First,
                source: None,
                target: None,
                incomplete_unsettled: false,
                initial_delivery_count: None,
                max_message_size: None,
                offered_capabilities: vec![],
                desired_capabilities: vec![],
                properties: vec![],
            })),
            0x12,
            14,
        ),
        (Performative::Flow(Box::default()), 0x13, 11),
        (Performative::Transfer(Box::default()), 0x14, 11),
        (
            Performative::Disposition(Box::new(Disposition {
                role: Role::Receiver,
                first: 0,
                last: None,
                settled: true,
                state: Some(DeliveryState::Accepted),
                batchable: false,
            })),
            0x15,
            6,
        ),
        (Performative::Detach(Detach::default()), 0x16, 3),
        (Performative::End(None), 0x17, 1),
        (Performative::Close(None), 0x18, 1),
    ];
    for (performative, descriptor, fields) in all {
        let mut out = BytesMut::new();
        performative.encode(&mut out);
        assert_eq!(out[..3], [0x00, 0x53, descriptor]);
        assert_eq!((out[3], out[5]), (0xc0, fields), "{performative:?}");
        let bytes = out.freeze();
        assert_eq!(Performative::decode(&bytes).unwrap(), (performative, Bytes::new()));
    }
}

/// rule AMQP-02
#[test]
fn sasl_mechanisms_are_an_array_of_symbols() {
    let mut out = BytesMut::new();
    SaslFrame::Mechanisms(vec!["PLAIN".into()]).encode(&mut out);
    assert_eq!(&out[..], b"\x00\x53\x40\xc0\x0b\x01\xe0\x08\x01\xa3\x05PLAIN");
}

#[test]
fn shortened_lists_are_read() {
    // open with the container id only
    let short = Bytes::from_static(b"\x00\x53\x10\xc0\x04\x01\xa1\x01c");
    let (Performative::Open(open), _) = Performative::decode(&short).unwrap() else { panic!("not an open") };
    assert_eq!((&*open.container_id, open.max_frame_size), ("c", None));
}

#[test]
fn a_wide_composite_grows_its_header() {
    let mut message = Message::data("x");
    message.properties.to = Some("t".repeat(700).into());
    assert_eq!(Message::decode(&message.to_bytes()).unwrap(), message);
}

#[test]
fn a_batch_is_taken_apart() {
    let sections = ["a", "b"].map(|b| Message::data(b).to_bytes()).to_vec();
    let batch = Message { body: Body::Data(sections), ..Message::default() }.to_bytes();
    let messages = Message::decode_delivery(BATCH_FORMAT, &batch).unwrap();
    let bodies: Vec<_> = messages.iter().map(Message::body_bytes).collect();
    assert_eq!(bodies, ["a", "b"]);
}

#[test]
fn frames_are_found_and_measured() {
    let mut out = BytesMut::new();
    Frame::encode(&mut out, FrameKind::Amqp, 7, |b| b.put_slice(b"xyz"));
    let mut half = BytesMut::from(&out[..6]);
    assert_eq!(Frame::decode(&mut half, 512), Ok(None));
    let frame = Frame::decode(&mut out, 512).unwrap().unwrap();
    assert_eq!((frame.channel, &frame.body[..]), (7, &b"xyz"[..]));
    let mut long = BytesMut::from(&[0, 0, 2, 1][..]);
    assert_eq!(Frame::decode(&mut long, 512), Err(DecodeError::FrameSize { size: 513, max: 512 }));
    let mut offset = BytesMut::from(&[0, 0, 0, 8, 3, 0, 0, 0][..]);
    assert_eq!(Frame::decode(&mut offset, 512), Err(DecodeError::DataOffset));
}

#[test]
fn a_response_is_never_printed() {
    let init = SaslFrame::Init {
        mechanism: "PLAIN".into(),
        initial_response: Some(Bytes::from_static(b"\0user\0canary")),
        hostname: None,
    };
    assert!(!format!("{init:?}").contains("canary"));
}
