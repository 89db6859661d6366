//! From text to tree: [`lexer`] cuts the text into tokens, [`parser`] builds the [`tree`].
//!
//! Nothing is looked up here: a name may be a field, an input or a unit of time, a call may be a function, an aggregate or
//! a window. That is for [`plan`](crate::plan). Every node knows its [`Span`], so that any later complaint can point at it.

mod span;

mod lexer;
mod parser;
#[cfg(test)]
mod soup;
pub(crate) mod tree;

pub(crate) use lexer::{Token, TokenKind, tokens};
pub(crate) use parser::parse;
#[cfg(test)]
pub(crate) use soup::soup;
pub use span::Span;

/// The longest query text taken, in bytes; the longest known real query is far below.
pub const MAX_TEXT: usize = 256 * 1024;

/// How deep expressions may nest in the text. A level takes a dozen calls of the parser, which must fit into a small stack.
pub const MAX_DEPTH: usize = 64;

/// How high the tree of an expression may be. It grows with nesting and with chains such as `a + b + c`; every later pass
/// recurses over it.
pub const MAX_HEIGHT: usize = 200;
