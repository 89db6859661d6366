//! Text to tokens, for both languages.

use crate::{Dialect, Error};

/// Longest text in bytes that is looked at (Azure docs: 8192 characters).
pub(crate) const TEXT_LEN_MAX: usize = 8192;

/// A word, literal or mark.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Token {
    /// A name or keyword; a system name keeps its `$`.
    Word(String),
    /// `{name}` or `[[name]]`: a name that needs escaping.
    Quoted(String),
    Number(f64),
    Text(String),
    /// `( ) [ ] , . + - * / % = != < <= > >=`; `<>` is read as `!=`.
    Mark(&'static str),
    End,
}

/// A token and the byte where it begins.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Placed {
    pub(crate) token: Token,
    pub(crate) position: usize,
}

const MARKS: [&str; 19] = [
    // Longer ones first.
    "!=", "<>", "<=", ">=", "(", ")", "[", "]", ",", ".", "+", "-", "*", "/", "%", "=", "<", ">", ";",
];

/// All tokens of a text, with an [`Token::End`] at the end.
pub(crate) fn tokens(text: &str, dialect: Dialect) -> Result<Vec<Placed>, Error> {
    if text.len() > TEXT_LEN_MAX {
        return Err(Error::at(
            text,
            0,
            format!("the text has {} bytes; {TEXT_LEN_MAX} are allowed", text.len()),
        ));
    }
    let mut lexer = Lexer { text, position: 0, dialect, after_dot: false };
    let mut tokens = Vec::new();
    loop {
        lexer.skip_space();
        let position = lexer.position;
        let token = lexer.token()?;
        lexer.after_dot = token == Token::Mark(".");
        let end = token == Token::End;
        tokens.push(Placed { token, position });
        if end {
            return Ok(tokens);
        }
    }
}

struct Lexer<'a> {
    text: &'a str,
    position: usize,
    dialect: Dialect,
    after_dot: bool,
}

fn starts_word(c: char) -> bool {
    c.is_alphabetic() || c == '_' || c == '$'
}

fn in_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '$'
}

impl<'a> Lexer<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.position..]
    }

    fn error(&self, message: impl Into<String>) -> Error {
        Error::at(self.text, self.position, message)
    }

    fn skip_space(&mut self) {
        self.position += self.rest().len() - self.rest().trim_start().len();
    }

    fn token(&mut self) -> Result<Token, Error> {
        let rest = self.rest();
        let Some(first) = rest.chars().next() else { return Ok(Token::End) };
        if starts_word(first) {
            return Ok(self.word());
        }
        if first.is_ascii_digit() {
            return self.number();
        }
        if first == '\'' || first == '"' {
            return self.text_literal(first);
        }
        if let Some(inner) = rest.strip_prefix("[[") {
            return self.quoted(inner, "[[", "]]");
        }
        if let Some(inner) = rest.strip_prefix('{').filter(|_| self.dialect == Dialect::Condition) {
            return self.quoted(inner, "{", "}");
        }
        match MARKS.iter().find(|mark| rest.starts_with(**mark)) {
            Some(mark) => {
                self.position += mark.len();
                Ok(Token::Mark(if *mark == "<>" { "!=" } else { mark }))
            }
            None => Err(self.error(format!("the character {first:?} means nothing here"))),
        }
    }

    fn word(&mut self) -> Token {
        let rest = self.rest();
        // Names of properties hold hyphens (`$dt-subject`, `my-level`); after a dot, inside a body, a hyphen is a minus.
        let hyphens = rest.starts_with('$') || (self.dialect == Dialect::Condition && !self.after_dot);
        let mut end = 0;
        let mut chars = rest.char_indices().peekable();
        while let Some((at, c)) = chars.next() {
            let joins = hyphens && c == '-' && chars.peek().is_some_and(|(_, next)| next.is_alphanumeric());
            if !in_word(c) && !joins {
                break;
            }
            end = at + c.len_utf8();
        }
        self.position += end;
        Token::Word(rest[..end].to_owned())
    }

    fn quoted(&mut self, inner: &str, open: &str, close: &str) -> Result<Token, Error> {
        match inner.find(close) {
            Some(0) | None => Err(self.error(format!("a name between {open} and {close} is needed"))),
            Some(end) => {
                self.position += open.len() + end + close.len();
                Ok(Token::Quoted(inner[..end].to_owned()))
            }
        }
    }

    fn number(&mut self) -> Result<Token, Error> {
        let rest = self.rest();
        if let Some(hex) = rest.strip_prefix("0x").or_else(|| rest.strip_prefix("0X")) {
            let len = hex.bytes().take_while(u8::is_ascii_hexdigit).count();
            let value = u64::from_str_radix(&hex[..len], 16)
                .map_err(|_| self.error("0x needs 1 to 16 hex digits"))?;
            self.position += 2 + len;
            return self.after_number(value as f64);
        }
        let bytes = rest.as_bytes();
        let digits = |from: usize| bytes[from..].iter().take_while(|b| b.is_ascii_digit()).count();
        let mut len = digits(0);
        if bytes.get(len) == Some(&b'.') && bytes.get(len + 1).is_some_and(u8::is_ascii_digit) {
            len += 1 + digits(len + 1);
        }
        if matches!(bytes.get(len), Some(b'e' | b'E')) {
            let sign = usize::from(matches!(bytes.get(len + 1), Some(b'+' | b'-')));
            let exponent = digits((len + 1 + sign).min(bytes.len()));
            if exponent > 0 {
                len += 1 + sign + exponent;
            }
        }
        let value = rest[..len].parse::<f64>().ok().filter(|v| v.is_finite());
        let value = value.ok_or_else(|| self.error("the number is too large"))?;
        self.position += len;
        self.after_number(value)
    }

    fn after_number(&self, value: f64) -> Result<Token, Error> {
        match self.rest().chars().next() {
            Some(c) if in_word(c) => Err(self.error(format!("the character {c:?} cannot follow a number"))),
            _ => Ok(Token::Number(value)),
        }
    }

    fn text_literal(&mut self, quote: char) -> Result<Token, Error> {
        let mut value = String::new();
        let rest = self.rest();
        let mut chars = rest.char_indices().skip(1);
        while let Some((at, c)) = chars.next() {
            if c == quote {
                self.position += at + 1;
                return Ok(Token::Text(value));
            }
            if c != '\\' {
                value.push(c);
                continue;
            }
            let bad = || {
                Error::at(self.text, self.position + at, r#"escapes are \' \" \\ \/ \b \f \n \r \t \uXXXX"#)
            };
            let (at, escape) = chars.next().ok_or_else(bad)?;
            match escape {
                '\'' | '"' | '\\' | '/' => value.push(escape),
                'b' => value.push('\u{8}'),
                'f' => value.push('\u{c}'),
                'n' => value.push('\n'),
                'r' => value.push('\r'),
                't' => value.push('\t'),
                'u' => {
                    let (c, len) = unicode(&rest[at + 1..]).ok_or_else(bad)?;
                    value.push(c);
                    chars.nth(len - 1);
                }
                _ => return Err(bad()),
            }
        }
        Err(self.error("the text is not closed"))
    }
}

