//! Functions over former rows: LAG, LAST, ISFIRST, aggregates with OVER (… LIMIT DURATION …).
//!
//! They are computed before anything else of their SELECT, over all rows of its sources (reference: "Analytic functions").
//! Where several sources are joined, a function whose columns are all of one looks at the rows of that source before they
//! are joined; one that names several looks at the joined rows.

use super::AggregateSpec;
use super::compile::{Compiled, Compiler, argument_span};
use super::expr::Expr;
use super::scope::SourceKind;
use crate::error::Problem;
use crate::functions::aggregates::AggregateKind;
use crate::syntax::Span;
use crate::syntax::tree::{Argument, Call, Over};
use crate::value::Value;

/// A function over former rows, with what it takes from each row.
#[derive(Debug)]
pub(crate) struct FormerSpec {
    pub(crate) kind: FormerKind,
    pub(crate) partition: Vec<Expr>,
    /// How far it looks back; of ISFIRST the interval. Ticks of 100 ns.
    pub(crate) length: i64,
    /// Which rows count.
    pub(crate) when: Option<Expr>,
    pub(crate) span: Span,
}

/// What is computed.
#[derive(Debug)]
pub(crate) enum FormerKind {
    /// The value at the row so many places before, `LAST` being 0.
    Lag { value: Expr, offset: usize, default: Option<Expr> },
    /// Whether the row is the first of its interval.
    First,
    /// An aggregate of the rows in reach.
    Aggregate(AggregateSpec),
    /// Whether a value is unusually great or small: its p-value is at most `alert`. `tails` says which of both counts.
    Spike { value: Expr, alert: f64, history: usize, tails: [bool; 2] },
    /// Whether values have become others: the martingale is at least `alert`.
    Change { value: Expr, alert: f64, history: usize },
}

/// The functions found in a SELECT. Equal ones are computed once.
#[derive(Debug, Default)]
pub(crate) struct Formers {
    /// Those over the rows of the SELECT.
    own: Vec<(String, FormerSpec)>,
    /// Those over the rows of one source.
    sides: Vec<Vec<(String, FormerSpec)>>,
    /// Whether they stand in ON, where the rows are not joined yet.
    pub(crate) in_condition: bool,
}

impl Formers {
    /// Takes out those over the rows of the SELECT.
    pub(crate) fn take_own(&mut self) -> Vec<FormerSpec> {
        self.own.drain(..).map(|(_, spec)| spec).collect()
    }

    /// Takes out those over the rows of a source.
    pub(crate) fn take_side(&mut self, source: usize) -> Vec<FormerSpec> {
        let side = self.sides.get_mut(source).map(std::mem::take).unwrap_or_default();
        side.into_iter().map(|(_, spec)| spec).collect()
    }
}

/// How many rows LAG may look back.
const MAX_OFFSET: i64 = 10_000;

/// How many rows a model may know.
const MAX_HISTORY: i64 = 10_000;

const SPIKE: &str = "AnomalyDetection_SpikeAndDip";
const CHANGE: &str = "AnomalyDetection_ChangePoint";
const NAMES: [&str; 5] = ["LAG", "LAST", "ISFIRST", SPIKE, CHANGE];

/// Whether it is a function that looks at former rows always.
pub(super) fn is_former(name: &str) -> bool {
    NAMES.iter().any(|known| known.eq_ignore_ascii_case(name))
}

