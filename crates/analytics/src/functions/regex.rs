//! `REGEXMATCH`: ECMAScript patterns, ignoring case, on a regular expression engine that takes linear time.
//!
//! Where the two notations differ the pattern is rewritten: `\d`, `\w`, `\s` and `\b` are ASCII, an opening bracket inside a set is
//! a character. What linear time cannot do (look-around, back references) is refused with an error, not taken for an invalid
//! pattern, because an invalid pattern silently gives 0.

use super::ScalarFunction;
use super::arguments::Arguments;
use super::search::position;
use crate::value::{EvalError, Value};
use regex::{Regex, RegexBuilder};
use std::cell::RefCell;
use std::sync::Arc;

/// The row.
pub const TABLE: &[ScalarFunction] = &[ScalarFunction::strict("REGEXMATCH", [2, 2], regex_match)];

/// How many compiled patterns a thread keeps.
const KEPT: usize = 16;
/// Longer patterns are invalid.
const MAX_PATTERN: usize = 8000;
/// Bytes a compiled pattern may take.
const MAX_COMPILED: usize = 1 << 20;

#[derive(Clone)]
enum Pattern {
    Compiled(Regex),
    Invalid,
    Unsupported,
}

thread_local! {
    /// The last used stands last.
    static PATTERNS: RefCell<Vec<(Arc<str>, Pattern)>> = const { RefCell::new(Vec::new()) };
}

fn regex_match(values: &[Value]) -> Result<Value, EvalError> {
    let args = Arguments { function: "REGEXMATCH", values };
    let (text, pattern) = (args.text(0)?, args.text(1)?);
    match compiled(&pattern) {
        Pattern::Compiled(regex) => {
            Ok(Value::BigInt(regex.find(&text).map_or(0, |found| position(&text, found.start()))))
        }
        Pattern::Invalid => Ok(Value::BigInt(0)),
        Pattern::Unsupported => {
            Err(args
                .domain("look-around and back references are not supported; write the pattern without them"))
        }
    }
}

fn compiled(pattern: &str) -> Pattern {
    PATTERNS.with_borrow_mut(|kept| {
        let known = kept.iter().position(|(own, _)| **own == *pattern);
        let entry = match known {
            Some(place) => kept.remove(place),
            None => (pattern.into(), compile(pattern)),
        };
        if kept.len() == KEPT {
            kept.remove(0);
        }
        kept.push(entry.clone());
        entry.1
    })
}

fn compile(pattern: &str) -> Pattern {
    if pattern.len() > MAX_PATTERN {
        return Pattern::Invalid;
    }
    let regex = RegexBuilder::new(&rewritten(pattern))
        .case_insensitive(true)
        .dot_matches_new_line(true)
        .octal(false)
        .size_limit(MAX_COMPILED)
        .dfa_size_limit(MAX_COMPILED)
        .build();
    match regex {
        Ok(regex) => Pattern::Compiled(regex),
        // The engine tells its reasons only in words.
        Err(error)
            if ["look-around", "look-ahead", "look-behind", "backreferences"]
                .iter()
                .any(|word| error.to_string().contains(word)) =>
        {
            Pattern::Unsupported
        }
        Err(_) => Pattern::Invalid,
    }
}

/// The pattern in the notation of the engine.
fn rewritten(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len() + 16);
    let (mut chars, mut in_set) = (pattern.chars().peekable(), false);
    while let Some(c) = chars.next() {
        match c {
            '\\' => escape(&mut chars, in_set, &mut out),
            '[' if in_set => out.push_str("\\["),
            '[' => {
                in_set = true;
                out.push('[');
                if chars.next_if_eq(&'^').is_some() {
                    out.push('^');
                }
                // `[]` and `[^]` are sets of nothing and everything; the engine would take the bracket for a member.
                if chars.next_if_eq(&']').is_some() {
                    in_set = false;
                    let everything = out.ends_with('^');
                    out.truncate(out.len() - if everything { 2 } else { 1 });
                    out.push_str(if everything { "(?s:.)" } else { "[^\\s\\S]" });
                }
            }
            ']' if in_set => {
                in_set = false;
                out.push(']');
            }
            // Operations of the engine's sets that ECMAScript does not have.
            '&' | '~' | '-' if in_set && chars.peek() == Some(&c) => {
                out.push('\\');
                out.push(c);
            }
            ']' => out.push_str("\\]"),
            _ => out.push(c),
        }
    }
    out
}

fn escape(chars: &mut std::iter::Peekable<std::str::Chars<'_>>, in_set: bool, out: &mut String) {
    match chars.next() {
        Some('d') => out.push_str("[0-9]"),
        Some('D') => out.push_str("[^0-9]"),
        Some('w') => out.push_str("[0-9A-Za-z_]"),
        Some('W') => out.push_str("[^0-9A-Za-z_]"),
        Some('b') if in_set => out.push_str("\\x08"),
        Some('b') => out.push_str("(?-u:\\b)"),
        Some('/') => out.push('/'),
        Some('0') => out.push_str("\\x00"),
        Some(other) => {
            out.push('\\');
            out.push(other);
        }
        None => out.push('\\'),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matched(text: &str, pattern: &str) -> Option<i64> {
        TABLE[0].call(&[text.into(), pattern.into()]).ok()?.to_bigint()
    }

    #[test]
    fn positions_of_patterns() {
        for (text, pattern, expected) in [
            ("Pump 042 on", r"\d+", 6),
            ("Pump 042 on", "PUMP", 1),
            ("Pump 042 on", "off$", 0),
            ("Pump 042 on", "^on", 0),
            ("größe 5", "[0-9]", 7),
            ("a\nb", "a.b", 1),
            ("٣", r"\d", 0),
            ("x[1]", r"[[]1", 2),
            ("a-b", r"[\w-]+b", 1),
            ("a--b", "[--a]+b", 1),
            ("wörd", r"\bw", 1),
            ("a/b", r"\/", 2),
            ("x", "[", 0),
            ("x", "(", 0),
            ("x", "[^]", 1),
            ("x", "[]", 0),
            ("", "", 1),
        ] {
            assert_eq!(matched(text, pattern), Some(expected), "{text} {pattern}");
        }
    }

    #[test]
    fn what_is_not_supported_is_said() {
        for pattern in ["(?=x)", "(?<!x)y", r"(a)\1"] {
            assert_eq!(matched("x", pattern), None, "{pattern}");
        }
    }

    #[test]
    fn the_cache_is_bounded_and_right() {
        for number in 0..3 * KEPT {
            assert_eq!(matched("a7", &format!("{number}x|7")), Some(2));
            assert_eq!(matched("a7", "7"), Some(2));
        }
        assert!(PATTERNS.with_borrow(Vec::len) <= KEPT);
    }
}
