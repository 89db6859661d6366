//! The group of a shared subscription: each message goes to one of its members.

use super::Entry;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Whose turn it is in a group; the same for all copies of one group, and of no other.
pub type Turn = Arc<AtomicUsize>;

/// The members of one `$share/group/filter`.
#[derive(Debug, Clone)]
pub struct Group {
    pub(super) name: Box<str>,
    /// Sorted by subscriber.
    pub(super) members: Vec<Entry>,
    /// Whose turn it is; shared by all copies, as a copy only means that somebody still looks at the old members.
    turn: Turn,
}

impl Group {
    pub(super) fn new(name: &str) -> Self {
        Self { name: name.into(), members: Vec::new(), turn: Arc::default() }
    }

    /// All members.
    pub fn members(&self) -> &[Entry] {
        &self.members
    }

    /// What tells it from other groups.
    pub fn turn(&self) -> &Turn {
        &self.turn
    }

    /// The next member in turn that `takes` the message; whoever does not is skipped.
    pub fn next(&self, mut takes: impl FnMut(usize, &Entry) -> bool) -> Option<usize> {
        let count = self.members.len();
        if count == 0 {
            return None;
        }
        let start = self.turn.fetch_add(1, Ordering::Relaxed);
        (0..count).map(|step| start.wrapping_add(step) % count).find(|at| takes(*at, &self.members[*at]))
    }
}
