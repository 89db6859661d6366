//! Where a text could not be read, and why.

/// A text that is not of the language; positions count characters from 1.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {message}")]
pub struct Error {
    /// The line.
    pub line: usize,
    /// The character in the line.
    pub column: usize,
    /// Cause and cure.
    pub message: String,
}

impl Error {
    /// An error at a byte position of a text.
    pub(crate) fn at(text: &str, position: usize, message: impl Into<String>) -> Self {
        // Positions come from the lexer and are on character bounds; if one is not, the start is told.
        let before = text.get(..position).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        Self { line, column, message: message.into() }
    }
}
