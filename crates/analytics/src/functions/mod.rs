//! What expressions can call: scalar functions here, aggregates in [`aggregates`].
//!
//! [`lookup`] gives the table's row for a name; the planner checks the number of arguments against it, once, and keeps it.
//! Unless a function says otherwise a `NULL` argument gives `NULL`. Arguments are converted where that is harmless (a number
//! to text, a text that is a number to a number, a text that is a time to `datetime`); what does not convert is
//! [`EvalError::InvalidArgument`], in the words users know from the service.
//!
//! Not here: `CAST` and `TRY_CAST`, which have a syntax of their own ([`Value::cast`]); windows; `System.Timestamp()`; and
//! functions over several events, such as `LAG`.

pub mod aggregates;

mod arguments;
mod collection;
mod date;
mod geo;
mod json;
mod math;
mod regex;
mod search;
mod text;

use crate::value::{DatePart, EvalError, Value};
use std::collections::HashMap;
use std::sync::LazyLock;

pub use crate::value::date_part::{date_add, date_diff, date_name, date_part};

/// How many characters a function may make out of few, as `REPLICATE` does.
pub const MAX_TEXT: usize = 1 << 20;

/// How a function is computed.
#[derive(Clone, Copy)]
enum Call {
    /// From arguments none of which is `NULL`; with any `NULL` the result is `NULL`.
    Strict(fn(&[Value]) -> Result<Value, EvalError>),
    /// From any arguments.
    Lenient(fn(&[Value]) -> Result<Value, EvalError>),
    /// From a datepart, written as a bare word in the first place, and other arguments, strictly.
    DatePart(fn(DatePart, &[Value]) -> Result<Value, EvalError>),
}

/// A row of the table of functions.
pub struct ScalarFunction {
    /// The name as documented; any case calls it.
    pub name: &'static str,
    /// The least number of arguments, without the datepart.
    pub min_args: usize,
    /// The greatest number of arguments, without the datepart; `usize::MAX` where there is no end.
    pub max_args: usize,
    call: Call,
}

impl ScalarFunction {
    const fn strict(
        name: &'static str,
        args: [usize; 2],
        call: fn(&[Value]) -> Result<Value, EvalError>,
    ) -> Self {
        Self { name, min_args: args[0], max_args: args[1], call: Call::Strict(call) }
    }

    const fn lenient(
        name: &'static str,
        args: [usize; 2],
        call: fn(&[Value]) -> Result<Value, EvalError>,
    ) -> Self {
        Self { name, min_args: args[0], max_args: args[1], call: Call::Lenient(call) }
    }

    const fn with_part(
        name: &'static str,
        args: usize,
        call: fn(DatePart, &[Value]) -> Result<Value, EvalError>,
    ) -> Self {
        Self { name, min_args: args, max_args: args, call: Call::DatePart(call) }
    }

    /// Whether its first argument is a datepart: a bare word such as `minute`, which [`DatePart::parse`] reads.
    pub fn takes_date_part(&self) -> bool {
        matches!(self.call, Call::DatePart(_))
    }

    /// Whether it can be called with so many arguments, without the datepart.
    pub fn takes(&self, args: usize) -> bool {
        (self.min_args..=self.max_args).contains(&args)
    }

    /// Calls a function without datepart.
    ///
    /// # Errors
    /// [`EvalError`]: of the function, or [`EvalError::Domain`] for a wrong number of arguments or a missing datepart.
    pub fn call(&self, args: &[Value]) -> Result<Value, EvalError> {
        self.call_with(None, args)
    }

    /// Calls any function; `part` is for those which [take one](Self::takes_date_part), others ignore it.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub fn call_with(&self, part: Option<DatePart>, args: &[Value]) -> Result<Value, EvalError> {
        if !self.takes(args.len()) {
            return Err(EvalError::Domain { function: self.name, problem: "wrong number of arguments" });
        }
        match (self.call, part) {
            (Call::Lenient(call), _) => call(args),
            _ if args.iter().any(Value::is_null) => Ok(Value::Null),
            (Call::Strict(call), _) => call(args),
            (Call::DatePart(call), Some(part)) => call(part, args),
            (Call::DatePart(_), None) => Err(EvalError::Domain {
                function: self.name,
                problem: "the first argument must be a datepart",
            }),
        }
    }
}

impl std::fmt::Debug for ScalarFunction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ScalarFunction").field("name", &self.name).finish_non_exhaustive()
    }
}

const TABLES: [&[ScalarFunction]; 8] = [
    text::TABLE,
    search::TABLE,
    json::TABLE,
    date::TABLE,
    math::TABLE,
    collection::TABLE,
    geo::TABLE,
    regex::TABLE,
];

static BY_NAME: LazyLock<HashMap<String, &'static ScalarFunction>> =
    LazyLock::new(|| all().map(|function| (function.name.to_lowercase(), function)).collect());

/// All scalar functions.
pub fn all() -> impl Iterator<Item = &'static ScalarFunction> {
    TABLES.into_iter().flatten()
}

/// The scalar function of a name, in any case.
pub fn lookup(name: &str) -> Option<&'static ScalarFunction> {
    BY_NAME.get(&name.to_lowercase()).copied()
}

/// The function, scalar or aggregate, whose name a misspelt one may have meant.
pub fn near(name: &str) -> Option<&'static str> {
    let special = [
        "CAST",
        "TRY_CAST",
        "LAG",
        "LAST",
        "ISFIRST",
        "GetArrayElements",
        "GetRecordProperties",
        "AnomalyDetection_SpikeAndDip",
        "AnomalyDetection_ChangePoint",
    ];
    let aggregates = aggregates::NAMES.iter().map(|(name, _)| *name);
    crate::near::nearest(name, all().map(|function| function.name).chain(aggregates).chain(special))
}

#[cfg(test)]
mod tests;
