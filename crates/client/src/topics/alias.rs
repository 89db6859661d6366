//! Topic aliases of MQTT 5.0: numbers that stand for topics on one connection, in one direction.

use super::{Error, Result};
use bytestring::ByteString;
use std::collections::HashMap;
use std::num::NonZeroU16;

/// Aliases this side sets at most, whatever the server takes.
const ALIASES_OUT_MAX: u16 = 256;

/// The aliases of a connection.
#[derive(Debug, Default)]
pub(super) struct Aliases {
    out: HashMap<ByteString, NonZeroU16>,
    out_max: u16,
    incoming: Vec<ByteString>,
    incoming_max: u16,
}

/// How a topic goes out.
pub(super) enum Shown {
    /// By its name alone.
    Plain,
    /// By its name, with a new alias.
    New(NonZeroU16),
    /// By its alias alone.
    Known(NonZeroU16),
}

impl Aliases {
    /// A new connection: none is set. The server takes so many, and may set so many.
    pub(super) fn new(out_max: u16, incoming_max: u16) -> Self {
        Self { out_max: out_max.min(ALIASES_OUT_MAX), incoming_max, ..Self::default() }
    }

    pub(super) fn shown(&self, topic: &str) -> Shown {
        match self.out.get(topic) {
            Some(alias) => Shown::Known(*alias),
            // The first topics get them: a program that uses many topics gains little by any choice.
            None => match NonZeroU16::new(self.out.len() as u16 + 1) {
                Some(next) if next.get() <= self.out_max => Shown::New(next),
                _ => Shown::Plain,
            },
        }
    }

    /// A new alias was sent.
    pub(super) fn set(&mut self, topic: ByteString, alias: NonZeroU16) {
        self.out.insert(topic, alias);
    }

    /// The topic of a message that came with an alias.
    pub(super) fn resolve(&mut self, topic: ByteString, alias: Option<NonZeroU16>) -> Result<ByteString> {
        let Some(alias) = alias else { return Ok(topic) };
        let at = usize::from(alias.get()) - 1;
        let unknown = || Error::Protocol(format!("the topic alias {alias} is not set or above the maximum"));
        if alias.get() > self.incoming_max {
            return Err(unknown());
        }
        if topic.is_empty() {
            return self.incoming.get(at).filter(|topic| !topic.is_empty()).cloned().ok_or_else(unknown);
        }
        if self.incoming.len() <= at {
            self.incoming.resize(at + 1, ByteString::new());
        }
        // In memory of its own: it outlives the buffer it came in.
        let own = ByteString::from(&*topic);
        self.incoming[at] = own.clone();
        Ok(own)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alias_stands_for_a_topic_once_it_is_set_and_only_up_to_the_maximum() {
        let mut aliases = Aliases::new(1, 2);
        let one = NonZeroU16::MIN;
        assert!(matches!(aliases.shown("a"), Shown::New(alias) if alias == one));
        aliases.set("a".into(), one);
        assert!(matches!(aliases.shown("a"), Shown::Known(alias) if alias == one));
        assert!(matches!(aliases.shown("b"), Shown::Plain), "the server takes one");

        let two = NonZeroU16::new(2);
        assert!(aliases.resolve(ByteString::new(), two).is_err(), "it was never set");
        assert_eq!(aliases.resolve("x".into(), two).unwrap(), "x");
        assert_eq!(aliases.resolve(ByteString::new(), two).unwrap(), "x");
        assert_eq!(aliases.resolve("y".into(), two).unwrap(), "y");
        assert_eq!(aliases.resolve(ByteString::new(), two).unwrap(), "y");
        assert!(aliases.resolve(ByteString::new(), Some(one)).is_err(), "1 lies below 2 but was not set");
        assert!(aliases.resolve("z".into(), NonZeroU16::new(3)).is_err(), "above the maximum");
    }
}
