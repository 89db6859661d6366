//! What may stand in a twin: keys, values, depth, sizes.

use super::Object;
use crate::{ErrorCode, Refusal};
use serde_json::Value;

/// How deep objects may be nested below a section.
pub const MAX_DEPTH: usize = 10;
/// Smallest integer.
pub const MIN_INTEGER: i64 = -(1 << 52);
/// Largest integer.
pub const MAX_INTEGER: i64 = (1 << 52) - 1;
/// Longest key in bytes.
const KEY_LEN_MAX: usize = 1024;
/// Longest string value in bytes.
const STRING_LEN_MAX: usize = 4096;
/// Members of an object that are the hub's own; ignored where a caller sends them at the top of a section.
pub(super) const OWN_MEMBERS: [&str; 2] = ["$version", "$metadata"];

/// Largest sizes of sections in bytes, counted without metadata.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TwinLimits {
    /// `tags`
    pub tags: usize,
    /// `properties.desired`
    pub desired: usize,
    /// `properties.reported`
    pub reported: usize,
}

impl TwinLimits {
    /// The documented limits of an Azure hub.
    pub const AZURE: Self = Self { tags: 8 * 1024, desired: 32 * 1024, reported: 32 * 1024 };
    /// Raised limits.
    pub const NATIVE: Self = Self { tags: 64 * 1024, desired: 256 * 1024, reported: 256 * 1024 };

    fn of(self, kind: SectionKind) -> usize {
        match kind {
            SectionKind::Tags => self.tags,
            SectionKind::Desired => self.desired,
            SectionKind::Reported => self.reported,
        }
    }
}

/// A section of a twin, for its name and its size limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SectionKind {
    /// `tags`
    Tags,
    /// `properties.desired`
    Desired,
    /// `properties.reported`
    Reported,
}

impl SectionKind {
    /// The section's name in messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tags => "tags",
            Self::Desired => "properties.desired",
            Self::Reported => "properties.reported",
        }
    }
}

