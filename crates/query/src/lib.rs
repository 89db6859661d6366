//! The hub's two languages: route conditions and twin queries.
//!
//! Start with [`Condition`] (is this message for that endpoint?) and [`twin::TwinQuery`] (which twins, and what of them?).
//! Both are compiled once by one lexer, parser and evaluator; [`Error`] tells line and column. What is *not* here: where
//! messages and twins come from. Conditions ask a message through [`Operands`], queries get JSON documents.

mod error;

mod lexer;
mod parser;

mod expr;
mod functions;
mod value;

mod eval;

mod explain;
mod show;

mod condition;
pub mod twin;

pub use condition::{Condition, Operands};
pub use error::Error;
pub use explain::{Explanation, Part};

/// Which of the languages a text is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// Bare names are application properties, `$` names belong to the platform.
    Condition,
    /// Names are members of a document.
    Twin,
}