/// The character of `XXXX`, or of a surrogate pair `XXXX\uXXXX`, and how many characters it took.
fn unicode(digits: &str) -> Option<(char, usize)> {
    let unit = |from: usize| u16::from_str_radix(digits.get(from..from + 4)?, 16).ok();
    let high = unit(0)?;
    if let Some(c) = char::from_u32(u32::from(high)) {
        return Some((c, 4));
    }
    let low = digits.get(4..6).filter(|mark| *mark == "\\u").and_then(|_| unit(6))?;
    char::decode_utf16([high, low]).next()?.ok().map(|c| (c, 10))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str, dialect: Dialect) -> Vec<Token> {
        tokens(text, dialect).unwrap().into_iter().map(|placed| placed.token).collect()
    }

    #[test]
    fn hyphens_belong_to_property_names_and_are_a_minus_in_bodies() {
        let word = |w: &str| Token::Word(w.to_owned());
        assert_eq!(of("my-level", Dialect::Condition), [word("my-level"), Token::End]);
        assert_eq!(of("$dt-subject", Dialect::Condition), [word("$dt-subject"), Token::End]);
        let minus = [word("$body"), Token::Mark("."), word("a"), Token::Mark("-"), word("b"), Token::End];
        assert_eq!(of("$body.a-b", Dialect::Condition), minus);
    }

    #[test]
    fn numbers_texts_and_escapes() {
        assert_eq!(of("0x1F", Dialect::Twin)[0], Token::Number(31.0));
        assert_eq!(of("1.5e-3", Dialect::Twin)[0], Token::Number(0.0015));
        assert_eq!(of(r#"'a\'b\u00e9\ud83d\ude00'"#, Dialect::Twin)[0], Token::Text("a'bé😀".to_owned()));
        assert_eq!(of("[[a.b-c]]", Dialect::Twin)[0], Token::Quoted("a.b-c".to_owned()));
    }

    #[test]
    fn errors_tell_line_and_column() {
        let error = tokens("a = 1\n AND b = #", Dialect::Condition).unwrap_err();
        assert_eq!((error.line, error.column), (2, 10));
        assert!(tokens(&"a".repeat(TEXT_LEN_MAX + 1), Dialect::Twin).is_err());
        for text in ["'open", "1abc", "0x", "{", "[[]]", r"'\x'", r"'\ud800'", "9e999"] {
            assert!(tokens(text, Dialect::Condition).is_err(), "{text}");
        }
    }
}
