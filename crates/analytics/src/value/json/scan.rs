//! Over the bytes of a payload: white space, texts, numbers, words.

use super::JsonError;
use std::borrow::Cow;

/// A place in a payload. All bytes it stops at are ASCII or behind whole characters, so what lies between two stops is UTF-8
/// if the payload is.
#[derive(Debug, Clone)]
pub(super) struct Scan<'a> {
    pub(super) text: &'a [u8],
    pub(super) at: usize,
}

/// A number in a payload.
#[derive(Debug, Clone, Copy)]
pub(super) struct Number<'a> {
    text: &'a [u8],
    /// Without fraction and exponent.
    pub(super) whole: bool,
    exponent: bool,
}

/// A text up to its closing quote.
#[derive(Debug, Clone, Copy)]
pub(super) struct Text<'a> {
    /// As it stands there, from quote to quote.
    pub(super) quoted: &'a [u8],
    escaped: bool,
}

impl<'a> Scan<'a> {
    #[inline]
    pub(super) fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    pub(super) fn rest(&self) -> &'a [u8] {
        self.text.get(self.at..).unwrap_or_default()
    }

    pub(super) fn expected(&self, expected: &'static str) -> JsonError {
        JsonError::Syntax { offset: self.at, expected }
    }

    #[inline]
    pub(super) fn white_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    pub(super) fn word(&mut self, word: &'static str) -> Result<(), JsonError> {
        if !self.rest().starts_with(word.as_bytes()) {
            return Err(self.expected(word));
        }
        self.at += word.len();
        Ok(())
    }

    /// Goes over a text, from its opening quote on, and checks it.
    pub(super) fn string(&mut self) -> Result<Text<'a>, JsonError> {
        let start = self.at;
        let mut escaped = false;
        self.at += 1;
        loop {
            self.at += plain(self.rest());
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(Text { quoted: &self.text[start..self.at], escaped });
                }
                Some(b'\\') => {
                    self.at += 1;
                    escaped = true;
                    self.escape()?;
                }
                _ => return Err(self.expected("a character of a text, control characters escaped, or '\"'")),
            }
        }
    }

    /// What an escape stands for, from behind its backslash on.
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
        if (0xd800..0xdc00).contains(&high) && self.rest().starts_with(b"\\u") {
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
        let digits = self.text.get(self.at..self.at + 4).unwrap_or_default();
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

    /// Goes over a number, from its first character on, and checks its form.
    pub(super) fn number(&mut self) -> Result<Number<'a>, JsonError> {
        let text = self.rest();
        let is = |at: usize, byte: u8| text.get(at) == Some(&byte);
        let mut at = usize::from(is(0, b'-'));
        at = if is(at, b'0') { at + 1 } else { self.digits(text, at)? };
        let (mut whole, mut exponent) = (true, false);
        if is(at, b'.') {
            whole = false;
            at = self.digits(text, at + 1)?;
        }
        if is(at, b'e') || is(at, b'E') {
            (whole, exponent) = (false, true);
            at += 1 + usize::from(is(at + 1, b'+') || is(at + 1, b'-'));
            at = self.digits(text, at)?;
        }
        self.at += at;
        Ok(Number { text: &text[..at], whole, exponent })
    }

    /// Where the digits end that begin there; it must be one at least.
    #[inline]
    fn digits(&mut self, text: &[u8], at: usize) -> Result<usize, JsonError> {
        let found = digits(text.get(at..).unwrap_or_default());
        if found == 0 {
            self.at += at;
            return Err(self.expected("a digit"));
        }
        Ok(at + found)
    }
}

impl<'a> Text<'a> {
    /// What it says, as it stands there; nothing if it has escapes.
    pub(super) fn plain(self) -> Option<&'a [u8]> {
        (!self.escaped).then(|| self.inside())
    }

    fn inside(self) -> &'a [u8] {
        self.quoted.get(1..self.quoted.len() - 1).unwrap_or_default()
    }

    /// What it says.
    pub(super) fn value(self) -> Cow<'a, str> {
        let inside = self.inside();
        if !self.escaped {
            return String::from_utf8_lossy(inside);
        }
        let mut text = String::with_capacity(inside.len());
        let mut scan = Scan { text: inside, at: 0 };
        loop {
            let start = scan.at;
            scan.at += plain(scan.rest());
            text.push_str(&String::from_utf8_lossy(&inside[start..scan.at]));
            if scan.peek().is_none() {
                return Cow::Owned(text);
            }
            scan.at += 1;
            // It was checked before.
            text.push(scan.escape().unwrap_or(char::REPLACEMENT_CHARACTER));
        }
    }
}

impl<'a> Number<'a> {
    /// Whether it surely fits its type: shorter than the greatest there are. Others have to be read to know.
    pub(super) fn is_small(self) -> bool {
        !self.exponent && self.text.len() <= if self.whole { 18 } else { 300 }
    }

