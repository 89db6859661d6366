//! Topic names and filters: what is valid, what matches what, and the tree that finds all filters of a name.
//!
//! [`Filter`] is a checked subscription; [`Filters`] the tree of one thread; [`Index`] many trees that all threads share.
//! Levels are not bounded but by a topic's length; what they cost is, for each session.

mod filter;
mod filters;
mod group;
mod index;
mod levels;
#[cfg(test)]
mod tests;

pub use filter::{Filter, covers, matches, overlaps};
pub use filters::{Entry, Filters, Ids, Match, Matches};
pub use group::{Group, Turn};
pub use index::{Index, Seen};

/// Bytes of a topic name or filter, from its length field of two bytes.
pub const TOPIC_BYTES_MAX: usize = u16::MAX as usize;

/// Why a name or filter is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// It has no character.
    #[error("a topic needs at least one character")]
    Empty,
    /// More than [`TOPIC_BYTES_MAX`] bytes.
    #[error("a topic has at most {TOPIC_BYTES_MAX} bytes")]
    TooLong,
    /// It holds U+0000.
    #[error("a topic may not hold the character U+0000")]
    Null,
    /// A wildcard in a name, or at a place in a filter where none may be.
    #[error("`+` stands for a whole level, `#` for all levels at the end, and neither may be in a name")]
    Wildcard,
    /// `$share` without group or filter.
    #[error("a shared subscription is `$share/group/filter`, the group without `/`, `+` and `#`")]
    Share,
}

/// Whether a name may be published to ([MQTT-3.3.2-2], [MQTT-4.7.3-1], [MQTT-4.7.3-2]).
pub fn check_name(name: &str) -> Result<(), Invalid> {
    check_size(name)?;
    if name.bytes().any(|byte| byte == b'+' || byte == b'#') { Err(Invalid::Wildcard) } else { Ok(()) }
}

fn check_size(text: &str) -> Result<(), Invalid> {
    if text.is_empty() {
        return Err(Invalid::Empty);
    }
    if text.len() > TOPIC_BYTES_MAX {
        return Err(Invalid::TooLong);
    }
    if text.bytes().any(|byte| byte == 0) { Err(Invalid::Null) } else { Ok(()) }
}
