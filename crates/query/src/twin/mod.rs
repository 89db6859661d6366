//! Twin queries: `SELECT … FROM devices …` over JSON documents.
//!
//! Source: Azure docs "IoT Hub query language for device and module twins, jobs, and message routing". Registry and paging
//! belong to the caller, who hands in the documents of the query's [`Source`].

mod parse;
mod plan;
mod run;

pub use plan::{Equality, Literal};

use crate::Dialect;
use crate::Error;
use crate::eval::{Scope, eval};
use crate::expr::{Expr, Path, Root, Step};
use crate::parser::Parser;
use crate::value::Value;
use serde_json::Value as Json;

/// Which documents a query is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// `devices`: device twins.
    Devices,
    /// `devices.modules`: module twins.
    Modules,
    /// `devices.jobs`: jobs by device.
    Jobs,
}

/// What the results are, as the `x-ms-item-type` header names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ItemType {
    /// Whole twins.
    Twin,
    /// Whole jobs.
    DeviceJob,
    /// Projections and aggregates.
    Raw,
}

impl ItemType {
    /// The value of the header.
    pub fn name(self) -> &'static str {
        match self {
            Self::Twin => "twin",
            Self::DeviceJob => "deviceJob",
            Self::Raw => "raw",
        }
    }
}

/// A compiled query.
#[derive(Debug, Clone, PartialEq)]
pub struct TwinQuery {
    select: Option<Vec<Item>>,
    top: Option<usize>,
    source: Source,
    filter: Option<Expr>,
    group_by: Vec<Path>,
}

/// One column.
#[derive(Debug, Clone, PartialEq)]
struct Item {
    what: What,
    name: String,
}

#[derive(Debug, Clone, PartialEq)]
enum What {
    Value(Expr),
    Aggregate(Aggregate, Option<Path>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Aggregate {
    Count,
    Avg,
    Sum,
    Min,
    Max,
}

impl TwinQuery {
    /// Compiles a query.
    pub fn parse(text: &str) -> Result<Self, Error> {
        parse::query(text)
    }

    /// Which documents it is about.
    pub fn source(&self) -> Source {
        self.source
    }

    /// What its results are.
    pub fn item_type(&self) -> ItemType {
        match (&self.select, self.source) {
            (Some(_), _) => ItemType::Raw,
            (None, Source::Jobs) => ItemType::DeviceJob,
            (None, _) => ItemType::Twin,
        }
    }

    /// Whether each result comes of one document, so that results can be paged as documents are read; aggregates and groups
    /// need all documents first.
    pub fn is_row_by_row(&self) -> bool {
        self.group_by.is_empty() && !self.has_aggregates()
    }

    /// The most results it wants.
    pub fn top(&self) -> Option<usize> {
        self.top
    }

    /// Whether a document fulfils the WHERE clause.
    pub fn matches(&self, document: &Json) -> bool {
        self.filter.as_ref().is_none_or(|filter| is_true(filter, document))
    }

    /// What every matching document has: for a caller with an index.
    pub fn equalities(&self) -> Vec<Equality<'_>> {
        self.filter.as_ref().map(plan::equalities).unwrap_or_default()
    }

    /// Whether all it asks for is how many documents match.
    pub fn is_count(&self) -> bool {
        let is_count = |item: &Item| matches!(item.what, What::Aggregate(Aggregate::Count, _));
        self.group_by.is_empty() && self.select.as_ref().is_some_and(|items| items.iter().all(is_count))
    }

    /// Whether it has no WHERE clause.
    pub fn takes_all(&self) -> bool {
        self.filter.is_none()
    }

    /// The answer of a query that [is a count](Self::is_count), where so many documents match.
    pub fn counted(&self, count: u64) -> Vec<Json> {
        let items = self.select.iter().flatten();
        let row = items.map(|item| (item.name.clone(), Json::from(count))).collect();
        if self.top == Some(0) { Vec::new() } else { vec![Json::Object(row)] }
    }

    /// The results over all documents of its source. Takes no more documents than it needs.
    pub fn run(&self, documents: impl IntoIterator<Item = Json>) -> Vec<Json> {
        run::run(self, documents.into_iter())
    }

    fn has_aggregates(&self) -> bool {
        let is_aggregate = |item: &Item| matches!(item.what, What::Aggregate(..));
        self.select.as_ref().is_some_and(|items| items.iter().any(is_aggregate))
    }
}

/// The target condition of a configuration: which twins it is for.
///
/// `*` is every device, nothing is none; a WHERE clause by itself is about devices, `FROM devices.modules WHERE …` about
/// modules. Source: Azure docs "Automatic device and module management".
#[derive(Debug, Clone, PartialEq)]
pub struct TargetCondition {
    source: Source,
    filter: Option<Expr>,
}

impl TargetCondition {
    /// Compiles a condition on twins.
    pub fn parse(text: &str) -> Result<Self, Error> {
        match text.trim() {
            "" => return Ok(Self { source: Source::Devices, filter: Some(Expr::Bool(false)) }),
            "*" => return Ok(Self { source: Source::Devices, filter: None }),
            _ => {}
        }
        let mut parser = Parser::new(text, Dialect::Twin)?;
        parse::target(&mut parser)
    }

    /// Whose twins it is about: devices' or modules'.
    pub fn source(&self) -> Source {
        self.source
    }

    /// Whether a twin fulfils it.
    pub fn matches(&self, twin: &Json) -> bool {
        self.filter.as_ref().is_none_or(|filter| is_true(filter, twin))
    }

    /// What every matching twin has: for a caller with an index.
    pub fn equalities(&self) -> Vec<Equality<'_>> {
        self.filter.as_ref().map(plan::equalities).unwrap_or_default()
    }

    /// Whether it looks at the member of these names, `["properties", "reported"]` for example, or at one above or below.
    pub fn reads(&self, names: &[&str]) -> bool {
        let along = |path: &Path| {
            let same = |(step, name): (&Step, &&str)| matches!(step, Step::Name(n) if n == *name);
            path.steps.iter().zip(names).all(same)
        };
        self.filter.as_ref().is_some_and(|filter| filter.any_path(&along))
    }
}

fn is_true(expr: &Expr, document: &Json) -> bool {
    eval(expr, &Document(document)) == Value::Bool(true)
}

/// A document as the scope of an expression.
struct Document<'d>(&'d Json);

impl Scope for Document<'_> {
    fn root(&self, root: &Root) -> Value<'_> {
        match root {
            Root::Document => Value::of_json(self.0),
            Root::Property(_) | Root::System(_) | Root::Body | Root::Twin => Value::Undefined,
        }
    }

    fn nulls_equal(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests;
