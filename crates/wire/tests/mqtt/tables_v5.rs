//! The tables of MQTT 5.0, typed off once more: which packet has which property (2-4) and which reason code (2-6).

use super::{field, frame, properties, read_v5};
use ironbrook_wire::mqtt::v5::{PropertyId, ReasonCode, Violation};
use ironbrook_wire::mqtt::{PacketType, Sender};

/// A place of properties: the number of a packet type, or this for a will.
const WILL: u8 = 16;
/// The places that have properties at all.
const PLACES: [u8; 14] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 14, 15, WILL];

/// Identifier, a good value, bad values, and where it may stand.
type Row = (u8, Vec<u8>, Vec<Vec<u8>>, Vec<u8>);

fn property_table() -> Vec<Row> {
    let text = || field("abc");
    let flags = || vec![vec![2], vec![255]];
    let none = Vec::new;
    vec![
        (0x01, vec![1], flags(), vec![3, WILL]),
        (0x02, vec![0, 0, 0, 0], none(), vec![3, WILL]),
        (0x03, text(), none(), vec![3, WILL]),
        (0x08, text(), none(), vec![3, WILL]),
        (0x09, text(), none(), vec![3, WILL]),
        (0x0b, vec![0xff, 0xff, 0xff, 0x7f], vec![vec![0]], vec![3, 8]),
        (0x11, vec![255, 255, 255, 255], none(), vec![1, 2, 14]),
        (0x12, text(), none(), vec![2]),
        (0x13, vec![0, 0], none(), vec![2]),
        (0x15, text(), none(), vec![1, 2, 15]),
        (0x16, text(), none(), vec![1, 2, 15]),
        (0x17, vec![0], flags(), vec![1]),
        (0x18, vec![0, 0, 0, 1], none(), vec![WILL]),
        (0x19, vec![1], flags(), vec![1]),
        (0x1a, text(), none(), vec![2]),
        (0x1c, text(), none(), vec![2, 14]),
        (0x1f, text(), none(), vec![2, 4, 5, 6, 7, 9, 11, 14, 15]),
        (0x21, vec![0, 1], vec![vec![0, 0]], vec![1, 2]),
        (0x22, vec![0, 0], none(), vec![1, 2]),
        (0x23, vec![0, 1], vec![vec![0, 0]], vec![3]),
        (0x24, vec![1], vec![vec![2], vec![3]], vec![2]),
        (0x25, vec![0], flags(), vec![2]),
        (0x26, [text(), text()].concat(), none(), PLACES.to_vec()),
        (0x27, vec![0, 0, 0, 1], vec![vec![0, 0, 0, 0]], vec![1, 2]),
        (0x28, vec![1], flags(), vec![2]),
        (0x29, vec![1], flags(), vec![2]),
        (0x2a, vec![1], flags(), vec![2]),
    ]
}

/// A packet with these properties at this place, and nothing else that could be wrong.
fn packet(place: u8, bytes: &[u8]) -> Vec<u8> {
    let block = properties(bytes);
    match place {
        1 => frame(0x10, &[&b"\0\x04MQTT\x05\x02\0\0"[..], &block, &field("d")].concat()),
        WILL => {
            frame(0x10, &[&b"\0\x04MQTT\x05\x06\0\0\0\0\x01d"[..], &block, &field("t"), &field("p")].concat())
        }
        2 => frame(0x20, &[&[0, 0][..], &block].concat()),
        3 => frame(0x30, &[&field("t")[..], &block].concat()),
        6 => frame(0x62, &[&[0, 1, 0][..], &block].concat()),
        4 | 5 | 7 => frame(place << 4, &[&[0, 1, 0][..], &block].concat()),
        8 => frame(0x82, &[&[0, 1][..], &block, &field("f"), &[0]].concat()),
        10 => frame(0xa2, &[&[0, 1][..], &block, &field("f")].concat()),
        9 | 11 => frame(place << 4, &[&[0, 1][..], &block, &[0]].concat()),
        14 => frame(0xe0, &[&[0][..], &block].concat()),
        15 => frame(0xf0, &[&[0x18][..], &block].concat()),
        _ => unreachable!("no place of properties"),
    }
}

