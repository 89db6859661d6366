//! Versions of the two schemas.

use super::error::ConfigError;
use super::node::{Node, kind};
use serde_json::Value;
use std::fmt;

/// What the agent understands.
const AGENT_SUPPORTED: &str = "1.0, 1.1";
/// What the edge hub understands.
const HUB_SUPPORTED: &str = "1.0, 1.1, 1.2, 1.3";

/// The `schemaVersion` of a desired section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchemaVersion {
    text: String,
    minor: u32,
}

impl SchemaVersion {
    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The number after the first point; 0 has no `startupOrder` and no routes as objects.
    pub fn minor(&self) -> u32 {
        self.minor
    }

    /// The agent's: major 1, nothing above 1.1.0.
    pub(super) fn agent(node: &Node<'_>) -> Result<Self, ConfigError> {
        // rule AGENT-02
        Self::read(node, AGENT_SUPPORTED, |parts| parts[0] == 1 && parts <= [1, 1, 0, 0])
    }

    /// The edge hub's: major 1, minor 0 to 3, the rest does not count.
    pub(super) fn hub(node: &Node<'_>) -> Result<Self, ConfigError> {
        Self::read(node, HUB_SUPPORTED, |parts| parts[0] == 1 && parts[1] <= 3)
    }

    fn read(
        node: &Node<'_>,
        supported: &'static str,
        known: impl Fn([u32; 4]) -> bool,
    ) -> Result<Self, ConfigError> {
        let refused = |found: String| ConfigError::SchemaVersion { found, supported };
        match node.get("schemaVersion") {
            None => Err(refused("is missing".to_owned())),
            Some(Value::String(text)) => match numbers(text.trim()).filter(|parts| known(*parts)) {
                Some(parts) => Ok(Self { text: text.trim().to_owned(), minor: parts[1] }),
                None => {
                    Err(refused(format!("`{}` is not supported", text.chars().take(32).collect::<String>())))
                }
            },
            Some(other) => Err(refused(format!("is {} instead of a text", kind(other)))),
        }
    }
}

impl fmt::Display for SchemaVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Two to four numbers between points.
fn numbers(text: &str) -> Option<[u32; 4]> {
    let mut numbers = [0; 4];
    let mut count = 0;
    for part in text.split('.') {
        let digits = !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        *numbers.get_mut(count)? = part.parse().ok().filter(|_| digits)?;
        count += 1;
    }
    (count >= 2).then_some(numbers)
}
