//! Aggregates as state machines: values of a window's events go in one by one, one value comes out.
//!
//! A query's call is an [`Aggregate`], one group's state an [`Accumulator`]. States of disjoint sets of events
//! [merge](Accumulator::merge) into that of their union, which is how overlapping windows share work: nothing is ever taken
//! out again, so no float drifts. All skip `NULL` except `COUNT(*)`, `Collect`, `CollectTop` and `TopOne`.
//!
//! Not here: windows, `OVER`, `DISTINCT` as a word.

mod extreme;
mod numeric;
mod ordered;
#[cfg(test)]
mod tests;
mod user;

use crate::script::Function;
use crate::value::snapshot::{Reader, SnapshotError, Writer};
use crate::value::{EvalError, GroupKey, Value};
use extreme::Extreme;
use numeric::{Moments, Sum, SumOf};
use ordered::{Percentile, Top};
use std::collections::HashSet;
use std::sync::Arc;
use user::User;

/// An aggregate function of the language, without its arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AggregateKind {
    /// `COUNT`, `COUNT_BIG`.
    Count,
    /// `SUM`.
    Sum,
    /// `AVG`.
    Avg,
    /// `MIN`.
    Min,
    /// `MAX`.
    Max,
    /// `STDEV`.
    StDev,
    /// `STDEVP`.
    StDevP,
    /// `VAR`.
    Var,
    /// `VARP`.
    VarP,
    /// `PERCENTILE_CONT`.
    PercentileCont,
    /// `PERCENTILE_DISC`.
    PercentileDisc,
    /// `Collect`.
    Collect,
    /// `CollectTop`.
    CollectTop,
    /// `TopOne`.
    TopOne,
    /// `STRING_AGG`.
    StringAgg,
    /// One that the user wrote.
    User,
}

/// Every aggregate by its documented name.
pub const NAMES: [(&str, AggregateKind); 16] = [
    ("COUNT", AggregateKind::Count),
    ("COUNT_BIG", AggregateKind::Count),
    ("SUM", AggregateKind::Sum),
    ("AVG", AggregateKind::Avg),
    ("MIN", AggregateKind::Min),
    ("MAX", AggregateKind::Max),
    ("STDEV", AggregateKind::StDev),
    ("STDEVP", AggregateKind::StDevP),
    ("VAR", AggregateKind::Var),
    ("VARP", AggregateKind::VarP),
    ("PERCENTILE_CONT", AggregateKind::PercentileCont),
    ("PERCENTILE_DISC", AggregateKind::PercentileDisc),
    ("Collect", AggregateKind::Collect),
    ("CollectTop", AggregateKind::CollectTop),
    ("TopOne", AggregateKind::TopOne),
    ("STRING_AGG", AggregateKind::StringAgg),
];

/// The aggregate of a name, in any case.
pub fn lookup(name: &str) -> Option<AggregateKind> {
    NAMES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, kind)| *kind)
}

