//! Documents to results.

use super::{Aggregate, Document, Item, TwinQuery, What};
use crate::eval::eval;
use crate::expr::{Path, Step};
use crate::value::{Value, json_number};
use serde_json::{Map, Value as Json};
use std::collections::HashMap;

pub(super) fn run(query: &TwinQuery, documents: impl Iterator<Item = Json>) -> Vec<Json> {
    let matching = documents.filter(|document| query.matches(document));
    let top = query.top.unwrap_or(usize::MAX);
    match &query.select {
        None => matching.take(top).collect(),
        Some(items) if query.is_row_by_row() => {
            matching.take(top).map(|document| project(items, &document)).collect()
        }
        Some(items) => grouped(query, items, matching).into_iter().take(top).collect(),
    }
}

/// The columns a document has; a missing one is left out.
fn project(items: &[Item], document: &Json) -> Json {
    let mut row = Map::new();
    for item in items {
        if let What::Value(expr) = &item.what
            && let Some(value) = eval(expr, &Document(document)).into_json()
        {
            row.insert(item.name.clone(), value);
        }
    }
    Json::Object(row)
}

/// What is added up for one group.
struct Group {
    first: Json,
    count: u64,
    /// By column; unused for columns without aggregate.
    columns: Vec<Column>,
}

#[derive(Clone, Default)]
struct Column {
    count: u64,
    sum: f64,
    least: Option<f64>,
    most: Option<f64>,
}

impl Column {
    fn add(&mut self, number: f64) {
        self.count += 1;
        self.sum += number;
        self.least = Some(self.least.map_or(number, |least| least.min(number)));
        self.most = Some(self.most.map_or(number, |most| most.max(number)));
    }
}

fn grouped(query: &TwinQuery, items: &[Item], documents: impl Iterator<Item = Json>) -> Vec<Json> {
    let mut groups: Vec<Group> = Vec::new();
    let mut by_key: HashMap<String, usize> = HashMap::new();
    let new = |first: Json| Group { first, count: 0, columns: vec![Column::default(); items.len()] };
    for document in documents {
        let values: Vec<_> = query.group_by.iter().map(|path| at(path, &document).into_json()).collect();
        // JSON text tells values of different types apart; what is missing is its own group.
        let key = serde_json::to_string(&values).unwrap_or_default();
        let index = *by_key.entry(key).or_insert_with(|| {
            groups.push(new(key_document(&query.group_by, &values)));
            groups.len() - 1
        });
        let group = &mut groups[index];
        group.count += 1;
        for (item, column) in items.iter().zip(&mut group.columns) {
            if let What::Aggregate(_, Some(path)) = &item.what
                && let Some(number) = at(path, &document).as_number()
            {
                column.add(number);
            }
        }
    }
    if groups.is_empty() && query.group_by.is_empty() {
        // COUNT() of nothing is 0, not nothing.
        groups.push(new(Json::Null));
    }
    groups.iter().map(|group| summary(items, group)).collect()
}

/// A document with the grouped values only, so that a group does not keep a whole twin.
fn key_document(paths: &[Path], values: &[Option<Json>]) -> Json {
    let mut document = Json::Object(Map::new());
    for (path, value) in paths.iter().zip(values) {
        let (Some(value), Some(steps)) = (value, names(path)) else { continue };
        let mut place = &mut document;
        for name in steps {
            if !place.is_object() {
                *place = Json::Object(Map::new());
            }
            place = &mut place[name];
        }
        *place = value.clone();
    }
    document
}

fn names(path: &Path) -> Option<Vec<&str>> {
    path.steps
        .iter()
        .map(|step| match step {
            Step::Name(name) => Some(name.as_str()),
            Step::Index(_) => None,
        })
        .collect()
}

fn summary(items: &[Item], group: &Group) -> Json {
    let mut row = Map::new();
    for (item, column) in items.iter().zip(&group.columns) {
        let value = match &item.what {
            What::Value(expr) => eval(expr, &Document(&group.first)).into_json(),
            What::Aggregate(Aggregate::Count, _) => Some(Json::from(group.count)),
            What::Aggregate(Aggregate::Sum, _) => Some(json_number(column.sum)),
            What::Aggregate(Aggregate::Avg, _) => {
                (column.count > 0).then(|| json_number(column.sum / column.count as f64))
            }
            What::Aggregate(Aggregate::Min, _) => column.least.map(json_number),
            What::Aggregate(Aggregate::Max, _) => column.most.map(json_number),
        };
        if let Some(value) = value {
            row.insert(item.name.clone(), value);
        }
    }
    Json::Object(row)
}

fn at<'d>(path: &Path, document: &'d Json) -> Value<'d> {
    let mut json = document;
    for step in &path.steps {
        let found = match step {
            Step::Name(name) => json.get(name),
            Step::Index(index) => json.get(index),
        };
        let Some(found) = found else { return Value::Undefined };
        json = found;
    }
    Value::of_json(json)
}
