//! Messages that came while no query runs. They are not completed, so the hub repeats them when its patience ends, on the same connection;
//! of each the latest copy counts.

use super::identity::MessageKey;
use super::link::Received;
use std::collections::VecDeque;

/// Most messages that wait here; more stay with the hub, which has fewer under way.
const PARKED_MAX: usize = 256;

/// Messages that wait for a query, in their order.
#[derive(Debug)]
pub(super) struct Parked<R> {
    messages: VecDeque<(MessageKey, R)>,
    /// Whether the last one was just handed out.
    was_last: bool,
}

impl<R> Default for Parked<R> {
    fn default() -> Self {
        Self { messages: VecDeque::new(), was_last: false }
    }
}

impl<R: Received> Parked<R> {
    /// Puts a message behind the others, or in the place of its earlier copy. An equal message that is no copy may be dropped so; it
    /// comes again, since nobody completes it.
    pub(super) fn put(&mut self, message: R) {
        let key = MessageKey::of(message.message());
        match self.messages.iter().position(|(other, _)| *other == key) {
            Some(place) => self.messages[place].1 = message,
            None if self.messages.len() < PARKED_MAX => self.messages.push_back((key, message)),
            None => {}
        }
    }

    /// Puts messages that were taken earlier before the others.
    pub(super) fn put_first(&mut self, messages: impl Iterator<Item = R>) {
        let later = std::mem::take(&mut self.messages);
        messages.for_each(|message| self.messages.push_back((MessageKey::of(message.message()), message)));
        later.into_iter().for_each(|(_, message)| self.put(message));
    }

    /// The first message.
    pub(super) fn next(&mut self) -> Option<R> {
        let (_, message) = self.messages.pop_front()?;
        self.was_last = self.messages.is_empty();
        Some(message)
    }

    /// Whether the last message was handed out since this was asked.
    pub(super) fn was_last(&mut self) -> bool {
        std::mem::take(&mut self.was_last)
    }
}