    pub(super) fn bigint(self) -> Option<i64> {
        if self.text.len() > 18 {
            return self.as_str()?.parse().ok();
        }
        let (negative, digits) = match self.text.strip_prefix(b"-") {
            Some(digits) => (true, digits),
            None => (false, self.text),
        };
        let number = digits.iter().fold(0, |number, digit| number * 10 + i64::from(digit - b'0'));
        Some(if negative { -number } else { number })
    }

    pub(super) fn float(self) -> Option<f64> {
        if let Some(float) = self.short_float() {
            return Some(float);
        }
        self.as_str()?.parse().ok().filter(|number: &f64| number.is_finite())
    }

    /// A number of few digits without exponent. Its digits and the power of ten are both exact as floats, so their quotient is
    /// the nearest float to the number (Clinger, "How to read floating point numbers accurately", 1990).
    fn short_float(self) -> Option<f64> {
        if self.exponent || self.text.len() > EXACT_DIGITS {
            return None;
        }
        let (mut digits, mut behind, mut counts) = (0_u64, 0, 0);
        for byte in self.text {
            match byte {
                b'0'..=b'9' => {
                    digits = digits * 10 + u64::from(byte - b'0');
                    behind += counts;
                }
                b'.' => counts = 1,
                _ => {}
            }
        }
        let float = digits as f64 / POWERS.get(behind)?;
        Some(if self.text.starts_with(b"-") { -float } else { float })
    }

    fn as_str(self) -> Option<&'a str> {
        std::str::from_utf8(self.text).ok()
    }
}

/// All numbers of so many digits are exact as floats.
const EXACT_DIGITS: usize = 15;
const POWERS: [f64; EXACT_DIGITS + 1] =
    [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15];

const ONES: u64 = u64::from_ne_bytes([1; 8]);
const HIGHS: u64 = ONES << 7;

/// How many bytes stand in a text as they are: no quote, backslash or control character. Eight are looked at at once.
fn plain(bytes: &[u8]) -> usize {
    // The lowest high bit of these is that of the first such byte; higher ones may be wrong.
    let zero = |word: u64| word.wrapping_sub(ONES) & !word;
    let (words, rest) = bytes.as_chunks::<8>();
    for (number, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let quote = zero(word ^ (ONES * u64::from(b'"')));
        let backslash = zero(word ^ (ONES * u64::from(b'\\')));
        let control = word.wrapping_sub(ONES * 0x20) & !word;
        let found = (quote | backslash | control) & HIGHS;
        if found != 0 {
            return number * 8 + found.trailing_zeros() as usize / 8;
        }
    }
    let ends = |byte: &&u8| !matches!(byte, b'"' | b'\\' | ..b' ');
    bytes.len() - rest.len() + rest.iter().take_while(ends).count()
}

/// With how many digits a text begins. Eight are looked at at once.
#[inline]
fn digits(bytes: &[u8]) -> usize {
    let (words, rest) = bytes.as_chunks::<8>();
    for (number, word) in words.iter().enumerate() {
        // `0` to `9` differ from `0` in the lower half of a byte alone, and six more stay in that half.
        let apart = u64::from_le_bytes(*word) ^ (ONES * u64::from(b'0'));
        let found = (apart | (apart & !HIGHS).wrapping_add(ONES * 6)) & (ONES * 0xf0);
        if found != 0 {
            return number * 8 + found.trailing_zeros() as usize / 8;
        }
    }
    bytes.len() - rest.len() + rest.iter().take_while(|byte| byte.is_ascii_digit()).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        #[test]
        fn eight_digits_at_once_are_as_one_by_one(text in "[0-9]{0,20}[/-:0-9é\u{0}-\u{ff}]{0,12}") {
            let bytes = text.as_bytes();
            let slow = bytes.iter().take_while(|byte| byte.is_ascii_digit()).count();
            prop_assert_eq!(digits(bytes), slow);
        }

        #[test]
        fn eight_at_once_are_as_one_by_one(text in "[ -~\u{0}-\u{1f}é€𝄞\"\\\\]{0,40}") {
            let bytes = text.as_bytes();
            let slow = bytes.iter().take_while(|byte| **byte >= b' ' && !b"\"\\".contains(byte)).count();
            prop_assert_eq!(plain(bytes), slow);
        }

        #[test]
        fn short_floats_are_the_nearest(text in "-?(0|[1-9][0-9]{0,9})\\.[0-9]{1,12}") {
            let read = Scan { text: text.as_bytes(), at: 0 }.number().unwrap();
            let float: f64 = text.parse().unwrap();
            prop_assert_eq!(read.float().map(f64::to_bits), Some(float.to_bits()));
        }

        #[test]
        fn short_numbers_are_as_long_ones(number in prop_oneof![any::<i64>(), -1000i64..1000]) {
            let text = number.to_string();
            let read = Scan { text: text.as_bytes(), at: 0 }.number().unwrap();
            prop_assert!(read.whole);
            prop_assert_eq!(read.bigint(), Some(number));
        }
    }
}
