//! Calls of functions that the user wrote: `udf.name(…)` and `uda.name(…)`.

use super::compile::{Compiled, Compiler};
use super::expr::Expr;
use super::{AggregateSpec, WindowKind, WindowSpec};
use crate::error::Problem;
use crate::functions::aggregates::{Aggregate, AggregateKind};
use crate::near::nearest;
use crate::script::{Function, FunctionKind};
use crate::syntax::tree::Call;
use std::sync::Arc;

/// What a prefix asks for.
pub(super) fn user_kind(call: &Call) -> Option<FunctionKind> {
    let [prefix, _] = call.name.as_slice() else { return None };
    let kinds = [FunctionKind::Scalar, FunctionKind::Aggregate];
    kinds.into_iter().find(|kind| kind.prefix().eq_ignore_ascii_case(&prefix.text))
}

impl Compiler<'_> {
    pub(super) fn user(&mut self, kind: FunctionKind, call: &Call) -> Compiled {
        if self.options.level.is_limited() {
            let full: Vec<_> = call.name.iter().map(|name| &*name.text).collect();
            let message =
                format!("{}: functions of users are not offered to jobs of this kind", full.join("."));
            return Err(Problem::new(call.span, message));
        }
        let function = self.user_function(kind, call)?;
        if kind == FunctionKind::Aggregate {
            return match &call.over {
                Some(over) if over.limit.is_some() => self.former_aggregate(AggregateKind::User, call),
                _ => self.aggregate(AggregateKind::User, call),
            };
        }
        if let Some(over) = &call.over {
            return Err(Problem::new(over.span, format!("udf.{} takes no OVER", function.name())));
        }
        if let Some(distinct) = call.distinct {
            return Err(Problem::new(distinct, "DISTINCT belongs into COUNT only"));
        }
        let arguments =
            call.arguments.iter().map(|argument| self.argument(argument)).collect::<Compiled<_>>()?;
        Ok(Expr::UserCall(function, arguments))
    }

    /// The function and what it takes from each row: a value and the time.
    pub(super) fn user_aggregate(&mut self, call: &Call) -> Compiled<(Aggregate, Vec<Expr>)> {
        let function = self.user_function(FunctionKind::Aggregate, call)?;
        let [argument] = call.arguments.as_slice() else {
            let message = format!(
                "uda.{} takes one argument, not {}; a whole input can be one",
                function.name(),
                call.arguments.len()
            );
            return Err(Problem::new(call.span, message));
        };
        let argument = self.argument(argument)?;
        Ok((Aggregate::User { function, merged: false }, vec![argument, Expr::Time]))
    }

    fn user_function(&self, kind: FunctionKind, call: &Call) -> Compiled<Arc<Function>> {
        let Some(name) = call.name.last() else {
            return Err(Problem::new(call.span, "a function has a name"));
        };
        let functions = &self.options.functions;
        match functions.get(&name.text) {
            Some(function) if function.kind() == kind => Ok(function.clone()),
            Some(function) => {
                let message = match function.kind() {
                    FunctionKind::Aggregate => format!("{} is an aggregate: call uda.{0}", function.name()),
                    FunctionKind::Scalar => format!("{} is no aggregate: call udf.{0}", function.name()),
                };
                Err(Problem::new(call.span, message))
            }
            None => {
                let prefix = kind.prefix();
                let message = format!(
                    "there is no function {prefix}.{name}; it comes with the job, or as {name}.js beside the query",
                    name = name.text
                );
                let known = functions.iter().map(|function| function.name());
                Err(Problem::new(name.span, message).hinting(nearest(&name.text, known)))
            }
        }
    }
}

/// Says to aggregates of users whether their states will be merged: where windows are made of several panes.
pub(super) fn tell_merged(aggregates: &mut [AggregateSpec], windows: &[WindowSpec]) {
    let panes = windows.iter().any(|window| match window.kind {
        WindowKind::Grid { size, hop, .. } => size > hop || hop % size != 0,
        _ => false,
    });
    for spec in aggregates {
        if let Aggregate::User { merged, .. } = &mut spec.aggregate {
            *merged = panes;
        }
    }
}
