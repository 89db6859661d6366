//! CROSS APPLY and OUTER APPLY.

use super::compile::{Compiled, Compiler, argument_span};
use super::expr::Located;
use crate::error::Problem;
use crate::near::nearest;
use crate::syntax::tree::{Argument, Call, Name};
use std::sync::Arc;

/// Rows with each element of an array or record in them.
#[derive(Debug)]
pub(crate) struct Apply {
    /// Whether a row without elements is kept.
    pub(crate) outer: bool,
    /// Whether the elements are properties of a record, not of an array.
    pub(crate) properties: bool,
    pub(crate) operand: Located,
    /// The operand as written, for the error.
    pub(crate) text: Arc<str>,
    /// The fields of an element: its index or name, and its value.
    pub(crate) names: [Arc<str>; 2],
}

const FUNCTIONS: [&str; 2] = ["GetArrayElements", "GetRecordProperties"];

/// The fields of the elements that a call gives.
pub(super) fn fields(call: &Call) -> [&'static str; 2] {
    if is_properties(&call.name) { ["PropertyName", "PropertyValue"] } else { ["ArrayIndex", "ArrayValue"] }
}

fn is_properties(name: &[Name]) -> bool {
    matches!(name, [name] if name.text.eq_ignore_ascii_case(FUNCTIONS[1]))
}

impl Compiler<'_> {
    /// An APPLY over the sources before it.
    pub(super) fn apply(&mut self, outer: bool, call: &Call) -> Compiled<Apply> {
        let known = |name: &[Name]| matches!(name, [name] if FUNCTIONS.iter().any(|known| known.eq_ignore_ascii_case(&name.text)));
        if !known(&call.name) {
            let name = call.name.iter().map(|name| &*name.text).collect::<Vec<_>>().join(".");
            let problem = Problem::new(
                call.span,
                format!("APPLY takes one of two functions, and {name} is none of them"),
            );
            return Err(problem.expecting(&FUNCTIONS).hinting(nearest(&name, FUNCTIONS)));
        }
        if let Some(over) = &call.over {
            return Err(Problem::new(over.span, format!("{} takes no OVER", call.name[0].text)));
        }
        let operand = match call.arguments.as_slice() {
            [Argument::Expr(operand)] => operand,
            [Argument::Star(span)] => return Err(Problem::new(*span, "* is no value; name a column")),
            arguments => {
                let span = arguments.get(1).map_or(call.span, argument_span);
                let message = format!("{} takes one argument, not {}", call.name[0].text, arguments.len());
                return Err(Problem::new(span, message));
            }
        };
        let text = self.text.get(operand.span.start..operand.span.end).unwrap_or_default().into();
        let operand = self.located(operand)?;
        let names = fields(call).map(|name| self.scope.field(name));
        Ok(Apply { outer, properties: is_properties(&call.name), operand, text, names })
    }
}
