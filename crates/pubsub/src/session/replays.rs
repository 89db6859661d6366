//! Retained messages that new subscriptions of a session are still owed.

use crate::QoS;
use crate::topic::{Filter, Ids};
use bytestring::ByteString;
use std::collections::{HashMap, VecDeque};

/// Turns that are over and not yet forgotten, beyond as many as there are filters.
const STALE_TURNS: usize = 16;

/// What one filter is owed.
#[derive(Debug, Clone)]
pub(crate) struct Owed {
    /// The name of the last message that went into the queue.
    pub after: Option<ByteString>,
    pub qos: QoS,
    pub ids: Ids,
}

/// Filters in the order they were subscribed with, each once, so that they are bounded as subscriptions are.
#[derive(Debug, Default)]
pub(crate) struct Replays {
    owed: HashMap<Filter, (u64, Owed)>,
    /// A turn counts only if the filter still has that number.
    turns: VecDeque<(u64, Filter)>,
    next: u64,
}

impl Replays {
    /// Whether nothing is owed.
    pub fn is_empty(&self) -> bool {
        self.owed.is_empty()
    }

    /// A filter is owed its messages from the start, after those that came before it.
    pub fn add(&mut self, filter: Filter, owed: Owed) {
        self.owed.insert(filter.clone(), (self.next, owed));
        self.turns.push_back((self.next, filter));
        self.next += 1;
        if self.turns.len() > self.owed.len() * 2 + STALE_TURNS {
            let owed = &self.owed;
            self.turns.retain(|(turn, filter)| owed.get(filter).is_some_and(|(current, _)| current == turn));
        }
    }

    /// A filter is owed nothing any more.
    pub fn remove(&mut self, filter: &Filter) {
        self.owed.remove(filter);
        if self.owed.is_empty() {
            *self = Self { next: self.next, ..Self::default() };
        }
    }

    #[cfg(test)]
    pub(super) fn turns_len(&self) -> usize {
        self.turns.len()
    }

    /// The filter whose turn it is.
    pub fn front(&mut self) -> Option<(Filter, Owed)> {
        while let Some((turn, filter)) = self.turns.front() {
            if let Some((_, owed)) = self.owed.get(filter).filter(|(current, _)| current == turn) {
                return Some((filter.clone(), owed.clone()));
            }
            self.turns.pop_front();
        }
        None
    }

    /// The messages of a filter are in the queue up to a name.
    pub fn advance(&mut self, filter: &Filter, after: ByteString) {
        if let Some((_, owed)) = self.owed.get_mut(filter) {
            owed.after = Some(after);
        }
    }
}
