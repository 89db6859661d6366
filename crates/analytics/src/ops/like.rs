//! LIKE patterns, compiled once: `%` any run, `_` any one character, `[abc]` and `[a-z]` one of a set, `[^abc]` one outside it.
//!
//! The set of rules is T-SQL's. A bracket that is never closed stands for itself, and so does `]` first in a set. Matching
//! takes at most pattern times text steps, whatever the pattern.

use crate::value::Value;

/// How many characters a pattern may have, as documented for PATINDEX.
pub const MAX_PATTERN: usize = 8000;

/// A compiled pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LikePattern {
    parts: Vec<Part>,
}

/// Why a pattern was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// Longer than [`MAX_PATTERN`].
    #[error("a LIKE pattern may have {MAX_PATTERN} characters; this one is longer")]
    TooLong,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    /// `%`
    Any,
    /// `_`
    One,
    Char(char),
    Set {
        ranges: Vec<(char, char)>,
        negated: bool,
    },
}

impl Part {
    fn takes(&self, c: char) -> bool {
        match self {
            Self::Any => false,
            Self::One => true,
            Self::Char(own) => *own == c,
            Self::Set { ranges, negated } => {
                ranges.iter().any(|(low, high)| (*low..=*high).contains(&c)) != *negated
            }
        }
    }
}

impl LikePattern {
    /// Compiles a pattern; a character after `escape` stands for itself.
    ///
    /// # Errors
    /// [`PatternError::TooLong`].
    pub fn new(pattern: &str, escape: Option<char>) -> Result<Self, PatternError> {
        let pattern: Vec<char> = pattern.chars().take(MAX_PATTERN + 1).collect();
        if pattern.len() > MAX_PATTERN {
            return Err(PatternError::TooLong);
        }
        let mut parts = Vec::new();
        let mut rest = &pattern[..];
        while let [first, after @ ..] = rest {
            rest = after;
            let part = match (*first, after) {
                (c, [literal, after @ ..]) if Some(c) == escape => {
                    rest = after;
                    Part::Char(*literal)
                }
                ('%', _) if parts.last() == Some(&Part::Any) => continue,
                ('%', _) => Part::Any,
                ('_', _) => Part::One,
                ('[', _) => match set(after) {
                    Some((part, after)) => {
                        rest = after;
                        part
                    }
                    None => Part::Char('['),
                },
                (c, _) => Part::Char(c),
            };
            parts.push(part);
        }
        Ok(Self { parts })
    }

    /// Whether the whole text matches.
    pub fn matches(&self, text: &str) -> bool {
        // The text is gone through once; when it fails after a `%`, that `%` takes one character more. Only the last `%`
        // needs to be remembered: whatever an earlier one could take, the later one can.
        let (mut part, mut rest) = (0, text.chars());
        let mut retry = None;
        loop {
            if self.parts.get(part) == Some(&Part::Any) {
                part += 1;
                retry = Some((part, rest.clone()));
                continue;
            }
            let here = rest.clone();
            let matched = match (self.parts.get(part), rest.next()) {
                (None, None) => return true,
                (Some(part), Some(c)) => part.takes(c),
                _ => false,
            };
            if matched {
                part += 1;
                continue;
            }
            let Some((after, from)) = &mut retry else { return false };
            // Nothing left to take, here or for the `%`.
            if here.as_str().is_empty() || from.next().is_none() {
                return false;
            }
            (part, rest) = (*after, from.clone());
        }
    }

    /// `value LIKE pattern`; unknown for `NULL`. What is no text is converted.
    pub fn like(&self, value: &Value) -> Option<bool> {
        match value {
            Value::NVarchar(text) => Some(self.matches(text)),
            _ => value.to_text().map(|text| self.matches(&text)),
        }
    }

    /// Where the pattern without its first `%` first matches up to the end: characters before it. `None` if nowhere.
    pub fn find(&self, text: &str) -> Option<usize> {
        let anchored = self.parts.first() != Some(&Part::Any);
        let parts = &self.parts[usize::from(!anchored)..];
        if parts.is_empty() && !anchored {
            return Some(0);
        }
        let (fixed, wild) =
            parts.split_at(parts.iter().position(|part| *part == Part::Any).unwrap_or(parts.len()));
        let wild = Self { parts: wild.to_vec() };
        let starts = text.char_indices().map(|(at, _)| at).chain([text.len()]);
        for (count, at) in starts.enumerate().take(if anchored { 1 } else { usize::MAX }) {
            let mut rest = text[at..].chars();
            if !fixed.iter().all(|part| rest.next().is_some_and(|c| part.takes(c))) {
                continue;
            }
            match (wild.parts.is_empty(), rest.as_str().is_empty()) {
                (true, true) => return Some(count),
                (true, false) => {}
                // What comes after a `%` and is not found here is not found further on either.
                (false, _) => return wild.matches(rest.as_str()).then_some(count),
            }
        }
        None
    }
}

