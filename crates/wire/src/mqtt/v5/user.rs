//! User properties: pairs of texts that travel with a packet, in order, names repeated as the application likes.

use super::property::PropertyId;
use super::write::Sink;
use super::{USER_PROPERTIES_MAX, Unencodable};
use bytes::{Bytes, BytesMut};
use std::fmt;

/// The user properties of a packet, kept as they stand on the wire: forwarding them allocates and parses nothing, and keeps
/// them unaltered and in order [MQTT-3.3.2-17, -18].
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct UserProperties {
    /// For each the identifier and two length-prefixed texts, which are known to be valid.
    bytes: Bytes,
}

impl UserProperties {
    /// None.
    pub const fn new() -> Self {
        Self { bytes: Bytes::new() }
    }

    /// Pairs of name and value, in order.
    pub fn from_pairs<N, V>(pairs: impl IntoIterator<Item = (N, V)>) -> Result<Self, Unencodable>
    where
        N: AsRef<str>,
        V: AsRef<str>,
    {
        let mut bytes = BytesMut::new();
        for (name, value) in pairs {
            bytes.put_u8(PropertyId::UserProperty.number());
            bytes.put_string(name.as_ref())?;
            bytes.put_string(value.as_ref())?;
        }
        Ok(Self { bytes: bytes.freeze() })
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// How many there are; counts them.
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// Bytes they take on the wire.
    pub fn wire_len(&self) -> usize {
        self.bytes.len()
    }

    /// Name and value of each, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let mut rest = &self.bytes[..];
        std::iter::from_fn(move || {
            rest = rest.get(1..)?;
            Some((text(&mut rest)?, text(&mut rest)?))
        })
    }

    /// The first value of this name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter().find(|(other, _)| *other == name).map(|(_, value)| value)
    }

    pub(super) fn write(&self, out: &mut impl Sink) {
        out.put(&self.bytes);
    }
}

/// A length-prefixed text off the front.
fn text<'a>(rest: &mut &'a [u8]) -> Option<&'a str> {
    let (len, after) = rest.split_first_chunk::<2>()?;
    let (text, after) = after.split_at_checked(usize::from(u16::from_be_bytes(*len)))?;
    *rest = after;
    std::str::from_utf8(text).ok()
}

impl fmt::Debug for UserProperties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// Gathers the user properties of a property block while it is read. Usually they stand side by side and are a slice of it;
/// where other properties stand between them they are copied together.
#[derive(Default)]
pub(super) struct Gathered {
    count: usize,
    /// Where in the block the run is that was found so far.
    run: std::ops::Range<usize>,
    /// What stood before the run, apart from it.
    before: BytesMut,
}

impl Gathered {
    /// Notes one at this place of the block; `false` if there are too many.
    pub(super) fn push(&mut self, block: &Bytes, place: std::ops::Range<usize>) -> bool {
        if self.run.end == place.start && self.count > 0 {
            self.run.end = place.end;
        } else {
            self.before.extend_from_slice(&block[self.run.clone()]);
            self.run = place;
        }
        self.count += 1;
        self.count <= USER_PROPERTIES_MAX
    }

    pub(super) fn finish(mut self, block: &Bytes) -> UserProperties {
        if self.before.is_empty() {
            return UserProperties { bytes: block.slice(self.run) };
        }
        self.before.extend_from_slice(&block[self.run]);
        UserProperties { bytes: self.before.freeze() }
    }
}
