//! From tree to operators: names are resolved, expressions compiled, steps wired to a graph without circles.
//!
//! [`build`] makes a [`Plan`]: *readers* turn events of an input into rows with a time, *nodes* turn rows into rows, and
//! targets say where the rows go. A SELECT is one node (its clauses are stages of it, in the order of the language), a
//! UNION another. Nodes stand in an order in which rows only go forward.
//!
//! What the language has but the engine has not is refused here, with the place, never ignored.

mod build;
mod input;
mod source;

mod scope;

mod compile;
mod expr;

mod aggregate;
mod apply;
mod call;
mod former;
mod join;
mod metadata;
mod recognize;
mod select;
mod user;
mod window;

mod explain;
mod fingerprint;
mod wanted;

pub(crate) use aggregate::AggregateSpec;
pub(crate) use apply::Apply;
pub(crate) use build::build;
pub(crate) use expr::{Expr, Located};
pub(crate) use fingerprint::Fingerprint;
pub(crate) use former::{FormerKind, FormerSpec};
pub(crate) use join::{Join, Lookup};
pub(crate) use recognize::{Gathered, Instruction, Recognize, Taken};
pub(crate) use window::{MAX_WINDOW, WindowKind, WindowSpec};

use crate::query::Input;
use crate::value::DataType;
use std::sync::Arc;

/// A query as operators.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) inputs: Vec<Input>,
    pub(crate) outputs: Vec<Arc<str>>,
    pub(crate) readers: Vec<Reader>,
    pub(crate) nodes: Vec<Node>,
}

impl Plan {
    /// Whether its inputs are split into timelines by TIMESTAMP BY … OVER; then all are.
    pub(crate) fn substreams(&self) -> bool {
        self.readers.iter().any(|reader| !reader.over.is_empty())
    }

    /// Whether something behind a reader keeps anything from row to row, so that it needs the rows of all partitions in one order.
    pub(crate) fn needs_order(&self, reader: usize) -> bool {
        self.readers[reader].targets.iter().any(|target| self.keeps_rows(*target))
    }

    fn keeps_rows(&self, target: Target) -> bool {
        let Target::Node { node, .. } = target else { return false };
        let node = &self.nodes[node];
        let own = match &node.operator {
            Operator::Select(select) => !select.former.is_empty() || select.group.is_some(),
            Operator::Lookup(_) | Operator::Apply(_) => false,
            Operator::Union { .. } | Operator::Join(_) | Operator::Recognize(_) | Operator::Former(_) => true,
        };
        own || node.targets.iter().any(|target| self.keeps_rows(*target))
    }
}

/// Where rows go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    /// Into a node, by one of its doors.
    Node { node: usize, port: usize },
    /// Out of the query.
    Output(usize),
}

/// A column of CREATE TABLE.
pub(crate) type DeclaredColumn = (Arc<str>, DataType);

/// Turns events of an input into rows. References to one input with the same TIMESTAMP BY share one.
#[derive(Debug)]
pub(crate) struct Reader {
    /// Which input.
    pub(crate) input: usize,
    /// The event time; without it the arrival.
    pub(crate) timestamp: Option<Located>,
    /// The keys of timelines of their own, if any.
    pub(crate) over: Vec<Located>,
    /// The declared columns, if any.
    pub(crate) columns: Option<Arc<[DeclaredColumn]>>,
    pub(crate) targets: Vec<Target>,
    /// Equal for equal definitions, over versions of the query and of the program.
    pub(crate) fingerprint: u64,
}

/// Turns rows into rows.
#[derive(Debug)]
pub(crate) struct Node {
    /// For people: the step or output it belongs to.
    pub(crate) name: Arc<str>,
    pub(crate) operator: Operator,
    pub(crate) targets: Vec<Target>,
    /// As of [`Reader`], with all that stands before the node.
    pub(crate) fingerprint: u64,
}

/// What a node does.
#[derive(Debug)]
pub(crate) enum Operator {
    /// One SELECT.
    Select(Box<Select>),
    /// Rows of several ports in the order of their times.
    Union { ports: usize },
    /// Rows of a stream with those of another near them in time.
    Join(Box<Join>),
    /// Rows of a stream with those of reference data.
    Lookup(Box<Lookup>),
    /// Rows with each of the elements in them.
    Apply(Box<Apply>),
    /// One row for each sequence of rows that fits a pattern.
    Recognize(Box<Recognize>),
    /// Rows of a source with what functions over its former rows say.
    Former(Vec<FormerSpec>),
}

/// The stages of a SELECT, in order.
#[derive(Debug)]
pub(crate) struct Select {
    /// Functions over former rows, which see all rows, also those that the filter leaves out.
    pub(crate) former: Vec<FormerSpec>,
    pub(crate) filter: Option<Located>,
    pub(crate) group: Option<Group>,
    pub(crate) having: Option<Located>,
    pub(crate) projection: Projection,
}

/// GROUP BY.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) keys: Vec<Located>,
    pub(crate) aggregates: Vec<AggregateSpec>,
    pub(crate) windows: Vec<WindowSpec>,
}

/// The SELECT list.
#[derive(Debug)]
pub(crate) enum Projection {
    /// `*` alone over one source: the row as it is.
    Whole,
    /// Columns in order.
    Columns(Vec<Column>),
}

/// An entry of the SELECT list.
#[derive(Debug)]
pub(crate) enum Column {
    /// A value with a name. Names of these are distinct.
    Named(Arc<str>, Located),
    /// The fields of a record.
    Fields(Located),
}

#[cfg(test)]
mod tests;
