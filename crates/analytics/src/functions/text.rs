//! Functions that make texts. A character is a Unicode scalar value; positions count from 1.

use super::ScalarFunction;
use super::arguments::Arguments;
use crate::value::{EvalError, Value};
use std::collections::HashMap;

const ANY: usize = usize::MAX;

/// The rows.
pub const TABLE: &[ScalarFunction] = &[
    ScalarFunction::lenient("CONCAT", [1, ANY], concat),
    ScalarFunction::lenient("CONCAT_WS", [2, ANY], concat_ws),
    ScalarFunction::strict("LEFT", [2, 2], left),
    ScalarFunction::strict("RIGHT", [2, 2], right),
    ScalarFunction::strict("LOWER", [1, 1], |args| convert("LOWER", args, |text| text.to_lowercase())),
    ScalarFunction::strict("UPPER", [1, 1], |args| convert("UPPER", args, |text| text.to_uppercase())),
    ScalarFunction::strict("LTRIM", [1, 1], |args| {
        convert("LTRIM", args, |text| text.trim_start().to_owned())
    }),
    ScalarFunction::strict("RTRIM", [1, 1], |args| convert("RTRIM", args, |text| text.trim_end().to_owned())),
    ScalarFunction::strict("TRIM", [1, 1], |args| convert("TRIM", args, |text| text.trim().to_owned())),
    ScalarFunction::strict("REVERSE", [1, 1], |args| {
        convert("REVERSE", args, |text| text.chars().rev().collect())
    }),
    ScalarFunction::strict("NCHAR", [1, 1], nchar),
    ScalarFunction::strict("REPLACE", [3, 3], replace),
    ScalarFunction::strict("REPLICATE", [2, 2], |args| {
        let args = Arguments { function: "REPLICATE", values: args };
        replicate(args, &args.text(0)?, args.whole(1)?)
    }),
    ScalarFunction::strict("SPACE", [1, 1], |args| {
        let args = Arguments { function: "SPACE", values: args };
        replicate(args, " ", args.whole(0)?)
    }),
    ScalarFunction::strict("STUFF", [4, 4], stuff),
    ScalarFunction::strict("SUBSTRING", [3, 3], substring),
    ScalarFunction::strict("TRANSLATE", [3, 3], translate),
];

fn convert(function: &'static str, values: &[Value], how: fn(&str) -> String) -> Result<Value, EvalError> {
    Ok(how(&Arguments { function, values }.text(0)?).into())
}

/// Bytes of so many characters from the start; of all, if there are fewer.
fn bytes_of(text: &str, chars: usize) -> usize {
    text.char_indices().nth(chars).map_or(text.len(), |(at, _)| at)
}

/// `NULL` counts as an empty text.
fn concat(values: &[Value]) -> Result<Value, EvalError> {
    let args = Arguments { function: "CONCAT", values };
    let mut text = String::new();
    for (place, value) in values.iter().enumerate() {
        if !value.is_null() {
            text += &args.text(place)?;
        }
    }
    args.text_result(text)
}

/// A `NULL` is left out with its separator; a `NULL` separator counts as an empty text.
fn concat_ws(values: &[Value]) -> Result<Value, EvalError> {
    let args = Arguments { function: "CONCAT_WS", values };
    let separator = if values[0].is_null() { "".into() } else { args.text(0)? };
    let places = (1..values.len()).filter(|place| !values[*place].is_null());
    let parts = places.map(|place| args.text(place)).collect::<Result<Vec<_>, _>>()?;
    args.text_result(parts.join(&separator))
}

fn count(args: &Arguments<'_>, place: usize) -> Result<usize, EvalError> {
    let problem = "the number of characters is negative; it must be 0 or more";
    let count = args.whole(place)?;
    if count < 0 { Err(args.domain(problem)) } else { Ok(usize::try_from(count).unwrap_or(usize::MAX)) }
}

