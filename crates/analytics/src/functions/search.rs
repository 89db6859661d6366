//! Functions that find and count characters. Positions count from 1; 0 is nowhere.

use super::ScalarFunction;
use super::arguments::Arguments;
use crate::ops::LikePattern;
use crate::value::{EvalError, Value};

/// The rows.
pub const TABLE: &[ScalarFunction] = &[
    ScalarFunction::strict("CHARINDEX", [2, 3], char_index),
    ScalarFunction::strict("PATINDEX", [2, 2], pat_index),
    ScalarFunction::strict("LEN", [1, 1], len),
    ScalarFunction::strict("UNICODE", [1, 1], unicode),
];

/// The position of a byte, counted in characters.
pub(super) fn position(text: &str, byte: usize) -> i64 {
    text.get(..byte).map_or(0, |before| before.chars().count() as i64 + 1)
}

fn char_index(values: &[Value]) -> Result<Value, EvalError> {
    let args = Arguments { function: "CHARINDEX", values };
    let (find, text) = (args.text(0)?, args.text(1)?);
    let skipped = usize::try_from(args.whole_or(2, 1)?.saturating_sub(1)).unwrap_or(0);
    let start = text.char_indices().nth(skipped).map_or(text.len(), |(at, _)| at);
    let found = text[start..].find(&*find).filter(|_| !find.is_empty());
    Ok(Value::BigInt(found.map_or(0, |at| position(&text, start + at))))
}

fn pat_index(values: &[Value]) -> Result<Value, EvalError> {
    let args = Arguments { function: "PATINDEX", values };
    let pattern = LikePattern::new(&args.text(0)?, None)
        .map_err(|_| args.domain("the pattern may have 8000 characters; this one is longer"))?;
    Ok(Value::BigInt(pattern.find(&args.text(1)?).map_or(0, |before| before as i64 + 1)))
}

/// Blanks at the end do not count.
fn len(values: &[Value]) -> Result<Value, EvalError> {
    let text = Arguments { function: "LEN", values }.text(0)?;
    Ok(Value::BigInt(text.trim_end_matches(' ').chars().count() as i64))
}

/// The code point of the first character; an empty text has none.
fn unicode(values: &[Value]) -> Result<Value, EvalError> {
    let text = Arguments { function: "UNICODE", values }.text(0)?;
    Ok(text.chars().next().map(|c| i64::from(u32::from(c))).into())
}
