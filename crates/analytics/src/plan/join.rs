//! JOIN: what ON says about time, which columns must be equal, and for how long rows are kept.

use super::DeclaredColumn;
use super::compile::Compiled;
use super::expr::{Expr, Located};
use super::window::MAX_WINDOW;
use crate::error::Problem;
use crate::ops::Comparison;
use crate::value::{DatePart, Value};
use std::sync::Arc;

/// A join of rows of a stream, the left side, with those of another, the right side, whose number is that of the left
/// parts.
#[derive(Debug)]
pub(crate) struct Join {
    /// Whether left rows without a match are kept.
    pub(crate) outer: bool,
    pub(crate) on: Located,
    /// How many parts a left row has.
    pub(crate) parts: usize,
    /// Expressions of the left and of the right side that must be equal.
    pub(crate) keys: Vec<(Expr, Expr)>,
    /// How far the right row may be from parts of the left one. At least one bounds below, at least one above.
    pub(crate) bounds: Vec<Bound>,
    /// A right row is of use until so many ticks behind its time.
    pub(crate) keep_right: i64,
}

/// `DATEDIFF(unit, left, right)` between two numbers: the right time less the left one is within these ticks, inclusive.
///
/// DATEDIFF counts borders of units, so that the ticks reach almost a unit further than the numbers on both sides; which
/// rows match is decided by the condition itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bound {
    /// Of which part of the left row.
    pub(crate) part: usize,
    pub(crate) low: Option<i64>,
    pub(crate) high: Option<i64>,
    /// The greater number in ticks: so long behind the left row its match could come at the latest.
    pub(crate) latest: Option<i64>,
}

/// A join with reference data.
#[derive(Debug)]
pub(crate) struct Lookup {
    /// Which input.
    pub(crate) input: usize,
    pub(crate) outer: bool,
    pub(crate) on: Located,
    /// As of [`Join`].
    pub(crate) keys: Vec<(Expr, Expr)>,
    pub(crate) columns: Option<Arc<[DeclaredColumn]>>,
}

/// A join on a condition. `lags` says for each left part how far the time of a row may be behind its own; the right one's
/// is added.
pub(super) fn plan(outer: bool, on: Located, lags: &mut Vec<i64>) -> Compiled<Join> {
    let parts = lags.len();
    let keys = keys(&on.expr, parts);
    let mut bounds = Vec::new();
    for term in terms(&on.expr) {
        if let Some((unit, range)) = bound(term, parts) {
            bounds.push(range.in_ticks(unit).ok_or_else(|| {
                Problem::new(on.span, "DATEDIFF in ON bounds a join to at most 7 days in either direction")
            })?);
        }
    }
    let low = bounds.iter().any(|bound| bound.low.is_some());
    let high = bounds.iter().any(|bound| bound.high.is_some());
    if !(low && high) {
        let what = if low || high { "on both sides" } else { "at all" };
        let message = format!(
            "ON does not bound {what} how far apart the rows may be; add DATEDIFF(minute, left, right) BETWEEN 0 AND 15, with the names of the two sources"
        );
        return Err(Problem::new(on.span, message));
    }
    let keep_right = bounds.iter().filter_map(|b| Some(lags[b.part] - b.low?)).min().unwrap_or(0);
    let reach = bounds.iter().filter_map(|b| b.high).min().unwrap_or(0);
    let behind = bounds.iter().filter_map(|b| Some(lags[b.part] - b.low?)).min().unwrap_or(0).max(0);
    for (part, lag) in lags.iter_mut().enumerate() {
        let own = bounds.iter().filter(|bound| bound.part == part).filter_map(|bound| bound.high).min();
        *lag = (*lag).max(own.unwrap_or(reach.saturating_add(*lag)));
    }
    lags.push(behind);
    Ok(Join { outer, on, parts, keys, bounds, keep_right })
}

/// Which expressions must be equal for the condition to hold: `left = right`, the right one of the last source only.
pub(super) fn keys(on: &Expr, right: usize) -> Vec<(Expr, Expr)> {
    let of = |expr: &Expr| {
        let mut sources = Vec::new();
        expr.sources(&mut sources);
        sources
    };
    let left_only = |sources: &[usize]| !sources.is_empty() && sources.iter().all(|at| *at < right);
    let right_only = |sources: &[usize]| !sources.is_empty() && sources.iter().all(|at| *at == right);
    terms(on)
        .into_iter()
        .filter_map(|term| {
            let Expr::Compare(Comparison::Equal, a, b) = term else { return None };
            let (in_a, in_b) = (of(a), of(b));
            if left_only(&in_a) && right_only(&in_b) {
                Some(((**a).clone(), (**b).clone()))
            } else if left_only(&in_b) && right_only(&in_a) {
                Some(((**b).clone(), (**a).clone()))
            } else {
                None
            }
        })
        .collect()
}

