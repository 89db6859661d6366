//! What goes wrong while an expression is computed. In the service each of these stops the job.

use std::sync::Arc;

/// Why a value could not be computed. Texts name the cause and hold no data of events.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EvalError {
    /// A function does not take a value of this type. The text is the service's (docs: "Validate inputs").
    // rule FUNC-01
    #[error("The {} argument of function {} has invalid type '{found}'. Only {} is allowed.", ordinal(*.position), .function.to_lowercase(), quoted(.allowed))]
    InvalidArgument {
        /// The function's name, in any case.
        function: &'static str,
        /// Which argument, from 1.
        position: usize,
        /// The type that came.
        found: &'static str,
        /// The types it takes.
        allowed: &'static [&'static str],
    },
    /// A conversion that does not exist, or a value that does not convert.
    #[error("Cannot cast value of type '{from}' to type '{to}'{}. TRY_CAST function can be used to handle values with unexpected type.", place(.expression))]
    Cast {
        /// The type that came.
        from: &'static str,
        /// The type that was wanted.
        to: &'static str,
        /// The expression as it stands in the query, once known.
        expression: Option<Arc<str>>,
    },
    /// An operator does not take values of these types.
    #[error(
        "operator '{operator}' does not take '{left}' and '{right}'; convert one of them with CAST or TRY_CAST"
    )]
    Operands {
        /// The operator.
        operator: &'static str,
        /// Type of the left (or only) operand.
        left: &'static str,
        /// Type of the right operand.
        right: &'static str,
    },
    /// A result outside the range of its type.
    #[error(
        "the result of {operation} is out of the range of '{ty}'; cast the operands to float or filter the rows before"
    )]
    OutOfRange {
        /// Operator or function.
        operation: &'static str,
        /// The result's type.
        ty: &'static str,
    },
    /// Division or remainder by zero.
    #[error("division by zero; guard it with NULLIF(divisor, 0)")]
    DivideByZero,
    /// A function of the user failed. The text is what its script says of itself.
    #[error("{function}{}: {message}", line.map(|line| format!(", line {line} of the script")).unwrap_or_default())]
    Script {
        /// The function, with its prefix.
        function: Arc<str>,
        /// Where in the script, from 1, if that is known.
        line: Option<u32>,
        /// What was thrown, or which limit it met.
        message: Arc<str>,
    },
    /// A value that the function's definition forbids.
    #[error("function {}: {problem}", .function.to_lowercase())]
    Domain {
        /// The function's name, in any case.
        function: &'static str,
        /// What is wrong, and what would be right.
        problem: &'static str,
    },
}

impl EvalError {
    /// The same error with the expression in whose place it happened, where the text has room for one.
    #[must_use]
    pub fn with_expression(mut self, text: &str) -> Self {
        if let Self::Cast { expression, .. } = &mut self
            && expression.is_none()
        {
            *expression = Some(text.into());
        }
        self
    }
}

fn place(expression: &Option<Arc<str>>) -> String {
    expression.as_ref().map(|text| format!(" in expression '{text}'")).unwrap_or_default()
}

/// `1st`, `2nd`, `3rd`, `11th`.
fn ordinal(number: usize) -> String {
    let ending = match (number % 10, number % 100) {
        (_, 11..=13) => "th",
        (1, _) => "st",
        (2, _) => "nd",
        (3, _) => "rd",
        _ => "th",
    };
    format!("{number}{ending}")
}

fn quoted(types: &[&str]) -> String {
    types.iter().map(|name| format!("'{name}'")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_those_users_know_from_the_service_rule_func_01() {
        let error = EvalError::InvalidArgument {
            function: "ROUND",
            position: 1,
            found: "nvarchar(max)",
            allowed: &["bigint", "float"],
        };
        assert_eq!(
            error.to_string(),
            "The 1st argument of function round has invalid type 'nvarchar(max)'. Only 'bigint', 'float' is allowed."
        );
        let error = EvalError::Cast { from: "record", to: "array", expression: None };
        let text = error.with_expression("a . b").to_string();
        assert!(
            text.starts_with("Cannot cast value of type 'record' to type 'array' in expression 'a . b'.")
        );
    }

    #[test]
    fn ordinals() {
        let all: Vec<_> = [1, 2, 3, 4, 11, 12, 13, 21, 111].map(ordinal).into();
        assert_eq!(all, ["1st", "2nd", "3rd", "4th", "11th", "12th", "13th", "21st", "111th"]);
    }
}
