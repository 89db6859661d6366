//! What is wrong with a query text, where, and what to write instead.

use crate::syntax::Span;
use std::fmt;

/// One complaint about a query text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueryError {
    /// Cause and, where there is one, cure.
    pub message: String,
    /// Line, counted from 1.
    pub line: usize,
    /// Column in characters, counted from 1.
    pub column: usize,
    /// The place in bytes.
    pub span: Span,
    /// What could have stood there; empty where that is not a list.
    pub expected: Vec<String>,
    /// A known name that is near the one written.
    pub hint: Option<String>,
    /// The whole line, for the caret.
    excerpt: String,
}

impl QueryError {
    /// A complaint about a place of `text`.
    pub(crate) fn new(text: &str, problem: Problem) -> Self {
        let place = Place::of(text, problem.span.start);
        Self {
            message: problem.message,
            line: place.line,
            column: place.column,
            span: problem.span,
            expected: problem.expected,
            hint: problem.hint,
            excerpt: place.excerpt.to_owned(),
        }
    }

    /// How many characters the caret underlines: the span as far as it is on the first line, at least one.
    fn width(&self) -> usize {
        let left = self.excerpt.chars().skip(self.column - 1);
        let mut bytes = self.span.end.saturating_sub(self.span.start);
        let mut width = 0;
        for character in left {
            if bytes == 0 {
                break;
            }
            bytes = bytes.saturating_sub(character.len_utf8());
            width += 1;
        }
        width.max(1)
    }
}

impl fmt::Display for QueryError {
    /// Message, line and column, then the line with a caret under the place.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (line {}, column {})", self.message, self.line, self.column)?;
        if !self.expected.is_empty() {
            write!(f, "; expected {}", self.expected.join(", "))?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "; did you mean {hint}?")?;
        }
        // Tabs would make the caret miss its place.
        let line: String = self.excerpt.chars().map(|c| if c == '\t' { ' ' } else { c }).collect();
        write!(f, "\n  {line}\n  {:pad$}{}", "", "^".repeat(self.width()), pad = self.column - 1)
    }
}

impl std::error::Error for QueryError {}

/// All complaints about a query text, at least one, in the order of the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueryErrors(Vec<QueryError>);

impl QueryErrors {
    pub(crate) fn new(text: &str, mut problems: Vec<Problem>) -> Self {
        problems.sort_by_key(|problem| problem.span.start);
        Self(problems.into_iter().map(|problem| QueryError::new(text, problem)).collect())
    }

    /// The complaints.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &QueryError> {
        self.0.iter()
    }

    /// The first complaint of the text.
    pub fn first(&self) -> &QueryError {
        &self.0[0]
    }
}

impl fmt::Display for QueryErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for QueryErrors {}

/// Something worth knowing about a query that runs all the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// What, for people.
    pub message: String,
    /// Line, counted from 1.
    pub line: usize,
    /// Column in characters, counted from 1.
    pub column: usize,
    /// The place in bytes.
    pub span: Span,
}

impl Diagnostic {
    pub(crate) fn new(text: &str, problem: Problem) -> Self {
        let place = Place::of(text, problem.span.start);
        Self { message: problem.message, line: place.line, column: place.column, span: problem.span }
    }
}

/// A complaint before its line and column are looked up.
#[derive(Debug, Clone)]
pub(crate) struct Problem {
    pub(crate) span: Span,
    pub(crate) message: String,
    pub(crate) expected: Vec<String>,
    pub(crate) hint: Option<String>,
}

impl Problem {
    pub(crate) fn new(span: Span, message: impl Into<String>) -> Self {
        Self { span, message: message.into(), expected: Vec::new(), hint: None }
    }

    pub(crate) fn expecting(mut self, expected: &[&str]) -> Self {
        self.expected = expected.iter().map(|&text| text.to_owned()).collect();
        self
    }

    pub(crate) fn hinting(mut self, hint: Option<impl Into<String>>) -> Self {
        self.hint = hint.map(Into::into);
        self
    }
}

/// Line and column of an offset.
pub(crate) struct Place<'a> {
    pub(crate) line: usize,
    pub(crate) column: usize,
    excerpt: &'a str,
}

impl<'a> Place<'a> {
    pub(crate) fn of(text: &'a str, offset: usize) -> Self {
        let mut offset = offset.min(text.len());
        while !text.is_char_boundary(offset) {
            offset -= 1;
        }
        let before = &text[..offset];
        let start = before.rfind('\n').map_or(0, |at| at + 1);
        let excerpt = text[start..].split(['\n', '\r']).next().unwrap_or_default();
        Self {
            line: before.matches('\n').count() + 1,
            column: text[start..offset].chars().count() + 1,
            excerpt,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_caret_stands_under_the_place_also_behind_wide_characters() {
        let text = "SELECT 'ö', spede\nFROM s";
        let at = text.find("spede").unwrap();
        let error = QueryError::new(
            text,
            Problem::new(Span::new(at, at + 5), "no such field").hinting(Some("speed")),
        );
        assert_eq!((error.line, error.column), (1, 13));
        let shown = error.to_string();
        let lines: Vec<&str> = shown.lines().collect();
        assert_eq!(lines[0], "no such field (line 1, column 13); did you mean speed?");
        assert_eq!(lines[1], "  SELECT 'ö', spede");
        assert_eq!(lines[2], "              ^^^^^");
    }

    #[test]
    fn a_place_behind_the_text_is_its_end() {
        let error = QueryError::new("SELECT", Problem::new(Span::new(6, 6), "text ends too early"));
        assert_eq!((error.line, error.column), (1, 7));
        assert!(error.to_string().ends_with("  SELECT\n        ^"));
    }
}
