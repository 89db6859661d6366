//! Decides whether rows fit a pattern: ways are tried in order, as far as the rows go.

use crate::engine::eval::View;
use crate::engine::row::Row;
use crate::ops;
use crate::plan::{Gathered, Instruction, Recognize, Taken};
use crate::value::{EvalError, Record, Value};
use std::cmp::Ordering;
use std::sync::Arc;

/// How a beginning turned out.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The variable of each row of the match.
    Match(Vec<Option<usize>>),
    /// The rows do not fit, whatever follows.
    No,
    /// What follows decides.
    Open,
}

/// So many steps one attempt may take: patterns whose ways multiply are stopped, not run for ever.
const MAX_STEPS: usize = 1_000_000;

/// Fits the pattern to rows; `closed` says that none will follow.
pub(super) fn attempt(plan: &Recognize, rows: &[&Row], closed: bool) -> Result<Outcome, EvalError> {
    let (mut at, mut taken) = (0, Vec::new());
    let mut others: Vec<(usize, usize)> = Vec::new();
    for _ in 0..MAX_STEPS {
        let goes_on = match plan.program[at] {
            Instruction::End => return Ok(Outcome::Match(taken)),
            Instruction::Jump(to) => {
                at = to;
                continue;
            }
            Instruction::Split(first, second) => {
                others.push((second, taken.len()));
                at = first;
                continue;
            }
            Instruction::Row(_) if taken.len() == rows.len() && !closed => return Ok(Outcome::Open),
            Instruction::Row(_) if taken.len() == rows.len() => false,
            Instruction::Row(variable) => {
                taken.push(variable);
                fits(plan, rows, &taken, variable)?
            }
        };
        if goes_on {
            at += 1;
        } else if let Some((other, length)) = others.pop() {
            at = other;
            taken.truncate(length);
        } else {
            return Ok(Outcome::No);
        }
    }
    Err(EvalError::Domain {
        function: "MATCH_RECOGNIZE",
        problem: "the pattern has too many ways to fit these rows; make it more definite or LIMIT DURATION shorter",
    })
}

/// Whether the last row taken is one of the variable.
fn fits(
    plan: &Recognize,
    rows: &[&Row],
    taken: &[Option<usize>],
    variable: Option<usize>,
) -> Result<bool, EvalError> {
    let condition = variable.and_then(|variable| plan.conditions[variable].as_ref());
    let Some(condition) = condition else { return Ok(true) };
    let slots = slots(plan, rows, taken);
    let row = rows[taken.len() - 1];
    condition.expr.test(&View { slots: &slots, ..View::of(row) }).map(ops::is_true)
}

/// The columns of a match.
pub(super) fn measures(
    plan: &Recognize,
    rows: &[&Row],
    taken: &[Option<usize>],
) -> Result<Arc<Record>, EvalError> {
    let slots = slots(plan, rows, taken);
    let view = View { slots: &slots, ..View::of(rows[taken.len() - 1]) };
    let mut record = Record::with_capacity(plan.measures.len());
    for (name, measure) in &plan.measures {
        record.set(name.clone(), measure.expr.value(&view)?);
    }
    Ok(Arc::new(record))
}

fn slots(plan: &Recognize, rows: &[&Row], taken: &[Option<usize>]) -> Vec<Value> {
    plan.gathered.iter().map(|wanted| gather(plan, wanted, rows, taken)).collect()
}

fn gather(plan: &Recognize, wanted: &Gathered, rows: &[&Row], taken: &[Option<usize>]) -> Value {
    if wanted.taken == Taken::Classifier {
        let name = |variable: &Option<usize>| match variable {
            Some(variable) => Value::NVarchar(plan.variables[*variable].clone()),
            None => Value::Null,
        };
        return taken.iter().map(name).collect::<Vec<_>>().into();
    }
    let of_variable =
        |(_, variable): &(&&Row, &Option<usize>)| wanted.variable.is_none() || **variable == wanted.variable;
    let mut values = rows.iter().zip(taken).filter(of_variable).map(|(row, _)| field(row, &wanted.field));
    let extreme = |values: &mut dyn Iterator<Item = Value>, wins: Ordering| {
        let known = values.filter(|value| !value.is_null());
        let better = |best: Value, value: Value| {
            if ops::compare(&value, &best) == Some(wins) { value } else { best }
        };
        known.reduce(better)
    };
    let found = match wanted.taken {
        Taken::First => values.next(),
        Taken::Last => values.next_back(),
        Taken::Min => extreme(&mut values, Ordering::Less),
        Taken::Max => extreme(&mut values, Ordering::Greater),
        Taken::Classifier => None,
    };
    found.unwrap_or(Value::Null)
}

fn field(row: &Row, names: &[Arc<str>]) -> Value {
    let Some((first, rest)) = names.split_first() else { return Value::Null };
    let record = row.parts.first().and_then(|part| part.record.as_ref());
    let value = record.and_then(|record| record.get(first));
    value.map_or(Value::Null, |value| rest.iter().fold(value, |value, name| value.field(name)).clone())
}
