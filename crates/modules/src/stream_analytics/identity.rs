//! Which messages are contained in the state already, so that those the hub delivers again are not counted again.
//!
//! The hub gives messages no number here, so a message is known by its sender, its properties and its body. Of several that are equal
//! in all of that none is taken for a repetition: counting one twice is better than losing one.

use aws_lc_rs::digest::{Context, SHA256};
use ironbrook_analytics::value::snapshot::{Reader, SnapshotError, Writer};
use ironbrook_model::Message;
use std::collections::{HashSet, VecDeque};

/// Messages remembered per input. A hub has far fewer under way to a module, ours 64; after a crash it repeats what it had not noted as
/// done, which is some batches.
const REMEMBERED_MAX: usize = 1024;
/// New messages after which an input is through with what was repeated, since the hub repeats first and in order: those of several
/// senders may come between.
const NEW_MAX: usize = 256;

/// What a message is known by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct MessageKey([u8; 16]);

impl MessageKey {
    /// Of all that its sender said and the hub stamped.
    pub(super) fn of(message: &Message) -> Self {
        let mut context = Context::new(&SHA256);
        // Lengths keep neighbours apart.
        let mut part = |bytes: &[u8]| {
            context.update(&bytes.len().to_le_bytes());
            context.update(bytes);
        };
        for (property, value) in message.system.iter() {
            part(&[property as u8]);
            part(value.as_bytes());
        }
        for (name, value) in message.properties.iter() {
            part(name.as_bytes());
            part(value.as_bytes());
        }
        part(&message.body);
        let mut key = [0; 16];
        key.copy_from_slice(&context.finish().as_ref()[..16]);
        Self(key)
    }
}

/// The latest messages of an input that the state contains.
#[derive(Debug, Clone, Default)]
pub(super) struct Contained {
    order: VecDeque<MessageKey>,
    /// What the hub may repeat; each once, and only what stood alone among all that is remembered.
    expected: HashSet<MessageKey>,
    /// New messages until nothing is expected any more.
    left: usize,
}

impl Contained {
    /// From now on the hub may repeat what is contained by now: the connection is new, or messages waited for long.
    pub(super) fn expect_repetitions(&mut self) {
        self.left = NEW_MAX;
        self.expected.clear();
        let mut twins = HashSet::new();
        for key in &self.order {
            if !self.expected.insert(*key) {
                twins.insert(*key);
            }
        }
        self.expected.retain(|key| !twins.contains(key));
    }

    /// Whether a message is contained already. A new one is remembered.
    pub(super) fn is_repeated(&mut self, key: MessageKey) -> bool {
        if self.expected.remove(&key) {
            return true;
        }
        if !self.expected.is_empty() {
            self.left = self.left.saturating_sub(1);
            if self.left == 0 {
                self.expected = HashSet::new();
            }
        }
        self.remember(key);
        false
    }

    fn remember(&mut self, key: MessageKey) {
        if self.order.len() == REMEMBERED_MAX {
            self.order.pop_front();
        }
        self.order.push_back(key);
    }

    pub(super) fn write(&self, out: &mut Writer) {
        out.size(self.order.len());
        self.order.iter().for_each(|key| out.wide(i128::from_le_bytes(key.0)));
    }

    pub(super) fn read(from: &mut Reader<'_>) -> Result<Self, SnapshotError> {
        let mut contained = Self::default();
        for _ in 0..from.size()? {
            contained.remember(MessageKey(from.wide()?.to_le_bytes()));
        }
        Ok(contained)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ironbrook_model::SystemProperty;

    fn message(text: &str) -> Message {
        Message::new(text.to_owned())
    }

    fn key(text: &str) -> MessageKey {
        MessageKey::of(&message(text))
    }

    #[test]
    fn a_key_tells_every_part_of_a_message() {
        let mut messages = vec![message("ab"), message("a"), message("")];
        let mut change = |what: &dyn Fn(&mut Message)| {
            let mut changed = message("a");
            what(&mut changed);
            messages.push(changed);
        };
        change(&|m| m.system.set(SystemProperty::MessageId, "b"));
        change(&|m| m.system.set(SystemProperty::ConnectionModuleId, "b"));
        change(&|m| m.properties.set("n", "b"));
        change(&|m| m.properties.set("nb", ""));
        for (index, left) in messages.iter().enumerate() {
            for (other, right) in messages.iter().enumerate() {
                let is_equal = MessageKey::of(left) == MessageKey::of(&right.clone());
                assert_eq!(is_equal, index == other, "{left:?} {right:?}");
            }
        }
    }

    #[test]
    fn what_is_contained_is_recognised_after_each_connection_once() {
        let mut contained = Contained::default();
        for text in ["1", "2", "3"] {
            assert!(!contained.is_repeated(key(text)));
        }
        let mut out = Writer::new();
        contained.write(&mut out);
        let bytes = out.finish();
        let mut restored = Contained::read(&mut Reader::new(&bytes)).unwrap();
        for _ in 0..2 {
            restored.expect_repetitions();
            assert!(restored.is_repeated(key("2")) && restored.is_repeated(key("3")));
        }
        // What is new since the connection is never repeated by it, however equal it looks.
        assert!(!restored.is_repeated(key("4")) && !restored.is_repeated(key("4")));
        assert!(!restored.is_repeated(key("3")));
        for cut in 0..bytes.len() {
            assert!(Contained::read(&mut Reader::new(&bytes[..cut])).is_err(), "{cut}");
        }
    }

    #[test]
    fn equal_messages_are_never_taken_for_repetitions() {
        let mut contained = Contained::default();
        assert!(!contained.is_repeated(key("same")) && !contained.is_repeated(key("same")));
        contained.expect_repetitions();
        assert!(!contained.is_repeated(key("same")));
    }

    #[test]
    fn memory_and_suspicion_end() {
        let mut contained = Contained::default();
        for number in 0..2 * REMEMBERED_MAX {
            contained.is_repeated(key(&number.to_string()));
        }
        assert_eq!(contained.order.len(), REMEMBERED_MAX);
        contained.expect_repetitions();
        assert!(contained.is_repeated(key(&(REMEMBERED_MAX + 500).to_string())));
        assert!(!contained.is_repeated(key("0")), "forgotten long ago");
        for number in 0..NEW_MAX {
            contained.is_repeated(key(&format!("new {number}")));
        }
        assert!(!contained.is_repeated(key(&(REMEMBERED_MAX + 900).to_string())));
    }
}
