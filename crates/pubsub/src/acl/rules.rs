//! Rules, and what they say to one client.

use crate::topic::{Filter, Invalid, covers, matches, overlaps};

/// What a rule is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Publishing, a will too.
    Publish,
    /// Subscribing.
    Subscribe,
    /// Subscribing this very filter, and no other that is for the same names.
    SubscribeLiterally,
}

/// A rule: for one user or all, allow or deny, and a filter in which `%u` stands for the user name and `%c` for the client id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    user: Option<String>,
    allow: bool,
    access: Access,
    filter: String,
}

/// Why a rule is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// The filter is not valid.
    #[error("the filter of a rule is not valid: {0}")]
    Filter(Invalid),
    /// A shared subscription.
    #[error("a rule is for filters without `$share`; it covers shared subscriptions of them too")]
    Shared,
}

impl Rule {
    /// A rule; `user` is `None` for all.
    pub fn new(user: Option<&str>, allow: bool, access: Access, filter: &str) -> Result<Self, RuleError> {
        // Placeholders are valid levels, so the filter can be checked before they are filled in.
        let checked = Filter::parse(filter.into()).map_err(RuleError::Filter)?;
        if checked.group().is_some() {
            return Err(RuleError::Shared);
        }
        Ok(Self { user: user.map(str::to_owned), allow, access, filter: filter.to_owned() })
    }

    /// Whether its pattern stands for all names because a name did not fit its place.
    fn lacks_a_name(&self, pattern: &str) -> bool {
        pattern == "#" && self.filter != "#"
    }

    /// The pattern for a client; `None` if a name it stands on is missing.
    ///
    /// A name with `/`, `+` or `#` would turn one level into others: the pattern then is for nothing, if it allows, and for
    /// everything, if it denies.
    fn pattern(&self, user: Option<&str>, client_id: &str) -> Option<String> {
        let mut pattern = String::with_capacity(self.filter.len());
        let mut rest = self.filter.as_str();
        // One pass, so that a name that itself holds `%c` is not filled in again.
        while let Some(at) = rest.find('%') {
            pattern.push_str(&rest[..at]);
            let name = match rest.as_bytes().get(at + 1) {
                Some(b'u') => Some(user.unwrap_or_default()),
                Some(b'c') => Some(client_id),
                _ => None,
            };
            match name {
                Some(name) if name.is_empty() || name.contains(['/', '+', '#', '\0']) => {
                    return (!self.allow).then(|| "#".to_owned());
                }
                Some(name) => {
                    pattern.push_str(name);
                    rest = &rest[at + 2..];
                }
                None => {
                    pattern.push('%');
                    rest = &rest[at + 1..];
                }
            }
        }
        pattern.push_str(rest);
        Some(pattern)
    }
}

/// The rules of one client.
#[derive(Debug, Default)]
pub struct Rules {
    publish: Vec<(bool, String)>,
    subscribe: Vec<Subscribing>,
}

#[derive(Debug)]
struct Subscribing {
    allow: bool,
    literally: bool,
    pattern: String,
}

impl Rules {
    pub(super) fn of(rules: &[Rule], user: Option<&str>, client_id: &str) -> Self {
        let mut mine = Self::default();
        for rule in rules {
            if rule.user.is_some() && rule.user.as_deref() != user {
                continue;
            }
            let Some(pattern) = rule.pattern(user, client_id) else { continue };
            let allow = rule.allow;
            match rule.access {
                Access::Publish => mine.publish.push((allow, pattern)),
                access => {
                    // A name that fits nowhere denies everything, not `#` alone.
                    let literally = access == Access::SubscribeLiterally && !rule.lacks_a_name(&pattern);
                    mine.subscribe.push(Subscribing { allow, literally, pattern });
                }
            }
        }
        mine
    }

    /// Those of the broker's own side.
    pub(super) fn everything() -> Self {
        let all = || "#".to_owned();
        let subscribe = vec![Subscribing { allow: true, literally: false, pattern: all() }];
        Self { publish: vec![(true, all())], subscribe }
    }

    /// Whether a valid name may be published to: the first rule that is for it decides. Nobody may below `$SYS`.
    pub fn may_publish(&self, name: &str) -> bool {
        if name == "$SYS" || name.starts_with("$SYS/") {
            return false;
        }
        self.publish.iter().find(|(_, pattern)| matches(pattern, name)).is_some_and(|(allow, _)| *allow)
    }

    /// Whether a valid pattern may be subscribed to: no name it is for may be denied, and one rule has to allow all of them.
    /// So nothing has to be checked when a message is delivered. Rules for a filter literally are about that filter alone.
    pub fn may_subscribe(&self, pattern: &str) -> bool {
        let applies = |rule: &&Subscribing| match (rule.literally, rule.allow) {
            (true, _) => rule.pattern == pattern,
            (false, true) => covers(&rule.pattern, pattern),
            (false, false) => overlaps(&rule.pattern, pattern),
        };
        self.subscribe.iter().find(applies).is_some_and(|rule| rule.allow)
    }
}
