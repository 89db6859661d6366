//! One SELECT at work: filter, groups and windows, HAVING, columns.

use super::eval::View;
use super::former::FormerState;
use super::row::Row;
use super::window::{Closed, Contribution, Key, States, Windows};
use crate::plan::{Column, Group, Located, Projection, Select};
use crate::syntax::Span;
use crate::value::snapshot::{Reader, SnapshotError, Writer};
use crate::value::{DateTime, EvalError, GroupKey, Record, Value};
use std::sync::Arc;

/// An expression that could not be computed, with its place in the query.
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) error: EvalError,
    pub(crate) span: Span,
    /// The time of the row.
    pub(crate) time: DateTime,
}

/// Open windows of a SELECT; nothing without GROUP BY.
#[derive(Debug)]
pub(crate) struct SelectState {
    former: FormerState,
    windows: Vec<Windows>,
    /// Results of windows that began before this are partial and stay inside.
    complete_from: DateTime,
    /// These are kept only to keep their memory.
    values: Vec<Value>,
    event: Contribution,
    closed: Vec<Closed>,
}

impl SelectState {
    /// Fresh state whose results count from a time on.
    pub(crate) fn new(select: &Select, complete_from: DateTime) -> Self {
        let windows = select.group.iter().flat_map(|group| &group.windows);
        Self {
            former: FormerState::new(&select.former),
            windows: windows.map(|window| Windows::new(&window.kind)).collect(),
            complete_from,
            values: Vec::new(),
            event: Contribution::default(),
            closed: Vec::new(),
        }
    }

    /// Takes in a row; rows that are due before it go out first.
    pub(crate) fn row(&mut self, select: &Select, row: &Row, out: &mut Vec<Row>) -> Result<(), Failed> {
        if select.former.is_empty() {
            return self.seen(select, row, &View::of(row), out);
        }
        // rule SQL-10: before the filter.
        let mut values = std::mem::take(&mut self.values);
        values.clear();
        let computed = self.former.compute(&select.former, &View::of(row), &mut values);
        let view = View { former: &values, ..View::of(row) };
        let result = computed.and_then(|()| self.seen(select, row, &view, out));
        self.values = values;
        result
    }

    fn seen(
        &mut self,
        select: &Select,
        row: &Row,
        view: &View<'_>,
        out: &mut Vec<Row>,
    ) -> Result<(), Failed> {
        let Some(group) = &select.group else {
            if passes(select.filter.as_ref(), view)? && passes(select.having.as_ref(), view)? {
                out.push(project(&select.projection, row, view)?);
            }
            return Ok(());
        };
        // The windows close first, so that a row that cannot be computed costs none of them.
        let closed = self.close(select, row.time, out);
        let added = self.add(select, group, view);
        closed.and(added)
    }

    fn add(&mut self, select: &Select, group: &Group, view: &View<'_>) -> Result<(), Failed> {
        if !passes(select.filter.as_ref(), view)? {
            return Ok(());
        }
        self.event.key.clear();
        for key in &group.keys {
            self.event.key.push(GroupKey(value(key, view)?));
        }
        self.event.arguments.clear();
        for spec in &group.aggregates {
            for argument in &spec.arguments {
                let value = argument.value(view).map_err(|error| failed(error, spec.span, view))?;
                self.event.arguments.push(value);
            }
        }
        for (window, spec) in self.windows.iter_mut().zip(&group.windows) {
            let added = window.add(&spec.kind, view, &self.event, &group.aggregates);
            added.map_err(|error| failed(error, aggregates_span(group), view))?;
        }
        Ok(())
    }

    /// Whether [`close`](Self::close) may have something to do.
    pub(crate) fn may_be_due(&self, watermark: DateTime) -> bool {
        !self.former.is_empty() || self.windows.iter().any(|window| window.is_due(watermark))
    }

    /// Gives the results of windows that end before the watermark. A result that cannot be computed does not keep back
    /// the others; the first such error is given.
    pub(crate) fn close(
        &mut self,
        select: &Select,
        watermark: DateTime,
        out: &mut Vec<Row>,
    ) -> Result<(), Failed> {
        if !self.may_be_due(watermark) {
            return Ok(());
        }
        self.former.forget(&select.former, watermark);
        let Some(group) = &select.group else { return Ok(()) };
        let mut first_error = None;
        let mut keep = |result: Result<(), Failed>| {
            if let Err(failed) = result {
                first_error.get_or_insert(failed);
            }
        };
        let mut closed = std::mem::take(&mut self.closed);
        // The windows of several definitions come in the order of their ends, those of one end in the order of definition.
        let mut order = Vec::new();
        for (number, window) in self.windows.iter_mut().enumerate() {
            let result = window.close(watermark, &group.aggregates, &mut closed);
            keep(result.map_err(|error| Failed { error, span: aggregates_span(group), time: watermark }));
            order.resize(closed.len(), number);
        }
        if self.windows.len() > 1 {
            let mut numbered: Vec<_> = order.drain(..).zip(closed.drain(..)).collect();
            numbered.sort_by_key(|(_, closed)| closed.end);
            (order, closed) = numbered.into_iter().unzip();
        }
        for (number, closed) in order.into_iter().zip(closed.drain(..)) {
            if closed.start >= self.complete_from {
                let id = group.windows[number].id.as_ref();
                results(select, closed, id, out, &mut keep);
            }
        }
        if closed.capacity() <= KEPT_WINDOWS {
            self.closed = closed;
        }
        first_error.map_or(Ok(()), Err)
    }

