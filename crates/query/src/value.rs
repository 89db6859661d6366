//! What an expression is worth.

use serde_json::Value as Json;
use std::borrow::Cow;
use std::cmp::Ordering;

/// A value while an expression is evaluated. `Undefined` is what is missing, of a wrong type, or not a number.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value<'a> {
    Undefined,
    Null,
    Bool(bool),
    Number(f64),
    Text(Cow<'a, str>),
    /// An array or object.
    Json(&'a Json),
}

impl<'a> Value<'a> {
    pub(crate) fn of_json(json: &'a Json) -> Self {
        match json {
            Json::Null => Self::Null,
            Json::Bool(value) => Self::Bool(*value),
            Json::Number(number) => number.as_f64().map_or(Self::Undefined, Self::Number),
            Json::String(text) => Self::Text(Cow::Borrowed(text)),
            Json::Array(_) | Json::Object(_) => Self::Json(json),
        }
    }

    pub(crate) fn of_text(text: Option<Cow<'a, str>>) -> Self {
        text.map_or(Self::Undefined, Self::Text)
    }

    /// A number, or undefined where the result is none.
    pub(crate) fn of_number(number: f64) -> Self {
        if number.is_finite() { Self::Number(number) } else { Self::Undefined }
    }

    pub(crate) fn as_number(&self) -> Option<f64> {
        if let Self::Number(number) = self { Some(*number) } else { None }
    }

    pub(crate) fn as_text(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }

    /// The value as JSON; `None` if undefined.
    pub(crate) fn into_json(self) -> Option<Json> {
        Some(match self {
            Self::Undefined => return None,
            Self::Null => Json::Null,
            Self::Bool(value) => Json::Bool(value),
            Self::Number(number) => json_number(number),
            Self::Text(text) => Json::String(text.into_owned()),
            Self::Json(json) => json.clone(),
        })
    }

    /// How two values of one type compare; `None` where they do not.
    pub(crate) fn compare(&self, other: &Self, nulls_equal: bool) -> Option<Relation> {
        Some(match (self, other) {
            (Self::Number(a), Self::Number(b)) => Relation::Ordered(a.partial_cmp(b)?),
            (Self::Text(a), Self::Text(b)) => Relation::Ordered(a.cmp(b)),
            (Self::Bool(a), Self::Bool(b)) => Relation::Same(a == b),
            (Self::Null, Self::Null) if nulls_equal => Relation::Same(true),
            _ => return None,
        })
    }
}

/// How two comparable values stand to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Relation {
    Ordered(Ordering),
    /// Equal or not, but without an order.
    Same(bool),
}

/// A whole number is written without a fraction.
pub(crate) fn json_number(number: f64) -> Json {
    if number.fract() == 0.0 && number.abs() < 9_007_199_254_740_992.0 {
        // In this range the conversion is exact.
        Json::from(number as i64)
    } else {
        Json::from(number)
    }
}