/// A call of an aggregate: the function and what is constant in it. What [`Accumulator::add`] wants for each event is said here.
#[derive(Debug, Clone, PartialEq)]
pub enum Aggregate {
    /// `COUNT(*)`, `COUNT()`, `COUNT(input)`: no argument.
    CountAll,
    /// `COUNT(e)`: the value.
    Count,
    /// `COUNT(DISTINCT e)`: the value; an event as a record.
    CountDistinct,
    /// `SUM(e)`: the value. Whole numbers stay `bigint`.
    Sum,
    /// `AVG(e)`: the value. Always a `float`.
    Avg,
    /// `MIN(e)`: the value. Texts count as `float` unless `text` says that the query casts them to `nvarchar(max)`.
    Min {
        /// Whether texts are compared as texts.
        text: bool,
    },
    /// `MAX(e)`: as `MIN`.
    Max {
        /// Whether texts are compared as texts.
        text: bool,
    },
    /// `STDEV(e)`: the value; the deviation of a sample, `NULL` for fewer than two values.
    StDev,
    /// `STDEVP(e)`: the value; the deviation of all there is.
    StDevP,
    /// `VAR(e)`: the value; the variance of a sample, `NULL` for fewer than two values.
    Var,
    /// `VARP(e)`: the value; the variance of all there is.
    VarP,
    /// `PERCENTILE_CONT(f) OVER (ORDER BY e)`: the value of `e`; a `float`, between two values where need be.
    PercentileCont {
        /// 0 to 1.
        fraction: f64,
        /// `DESC`.
        descending: bool,
    },
    /// `PERCENTILE_DISC(f) OVER (ORDER BY e)`: the value of `e`; one of them.
    PercentileDisc {
        /// 0 to 1.
        fraction: f64,
        /// `DESC`.
        descending: bool,
    },
    /// `Collect(e)`, `Collect()`: the value, or the event as a record. An array in the order of coming.
    Collect,
    /// `CollectTop(n, e) OVER (ORDER BY …)`: the value, or the event as a record, then the value of each order column.
    CollectTop {
        /// How many at most.
        count: usize,
        /// For each order column whether it is `DESC`.
        descending: Arc<[bool]>,
    },
    /// `TopOne(e) OVER (ORDER BY …)`: as `CollectTop` with one, but that value itself; of equal ones the first that came.
    TopOne {
        /// For each order column whether it is `DESC`.
        descending: Arc<[bool]>,
    },
    /// `STRING_AGG(e, separator)`: the value.
    StringAgg {
        /// What stands between.
        separator: Arc<str>,
    },
    /// `uda.name(e)`: the value, which may be an event as a record, then the event's time.
    User {
        /// The function.
        function: Arc<Function>,
        /// Whether states are to be [merged](Accumulator::merge), for which the events must be kept.
        merged: bool,
    },
}

/// The state of an aggregate for one group of one window, of which there can be millions: the common ones take up 24 bytes,
/// the others are in boxes.
#[derive(Debug, Clone)]
pub struct Accumulator {
    state: State,
}

#[derive(Debug, Clone)]
enum State {
    CountAll(i64),
    Count(i64),
    Distinct(Box<Distinct>),
    Sum(Sum),
    Extreme(Extreme),
    Moments(Box<(Spread, Moments)>),
    Percentile(Box<Percentile>),
    Collect(Box<Collected>),
    Top(Box<Top>),
    Joined(Box<Joined>),
    User(Box<User>),
}

#[derive(Debug, Clone, Default)]
struct Distinct {
    seen: HashSet<GroupKey>,
    weight: usize,
}

#[derive(Debug, Clone, Default)]
struct Collected {
    values: Vec<Value>,
    weight: usize,
}

#[derive(Debug, Clone)]
struct Joined {
    separator: Arc<str>,
    text: Option<String>,
}

/// Which of the four measures of spread.
#[derive(Debug, Clone, Copy)]
struct Spread {
    /// Of a sample: divided by one less.
    sample: bool,
    /// The deviation, not the variance.
    root: bool,
}

impl Accumulator {
    /// The state before any event.
    pub fn new(aggregate: &Aggregate) -> Self {
        let spread = |sample, root| State::Moments(Box::new((Spread { sample, root }, Moments::default())));
        let state = match aggregate {
            Aggregate::CountAll => State::CountAll(0),
            Aggregate::Count => State::Count(0),
            Aggregate::CountDistinct => State::Distinct(Box::default()),
            Aggregate::Sum => State::Sum(Sum::new(SumOf::Total)),
            Aggregate::Avg => State::Sum(Sum::new(SumOf::Mean)),
            Aggregate::Min { text } => State::Extreme(Extreme::new(false, *text)),
            Aggregate::Max { text } => State::Extreme(Extreme::new(true, *text)),
            Aggregate::StDev => spread(true, true),
            Aggregate::StDevP => spread(false, true),
            Aggregate::Var => spread(true, false),
            Aggregate::VarP => spread(false, false),
            Aggregate::PercentileCont { fraction, descending } => {
                State::Percentile(Box::new(Percentile::new(*fraction, *descending, true)))
            }
            Aggregate::PercentileDisc { fraction, descending } => {
                State::Percentile(Box::new(Percentile::new(*fraction, *descending, false)))
            }
            Aggregate::Collect => State::Collect(Box::default()),
            Aggregate::CollectTop { count, descending } => {
                State::Top(Box::new(Top::new(Some(*count), descending)))
            }
            Aggregate::TopOne { descending } => State::Top(Box::new(Top::new(None, descending))),
            Aggregate::StringAgg { separator } => {
                State::Joined(Box::new(Joined { separator: separator.clone(), text: None }))
            }
            Aggregate::User { function, merged } => State::User(Box::new(User::new(function, *merged))),
        };
        Self { state }
    }

