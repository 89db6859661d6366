//! Mathematics. Where the type of the argument is kept, a text counts as `float` and a `bit` as `bigint`.

use super::ScalarFunction;
use super::arguments::{Arguments, Number};
use crate::value::{EvalError, Value};
use std::f64::consts::PI;

/// The rows.
pub const TABLE: &[ScalarFunction] = &[
    ScalarFunction::strict("ABS", [1, 1], |args| keep("ABS", args, i64::checked_abs, f64::abs)),
    ScalarFunction::strict("CEILING", [1, 1], |args| keep("CEILING", args, Some, f64::ceil)),
    ScalarFunction::strict("FLOOR", [1, 1], |args| keep("FLOOR", args, Some, f64::floor)),
    ScalarFunction::strict("SIGN", [1, 1], |args| keep("SIGN", args, |n| Some(n.signum()), sign)),
    ScalarFunction::strict("ROUND", [2, 2], round),
    ScalarFunction::strict("POWER", [2, 2], power),
    ScalarFunction::strict("EXP", [1, 1], |args| float("EXP", args, f64::exp)),
    ScalarFunction::strict("SQUARE", [1, 1], |args| float("SQUARE", args, |x| x * x)),
    ScalarFunction::strict("SQRT", [1, 1], |args| float("SQRT", args, f64::sqrt)),
    ScalarFunction::strict("LOG", [1, 2], log),
    ScalarFunction::strict("LOG10", [1, 1], |args| float("LOG10", args, f64::log10)),
    ScalarFunction::strict("PI", [0, 0], |_| Ok(Value::Float(PI))),
    ScalarFunction::strict("ACOS", [1, 1], |args| float("ACOS", args, f64::acos)),
    ScalarFunction::strict("ASIN", [1, 1], |args| float("ASIN", args, f64::asin)),
    ScalarFunction::strict("ATAN", [1, 1], |args| float("ATAN", args, f64::atan)),
    ScalarFunction::strict("ATN2", [2, 2], |values| {
        let args = Arguments { function: "ATN2", values };
        Ok(Value::Float(args.float(0)?.atan2(args.float(1)?)))
    }),
    ScalarFunction::strict("COS", [1, 1], |args| float("COS", args, f64::cos)),
    ScalarFunction::strict("COT", [1, 1], |args| float("COT", args, |x| 1.0 / x.tan())),
    ScalarFunction::strict("SIN", [1, 1], |args| float("SIN", args, f64::sin)),
    ScalarFunction::strict("TAN", [1, 1], |args| float("TAN", args, f64::tan)),
    ScalarFunction::strict("DEGREES", [1, 1], |args| float("DEGREES", args, f64::to_degrees)),
    ScalarFunction::strict("RADIANS", [1, 1], |args| float("RADIANS", args, f64::to_radians)),
];

/// Zero has none.
fn sign(x: f64) -> f64 {
    if x == 0.0 { 0.0 } else { x.signum() }
}

/// The result has the type of the argument.
fn keep(
    function: &'static str,
    values: &[Value],
    whole: fn(i64) -> Option<i64>,
    float: fn(f64) -> f64,
) -> Result<Value, EvalError> {
    let args = Arguments { function, values };
    match args.number(0)? {
        Number::Whole(number) => whole(number).map(Value::BigInt).ok_or_else(|| args.out_of_range("bigint")),
        Number::Float(number) => args.float_result(float(number)),
    }
}

fn float(function: &'static str, values: &[Value], how: fn(f64) -> f64) -> Result<Value, EvalError> {
    let args = Arguments { function, values };
    checked(&args, how(args.float(0)?))
}

/// What is no number is an argument outside the function's domain.
fn checked(args: &Arguments<'_>, result: f64) -> Result<Value, EvalError> {
    if result.is_nan() {
        return Err(args.domain("it has no value for this argument; filter the rows before"));
    }
    args.float_result(result)
}

/// The natural logarithm, or that to a base.
fn log(values: &[Value]) -> Result<Value, EvalError> {
    let args = Arguments { function: "LOG", values };
    let natural = args.float(0)?.ln();
    if values.len() == 1 {
        return checked(&args, natural);
    }
    checked(&args, natural / args.float(1)?.ln())
}

/// The result has the type of the base.
fn power(values: &[Value]) -> Result<Value, EvalError> {
    let args = Arguments { function: "POWER", values };
    let out_of_range = || args.out_of_range("bigint");
    match (args.number(0)?, args.number(1)?) {
        (Number::Whole(base), Number::Whole(exponent)) if exponent >= 0 => match base {
            // These never overflow, however great the exponent.
            0 | 1 if exponent > 0 => Ok(Value::BigInt(base)),
            -1 => Ok(Value::BigInt(if exponent % 2 == 0 { 1 } else { -1 })),
            _ => {
                let exponent = u32::try_from(exponent).map_err(|_| out_of_range())?;
                base.checked_pow(exponent).map(Value::BigInt).ok_or_else(out_of_range)
            }
        },
        (Number::Whole(base), exponent) => {
            let exponent = match exponent {
                Number::Whole(exponent) => exponent as f64,
                Number::Float(exponent) => exponent,
            };
            let result = checked(&args, (base as f64).powf(exponent))?;
            result.to_bigint().map(Value::BigInt).ok_or_else(out_of_range)
        }
        (Number::Float(base), _) => checked(&args, base.powf(args.float(1)?)),
    }
}

/// Half away from zero; a negative length rounds before the point.
fn round(values: &[Value]) -> Result<Value, EvalError> {
    let args = Arguments { function: "ROUND", values };
    let length = args.whole(1)?;
    match args.number(0)? {
        Number::Whole(number) => {
            round_whole(number, length).map(Value::BigInt).ok_or_else(|| args.out_of_range("bigint"))
        }
        Number::Float(number) => args.float_result(round_float(number, length)),
    }
}

fn round_whole(number: i64, length: i64) -> Option<i64> {
    let Ok(zeros) = u32::try_from(length.saturating_neg()) else {
        return Some(if length >= 0 { number } else { 0 });
    };
    let Some(unit) = 10i64.checked_pow(zeros) else { return Some(0) };
    let rest = number % unit;
    let down = number - rest;
    if rest.unsigned_abs() >= (unit as u64).div_ceil(2) {
        down.checked_add(unit * rest.signum())
    } else {
        Some(down)
    }
}

/// Rounds the shortest decimal text of the number, so that 1.005 is taken as it is written and not as the binary fraction a
/// little below it.
fn round_float(number: f64, length: i64) -> f64 {
    // Digits beyond these change nothing, and a unit beyond those leaves nothing.
    let length = length.clamp(-400, 400);
    let text = format!("{:e}", number.abs());
    let Some((digits, exponent)) = text.split_once('e') else { return number };
    let digits: Vec<u8> = digits.bytes().filter(u8::is_ascii_digit).map(|digit| digit - b'0').collect();
    let exponent: i64 = exponent.parse().unwrap_or_default();
    // How many digits stay.
    let kept = exponent + 1 + length;
    if kept >= digits.len() as i64 {
        return number;
    }
    if kept < 0 {
        return 0.0f64.copysign(number);
    }
    let (kept, next) = (&digits[..kept as usize], digits[kept as usize]);
    let whole = kept.iter().fold(0u64, |whole, digit| whole * 10 + u64::from(*digit)) + u64::from(next >= 5);
    let rounded: f64 = format!("{whole}e{}", -length).parse().unwrap_or(number);
    rounded.copysign(number)
}
