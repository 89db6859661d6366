//! Joins with reference data: tables that come from outside, each valid from a time on.

use super::eval::View;
use super::join::{key_of, settled};
use super::policy::{DataErrorKind, DataErrors};
use super::reader::typed;
use super::row::{Part, Row};
use super::select::Failed;
use super::window::Key;
use crate::plan::{Expr, Lookup};
use crate::value::{DateTime, Record};
use std::collections::HashMap;
use std::sync::Arc;

/// The tables of one join, by the time from which each is valid.
#[derive(Debug, Default)]
pub(crate) struct Versions {
    versions: Vec<(DateTime, Table)>,
}

#[derive(Debug, Default)]
struct Table {
    rows: Vec<Part>,
    /// Rows by what must be equal; empty where nothing must be.
    index: HashMap<Key, Vec<usize>>,
}

impl Versions {
    /// Takes in a table; one of the same time is replaced.
    pub(crate) fn load(
        &mut self,
        lookup: &Lookup,
        from: DateTime,
        rows: &[Arc<Record>],
        input: &Arc<str>,
        errors: &mut DataErrors,
    ) {
        let mut table = Table::default();
        for row in rows {
            let row = match lookup.columns.as_deref().map_or_else(|| Ok(row.clone()), |all| typed(all, row)) {
                Ok(row) => row,
                Err((kind, message)) => {
                    errors.add(kind, input, from, || message);
                    continue;
                }
            };
            let part = Part::new(from, row);
            if !lookup.keys.is_empty() {
                let keys = lookup.keys.iter().map(|(_, right)| right);
                match key_of(keys, &View::alone(&part)) {
                    Ok(Some(key)) => table.index.entry(key.into()).or_default().push(table.rows.len()),
                    // NULL is equal to nothing.
                    Ok(None) => continue,
                    Err(error) => {
                        errors.add(DataErrorKind::EvaluationError, input, from, || error.to_string());
                        continue;
                    }
                }
            }
            table.rows.push(part);
        }
        self.versions.retain(|(other, _)| *other != from);
        let place = self.versions.partition_point(|(other, _)| *other < from);
        self.versions.insert(place, (from, table));
    }

    /// Forgets what was valid only before a time.
    pub(crate) fn forget(&mut self, before: DateTime) {
        let valid = self.versions.partition_point(|(from, _)| *from <= before);
        self.versions.drain(..valid.saturating_sub(1));
    }

    /// The table for rows of a time; before the first table that one.
    fn at(&self, time: DateTime) -> Option<&Table> {
        let valid = self.versions.partition_point(|(from, _)| *from <= time);
        self.versions.get(valid.saturating_sub(1)).map(|(_, table)| table)
    }
}

/// Takes in a row; with each of its matches it goes to `out`.
pub(crate) fn row(lookup: &Lookup, tables: &Versions, row: &Row, out: &mut Vec<Row>) -> Result<(), Failed> {
    let failed = |error| Failed { error, span: lookup.on.span, time: row.time };
    let before = out.len();
    let mut first_error = None;
    if let Some(table) = tables.at(row.time) {
        let view = View::of(row);
        let mut test = |part: &Part| match settled(&lookup.on.expr, &View { right: Some(part), ..view }) {
            Ok(true) => out.push(row.with(row.time, Part { time: row.time, ..part.clone() })),
            Ok(false) => {}
            Err(error) => {
                first_error.get_or_insert(error);
            }
        };
        if lookup.keys.is_empty() {
            table.rows.iter().for_each(&mut test);
        } else {
            let keys: Vec<&Expr> = lookup.keys.iter().map(|(left, _)| left).collect();
            let key = key_of(keys.into_iter(), &view).map_err(failed)?;
            let found = key.and_then(|key| table.index.get(key.as_slice()));
            found.into_iter().flatten().for_each(|place| test(&table.rows[*place]));
        }
    }
    if let Some(error) = first_error {
        return Err(failed(error));
    }
    if lookup.outer && out.len() == before {
        out.push(row.with(row.time, Part { time: row.time, record: None, extra: None }));
    }
    Ok(())
}
