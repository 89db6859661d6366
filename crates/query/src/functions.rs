//! The functions of the languages.
//!
//! Source: Azure docs "IoT Hub message routing query syntax" and "Expressions and conditions". Positions in texts count
//! characters from 0.

use crate::value::Value;
use serde_json::Value as Json;
use std::borrow::Cow;

macro_rules! functions {
    ($($name:ident = $text:literal $(| $alias:literal)*, $least:literal, $most:expr;)*) => {
        /// A function by name.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Function { $($name,)* }

        impl Function {
            /// The function of a name in any case.
            pub(crate) fn named(name: &str) -> Option<Self> {
                let is = |other: &str| name.eq_ignore_ascii_case(other);
                $(if is($text) $(|| is($alias))* { return Some(Self::$name); })*
                None
            }

            /// How many arguments it takes.
            pub(crate) fn arity(self) -> (usize, usize) {
                match self { $(Self::$name => ($least, $most),)* }
            }

            /// Its name.
            pub(crate) fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// All names, for an error text.
            pub(crate) const NAMES: &[&str] = &[$($text,)*];
        }
    };
}

functions! {
    Abs = "ABS", 1, 1;
    Exp = "EXP", 1, 1;
    Power = "POWER", 2, 2;
    Square = "SQUARE", 1, 1;
    Ceiling = "CEILING", 1, 1;
    Floor = "FLOOR", 1, 1;
    Sign = "SIGN", 1, 1;
    Sqrt = "SQRT", 1, 1;
    AsNumber = "AS_NUMBER", 1, 1;
    IsArray = "IS_ARRAY", 1, 1;
    IsBool = "IS_BOOL", 1, 1;
    IsDefined = "IS_DEFINED", 1, 1;
    IsNull = "IS_NULL", 1, 1;
    IsNumber = "IS_NUMBER", 1, 1;
    IsObject = "IS_OBJECT", 1, 1;
    IsPrimitive = "IS_PRIMITIVE", 1, 1;
    IsString = "IS_STRING", 1, 1;
    Concat = "CONCAT", 2, usize::MAX;
    Length = "LENGTH", 1, 1;
    Lower = "LOWER", 1, 1;
    Upper = "UPPER", 1, 1;
    Substring = "SUBSTRING", 2, 3;
    IndexOf = "INDEX_OF", 2, 2;
    StartsWith = "STARTS_WITH" | "STARTSWITH", 2, 2;
    EndsWith = "ENDS_WITH" | "ENDSWITH", 2, 2;
    Contains = "CONTAINS", 2, 2;
}

/// Longest text a function makes, in bytes: nested calls must not grow without bound.
const TEXT_LEN_MAX: usize = 256 * 1024;

/// Calls a function; undefined where an argument is not of its type. The parser checked the number of arguments.
pub(crate) fn call<'a>(function: Function, arguments: &[Value<'a>]) -> Value<'a> {
    use Function as F;
    let Some(first) = arguments.first() else { return Value::Undefined };
    match function {
        F::Abs | F::Exp | F::Square | F::Ceiling | F::Floor | F::Sign | F::Sqrt => math(function, first),
        F::Power => match (first.as_number(), arguments.get(1).and_then(Value::as_number)) {
            (Some(base), Some(exponent)) => Value::of_number(base.powf(exponent)),
            _ => Value::Undefined,
        },
        F::AsNumber => match first {
            Value::Number(number) => Value::Number(*number),
            Value::Text(text) => text.trim().parse().map_or(Value::Undefined, Value::of_number),
            _ => Value::Undefined,
        },
        F::IsArray => Value::Bool(matches!(first, Value::Json(Json::Array(_)))),
        F::IsBool => Value::Bool(matches!(first, Value::Bool(_))),
        F::IsDefined => Value::Bool(*first != Value::Undefined),
        F::IsNull => Value::Bool(*first == Value::Null),
        F::IsNumber => Value::Bool(matches!(first, Value::Number(_))),
        F::IsObject => Value::Bool(matches!(first, Value::Json(Json::Object(_)))),
        F::IsPrimitive => Value::Bool(!matches!(first, Value::Json(_) | Value::Undefined)),
        F::IsString => Value::Bool(matches!(first, Value::Text(_))),
        F::Concat => concat(arguments),
        F::Length | F::Lower | F::Upper => one_text(function, first),
        F::Substring => substring(first, &arguments[1..]),
        F::IndexOf | F::StartsWith | F::EndsWith | F::Contains => {
            two_texts(function, first, arguments.get(1))
        }
    }
}

fn math<'a>(function: Function, argument: &Value<'a>) -> Value<'a> {
    let Some(x) = argument.as_number() else { return Value::Undefined };
    Value::of_number(match function {
        Function::Abs => x.abs(),
        Function::Exp => x.exp(),
        Function::Square => x * x,
        Function::Ceiling => x.ceil(),
        Function::Floor => x.floor(),
        Function::Sign if x == 0.0 => 0.0,
        Function::Sign => x.signum(),
        _ => x.sqrt(),
    })
}

fn concat<'a>(arguments: &[Value<'a>]) -> Value<'a> {
    let texts: Option<Vec<&str>> = arguments.iter().map(Value::as_text).collect();
    match texts {
        Some(texts) if texts.iter().map(|t| t.len()).sum::<usize>() <= TEXT_LEN_MAX => {
            Value::Text(Cow::Owned(texts.concat()))
        }
        _ => Value::Undefined,
    }
}

fn one_text<'a>(function: Function, argument: &Value<'a>) -> Value<'a> {
    let Some(text) = argument.as_text() else { return Value::Undefined };
    match function {
        Function::Length => Value::Number(text.chars().count() as f64),
        Function::Lower => Value::Text(Cow::Owned(text.to_lowercase())),
        _ => Value::Text(Cow::Owned(text.to_uppercase())),
    }
}

fn substring<'a>(text: &Value<'a>, range: &[Value<'a>]) -> Value<'a> {
    let whole = |value: &Value<'_>| value.as_number().filter(|n| *n >= 0.0).map(|n| n as usize);
    let (Some(text), Some(start)) = (text.as_text(), range.first().and_then(whole)) else {
        return Value::Undefined;
    };
    let len = match range.get(1) {
        None => usize::MAX,
        Some(len) => match whole(len) {
            Some(len) => len,
            None => return Value::Undefined,
        },
    };
    Value::Text(Cow::Owned(text.chars().skip(start).take(len).collect()))
}

fn two_texts<'a>(function: Function, text: &Value<'a>, other: Option<&Value<'a>>) -> Value<'a> {
    let (Some(text), Some(other)) = (text.as_text(), other.and_then(Value::as_text)) else {
        return Value::Undefined;
    };
    match function {
        Function::IndexOf => {
            let found = text.find(other).map(|at| text[..at].chars().count() as f64);
            Value::Number(found.unwrap_or(-1.0))
        }
        Function::StartsWith => Value::Bool(text.starts_with(other)),
        Function::EndsWith => Value::Bool(text.ends_with(other)),
        _ => Value::Bool(text.contains(other)),
    }
}
