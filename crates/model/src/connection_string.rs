//! Connection strings: `Name=value;Name=value`, first `=` splits, order free.

use crate::SharedAccessKey;
use std::fmt;

/// A connection string that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConnectionStringError {
    /// A part without `=`.
    #[error("part {0} of the connection string has no '='; parts look like HostName=example.test")]
    NoValue(usize),
    /// A part given twice.
    #[error("{0} stands twice in the connection string")]
    Twice(String),
    /// A part the caller needs is absent.
    #[error("{0} is missing in the connection string")]
    Missing(&'static str),
    /// A key that is not base64.
    #[error("the value of {0} is not a base64 key")]
    Key(&'static str),
}

/// A parsed connection string. `Debug` hides secrets.
#[derive(Clone, PartialEq, Eq)]
pub struct ConnectionString(Vec<(String, String)>);

impl ConnectionString {
    /// Parses a connection string; names are compared without case afterwards.
    pub fn parse(text: &str) -> Result<Self, ConnectionStringError> {
        let mut parts: Vec<(String, String)> = Vec::new();
        for (index, part) in text.trim().split(';').enumerate() {
            if part.is_empty() {
                continue;
            }
            // The part itself is not quoted in the error: it may be a key.
            let (name, value) = part.split_once('=').ok_or(ConnectionStringError::NoValue(index + 1))?;
            if parts.iter().any(|(n, _)| n.eq_ignore_ascii_case(name)) {
                return Err(ConnectionStringError::Twice(name.to_owned()));
            }
            parts.push((name.to_owned(), value.to_owned()));
        }
        Ok(Self(parts))
    }

    /// The value of a part, if present.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }

    /// The value of a part that must be there.
    pub fn require(&self, name: &'static str) -> Result<&str, ConnectionStringError> {
        self.get(name).ok_or(ConnectionStringError::Missing(name))
    }

    /// A part that holds a base64 key.
    pub fn require_key(&self, name: &'static str) -> Result<SharedAccessKey, ConnectionStringError> {
        SharedAccessKey::from_base64(self.require(name)?).ok_or(ConnectionStringError::Key(name))
    }
}

impl fmt::Debug for ConnectionString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut map = f.debug_map();
        for (name, value) in &self.0 {
            let secret = ["key", "signature", "sig"].iter().any(|s| name.to_ascii_lowercase().ends_with(s));
            map.entry(name, &if secret { "<hidden>" } else { value.as_str() });
        }
        map.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_keeps_its_trailing_equals_sign_and_stays_out_of_debug() {
        let c =
            ConnectionString::parse("HostName=h;DeviceId=d;SharedAccessKey=c2VjcmV0LWNhbmFyeQ==").unwrap();
        assert_eq!(c.get("sharedaccesskey"), Some("c2VjcmV0LWNhbmFyeQ=="));
        assert!(!format!("{c:?}").contains("c2Vj"));
    }

    #[test]
    fn names_the_missing_part() {
        let c = ConnectionString::parse("HostName=h").unwrap();
        assert_eq!(c.require("DeviceId"), Err(ConnectionStringError::Missing("DeviceId")));
    }
}
