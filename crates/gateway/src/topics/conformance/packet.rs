//! Packets as bytes, written and read by hand.

/// A version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum V {
    V4,
    V5,
}

/// A packet as it stood on the wire: its first byte, and all behind its length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Packet {
    pub(super) first: u8,
    pub(super) body: Vec<u8>,
}

pub(super) fn varint(mut value: usize) -> Vec<u8> {
    let mut out = Vec::new();
    loop {
        let byte = u8::try_from(value % 128).unwrap();
        value /= 128;
        if value == 0 {
            out.push(byte);
            return out;
        }
        out.push(byte | 0x80);
    }
}

pub(super) fn frame(first: u8, body: &[u8]) -> Vec<u8> {
    [&[first][..], &varint(body.len()), body].concat()
}

/// A text or binary data with its length in front.
pub(super) fn text(data: impl AsRef<[u8]>) -> Vec<u8> {
    let data = data.as_ref();
    [&u16::try_from(data.len()).unwrap().to_be_bytes()[..], data].concat()
}

/// Properties with their length in front; nothing in 3.1.1.
pub(super) fn block(v: V, properties: &[u8]) -> Vec<u8> {
    match v {
        V::V4 => Vec::new(),
        V::V5 => [varint(properties.len()), properties.to_vec()].concat(),
    }
}

/// A packet of an identifier alone: PUBACK, PUBREC, PUBREL, PUBCOMP.
pub(super) fn short(first: u8, id: u16) -> Vec<u8> {
    frame(first, &id.to_be_bytes())
}

#[derive(Debug, Clone, Default)]
pub(super) struct Will {
    pub(super) topic: String,
    pub(super) payload: String,
    pub(super) qos: u8,
    pub(super) retain: bool,
    pub(super) properties: Vec<u8>,
}

/// CONNECT in parts, so that each can be wrong.
#[derive(Debug, Clone)]
pub(super) struct Connect {
    pub(super) v: V,
    pub(super) id: String,
    pub(super) clean: bool,
    pub(super) keep_alive: u16,
    pub(super) properties: Vec<u8>,
    pub(super) will: Option<Will>,
    pub(super) user: Option<String>,
    pub(super) password: Option<String>,
}

impl Connect {
    pub(super) fn new(v: V, id: &str) -> Self {
        Self {
            v,
            id: id.to_owned(),
            clean: true,
            keep_alive: 0,
            properties: Vec::new(),
            will: None,
            user: None,
            password: None,
        }
    }

    /// A session that outlives the connection: without clean session, in 5.0 by an expiry of 100 s.
    pub(super) fn kept(v: V, id: &str) -> Self {
        let properties = if v == V::V5 { vec![0x11, 0, 0, 0, 100] } else { Vec::new() };
        Self { clean: false, properties, ..Self::new(v, id) }
    }

    pub(super) fn with(mut self, property: &[u8]) -> Self {
        self.properties.extend(property);
        self
    }

    pub(super) fn will(mut self, topic: &str, payload: &str) -> Self {
        self.will = Some(Will { topic: topic.to_owned(), payload: payload.to_owned(), ..Will::default() });
        self
    }

    pub(super) fn flags(&self) -> u8 {
        let bit = |set: bool, bit: u8| if set { 1 << bit } else { 0 };
        let will = self.will.as_ref().map_or(0, |will| 4 | will.qos << 3 | bit(will.retain, 5));
        bit(self.user.is_some(), 7) | bit(self.password.is_some(), 6) | will | bit(self.clean, 1)
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        self.bytes_with(self.flags())
    }

    /// The same with flags that need not fit.
    pub(super) fn bytes_with(&self, flags: u8) -> Vec<u8> {
        let level = if self.v == V::V4 { 4 } else { 5 };
        let mut body = [&text("MQTT")[..], &[level, flags]].concat();
        body.extend(self.keep_alive.to_be_bytes());
        body.extend(block(self.v, &self.properties));
        body.extend(text(&self.id));
        if let Some(will) = &self.will {
            body.extend(block(self.v, &will.properties));
            body.extend(text(&will.topic));
            body.extend(text(&will.payload));
        }
        for field in [&self.user, &self.password].into_iter().flatten() {
            body.extend(text(field));
        }
        frame(0x10, &body)
    }
}

/// PUBLISH: QoS, retain and dup are bits of `flags`.
pub(super) fn publish(
    v: V,
    flags: u8,
    topic: &str,
    id: u16,
    properties: &[u8],
    payload: impl AsRef<[u8]>,
) -> Vec<u8> {
    let mut body = text(topic);
    if flags & 6 != 0 {
        body.extend(id.to_be_bytes());
    }
    body.extend(block(v, properties));
    body.extend(payload.as_ref());
    frame(0x30 | flags, &body)
}

/// SUBSCRIBE with filters and their options.
pub(super) fn subscribe(v: V, id: u16, properties: &[u8], filters: &[(&str, u8)]) -> Vec<u8> {
    let mut body = [&id.to_be_bytes()[..], &block(v, properties)].concat();
    for (filter, options) in filters {
        body.extend(text(filter));
        body.push(*options);
    }
    frame(0x82, &body)
}

