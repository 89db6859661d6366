//! The telemetry topic that a client used last: most use one again and again, and what follows from it needs no second look.

use bytestring::ByteString;
use ironbrook_hub::Envelope;

/// Longest topic that is kept, in bytes.
const TOPIC_MAX: usize = 512;

/// See the module. It takes no memory before the first message.
#[derive(Debug, Default)]
pub(super) struct Recent(Option<Box<Topic>>);

#[derive(Debug, Default)]
struct Topic {
    name: String,
    /// Made when the topic comes a second time: who never uses one twice has no use for it.
    envelope: Option<Envelope>,
}

impl Recent {
    /// The topic and its envelope, if it came twice.
    pub(super) fn get(&mut self) -> Option<(&str, &mut Envelope)> {
        let topic = self.0.as_deref_mut()?;
        Some((&topic.name, topic.envelope.as_mut()?))
    }

    /// A message came under a topic. `read` makes the envelope of one, whose memory it may share.
    pub(super) fn note(&mut self, name: &str, read: impl FnOnce(&ByteString) -> Option<Envelope>) {
        if name.len() > TOPIC_MAX {
            self.0 = None;
            return;
        }
        let topic = self.0.get_or_insert_default();
        if topic.name != name {
            topic.name.clear();
            topic.name.push_str(name);
            topic.envelope = None;
        } else if topic.envelope.is_none() {
            // A copy: what arrived with the message may not be held for as long as the topic is used.
            topic.envelope = read(&ByteString::from(name));
        }
    }
}
