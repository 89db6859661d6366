//! Paths of blobs: text with tokens. Source: Azure docs "Blob storage and Azure Data Lake Gen2 output" and "custom path patterns".

use ironbrook_analytics::value::{DateTime, Record, Value};

/// Longest pattern, in characters: names have at most 1024, and tokens grow when they are filled in.
const PATTERN_CHARS_MAX: usize = 256;
/// Longest text that a column may bring into a path, in characters.
const FIELD_CHARS_MAX: usize = 128;
/// Parts of a time and how they are called.
const PARTS: [&str; 11] = ["yyyy", "MM", "dd", "HH", "mm", "ss", "M", "d", "H", "m", "s"];

/// A pattern that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// Too long, or empty parts between slashes.
    #[error("it has at most {PATTERN_CHARS_MAX} characters, no slash at its ends and no two together")]
    Shape,
    /// A brace without its other.
    #[error("a brace stands alone; tokens are written {{date}}, {{time}}, {{datetime:yyyy}} or {{column}}")]
    Brace,
    /// Two columns.
    #[error("{{{0}}} is a second column; a path is split by one at most")]
    SecondColumn(String),
    /// A format that has something else in it than parts of a time.
    #[error(
        "{0:?} is no format of a time; it has yyyy MM M dd d HH H mm m ss s and the separators / - _ . in it"
    )]
    Format(String),
}

/// A path with tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern(Vec<Token>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Text(String),
    Part(&'static str),
    Column(String),
}

impl Pattern {
    /// Reads a pattern; `date` and `time` are what stands for these tokens.
    pub(crate) fn parse(text: &str, date: &str, time: &str) -> Result<Self, PatternError> {
        let empty_part = text.split('/').any(str::is_empty) && !text.is_empty();
        if text.chars().count() > PATTERN_CHARS_MAX || empty_part {
            return Err(PatternError::Shape);
        }
        let (mut tokens, mut rest) = (Vec::new(), text);
        while let Some(open) = rest.find(['{', '}']) {
            let (before, behind) = rest.split_at(open);
            push_text(&mut tokens, before);
            let inside = behind.strip_prefix('{').and_then(|behind| behind.split_once('}'));
            let (token, after) = inside.ok_or(PatternError::Brace)?;
            add(&mut tokens, token, date, time)?;
            rest = after;
        }
        push_text(&mut tokens, rest);
        Ok(Self(tokens))
    }

    /// The text before the first token.
    pub(crate) fn start(&self) -> &str {
        match self.0.first() {
            Some(Token::Text(text)) => text,
            _ => "",
        }
    }

    /// Whether each time gives a path, and a path its time: it has the year and no column.
    pub(crate) fn names_times(&self) -> bool {
        self.0.contains(&Token::Part("yyyy")) && !self.0.iter().any(|token| matches!(token, Token::Column(_)))
    }

    /// Whether paths in the order of their letters are in that of their times too.
    pub(crate) fn is_sorted(&self) -> bool {
        const ORDER: [&str; 6] = ["yyyy", "MM", "dd", "HH", "mm", "ss"];
        let part = |token: &Token| match token {
            Token::Part(part) => Some(*part),
            Token::Text(_) | Token::Column(_) => None,
        };
        let parts: Vec<&str> = self.0.iter().filter_map(part).collect();
        ORDER.starts_with(&parts)
    }