pub(super) fn unsubscribe(v: V, id: u16, filters: &[&str]) -> Vec<u8> {
    let mut body = [&id.to_be_bytes()[..], &block(v, &[])].concat();
    filters.iter().for_each(|filter| body.extend(text(filter)));
    frame(0xa2, &body)
}

/// DISCONNECT; 3.1.1 has neither code nor properties.
pub(super) fn disconnect(v: V, code: u8, properties: &[u8]) -> Vec<u8> {
    match v {
        V::V4 => vec![0xe0, 0],
        V::V5 => frame(0xe0, &[&[code][..], &block(v, properties)].concat()),
    }
}

/// A message as it came.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Got {
    pub(super) topic: String,
    pub(super) payload: String,
    pub(super) qos: u8,
    pub(super) retain: bool,
    pub(super) dup: bool,
    pub(super) id: u16,
    /// Identifier and bytes of each property, in order.
    pub(super) properties: Vec<(u8, Vec<u8>)>,
}

impl Got {
    pub(super) fn property(&self, id: u8) -> Option<&[u8]> {
        self.properties.iter().find(|(known, _)| *known == id).map(|(_, value)| &value[..])
    }
}

pub(super) fn read_varint(bytes: &mut &[u8]) -> usize {
    let (mut value, mut shift) = (0, 0);
    loop {
        let (first, rest) = bytes.split_first().unwrap();
        *bytes = rest;
        value |= usize::from(first & 0x7f) << shift;
        shift += 7;
        if first & 0x80 == 0 {
            return value;
        }
    }
}

fn take<'a>(bytes: &mut &'a [u8], length: usize) -> &'a [u8] {
    let (taken, rest) = bytes.split_at(length);
    *bytes = rest;
    taken
}

fn take_u16(bytes: &mut &[u8]) -> u16 {
    u16::from_be_bytes(take(bytes, 2).try_into().unwrap())
}

fn take_text<'a>(bytes: &mut &'a [u8]) -> &'a [u8] {
    let length = usize::from(take_u16(bytes));
    take(bytes, length)
}

/// The properties at the front, with their length.
pub(super) fn take_properties(bytes: &mut &[u8]) -> Vec<(u8, Vec<u8>)> {
    let length = read_varint(bytes);
    let mut block = take(bytes, length);
    let mut properties = Vec::new();
    while !block.is_empty() {
        let id = take(&mut block, 1)[0];
        let value = match id {
            0x01 | 0x17 | 0x19 | 0x24 | 0x25 | 0x28 | 0x29 | 0x2a => take(&mut block, 1).to_vec(),
            0x13 | 0x21 | 0x22 | 0x23 => take(&mut block, 2).to_vec(),
            0x02 | 0x11 | 0x18 | 0x27 => take(&mut block, 4).to_vec(),
            0x0b => read_varint(&mut block).to_be_bytes()[4..].to_vec(),
            0x26 => [text(take_text(&mut block)), text(take_text(&mut block))].concat(),
            0x03 | 0x08 | 0x09 | 0x12 | 0x15 | 0x16 | 0x1a | 0x1c | 0x1f => take_text(&mut block).to_vec(),
            id => panic!("no such property: {id:#x}"),
        };
        properties.push((id, value));
    }
    properties
}

impl Packet {
    /// A PUBLISH read.
    pub(super) fn message(&self, v: V) -> Got {
        assert_eq!(self.first >> 4, 3, "not a PUBLISH: {self:?}");
        let mut body = &self.body[..];
        let topic = String::from_utf8(take_text(&mut body).to_vec()).unwrap();
        let qos = self.first >> 1 & 3;
        let id = if qos > 0 { take_u16(&mut body) } else { 0 };
        let properties = if v == V::V5 { take_properties(&mut body) } else { Vec::new() };
        let payload = String::from_utf8(body.to_vec()).unwrap();
        Got { topic, payload, qos, retain: self.first & 1 == 1, dup: self.first & 8 == 8, id, properties }
    }

    /// The reason code of a CONNACK or DISCONNECT, the return code of 3.1.1.
    pub(super) fn code(&self) -> u8 {
        match self.first {
            0x20 => self.body[1],
            0xe0 => self.body.first().copied().unwrap_or(0),
            first => panic!("{first:#x} has no code of its own"),
        }
    }

    /// The properties of a CONNACK, DISCONNECT, or an answer to filters of 5.0.
    pub(super) fn properties(&self) -> Vec<(u8, Vec<u8>)> {
        let skipped = match self.first {
            0x20 | 0x90 | 0xb0 => 2,
            0xe0 => 1,
            // Identifier and reason code.
            _ => 3,
        };
        self.body
            .get(skipped..)
            .filter(|rest| !rest.is_empty())
            .map_or_else(Vec::new, |mut rest| take_properties(&mut rest))
    }
}
