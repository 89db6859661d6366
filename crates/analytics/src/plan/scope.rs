//! Which names a SELECT can see, and what a dotted path means.

use super::expr::Expr;
use crate::error::Problem;
use crate::near::nearest;
use crate::syntax::Span;
use crate::syntax::tree::Name;
use std::sync::Arc;

/// The sources of one SELECT, in order.
#[derive(Debug, Default)]
pub(crate) struct Scope {
    pub(crate) sources: Vec<ScopeSource>,
    pub(crate) lower_case: bool,
}

/// An input, step or APPLY as a SELECT sees it.
#[derive(Debug)]
pub(crate) struct ScopeSource {
    /// Alias, or the name itself; matched in any case.
    pub(crate) name: Arc<str>,
    /// Its columns, where they are known before any event.
    pub(crate) columns: Option<Vec<Arc<str>>>,
    pub(crate) kind: SourceKind,
}

/// What a source is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SourceKind {
    /// An input.
    Stream,
    /// A step.
    Step,
    /// Reference data.
    Reference,
    /// The elements of an APPLY.
    Applied,
}

impl ScopeSource {
    fn is_applied(&self) -> bool {
        self.kind == SourceKind::Applied
    }

    fn may_have(&self, column: &str) -> bool {
        self.columns.as_ref().is_none_or(|columns| columns.iter().any(|known| &**known == column))
    }

    fn surely_has(&self, column: &str) -> bool {
        self.columns.is_some() && self.may_have(column)
    }
}

impl Scope {
    /// A field name as events have it.
    pub(crate) fn field(&self, name: &str) -> Arc<str> {
        if self.lower_case { name.to_lowercase().into() } else { name.into() }
    }

    pub(crate) fn position(&self, name: &str) -> Option<usize> {
        self.sources.iter().position(|source| source.name.eq_ignore_ascii_case(name))
    }

    /// What a path means. The note tells of a column that a step surely does not have.
    pub(crate) fn resolve(&self, path: &[Name], notes: &mut Vec<Problem>) -> Expr {
        let first = &path[0];
        match self.position(&first.text) {
            Some(source) if path.len() == 1 => {
                if self.sources[source].may_have(&self.field(&first.text)) {
                    return Expr::FieldOrSource(source, self.field(&first.text));
                }
                Expr::Source(source)
            }
            Some(source) => {
                self.note_unknown(source, &path[1], notes);
                Expr::Path(source, self.fields(&path[1..]))
            }
            None => self.unqualified(path, notes),
        }
    }

    fn unqualified(&self, path: &[Name], notes: &mut Vec<Problem>) -> Expr {
        let fields = self.fields(path);
        if let Some(source) = self.sources.iter().position(|source| source.surely_has(&fields[0])) {
            return Expr::Path(source, fields);
        }
        let may: Vec<usize> =
            (0..self.sources.len()).filter(|&at| self.sources[at].may_have(&fields[0])).collect();
        match may.as_slice() {
            [] => {
                self.note_unknown(0, &path[0], notes);
                Expr::Path(0, fields)
            }
            [only] => Expr::Path(*only, fields),
            _ => Expr::AnyPath(may.into(), fields),
        }
    }

    /// What `*` gives. The rows of an APPLY are a record beside the fields they came with; joined rows are a record each.
    pub(crate) fn row(&self) -> Expr {
        let joined = self.sources.iter().filter(|source| !source.is_applied()).count() > 1;
        Expr::Row(
            self.sources
                .iter()
                .map(|source| (joined || source.is_applied()).then(|| source.name.clone()))
                .collect(),
        )
    }

    fn fields(&self, path: &[Name]) -> Box<[Arc<str>]> {
        path.iter().map(|name| self.field(&name.text)).collect()
    }

    fn note_unknown(&self, source: usize, column: &Name, notes: &mut Vec<Problem>) {
        let source = &self.sources[source];
        if source.may_have(&self.field(&column.text)) {
            return;
        }
        let known = source.columns.iter().flatten().map(|column| &**column);
        let hint =
            nearest(&column.text, known).map(|near| format!("; did you mean {near}?")).unwrap_or_default();
        let message = format!("{} has no column {}: it is always NULL{hint}", source.name, column.text);
        notes.push(Problem::new(column.span, message));
    }
}

/// `System.Timestamp`, by its path without parentheses.
pub(crate) fn is_system_timestamp(path: &[Name]) -> bool {
    is_system(path, "timestamp")
}

/// `System.<word>`.
pub(crate) fn is_system(path: &[Name], word: &str) -> bool {
    matches!(path, [system, member] if system.text.eq_ignore_ascii_case("system") && member.text.eq_ignore_ascii_case(word))
}

/// The span of a path.
pub(crate) fn span_of(path: &[Name]) -> Span {
    path.iter().map(|name| name.span).reduce(Span::to).unwrap_or_default()
}
