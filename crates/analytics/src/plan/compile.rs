//! From the tree of an expression to what is computed per row.

use super::aggregate::AggregateSpec;
use super::expr::{Expr, Located};
use super::former::Formers;
use super::recognize::Matching;
use super::scope::{Scope, is_system_timestamp, span_of};
use crate::error::Problem;
use crate::ops::{Comparison, LikePattern};
use crate::query::Options;
use crate::syntax::Span;
use crate::syntax::tree::{self, BinaryOp, ExprKind, Literal, Name, UnaryOp};
use crate::value::{DataType, Value};
use std::sync::Arc;

/// Compiles the expressions of one SELECT.
pub(crate) struct Compiler<'a> {
    pub(crate) text: &'a str,
    pub(crate) options: &'a Options,
    pub(crate) scope: &'a Scope,
    /// What is worth knowing but no error.
    pub(crate) notes: &'a mut Vec<Problem>,
    /// Present behind GROUP BY, where rows are groups.
    pub(crate) grouped: Option<Grouped>,
    /// Names of the SELECT list that HAVING may use.
    pub(crate) aliases: &'a [(Arc<str>, Expr)],
    /// Functions over former rows found so far; absent where they have no place.
    pub(crate) formers: Option<Formers>,
    /// Present in MATCH_RECOGNIZE, whose expressions look at the rows of a match.
    pub(crate) matching: Option<Matching>,
}

/// What expressions behind GROUP BY may refer to. Slots are the keys, then the aggregates.
#[derive(Debug, Default)]
pub(crate) struct Grouped {
    /// Keys by meaning; a `None` stands for a key that is no value of the row.
    pub(crate) keys: Vec<(String, Expr)>,
    /// Aggregates found so far, by meaning.
    pub(crate) aggregates: Vec<(String, AggregateSpec)>,
}

pub(crate) type Compiled<T = Expr> = Result<T, Problem>;

