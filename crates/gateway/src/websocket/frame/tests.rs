use super::*;
use proptest::collection::vec;
use proptest::prelude::*;

/// A frame as a client makes it, its length in the shortest form.
fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        len @ 0..=125 => frame.push(0x80 | len as u8),
        len @ 126..=0xffff => {
            frame.push(0x80 | 126);
            frame.extend_from_slice(&(len as u16).to_be_bytes());
        }
        len => {
            frame.push(0x80 | 127);
            frame.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    let mask = [0x37, 0xfa, 0x21, 0x3d];
    frame.extend_from_slice(&mask);
    frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

/// Payload and end of a stream that arrives in the given pieces.
fn decode<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<u8>, Decoder) {
    let (mut decoder, mut payload) = (Decoder::new(), Vec::new());
    for piece in pieces {
        let mut piece = piece.to_vec();
        let len = decoder.decode(&mut piece);
        payload.extend_from_slice(&piece[..len]);
    }
    (payload, decoder)
}

fn end_of(stream: &[u8]) -> Option<End> {
    decode([stream]).1.end()
}

#[test]
fn payload_comes_out_wherever_the_stream_is_split() {
    let mut stream = masked(0x02, b"one ");
    stream.extend(masked(0x89, b"are you there"));
    stream.extend(masked(0x00, b""));
    stream.extend(masked(0x8a, b"unasked"));
    stream.extend(masked(0x80, &[b'x'; 130]));
    stream.extend(masked(0x82, b" two"));
    stream.extend(masked(0x88, b"\x03\xe8bye"));
    stream.extend(masked(0x82, b"after the end"));
    let wanted = [b"one ".as_slice(), &[b'x'; 130], b" two"].concat();
    let splits = (0..=stream.len()).map(|at| decode([&stream[..at], &stream[at..]]));
    for (payload, mut decoder) in splits.chain([decode(stream.chunks(1))]) {
        assert_eq!(payload, wanted);
        assert_eq!(decoder.take_ping().unwrap().as_slice(), b"are you there");
        assert_eq!(decoder.end(), Some(End::Closed(Some(1000))));
    }
}

#[test]
fn every_form_of_length_is_read() {
    for len in [0, 1, 125, 126, 0xffff, 0x1_0000] {
        let payload = vec![7; len];
        let (got, mut decoder) = decode([&masked(0x82, &payload)[..]]);
        assert_eq!(got, payload);
        assert_eq!(decoder.decode(&mut masked(0x82, b"!")), 1, "after {len}");
    }
}

#[test]
fn a_frame_of_any_length_is_handed_on_as_it_arrives() {
    let mut head = vec![0x82, 0xff];
    head.extend_from_slice(&(i64::MAX as u64).to_be_bytes());
    head.extend_from_slice(&[0; 4]);
    let (payload, mut decoder) = decode([&head[..], b"begin"]);
    assert_eq!((payload.as_slice(), decoder.end()), (&b"begin"[..], None));
    assert_eq!(decoder.decode(&mut [9; 1000]), 1000);
    // Nothing in it grows.
    assert!(size_of::<Decoder>() < 512);
    head[2] = 0x80;
    assert_eq!(end_of(&head), Some(End::Violated(Violation::Length)));
}

