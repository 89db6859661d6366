//! What one route says to one message, and why. For people: nothing of it is on the way of messages.

use super::facts::Sight;
use super::path::Path;
use super::{Facts, Route};
use ironbrook_query::{Condition, Explanation};

/// What a route says to a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trial {
    /// It is not in force.
    Disabled,
    /// It looks at messages of another source.
    OtherSource,
    /// It takes messages that came another way.
    OtherPath,
    /// Its condition cannot be read.
    Unreadable(ironbrook_query::Error),
    /// What its condition came to.
    Condition(Explanation),
}

impl Trial {
    /// Tries a route. A route that is not in force is tried all the same where `disabled` is true.
    pub fn of(route: &Route, facts: &Facts<'_>, disabled: bool) -> Self {
        let condition = match Condition::parse(&route.condition) {
            Ok(condition) => condition,
            Err(error) => return Self::Unreadable(error),
        };
        if !route.enabled && !disabled {
            return Self::Disabled;
        }
        if route.source != facts.source {
            return Self::OtherSource;
        }
        if route.path.as_deref().is_some_and(|path| !Path::parse(path).matches(facts)) {
            return Self::OtherPath;
        }
        Self::Condition(condition.explain(&Sight::new(facts, None)))
    }

    /// Whether the route takes the message.
    pub fn takes(&self) -> bool {
        matches!(self, Self::Condition(explanation) if explanation.result == Some(true))
    }
}