    /// Takes in one event: the arguments that the [`Aggregate`] names, in that order; missing ones are `NULL`.
    ///
    /// # Errors
    /// [`EvalError::InvalidArgument`] for a type the function does not take.
    pub fn add(&mut self, args: &[Value]) -> Result<(), EvalError> {
        let value = args.first().unwrap_or(&Value::Null);
        match &mut self.state {
            State::CountAll(count) => *count = count.saturating_add(1),
            State::Collect(all) => {
                all.weight += value.weight();
                all.values.push(value.clone());
            }
            State::Top(top) => top.add(value, args.get(1..).unwrap_or_default())?,
            State::User(user) => user.add(value, args.get(1))?,
            _ if value.is_null() => {}
            State::Count(count) => *count = count.saturating_add(1),
            State::Distinct(all) => all.insert(&GroupKey(value.clone())),
            State::Sum(sum) => sum.add(value)?,
            State::Extreme(extreme) => extreme.add(value)?,
            State::Moments(of) => of.1.add(of.0.name(), value)?,
            State::Percentile(percentile) => percentile.add(value)?,
            State::Joined(joined) => joined.add(value)?,
        }
        Ok(())
    }

    /// Takes in all that another state of the same aggregate has; its events count as later ones.
    ///
    /// # Errors
    /// As [`add`](Self::add). A state of another aggregate is a mistake of the caller and changes nothing.
    pub fn merge(&mut self, other: &Self) -> Result<(), EvalError> {
        match (&mut self.state, &other.state) {
            (State::CountAll(a), State::CountAll(b)) | (State::Count(a), State::Count(b)) => {
                *a = a.saturating_add(*b);
            }
            (State::Distinct(a), State::Distinct(b)) => b.seen.iter().for_each(|key| a.insert(key)),
            (State::Sum(a), State::Sum(b)) => a.merge(b),
            (State::Extreme(a), State::Extreme(b)) => a.merge(b)?,
            (State::Moments(a), State::Moments(b)) => a.1.merge(&b.1),
            (State::Percentile(a), State::Percentile(b)) => a.merge(b),
            (State::Collect(a), State::Collect(b)) => {
                a.values.extend_from_slice(&b.values);
                a.weight += b.weight;
            }
            (State::Top(a), State::Top(b)) => a.merge(b),
            (State::Joined(a), State::Joined(b)) => {
                if let Some(text) = &b.text {
                    a.add(&Value::text(text))?;
                }
            }
            (State::User(a), State::User(b)) => a.merge(b),
            _ => debug_assert!(false, "states of different aggregates"),
        }
        Ok(())
    }

    /// The result for the events so far.
    ///
    /// # Errors
    /// [`EvalError::OutOfRange`] if its type cannot hold it.
    pub fn finish(&self) -> Result<Value, EvalError> {
        match &self.state {
            State::CountAll(count) | State::Count(count) => Ok(Value::BigInt(*count)),
            State::Distinct(all) => Ok(Value::BigInt(all.seen.len() as i64)),
            State::Sum(sum) => sum.finish(),
            State::Extreme(extreme) => Ok(extreme.value()),
            State::Moments(of) => Ok(of.1.spread(of.0.sample, of.0.root).into()),
            State::Percentile(percentile) => Ok(percentile.result()),
            State::Collect(all) => Ok(Value::Array(all.values.as_slice().into())),
            State::Top(top) => Ok(top.result()),
            State::Joined(joined) => Ok(joined.text.clone().into()),
            State::User(user) => user.result(),
        }
    }

