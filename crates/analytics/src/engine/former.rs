//! Functions over former rows at work: per key, a short memory of what came before.

use super::anomaly::Model;
use super::eval::View;
use super::row::{Extra, Row};
use super::select::Failed;
use super::window::{Events, Key, key_weight, read_key, write_key};
use crate::plan::{Expr, FormerKind, FormerSpec};
use crate::value::snapshot::{Reader, SnapshotError, Writer};
use crate::value::{DateTime, EvalError, GroupKey, Record, Value};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// The memory of all such functions of a SELECT, or of one side of a join.
#[derive(Debug)]
pub(crate) struct FormerState {
    calls: Vec<Call>,
}

#[derive(Debug)]
struct Call {
    keys: HashMap<Key, History>,
    /// What is too old was last looked for at this time.
    swept: DateTime,
}

#[derive(Debug)]
enum History {
    /// The last values, as many as LAG looks back.
    Values(VecDeque<(DateTime, Value)>),
    /// The end of the interval that had its first row.
    Interval(DateTime),
    /// What the aggregate is over.
    Events(Events),
    /// What is usual.
    Model(Model),
}

impl FormerState {
    pub(crate) fn new(specs: &[FormerSpec]) -> Self {
        Self { calls: specs.iter().map(|_| Call { keys: HashMap::new(), swept: DateTime::MIN }).collect() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.calls.is_empty()
    }

    /// Takes in a row of one source; it goes to `out` with what the functions give.
    pub(crate) fn extend(
        &mut self,
        specs: &[FormerSpec],
        mut row: Row,
        out: &mut Vec<Row>,
    ) -> Result<(), Failed> {
        let mut values = Vec::with_capacity(specs.len());
        let part = &mut row.parts[0];
        // The time in the expressions is that of the row; its part may have another, where it comes from a join.
        let view = View { time: row.time, ..View::alone(part) };
        self.compute(specs, &view, &mut values)?;
        let metadata = part.extra.as_ref().and_then(|extra| extra.metadata.clone());
        part.extra = Some(Arc::new(Extra { former: values, metadata }));
        out.push(row);
        Ok(())
    }

    /// Takes in what is seen of a row and adds what the functions give for it.
    pub(crate) fn compute(
        &mut self,
        specs: &[FormerSpec],
        view: &View<'_>,
        values: &mut Vec<Value>,
    ) -> Result<(), Failed> {
        for (call, spec) in self.calls.iter_mut().zip(specs) {
            let value = call.take(spec, view);
            values.push(value.map_err(|error| Failed { error, span: spec.span, time: view.time })?);
        }
        Ok(())
    }

    /// Forgets what is too old for all rows from a time on.
    pub(crate) fn forget(&mut self, specs: &[FormerSpec], watermark: DateTime) {
        for (call, spec) in self.calls.iter_mut().zip(specs) {
            // As rarely as that, it costs each row a constant share.
            if watermark.0 >= call.swept.0.saturating_add(spec.length) {
                let oldest = watermark.0.saturating_sub(spec.length);
                call.keys.retain(|_, history| history.newest().0 > oldest);
                call.swept = watermark;
            }
        }
    }

    /// About how many bytes it holds.
    pub(crate) fn weight(&self) -> usize {
        let history = |(key, history): (&Key, &History)| KEY_WEIGHT + key_weight(key) + history.weight();
        self.calls.iter().flat_map(|call| &call.keys).map(history).sum()
    }

    pub(crate) fn write(&self, out: &mut Writer) {
        for call in &self.calls {
            // In order, so that equal states give equal bytes.
            let mut keys: Vec<_> = call.keys.iter().collect();
            keys.sort_unstable_by(|a, b| a.0.cmp(b.0));
            out.size(keys.len());
            for (key, history) in keys {
                write_key(key, out);
                history.write(out);
            }
        }
    }

    pub(crate) fn read(specs: &[FormerSpec], from: &mut Reader<'_>) -> Result<Self, SnapshotError> {
        let mut state = Self::new(specs);
        for (call, spec) in state.calls.iter_mut().zip(specs) {
            for _ in 0..from.size()? {
                let key = read_key(from)?;
                if call.keys.insert(key, History::read(spec, from)?).is_some() {
                    return Err(SnapshotError::Damaged("a key that comes twice"));
                }
            }
        }
        Ok(state)
    }
}

/// What a key costs beside its values.
const KEY_WEIGHT: usize = size_of::<(Key, History)>() + size_of::<usize>();

const SPIKE: &str = "AnomalyDetection_SpikeAndDip";
const CHANGE: &str = "AnomalyDetection_ChangePoint";

/// `{IsAnomaly, Score}`.
fn anomaly(is: bool, score: f64) -> Value {
    let fields = vec![("IsAnomaly".into(), Value::BigInt(is.into())), ("Score".into(), Value::Float(score))];
    Record::from_distinct(fields).into()
}

impl Call {
    fn take(&mut self, spec: &FormerSpec, view: &View<'_>) -> Result<Value, EvalError> {
        let key = spec.partition.iter().map(|key| key.value(view).map(GroupKey));
        let key = key.collect::<Result<Vec<_>, _>>()?;
        let counts = match &spec.when {
            Some(when) => crate::ops::is_true(when.test(view)?),
            None => true,
        };
        match &spec.kind {
            FormerKind::Lag { value, offset, default } => {
                let value = value.value(view)?;
                let found = self.former(&key, spec, view.time, *offset, counts, value);
                match (found, default) {
                    (Some(value), _) => Ok(value),
                    (None, Some(default)) => default.value(view),
                    (None, None) => Ok(Value::Null),
                }
            }
            FormerKind::First => {
                let first = counts && self.first(key, view.time, spec.length);
                Ok(Value::BigInt(first.into()))
            }
            FormerKind::Spike { value, alert, history, tails: [upper, lower] } => {
                let Some((model, number)) = self.model(key, spec, view, counts, SPIKE, value)? else {
                    return Ok(Value::Null);
                };
                let score = match (model.tails(view.time, number, *history), upper, lower) {
                    ([upper, _], true, false) => upper,
                    ([_, lower], false, _) => lower,
                    ([upper, lower], true, true) => (2.0 * upper.min(lower)).min(1.0),
                };
                Ok(anomaly(score <= *alert, score))
            }
            FormerKind::Change { value, alert, history } => {
                let Some((model, number)) = self.model(key, spec, view, counts, CHANGE, value)? else {
                    return Ok(Value::Null);
                };
                let score = model.martingale(view.time, number, *history, *alert);
                Ok(anomaly(score >= *alert, score))
            }
            FormerKind::Aggregate(aggregate) => {
                let arguments = aggregate.arguments.iter().map(|argument| argument.value(view));
                let arguments = arguments.collect::<Result<Vec<_>, _>>()?;
                let aggregates = std::slice::from_ref(aggregate);
                if !self.keys.contains_key(key.as_slice()) {
                    self.keys.insert(key.as_slice().into(), History::Events(Events::default()));
                }
                let Some(History::Events(events)) = self.keys.get_mut(key.as_slice()) else {
                    return Ok(Value::Null);
                };
                events.leave(view.time.0.saturating_sub(spec.length), aggregates)?;
                if counts {
                    events.push(view.time.0, &arguments, aggregates)?;
                }
                let states = events.states(aggregates)?;
                states.first().map_or(Ok(Value::Null), |state| state.finish())
            }
        }
    }