/// rule WS-04
#[test]
fn what_breaks_the_protocol_is_refused_as_soon_as_it_is_seen() {
    let close = |body: &[u8]| masked(0x88, body);
    for (stream, violation, code) in [
        (vec![0x81], Violation::Text, 1003),
        (vec![0xc2], Violation::Reserved, 1002),
        (vec![0xa2], Violation::Reserved, 1002),
        (vec![0x92], Violation::Reserved, 1002),
        (vec![0x83], Violation::Opcode, 1002),
        (vec![0x8b], Violation::Opcode, 1002),
        (vec![0x80], Violation::Order, 1002),
        ([masked(0x02, b"a"), vec![0x82]].concat(), Violation::Order, 1002),
        (vec![0x82, 5], Violation::Unmasked, 1002),
        (vec![0x09], Violation::Control, 1002),
        (vec![0x89, 0xfe], Violation::Control, 1002),
        (vec![0x88, 0xff], Violation::Control, 1002),
        (close(b"\x03"), Violation::CloseCode, 1002),
        (close(&1005_u16.to_be_bytes()), Violation::CloseCode, 1002),
        (close(&999_u16.to_be_bytes()), Violation::CloseCode, 1002),
    ] {
        let (payload, decoder) = decode([&masked(0x82, b"good")[..], &stream, b"more"]);
        assert!(payload.starts_with(b"good") && payload.len() <= 5, "{stream:?}");
        assert_eq!(decoder.end(), Some(End::Violated(violation)), "{stream:?}");
        assert_eq!(violation.code(), code);
    }
    assert_eq!(end_of(&close(b"")), Some(End::Closed(None)));
    assert_eq!(end_of(&close(&4999_u16.to_be_bytes())), Some(End::Closed(Some(4999))));
}

#[test]
fn only_the_newest_ping_is_kept() {
    let pings: Vec<u8> = (0..=255).flat_map(|n| masked(0x89, &[n; 125])).collect();
    let (_, mut decoder) = decode([&pings[..]]);
    assert_eq!(decoder.take_ping().unwrap().as_slice(), [255; 125]);
    assert_eq!(decoder.take_ping(), None);
}

/// A message in frames, with control frames in between.
fn message() -> impl Strategy<Value = Vec<(u8, Vec<u8>)>> {
    let data = vec(any::<u8>(), 0..300);
    let control = prop_oneof![Just(0x89), Just(0x8a)];
    let piece = (data, prop::option::of((control, vec(any::<u8>(), 0..=125))));
    vec(piece, 1..4).prop_map(|pieces| {
        let last = pieces.len() - 1;
        let mut frames = Vec::new();
        for (n, (data, control)) in pieces.into_iter().enumerate() {
            let first = if n == 0 { 0x02 } else { 0x00 } | if n == last { 0x80 } else { 0 };
            frames.push((first, data));
            frames.extend(control);
        }
        frames
    })
}

/// Cuts a stream at the given places.
fn cut<'a>(mut rest: &'a [u8], lens: &[usize]) -> Vec<&'a [u8]> {
    let mut pieces = Vec::new();
    for len in lens {
        let (piece, more) = rest.split_at((*len).min(rest.len()));
        pieces.push(piece);
        rest = more;
    }
    pieces.push(rest);
    pieces
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn messages_in_any_frames_and_pieces_are_one_stream(
        messages in vec(message(), 0..5),
        lens in vec(0_usize..80, 0..60),
    ) {
        let frames: Vec<_> = messages.concat();
        let stream: Vec<u8> = frames.iter().flat_map(|(first, data)| masked(*first, data)).collect();
        let data = frames.iter().filter(|(first, _)| first & 0xf < CLOSE);
        let wanted: Vec<u8> = data.flat_map(|(_, data)| data.clone()).collect();
        let (payload, decoder) = decode(cut(&stream, &lens));
        prop_assert_eq!(payload, wanted);
        prop_assert_eq!(decoder.end(), None);
    }

    #[test]
    fn whatever_arrives_means_the_same_in_any_pieces(
        start in prop::option::of(any::<(bool, [u8; 4])>()),
        noise in vec(any::<u8>(), 0..400),
        lens in vec(0_usize..20, 0..40),
    ) {
        // Pure noise mostly ends at its first byte, so some begins like a frame.
        let mut stream = Vec::new();
        if let Some((long, [a, b, c, d])) = start {
            stream.extend([if long { 0x82 } else { 0x89 }, if long { 0xfe } else { 0x80 | (a & 0x7f) }, b & 1, c, d]);
        }
        stream.extend(noise);
        let (whole, one) = decode([&stream[..]]);
        let (pieces, other) = decode(cut(&stream, &lens));
        prop_assert!(whole.len() <= stream.len());
        prop_assert_eq!(whole, pieces);
        prop_assert_eq!(one.end(), other.end());
        prop_assert_eq!(one.ping, other.ping);
    }
}
