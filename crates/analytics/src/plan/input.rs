//! Inputs: the readers of a plan, with TIMESTAMP BY and CREATE TABLE.

use super::build::Builder;
use super::compile::{Compiler, unknown_type};
use super::expr::{Expr, Located};
use super::fingerprint::Fingerprint;
use super::scope::{ScopeSource, SourceKind};
use super::{DeclaredColumn, Reader};
use crate::error::Problem;
use crate::query::Input;
use crate::syntax::Span;
use crate::syntax::tree::{self, InputRef, Name};
use crate::value::DataType;
use std::sync::Arc;

/// CREATE TABLE.
pub(super) struct Table {
    input: Arc<str>,
    columns: Arc<[DeclaredColumn]>,
    fingerprint: u64,
}

impl Builder<'_> {
    /// Takes in a declaration.
    pub(super) fn table(&mut self, table: &tree::CreateTable) {
        if self.tables.iter().any(|known| known.input.eq_ignore_ascii_case(&table.name.text)) {
            self.problems
                .push(Problem::new(table.name.span, format!("{} is declared twice", table.name.text)));
        }
        let scope = self.scope(Vec::new());
        let mut columns = Vec::new();
        let mut fingerprint = Fingerprint::new("table");
        for (column, declared) in &table.columns {
            let Some(ty) = DataType::parse(&declared.text) else {
                self.problems.push(unknown_type(declared));
                continue;
            };
            let column = scope.field(&column.text);
            fingerprint = fingerprint.with(column.as_bytes()).with(ty.name().as_bytes());
            columns.push((column, ty));
        }
        let (input, fingerprint) = (table.name.text.as_str().into(), fingerprint.value());
        self.tables.push(Table { input, columns: columns.into(), fingerprint });
    }

    /// The reader of a reference to an input; problems go into the list.
    pub(super) fn reader(&mut self, reference: &InputRef) -> Option<usize> {
        let name = &reference.name;
        if self.is_reference(name) {
            let message = format!(
                "{0} is reference data, which is looked up for rows of a stream: FROM stream JOIN {0} ON …",
                name.text
            );
            self.problems.push(Problem::new(name.span, message));
            return None;
        }
        let input = self.input(name, false);
        let timestamp = match &reference.timestamp {
            None => None,
            Some(timestamp) => Some(self.timestamp(reference, timestamp)?),
        };
        let (timestamp, over) = timestamp.map_or((None, Vec::new()), |(time, over)| (Some(time), over));
        let table = self.tables.iter().find(|table| table.input.eq_ignore_ascii_case(&name.text));
        let meaning = |timestamp: &Option<Located>, over: &[Located]| -> Vec<String> {
            timestamp.iter().chain(over).map(|located| located.expr.canonical()).collect()
        };
        let own = meaning(&timestamp, &over);
        let same = |reader: &Reader| reader.input == input && meaning(&reader.timestamp, &reader.over) == own;
        let known = self.plan.readers.iter().position(same);
        if known.is_some() {
            return known;
        }
        let mut fingerprint =
            Fingerprint::new("reader").with(name.text.to_lowercase().as_bytes()).with(&[self.edition()]);
        if let Some(timestamp) = &timestamp {
            fingerprint = fingerprint.with_text(self.text, timestamp.span, &self.options.functions);
        }
        for key in &over {
            fingerprint = fingerprint.with(b"over").with_text(self.text, key.span, &self.options.functions);
        }
        if let Some(table) = table {
            fingerprint = fingerprint.with_number(table.fingerprint);
        }
        let columns = table.map(|table| table.columns.clone());
        self.plan.readers.push(Reader {
            input,
            timestamp,
            over,
            columns,
            targets: Vec::new(),
            fingerprint: fingerprint.value(),
        });
        Some(self.plan.readers.len() - 1)
    }

    /// Whether a name is that of an input of reference data.
    pub(super) fn is_reference(&self, name: &Name) -> bool {
        self.options.reference.iter().any(|known| known.eq_ignore_ascii_case(&name.text))
    }

    /// An input of reference data, as a SELECT sees it.
    pub(super) fn reference(&mut self, reference: &InputRef) -> Option<(usize, ScopeSource)> {
        if let Some(timestamp) = &reference.timestamp {
            let message =
                format!("{} is reference data and has no times; leave TIMESTAMP BY out", reference.name.text);
            self.problems.push(Problem::new(timestamp.span, message));
            return None;
        }
        let seen = reference.alias.as_ref().unwrap_or(&reference.name);
        let source =
            ScopeSource { name: seen.text.as_str().into(), columns: None, kind: SourceKind::Reference };
        Some((self.input(&reference.name, true), source))
    }

    /// The declared columns of an input, if any.
    pub(super) fn declared(&self, input: usize) -> Option<Arc<[DeclaredColumn]>> {
        let name = &self.plan.inputs[input].name;
        let table = self.tables.iter().find(|table| table.input.eq_ignore_ascii_case(name))?;
        Some(table.columns.clone())
    }

    /// TIMESTAMP BY … OVER splits all inputs or none, each by as many keys.
    pub(super) fn check_substreams(&mut self) {
        let keys = |reader: &Reader| reader.over.len();
        let Some(split) = self.plan.readers.iter().find(|reader| keys(reader) > 0) else { return };
        if self.plan.readers.iter().any(|reader| keys(reader) != keys(split)) {
            let message =
                "TIMESTAMP BY … OVER belongs to all inputs of a query or to none, with as many keys each";
            let span = split.over.iter().map(|key| key.span).reduce(Span::to).unwrap_or_default();
            self.problems.push(Problem::new(span, message));
        }
    }

    fn input(&mut self, name: &Name, reference: bool) -> usize {
        let known = self.plan.inputs.iter().position(|input| input.name.eq_ignore_ascii_case(&name.text));
        known.unwrap_or_else(|| {
            self.plan.inputs.push(Input { name: name.text.as_str().into(), reference });
            self.plan.inputs.len() - 1
        })
    }

    fn timestamp(
        &mut self,
        reference: &InputRef,
        timestamp: &tree::TimestampBy,
    ) -> Option<(Located, Vec<Located>)> {
        let seen = reference.alias.as_ref().unwrap_or(&reference.name);
        let name = seen.text.as_str().into();
        let scope = self.scope(vec![ScopeSource { name, columns: None, kind: SourceKind::Stream }]);
        let mut compiler = Compiler {
            text: self.text,
            options: self.options,
            scope: &scope,
            notes: &mut self.notes,
            grouped: None,
            aliases: &[],
            formers: None,
            matching: None,
        };
        let over = timestamp.over.iter().map(|key| compiler.located(key)).collect::<Result<Vec<_>, _>>();
        let compiled = over.and_then(|over| Ok((compiler.located(&timestamp.expr)?, over)));
        match compiled {
            Ok((time, over)) => {
                if let Some(located) = std::iter::once(&time).chain(&over).find(|at| at.expr.reads_time()) {
                    let message =
                        "TIMESTAMP BY is computed from the event; System.Timestamp() is what it gives";
                    self.problems.push(Problem::new(located.span, message));
                    return None;
                }
                Some((time, over))
            }
            Err(problem) => {
                self.problems.push(problem);
                None
            }
        }
    }
}

impl Expr {
    /// Whether it depends on `System.Timestamp()`.
    fn reads_time(&self) -> bool {
        matches!(self, Self::Time) || self.children().into_iter().any(Self::reads_time)
    }
}
