//! Which lines of which modules are asked for, and in which form.

use super::{member, wrong};
use crate::runtime::LogQuery;
use ironbrook_model::Timestamp;
use jiff::{Span, SpanRelativeTo};
use regex::{Regex, RegexBuilder};
use serde_json::{Map, Value};
use std::time::Duration;

type Result<T> = std::result::Result<T, (i32, String)>;

/// Longest expression in bytes.
const PATTERN_LEN_MAX: usize = 1024;
/// Bytes a compiled expression may take.
const PATTERN_SIZE_MAX: usize = 256 * 1024;
/// Items of one request.
const ITEMS_MAX: usize = 50;
/// All modules.
const ALL: &str = "all";

/// What is asked for.
pub(super) struct LogRequest {
    pub(super) items: Vec<Item>,
    pub(super) gzip: bool,
    pub(super) json: bool,
}

/// Some modules and some of their lines.
pub(super) struct Item {
    /// `None`: all modules.
    id: Option<Regex>,
    pub(super) query: LogQuery,
    /// Only lines of this severity, 0 to 7.
    pub(super) level: Option<u8>,
    pub(super) pattern: Option<Regex>,
}

impl LogRequest {
    pub(super) fn read(request: &Map<String, Value>, now: Timestamp) -> Result<Self> {
        let items = match member(request, "items") {
            Some(Value::Array(items)) if items.len() <= ITEMS_MAX => {
                items.iter().map(|item| Item::read(item, now)).collect::<Result<Vec<_>>>()?
            }
            Some(Value::Array(_)) => return Err(wrong(format!("`items` has more than {ITEMS_MAX} entries"))),
            Some(item) => vec![Item::read(item, now)?],
            None => return Err(wrong("`items` is missing: which modules' logs")),
        };
        let gzip = word(request, "encoding", ["none", "gzip"])? == 1;
        let json = word(request, "contentType", ["text", "json"])? == 1;
        Ok(Self { items, gzip, json })
    }
}

/// Which of the words a member is, the first where it is missing.
fn word<const N: usize>(request: &Map<String, Value>, key: &str, words: [&str; N]) -> Result<usize> {
    let Some(value) = member(request, key) else { return Ok(0) };
    let found = value.as_str().and_then(|text| words.iter().position(|word| word.eq_ignore_ascii_case(text)));
    found.ok_or_else(|| wrong(format!("`{key}` must be one of {}, and is {value}", words.join(", "))))
}

impl Item {
    fn read(item: &Value, now: Timestamp) -> Result<Self> {
        let Value::Object(item) = item else { return Err(wrong("an entry of `items` must be an object")) };
        let Some(id) = member(item, "id").and_then(Value::as_str) else {
            return Err(wrong("`id` is missing: a regular expression over module names, or `all`"));
        };
        let id = if id.eq_ignore_ascii_case(ALL) { None } else { Some(pattern("id", id, true)?) };
        let none = Map::new();
        let filter = match member(item, "filter") {
            None => &none,
            Some(Value::Object(filter)) => filter,
            Some(_) => return Err(wrong("`filter` must be an object")),
        };
        let query = LogQuery {
            tail: number(filter, "tail", i64::from(u32::MAX))?.and_then(|tail| usize::try_from(tail).ok()),
            since: time(filter, "since", now)?,
            until: time(filter, "until", now)?,
            after: None,
        };
        let level = number(filter, "loglevel", 7)?.and_then(|level| u8::try_from(level).ok());
        let pattern = match member(filter, "regex") {
            None => None,
            Some(Value::String(text)) => Some(pattern("regex", text, false)?),
            Some(_) => return Err(wrong("`regex` must be a text")),
        };
        Ok(Self { id, query, level, pattern })
    }

    /// Whether a module is meant.
    pub(super) fn means(&self, module: &str) -> bool {
        self.id.as_ref().is_none_or(|id| id.is_match(module))
    }
}

/// Expressions come from outside: they are bounded, and matched in time that grows with the text only.
fn pattern(key: &str, text: &str, any_case: bool) -> Result<Regex> {
    if text.len() > PATTERN_LEN_MAX {
        return Err(wrong(format!("`{key}` is longer than {PATTERN_LEN_MAX} bytes")));
    }
    let built = RegexBuilder::new(text).case_insensitive(any_case).size_limit(PATTERN_SIZE_MAX).build();
    built.map_err(|error| wrong(format!("`{key}` is not a regular expression that is known here: {error}")))
}

fn number(filter: &Map<String, Value>, key: &str, max: i64) -> Result<Option<i64>> {
    let Some(value) = member(filter, key) else { return Ok(None) };
    let number = value.as_i64().filter(|number| (0..=max).contains(number));
    number
        .map(Some)
        .ok_or_else(|| wrong(format!("`{key}` must be a whole number from 0 to {max}, and is {value}")))
}

/// RFC 3339, UNIX seconds, or how long ago: `1d`, `2h 30m`.
fn time(filter: &Map<String, Value>, key: &str, now: Timestamp) -> Result<Option<Timestamp>> {
    let Some(value) = member(filter, key) else { return Ok(None) };
    let text = value.as_str().map_or_else(|| value.to_string(), |text| text.trim().to_owned());
    let read = Timestamp::parse(&text)
        .or_else(|| text.parse().ok().map(Timestamp::from_secs))
        .or_else(|| back(now, length(&text)?));
    let forms = "a time (2026-01-31T09:00:00Z), UNIX seconds, or a length of time until now (2h 30m)";
    read.map(Some).ok_or_else(|| wrong(format!("`{key}` must be {forms}, and is {value}")))
}

/// A length of time; a day has 24 hours.
fn length(text: &str) -> Option<Duration> {
    let span: Span = text.parse().ok()?;
    let length = span.to_duration(SpanRelativeTo::days_are_24_hours()).ok()?;
    Duration::try_from(length).ok()
}

fn back(now: Timestamp, length: Duration) -> Option<Timestamp> {
    let millis = i64::try_from(length.as_millis()).ok()?;
    Some(Timestamp::from_millis(now.as_millis().saturating_sub(millis)))
}
