//! Computes expressions over a row.

use super::row::{MISSING, Part, Row};
use crate::ops::{self, LikePattern};
use crate::plan::Expr;
use crate::syntax::tree::BinaryOp;
use crate::value::{DateTime, EvalError, Record, Value};
use std::borrow::Cow;
use std::sync::Arc;

/// What an expression can see.
#[derive(Debug, Clone, Copy)]
pub(crate) struct View<'a> {
    pub(crate) time: DateTime,
    /// The sources' parts, in order.
    pub(crate) parts: &'a [Part],
    /// The part of any source beyond those: the right side of a join, while it is compared or stands alone.
    pub(crate) right: Option<&'a Part>,
    /// What functions over former events gave for this row.
    pub(crate) former: &'a [Value],
    /// Keys and aggregates, behind GROUP BY.
    pub(crate) slots: &'a [Value],
    /// The id of the window, behind GROUP BY.
    pub(crate) window: Option<&'a Arc<str>>,
}

impl<'a> View<'a> {
    /// What expressions see of a row.
    pub(crate) fn of(row: &'a Row) -> Self {
        Self { time: row.time, parts: &row.parts, right: None, former: &[], slots: &[], window: None }
    }

    /// What expressions over one source see of its part, whatever the source's place is.
    pub(crate) fn alone(part: &'a Part) -> Self {
        Self { time: part.time, parts: &[], right: Some(part), former: &[], slots: &[], window: None }
    }

    fn part(&self, source: usize) -> &'a Part {
        self.parts.get(source).or(self.right).unwrap_or(&MISSING)
    }
}

static NULL: Value = Value::Null;

type Computed<'a> = Result<Cow<'a, Value>, EvalError>;

impl Expr {
    /// The value.
    pub(crate) fn value(&self, at: &View<'_>) -> Result<Value, EvalError> {
        self.eval(at).map(Cow::into_owned)
    }

    /// The truth of a condition; `None` is unknown.
    pub(crate) fn test(&self, at: &View<'_>) -> Result<Option<bool>, EvalError> {
        match self {
            Self::Compare(comparison, left, right) => {
                Ok(comparison.holds(&*left.eval(at)?, &*right.eval(at)?))
            }
            Self::And(terms) => every(terms, at),
            Self::Or(terms) => some(terms, at),
            Self::Not(operand) => Ok(ops::not3(operand.test(at)?)),
            Self::IsNull(operand, negated) => Ok(Some(operand.eval(at)?.is_null() != *negated)),
            Self::Between(operand, low, high, negated) => {
                let inside = ops::between(&*operand.eval(at)?, &*low.eval(at)?, &*high.eval(at)?);
                Ok(turned(inside, *negated))
            }
            Self::In(operand, list, negated) => {
                in_list(operand, list, at).map(|found| turned(found, *negated))
            }
            Self::Like(operand, pattern, negated) => Ok(turned(pattern.like(&*operand.eval(at)?), *negated)),
            Self::LikeDynamic(operand, pattern, escape, negated) => {
                let operand = operand.eval(at)?;
                let pattern = pattern.eval(at)?;
                let escape = escape.as_deref().map(|escape| escape.value(at)).transpose()?;
                Ok(turned(like(&operand, &pattern, escape)?, *negated))
            }
            _ => ops::truth(&*self.eval(at)?),
        }
    }

