//! One SELECT as the stages of a node.

use super::compile::{Compiled, Compiler, Grouped};
use super::expr::{Expr, Located};
use super::former::Formers;
use super::scope::{Scope, is_system_timestamp};
use super::user::tell_merged;
use super::window::{self, WindowSpec};
use super::{Column, Group, Projection, Select};
use crate::error::Problem;
use crate::query::{MAX_AGGREGATES, Options};
use crate::syntax::tree::{self, ExprKind, Item};
use std::sync::Arc;

/// A planned SELECT and the names of its columns, where they are known.
pub(crate) struct Planned {
    pub(crate) select: Select,
    pub(crate) columns: Option<Vec<Arc<str>>>,
    /// Functions over former rows of one source each.
    pub(crate) formers: Formers,
}

/// Plans a SELECT over sources that are known already. Problems go into the list; `None` if there were any.
pub(crate) fn plan(
    text: &str,
    options: &Options,
    scope: &Scope,
    select: &tree::Select,
    formers: Formers,
    problems: &mut Vec<Problem>,
    notes: &mut Vec<Problem>,
) -> Option<Planned> {
    let before = problems.len();
    let compiler = Compiler {
        text,
        options,
        scope,
        notes,
        grouped: None,
        aliases: &[],
        formers: Some(formers),
        matching: None,
    };
    let mut planner = SelectPlanner { compiler, problems };
    let planned = planner.plan(select);
    (planner.problems.len() == before).then_some(planned)
}

struct SelectPlanner<'a, 'p> {
    compiler: Compiler<'a>,
    problems: &'p mut Vec<Problem>,
}

impl SelectPlanner<'_, '_> {
    fn plan(&mut self, select: &tree::Select) -> Planned {
        let filter = select.filter.as_ref().and_then(|filter| self.keep(|compiler| compiler.located(filter)));
        let windows_and_keys = self.group_by(select);
        let columns = self.columns(select);
        let having = select.having.as_ref().and_then(|having| self.having(having, &columns));
        let group = windows_and_keys.map(|(windows, keys)| self.group(select, windows, keys));
        let names = self.names(&columns);
        let mut formers = self.compiler.formers.take().unwrap_or_default();
        let former = formers.take_own();
        let select = Select { former, filter, group, having, projection: columns };
        Planned { select, columns: names, formers }
    }

