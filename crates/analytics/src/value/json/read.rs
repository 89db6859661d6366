//! From bytes to values.

use super::{JsonError, JsonOptions, MAX_BYTES, MAX_DEPTH, Names};
use crate::value::{DateTime, Record, Value};
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

/// From so many fields on, equal names are found by a map.
const FEW_FIELDS: usize = 16;

/// See [`JsonReader::read`](super::JsonReader::read).
pub fn events(
    payload: &[u8],
    options: JsonOptions,
    names: &mut Names,
    each: &mut dyn FnMut(Result<Arc<Record>, JsonError>),
) {
    let mut parser = match Parser::new(payload, options, names) {
        Ok(parser) => parser,
        Err(error) => return each(Err(error)),
    };
    if let Err(error) = parser.events(each) {
        each(Err(error));
    }
}

/// See [`JsonReader::read_value`](super::JsonReader::read_value).
pub fn value(text: &[u8], options: JsonOptions, names: &mut Names) -> Result<Value, JsonError> {
    let mut parser = Parser::new(text, options, names)?;
    parser.white_space();
    let value = parser.value()?;
    parser.white_space();
    match parser.peek() {
        Some(_) => Err(parser.expected("the end")),
        None => parser.invalid.map_or(Ok(value), Err),
    }
}

struct Parser<'a, 'n> {
    text: &'a str,
    at: usize,
    depth: usize,
    options: JsonOptions,
    names: &'n mut Names,
    /// The first thing in the present event that is JSON but not valid.
    invalid: Option<JsonError>,
}

impl<'a, 'n> Parser<'a, 'n> {
    fn new(payload: &'a [u8], options: JsonOptions, names: &'n mut Names) -> Result<Self, JsonError> {
        if payload.len() > MAX_BYTES {
            return Err(JsonError::TooLarge { bytes: payload.len() });
        }
        let text = std::str::from_utf8(payload)
            .map_err(|error| JsonError::Syntax { offset: error.valid_up_to(), expected: "UTF-8" })?;
        // A byte order mark is no JSON, but .NET writers like to begin with one.
        let at = if text.starts_with('\u{feff}') { 3 } else { 0 };
        Ok(Self { text, at, depth: 0, options, names, invalid: None })
    }

    fn events(&mut self, each: &mut dyn FnMut(Result<Arc<Record>, JsonError>)) -> Result<(), JsonError> {
        loop {
            self.white_space();
            match self.peek() {
                None => return Ok(()),
                Some(b'[') => self.items(&mut |parser| parser.event(each))?,
                Some(b'{') => self.event(each)?,
                // rule JSON-04
                Some(_) => return Err(JsonError::NotEvents { found: self.token_type() }),
            }
        }
    }

    fn event(&mut self, each: &mut dyn FnMut(Result<Arc<Record>, JsonError>)) -> Result<(), JsonError> {
        self.invalid = None;
        let found = self.token_type();
        let value = self.value()?;
        each(match (self.invalid.take(), value) {
            (Some(error), _) => Err(error),
            (None, Value::Record(record)) => Ok(record),
            _ => Err(JsonError::NotEvents { found }),
        });
        Ok(())
    }

    /// Reads any value, with white space before it already gone.
    fn value(&mut self) -> Result<Value, JsonError> {
        match self.peek() {
            Some(b'{') => self.object(),
            Some(b'[') => {
                let mut items = Vec::new();
                self.items(&mut |parser| {
                    items.push(parser.value()?);
                    Ok(())
                })?;
                Ok(items.into())
            }
            Some(b'"') => Ok(self.text_value()?),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.word("true").map(|()| self.bit(true)),
            Some(b'f') => self.word("false").map(|()| self.bit(false)),
            Some(b'n') => self.word("null").map(|()| Value::Null),
            _ => Err(self.expected("a value")),
        }
    }

    fn bit(&self, bit: bool) -> Value {
        if self.options.bits { Value::Bit(bit) } else { Value::BigInt(bit.into()) }
    }