    pub(crate) fn eval<'a>(&'a self, at: &View<'a>) -> Computed<'a> {
        let owned = |value| Ok(Cow::Owned(value));
        match self {
            Self::Constant(value) => Ok(Cow::Borrowed(value)),
            Self::Path(source, fields) => Ok(Cow::Borrowed(walk(at.part(*source), fields))),
            Self::Former(place) => Ok(Cow::Borrowed(at.former.get(*place).unwrap_or(&NULL))),
            Self::FormerOf(source, place) => {
                let extra = at.part(*source).extra.as_ref();
                Ok(Cow::Borrowed(extra.and_then(|extra| extra.former.get(*place)).unwrap_or(&NULL)))
            }
            Self::Metadata(source, names) => {
                let metadata = at.part(*source).extra.as_ref().and_then(|extra| extra.metadata.as_deref());
                Ok(Cow::Borrowed(metadata.map_or(&NULL, |metadata| known_as(metadata, names))))
            }
            Self::TimeOf(source) => {
                let part = at.part(*source);
                owned(part.record.as_ref().map(|_| part.time).into())
            }
            Self::Slot(slot) => Ok(Cow::Borrowed(at.slots.get(*slot).unwrap_or(&NULL))),
            Self::Source(source) => owned(whole(at.part(*source))),
            Self::AnyPath(sources, fields) => {
                let has = |part: &&Part| {
                    part.record.as_ref().is_some_and(|record| record.get(&fields[0]).is_some())
                };
                let part = sources.iter().map(|source| at.part(*source)).find(has);
                Ok(Cow::Borrowed(part.map_or(&NULL, |part| walk(part, fields))))
            }
            Self::FieldOrSource(source, field) => match field_of(at.part(*source), field) {
                Some(value) => Ok(Cow::Borrowed(value)),
                None => owned(whole(at.part(*source))),
            },
            Self::FieldOr(source, field, otherwise) => match field_of(at.part(*source), field) {
                Some(value) => Ok(Cow::Borrowed(value)),
                None => otherwise.eval(at),
            },
            Self::Row(names) => owned(row(names, at)),
            Self::Field(base, field) => Ok(match base.eval(at)? {
                Cow::Borrowed(value) => Cow::Borrowed(value.field(field)),
                Cow::Owned(value) => Cow::Owned(value.field(field).clone()),
            }),
            Self::Time => owned(Value::DateTime(at.time)),
            Self::WindowId => owned(at.window.map_or(Value::Null, |id| Value::NVarchar(id.clone()))),
            Self::Cast { operand, to, lenient, text } => {
                let value = operand.eval(at)?;
                if value.data_type() == Some(*to) {
                    return Ok(value);
                }
                match value.cast(*to) {
                    Ok(value) => owned(value),
                    Err(_) if *lenient => owned(Value::Null),
                    Err(error) => Err(error.with_expression(text)),
                }
            }
            Self::Negate(operand) => ops::negate(&*operand.eval(at)?).map(Cow::Owned),
            Self::BitNot(operand) => ops::bit_not(&*operand.eval(at)?).map(Cow::Owned),
            Self::Operate(op, left, right) => {
                operate(*op, &*left.eval(at)?, &*right.eval(at)?).map(Cow::Owned)
            }
            Self::Case { operand, arms, otherwise } => {
                case(operand.as_deref(), arms, otherwise.as_deref(), at)
            }
            Self::Call(function, part, arguments) => {
                let arguments =
                    arguments.iter().map(|argument| argument.value(at)).collect::<Result<Vec<_>, _>>()?;
                function.call_with(*part, &arguments).map(Cow::Owned)
            }
            Self::UserCall(function, arguments) => {
                let arguments =
                    arguments.iter().map(|argument| argument.value(at)).collect::<Result<Vec<_>, _>>()?;
                function.call(&arguments).map(Cow::Owned)
            }
            Self::Compare(..)
            | Self::Not(_)
            | Self::And(_)
            | Self::Or(_)
            | Self::Between(..)
            | Self::In(..)
            | Self::Like(..)
            | Self::LikeDynamic(..)
            | Self::IsNull(..) => owned(self.test(at)?.into()),
        }
    }
}

fn every(terms: &[Expr], at: &View<'_>) -> Result<Option<bool>, EvalError> {
    let mut all = Some(true);
    for term in terms {
        all = ops::and3(all, term.test(at)?);
        if all == Some(false) {
            break;
        }
    }
    Ok(all)
}

fn some(terms: &[Expr], at: &View<'_>) -> Result<Option<bool>, EvalError> {
    let mut any = Some(false);
    for term in terms {
        any = ops::or3(any, term.test(at)?);
        if any == Some(true) {
            break;
        }
    }
    Ok(any)
}

fn in_list(operand: &Expr, list: &[Expr], at: &View<'_>) -> Result<Option<bool>, EvalError> {
    let value = operand.eval(at)?;
    let mut found = Some(false);
    for item in list {
        found = ops::or3(found, ops::equal(&value, &*item.eval(at)?));
        if found == Some(true) {
            break;
        }
    }
    Ok(found)
}

