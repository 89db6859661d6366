//! Reading twins for queries: by the index where it helps, all of them otherwise.

use super::error::Error;
use super::index::Lookup;
use super::{Inner, Registry, tables, view};
use ironbrook_model::twin::Twin;
use ironbrook_model::{DeviceId, Identity, Refusal};
use ironbrook_query::twin::{Equality, Literal, Source, TwinQuery};
use redb::{ReadTransaction, ReadableTable};
use serde_json::Value;
use std::collections::BTreeSet;
use std::ops::Bound;

/// Entries counted at most to find out which of several lookups is the shortest.
const COUNTED_MAX: usize = 2000;

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
    pub(super) after: Option<String>,
    /// Items given before.
    pub(super) given: usize,
}

/// How the twins that may match are found. All ways go in the order of keys, so a place in an answer stays good whichever is
/// taken for the next page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Plan {
    /// All are looked at.
    All,
    /// Those of these devices.
    Devices(BTreeSet<DeviceId>),
    /// Those the index names.
    Indexed(Lookup),
}

impl Plan {
    /// The way with the fewest twins.
    pub fn of(tx: &ReadTransaction, source: Source, equalities: &[Equality<'_>]) -> Result<Self, Error> {
        if let Some(devices) = equalities.iter().find_map(devices) {
            return Ok(Self::Devices(devices));
        }
        let mut best: Option<(usize, Lookup)> = None;
        for lookup in equalities.iter().filter_map(|equality| Lookup::of(source, equality)) {
            let most = best.as_ref().map_or(COUNTED_MAX, |(count, _)| *count);
            let count = lookup.count(tx, most)?;
            if best.as_ref().is_none_or(|(least, _)| count < *least) {
                best = Some((count, lookup));
            }
        }
        Ok(best.map_or(Self::All, |(_, lookup)| Self::Indexed(lookup)))
    }
}

/// The devices a condition names, where it names some.
fn devices(equality: &Equality<'_>) -> Option<BTreeSet<DeviceId>> {
    if equality.path != ["deviceId"] {
        return None;
    }
    // What is no id is nobody's.
    let id = |value: &Literal<'_>| match value {
        Literal::Text(text) => DeviceId::new(*text).ok(),
        Literal::Bool(_) | Literal::Number(_) => None,
    };
    Some(equality.values.iter().filter_map(id).collect())
}

impl Registry {
    /// Runs a query and returns up to `page` items from a place on, on a thread that may wait for the disk. Each page sees the
    /// newest state.
    pub async fn query(&self, query: TwinQuery, from: Place, page: usize) -> Result<Page, Refusal> {
        let inner = self.inner.clone();
        let read = move |tx: &ReadTransaction| {
            if query.is_row_by_row() {
                return rows(&inner, tx, &query, &from, page);
            }
            if query.is_count() && query.source() != Source::Jobs {
                let items = query.counted(count(&inner, tx, &query)?);
                return Ok(sliced(items, &from, page));
            }
            groups(&inner, tx, &query, &from, page)
        };
        self.inner.store.read(read).await
    }
}

