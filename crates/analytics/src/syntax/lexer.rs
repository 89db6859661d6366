//! Cuts a query text into tokens with their places.

use super::{MAX_TEXT, Span};
use crate::error::Problem;

/// A word, literal or sign.
#[derive(Debug, Clone, PartialEq)]
pub struct Token {
    /// What it is.
    pub kind: TokenKind,
    /// Where it stands.
    pub span: Span,
}

/// What a token is.
#[derive(Debug, Clone, PartialEq)]
pub enum TokenKind {
    /// A bare word: keyword or name.
    Word(String),
    /// A name in brackets or double quotes.
    Quoted(String),
    /// Text in single quotes.
    Text(String),
    /// A whole number.
    Integer(i64),
    /// A number with a fraction or an exponent.
    Float(f64),
    /// A sign of one or two characters.
    Sign(&'static str),
    /// The end of the text.
    End,
}

/// Two-character signs before their first characters.
const SIGNS: &[&str] = &[
    "<>", "!=", "<=", ">=", "!<", "!>", "(", ")", ",", ".", ";", "*", "=", "<", ">", "+", "-", "/", "%", "&",
    "|", "^", "~", "?",
];

/// All tokens of a text; the last one is [`TokenKind::End`].
pub(crate) fn tokens(text: &str) -> Result<Vec<Token>, Problem> {
    if text.len() > MAX_TEXT {
        let place = Span::new(0, 0);
        return Err(Problem::new(
            place,
            format!("the query is {} bytes long, {MAX_TEXT} are allowed", text.len()),
        ));
    }
    let mut lexer = Lexer { text, at: 0 };
    let mut tokens = Vec::new();
    loop {
        let token = lexer.next()?;
        let end = token.kind == TokenKind::End;
        tokens.push(token);
        if end {
            return Ok(tokens);
        }
    }
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Lexer<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn next(&mut self) -> Result<Token, Problem> {
        self.skip_blanks()?;
        let start = self.at;
        let kind = self.kind()?;
        Ok(Token { kind, span: Span::new(start, self.at) })
    }

    fn skip_blanks(&mut self) -> Result<(), Problem> {
        loop {
            let rest = self.rest();
            let blanks =
                rest.len() - rest.trim_start_matches(|c: char| c.is_whitespace() || c == '\u{feff}').len();
            self.at += blanks;
            let rest = self.rest();
            if rest.starts_with("--") {
                self.at += rest.find('\n').unwrap_or(rest.len());
            } else if rest.starts_with("/*") {
                let Some(end) = rest.find("*/") else {
                    let place = Span::new(self.at, self.at + 2);
                    return Err(Problem::new(place, "this comment has no end").expecting(&["*/"]));
                };
                self.at += end + 2;
            } else if blanks == 0 {
                return Ok(());
            }
        }
    }

    fn kind(&mut self) -> Result<TokenKind, Problem> {
        let rest = self.rest();
        let Some(first) = rest.chars().next() else { return Ok(TokenKind::End) };
        match first {
            // National text, as T-SQL has it.
            'n' | 'N' if rest[1..].starts_with('\'') => {
                self.at += 1;
                self.quoted('\'').map(TokenKind::Text)
            }
            '\'' => self.quoted('\'').map(TokenKind::Text),
            '"' => self.quoted('"').map(TokenKind::Quoted),
            '[' => self.quoted(']').map(TokenKind::Quoted),
            '0'..='9' => self.number(),
            '.' if rest[1..].starts_with(|c: char| c.is_ascii_digit()) && !self.behind_name() => {
                self.number()
            }
            c if c == '_' || c == '@' || c == '#' || c.is_alphabetic() => Ok(self.word()),
            _ => self.sign(first),
        }
    }

    /// Whether a name ends right here, so that a point is a step into it and not a fraction.
    fn behind_name(&self) -> bool {
        self.text[..self.at]
            .ends_with(|c: char| c == ']' || c == '"' || c == ')' || c == '_' || c.is_alphanumeric())
    }

    /// Text up to the closing character, which is doubled to stand for itself.
    fn quoted(&mut self, close: char) -> Result<String, Problem> {
        let start = self.at;
        let mut value = String::new();
        let body = self.rest();
        let mut characters = body.char_indices().skip(1).peekable();
        while let Some((offset, character)) = characters.next() {
            if character != close {
                value.push(character);
            } else if characters.peek().is_some_and(|&(_, next)| next == close) {
                characters.next();
                value.push(close);
            } else {
                self.at = start + offset + close.len_utf8();
                return Ok(value);
            }
        }
        let what = if close == '\'' { "this text" } else { "this name" };
        let place = Span::new(start, start + 1);
        Err(Problem::new(place, format!("{what} has no closing {close}")))
    }

    fn word(&mut self) -> TokenKind {
        let rest = self.rest();
        let inside = |c: char| c == '_' || c == '@' || c == '#' || c == '$' || c.is_alphanumeric();
        let end = rest.find(|c: char| !inside(c)).unwrap_or(rest.len());
        self.at += end;
        TokenKind::Word(rest[..end].to_owned())
    }

    fn number(&mut self) -> Result<TokenKind, Problem> {
        let rest = self.rest();
        let digits =
            |from: usize| rest[from..].find(|c: char| !c.is_ascii_digit()).map_or(rest.len(), |n| from + n);
        let mut end = digits(0);
        let mut whole = true;
        if rest[end..].starts_with('.') {
            whole = false;
            end = digits(end + 1);
        }
        if rest[end..].starts_with(['e', 'E']) {
            let sign = usize::from(rest[end + 1..].starts_with(['+', '-']));
            if rest[end + 1 + sign..].starts_with(|c: char| c.is_ascii_digit()) {
                whole = false;
                end = digits(end + 1 + sign);
            }
        }
        let place = Span::new(self.at, self.at + end);
        self.at += end;
        let number = &rest[..end];
        if whole {
            return number.parse().map(TokenKind::Integer).map_err(|_| {
                Problem::new(
                    place,
                    "this whole number does not fit into bigint; write it with a fraction to get a float",
                )
            });
        }
        match number.parse::<f64>() {
            Ok(value) if value.is_finite() => Ok(TokenKind::Float(value)),
            _ => Err(Problem::new(place, "this number does not fit into float")),
        }
    }

    fn sign(&mut self, first: char) -> Result<TokenKind, Problem> {
        let rest = self.rest();
        if let Some(sign) = SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
            self.at += sign.len();
            return Ok(TokenKind::Sign(sign));
        }
        let place = Span::new(self.at, self.at + first.len_utf8());
        Err(Problem::new(place, format!("the character {first:?} has no meaning here")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(text: &str) -> Vec<TokenKind> {
        tokens(text).unwrap().into_iter().map(|token| token.kind).collect()
    }

    #[test]
    fn names_texts_numbers_and_comments() {
        use TokenKind as K;
        let expected = vec![
            K::Word("a".into()),
            K::Sign("."),
            K::Quoted("b ]c".into()),
            K::Quoted("d\"e".into()),
            K::Text("it's".into()),
            K::Text("ö".into()),
            K::Integer(12),
            K::Float(0.5),
            K::Float(1500.0),
            K::Sign("!<"),
            K::End,
        ];
        assert_eq!(kinds("a.[b ]]c] /* x */ \"d\"\"e\" 'it''s' N'ö' -- z\n 12 .5 1.5e3 !<"), expected);
    }

    #[test]
    fn a_point_behind_a_name_steps_into_it() {
        assert_eq!(kinds("[a].5x").len(), 5);
        assert_eq!(kinds("a.b").len(), 4);
    }

    #[test]
    fn what_never_ends_is_told_where_it_begins() {
        for (text, at) in
            [("SELECT 'abc", 7), ("SELECT [abc", 7), ("a /* b", 2), ("a $ b", 2), ("99999999999999999999", 0)]
        {
            assert_eq!(tokens(text).unwrap_err().span.start, at, "{text}");
        }
    }
}