/// A change that breaks a rule of twins.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TwinError {
    /// Not JSON, or JSON but not an object.
    #[error("a change of {0} is a JSON object; this is {1}")]
    NotAnObject(&'static str, String),
    /// A key that may not stand in a twin.
    #[error("a key in {0} {1}; keys are 1 to 1024 bytes without control characters, '.', '$' and space")]
    Key(&'static str, String),
    /// A string that is too long.
    #[error("a string in {0} has {1} bytes; at most 4096 are allowed")]
    StringTooLong(&'static str, usize),
    /// A whole number out of range.
    #[error(
        "the number {1} in {0} is out of range; integers lie within -4503599627370496 and 4503599627370495"
    )]
    Integer(&'static str, String),
    /// Nested too deep.
    #[error("{0} is nested deeper than 10 levels")]
    Depth(&'static str),
    /// The section would become too large.
    #[error("{0} would have {1} bytes; at most {2} are allowed")]
    TooLarge(&'static str, usize, usize),
}

impl From<TwinError> for Refusal {
    fn from(error: TwinError) -> Self {
        let code = match error {
            // rule TWIN-06
            TwinError::TooLarge(..) => ErrorCode::MessageTooLarge,
            _ => ErrorCode::ArgumentInvalid,
        };
        Self::new(code, error.to_string())
    }
}

/// Checks the members of a patch or of a whole section; the hub's own members at the top are skipped.
pub(super) fn check_section(kind: SectionKind, section: &Object) -> Result<(), TwinError> {
    for (key, value) in section {
        if OWN_MEMBERS.contains(&key.as_str()) {
            continue;
        }
        check_key(kind, key)?;
        check_value(kind, value, 1)?;
    }
    Ok(())
}

/// Checks the size of a whole section.
pub(super) fn check_len(kind: SectionKind, section: &Object, limits: TwinLimits) -> Result<(), TwinError> {
    let (len, most) = (object_len(section), limits.of(kind));
    if len > most {
        return Err(TwinError::TooLarge(kind.name(), len, most));
    }
    Ok(())
}

fn check_key(kind: SectionKind, key: &str) -> Result<(), TwinError> {
    let wrong = |what: &str| Err(TwinError::Key(kind.name(), what.to_owned()));
    // rule TWIN-03
    if key.is_empty() {
        return wrong("is empty");
    }
    if key.len() > KEY_LEN_MAX {
        return wrong("is too long");
    }
    match key.chars().find(|c| c.is_control() || matches!(c, '.' | '$' | ' ')) {
        Some(bad) => wrong(&format!("holds the character {bad:?}")),
        None => Ok(()),
    }
}

/// `depth` is that of an object found here; an object directly in the section has depth 1.
fn check_value(kind: SectionKind, value: &Value, depth: usize) -> Result<(), TwinError> {
    match value {
        Value::String(text) if text.len() > STRING_LEN_MAX => {
            Err(TwinError::StringTooLong(kind.name(), text.len()))
        }
        Value::Number(number) => check_number(kind, number),
        Value::Object(object) => {
            // rule TWIN-04
            if depth > MAX_DEPTH {
                return Err(TwinError::Depth(kind.name()));
            }
            for (key, value) in object {
                check_key(kind, key)?;
                check_value(kind, value, depth + 1)?;
            }
            Ok(())
        }
        Value::Array(items) => {
            if depth > MAX_DEPTH {
                return Err(TwinError::Depth(kind.name()));
            }
            items.iter().try_for_each(|item| check_value(kind, item, depth + 1))
        }
        Value::Null | Value::Bool(_) | Value::String(_) => Ok(()),
    }
}

fn check_number(kind: SectionKind, number: &serde_json::Number) -> Result<(), TwinError> {
    // rule TWIN-05; a number with a fraction or an exponent is no integer and has no such bound.
    let fits = match (number.as_i64(), number.is_u64()) {
        (Some(n), _) => (MIN_INTEGER..=MAX_INTEGER).contains(&n),
        (None, is_u64) => !is_u64,
    };
    if fits { Ok(()) } else { Err(TwinError::Integer(kind.name(), number.to_string())) }
}

/// Size as the limits count it: bytes of keys and strings, 8 for a number, 4 for a boolean.
fn object_len(object: &Object) -> usize {
    object.iter().map(|(key, value)| key.len() + value_len(value)).sum()
}

fn value_len(value: &Value) -> usize {
    match value {
        Value::Null => 0,
        Value::Bool(_) => 4,
        Value::Number(_) => 8,
        Value::String(text) => text.len(),
        Value::Array(items) => items.iter().map(value_len).sum(),
        Value::Object(object) => object_len(object),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(value: &Value) -> Result<(), TwinError> {
        check_section(SectionKind::Desired, value.as_object().unwrap())
    }

    fn nested(levels: usize) -> Value {
        (0..levels).fold(json!("leaf"), |inner, _| json!({ "x": inner }))
    }

    // TWIN-03
    #[test]
    fn twin_03_keys_hold_no_dot_dollar_space_or_control_character() {
        for bad in ["a.b", "$a", "a b", "a\u{7}", ""] {
            assert!(matches!(check(&json!({ bad: 1 })), Err(TwinError::Key(..))), "{bad:?}");
            assert!(matches!(check(&json!({ "a": { bad: 1 } })), Err(TwinError::Key(..))), "{bad:?}");
        }
        check(&json!({ "ä-b_c/d": 1, "x".repeat(1024): 1 })).unwrap();
        assert!(check(&json!({ "x".repeat(1025): 1 })).is_err());
    }

    // TWIN-04
    #[test]
    fn twin_04_ten_levels_of_objects_are_allowed_below_a_section() {
        check(&nested(MAX_DEPTH + 1)).unwrap();
        assert_eq!(check(&nested(MAX_DEPTH + 2)), Err(TwinError::Depth("properties.desired")));
    }

    // TWIN-05
    #[test]
    fn twin_05_integers_lie_within_two_to_the_52() {
        check(&json!({ "a": MIN_INTEGER, "b": MAX_INTEGER, "c": 1e300, "d": -0.5 })).unwrap();
        assert!(check(&json!({ "a": MIN_INTEGER - 1 })).is_err());
        assert!(check(&json!({ "a": MAX_INTEGER + 1 })).is_err());
        assert!(check(&json!({ "a": u64::MAX })).is_err());
    }

    #[test]
    fn own_members_are_skipped_at_the_top_only() {
        check(&json!({ "$version": 7, "$metadata": { "$lastUpdated": "x" } })).unwrap();
        assert!(check(&json!({ "a": { "$version": 7 } })).is_err());
    }

    // TWIN-06
    #[test]
    fn twin_06_sizes_count_keys_and_values_without_metadata() {
        let section = json!({ "ab": "cde", "n": 1, "t": true, "o": { "k": [1, "xy"] } });
        assert_eq!(object_len(section.as_object().unwrap()), 5 + 9 + 5 + 1 + 1 + 8 + 2);
        let refusal = Refusal::from(TwinError::TooLarge("tags", 9000, 8192));
        assert_eq!(refusal.code.http_status(), 413);
    }
}