/// What has to stand beside a property for the packet to be good.
fn beside(place: u8, id: u8) -> Vec<u8> {
    let method = [&[0x15][..], &field("m")].concat();
    match (place, id) {
        (15, id) if id != 0x15 => method,
        (1, 0x16) => method,
        _ => vec![],
    }
}

#[test]
fn every_property_stands_where_the_table_has_it_and_nowhere_else() {
    let table = property_table();
    assert_eq!(table.len(), PropertyId::ALL.len());
    for (number, good, bad, places) in &table {
        let id = *PropertyId::ALL.iter().find(|id| id.number() == *number).unwrap();
        for place in PLACES {
            let owner = PacketType::from_number(if place == WILL { 1 } else { place }).unwrap();
            let with = |value: &[u8]| [&beside(place, *number)[..], &[*number], value].concat();
            let got = read_v5(&packet(place, &with(good)));
            if !places.contains(&place) {
                let violation = Violation::PropertyForbidden { owner, id };
                assert_eq!(got, Err(violation), "{id} in place {place}");
                assert_eq!(violation.reason(), ReasonCode::MalformedPacket);
                continue;
            }
            assert!(matches!(got, Ok(Some(_))), "{id} in place {place}: {got:?}");
            for value in bad {
                let violation = Violation::PropertyValue(id);
                assert_eq!(
                    read_v5(&packet(place, &with(value))),
                    Err(violation),
                    "{value:?} for {id} in place {place}"
                );
                if *number != 0x23 {
                    assert_eq!(violation.reason(), ReasonCode::ProtocolError);
                }
            }
            for cut in 0..good.len() {
                assert_eq!(
                    read_v5(&packet(place, &with(&good[..cut]))),
                    Err(Violation::Truncated),
                    "{id} in place {place}"
                );
            }
            let twice = read_v5(&packet(place, &[with(good), [&[*number][..], good].concat()].concat()));
            if *number == 0x26 || (*number == 0x0b && place == 3) {
                assert!(matches!(twice, Ok(Some(_))), "{id} twice in place {place}: {twice:?}");
            } else {
                assert_eq!(twice, Err(Violation::PropertyRepeated(id)), "{id} twice in place {place}");
                assert_eq!(Violation::PropertyRepeated(id).reason(), ReasonCode::ProtocolError);
            }
        }
    }
}

#[test]
fn what_the_table_does_not_have_is_no_property() {
    let known: Vec<_> = property_table().iter().map(|row| row.0).collect();
    for place in PLACES {
        for number in (0..128_u8).filter(|number| !known.contains(number)) {
            let got = read_v5(&packet(place, &[&beside(place, number)[..], &[number, 0]].concat()));
            assert_eq!(got, Err(Violation::PropertyUnknown(usize::from(number))), "in place {place}");
        }
    }
}

/// Reason codes by packet type.
const CODES: [(u8, &[u8]); 9] = [
    // [MQTT-3.2.2-8]
    (
        2,
        &[
            0x00, 0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8a, 0x8c, 0x90, 0x95, 0x97,
            0x99, 0x9a, 0x9b, 0x9c, 0x9d, 0x9f,
        ],
    ),
    (4, &[0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99]), // [MQTT-3.4.2-1]
    (5, &[0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99]), // [MQTT-3.5.2-1]
    (6, &[0x00, 0x92]),                                           // [MQTT-3.6.2-1]
    (7, &[0x00, 0x92]),                                           // [MQTT-3.7.2-1]
    // [MQTT-3.9.3-2]
    (9, &[0x00, 0x01, 0x02, 0x80, 0x83, 0x87, 0x8f, 0x91, 0x97, 0x9e, 0xa1, 0xa2]),
    (11, &[0x00, 0x11, 0x80, 0x83, 0x87, 0x8f, 0x91]), // [MQTT-3.11.3-2]
    // [MQTT-3.14.2-1]; 0x8c only after table 2-6 (rule MQTT-34)
    (
        14,
        &[
            0x00, 0x04, 0x80, 0x81, 0x82, 0x83, 0x87, 0x89, 0x8b, 0x8c, 0x8d, 0x8e, 0x8f, 0x90, 0x93, 0x94,
            0x95, 0x96, 0x97, 0x98, 0x99, 0x9a, 0x9b, 0x9c, 0x9d, 0x9e, 0x9f, 0xa0, 0xa1, 0xa2,
        ],
    ),
    (15, &[0x00, 0x18, 0x19]), // [MQTT-3.15.2-1]
];