    fn text_value(&mut self) -> Result<Value, JsonError> {
        let text = self.string()?;
        // rule JSON-02: only texts with date and time were ever taken for one, not dates alone.
        if self.options.dates
            && text.as_bytes().get(10) == Some(&b'T')
            && let Some(time) = DateTime::parse(&text)
        {
            return Ok(Value::DateTime(time));
        }
        Ok(Value::NVarchar(text.into()))
    }

    fn object(&mut self) -> Result<Value, JsonError> {
        let mut fields = Vec::new();
        self.list(b'}', "',' or '}'", &mut |parser| {
            if parser.peek() != Some(b'"') {
                return Err(parser.expected("a name in double quotes"));
            }
            let name = parser.string()?;
            let name = parser.names.get(&name);
            parser.white_space();
            if parser.peek() != Some(b':') {
                return Err(parser.expected("':'"));
            }
            parser.at += 1;
            parser.white_space();
            fields.push((name, parser.value()?));
            Ok(())
        })?;
        let before = fields.len();
        let fields = distinct(fields);
        if fields.len() < before && self.options.lower_case_names {
            self.invalid.get_or_insert(JsonError::SameName { offset: self.at });
        }
        Ok(Record::from_distinct(fields).into())
    }

    fn items(&mut self, item: &mut dyn FnMut(&mut Self) -> Result<(), JsonError>) -> Result<(), JsonError> {
        self.list(b']', "',' or ']'", item)
    }

