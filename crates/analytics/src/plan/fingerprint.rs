//! Says whether two pieces of query text mean the same, so that kept state can be given back to them.

use crate::script::Functions;
use crate::syntax::{Span, TokenKind, tokens};

/// FNV-1a, 64 bits: the same in every build, which hashers of the standard library are not.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fingerprint(u64);

impl Fingerprint {
    pub(crate) fn new(kind: &str) -> Self {
        Self(0xcbf2_9ce4_8422_2325).with(kind.as_bytes())
    }

    /// Adds bytes and a border behind them.
    pub(crate) fn with(mut self, bytes: &[u8]) -> Self {
        for byte in bytes.iter().chain(&[0xff]) {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
        self
    }

    pub(crate) fn with_number(self, number: u64) -> Self {
        self.with(&number.to_le_bytes())
    }

    /// Adds a piece of text, whatever its white space, comments, and case of bare words outside quotes.
    ///
    /// The case of a bare word may matter (field names do); such a change then costs the state, which is safe.
    /// The scripts of functions that it calls are part of it.
    pub(crate) fn with_text(mut self, text: &str, span: Span, functions: &Functions) -> Self {
        let piece = text.get(span.start..span.end).unwrap_or_default();
        let tokens = tokens(piece).unwrap_or_default();
        for called in tokens.windows(3) {
            if let [TokenKind::Word(prefix) | TokenKind::Quoted(prefix), dot, name] =
                [0, 1, 2].map(|at| &called[at].kind)
                && ["udf", "uda"].iter().any(|known| known.eq_ignore_ascii_case(prefix))
                && matches!(dot, TokenKind::Sign("."))
                && let TokenKind::Word(name) | TokenKind::Quoted(name) = name
                && let Some(function) = functions.get(name)
            {
                self = self.with(function.script().as_bytes());
            }
        }
        for token in tokens {
            self = match token.kind {
                TokenKind::Word(word) => self.with(b"w").with(word.as_bytes()),
                TokenKind::Quoted(word) => self.with(b"w").with(word.as_bytes()),
                TokenKind::Text(text) => self.with(b"t").with(text.as_bytes()),
                TokenKind::Integer(number) => self.with(b"i").with(&number.to_le_bytes()),
                TokenKind::Float(number) => self.with(b"f").with(&number.to_bits().to_le_bytes()),
                TokenKind::Sign(sign) => self.with(b"s").with(sign.as_bytes()),
                TokenKind::End => self,
            };
        }
        self
    }

    pub(crate) fn value(self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> u64 {
        Fingerprint::new("select").with_text(text, Span::new(0, text.len()), &Functions::default()).value()
    }

    #[test]
    fn layout_does_not_matter_and_everything_else_does() {
        assert_eq!(of("SELECT a  FROM [b] -- note"), of("SELECT a\nFROM b"));
        assert_ne!(of("SELECT a FROM b"), of("SELECT a FROM 'b'"));
        assert_ne!(of("SELECT 1 FROM b"), of("SELECT 1.0 FROM b"));
        assert_ne!(of("SELECT ab FROM c"), of("SELECT a b FROM c"));
    }
}
