//! The tree of a query text. Names are as written; see [`parser`](super::parser) for the grammar.

use super::Span;

/// A name with its place.
#[derive(Debug, Clone, PartialEq)]
pub struct Name {
    /// As written, without brackets or quotes.
    pub text: String,
    /// Where.
    pub span: Span,
    /// Whether it was in brackets or quotes, so that it can be no keyword.
    pub quoted: bool,
}

/// A whole query text.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Script {
    /// Declared types of inputs.
    pub tables: Vec<CreateTable>,
    /// Named steps, in order.
    pub steps: Vec<Step>,
    /// Statements with outputs, in order.
    pub statements: Vec<Query>,
}

/// `CREATE TABLE input (column type, …)`.
#[derive(Debug, Clone, PartialEq)]
pub struct CreateTable {
    /// The input.
    pub name: Name,
    /// Columns with their types.
    pub columns: Vec<(Name, TypeName)>,
}

/// A type as written: `bigint`, `nvarchar(max)`.
#[derive(Debug, Clone, PartialEq)]
pub struct TypeName {
    /// First word.
    pub text: String,
    /// Where, with parentheses.
    pub span: Span,
}

/// `name AS (query)` of a WITH clause.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// The name, unique ignoring case.
    pub name: Name,
    /// What it gives.
    pub query: Query,
}

/// One or more SELECTs joined by UNION.
#[derive(Debug, Clone, PartialEq)]
pub struct Query {
    /// At least one.
    pub branches: Vec<Select>,
}

/// One SELECT with all its clauses.
#[derive(Debug, Clone, PartialEq)]
pub struct Select {
    /// All of it.
    pub span: Span,
    /// The columns.
    pub items: Vec<Item>,
    /// `INTO output`.
    pub into: Option<Name>,
    /// The place of INTO and the name.
    pub into_clause: Option<Span>,
    /// `FROM …`.
    pub source: Source,
    /// `WHERE …`.
    pub filter: Option<Expr>,
    /// `GROUP BY …`: keys and windows.
    pub group: Vec<Expr>,
    /// `HAVING …`.
    pub having: Option<Expr>,
    /// The place of FROM where the text began with it instead of SELECT.
    pub from_first: Option<Span>,
}

/// One entry of a SELECT list.
#[derive(Debug, Clone, PartialEq)]
pub enum Item {
    /// `*`.
    Star(Span),
    /// `source.*` or `record.column.*`.
    PathStar(Vec<Name>, Span),
    /// An expression, perhaps named.
    Expr(Expr, Option<Name>),
}

/// What a SELECT reads.
#[derive(Debug, Clone, PartialEq)]
pub struct Source {
    /// The first input or step.
    pub first: InputRef,
    /// Joins and applies, in order.
    pub more: Vec<Joined>,
    /// `MATCH_RECOGNIZE (…)`.
    pub pattern: Option<Box<Recognize>>,
}

/// `MATCH_RECOGNIZE (LIMIT DURATION(…) PARTITION BY … MEASURES … AFTER MATCH SKIP TO NEXT ROW PATTERN (…) DEFINE …) AS name`.
#[derive(Debug, Clone, PartialEq)]
pub struct Recognize {
    /// How long a match may be.
    pub limit: Call,
    /// Rows with equal keys are a sequence.
    pub partition: Vec<Expr>,
    /// What a match gives.
    pub measures: Vec<(Expr, Name)>,
    /// Which rows follow each other.
    pub pattern: Pattern,
    /// What the rows of each variable are.
    pub define: Vec<(Name, Expr)>,
    /// Name of the matches.
    pub alias: Option<Name>,
    /// Of the whole.
    pub span: Span,
}

/// A pattern of rows, as a regular expression of characters.
#[derive(Debug, Clone, PartialEq)]
pub enum Pattern {
    /// A row of a variable.
    Variable(Name),
    /// Any row.
    Any,
    /// One behind the other.
    Sequence(Vec<Pattern>),
    /// The first of these that leads to a match.
    Either(Vec<Pattern>),
    /// Repeated as often as possible: at least once or not, more than once or not.
    Repeated {
        /// What.
        inner: Box<Pattern>,
        /// `+`, not `*` or `?`.
        once: bool,
        /// `+` or `*`, not `?`.
        more: bool,
        /// The place of the sign.
        span: Span,
    },
}

/// An input or step with its modifiers.
#[derive(Debug, Clone, PartialEq)]
pub struct InputRef {
    /// Of the input or step.
    pub name: Name,
    /// Another name within this SELECT.
    pub alias: Option<Name>,
    /// `PARTITION BY`, with its place.
    pub partition: Option<(Vec<Expr>, Span)>,
    /// `TIMESTAMP BY`.
    pub timestamp: Option<TimestampBy>,
}

