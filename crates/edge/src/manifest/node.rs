//! Reading JSON objects with the place of everything, for messages.

use super::error::Findings;
use ironbrook_model::twin::Object;
use serde_json::Value;

/// An object and where it stands.
#[derive(Debug, Clone)]
pub(super) struct Node<'a> {
    pub(super) path: String,
    pub(super) members: &'a Object,
}

impl<'a> Node<'a> {
    /// The value as an object; a finding if it is none.
    pub(super) fn new(path: impl Into<String>, value: &'a Value, findings: &mut Findings) -> Option<Self> {
        let path = path.into();
        match value {
            Value::Object(members) => Some(Self { path, members }),
            other => {
                findings.add(path, format!("must be an object, and is {}", kind(other)));
                None
            }
        }
    }

    /// The path of a member.
    pub(super) fn at(&self, key: &str) -> String {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '$' | '-');
        if !key.is_empty() && key.chars().all(plain) {
            format!("{}.{key}", self.path)
        } else {
            format!("{}['{key}']", self.path)
        }
    }

    /// A member, its key in any case; `null` is none.
    pub(super) fn get(&self, key: &str) -> Option<&'a Value> {
        let found = self.members.get(key).or_else(|| {
            self.members.iter().find(|(name, _)| name.eq_ignore_ascii_case(key)).map(|(_, value)| value)
        });
        found.filter(|value| !value.is_null())
    }

    /// An optional text.
    pub(super) fn text(&self, key: &str, findings: &mut Findings) -> Option<&'a str> {
        match self.get(key)? {
            Value::String(text) => Some(text),
            other => {
                findings.add(self.at(key), format!("must be a text, and is {}", kind(other)));
                None
            }
        }
    }

    /// A text that must be there.
    pub(super) fn required_text(&self, key: &str, findings: &mut Findings) -> Option<&'a str> {
        if self.get(key).is_none() {
            findings.add(self.at(key), "is missing");
        }
        self.text(key, findings)
    }

    /// An optional object.
    pub(super) fn object(&self, key: &str, findings: &mut Findings) -> Option<Self> {
        Self::new(self.at(key), self.get(key)?, findings)
    }

    /// An object that must be there.
    pub(super) fn required_object(&self, key: &str, findings: &mut Findings) -> Option<Self> {
        if self.get(key).is_none() {
            findings.add(self.at(key), "is missing");
        }
        self.object(key, findings)
    }

    /// An optional whole number within bounds.
    pub(super) fn integer(&self, key: &str, min: i64, max: i64, findings: &mut Findings) -> Option<i64> {
        let value = self.get(key)?;
        match value.as_i64().filter(|number| (min..=max).contains(number)) {
            Some(number) => Some(number),
            None => {
                findings
                    .add(self.at(key), format!("must be a whole number from {min} to {max}, and is {value}"));
                None
            }
        }
    }

    /// One of a few words, in any case.
    pub(super) fn word<T: Copy>(
        &self,
        key: &str,
        words: &[(&'static str, T)],
        findings: &mut Findings,
    ) -> Option<T> {
        let text = self.text(key, findings)?;
        let found = words.iter().find(|(word, _)| word.eq_ignore_ascii_case(text));
        if found.is_none() {
            let allowed: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            findings.add(self.at(key), format!("must be one of {}, and is `{text}`", allowed.join(", ")));
        }
        found.map(|(_, value)| *value)
    }

    /// Members that are not `null`, in their order.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&'a String, &'a Value)> + use<'a> {
        self.members.iter().filter(|(_, value)| !value.is_null())
    }
}

/// What a value is, in words.
pub(super) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