/// The terms all of which must hold.
fn terms(on: &Expr) -> Vec<&Expr> {
    match on {
        Expr::And(terms) => terms.iter().flat_map(terms_of).collect(),
        other => vec![other],
    }
}

fn terms_of(term: &Expr) -> Vec<&Expr> {
    terms(term)
}

/// Numbers between which DATEDIFF lies, as left to right.
#[derive(Debug, Clone, Copy)]
struct Range {
    part: usize,
    low: Option<i64>,
    high: Option<i64>,
}

impl Range {
    /// The bound in ticks; `None` if it is too far.
    fn in_ticks(self, unit: i64) -> Option<Bound> {
        let ticks = |number: Option<i64>| match number {
            None => Some(None),
            Some(number) => {
                let ticks = number.checked_mul(unit)?;
                (-MAX_WINDOW..=MAX_WINDOW).contains(&ticks).then_some(Some(ticks))
            }
        };
        let (low, high) = (ticks(self.low)?, ticks(self.high)?);
        Some(Bound {
            part: self.part,
            low: low.map(|low| low - unit + 1),
            high: high.map(|high| high + unit - 1),
            latest: high,
        })
    }
}

/// What a term says about the time of the right side, with the unit in ticks.
fn bound(term: &Expr, right: usize) -> Option<(i64, Range)> {
    match term {
        Expr::Between(difference, low, high, false) => {
            let (unit, part, turned) = difference_of(difference, right)?;
            Some((unit, range(part, turned, Some(number(low)?), Some(number(high)?))))
        }
        Expr::Compare(comparison, a, b) => {
            let (difference, bound, comparison) = match difference_of(a, right) {
                Some(difference) => (difference, number(b)?, *comparison),
                None => (difference_of(b, right)?, number(a)?, mirrored(*comparison)),
            };
            let (low, high) = match comparison {
                Comparison::Equal => (Some(bound), Some(bound)),
                Comparison::Less => (None, Some(bound.checked_sub(1)?)),
                Comparison::LessOrEqual => (None, Some(bound)),
                Comparison::Greater => (Some(bound.checked_add(1)?), None),
                Comparison::GreaterOrEqual => (Some(bound), None),
                Comparison::NotEqual => return None,
            };
            let (unit, part, turned) = difference;
            Some((unit, range(part, turned, low, high)))
        }
        _ => None,
    }
}

fn range(part: usize, turned: bool, low: Option<i64>, high: Option<i64>) -> Range {
    let minus = |number: Option<i64>| number.map(i64::saturating_neg);
    if turned { Range { part, low: minus(high), high: minus(low) } } else { Range { part, low, high } }
}

fn mirrored(comparison: Comparison) -> Comparison {
    match comparison {
        Comparison::Less => Comparison::Greater,
        Comparison::LessOrEqual => Comparison::GreaterOrEqual,
        Comparison::Greater => Comparison::Less,
        Comparison::GreaterOrEqual => Comparison::LessOrEqual,
        same => same,
    }
}

/// `DATEDIFF(unit, left, right)` of two sources, one of them the right side: ticks of the unit, the left part, and whether
/// the right side stands first.
fn difference_of(expr: &Expr, right: usize) -> Option<(i64, usize, bool)> {
    let Expr::Call(function, Some(part), arguments) = expr else { return None };
    if !function.name.starts_with("DATEDIFF") || *part == DatePart::Week {
        return None;
    }
    let [Expr::TimeOf(from), Expr::TimeOf(to)] = &**arguments else { return None };
    let unit = part.ticks()?;
    match (*from < right, *to < right) {
        (true, false) => Some((unit, *from, false)),
        (false, true) => Some((unit, *to, true)),
        _ => None,
    }
}

fn number(expr: &Expr) -> Option<i64> {
    match expr.constant()? {
        Value::BigInt(number) => Some(*number),
        _ => None,
    }
}
