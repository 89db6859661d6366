//! What a call means: scalar function, aggregate, window, or something not offered.

use super::compile::{Compiled, Compiler, argument_span};
use super::expr::Expr;
use super::scope::is_system;
use super::user::user_kind;
use super::{former, window};
use crate::error::Problem;
use crate::functions::{self, ScalarFunction, aggregates};
use crate::near::nearest;
use crate::syntax::tree::{self, Argument, Call, ExprKind};
use crate::value::{DatePart, Value};

impl Compiler<'_> {
    pub(crate) fn call(&mut self, call: &Call) -> Compiled {
        if is_system(&call.name, "timestamp") {
            if let Some(argument) = call.arguments.first() {
                return Err(Problem::new(argument_span(argument), "System.Timestamp() takes no argument"));
            }
            return Ok(Expr::Time);
        }
        if is_system(&call.name, "window") {
            return Err(Problem::new(call.span, "System.Window() is used as System.Window().Id"));
        }
        let [name] = call.name.as_slice() else { return self.prefixed(call) };
        if window::is_window(call) {
            return Err(Problem::new(call.span, "a window stands alone as an item of GROUP BY"));
        }
        if let Some(matched) = self.matched_call(&name.text, call) {
            return matched;
        }
        if former::is_former(&name.text) {
            return self.former(call);
        }
        if let Some(aggregate) = aggregates::lookup(&name.text) {
            if call.over.as_ref().is_some_and(|over| over.limit.is_some()) {
                return self.former_aggregate(aggregate, call);
            }
            return self.aggregate(aggregate, call);
        }
        if name.text.eq_ignore_ascii_case("GetMetadataPropertyValue") {
            return self.metadata(call);
        }
        if let Some(refused) = self.refused(&name.text, call) {
            return Err(refused);
        }
        match functions::lookup(&name.text) {
            Some(function) => self.scalar(function, call),
            None => {
                let hint = functions::near(&name.text).or_else(|| window::near(&name.text));
                Err(Problem::new(name.span, format!("there is no function {}", name.text)).hinting(hint))
            }
        }
    }

    /// A function of the user, or none.
    fn prefixed(&mut self, call: &Call) -> Compiled {
        match user_kind(call) {
            Some(kind) => self.user(kind, call),
            None => {
                let full: Vec<_> = call.name.iter().map(|name| &*name.text).collect();
                let message = format!(
                    "there is no function {}; functions of the language are called without a prefix",
                    full.join(".")
                );
                Err(Problem::new(call.span, message))
            }
        }
    }

    fn refused(&self, name: &str, call: &Call) -> Option<Problem> {
        let is = |known: &str| known.eq_ignore_ascii_case(name);
        if is("GetArrayElements") || is("GetRecordProperties") {
            return Some(Problem::new(
                call.span,
                format!("{name} gives several rows: use it with CROSS APPLY or OUTER APPLY"),
            ));
        }
        None
    }

    fn scalar(&mut self, function: &'static ScalarFunction, call: &Call) -> Compiled {
        if let Some(over) = &call.over {
            return Err(Problem::new(over.span, format!("{} takes no OVER", function.name)));
        }
        if let Some(distinct) = call.distinct {
            return Err(Problem::new(distinct, "DISTINCT belongs into COUNT only"));
        }
        let (part, arguments) = if function.takes_date_part() {
            let (part, rest) = date_part(function.name, call)?;
            (Some(part), rest)
        } else {
            (None, call.arguments.as_slice())
        };
        if !function.takes(arguments.len()) {
            return Err(Problem::new(call.span, arity(function, arguments.len())));
        }
        let between_sources = function.name.starts_with("DATEDIFF") && self.scope.sources.len() > 1;
        let mut arguments = arguments
            .iter()
            .map(|argument| match self.source_time(argument) {
                Some(time) if between_sources => Ok(time),
                _ => self.argument(argument),
            })
            .collect::<Compiled<Box<[_]>>>()?;
        // A name of a field in a text is written as in the event, whose names may have become lower case.
        if function.name.eq_ignore_ascii_case("GetRecordPropertyValue")
            && let [_, Expr::Constant(Value::NVarchar(name))] = &mut *arguments
        {
            *name = self.scope.field(name);
        }
        Ok(Expr::Call(function, part, arguments))
    }

    /// The time of a source, where an argument is the name of one.
    fn source_time(&self, argument: &Argument) -> Option<Expr> {
        let Argument::Expr(tree::Expr { kind: ExprKind::Path(path), .. }) = argument else { return None };
        let [name] = path.as_slice() else { return None };
        self.scope.position(&name.text).map(Expr::TimeOf)
    }

    /// An argument that must be an expression.
    pub(crate) fn argument(&mut self, argument: &Argument) -> Compiled {
        match argument {
            Argument::Expr(expr) => self.expr(expr),
            Argument::Star(span) => Err(Problem::new(*span, "* is no value; name a column")),
        }
    }
}

fn date_part<'c>(function: &str, call: &'c Call) -> Compiled<(DatePart, &'c [Argument])> {
    let message = format!("the first argument of {function} is a datepart");
    let Some((first, rest)) = call.arguments.split_first() else {
        return Err(Problem::new(call.span, message).expecting(DATE_PARTS));
    };
    let Argument::Expr(expr) = first else {
        return Err(Problem::new(argument_span(first), message).expecting(DATE_PARTS));
    };
    let word = match &expr.kind {
        ExprKind::Path(path) if path.len() == 1 => path[0].text.as_str(),
        _ => return Err(Problem::new(expr.span, message).expecting(DATE_PARTS)),
    };
    match DatePart::parse(word) {
        Some(part) => Ok((part, rest)),
        None => {
            let problem =
                Problem::new(expr.span, format!("{message}, and {word} is none")).expecting(DATE_PARTS);
            Err(problem.hinting(nearest(word, DATE_PARTS.iter().copied())))
        }
    }
}

const DATE_PARTS: &[&str] = &[
    "year",
    "quarter",
    "month",
    "dayofyear",
    "day",
    "week",
    "weekday",
    "hour",
    "minute",
    "second",
    "millisecond",
    "microsecond",
];

fn arity(function: &ScalarFunction, found: usize) -> String {
    let part = usize::from(function.takes_date_part());
    let (least, most) = (function.min_args + part, function.max_args.saturating_add(part));
    let wanted = match (least, most) {
        (least, most) if least == most => format!("{least}"),
        (least, usize::MAX) => format!("at least {least}"),
        (least, most) => format!("{least} to {most}"),
    };
    format!("{} takes {wanted} arguments, not {}", function.name, found + part)
}