    /// The time that a path was made of; `None` for a path that this pattern does not make.
    pub(crate) fn time_of(&self, path: &str) -> Option<DateTime> {
        let (mut rest, mut found) = (path, [None; 6]);
        for token in &self.0 {
            let part = match token {
                Token::Text(text) => {
                    rest = rest.strip_prefix(&**text)?;
                    continue;
                }
                Token::Part(part) => part,
                Token::Column(_) => return None,
            };
            // A part of one letter has one digit or two.
            let digits = rest.bytes().take(part.len().max(2)).take_while(u8::is_ascii_digit).count();
            let (number, behind) = rest.split_at(digits);
            let place = ["y", "M", "d", "H", "m", "s"].iter().position(|first| part.starts_with(first))?;
            (found[place], rest) = (Some(number.parse::<u32>().ok()?), behind);
        }
        let [year, month, day, hour, minute, second] = found;
        let (month, day, zero) =
            (month.unwrap_or(1), day.unwrap_or(1), |part: Option<u32>| part.unwrap_or(0));
        let (year, hour, minute, second) = (year?, zero(hour), zero(minute), zero(second));
        let time =
            DateTime::parse(&format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z"))?;
        // What is left over, or stands there twice and differs, is the name of something else.
        (self.path(time, &Record::default()) == path).then_some(time)
    }

    /// The path of a row.
    pub(crate) fn path(&self, at: DateTime, row: &Record) -> String {
        let mut path = String::new();
        for token in &self.0 {
            match token {
                Token::Text(text) => path.push_str(text),
                Token::Part(part) => path.push_str(&part_of(at, part)),
                Token::Column(name) => path.push_str(&plain(row.get(name))),
            }
        }
        path
    }
}

fn push_text(tokens: &mut Vec<Token>, text: &str) {
    if !text.is_empty() {
        tokens.push(Token::Text(text.to_owned()));
    }
}

fn add(tokens: &mut Vec<Token>, token: &str, date: &str, time: &str) -> Result<(), PatternError> {
    match token {
        "date" => format(tokens, date),
        "time" => format(tokens, time),
        "" => Err(PatternError::Brace),
        token => match token.strip_prefix("datetime:") {
            Some(part) => format(tokens, part),
            None if tokens.iter().any(|known| matches!(known, Token::Column(_))) => {
                Err(PatternError::SecondColumn(token.to_owned()))
            }
            None => {
                tokens.push(Token::Column(token.to_owned()));
                Ok(())
            }
        },
    }
}

fn format(tokens: &mut Vec<Token>, text: &str) -> Result<(), PatternError> {
    let mut rest = text;
    while !rest.is_empty() {
        // Azure's own settings spell the year and the day of {date} in capitals.
        let capital = [("YYYY", "yyyy"), ("DD", "dd")].into_iter().find(|(word, _)| rest.starts_with(word));
        if let Some((_, part)) = capital {
            tokens.push(Token::Part(part));
            rest = &rest[part.len()..];
        } else if let Some(part) = PARTS.into_iter().find(|part| rest.starts_with(part)) {
            tokens.push(Token::Part(part));
            rest = &rest[part.len()..];
        } else if let Some(separator) = ["/", "-", "_", "."].into_iter().find(|s| rest.starts_with(s)) {
            push_text(tokens, separator);
            rest = &rest[1..];
        } else {
            return Err(PatternError::Format(text.to_owned()));
        }
    }
    if text.is_empty() { Err(PatternError::Format(String::new())) } else { Ok(()) }
}

fn part_of(at: DateTime, part: &str) -> String {
    let (date, seconds) = (at.date(), at.ticks_of_day() / ironbrook_analytics::value::datetime::SECOND);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match part {
        "yyyy" => format!("{:04}", date.year),
        "MM" => format!("{:02}", date.month),
        "M" => date.month.to_string(),
        "dd" => format!("{:02}", date.day),
        "d" => date.day.to_string(),
        "HH" => format!("{hour:02}"),
        "H" => hour.to_string(),
        "mm" => format!("{minute:02}"),
        "m" => minute.to_string(),
        "ss" => format!("{second:02}"),
        _ => second.to_string(),
    }
}

/// A value as one part of a path: a value from outside must not lead anywhere else.
fn plain(value: Option<&Value>) -> String {
    let text = match value {
        Some(Value::NVarchar(text)) => text.to_string(),
        Some(Value::BigInt(number)) => number.to_string(),
        Some(Value::Float(number)) => number.to_string(),
        Some(Value::Bit(bit)) => bit.to_string(),
        Some(Value::DateTime(time)) => time.to_string(),
        Some(Value::Null | Value::Record(_) | Value::Array(_)) | None => String::new(),
    };
    let safe = |c: char| if c.is_alphanumeric() || matches!(c, '-' | '_') { c } else { '_' };
    match text.chars().take(FIELD_CHARS_MAX).map(safe).collect::<String>() {
        text if text.is_empty() => "null".to_owned(),
        text => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn path(pattern: &str, device: &str) -> Result<String, PatternError> {
        let row: Record = [(Arc::from("deviceId"), Value::text(device))].into_iter().collect();
        let at = DateTime::parse("2026-03-04T05:06:07.9Z").unwrap();
        Ok(Pattern::parse(pattern, "yyyy/MM/dd", "HH")?.path(at, &row))
    }

    #[test]
    fn tokens_are_filled_in_from_the_rows_time_and_one_column() {
        let ok = |pattern, device| path(pattern, device).unwrap();
        assert_eq!(ok("", "d"), "");
        assert_eq!(ok("logs/{date}/{time}", "d"), "logs/2026/03/04/05");
        assert_eq!(ok("{deviceId}/{datetime:yyyy}-{datetime:M}/{datetime:mm-ss}", "d 1"), "d_1/2026-3/06-07");
        assert_eq!(ok("x/{deviceId}", "../../etc"), "x/______etc");
        assert_eq!(ok("x/{other}", "d"), "x/null");
        assert_eq!(
            Pattern::parse("{date}", "YYYY-MM-DD", "HH").unwrap(),
            Pattern::parse("{datetime:yyyy-MM-dd}", "d", "H").unwrap()
        );
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for pattern in [
            "/a",
            "a/",
            "a//b",
            "{date",
            "date}",
            "{}",
            "{a}/{b}",
            "{datetime:hh}",
            "{datetime:}",
            &"x".repeat(257),
        ] {
            assert!(path(pattern, "d").is_err(), "{pattern}");
        }
        assert_eq!(path("{a}{b}", "d"), Err(PatternError::SecondColumn("b".to_owned())));
    }
}
