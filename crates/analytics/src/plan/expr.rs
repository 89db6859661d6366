//! Compiled expressions: nothing in them is looked up by name but fields of records.

use crate::functions::ScalarFunction;
use crate::ops::{Comparison, LikePattern};
use crate::script::Function;
use crate::syntax::Span;
use crate::syntax::tree::BinaryOp;
use crate::value::{DataType, DatePart, Value};
use std::sync::Arc;

/// An expression with the place it was written at, for errors while it is computed.
#[derive(Debug, Clone)]
pub(crate) struct Located {
    pub(crate) expr: Expr,
    pub(crate) span: Span,
}

/// Something to compute from a row. Two expressions mean the same if their `Debug` texts are equal.
#[derive(Debug, Clone)]
pub(crate) enum Expr {
    Constant(Value),
    /// A source's whole record.
    Source(usize),
    /// A field of a source, through records.
    Path(usize, Box<[Arc<str>]>),
    /// A field of the first of these sources that has it.
    AnyPath(Box<[usize]>, Box<[Arc<str>]>),
    /// A field named like its source, or, where the event has none such, the whole record.
    FieldOrSource(usize, Arc<str>),
    /// A source's field where the row has it, else what an alias of the SELECT list means.
    FieldOr(usize, Arc<str>, Box<Expr>),
    /// All sources as one record, what `*` gives: those without a name have their fields spread, the others become a
    /// record of that name.
    Row(Box<[Option<Arc<str>>]>),
    /// What a former stage computed: a group key or an aggregate.
    Slot(usize),
    /// A field of a computed record.
    Field(Box<Expr>, Arc<str>),
    /// `System.Timestamp()`.
    Time,
    /// The time of a source's own row, before it was joined.
    TimeOf(usize),
    /// What a source's input knows of an event beside its body, through records.
    Metadata(usize, Box<[Arc<str>]>),
    /// What a function over former events gave for the row.
    Former(usize),
    /// What a function over former events of one source gave for its part.
    FormerOf(usize, usize),
    /// `System.Window().Id`.
    WindowId,
    Cast {
        operand: Box<Expr>,
        to: DataType,
        lenient: bool,
        /// As written, for the error.
        text: Arc<str>,
    },
    Negate(Box<Expr>),
    BitNot(Box<Expr>),
    /// An operator on numbers, texts or bits; comparisons are not among them.
    Operate(BinaryOp, Box<Expr>, Box<Expr>),
    Compare(Comparison, Box<Expr>, Box<Expr>),
    Not(Box<Expr>),
    And(Box<[Expr]>),
    Or(Box<[Expr]>),
    /// Low and high inclusive; the last says whether NOT stood there.
    Between(Box<Expr>, Box<Expr>, Box<Expr>, bool),
    In(Box<Expr>, Box<[Expr]>, bool),
    /// A pattern known beforehand.
    Like(Box<Expr>, Arc<LikePattern>, bool),
    /// Pattern and escape character from the row.
    LikeDynamic(Box<Expr>, Box<Expr>, Option<Box<Expr>>, bool),
    IsNull(Box<Expr>, bool),
    Case {
        operand: Option<Box<Expr>>,
        arms: Box<[(Expr, Expr)]>,
        otherwise: Option<Box<Expr>>,
    },
    /// The datepart is for those functions that take one.
    Call(&'static ScalarFunction, Option<DatePart>, Box<[Expr]>),
    /// A function of the user.
    UserCall(Arc<Function>, Box<[Expr]>),
}

impl Expr {
    /// Whether it is the same for every row.
    pub(crate) fn constant(&self) -> Option<&Value> {
        match self {
            Self::Constant(value) => Some(value),
            _ => None,
        }
    }

    /// A text that is equal for equal meaning.
    pub(crate) fn canonical(&self) -> String {
        format!("{self:?}")
    }

    /// The sources it reads, as often as it does.
    pub(crate) fn sources(&self, found: &mut Vec<usize>) {
        match self {
            Self::Source(source)
            | Self::Path(source, _)
            | Self::FieldOrSource(source, _)
            | Self::FieldOr(source, ..)
            | Self::TimeOf(source)
            | Self::Metadata(source, _)
            | Self::FormerOf(source, _) => found.push(*source),
            Self::AnyPath(sources, _) => found.extend(sources),
            Self::Row(names) => found.extend(0..names.len()),
            _ => {}
        }
        self.children().into_iter().for_each(|child| child.sources(found));
    }

    /// The expressions it is made of.
    pub(crate) fn children(&self) -> Vec<&Expr> {
        match self {
            Self::Constant(_)
            | Self::Source(_)
            | Self::Path(..)
            | Self::AnyPath(..)
            | Self::FieldOrSource(..)
            | Self::Row(_)
            | Self::Slot(_)
            | Self::Time
            | Self::TimeOf(_)
            | Self::Metadata(..)
            | Self::Former(_)
            | Self::FormerOf(..)
            | Self::WindowId => Vec::new(),
            Self::FieldOr(_, _, operand)
            | Self::Field(operand, _)
            | Self::Cast { operand, .. }
            | Self::Negate(operand)
            | Self::BitNot(operand)
            | Self::Not(operand)
            | Self::Like(operand, ..)
            | Self::IsNull(operand, _) => vec![operand],
            Self::Operate(_, a, b) | Self::Compare(_, a, b) => vec![a, b],
            Self::And(terms) | Self::Or(terms) | Self::Call(_, _, terms) | Self::UserCall(_, terms) => {
                terms.iter().collect()
            }
            Self::Between(a, b, c, _) => vec![a, b, c],
            Self::In(operand, list, _) => std::iter::once(&**operand).chain(list).collect(),
            Self::LikeDynamic(operand, pattern, escape, _) => {
                [&**operand, pattern].into_iter().chain(escape.as_deref()).collect()
            }
            Self::Case { operand, arms, otherwise } => {
                let arms = arms.iter().flat_map(|(when, then)| [when, then]);
                operand.as_deref().into_iter().chain(arms).chain(otherwise.as_deref()).collect()
            }
        }
    }
}
