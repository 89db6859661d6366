//! Why a section of a deployment cannot be used.

use std::fmt;

/// Findings told in one description; a reported text has at most 4096 bytes.
const TOLD_MAX: usize = 5;
/// Findings kept of one document.
const FINDINGS_MAX: usize = 100;
/// Longest description in bytes.
const DESCRIPTION_LEN_MAX: usize = 2048;

/// One thing that is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Where: a path such as `$.modulesContent.$edgeAgent['properties.desired'].modules.m1.status`.
    pub path: String,
    /// What is wrong and what would be right.
    pub message: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.message)
    }
}

/// Why a desired section cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Nothing was deployed yet.
    #[error("nothing is deployed to this device yet: the desired properties are empty; set modules for it")]
    Empty,
    /// `schemaVersion` is missing, unreadable or not known here.
    #[error("schemaVersion {found}; write one of {supported}")]
    SchemaVersion {
        /// What is wrong with it, in words.
        found: String,
        /// What may stand there.
        supported: &'static str,
    },
    /// It cannot be read as a deployment.
    #[error("{}", told(.0))]
    Invalid(Vec<Finding>),
}

impl ConfigError {
    /// The code the agent reports in `lastDesiredStatus`.
    pub fn code(&self) -> u16 {
        // rule AGENT-01
        match self {
            Self::Empty => 417,
            Self::SchemaVersion { .. } => 412,
            Self::Invalid(_) => 400,
        }
    }

    /// The description the edge hub reports in `lastDesiredStatus`, with code 400 whatever is wrong.
    pub fn hub_description(&self) -> String {
        format!("Error while parsing desired properties - {self}")
    }
}

fn told(findings: &[Finding]) -> String {
    let mut text: Vec<String> = findings.iter().take(TOLD_MAX).map(Finding::to_string).collect();
    if findings.len() > TOLD_MAX {
        text.push(format!("and {} more", findings.len() - TOLD_MAX));
    }
    let mut text = text.join("; ");
    if text.len() > DESCRIPTION_LEN_MAX {
        text.truncate(text.floor_char_boundary(DESCRIPTION_LEN_MAX));
        text.push('…');
    }
    text
}

/// Gathers what is wrong, so that one reading tells everything.
#[derive(Debug, Default)]
pub(super) struct Findings(Vec<Finding>);

impl Findings {
    pub(super) fn add(&mut self, path: impl Into<String>, message: impl Into<String>) {
        if self.0.len() < FINDINGS_MAX {
            self.0.push(Finding { path: path.into(), message: message.into() });
        }
    }

    pub(super) fn into_vec(self) -> Vec<Finding> {
        self.0
    }

    /// The value, if nothing was found.
    pub(super) fn finish<T>(self, value: Option<T>) -> Result<T, ConfigError> {
        match value {
            Some(value) if self.0.is_empty() => Ok(value),
            _ => Err(ConfigError::Invalid(self.0)),
        }
    }
}