    /// The model of a key and the number it is to take in; `None` for a row that does not count or a value that is NULL.
    fn model(
        &mut self,
        key: Vec<GroupKey>,
        spec: &FormerSpec,
        view: &View<'_>,
        counts: bool,
        function: &'static str,
        value: &Expr,
    ) -> Result<Option<(&mut Model, f64)>, EvalError> {
        let value = value.value(view)?;
        let number = match &value {
            Value::Null => return Ok(None),
            _ if !counts => return Ok(None),
            Value::BigInt(_) | Value::Float(_) => value.to_float().unwrap_or_default(),
            other => {
                let allowed = &["bigint", "float"];
                return Err(EvalError::InvalidArgument {
                    function,
                    position: 1,
                    found: other.type_name(),
                    allowed,
                });
            }
        };
        let history = self.keys.entry(key.into()).or_insert_with(|| History::Model(Model::default()));
        let History::Model(model) = history else { return Ok(None) };
        model.forget(view.time.0.saturating_sub(spec.length));
        Ok(Some((model, number)))
    }

    /// The value so many candidates back, and keeps the row's own.
    fn former(
        &mut self,
        key: &[GroupKey],
        spec: &FormerSpec,
        now: DateTime,
        offset: usize,
        counts: bool,
        value: Value,
    ) -> Option<Value> {
        if !self.keys.contains_key(key) {
            if !counts {
                return None;
            }
            self.keys.insert(key.into(), History::Values(VecDeque::new()));
        }
        let Some(History::Values(values)) = self.keys.get_mut(key) else { return None };
        let keep = |values: &mut VecDeque<_>, value| {
            if values.len() == offset.max(1) {
                values.pop_front();
            }
            values.push_back((now, value));
        };
        if offset == 0 && counts {
            keep(values, value);
            return values.back().map(|(_, value)| value.clone());
        }
        let place = values.len().checked_sub(offset.max(1));
        let found = place.and_then(|place| values.get(place));
        let found = found.filter(|(time, _)| time.0 > now.0.saturating_sub(spec.length));
        let found = found.map(|(_, value)| value.clone());
        if counts {
            keep(values, value);
        }
        found
    }

