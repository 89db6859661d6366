//! Which fields of events a plan looks at, so that no others are read.

use super::{
    Column, Expr, FormerKind, FormerSpec, Operator, Plan, Projection, Reader, Select, Target, WindowKind,
};
use crate::value::Wanted;

impl Plan {
    /// The fields of an input's events that any operator looks at.
    pub(crate) fn wanted(&self, input: usize) -> Wanted {
        let mut wanted = Wanted::Nothing;
        for reader in self.readers_of(input) {
            reader.head(&mut wanted);
            for target in &reader.targets {
                match self.select_at(*target) {
                    Some(select) => select.fields(&mut wanted),
                    // What other operators look at is not worked out: joins and patterns keep rows for others behind them.
                    None => wanted.add(&[]),
                }
            }
        }
        wanted
    }

    /// The fields that filters need to leave out an event, where all that read the input have a filter that looks at the
    /// event alone.
    pub(crate) fn glance(&self, input: usize) -> Option<Wanted> {
        let mut wanted = Wanted::Nothing;
        for reader in self.readers_of(input) {
            reader.head(&mut wanted);
        }
        for filter in self.filters(input)? {
            fields(filter, &mut wanted);
        }
        Some(wanted)
    }

    /// The filters behind an input, of which one must hold for an event to be of any use; nothing if some read them all.
    pub(crate) fn filters(&self, input: usize) -> Option<Vec<&Expr>> {
        // Declared columns are converted before a filter sees them.
        if self.readers_of(input).any(|reader| reader.columns.is_some()) {
            return None;
        }
        let targets = self.readers_of(input).flat_map(|reader| &reader.targets);
        targets
            .map(|target| {
                let select = self.select_at(*target).filter(|select| select.former.is_empty())?;
                select
                    .filter
                    .as_ref()
                    .map(|filter| &filter.expr)
                    .filter(|filter| looks_at_event_alone(filter))
            })
            .collect()
    }

    fn readers_of(&self, input: usize) -> impl Iterator<Item = &Reader> {
        self.readers.iter().filter(move |reader| reader.input == input)
    }

    fn select_at(&self, target: Target) -> Option<&Select> {
        let Target::Node { node, .. } = target else { return None };
        match &self.nodes[node].operator {
            Operator::Select(select) => Some(select),
            _ => None,
        }
    }
}

impl Reader {
    /// What it needs itself: time, keys of timelines, declared columns.
    fn head(&self, wanted: &mut Wanted) {
        match self.timestamp.as_ref().map(|located| &located.expr) {
            Some(Expr::Path(_, path)) => wanted.add_time(path),
            Some(other) => fields(other, wanted),
            None => {}
        }
        for located in &self.over {
            fields(&located.expr, wanted);
        }
        for (name, _) in self.columns.iter().flat_map(|columns| columns.iter()) {
            wanted.add(std::slice::from_ref(name));
        }
    }
}

impl Select {
    fn fields(&self, wanted: &mut Wanted) {
        let mut look = |expr: &Expr| fields(expr, wanted);
        self.former.iter().for_each(|former| former.exprs().into_iter().for_each(&mut look));
        self.filter.iter().chain(&self.having).for_each(|located| look(&located.expr));
        if let Some(group) = &self.group {
            group.keys.iter().for_each(|key| look(&key.expr));
            group.aggregates.iter().flat_map(|spec| &spec.arguments).for_each(&mut look);
            for window in &group.windows {
                if let WindowKind::Session { partition, .. } = &window.kind {
                    partition.iter().for_each(|key| look(&key.expr));
                }
            }
        }
        match &self.projection {
            Projection::Whole => wanted.add(&[]),
            Projection::Columns(columns) => columns.iter().for_each(|column| match column {
                Column::Named(_, located) | Column::Fields(located) => look(&located.expr),
            }),
        }
    }
}

impl FormerSpec {
    fn exprs(&self) -> Vec<&Expr> {
        let own: Vec<&Expr> = match &self.kind {
            FormerKind::Lag { value, default, .. } => std::iter::once(value).chain(default).collect(),
            FormerKind::First => Vec::new(),
            FormerKind::Aggregate(spec) => spec.arguments.iter().collect(),
            FormerKind::Spike { value, .. } | FormerKind::Change { value, .. } => vec![value],
        };
        own.into_iter().chain(&self.partition).chain(&self.when).collect()
    }
}

/// Adds the fields that an expression over one source looks at.
fn fields(expr: &Expr, wanted: &mut Wanted) {
    match expr {
        Expr::Path(_, path) | Expr::AnyPath(_, path) => wanted.add(path),
        Expr::FieldOr(_, field, _) => wanted.add(std::slice::from_ref(field)),
        Expr::Source(_) | Expr::Row(_) | Expr::FieldOrSource(..) => wanted.add(&[]),
        _ => {}
    }
    expr.children().into_iter().for_each(|child| fields(child, wanted));
}

/// Whether an expression depends on fields of the event and nothing else.
fn looks_at_event_alone(expr: &Expr) -> bool {
    let other = matches!(
        expr,
        Expr::Slot(_)
            | Expr::Time
            | Expr::TimeOf(_)
            | Expr::Metadata(..)
            | Expr::Former(_)
            | Expr::FormerOf(..)
            | Expr::WindowId
    );
    !other && expr.children().into_iter().all(looks_at_event_alone)
}
