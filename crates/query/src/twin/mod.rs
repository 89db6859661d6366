//! Twin queries: `SELECT … FROM devices …` over JSON documents.
//!
//! Source: Azure docs "IoT Hub query language for device and module twins, jobs, and message routing". Registry and paging
//! belong to the caller, who hands in the documents of the query's [`Source`].

mod parse;
mod run;

use crate::Dialect;
use crate::Error;
use crate::eval::{Scope, eval};
use crate::expr::{Expr, Path, Root};
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

    /// The results over all documents of its source. Takes no more documents than it needs.
    pub fn run(&self, documents: impl IntoIterator<Item = Json>) -> Vec<Json> {
        run::run(self, documents.into_iter())
    }

    fn has_aggregates(&self) -> bool {
        let is_aggregate = |item: &Item| matches!(item.what, What::Aggregate(..));
        self.select.as_ref().is_some_and(|items| items.iter().any(is_aggregate))
    }
}

/// A WHERE clause by itself: the target condition of a configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct TargetCondition(Expr);

impl TargetCondition {
    /// Compiles a condition on twins.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let mut parser = Parser::new(text, Dialect::Twin)?;
        let expr = parser.expression()?;
        parser.end()?;
        Ok(Self(expr))
    }

    /// Whether a twin fulfils it.
    pub fn matches(&self, twin: &Json) -> bool {
        is_true(&self.0, twin)
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