    /// Reads from the opening bracket to the closing one; a comma stands between items only.
    fn list(
        &mut self,
        close: u8,
        expected: &'static str,
        item: &mut dyn FnMut(&mut Self) -> Result<(), JsonError>,
    ) -> Result<(), JsonError> {
        if self.depth == MAX_DEPTH {
            return Err(JsonError::TooDeep { offset: self.at });
        }
        self.depth += 1;
        self.at += 1;
        self.white_space();
        let mut empty = true;
        while !(empty && self.peek() == Some(close)) {
            item(self)?;
            empty = false;
            self.white_space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(byte) if byte == close => break,
                _ => return Err(self.expected(expected)),
            }
            self.white_space();
        }
        self.at += 1;
        self.depth -= 1;
        Ok(())
    }

    fn number(&mut self) -> Result<Value, JsonError> {
        let start = self.at;
        self.skip(|byte| byte == b'-', 1);
        if self.skip(|byte| byte == b'0', 1) == 0 && self.skip(|byte| byte.is_ascii_digit(), usize::MAX) == 0
        {
            return Err(self.expected("a digit"));
        }
        let whole = self.at;
        if self.skip(|byte| byte == b'.', 1) == 1 {
            self.some_digits()?;
        }
        if self.skip(|byte| byte | 0x20 == b'e', 1) == 1 {
            self.skip(|byte| byte == b'+' || byte == b'-', 1);
            self.some_digits()?;
        }
        let digits = &self.text[start..self.at];
        let (value, ty) = if self.at == whole {
            (digits.parse().ok().map(Value::BigInt), "bigint")
        } else {
            (digits.parse().ok().filter(|number: &f64| number.is_finite()).map(Value::Float), "float")
        };
        if value.is_none() {
            // rule JSON-03
            self.invalid.get_or_insert(JsonError::NumberRange { offset: start, ty });
        }
        Ok(value.unwrap_or(Value::Null))
    }

    fn some_digits(&mut self) -> Result<(), JsonError> {
        match self.skip(|byte| byte.is_ascii_digit(), usize::MAX) {
            0 => Err(self.expected("a digit")),
            _ => Ok(()),
        }
    }

    /// Reads a text from its opening quote to its closing one.
    fn string(&mut self) -> Result<Cow<'a, str>, JsonError> {
        self.at += 1;
        let mut text = Cow::Borrowed("");
        loop {
            let start = self.at;
            self.skip(|byte| byte != b'"' && byte != b'\\' && byte >= b' ', usize::MAX);
            let run = &self.text[start..self.at];
            match text.is_empty() {
                true => text = Cow::Borrowed(run),
                false => text.to_mut().push_str(run),
            }
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(text);
                }
                Some(b'\\') => {
                    self.at += 1;
                    text.to_mut().push(self.escape()?);
                }
                _ => return Err(self.expected("a character of a text, control characters escaped, or '\"'")),
            }
        }
    }

    fn escape(&mut self) -> Result<char, JsonError> {
        let escaped = match self.peek() {
            Some(byte @ (b'"' | b'\\' | b'/')) => char::from(byte),
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                self.at += 1;
                return self.unicode();
            }
            _ => return Err(self.expected("an escape")),
        };
        self.at += 1;
        Ok(escaped)
    }

    /// Four digits, or two times four for a surrogate pair. Half a pair is no character: it becomes U+FFFD, as where such
    /// text is converted to UTF-8.
    fn unicode(&mut self) -> Result<char, JsonError> {
        let high = self.four_digits()?;
        if (0xd800..0xdc00).contains(&high) && self.text[self.at..].starts_with("\\u") {
            let back = self.at;
            self.at += 2;
            let low = self.four_digits()?;
            if (0xdc00..0xe000).contains(&low) {
                let code = 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
                return Ok(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            self.at = back;
        }
        Ok(char::from_u32(high).unwrap_or(char::REPLACEMENT_CHARACTER))
    }

    fn four_digits(&mut self) -> Result<u32, JsonError> {
        let digits = self.text.as_bytes().get(self.at..self.at + 4).unwrap_or_default();
        let number = digits
            .iter()
            .try_fold(0, |number, digit| char::from(*digit).to_digit(16).map(|digit| number << 4 | digit));
        match number {
            Some(number) if digits.len() == 4 => {
                self.at += 4;
                Ok(number)
            }
            _ => Err(self.expected("four hexadecimal digits")),
        }
    }

    fn word(&mut self, word: &'static str) -> Result<(), JsonError> {
        if !self.text[self.at..].starts_with(word) {
            return Err(self.expected(word));
        }
        self.at += word.len();
        Ok(())
    }

    fn white_space(&mut self) {
        self.skip(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r'), usize::MAX);
    }

    /// Goes over bytes, and says over how many. All bytes here are ASCII or whole characters, so `at` stays on a boundary.
    fn skip(&mut self, which: impl Fn(u8) -> bool, most: usize) -> usize {
        let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
        let count = rest.iter().take(most).take_while(|byte| which(**byte)).count();
        self.at += count;
        count
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn expected(&self, expected: &'static str) -> JsonError {
        JsonError::Syntax { offset: self.at, expected }
    }

    /// What the value here is, in the words of the service's reader.
    fn token_type(&self) -> &'static str {
        match self.peek() {
            Some(b'{') => "StartObject",
            Some(b'[') => "StartArray",
            Some(b'"') => "String",
            Some(b't' | b'f') => "Boolean",
            Some(b'n') => "Null",
            Some(b'-' | b'0'..=b'9') => {
                let number = self.text[self.at..].bytes().take_while(|byte| !b",] \t\r\n".contains(byte));
                if number.into_iter().any(|byte| b".eE".contains(&byte)) { "Float" } else { "Integer" }
            }
            _ => "None",
        }
    }
}

/// Of equal names only the last value, in the place of the first.
fn distinct(mut fields: Vec<(Arc<str>, Value)>) -> Vec<(Arc<str>, Value)> {
    let repeated = if fields.len() <= FEW_FIELDS {
        (1..fields.len()).any(|at| fields[..at].iter().any(|(name, _)| *name == fields[at].0))
    } else {
        let mut seen = std::collections::HashSet::with_capacity(fields.len());
        !fields.iter().all(|(name, _)| seen.insert(name))
    };
    if repeated {
        let mut places: HashMap<Arc<str>, usize> = HashMap::new();
        let mut kept: Vec<(Arc<str>, Value)> = Vec::new();
        for (name, value) in fields {
            match places.get(&name) {
                Some(place) => kept[*place].1 = value,
                None => {
                    places.insert(name.clone(), kept.len());
                    kept.push((name, value));
                }
            }
        }
        fields = kept;
    }
    fields
}
