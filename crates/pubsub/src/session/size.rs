//! How many bytes a PUBLISH takes on the wire, to keep to the client's maximum packet size.

use crate::{Message, Version};

fn varint(number: usize) -> usize {
    match number {
        0..=0x7F => 1,
        0x80..=0x3FFF => 2,
        0x4000..=0x1F_FFFF => 3,
        _ => 4,
    }
}

/// Length of the whole packet. With an alias, and whether the name goes with it.
pub fn publish_len(
    version: Version,
    message: &Message,
    has_id: bool,
    ids: &[u32],
    alias: Option<(u16, bool)>,
) -> usize {
    let name = if alias.is_some_and(|(_, named)| !named) { 0 } else { message.topic.len() };
    let mut rest = 2 + name + if has_id { 2 } else { 0 } + message.payload.len();
    if version == Version::V5 {
        let mut properties: usize = ids.iter().map(|id| 1 + varint(*id as usize)).sum();
        properties += if alias.is_some() { 3 } else { 0 };
        if let Some(set) = message.properties.as_deref() {
            let text = |length: Option<usize>| length.map_or(0, |length| 3 + length);
            properties += usize::from(set.is_text.is_some()) * 2
                + usize::from(set.expiry.is_some()) * 5
                + text(set.content_type.as_ref().map(|text| text.len()))
                + text(set.response_topic.as_ref().map(|text| text.len()))
                + text(set.correlation_data.as_ref().map(bytes::Bytes::len))
                + set.user.iter().map(|(key, value)| 5 + key.len() + value.len()).sum::<usize>();
        }
        rest += varint(properties) + properties;
    }
    1 + varint(rest) + rest
}
