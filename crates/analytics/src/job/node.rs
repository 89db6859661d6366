//! A place in a definition, which knows its path for errors.

use super::error::JobError;
use serde_json::{Map, Value};

/// A JSON value and where it stands.
#[derive(Debug, Clone)]
pub(super) struct Node<'a> {
    pub(super) value: &'a Value,
    pub(super) path: String,
}

static NULL: Value = Value::Null;

impl<'a> Node<'a> {
    /// The outermost value; `path` is what errors begin with.
    pub(super) fn root(value: &'a Value, path: &str) -> Self {
        Self { value, path: path.to_owned() }
    }

    /// A member by name in any case; `None` where it is missing or null.
    pub(super) fn member(&self, name: &str) -> Option<Self> {
        let members = self.value.as_object()?;
        let (name, value) = find(members, name).filter(|(_, value)| !value.is_null())?;
        Some(Self { value, path: self.below(name) })
    }

    /// A member that there must be.
    pub(super) fn required(&self, name: &str, meaning: &'static str) -> Result<Self, JobError> {
        self.member(name).ok_or_else(|| JobError::Missing { path: self.below(name), meaning })
    }

    /// A member's own members; an empty place where it is missing.
    pub(super) fn inside(&self, name: &str) -> Result<Self, JobError> {
        match self.member(name) {
            Some(node) if node.value.is_object() => Ok(node),
            Some(node) => Err(node.not("an object")),
            None => Ok(Self { value: &NULL, path: self.below(name) }),
        }
    }

    /// The items of a list; none where it is missing.
    pub(super) fn items(&self, name: &str) -> Result<Vec<Self>, JobError> {
        let Some(list) = self.member(name) else { return Ok(Vec::new()) };
        let items = list.value.as_array().ok_or_else(|| list.not("an array"))?;
        let item = |(index, value)| Self { value, path: format!("{}[{index}]", list.path) };
        Ok(items.iter().enumerate().map(item).collect())
    }

    /// A text.
    pub(super) fn text(&self, name: &str) -> Result<Option<&'a str>, JobError> {
        let Some(node) = self.member(name) else { return Ok(None) };
        node.value.as_str().map(Some).ok_or_else(|| node.not("a text"))
    }

    /// A text that there must be.
    pub(super) fn required_text(&self, name: &str, meaning: &'static str) -> Result<&'a str, JobError> {
        self.text(name)?.ok_or_else(|| JobError::Missing { path: self.below(name), meaning })
    }

    /// A whole number, which may stand in a text.
    pub(super) fn whole(&self, name: &str) -> Result<Option<i64>, JobError> {
        let Some(node) = self.member(name) else { return Ok(None) };
        let number = match node.value {
            Value::String(text) => text.trim().parse().ok(),
            other => other.as_i64(),
        };
        number.map(Some).ok_or_else(|| node.not("a whole number"))
    }

    /// Its own members.
    pub(super) fn members(&self) -> Option<&'a Map<String, Value>> {
        self.value.as_object()
    }

    /// Why a value of its JSON type is not taken.
    pub(super) fn not(&self, expected: &'static str) -> JobError {
        let found = match self.value {
            Value::Null => "null",
            Value::Bool(_) => "a boolean",
            Value::Number(_) => "a number",
            Value::String(_) => "a text",
            Value::Array(_) => "an array",
            Value::Object(_) => "an object",
        };
        JobError::Type { path: self.path.clone(), found, expected }
    }

    /// The path of a member.
    pub(super) fn below(&self, name: &str) -> String {
        match self.path.as_str() {
            "" => name.to_owned(),
            path if path.ends_with(": ") => format!("{path}{name}"),
            path => format!("{path}.{name}"),
        }
    }

    /// Why the value of a member is not taken.
    pub(super) fn value_error(&self, name: &str, found: &str, allowed: &'static str) -> JobError {
        let path = self.member(name).map_or_else(|| self.below(name), |member| member.path);
        JobError::Value { path, found: found.to_owned(), allowed }
    }
}

/// A member by name, the exact one first.
pub(super) fn find<'a>(members: &'a Map<String, Value>, name: &str) -> Option<(&'a String, &'a Value)> {
    members.get_key_value(name).or_else(|| members.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)))
}