impl Compiler<'_> {
    /// An expression with its place.
    pub(crate) fn located(&mut self, expr: &tree::Expr) -> Compiled<Located> {
        Ok(Located { expr: self.expr(expr)?, span: expr.span })
    }

    /// A row expression even behind GROUP BY: keys and arguments of aggregates.
    pub(crate) fn of_row(&mut self, expr: &tree::Expr) -> Compiled {
        let grouped = self.grouped.take();
        let compiled = self.expr(expr);
        self.grouped = grouped;
        compiled
    }

    pub(crate) fn expr(&mut self, expr: &tree::Expr) -> Compiled {
        if let Some(slot) = self.key_slot(expr) {
            return Ok(slot);
        }
        match &expr.kind {
            ExprKind::Literal(literal) => Ok(Expr::Constant(constant(literal))),
            ExprKind::Path(path) => self.path(path),
            ExprKind::Member(base, name) => self.member(base, name),
            ExprKind::Call(call) => self.call(call),
            ExprKind::Cast { operand, target, lenient } => {
                let Some(to) = DataType::parse(&target.text) else { return Err(unknown_type(target)) };
                let text = self.text.get(operand.span.start..operand.span.end).unwrap_or_default().into();
                Ok(Expr::Cast { operand: self.boxed(operand)?, to, lenient: *lenient, text })
            }
            ExprKind::Unary(op, operand) => self.unary(*op, operand),
            ExprKind::Binary(op, left, right) => self.binary(*op, left, right),
            ExprKind::And(terms) => Ok(Expr::And(self.all(terms)?)),
            ExprKind::Or(terms) => Ok(Expr::Or(self.all(terms)?)),
            ExprKind::Between(operand, low, high, negated) => {
                Ok(Expr::Between(self.boxed(operand)?, self.boxed(low)?, self.boxed(high)?, *negated))
            }
            ExprKind::In(operand, list, negated) => {
                Ok(Expr::In(self.boxed(operand)?, self.all(list)?, *negated))
            }
            ExprKind::Like(operand, pattern, escape, negated) => {
                self.like(operand, pattern, escape.as_deref(), *negated)
            }
            ExprKind::IsNull(operand, negated) => Ok(Expr::IsNull(self.boxed(operand)?, *negated)),
            ExprKind::Case { operand, arms, otherwise } => {
                self.case(operand.as_deref(), arms, otherwise.as_deref())
            }
        }
    }

    pub(crate) fn boxed(&mut self, expr: &tree::Expr) -> Compiled<Box<Expr>> {
        self.expr(expr).map(Box::new)
    }

    pub(crate) fn all(&mut self, exprs: &[tree::Expr]) -> Compiled<Box<[Expr]>> {
        exprs.iter().map(|expr| self.expr(expr)).collect()
    }

    /// Behind GROUP BY: the slot of a key that means the same as this expression.
    fn key_slot(&mut self, expr: &tree::Expr) -> Option<Expr> {
        if self.grouped.as_ref()?.keys.is_empty() || matches!(expr.kind, ExprKind::Literal(_)) {
            return None;
        }
        let noted = self.notes.len();
        let meaning = self.of_row(expr).ok().map(|compiled| compiled.canonical());
        self.notes.truncate(noted);
        let keys = &self.grouped.as_ref()?.keys;
        let slot = keys
            .iter()
            .position(|(key, expr)| Some(key) == meaning.as_ref() && !matches!(expr, Expr::Time))?;
        Some(Expr::Slot(slot))
    }

    fn path(&mut self, path: &[Name]) -> Compiled {
        if is_system_timestamp(path) {
            return Ok(Expr::Time);
        }
        if let Some(matched) = self.matched_path(path) {
            return matched;
        }
        let alias = match path {
            [name] => self.aliases.iter().find(|(alias, _)| *alias == self.scope.field(&name.text)),
            _ => None,
        };
        if self.grouped.is_none() {
            let column = self.scope.resolve(path, self.notes);
            return Ok(match (alias, &column) {
                (Some((name, meaning)), Expr::Path(source, _))
                    if meaning.canonical() != column.canonical() =>
                {
                    Expr::FieldOr(*source, name.clone(), Box::new(meaning.clone()))
                }
                _ => column,
            });
        }
        // A field of a key that is a record.
        for cut in (1..path.len()).rev() {
            let meaning = self.scope.resolve(&path[..cut], &mut Vec::new()).canonical();
            let keys = self.grouped.iter().flat_map(|grouped| &grouped.keys);
            if let Some(slot) = keys.into_iter().position(|(key, _)| *key == meaning) {
                let fields = path[cut..].iter().map(|name| self.scope.field(&name.text));
                return Ok(fields.fold(Expr::Slot(slot), |base, field| Expr::Field(Box::new(base), field)));
            }
        }
        if let Some((_, meaning)) = alias {
            return Ok(meaning.clone());
        }
        let name = path.iter().map(|name| &*name.text).collect::<Vec<_>>().join(".");
        let message = format!(
            "{name} is neither a key of GROUP BY nor inside an aggregate; add it to GROUP BY, or use MAX({name})"
        );
        Err(Problem::new(span_of(path), message))
    }

    fn member(&mut self, base: &tree::Expr, name: &Name) -> Compiled {
        if let ExprKind::Call(call) = &base.kind
            && super::scope::is_system(&call.name, "window")
        {
            if !name.text.eq_ignore_ascii_case("id") {
                return Err(Problem::new(name.span, "System.Window() has only Id").expecting(&["Id"]));
            }
            if self.grouped.is_none() {
                return Err(Problem::new(base.span, "System.Window() needs GROUP BY with a window"));
            }
            return Ok(Expr::WindowId);
        }
        Ok(Expr::Field(self.boxed(base)?, self.scope.field(&name.text)))
    }

    fn unary(&mut self, op: UnaryOp, operand: &tree::Expr) -> Compiled {
        let operand = self.boxed(operand)?;
        Ok(match op {
            UnaryOp::Plus => *operand,
            UnaryOp::Minus => match *operand {
                Expr::Constant(Value::BigInt(number)) => Expr::Constant(Value::BigInt(-number)),
                Expr::Constant(Value::Float(number)) => Expr::Constant(Value::Float(-number)),
                other => Expr::Negate(Box::new(other)),
            },
            UnaryOp::BitNot => Expr::BitNot(operand),
            UnaryOp::Not => Expr::Not(operand),
        })
    }

    fn binary(&mut self, op: BinaryOp, left: &tree::Expr, right: &tree::Expr) -> Compiled {
        let (left, right) = (self.boxed(left)?, self.boxed(right)?);
        let comparison = match op {
            BinaryOp::Equal => Comparison::Equal,
            BinaryOp::NotEqual => Comparison::NotEqual,
            BinaryOp::Less => Comparison::Less,
            BinaryOp::LessOrEqual => Comparison::LessOrEqual,
            BinaryOp::Greater => Comparison::Greater,
            BinaryOp::GreaterOrEqual => Comparison::GreaterOrEqual,
            _ => return Ok(Expr::Operate(op, left, right)),
        };
        Ok(Expr::Compare(comparison, left, right))
    }

    fn like(
        &mut self,
        operand: &tree::Expr,
        pattern: &tree::Expr,
        escape: Option<&tree::Expr>,
        negated: bool,
    ) -> Compiled {
        let operand = self.boxed(operand)?;
        let escape_expr = escape.map(|escape| self.boxed(escape)).transpose()?;
        let escape_char = match escape_expr.as_deref().map(Expr::constant) {
            None => Some(None),
            Some(Some(Value::NVarchar(text))) if text.chars().count() == 1 => Some(text.chars().next()),
            Some(Some(_)) => {
                let place = escape.map_or(pattern.span, |escape| escape.span);
                return Err(Problem::new(place, "ESCAPE takes one character, as in ESCAPE '!'"));
            }
            Some(None) => None,
        };
        let compiled = self.boxed(pattern)?;
        if let (Some(Value::NVarchar(text)), Some(escape)) = (compiled.constant(), escape_char) {
            let like = LikePattern::new(text, escape)
                .map_err(|error| Problem::new(pattern.span, error.to_string()))?;
            return Ok(Expr::Like(operand, Arc::new(like), negated));
        }
        Ok(Expr::LikeDynamic(operand, compiled, escape_expr, negated))
    }

    fn case(
        &mut self,
        operand: Option<&tree::Expr>,
        arms: &[(tree::Expr, tree::Expr)],
        otherwise: Option<&tree::Expr>,
    ) -> Compiled {
        let operand = operand.map(|operand| self.boxed(operand)).transpose()?;
        let arms = arms
            .iter()
            .map(|(when, then)| Ok((self.expr(when)?, self.expr(then)?)))
            .collect::<Compiled<_>>()?;
        let otherwise = otherwise.map(|otherwise| self.boxed(otherwise)).transpose()?;
        Ok(Expr::Case { operand, arms, otherwise })
    }

    /// A whole number that is the same for every row.
    pub(crate) fn whole_number(&mut self, expr: &tree::Expr, what: &str) -> Compiled<i64> {
        match self.of_row(expr)? {
            Expr::Constant(Value::BigInt(number)) => Ok(number),
            _ => Err(Problem::new(expr.span, format!("{what} must be a constant whole number"))),
        }
    }
}

fn constant(literal: &Literal) -> Value {
    match literal {
        Literal::Null => Value::Null,
        Literal::Integer(number) => Value::BigInt(*number),
        Literal::Float(number) => Value::Float(*number),
        Literal::Text(text) => Value::text(text),
    }
}

pub(crate) fn unknown_type(name: &tree::TypeName) -> Problem {
    let known = ["bigint", "float", "nvarchar(max)", "datetime", "bit", "record", "array"];
    let hint = crate::near::nearest(&name.text, known);
    Problem::new(name.span, format!("there is no type {}", name.text)).expecting(&known).hinting(hint)
}

/// The place of an argument.
pub(crate) fn argument_span(argument: &tree::Argument) -> Span {
    match argument {
        tree::Argument::Star(span) => *span,
        tree::Argument::Expr(expr) => expr.span,
    }
}
