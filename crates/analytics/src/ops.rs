//! What operators do with values.
//!
//! Every operator with a `NULL` operand gives `NULL`, which for conditions is `None`: three-valued logic, of which WHERE, HAVING,
//! ON and WHEN keep only what [`is_true`]. Not here: precedence and syntax, which belong to the parser, and `CAST`, which is
//! [`Value::cast`].

mod arithmetic;
mod bits;
mod compare;
mod like;
mod logic;

pub use crate::value::EvalError;
pub use arithmetic::{add, divide, modulo, multiply, negate, subtract};
pub use bits::{bit_and, bit_not, bit_or, bit_xor};
pub use compare::{Comparison, between, compare, equal, in_list, null_if};
pub use like::{LikePattern, MAX_PATTERN, PatternError};
pub use logic::{and3, coalesce, is_true, not3, or3, truth};

use crate::value::{DataType, Value};

/// The type that a `CASE` or `COALESCE` with such results has: the highest of them, where `NULL` counts nothing.
/// Branches may have different types all the same: this is for description, values keep their own type.
pub fn common_type<'a>(values: impl IntoIterator<Item = &'a Value>) -> Option<DataType> {
    values.into_iter().filter_map(Value::data_type).max_by_key(|ty| ty.precedence())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_type_of_branches() {
        let values = [Value::Null, Value::BigInt(1), Value::text("x"), Value::Float(1.0)];
        assert_eq!(common_type(&values), Some(DataType::Float));
        assert_eq!(common_type(&values[..1]), None);
    }
}
