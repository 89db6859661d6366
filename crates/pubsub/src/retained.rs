//! The last message of each name, for those who subscribe later.
//!
//! A sorted map, and a search that leaps: where a name does not fit a filter at some level, it seeks to the next name that
//! could, so `+/status` over a hundred thousand names looks at two per first level, and needs no tree of nodes.
//! Bounded in messages and bytes. That it is durable is the journal's work.

use crate::{Message, Reason};
use bytestring::ByteString;
use ironbrook_model::Timestamp;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

/// The retained messages.
#[derive(Debug)]
pub struct Retained {
    messages: BTreeMap<ByteString, Arc<Message>>,
    bytes: usize,
    messages_max: usize,
    bytes_max: usize,
}

impl Retained {
    /// An empty store with bounds.
    pub fn new(messages_max: usize, bytes_max: usize) -> Self {
        Self { messages: BTreeMap::new(), bytes: 0, messages_max, bytes_max }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Their bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether there is room for a message.
    pub fn fits(&self, message: &Message) -> Result<(), Reason> {
        let old = self.messages.get(&message.topic);
        let bytes = self.bytes - old.map_or(0, |old| old.size()) + message.size();
        let count = self.messages.len() + usize::from(old.is_none());
        if count > self.messages_max || bytes > self.bytes_max { Err(Reason::QuotaExceeded) } else { Ok(()) }
    }

    /// Keeps a message in place of the one before.
    pub fn set(&mut self, message: Arc<Message>) {
        self.bytes += message.size();
        // The message's own copy of its name, so that the map does not hold a second one.
        let name = message.topic.clone();
        if let Some(old) = self.messages.insert(name, message) {
            self.bytes -= old.size();
        }
    }

    /// Removes the message of a name ([MQTT-3.3.1-6] of 5.0); false if there was none.
    pub fn clear(&mut self, name: &str) -> bool {
        let Some(old) = self.messages.remove(name) else { return false };
        self.bytes -= old.size();
        true
    }

    /// The message of a name.
    pub fn get(&self, name: &str) -> Option<&Arc<Message>> {
        self.messages.get(name)
    }

    /// Messages from a name on, for the journal: at most `max`.
    pub fn page(&self, after: Option<&str>, max: usize) -> Vec<Arc<Message>> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.messages
            .range::<str, _>((from, Bound::Unbounded))
            .take(max)
            .map(|(_, one)| one.clone())
            .collect()
    }

    /// Removes up to `max` expired messages behind a name; gives their names and where to go on.
    pub fn expired(
        &self,
        after: Option<&str>,
        now: Timestamp,
        max: usize,
    ) -> (Vec<ByteString>, Option<ByteString>) {
        let page = self.page(after, max);
        let next = page.last().map(|last| last.topic.clone()).filter(|_| page.len() == max);
        let expired = page.iter().filter(|one| one.is_expired(now)).map(|one| one.topic.clone());
        (expired.collect(), next)
    }

    /// Calls `found` with each message that a pattern is for, in the order of names, until it says stop.
    pub fn find(&self, pattern: &str, now: Timestamp, found: impl FnMut(&Arc<Message>) -> bool) {
        self.find_some(pattern, None, now, usize::MAX, found);
    }

    /// The same for names behind one, and looks at so many names at most. Gives the name behind which to go on, if it
    /// stopped before the end.
    pub fn find_some(
        &self,
        pattern: &str,
        after: Option<&str>,
        now: Timestamp,
        looks: usize,
        mut found: impl FnMut(&Arc<Message>) -> bool,
    ) -> Option<ByteString> {
        if !pattern.contains(['+', '#']) {
            let message = self.messages.get(pattern).filter(|message| !message.is_expired(now));
            if let Some(message) = message.filter(|_| after.is_none()) {
                found(message);
            }
            return None;
        }
        let wanted: Vec<&str> = pattern.split('/').collect();
        // No name holds U+0000, so this is the first that could come behind.
        let mut from = after.map_or_else(String::new, |after| format!("{after}\0"));
        let mut looked = 0;
        loop {
            let mut range = self.messages.range::<str, _>((Bound::Included(from.as_str()), Bound::Unbounded));
            // Names that fit mostly stand side by side, so the search goes on as long as they do.
            let leap = loop {
                let (name, message) = range.next()?;
                looked += 1;
                let step = step(&wanted, name);
                let stop = match &step {
                    Step::Fits => !message.is_expired(now) && !found(message),
                    Step::End => return None,
                    Step::Next | Step::Seek(_) => false,
                };
                if stop || looked >= looks {
                    return Some(name.clone());
                }
                if let Step::Seek(next) = step {
                    break next;
                }
            };
            from = leap;
        }
    }
}

enum Step {
    Fits,
    Next,
    /// No name before this one fits.
    Seek(String),
    End,
}

/// Whether a name fits, or the next one that could.
fn step(wanted: &[&str], name: &str) -> Step {
    // `$…` is for filters that say so ([MQTT-4.7.2-1]).
    if name.starts_with('$') && matches!(wanted.first(), Some(&"+" | &"#")) {
        return Step::Seek("%".to_owned());
    }
    let mut at = 0;
    for (depth, want) in wanted.iter().enumerate() {
        let prefix = &name[..at.min(name.len())];
        if *want == "#" {
            return Step::Fits;
        }
        if at > name.len() {
            // The name is shorter. Behind it come names whose last level is longer, then those below it.
            return match (wanted[depth - 1], *want) {
                ("+", _) => Step::Next,
                (_, "+") => Step::Seek(format!("{prefix}/")),
                (_, text) => Step::Seek(format!("{prefix}/{text}")),
            };
        }
        let level = name[at..].split('/').next().unwrap_or_default();
        if *want != "+" && *want != level {
            return leap(prefix, want, depth + 1 == wanted.len(), name);
        }
        at += level.len() + 1;
    }
    if at > name.len() {
        return Step::Fits;
    }
    // The name is longer: nothing below fits, what is beside may.
    after(&name[..at])
}

/// The next name that begins with a prefix and has a certain level behind it.
fn leap(prefix: &str, want: &str, last: bool, name: &str) -> Step {
    let exact = format!("{prefix}{want}");
    if exact.as_str() > name {
        return Step::Seek(exact);
    }
    let below = format!("{prefix}{want}/");
    if !last && below.as_str() > name {
        return Step::Seek(below);
    }
    after(prefix)
}

/// The first name behind all that begin with a prefix, which is empty or ends with `/`.
fn after(prefix: &str) -> Step {
    match prefix.strip_suffix('/') {
        // `0` is the character after `/`.
        Some(parent) => Step::Seek(format!("{parent}0")),
        None => Step::End,
    }
}

#[cfg(test)]
#[path = "retained_tests.rs"]
mod tests;
