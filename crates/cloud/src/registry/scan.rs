//! Reading all twins, for queries.

use super::error::Error;
use super::{Inner, Registry, tables, view};
use ironbrook_model::Refusal;
use ironbrook_model::twin::Twin;
use ironbrook_query::twin::{Source, TwinQuery};
use redb::ReadTransaction;
use serde_json::Value;
use std::ops::Bound;

/// A part of an answer.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Page {
    /// The items.
    pub items: Vec<Value>,
    /// Where the next page begins; `None` at the end.
    pub next: Option<Place>,
}

/// A place in an answer, between two pages. Comes back from callers, so nothing in it is trusted.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct Place {
    /// Key of the last document looked at, for queries that answer row by row.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    after: Option<String>,
    /// Items given before.
    given: usize,
}

impl Registry {
    /// Runs a query and returns up to `page` items from a place on, on a thread that may wait for the disk. Each page sees the
    /// newest state.
    pub async fn query(&self, query: TwinQuery, from: Place, page: usize) -> Result<Page, Refusal> {
        let inner = self.inner.clone();
        let read = move |tx: &ReadTransaction| match query.source() {
            // There are no jobs yet, so there is none to find.
            Source::Jobs => Ok(Page::default()),
            source if query.is_row_by_row() => rows(&inner, tx, &query, source, &from, page),
            source => groups(&inner, tx, &query, source, &from, page),
        };
        self.inner.store.read(read).await
    }
}

/// One page of a query whose items come of one document each.
fn rows(
    inner: &Inner,
    tx: &ReadTransaction,
    query: &TwinQuery,
    source: Source,
    from: &Place,
    page: usize,
) -> Result<Page, Error> {
    let left = query.top().map_or(usize::MAX, |top| top.saturating_sub(from.given));
    let page = page.min(left);
    let (mut found, mut after) = (Vec::new(), from.after.clone());
    let mut more = false;
    if page > 0 {
        documents(inner, tx, source, from.after.as_deref(), |key, document| {
            if !query.matches(&document) {
                return true;
            }
            more = found.len() == page;
            if !more {
                found.push(document);
                after = Some(key.to_owned());
            }
            !more
        })?;
    }
    let given = from.given + found.len();
    let next = (more && found.len() < left).then_some(Place { after, given });
    Ok(Page { items: query.run(found), next })
}

/// One page of a query that must see all documents before it knows its first item.
fn groups(
    inner: &Inner,
    tx: &ReadTransaction,
    query: &TwinQuery,
    source: Source,
    from: &Place,
    page: usize,
) -> Result<Page, Error> {
    // Only what the condition keeps is held in memory.
    let mut kept = Vec::new();
    documents(inner, tx, source, None, |_, document| {
        if query.matches(&document) {
            kept.push(document);
        }
        true
    })?;
    let mut items = query.run(kept);
    items.drain(..from.given.min(items.len()));
    let more = items.len() > page;
    items.truncate(page);
    let given = from.given + items.len();
    Ok(Page { items, next: more.then_some(Place { after: None, given }) })
}

/// Hands every twin of a source, in the order of keys, to `visit` until it returns false.
fn documents(
    inner: &Inner,
    tx: &ReadTransaction,
    source: Source,
    after: Option<&str>,
    mut visit: impl FnMut(&str, Value) -> bool,
) -> Result<(), Error> {
    let identities = tx.open_table(tables::IDENTITIES)?;
    let twins = tx.open_table(tables::TWINS)?;
    let activities = tx.open_table(tables::ACTIVITY)?;
    let from = after.map_or(Bound::Unbounded, Bound::Excluded);
    for row in twins.range::<&str>((from, Bound::Unbounded))? {
        let (key, twin) = row?;
        let identity = tables::identity(key.value())?;
        if identity.module.is_some() != (source == Source::Modules) {
            continue;
        }
        let twin: Twin = tables::decode("twin", twin.value())?;
        let Some(mut stored) = super::identities::get(&identities, "identity", key.value())? else {
            return Err(Error::Stored { what: "twin", why: "its identity is missing".to_owned() });
        };
        super::activity::fill(&activities, key.value(), &mut stored)?;
        if !visit(key.value(), view::twin(inner, &identity, &stored, &twin)) {
            break;
        }
    }
    Ok(())
}