    /// What a step gives; a problem is put down and the rest goes on.
    fn keep<T>(&mut self, step: impl FnOnce(&mut Compiler<'_>) -> Compiled<T>) -> Option<T> {
        step(&mut self.compiler).map_err(|problem| self.problems.push(problem)).ok()
    }

    /// Windows and keys; from here on expressions are those of groups.
    fn group_by(&mut self, select: &tree::Select) -> Option<(Vec<WindowSpec>, Vec<Located>)> {
        let (first, last) = (select.group.first()?, select.group.last()?);
        let mut windows: Vec<WindowSpec> = Vec::new();
        let mut snapshot = None;
        let mut keys = Vec::new();
        for item in &select.group {
            match &item.kind {
                ExprKind::Call(call) if window::is_window(call) => {
                    if !windows.is_empty() {
                        let message = "GROUP BY has one window; several go into Windows(…)";
                        self.problems.push(Problem::new(item.span, message));
                    }
                    windows.extend(self.keep(|compiler| compiler.windows(call)).into_iter().flatten());
                }
                _ if window::is_system_timestamp(item) => snapshot = Some(item.span),
                _ => keys.extend(self.keep(|compiler| compiler.located(item))),
            }
        }
        match snapshot {
            Some(_) if windows.is_empty() => windows.push(window::snapshot()),
            // Beside another window the time of the events is a key like any other.
            Some(span) => keys.push(Located { expr: Expr::Time, span }),
            None => {}
        }
        if windows.is_empty() && self.problems.is_empty() {
            let message =
                "a window must be specified: add one to GROUP BY, for example TumblingWindow(second, 30)";
            self.problems.push(Problem::new(first.span.to(last.span), message));
        }
        let named = keys.iter().map(|key| (key.expr.canonical(), key.expr.clone())).collect();
        self.compiler.grouped = Some(Grouped { keys: named, aggregates: Vec::new() });
        Some((windows, keys))
    }

    fn group(&mut self, select: &tree::Select, windows: Vec<WindowSpec>, keys: Vec<Located>) -> Group {
        let grouped = self.compiler.grouped.take().unwrap_or_default();
        let mut aggregates: Vec<_> = grouped.aggregates.into_iter().map(|(_, spec)| spec).collect();
        tell_merged(&mut aggregates, &windows);
        if self.compiler.options.level.is_limited() && aggregates.len() > MAX_AGGREGATES {
            let message =
                format!("a step has at most {MAX_AGGREGATES} aggregates, this one has {}", aggregates.len());
            self.problems.push(Problem::new(select.span, message));
        }
        Group { keys, aggregates, windows }
    }

    fn columns(&mut self, select: &tree::Select) -> Projection {
        let sources = self.compiler.scope.sources.len();
        if let ([Item::Star(_)], 1, None) = (select.items.as_slice(), sources, &self.compiler.grouped) {
            return Projection::Whole;
        }
        let mut columns: Vec<Column> = Vec::new();
        let mut unnamed = 0;
        for item in &select.items {
            match self.column(item, &mut unnamed) {
                // The left one of two equal names wins.
                Some(Column::Named(name, _)) if has(&columns, &name) => {}
                Some(column) => columns.push(column),
                None => {}
            }
        }
        Projection::Columns(columns)
    }

    fn column(&mut self, item: &Item, unnamed: &mut usize) -> Option<Column> {
        match item {
            Item::Star(span) => {
                if self.compiler.grouped.is_some() {
                    let message = "* cannot be selected behind GROUP BY; name the keys and aggregates";
                    self.problems.push(Problem::new(*span, message));
                    return None;
                }
                Some(Column::Fields(Located { expr: self.compiler.scope.row(), span: *span }))
            }
            Item::PathStar(path, span) => {
                if self.compiler.grouped.is_some() {
                    let message = "fields of a record cannot be spread behind GROUP BY; name them";
                    self.problems.push(Problem::new(*span, message));
                    return None;
                }
                let expr = self.compiler.scope.resolve_record(path, self.compiler.notes);
                Some(Column::Fields(Located { expr, span: *span }))
            }
            Item::Expr(expr, alias) => {
                let located = self.keep(|compiler| compiler.located(expr))?;
                let name = match alias {
                    Some(alias) => alias.text.clone(),
                    None => default_name(expr, unnamed),
                };
                Some(Column::Named(self.compiler.scope.field(&name), located))
            }
        }
    }

    /// HAVING may use names of the SELECT list; a column of the input by that name goes first.
    fn having(&mut self, having: &tree::Expr, columns: &Projection) -> Option<Located> {
        let mut aliases: Vec<(Arc<str>, Expr)> = Vec::new();
        if let Projection::Columns(columns) = columns {
            for column in columns {
                if let Column::Named(name, located) = column {
                    aliases.push((name.clone(), located.expr.clone()));
                }
            }
        }
        let Compiler { text, options, scope, .. } = self.compiler;
        let mut notes = Vec::new();
        let grouped = self.compiler.grouped.take();
        let formers = self.compiler.formers.take();
        let mut compiler = Compiler {
            text,
            options,
            scope,
            notes: &mut notes,
            grouped,
            aliases: &aliases,
            formers,
            matching: None,
        };
        let compiled = compiler.located(having);
        self.compiler.grouped = compiler.grouped;
        self.compiler.formers = compiler.formers;
        self.compiler.notes.append(&mut notes);
        compiled.map_err(|problem| self.problems.push(problem)).ok()
    }

    /// The names of the columns, unless records are spread whose fields only events know.
    fn names(&self, projection: &Projection) -> Option<Vec<Arc<str>>> {
        let Projection::Columns(columns) = projection else {
            return self.compiler.scope.sources[0].columns.clone();
        };
        columns
            .iter()
            .map(|column| match column {
                Column::Named(name, _) => Some(name.clone()),
                Column::Fields(_) => None,
            })
            .collect()
    }
}

fn has(columns: &[Column], name: &str) -> bool {
    columns.iter().any(|column| matches!(column, Column::Named(known, _) if &**known == name))
}

/// The name of a column without an alias: the last name of a path, the function's name in lower case, or `expr`, `expr1`, …
fn default_name(expr: &tree::Expr, unnamed: &mut usize) -> String {
    match &expr.kind {
        ExprKind::Path(path) if is_system_timestamp(path) => "timestamp".to_owned(),
        ExprKind::Path(path) => path.last().map(|name| name.text.clone()).unwrap_or_default(),
        ExprKind::Member(_, name) => name.text.clone(),
        ExprKind::Call(call) => call.name.last().map(|name| name.text.to_lowercase()).unwrap_or_default(),
        ExprKind::Cast { lenient, .. } => if *lenient { "try_cast" } else { "cast" }.to_owned(),
        _ => {
            let name = if *unnamed == 0 { "expr".to_owned() } else { format!("expr{unnamed}") };
            *unnamed += 1;
            name
        }
    }
}

impl Scope {
    /// The record whose fields `path.*` spreads.
    pub(crate) fn resolve_record(&self, path: &[tree::Name], notes: &mut Vec<Problem>) -> Expr {
        match (path, self.position(&path[0].text)) {
            ([_], Some(source)) => Expr::Source(source),
            _ => self.resolve(path, notes),
        }
    }
}
