//! The filters of one session and how each is served.

use crate::SubscriptionOptions;
use crate::topic::Filter;
use std::collections::HashMap;

/// Bytes of all filters of a session: the journal writes a session as one record.
const BYTES_MAX: usize = 2 << 20;
/// Levels of all filters of a session: each costs a node of the tree. One filter of the greatest length always fits.
const LEVELS_MAX: usize = 200_000;

/// The subscriptions of one session.
#[derive(Debug, Default)]
pub(crate) struct Subscriptions {
    options: HashMap<Filter, SubscriptionOptions>,
    bytes: usize,
    levels: usize,
}

impl Subscriptions {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.options.len()
    }

    /// Whether there is one with this filter.
    pub fn contains(&self, filter: &Filter) -> bool {
        self.options.contains_key(filter)
    }

    /// Whether the texts of the filters leave room for one more.
    pub fn has_room(&self, filter: &Filter) -> bool {
        self.bytes + filter.as_str().len() <= BYTES_MAX && self.levels + filter.levels() <= LEVELS_MAX
    }

    /// Adds one, or replaces that with the same filter; true if it is new.
    pub fn insert(&mut self, filter: Filter, options: SubscriptionOptions) -> bool {
        let (bytes, levels) = (filter.as_str().len(), filter.levels());
        let new = self.options.insert(filter, options).is_none();
        if new {
            self.bytes += bytes;
            self.levels += levels;
        }
        new
    }

    /// Removes one; false if there was none.
    pub fn remove(&mut self, filter: &Filter) -> bool {
        if self.options.remove(filter).is_none() {
            return false;
        }
        self.bytes -= filter.as_str().len();
        self.levels -= filter.levels();
        if self.options.len() * 4 < self.options.capacity() {
            self.options.shrink_to(self.options.len() * 2);
        }
        true
    }

    /// All of them, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&Filter, &SubscriptionOptions)> {
        self.options.iter()
    }

    /// The filters alone; nothing is left.
    pub fn take(&mut self) -> impl Iterator<Item = Filter> + use<> {
        std::mem::take(self).options.into_keys()
    }
}