impl Compiler<'_> {
    /// A call of one of them.
    pub(super) fn former(&mut self, call: &Call) -> Compiled {
        if let Some(distinct) = call.distinct {
            return Err(Problem::new(distinct, "DISTINCT belongs into COUNT only"));
        }
        let is = |name: &str| call.name[0].text.eq_ignore_ascii_case(name);
        let first = is("ISFIRST");
        self.former_with(call, |compiler| {
            let kind = match () {
                () if first => FormerKind::First,
                () if is(SPIKE) || is(CHANGE) => compiler.anomaly(call, is(SPIKE))?,
                () => compiler.lag(call)?,
            };
            let length = if first { compiler.interval(call)? } else { compiler.reach(call)? };
            Ok((kind, length))
        })
    }

    /// An aggregate over the rows before each row.
    pub(super) fn former_aggregate(&mut self, kind: AggregateKind, call: &Call) -> Compiled {
        if let Some(distinct) = call.distinct {
            return Err(Problem::new(distinct, "COUNT(DISTINCT …) takes no OVER; use it with GROUP BY"));
        }
        self.former_with(call, |compiler| {
            let spec = compiler.aggregate_of_rows(kind, call)?;
            Ok((FormerKind::Aggregate(spec), compiler.reach(call)?))
        })
    }

    fn former_with(
        &mut self,
        call: &Call,
        compile: impl FnOnce(&mut Self) -> Compiled<(FormerKind, i64)>,
    ) -> Compiled {
        let name = &call.name[0].text;
        let Some(formers) = self.formers.take() else {
            let message = format!(
                "{name} has no place here: it stands in SELECT, WHERE, GROUP BY or ON, and not in another such function"
            );
            return Err(Problem::new(call.span, message));
        };
        // What it takes is of rows, also behind GROUP BY; the functions taken away cannot nest.
        let (grouped, aliases) = (self.grouped.take(), std::mem::take(&mut self.aliases));
        let compiled = self.former_of_rows(call, compile);
        (self.grouped, self.aliases) = (grouped, aliases);
        let formers = self.formers.insert(formers);
        let spec = compiled?;
        let grouped = self.grouped.is_some();
        if grouped {
            let message = format!(
                "{name} is no value of a group; add it to GROUP BY, use it inside an aggregate, or in a step before"
            );
            return Err(Problem::new(call.span, message));
        }
        let sources = &self.scope.sources;
        let side = if sources.len() > 1 {
            spec.source().filter(|side| matches!(sources[*side].kind, SourceKind::Stream | SourceKind::Step))
        } else {
            None
        };
        let meaning = spec.meaning();
        match side {
            Some(source) => {
                let count = formers.sides.len().max(source + 1);
                formers.sides.resize_with(count, Vec::new);
                Ok(Expr::FormerOf(source, place(&mut formers.sides[source], meaning, spec)))
            }
            None if formers.in_condition => Err(Problem::new(
                call.span,
                format!(
                    "{name} in ON takes its columns from one of the joined streams; name it: alias.column"
                ),
            )),
            None => Ok(Expr::Former(place(&mut formers.own, meaning, spec))),
        }
    }

    fn former_of_rows(
        &mut self,
        call: &Call,
        compile: impl FnOnce(&mut Self) -> Compiled<(FormerKind, i64)>,
    ) -> Compiled<FormerSpec> {
        let (kind, length) = compile(self)?;
        let (mut partition, mut when, mut span) = (Vec::new(), None, call.span);
        if let Some(over) = &call.over {
            partition = over.partition.iter().map(|key| self.expr(key)).collect::<Compiled<_>>()?;
            when = over.when.as_deref().map(|when| self.expr(when)).transpose()?;
            span = span.to(over.span);
        }
        Ok(FormerSpec { kind, partition, length, when, span })
    }

    fn lag(&mut self, call: &Call) -> Compiled<FormerKind> {
        let name = &call.name[0].text;
        let last = name.eq_ignore_ascii_case("LAST");
        let (shape, most) =
            if last { ("(value [, default])", 2) } else { ("(value [, offset [, default]])", 3) };
        let (value, rest) = match call.arguments.split_first() {
            Some((value, rest)) if rest.len() < most => (value, rest),
            _ => return Err(Problem::new(call.span, format!("{name} is written {name}{shape}"))),
        };
        let value = match value {
            Argument::Star(_) => self.scope.row(),
            Argument::Expr(value) => self.expr(value)?,
        };
        let (offset, default) = match rest {
            default if last => (0, default.first()),
            [] => (1, None),
            [offset, default @ ..] => {
                let Argument::Expr(expr) = offset else {
                    return Err(Problem::new(argument_span(offset), "the offset of LAG is a number"));
                };
                let number = self.whole_number(expr, "the offset of LAG")?;
                if !(1..=MAX_OFFSET).contains(&number) {
                    return Err(Problem::new(expr.span, format!("the offset of LAG is 1 to {MAX_OFFSET}")));
                }
                (number as usize, default.first())
            }
        };
        let default = default.map(|default| self.argument(default)).transpose()?;
        Ok(FormerKind::Lag { value, offset, default })
    }

    /// `(value, confidence, history [, 'spikes' | 'dips' | 'spikesanddips'])`.
    fn anomaly(&mut self, call: &Call, spike: bool) -> Compiled<FormerKind> {
        let name = &call.name[0].text;
        let shape = if spike {
            "(value, confidence, history, 'spikesanddips')"
        } else {
            "(value, confidence, history)"
        };
        let wrong = |span, what: &str| Problem::new(span, format!("{what}; {name} is written {name}{shape}"));
        let (value, confidence, history, mode) = match call.arguments.as_slice() {
            [value, confidence, Argument::Expr(history), mode] if spike => {
                (value, confidence, history, Some(mode))
            }
            [value, confidence, Argument::Expr(history)] if !spike => (value, confidence, history, None),
            _ => return Err(wrong(call.span, "these are other arguments than it takes")),
        };
        let value = self.argument(value)?;
        let share = match self.argument(confidence)? {
            Expr::Constant(Value::BigInt(number)) => number as f64,
            Expr::Constant(Value::Float(number)) => number,
            _ => f64::NAN,
        };
        if !(1.0..=100.0).contains(&share) {
            return Err(wrong(argument_span(confidence), "the confidence is a constant from 1 to 100"));
        }
        let rows = self.whole_number(history, "the history")?;
        if !(2..=MAX_HISTORY).contains(&rows) {
            return Err(wrong(history.span, &format!("the history is 2 to {MAX_HISTORY} rows")));
        }
        let (history, doubt) = (rows as usize, 1.0 - share / 100.0);
        let Some(mode) = mode else {
            let alert = if doubt > 0.0 { 1.0 / doubt } else { f64::INFINITY };
            return Ok(FormerKind::Change { value, alert, history });
        };
        let tails = match self.argument(mode)?.constant() {
            Some(Value::NVarchar(mode)) => match mode.to_lowercase().as_str() {
                "spikes" => Some([true, false]),
                "dips" => Some([false, true]),
                "spikesanddips" => Some([true, true]),
                _ => None,
            },
            _ => None,
        };
        let Some(tails) = tails else {
            let problem = wrong(argument_span(mode), "this is not what it looks for");
            return Err(problem.expecting(&["'spikes'", "'dips'", "'spikesanddips'"]));
        };
        Ok(FormerKind::Spike { value, alert: doubt, history, tails })
    }

    /// The length in LIMIT DURATION, which there must be.
    fn reach(&mut self, call: &Call) -> Compiled<i64> {
        let name = &call.name[0].text;
        match &call.over {
            Some(Over { limit: Some(limit), .. }) => self.duration(limit),
            _ => Err(Problem::new(
                call.span,
                format!("{name} needs to know how far it looks back: OVER (LIMIT DURATION(unit, length))"),
            )),
        }
    }

    /// `ISFIRST(unit, length)`.
    fn interval(&mut self, call: &Call) -> Compiled<i64> {
        if let Some(Over { limit: Some(limit), .. }) = &call.over {
            return Err(Problem::new(
                limit.span,
                "ISFIRST looks at its own interval; leave LIMIT DURATION out",
            ));
        }
        self.duration(call)
    }
}

