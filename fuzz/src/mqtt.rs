//! MQTT packets: never a panic, what is read is written as it was, and an independent codec agrees.

use bytes::BytesMut;
use ironbrook_wire::mqtt::{PacketId, v4, v5};

#[path = "../../crates/wire/tests/mqtt/generate_v4.rs"]
#[allow(missing_docs)]
pub mod generate_v4;
#[path = "../../crates/wire/tests/mqtt/generate_v5.rs"]
#[allow(missing_docs)]
pub mod generate_v5;
#[path = "../../crates/wire/tests/mqtt/verdict.rs"]
#[allow(missing_docs)]
mod verdict;

/// Longest packet that is taken.
const MAX: usize = 1 << 20;

fn id(number: u16) -> PacketId {
    PacketId::new(number).expect("the generators make no zero")
}

/// Whether a whole packet of one version comes back as it is written, and the other codec agrees about it.
macro_rules! look {
    ($version:ident, $agree:ident, $data:expr) => {{
        let mut buffer = BytesMut::from($data);
        loop {
            let before = buffer.clone();
            let packet = match $version::decode(&mut buffer, MAX) {
                Ok(None) => return,
                Ok(Some(packet)) => Some(packet),
                Err(_) => None,
            };
            let Some(length) = whole(&before) else { return };
            if let Err(difference) = verdict::$agree(&before[..length]) {
                panic!("{difference}");
            }
            let Some(packet) = packet else { return };
            assert_eq!(before.len() - buffer.len(), length, "{packet:?}");
            let mut again = BytesMut::new();
            $version::encode(&packet, &mut again).expect("what was read can be written");
            assert_eq!($version::decode(&mut again, MAX), Ok(Some(packet)));
            assert!(again.is_empty());
        }
    }};
}

/// How long the packet at the front is, by its own word, if it is all there.
fn whole(bytes: &[u8]) -> Option<usize> {
    let mut length = 0;
    for (index, byte) in bytes.iter().skip(1).take(4).enumerate() {
        length |= usize::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            let total = 2 + index + length;
            return (total <= MAX && total <= bytes.len()).then_some(total);
        }
    }
    None
}

/// A stream of MQTT 3.1.1.
pub fn version_4(data: &[u8]) {
    look!(v4, agree_v4, data);
}

/// A stream of MQTT 5.0.
pub fn version_5(data: &[u8]) {
    look!(v5, agree_v5, data);
}
