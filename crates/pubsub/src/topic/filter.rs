//! One checked filter.

use super::{Invalid, check_size};
use bytestring::ByteString;

const SHARE: &str = "$share/";

/// A checked filter, with the group of a shared subscription.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Filter {
    text: ByteString,
    /// Where the filter begins behind `$share/group/`; 0 if it is not shared.
    start: usize,
}

impl Filter {
    /// Checks a filter as it stands in SUBSCRIBE, `$share/group/filter` too.
    pub fn parse(text: ByteString) -> Result<Self, Invalid> {
        check_size(&text)?;
        let start = match text.strip_prefix(SHARE) {
            Some(rest) => {
                let (group, _) = rest.split_once('/').ok_or(Invalid::Share)?;
                // [MQTT-4.8.2-1], [MQTT-4.8.2-2]
                if group.is_empty() || group.contains(['+', '#']) {
                    return Err(Invalid::Share);
                }
                SHARE.len() + group.len() + 1
            }
            None if &*text == "$share" => return Err(Invalid::Share),
            None => 0,
        };
        if start > 0 && text.len() == start {
            return Err(Invalid::Share);
        }
        check_wildcards(&text[start..])?;
        Ok(Self { text, start })
    }

    /// As it was subscribed.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The same, shared with the frame it came in.
    pub fn text(&self) -> &ByteString {
        &self.text
    }

    /// What topic names are compared with.
    pub fn pattern(&self) -> &str {
        &self.text[self.start..]
    }

    /// The group of a shared subscription.
    pub fn group(&self) -> Option<&str> {
        (self.start > 0).then(|| &self.text[SHARE.len()..self.start - 1])
    }

    /// Whether it is for a name.
    pub fn matches(&self, name: &str) -> bool {
        matches(self.pattern(), name)
    }

    /// How many levels what names are compared with has.
    pub fn levels(&self) -> usize {
        self.pattern().bytes().filter(|byte| *byte == b'/').count() + 1
    }

    /// The same filter in memory of its own, so that no frame is kept for it.
    pub fn detach(&self) -> Self {
        Self { text: ByteString::from(&*self.text), start: self.start }
    }
}

/// [MQTT-4.7.1-1] to [MQTT-4.7.1-3]
fn check_wildcards(pattern: &str) -> Result<(), Invalid> {
    let mut levels = pattern.split('/').peekable();
    while let Some(level) = levels.next() {
        let last = levels.peek().is_none();
        let fine = match level {
            "+" => true,
            "#" => last,
            other => !other.contains(['+', '#']),
        };
        if !fine {
            return Err(Invalid::Wildcard);
        }
    }
    Ok(())
}

/// Whether a valid pattern is for a valid name. The plain reading of the standard; the tree is tested against it.
pub fn matches(pattern: &str, name: &str) -> bool {
    // [MQTT-4.7.2-1]
    if name.starts_with('$') && pattern.starts_with(['+', '#']) {
        return false;
    }
    let (mut pattern, mut name) = (pattern.split('/'), name.split('/'));
    loop {
        match (pattern.next(), name.next()) {
            (Some("#"), _) | (None, None) => return true,
            (Some("+"), Some(_)) => {}
            (Some(wanted), Some(level)) if wanted == level => {}
            _ => return false,
        }
    }
}

/// Whether each name that `inner` is for is one that `outer` is for.
pub fn covers(outer: &str, inner: &str) -> bool {
    if inner.starts_with('$') && outer.starts_with(['+', '#']) {
        return false;
    }
    let (mut outer, mut inner) = (outer.split('/'), inner.split('/'));
    loop {
        match (outer.next(), inner.next()) {
            (Some("#"), _) | (None, None) => return true,
            (Some("+"), Some(level)) if level != "#" => {}
            (Some(wanted), Some(level)) if wanted == level => {}
            _ => return false,
        }
    }
}

/// Whether there can be a name that both patterns are for.
pub fn overlaps(one: &str, other: &str) -> bool {
    let hidden = |one: &str, other: &str| one.starts_with('$') && other.starts_with(['+', '#']);
    if hidden(one, other) || hidden(other, one) {
        return false;
    }
    let (mut one, mut other) = (one.split('/'), other.split('/'));
    loop {
        match (one.next(), other.next()) {
            (Some("#"), _) | (_, Some("#")) | (None, None) => return true,
            (Some("+"), Some(_)) | (Some(_), Some("+")) => {}
            (Some(level), Some(same)) if level == same => {}
            _ => return false,
        }
    }
}