    /// About how many bytes it holds beside its own.
    pub fn weight(&self) -> usize {
        match &self.state {
            State::Distinct(all) => size_of::<Distinct>() + all.weight,
            State::Collect(all) => size_of::<Collected>() + all.weight,
            State::Percentile(percentile) => percentile.weight(),
            State::Top(top) => top.weight(),
            State::Joined(joined) => size_of::<Joined>() + joined.text.as_ref().map_or(0, String::len),
            State::User(user) => user.weight(),
            State::Sum(sum) => sum.weight(),
            State::Extreme(extreme) => extreme.weight(),
            State::Moments(_) => size_of::<(Spread, Moments)>(),
            State::CountAll(_) | State::Count(_) => 0,
        }
    }

    /// Writes the state, which [`read`](Self::read) reads back for the same aggregate.
    pub fn write(&self, out: &mut Writer) {
        match &self.state {
            State::CountAll(count) | State::Count(count) => out.signed(*count),
            State::Distinct(all) => {
                out.size(all.seen.len());
                // In order, so that equal states give equal bytes.
                let mut keys: Vec<_> = all.seen.iter().collect();
                keys.sort_unstable();
                keys.iter().for_each(|key| out.value(&key.0));
            }
            State::Sum(sum) => sum.write(out),
            State::Extreme(extreme) => out.value(&extreme.value()),
            State::Moments(of) => of.1.write(out),
            State::Percentile(percentile) => percentile.write(out),
            State::Collect(all) => out.values(&all.values),
            State::Top(top) => top.write(out),
            State::Joined(joined) => out.value(&joined.text.clone().into()),
            State::User(user) => user.write(out),
        }
    }

    /// Reads what [`write`](Self::write) wrote.
    ///
    /// # Errors
    /// [`SnapshotError`] for any other bytes.
    pub fn read(aggregate: &Aggregate, from: &mut Reader<'_>) -> Result<Self, SnapshotError> {
        let mut accumulator = Self::new(aggregate);
        match &mut accumulator.state {
            State::CountAll(count) | State::Count(count) => *count = from.signed()?,
            State::Distinct(all) => {
                from.values()?.into_iter().map(GroupKey).for_each(|key| all.insert(&key));
            }
            State::Sum(sum) => *sum = Sum::read(sum.of(), from)?,
            State::Extreme(extreme) => extreme.restore(from.value()?)?,
            State::Moments(of) => of.1 = Moments::read(from)?,
            State::Percentile(percentile) => percentile.restore(from)?,
            State::Collect(all) => {
                all.values = from.values()?;
                all.weight = all.values.iter().map(Value::weight).sum();
            }
            State::Top(top) => top.restore(from)?,
            State::User(user) => user.restore(from)?,
            State::Joined(joined) => {
                joined.text = match from.value()? {
                    Value::NVarchar(joined) => Some((*joined).to_owned()),
                    Value::Null => None,
                    _ => return Err(SnapshotError::Damaged("a joined text")),
                }
            }
        }
        Ok(accumulator)
    }
}

impl Spread {
    fn name(self) -> &'static str {
        match (self.sample, self.root) {
            (true, true) => "STDEV",
            (false, true) => "STDEVP",
            (true, false) => "VAR",
            (false, false) => "VARP",
        }
    }
}

impl Distinct {
    fn insert(&mut self, key: &GroupKey) {
        if !self.seen.contains(key) {
            self.weight += key.0.weight();
            self.seen.insert(key.clone());
        }
    }
}

impl Joined {
    /// Appends one more part; the first comes without separator.
    fn add(&mut self, value: &Value) -> Result<(), EvalError> {
        let values = std::slice::from_ref(value);
        let part = super::arguments::Arguments { function: "STRING_AGG", values }.text(0)?;
        match &mut self.text {
            Some(text) => *text += &[&*self.separator, &part].concat(),
            None => self.text = Some(part.into_owned()),
        }
        Ok(())
    }
}