fn left(values: &[Value]) -> Result<Value, EvalError> {
    let args = Arguments { function: "LEFT", values };
    let (text, count) = (args.text(0)?, count(&args, 1)?);
    Ok(text[..bytes_of(&text, count)].into())
}

fn right(values: &[Value]) -> Result<Value, EvalError> {
    let args = Arguments { function: "RIGHT", values };
    let (text, count) = (args.text(0)?, count(&args, 1)?);
    let skipped = text.chars().count().saturating_sub(count);
    Ok(text[bytes_of(&text, skipped)..].into())
}

/// `NULL` for what is no character.
fn nchar(values: &[Value]) -> Result<Value, EvalError> {
    let code = Arguments { function: "NCHAR", values }.whole(0)?;
    Ok(u32::try_from(code).ok().and_then(char::from_u32).map(String::from).into())
}

fn replace(values: &[Value]) -> Result<Value, EvalError> {
    let args = Arguments { function: "REPLACE", values };
    let (text, find, by) = (args.text(0)?, args.text(1)?, args.text(2)?);
    if find.is_empty() {
        return Ok(text.into_owned().into());
    }
    if by.len() > find.len() {
        let more = text.matches(&*find).count().saturating_mul(by.len() - find.len());
        room(&args, text.len().saturating_add(more))?;
    }
    args.text_result(text.replace(&*find, &by))
}

/// Refuses a result before it is made.
fn room(args: &Arguments<'_>, length: usize) -> Result<(), EvalError> {
    if length > super::MAX_TEXT { Err(args.too_long()) } else { Ok(()) }
}

/// `NULL` for a negative number.
fn replicate(args: Arguments<'_>, text: &str, times: i64) -> Result<Value, EvalError> {
    let Ok(times) = usize::try_from(times) else { return Ok(Value::Null) };
    room(&args, text.len().saturating_mul(times))?;
    Ok(text.repeat(times).into())
}

/// Cuts `length` characters out at `start` and puts a text there. Where the start lies beyond the text there is nothing.
fn stuff(values: &[Value]) -> Result<Value, EvalError> {
    let args = Arguments { function: "STUFF", values };
    let (text, start, cut, insert) = (args.text(0)?, args.whole(1)?, count(&args, 2)?, args.text(3)?);
    let length = text.chars().count();
    let start = usize::try_from(start.saturating_sub(1)).ok().filter(|start| *start < length);
    let Some(start) = start else { return Ok("".into()) };
    let (head, tail) = text.split_at(bytes_of(&text, start));
    args.text_result([head, &insert, &tail[bytes_of(tail, cut)..]].concat())
}

/// A start before the text takes as many characters less.
fn substring(values: &[Value]) -> Result<Value, EvalError> {
    let args = Arguments { function: "SUBSTRING", values };
    let (text, start) = (args.text(0)?, args.whole(1)?);
    let length = i64::try_from(count(&args, 2)?).unwrap_or(i64::MAX);
    let end = usize::try_from(start.saturating_add(length).saturating_sub(1)).unwrap_or(0);
    let start = usize::try_from(start.saturating_sub(1)).unwrap_or(0);
    let tail = &text[bytes_of(&text, start)..];
    Ok(tail[..bytes_of(tail, end.saturating_sub(start))].into())
}

/// Replaces each character once, by the one in the same place.
fn translate(values: &[Value]) -> Result<Value, EvalError> {
    let args = Arguments { function: "TRANSLATE", values };
    let (text, from, to) = (args.text(0)?, args.text(1)?, args.text(2)?);
    if from.chars().count() != to.chars().count() {
        return Err(args.domain("the second and third argument must have the same number of characters"));
    }
    let mut places: HashMap<char, char> = HashMap::new();
    from.chars().zip(to.chars()).for_each(|(from, to)| {
        // Of a character named twice the first counts.
        places.entry(from).or_insert(to);
    });
    let translated: String = text.chars().map(|c| *places.get(&c).unwrap_or(&c)).collect();
    args.text_result(translated)
}