/// One page of a query whose items come of one document each.
fn rows(
    inner: &Inner,
    tx: &ReadTransaction,
    query: &TwinQuery,
    from: &Place,
    page: usize,
) -> Result<Page, Error> {
    let left = query.top().map_or(usize::MAX, |top| top.saturating_sub(from.given));
    let page = page.min(left);
    let (mut found, mut after) = (Vec::new(), from.after.clone());
    let mut more = false;
    if page > 0 {
        documents(inner, tx, query, from.after.as_deref(), |key, document| {
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
    from: &Place,
    page: usize,
) -> Result<Page, Error> {
    // Only what the condition keeps is held in memory.
    let mut kept = Vec::new();
    documents(inner, tx, query, None, |_, document| {
        if query.matches(&document) {
            kept.push(document);
        }
        true
    })?;
    Ok(sliced(query.run(kept), from, page))
}

fn sliced(mut items: Vec<Value>, from: &Place, page: usize) -> Page {
    items.drain(..from.given.min(items.len()));
    let more = items.len() > page;
    items.truncate(page);
    let given = from.given + items.len();
    Page { items, next: more.then_some(Place { after: None, given }) }
}

/// How many twins match; without looking at any where the index or the keys alone tell.
pub(super) fn count(inner: &Inner, tx: &ReadTransaction, query: &TwinQuery) -> Result<u64, Error> {
    let mut count = 0;
    let plan = Plan::of(tx, query.source(), &query.equalities())?;
    match &plan {
        Plan::Indexed(lookup) if lookup.is_exact() => count = lookup.count(tx, usize::MAX)? as u64,
        Plan::All if query.takes_all() => {
            for row in tx.open_table(tables::TWINS)?.iter()? {
                let is_module = !row?.0.value().ends_with('\0');
                count += u64::from(is_module == (query.source() == Source::Modules));
            }
        }
        _ => visit(inner, tx, query.source(), &plan, None, |_, document| {
            count += u64::from(query.matches(&document));
            true
        })?,
    }
    Ok(count)
}

/// Hands the documents that may match, in the order of keys, to `visit` until it returns false.
fn documents(
    inner: &Inner,
    tx: &ReadTransaction,
    query: &TwinQuery,
    after: Option<&str>,
    show: impl FnMut(&str, Value) -> bool,
) -> Result<(), Error> {
    if query.source() == Source::Jobs {
        return super::jobs::documents(tx, &query.equalities(), after, show);
    }
    let plan = Plan::of(tx, query.source(), &query.equalities())?;
    visit(inner, tx, query.source(), &plan, after, show)
}

/// Hands the twins a plan leads to, in the order of keys, to `show` until it returns false.
pub(super) fn visit(
    inner: &Inner,
    tx: &ReadTransaction,
    source: Source,
    plan: &Plan,
    after: Option<&str>,
    mut show: impl FnMut(&str, Value) -> bool,
) -> Result<(), Error> {
    let reader = Reader::open(inner, tx)?;
    let is_wanted = |key: &str| key.ends_with('\0') != (source == Source::Modules);
    match plan {
        Plan::All => {
            let from = after.map_or(Bound::Unbounded, Bound::Excluded);
            for row in reader.twins.range::<&str>((from, Bound::Unbounded))? {
                let (key, twin) = row?;
                let key = key.value();
                if is_wanted(key) && !show(key, reader.document(key, twin.value())?) {
                    break;
                }
            }
        }
        Plan::Devices(devices) => {
            for device in devices {
                let (from, to) = tables::device_range(device);
                for row in reader.twins.range(from.as_str()..to.as_str())? {
                    let (key, twin) = row?;
                    let key = key.value();
                    let is_after = after.is_none_or(|after| key > after);
                    if is_after && is_wanted(key) && !show(key, reader.document(key, twin.value())?) {
                        return Ok(());
                    }
                }
            }
        }
        Plan::Indexed(lookup) => lookup.keys(tx, after, |key| {
            let twin = reader
                .twins
                .get(key)?
                .ok_or(Error::Stored { what: "index entry", why: "its twin is missing".to_owned() })?;
            Ok(show(key, reader.document(key, twin.value())?))
        })?,
    }
    Ok(())
}

/// The tables a document is made of.
struct Reader<'r> {
    inner: &'r Inner,
    identities: redb::ReadOnlyTable<&'static str, &'static [u8]>,
    twins: redb::ReadOnlyTable<&'static str, &'static [u8]>,
    activities: redb::ReadOnlyTable<&'static str, &'static [u8]>,
}

impl<'r> Reader<'r> {
    fn open(inner: &'r Inner, tx: &ReadTransaction) -> Result<Self, Error> {
        Ok(Self {
            inner,
            identities: tx.open_table(tables::IDENTITIES)?,
            twins: tx.open_table(tables::TWINS)?,
            activities: tx.open_table(tables::ACTIVITY)?,
        })
    }

    /// The twin of a key as services see it.
    fn document(&self, key: &str, twin: &[u8]) -> Result<Value, Error> {
        let identity: Identity = tables::identity(key)?;
        let twin: Twin = tables::decode("twin", twin)?;
        let Some(mut stored) = super::identities::get(&self.identities, "identity", key)? else {
            return Err(Error::Stored { what: "twin", why: "its identity is missing".to_owned() });
        };
        super::activity::fill(&self.activities, key, &mut stored)?;
        Ok(view::twin(self.inner, &identity, &stored, &twin))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan_of(query: &str, tx: &ReadTransaction) -> Plan {
        let query = TwinQuery::parse(query).unwrap();
        Plan::of(tx, query.source(), &query.equalities()).unwrap()
    }

    #[tokio::test]
    async fn a_query_by_id_or_tag_does_not_look_at_every_twin() {
        use super::super::tests::{clock, device, open};
        use super::super::{IfMatch, TwinChange, Wish};
        let registry = open(&ironbrook_log::Memory::new(), &clock());
        for n in 0..20 {
            let identity = device(&format!("d{n:02}"));
            registry.create(identity.clone(), Wish::default()).await.unwrap();
            let tags = serde_json::json!({"site": if n == 7 { "a" } else { "b" }, "row": {"n": n % 2}});
            let change = TwinChange::Patch { tags: tags.as_object().cloned(), desired: None };
            registry.change_twin(identity, change, IfMatch::Any).await.unwrap();
        }
        let looked_at = |query: &str| {
            let (inner, query) = (registry.inner.clone(), TwinQuery::parse(query).unwrap());
            registry.inner.store.read_now(|tx| {
                let plan = Plan::of(tx, query.source(), &query.equalities())?;
                let mut keys = Vec::new();
                visit(&inner, tx, query.source(), &plan, None, |key, _| {
                    keys.push(key.trim_end_matches('\0').to_owned());
                    true
                })?;
                Ok(keys)
            })
        };
        let all = "SELECT * FROM devices WHERE";
        assert_eq!(looked_at(&format!("{all} tags.site = 'a'")).unwrap(), ["d07"]);
        assert_eq!(looked_at(&format!("{all} tags.row.n = 1 AND tags.site = 'a'")).unwrap(), ["d07"]);
        assert_eq!(looked_at(&format!("{all} tags.row.n IN [1, 5]")).unwrap().len(), 10);
        assert_eq!(looked_at(&format!("{all} tags.row.n IN [1, 0]")).unwrap().len(), 20);
        assert_eq!(looked_at(&format!("{all} deviceId = 'd03' AND tags.site = 'b'")).unwrap(), ["d03"]);
        assert_eq!(looked_at(&format!("{all} tags.site != 'a'")).unwrap().len(), 20);
        registry
            .inner
            .store
            .read_now(|tx| {
                assert!(matches!(plan_of("SELECT * FROM devices", tx), Plan::All));
                let counted = |text: &str| count(&registry.inner, tx, &TwinQuery::parse(text).unwrap());
                assert_eq!(counted("SELECT COUNT() FROM devices WHERE tags.site = 'b'").unwrap(), 19);
                assert_eq!(counted("SELECT COUNT() FROM devices").unwrap(), 20);
                assert_eq!(counted("SELECT COUNT() FROM devices.modules").unwrap(), 0);
                Ok(())
            })
            .unwrap();
    }
}