    /// Whether this is the first row of its interval `(end - length, end]`.
    fn first(&mut self, key: Vec<GroupKey>, now: DateTime, length: i64) -> bool {
        let end = DateTime(now.0 + (-now.0).rem_euclid(length));
        match self.keys.get_mut(key.as_slice()) {
            Some(History::Interval(known)) if *known == end => false,
            Some(History::Interval(known)) => {
                *known = end;
                true
            }
            _ => {
                self.keys.insert(key.into(), History::Interval(end));
                true
            }
        }
    }
}

impl History {
    fn newest(&self) -> DateTime {
        match self {
            Self::Values(values) => values.back().map_or(DateTime::MIN, |(time, _)| *time),
            Self::Interval(end) => *end,
            Self::Events(events) => DateTime(events.newest()),
            Self::Model(model) => model.newest(),
        }
    }

    fn weight(&self) -> usize {
        match self {
            Self::Values(values) => {
                values.iter().map(|(_, value)| size_of::<DateTime>() + value.weight()).sum()
            }
            Self::Interval(_) => 0,
            Self::Events(events) => events.weight(),
            Self::Model(model) => model.weight(),
        }
    }

    fn write(&self, out: &mut Writer) {
        match self {
            Self::Values(values) => {
                out.size(values.len());
                for (time, value) in values {
                    out.time(*time);
                    out.value(value);
                }
            }
            Self::Interval(end) => out.time(*end),
            Self::Events(events) => events.write(out),
            Self::Model(model) => model.write(out),
        }
    }

    fn read(spec: &FormerSpec, from: &mut Reader<'_>) -> Result<Self, SnapshotError> {
        Ok(match &spec.kind {
            FormerKind::Lag { offset, .. } => {
                let mut values = VecDeque::new();
                for _ in 0..from.size()? {
                    values.push_back((from.time()?, from.value()?));
                }
                if values.len() > (*offset).max(1) {
                    return Err(SnapshotError::Damaged("more former values than are looked at"));
                }
                Self::Values(values)
            }
            FormerKind::First => Self::Interval(from.time()?),
            FormerKind::Spike { .. } | FormerKind::Change { .. } => Self::Model(Model::read(from)?),
            FormerKind::Aggregate(spec) => Self::Events(Events::read(from, std::slice::from_ref(spec))?),
        })
    }
}
