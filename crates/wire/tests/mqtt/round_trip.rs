//! What is written is read back, however it arrives; bytes from nowhere harm nobody.

use super::{MAX, generate_v4, generate_v5};
use bytes::BytesMut;
use ironbrook_wire::mqtt::topic::{Filter, check_name};
use ironbrook_wire::mqtt::{Sender, v5};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

/// The properties that both codecs have, tested alike.
macro_rules! both_directions {
    ($version:ident, $packet:expr) => {
        use super::*;
        use ironbrook_wire::mqtt::$version::{Packet, decode, encode};

        fn write(packets: &[Packet]) -> BytesMut {
            let mut bytes = BytesMut::new();
            for packet in packets {
                encode(packet, &mut bytes).unwrap();
            }
            bytes
        }

        proptest! {
            #![proptest_config(ProptestConfig::with_cases(192))]

            // Also [MQTT-6.0.0-2]: packets need not begin or end where pieces do.
            #[test]
            fn packets_come_out_whole_however_they_are_cut(packets in vec($packet, 1..5), cuts in vec(any::<Index>(), 0..6)) {
                let bytes = write(&packets);
                let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len())).collect();
                cuts.push(bytes.len());
                cuts.sort_unstable();
                let (mut buffer, mut got, mut from) = (BytesMut::new(), Vec::new(), 0);
                for to in cuts {
                    buffer.extend_from_slice(&bytes[from..to]);
                    from = to;
                    while let Some(packet) = decode(&mut buffer, MAX).unwrap() {
                        got.push(packet);
                    }
                }
                prop_assert!(buffer.is_empty());
                prop_assert_eq!(got, packets);
            }

            #[test]
            fn every_part_of_a_packet_is_waited_with(packet in $packet) {
                let whole = write(std::slice::from_ref(&packet));
                for cut in 0..whole.len() {
                    let mut part = BytesMut::from(&whole[..cut]);
                    prop_assert_eq!(decode(&mut part, MAX), Ok(None));
                    prop_assert_eq!(&part[..], &whole[..cut]);
                }
            }

            #[test]
            fn what_is_read_can_be_written_and_means_the_same(
                packet in $packet, at in any::<Index>(), with in any::<u8>(),
            ) {
                let mut bytes = write(&[packet]);
                let at = at.index(bytes.len());
                bytes[at] = with;
                while let Ok(Some(read)) = decode(&mut bytes, MAX) {
                    let mut again = write(std::slice::from_ref(&read));
                    prop_assert_eq!(decode(&mut again, MAX), Ok(Some(read)));
                }
            }

            #[test]
            fn arbitrary_bytes_never_panic(bytes in vec(any::<u8>(), 0..200)) {
                let mut buffer = BytesMut::from(&bytes[..]);
                while let Ok(Some(packet)) = decode(&mut buffer, 100) {
                    let _ = packet.check(Sender::Client).and(packet.check(Sender::Server));
                    let _ = format!("{packet:?}");
                }
            }

            #[test]
            fn a_damaged_body_never_panics(packet in $packet, changes in vec((any::<Index>(), any::<u8>()), 1..4)) {
                let mut bytes = write(&[packet]);
                for (at, with) in changes {
                    let at = at.index(bytes.len());
                    bytes[at] = with;
                }
                while let Ok(Some(packet)) = decode(&mut bytes, MAX) {
                    let _ = packet.check(Sender::Client).and(packet.check(Sender::Server));
                    let _ = format!("{packet:?}");
                }
            }
        }
    };
}

mod version_4 {
    both_directions!(v4, generate_v4::packet());
}

mod version_5 {
    both_directions!(v5, generate_v5::packet());

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn the_length_is_known_before(packet in generate_v5::packet()) {
            prop_assert_eq!(v5::encoded_len(&packet), Ok(write(&[packet]).len()));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn a_name_is_a_filter_without_wildcards(text in "[a-b+#/$]{0,6}") {
        let wildcard = text.contains(['+', '#']);
        prop_assert_eq!(check_name(&text).is_ok(), !text.is_empty() && !wildcard);
        if !wildcard {
            prop_assert_eq!(Filter::parse(&text).is_ok(), check_name(&text).is_ok());
        }
    }

    #[test]
    fn filters_are_taken_as_a_naive_reading_takes_them(text in "(\\$share/)?[a+#/]{0,6}") {
        let levels: Vec<_> = text.split('/').collect();
        let shared = levels.len() > 1 && levels[0] == "$share";
        let group_is_good = !shared || (!levels[1].is_empty() && !levels[1].contains(['+', '#']));
        let levels = if shared { &levels[2..] } else { &levels[..] };
        let good = |(at, level): (usize, &&str)| match *level {
            "+" => true,
            "#" => at + 1 == levels.len(),
            level => !level.contains(['+', '#']),
        };
        let empty = levels.is_empty() || levels == [""];
        let expected = group_is_good && !empty && levels.iter().enumerate().all(good);
        prop_assert_eq!(Filter::parse(&text).is_ok(), expected);
    }
}