    pub(crate) fn weight(&self) -> usize {
        self.former.weight() + self.windows.iter().map(Windows::weight).sum::<usize>()
    }

    pub(crate) fn write(&self, out: &mut Writer) {
        out.time(self.complete_from);
        self.former.write(out);
        self.windows.iter().for_each(|window| window.write(out));
    }

    pub(crate) fn read(select: &Select, from: &mut Reader<'_>) -> Result<Self, SnapshotError> {
        let mut state = Self::new(select, from.time()?);
        state.former = FormerState::read(&select.former, from)?;
        if let Some(group) = &select.group {
            for (window, spec) in state.windows.iter_mut().zip(&group.windows) {
                *window = Windows::read(&spec.kind, from, &group.aggregates)?;
            }
        }
        Ok(state)
    }
}

/// A list with room for more closed windows gives its memory back.
const KEPT_WINDOWS: usize = 256;

/// The rows of a closed window.
fn results(
    select: &Select,
    closed: Closed,
    id: Option<&Arc<str>>,
    out: &mut Vec<Row>,
    keep: &mut impl FnMut(Result<(), Failed>),
) {
    let mut slots: Vec<Value> = Vec::new();
    let end = closed.end;
    for group in closed.groups.iter() {
        keep(result(select, group, &mut slots, end, id, out));
    }
}

fn result(
    select: &Select,
    (key, states): (&Key, &States),
    slots: &mut Vec<Value>,
    end: DateTime,
    id: Option<&Arc<str>>,
    out: &mut Vec<Row>,
) -> Result<(), Failed> {
    slots.clear();
    slots.extend(key.iter().map(|key| key.0.clone()));
    let specs = select.group.iter().flat_map(|group| &group.aggregates);
    for (state, spec) in states.iter().zip(specs) {
        slots.push(state.finish().map_err(|error| Failed { error, span: spec.span, time: end })?);
    }
    let view = View { time: end, parts: &[], right: None, former: &[], slots, window: id };
    if passes(select.having.as_ref(), &view)? {
        out.push(Row::single(end, columns(&select.projection, &view)?));
    }
    Ok(())
}

fn project(projection: &Projection, row: &Row, view: &View<'_>) -> Result<Row, Failed> {
    match projection {
        Projection::Whole => Ok(row.clone()),
        Projection::Columns(_) => Ok(Row::single(row.time, columns(projection, view)?)),
    }
}

fn columns(projection: &Projection, view: &View<'_>) -> Result<Arc<Record>, Failed> {
    let Projection::Columns(columns) = projection else { return Ok(Arc::default()) };
    let mut record = Record::with_capacity(columns.len());
    let named = |column: &Column| matches!(column, Column::Named(..));
    if columns.iter().all(named) {
        // Their names are distinct.
        for column in columns {
            if let Column::Named(name, located) = column {
                record.push(name.clone(), value(located, view)?);
            }
        }
        return Ok(Arc::new(record));
    }
    for column in columns {
        match column {
            Column::Named(name, located) => record.set(name.clone(), value(located, view)?),
            Column::Fields(located) => {
                if let Value::Record(fields) = value(located, view)? {
                    spread(&fields, &mut record);
                }
            }
        }
    }
    Ok(Arc::new(record))
}

/// Adds the fields of another record; what is there already wins.
fn spread(fields: &Record, record: &mut Record) {
    for (name, value) in fields.iter() {
        if record.get(name).is_none() {
            record.set(name.clone(), value.clone());
        }
    }
}

fn passes(condition: Option<&Located>, view: &View<'_>) -> Result<bool, Failed> {
    let Some(condition) = condition else { return Ok(true) };
    let known = condition.expr.test(view).map_err(|error| failed(error, condition.span, view))?;
    Ok(crate::ops::is_true(known))
}

fn value(located: &Located, view: &View<'_>) -> Result<Value, Failed> {
    located.expr.value(view).map_err(|error| failed(error, located.span, view))
}

fn failed(error: EvalError, span: Span, view: &View<'_>) -> Failed {
    Failed { error, span, time: view.time }
}

/// Where the aggregates of a SELECT stand, for errors that may be of any of them.
fn aggregates_span(group: &Group) -> Span {
    group.aggregates.iter().map(|spec| spec.span).reduce(Span::to).unwrap_or_default()
}
