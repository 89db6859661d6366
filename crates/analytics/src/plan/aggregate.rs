//! Calls of aggregates behind GROUP BY.

use super::compile::{Compiled, Compiler, argument_span};
use super::expr::Expr;
use crate::error::Problem;
use crate::functions::aggregates::{Aggregate, AggregateKind};
use crate::syntax::Span;
use crate::syntax::tree::{Argument, Call};
use crate::value::{DataType, Value};

/// An aggregate and what it takes from each row.
#[derive(Debug)]
pub(crate) struct AggregateSpec {
    pub(crate) aggregate: Aggregate,
    pub(crate) arguments: Vec<Expr>,
    pub(crate) span: Span,
}

/// How many rows CollectTop may be asked for.
const MAX_TOP: i64 = 10_000;

impl Compiler<'_> {
    /// The slot of an aggregate's result.
    pub(crate) fn aggregate(&mut self, kind: AggregateKind, call: &Call) -> Compiled {
        let name = &call.name[0].text;
        let Some(grouped) = self.grouped.take() else {
            let cure = "use it in SELECT or HAVING of a query whose GROUP BY has a window";
            return Err(Problem::new(call.span, format!("the aggregate {name} has no place here; {cure}")));
        };
        // Its arguments are those of rows, and aggregates in them are refused by the same token.
        let spec = self.aggregate_of_rows(kind, call);
        let grouped = self.grouped.insert(grouped);
        let spec = spec?;
        let meaning = format!("{:?} {:?}", spec.aggregate, spec.arguments);
        let known = grouped.aggregates.iter().position(|(known, _)| *known == meaning);
        let position = known.unwrap_or_else(|| {
            grouped.aggregates.push((meaning, spec));
            grouped.aggregates.len() - 1
        });
        Ok(Expr::Slot(grouped.keys.len() + position))
    }

    /// An aggregate whose arguments are those of rows.
    pub(crate) fn aggregate_of_rows(&mut self, kind: AggregateKind, call: &Call) -> Compiled<AggregateSpec> {
        let span = call.span;
        if let Some(distinct) = call.distinct
            && kind != AggregateKind::Count
        {
            return Err(Problem::new(distinct, "DISTINCT belongs into COUNT only"));
        }
        let order = self.order(kind, call)?;
        let (aggregate, mut arguments) = match kind {
            AggregateKind::Count => self.count(call)?,
            AggregateKind::Sum => (Aggregate::Sum, vec![self.only(call)?]),
            AggregateKind::Avg => (Aggregate::Avg, vec![self.only(call)?]),
            AggregateKind::StDev => (Aggregate::StDev, vec![self.only(call)?]),
            AggregateKind::StDevP => (Aggregate::StDevP, vec![self.only(call)?]),
            AggregateKind::Var => (Aggregate::Var, vec![self.only(call)?]),
            AggregateKind::VarP => (Aggregate::VarP, vec![self.only(call)?]),
            AggregateKind::Min | AggregateKind::Max => {
                let argument = self.only(call)?;
                let text = matches!(argument, Expr::Cast { to: DataType::NVarchar, .. });
                let min = kind == AggregateKind::Min;
                (if min { Aggregate::Min { text } } else { Aggregate::Max { text } }, vec![argument])
            }
            AggregateKind::PercentileCont | AggregateKind::PercentileDisc => {
                (self.percentile(kind, call)?, Vec::new())
            }
            AggregateKind::Collect => (Aggregate::Collect, vec![self.value_or_row(call, &call.arguments)?]),
            AggregateKind::CollectTop => {
                let Some((count, rest)) = call.arguments.split_first() else {
                    return Err(Problem::new(
                        span,
                        "CollectTop takes how many rows to collect: CollectTop(3) OVER (ORDER BY …)",
                    ));
                };
                let count = self.constant_number(count, "how many rows CollectTop collects")?;
                if !(1..=MAX_TOP).contains(&count) {
                    return Err(Problem::new(span, format!("CollectTop collects 1 to {MAX_TOP} rows")));
                }
                let descending = order.iter().map(|(_, descending)| *descending).collect();
                (
                    Aggregate::CollectTop { count: count as usize, descending },
                    vec![self.value_or_row(call, rest)?],
                )
            }
            AggregateKind::TopOne => {
                let descending = order.iter().map(|(_, descending)| *descending).collect();
                (Aggregate::TopOne { descending }, vec![self.value_or_row(call, &call.arguments)?])
            }
            AggregateKind::StringAgg => self.string_agg(call)?,
            AggregateKind::User => self.user_aggregate(call)?,
        };
        arguments.extend(order.into_iter().map(|(key, _)| key));
        Ok(AggregateSpec { aggregate, arguments, span })
    }

    fn count(&mut self, call: &Call) -> Compiled<(Aggregate, Vec<Expr>)> {
        match call.arguments.as_slice() {
            [] | [Argument::Star(_)] if call.distinct.is_none() => Ok((Aggregate::CountAll, Vec::new())),
            [Argument::Star(_)] => Ok((Aggregate::CountDistinct, vec![self.scope.row()])),
            _ => {
                let argument = self.only(call)?;
                let aggregate =
                    if call.distinct.is_some() { Aggregate::CountDistinct } else { Aggregate::Count };
                Ok((aggregate, vec![argument]))
            }
        }
    }

    fn percentile(&mut self, kind: AggregateKind, call: &Call) -> Compiled<Aggregate> {
        let message =
            "a percentile takes a constant fraction from 0 to 1: PERCENTILE_CONT(0.95) OVER (ORDER BY …)";
        let fraction = match self.only(call)? {
            Expr::Constant(Value::Float(fraction)) => fraction,
            Expr::Constant(Value::BigInt(fraction)) => fraction as f64,
            _ => return Err(Problem::new(call.span, message)),
        };
        let order = call.over.as_ref().map(|over| over.order.as_slice()).unwrap_or_default();
        let ([(_, descending)], true) = (order, (0.0..=1.0).contains(&fraction)) else {
            return Err(Problem::new(call.span, message));
        };
        let descending = *descending;
        Ok(if kind == AggregateKind::PercentileCont {
            Aggregate::PercentileCont { fraction, descending }
        } else {
            Aggregate::PercentileDisc { fraction, descending }
        })
    }

    fn string_agg(&mut self, call: &Call) -> Compiled<(Aggregate, Vec<Expr>)> {
        let [value, separator] = call.arguments.as_slice() else {
            return Err(Problem::new(
                call.span,
                "STRING_AGG takes a value and a separator: STRING_AGG(name, ', ')",
            ));
        };
        let value = self.argument(value)?;
        match self.argument(separator)? {
            Expr::Constant(Value::NVarchar(separator)) => {
                Ok((Aggregate::StringAgg { separator }, vec![value]))
            }
            _ => {
                Err(Problem::new(argument_span(separator), "the separator of STRING_AGG is a constant text"))
            }
        }
    }

    /// The order columns, for those aggregates that have them.
    fn order(&mut self, kind: AggregateKind, call: &Call) -> Compiled<Vec<(Expr, bool)>> {
        use AggregateKind::{CollectTop, PercentileCont, PercentileDisc, TopOne};
        let ordered = matches!(kind, CollectTop | PercentileCont | PercentileDisc | TopOne);
        let name = &call.name[0].text;
        match &call.over {
            None if ordered => {
                Err(Problem::new(call.span, format!("{name} needs an order: OVER (ORDER BY …)")))
            }
            Some(over)
                if ordered
                    && (over.order.is_empty()
                        || over.limit.is_none() && (!over.partition.is_empty() || over.when.is_some())) =>
            {
                Err(Problem::new(over.span, format!("{name} takes OVER (ORDER BY …) and nothing else")))
            }
            Some(over) if !ordered && over.limit.is_some() && over.order.is_empty() => Ok(Vec::new()),
            Some(over) if !ordered => {
                let cure = "add LIMIT DURATION(unit, length), or leave OVER out";
                Err(Problem::new(over.span, format!("{name} OVER (…) looks at no window; {cure}")))
            }
            Some(over) => {
                over.order.iter().map(|(key, descending)| Ok((self.expr(key)?, *descending))).collect()
            }
            None => Ok(Vec::new()),
        }
    }

    /// The one argument that there must be.
    fn only(&mut self, call: &Call) -> Compiled {
        match call.arguments.as_slice() {
            [argument] => self.argument(argument),
            arguments => {
                let message = format!("{} takes one argument, not {}", call.name[0].text, arguments.len());
                Err(Problem::new(call.span, message))
            }
        }
    }

    /// An optional argument; without it the whole row.
    fn value_or_row(&mut self, call: &Call, arguments: &[Argument]) -> Compiled {
        match arguments {
            [] | [Argument::Star(_)] => Ok(self.scope.row()),
            [argument] => self.argument(argument),
            _ => Err(Problem::new(call.span, format!("{} has too many arguments", call.name[0].text))),
        }
    }

    fn constant_number(&mut self, argument: &Argument, what: &str) -> Compiled<i64> {
        match argument {
            Argument::Expr(expr) => self.whole_number(expr, what),
            Argument::Star(span) => {
                Err(Problem::new(*span, format!("{what} must be a constant whole number")))
            }
        }
    }
}
