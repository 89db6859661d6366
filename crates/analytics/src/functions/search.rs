//! Functions.

use super::ScalarFunction;

/// The rows.
pub const TABLE: &[ScalarFunction] = &[];