/// A packet of this type with this reason code.
fn with_code(place: u8, code: u8) -> Vec<u8> {
    match place {
        2 => frame(0x20, &[0, code, 0]),
        6 => frame(0x62, &[0, 1, code]),
        9 | 11 => frame(place << 4, &[0, 1, 0, code]),
        14 => frame(0xe0, &[code]),
        15 => frame(0xf0, &[&[code][..], &properties(&[&[0x15][..], &field("m")].concat())].concat()),
        _ => frame(place << 4, &[0, 1, code]),
    }
}

#[test]
fn every_packet_has_the_reason_codes_of_the_table_and_no_other() {
    for (place, codes) in CODES {
        let packet_type = PacketType::from_number(place).unwrap();
        for code in 0..=255 {
            let got = read_v5(&with_code(place, code));
            if codes.contains(&code) {
                assert!(matches!(got, Ok(Some(_))), "{code:#04x} in {packet_type}: {got:?}");
            } else {
                let violation = Violation::ReasonCode { packet_type, code };
                assert_eq!(got, Err(violation));
                assert_eq!(violation.reason(), ReasonCode::ProtocolError);
            }
        }
    }
    let tabled: usize = CODES.iter().map(|(_, codes)| codes.len()).sum();
    let known: usize = ReasonCode::ALL.iter().map(|code| code.packet_types().len()).sum();
    assert_eq!(known, tabled);
    assert_eq!(ReasonCode::ALL.len(), 43);
    for code in ReasonCode::ALL {
        assert_eq!(ReasonCode::from_number(code.number()), Some(*code));
        assert_eq!(code.is_error(), code.number() >= 0x80);
    }
}

#[test]
fn some_reason_codes_belong_to_one_side() {
    // [MQTT-3.14.2-1] [MQTT-3.15.2-1]
    let both = [0x00, 0x80, 0x81, 0x82, 0x83, 0x8c, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99];
    let codes_of = |place| CODES.iter().find(|(other, _)| *other == place).unwrap().1;
    for code in codes_of(14) {
        let packet = read_v5(&with_code(14, *code)).unwrap().unwrap();
        let client = both.contains(code) || *code == 0x04;
        let server = both.contains(code) || *code != 0x04;
        assert_eq!(packet.check(Sender::Client).is_ok(), client, "{code:#04x}");
        assert_eq!(packet.check(Sender::Server).is_ok(), server, "{code:#04x}");
    }
    for (code, client, server) in [(0x00, false, true), (0x18, true, true), (0x19, true, false)] {
        let packet = read_v5(&with_code(15, code)).unwrap().unwrap();
        assert_eq!(packet.check(Sender::Client).is_ok(), client, "{code:#04x}");
        assert_eq!(packet.check(Sender::Server).is_ok(), server, "{code:#04x}");
    }
}

#[test]
fn some_packets_belong_to_one_side() {
    for place in 1..=15 {
        let bytes = match place {
            12 | 13 => frame(place << 4, &[]),
            15 => packet(15, &[&[0x15][..], &field("m")].concat()),
            _ => packet(place, &[]),
        };
        let packet = read_v5(&bytes).unwrap().unwrap();
        assert_eq!(packet.packet_type() as u8, place);
        assert_eq!(packet.check(Sender::Client).is_ok(), ![2, 9, 11, 13].contains(&place), "{place}");
        assert_eq!(packet.check(Sender::Server).is_ok(), ![1, 8, 10, 12].contains(&place), "{place}");
    }
}