fn like(operand: &Value, pattern: &Value, escape: Option<Value>) -> Result<Option<bool>, EvalError> {
    let Value::NVarchar(pattern) = pattern else { return Ok(None) };
    let escape = match escape {
        None => None,
        Some(Value::NVarchar(text)) if text.chars().count() == 1 => text.chars().next(),
        Some(Value::Null) => return Ok(None),
        Some(_) => return Err(EvalError::Domain { function: "LIKE", problem: "ESCAPE takes one character" }),
    };
    let pattern = LikePattern::new(pattern, escape)
        .map_err(|_| EvalError::Domain { function: "LIKE", problem: "the pattern is too long" })?;
    Ok(pattern.like(operand))
}

fn turned(known: Option<bool>, negated: bool) -> Option<bool> {
    known.map(|known| known != negated)
}

fn operate(op: BinaryOp, left: &Value, right: &Value) -> Result<Value, EvalError> {
    match op {
        BinaryOp::Add => ops::add(left, right),
        BinaryOp::Subtract => ops::subtract(left, right),
        BinaryOp::Multiply => ops::multiply(left, right),
        BinaryOp::Divide => ops::divide(left, right),
        BinaryOp::Modulo => ops::modulo(left, right),
        BinaryOp::BitAnd => ops::bit_and(left, right),
        BinaryOp::BitOr => ops::bit_or(left, right),
        BinaryOp::BitXor => ops::bit_xor(left, right),
        // The planner makes comparisons of these.
        BinaryOp::Equal
        | BinaryOp::NotEqual
        | BinaryOp::Less
        | BinaryOp::LessOrEqual
        | BinaryOp::Greater
        | BinaryOp::GreaterOrEqual => Ok(Value::Null),
    }
}

fn case<'a>(
    operand: Option<&'a Expr>,
    arms: &'a [(Expr, Expr)],
    otherwise: Option<&'a Expr>,
    at: &View<'a>,
) -> Computed<'a> {
    let operand = operand.map(|operand| operand.eval(at)).transpose()?;
    for (when, then) in arms {
        let chosen = match &operand {
            Some(operand) => ops::equal(operand, &*when.eval(at)?),
            None => when.test(at)?,
        };
        if ops::is_true(chosen) {
            return then.eval(at);
        }
    }
    otherwise.map_or(Ok(Cow::Borrowed(&NULL)), |otherwise| otherwise.eval(at))
}

fn field_of<'a>(part: &'a Part, field: &str) -> Option<&'a Value> {
    part.record.as_ref().and_then(|record| record.get(field))
}

/// A field through records; NULL where one on the way is missing or no record.
fn walk<'a>(part: &'a Part, fields: &[Arc<str>]) -> &'a Value {
    let Some((first, rest)) = fields.split_first() else { return &NULL };
    let first = field_of(part, first).unwrap_or(&NULL);
    rest.iter().fold(first, |value, field| value.field(field))
}

/// A property through records, by names in any case.
fn known_as<'a>(metadata: &'a Record, names: &[Arc<str>]) -> &'a Value {
    let Some((first, rest)) = names.split_first() else { return &NULL };
    let same = |(name, _): &(&Arc<str>, &Value)| name.eq_ignore_ascii_case(first);
    let value = metadata.get(first).or_else(|| metadata.iter().find(same).map(|(_, value)| value));
    match (value, rest) {
        (Some(value), []) => value,
        (Some(Value::Record(record)), rest) => known_as(record, rest),
        _ => &NULL,
    }
}

fn whole(part: &Part) -> Value {
    part.record.as_ref().map_or(Value::Null, |record| Value::Record(record.clone()))
}

fn row(names: &[Option<Arc<str>>], at: &View<'_>) -> Value {
    if names == [None] {
        return whole(at.part(0));
    }
    let mut record = Record::default();
    for (source, name) in names.iter().enumerate() {
        let part = at.part(source);
        match (name, &part.record) {
            (Some(name), _) => record.set(name.clone(), whole(part)),
            (None, Some(fields)) => {
                fields.iter().for_each(|(name, value)| record.set(name.clone(), value.clone()))
            }
            (None, None) => {}
        }
    }
    Value::from(record)
}
