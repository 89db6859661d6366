//! The tree both languages are parsed into. Chains are flat lists, so that a long text is not a deep tree.

use crate::functions::Function;

/// An expression.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Expr {
    Undefined,
    Null,
    Bool(bool),
    Number(f64),
    Text(String),
    Path(Path),
    Not(Box<Expr>),
    Negate(Box<Expr>),
    All(Vec<Expr>),
    Any(Vec<Expr>),
    Compare(Comparison, Box<Expr>, Box<Expr>),
    /// From left to right; all of one precedence.
    Arithmetic(Box<Expr>, Vec<(Operator, Expr)>),
    In {
        needle: Box<Expr>,
        list: Vec<Expr>,
        negated: bool,
    },
    Call(Function, Vec<Expr>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operator {
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}

/// A place in a message or document.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Path {
    pub(crate) root: Root,
    pub(crate) steps: Vec<Step>,
}

/// Where a path begins.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Root {
    /// An application property.
    Property(String),
    /// A system property, without its `$`.
    System(String),
    /// The body of the message.
    Body,
    /// The twin of the sender.
    Twin,
    /// The document at hand.
    Document,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    Name(String),
    Index(usize),
}

impl Expr {
    /// Whether any path in the expression fulfils a test.
    pub(crate) fn any_path(&self, test: &dyn Fn(&Path) -> bool) -> bool {
        let any = |list: &[Expr]| list.iter().any(|e| e.any_path(test));
        match self {
            Self::Undefined | Self::Null | Self::Bool(_) | Self::Number(_) | Self::Text(_) => false,
            Self::Path(path) => test(path),
            Self::Not(inner) | Self::Negate(inner) => inner.any_path(test),
            Self::All(list) | Self::Any(list) | Self::Call(_, list) => any(list),
            Self::Compare(_, left, right) => left.any_path(test) || right.any_path(test),
            Self::Arithmetic(first, rest) => {
                first.any_path(test) || rest.iter().any(|(_, e)| e.any_path(test))
            }
            Self::In { needle, list, .. } => needle.any_path(test) || any(list),
        }
    }
}