/// Reads a set after its opening bracket, if it is ever closed.
fn set(pattern: &[char]) -> Option<(Part, &[char])> {
    let (negated, body) = match pattern {
        ['^', rest @ ..] => (true, rest),
        _ => (false, pattern),
    };
    // A closing bracket in the first place belongs to the set.
    let end = 1 + body.iter().skip(1).position(|c| *c == ']')?;
    let (mut inside, mut ranges) = (&body[..end], Vec::new());
    while let [low, rest @ ..] = inside {
        (ranges, inside) = match rest {
            ['-', high, rest @ ..] => (push(ranges, (*low, *high)), rest),
            _ => (push(ranges, (*low, *low)), rest),
        };
    }
    Some((Part::Set { ranges, negated }, &body[end + 1..]))
}

fn push<T>(mut list: Vec<T>, item: T) -> Vec<T> {
    list.push(item);
    list
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn like(text: &str, pattern: &str) -> bool {
        LikePattern::new(pattern, None).unwrap().matches(text)
    }

    #[test]
    fn patterns() {
        for (text, pattern, expected) in [
            ("pump-7", "pump%", true),
            ("pump-7", "%7", true),
            ("pump-7", "PUMP%", false),
            ("pump-7", "p_mp__", true),
            ("pump-7", "pump_", false),
            ("pump-7", "%[0-9]", true),
            ("pump-x", "%[0-9]", false),
            ("pump-x", "%[^0-9]", true),
            ("", "", true),
            ("", "%", true),
            ("a", "", false),
            ("aXbXc", "a%X%c", true),
            ("50%", "50[%]", true),
            ("a]", "a[]]", true),
            ("a-", "a[b-]", true),
            ("a[", "a[", true),
            ("öl", "_l", true),
            ("abab", "%ab", true),
        ] {
            assert_eq!(like(text, pattern), expected, "{text} LIKE {pattern}");
        }
        assert!(LikePattern::new("5!%", Some('!')).unwrap().matches("5%"));
        assert!(!LikePattern::new("5!%", Some('!')).unwrap().matches("50"));
        assert_eq!(LikePattern::new(&"a".repeat(MAX_PATTERN + 1), None), Err(PatternError::TooLong));
    }

    #[test]
    fn null_is_unknown_and_numbers_are_texts() {
        let pattern = LikePattern::new("4%", None).unwrap();
        assert_eq!(pattern.like(&Value::Null), None);
        assert_eq!(pattern.like(&Value::BigInt(42)), Some(true));
        assert_eq!(pattern.like(&Value::from(vec![])), None);
    }

    #[test]
    fn places() {
        for (pattern, text, place) in [
            ("%cd%", "abcd", Some(2)),
            ("ab%", "abcd", Some(0)),
            ("cd", "abcd", None),
            ("%d", "abcdd", Some(4)),
            ("%[cé]%", "aébc", Some(1)),
            ("%", "abc", Some(0)),
            ("%x%", "abc", None),
        ] {
            assert_eq!(LikePattern::new(pattern, None).unwrap().find(text), place, "{pattern} {text}");
        }
    }

    #[test]
    fn hostile_patterns_end_soon() {
        let pattern = "%a".repeat(MAX_PATTERN / 2) + "b";
        let pattern = LikePattern::new(&pattern[..MAX_PATTERN], None).unwrap();
        assert!(!pattern.matches(&"a".repeat(3000)));
    }

    /// By the definition, trying everything.
    fn naive(text: &[char], pattern: &[Part]) -> bool {
        match pattern {
            [] => text.is_empty(),
            [Part::Any, rest @ ..] => (0..=text.len()).any(|skip| naive(&text[skip..], rest)),
            [part, rest @ ..] => {
                text.split_first().is_some_and(|(c, text)| part.takes(*c) && naive(text, rest))
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn agrees_with_the_definition(text in "[ab]{0,8}", pattern in "([ab]|%|_|\\[a\\]|\\[\\^a\\]){0,6}") {
            let compiled = LikePattern::new(&pattern, None).unwrap();
            let text_chars: Vec<char> = text.chars().collect();
            prop_assert_eq!(compiled.matches(&text), naive(&text_chars, &compiled.parts));
        }

        #[test]
        fn any_pattern_is_taken(text: String, pattern in "[\\[\\]^%_a-c-]{0,20}") {
            let compiled = LikePattern::new(&pattern, Some('-')).unwrap();
            prop_assert!(!compiled.matches(&text) || compiled.find(&text).is_some());
        }
    }
}