/// The place of a function in a list, new or that of an equal one.
fn place(list: &mut Vec<(String, FormerSpec)>, meaning: String, spec: FormerSpec) -> usize {
    let known = list.iter().position(|(known, _)| *known == meaning);
    known.unwrap_or_else(|| {
        list.push((meaning, spec));
        list.len() - 1
    })
}

impl FormerSpec {
    /// A text that is equal for equal meaning, whatever the place.
    fn meaning(&self) -> String {
        let kind = match &self.kind {
            FormerKind::Aggregate(spec) => format!("{:?} {:?}", spec.aggregate, spec.arguments),
            other => format!("{other:?}"),
        };
        format!("{kind} {:?} {} {:?}", self.partition, self.length, self.when)
    }

    /// The source whose columns it takes, if it is one only.
    fn source(&self) -> Option<usize> {
        let mut sources = Vec::new();
        let own: Vec<&Expr> = match &self.kind {
            FormerKind::Lag { value, default, .. } => std::iter::once(value).chain(default).collect(),
            FormerKind::First => Vec::new(),
            FormerKind::Spike { value, .. } | FormerKind::Change { value, .. } => vec![value],
            FormerKind::Aggregate(spec) => spec.arguments.iter().collect(),
        };
        own.into_iter().chain(&self.partition).chain(&self.when).for_each(|expr| expr.sources(&mut sources));
        let first = *sources.first()?;
        sources.iter().all(|source| *source == first).then_some(first)
    }
}