/// `TIMESTAMP BY expr [OVER keys]`.
#[derive(Debug, Clone, PartialEq)]
pub struct TimestampBy {
    /// The event time.
    pub expr: Expr,
    /// Keys of substreams; empty without OVER.
    pub over: Vec<Expr>,
    /// All of it.
    pub span: Span,
}

/// What follows the first source.
#[derive(Debug, Clone, PartialEq)]
pub enum Joined {
    /// `JOIN right ON condition`.
    Join {
        /// Whether rows without a match are kept.
        left_outer: bool,
        /// The right side.
        right: Box<InputRef>,
        /// The condition.
        on: Expr,
        /// Of the whole.
        span: Span,
    },
    /// `CROSS APPLY` or `OUTER APPLY`.
    Apply {
        /// Whether rows without elements are kept.
        outer: bool,
        /// The call.
        call: Call,
        /// Name of the elements.
        alias: Name,
        /// Of the whole.
        span: Span,
    },
}

/// An expression with its place.
#[derive(Debug, Clone, PartialEq)]
pub struct Expr {
    /// What.
    pub kind: ExprKind,
    /// Where.
    pub span: Span,
    /// Levels below it; bounded by [`MAX_HEIGHT`](super::MAX_HEIGHT).
    pub(super) height: usize,
}

/// What an expression is.
#[derive(Debug, Clone, PartialEq)]
pub enum ExprKind {
    /// A constant.
    Literal(Literal),
    /// `a.b.c`: field, source, unit of time, or `System.Timestamp`.
    Path(Vec<Name>),
    /// A field of what a call gives: `System.Window().Id`.
    Member(Box<Expr>, Name),
    /// A call.
    Call(Call),
    /// `CAST` or, with `lenient`, `TRY_CAST`.
    Cast {
        /// What is converted.
        operand: Box<Expr>,
        /// To what.
        target: TypeName,
        /// Whether a failure gives NULL.
        lenient: bool,
    },
    /// A sign before an expression.
    Unary(UnaryOp, Box<Expr>),
    /// A sign between two expressions.
    Binary(BinaryOp, Box<Expr>, Box<Expr>),
    /// `AND` of two or more.
    And(Vec<Expr>),
    /// `OR` of two or more.
    Or(Vec<Expr>),
    /// `[NOT] BETWEEN low AND high`.
    Between(Box<Expr>, Box<Expr>, Box<Expr>, Negated),
    /// `[NOT] IN (…)`.
    In(Box<Expr>, Vec<Expr>, Negated),
    /// `[NOT] LIKE pattern [ESCAPE character]`.
    Like(Box<Expr>, Box<Expr>, Option<Box<Expr>>, Negated),
    /// `IS [NOT] NULL`.
    IsNull(Box<Expr>, Negated),
    /// `CASE`.
    Case {
        /// What is compared, in the simple form.
        operand: Option<Box<Expr>>,
        /// WHEN and THEN.
        arms: Vec<(Expr, Expr)>,
        /// ELSE.
        otherwise: Option<Box<Expr>>,
    },
}

/// Whether a test is turned around by NOT.
pub type Negated = bool;

/// A constant.
#[derive(Debug, Clone, PartialEq)]
pub enum Literal {
    /// `NULL`.
    Null,
    /// A whole number.
    Integer(i64),
    /// A number with a fraction.
    Float(f64),
    /// Text in single quotes.
    Text(String),
}

/// A sign before an expression, or NOT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnaryOp {
    /// `+`
    Plus,
    /// `-`
    Minus,
    /// `~`
    BitNot,
    /// `NOT`
    Not,
}

/// A sign between two expressions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum BinaryOp {
    Add,
    Subtract,
    Multiply,
    Divide,
    Modulo,
    BitAnd,
    BitOr,
    BitXor,
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// A call of a function, aggregate, window or analytic function.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// `COUNT`, or `udf.hex2Int` as two names.
    pub name: Vec<Name>,
    /// In parentheses.
    pub arguments: Vec<Argument>,
    /// `DISTINCT` before the first argument.
    pub distinct: Option<Span>,
    /// `OVER (…)`.
    pub over: Option<Over>,
    /// Of name and parentheses.
    pub span: Span,
}

/// One argument of a call.
#[derive(Debug, Clone, PartialEq)]
pub enum Argument {
    /// `*`.
    Star(Span),
    /// An expression.
    Expr(Expr),
}

/// `OVER (…)`: which rows a call looks at.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Over {
    /// `PARTITION BY keys`.
    pub partition: Vec<Expr>,
    /// `ORDER BY`; true is descending.
    pub order: Vec<(Expr, bool)>,
    /// `LIMIT DURATION(unit, length)`.
    pub limit: Option<Box<Call>>,
    /// `WHEN condition`.
    pub when: Option<Box<Expr>>,
    /// All of it.
    pub span: Span,
}
