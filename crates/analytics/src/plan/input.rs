//! Inputs: the readers of a plan, with TIMESTAMP BY and CREATE TABLE.

use super::build::Builder;
use super::compile::{Compiler, unknown_type};
use super::expr::{Expr, Located};
use super::fingerprint::Fingerprint;
use super::scope::ScopeSource;
use super::{DeclaredColumn, Reader};
use crate::error::Problem;
use crate::query::Input;
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
        if self.options.reference.iter().any(|known| known.eq_ignore_ascii_case(&name.text)) {
            self.problems.push(Problem::new(name.span, "reference data is not supported yet"));
            return None;
        }
        let input = self.input(name);
        let timestamp = match &reference.timestamp {
            None => None,
            Some(timestamp) => Some(self.timestamp(reference, timestamp)?),
        };
        let table = self.tables.iter().find(|table| table.input.eq_ignore_ascii_case(&name.text));
        let meaning =
            |timestamp: &Option<Located>| timestamp.as_ref().map(|timestamp| timestamp.expr.canonical());
        let known =
            self.plan.readers.iter().position(|reader| {
                reader.input == input && meaning(&reader.timestamp) == meaning(&timestamp)
            });
        if known.is_some() {
            return known;
        }
        let mut fingerprint =
            Fingerprint::new("reader").with(name.text.to_lowercase().as_bytes()).with(&[self.edition()]);
        if let Some(timestamp) = &timestamp {
            fingerprint = fingerprint.with_text(self.text, timestamp.span);
        }
        if let Some(table) = table {
            fingerprint = fingerprint.with_number(table.fingerprint);
        }
        let columns = table.map(|table| table.columns.clone());
        self.plan.readers.push(Reader {
            input,
            timestamp,
            columns,
            targets: Vec::new(),
            fingerprint: fingerprint.value(),
        });
        Some(self.plan.readers.len() - 1)
    }

    fn input(&mut self, name: &Name) -> usize {
        let known = self.plan.inputs.iter().position(|input| input.name.eq_ignore_ascii_case(&name.text));
        known.unwrap_or_else(|| {
            self.plan.inputs.push(Input { name: name.text.as_str().into(), reference: false });
            self.plan.inputs.len() - 1
        })
    }

    fn timestamp(&mut self, reference: &InputRef, timestamp: &tree::TimestampBy) -> Option<Located> {
        if let Some(key) = timestamp.over.first() {
            self.problems.push(Problem::new(key.span, "TIMESTAMP BY … OVER is not supported yet"));
            return None;
        }
        let seen = reference.alias.as_ref().unwrap_or(&reference.name);
        let scope =
            self.scope(vec![ScopeSource { name: seen.text.as_str().into(), columns: None, applied: false }]);
        let mut compiler = Compiler {
            text: self.text,
            options: self.options,
            scope: &scope,
            notes: &mut self.notes,
            grouped: None,
            aliases: &[],
        };
        match compiler.located(&timestamp.expr) {
            Ok(located) if located.expr.reads_time() => {
                let message = "TIMESTAMP BY is computed from the event; System.Timestamp() is what it gives";
                self.problems.push(Problem::new(located.span, message));
                None
            }
            Ok(located) => Some(located),
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
