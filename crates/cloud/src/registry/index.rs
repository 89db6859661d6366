//! Which twins have a tag, or a configuration, of a value.
//!
//! The index is a table, written in the transaction that changes a twin: it needs no memory and cannot be behind. Entries
//! are made of every text, number and boolean in the tags, and of `configurations.<id>.status`. A long text is cut, so what is
//! found is looked at again; only where nothing is cut do entries alone tell.

use super::error::Error;
use super::tables::{self, IndexKey};
use ironbrook_model::twin::{ConfigurationStatus, Object, Twin};
use ironbrook_query::twin::{Equality, Literal, Source};
use redb::{ReadTransaction, ReadableTable, WriteTransaction};
use serde_json::Value;
use std::collections::{BTreeSet, BinaryHeap};

/// Between the names of a path; cannot stand in a key of a twin.
const SEPARATOR: char = '\u{1}';
/// Bytes of a text that are kept.
const TEXT_LEN_MAX: usize = 64;
/// Above every key of an identity.
const LAST_KEY: &str = "\u{10ffff}";

/// What the index says of one twin: paths and values.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Entries(BTreeSet<(String, Vec<u8>)>);

impl Entries {
    /// The entries of a twin; `key` is that of its identity.
    pub fn of(key: &str, twin: &Twin) -> Self {
        let mut entries = Self::default();
        let source = if is_module(key) { Source::Modules } else { Source::Devices };
        entries.add_all(&start(source, "tags"), &twin.tags);
        for (id, status) in &twin.configurations {
            let status = match status {
                ConfigurationStatus::Targeted => "Targeted",
                ConfigurationStatus::Applied => "Applied",
            };
            let path = [start(source, "configurations").as_str(), id, "status"].join("\u{1}");
            entries.0.insert((path, text(status).0));
        }
        entries
    }

    fn add_all(&mut self, path: &str, object: &Object) {
        for (name, value) in object {
            let path = format!("{path}{SEPARATOR}{name}");
            let bytes = match value {
                Value::Object(inner) => {
                    self.add_all(&path, inner);
                    continue;
                }
                Value::Bool(value) => boolean(*value),
                Value::Number(value) => match value.as_f64() {
                    Some(value) => number(value),
                    None => continue,
                },
                Value::String(value) => text(value).0,
                Value::Null | Value::Array(_) => continue,
            };
            self.0.insert((path, bytes));
        }
    }

    /// Writes what changed from `before` to these.
    pub fn replace(&self, tx: &WriteTransaction, key: &str, before: &Self) -> Result<(), Error> {
        if self == before {
            return Ok(());
        }
        let mut table = tx.open_table(tables::INDEX)?;
        for (path, value) in before.0.difference(&self.0) {
            table.remove((path.as_str(), value.as_slice(), key))?;
        }
        for (path, value) in self.0.difference(&before.0) {
            table.insert((path.as_str(), value.as_slice(), key), ())?;
        }
        Ok(())
    }
}

fn is_module(key: &str) -> bool {
    !key.ends_with('\0')
}

fn start(source: Source, name: &str) -> String {
    let kind = if source == Source::Modules { 'm' } else { 'd' };
    format!("{kind}{SEPARATOR}{name}")
}

fn boolean(value: bool) -> Vec<u8> {
    vec![b'b', u8::from(value)]
}

fn number(value: f64) -> Vec<u8> {
    // Zero has two signs and one meaning.
    let value = if value == 0.0 { 0.0 } else { value };
    [b"n", &value.to_bits().to_be_bytes()[..]].concat()
}

/// The bytes of a text, and whether all of it is in them.
fn text(value: &str) -> (Vec<u8>, bool) {
    let mut end = value.len().min(TEXT_LEN_MAX);
    while !value.is_char_boundary(end) {
        end -= 1;
    }
    // A whole text ends with a byte that a cut one lacks: they never meet.
    let mut bytes = vec![b't'];
    bytes.extend_from_slice(&value.as_bytes()[..end]);
    let is_whole = end == value.len();
    bytes.push(u8::from(is_whole));
    (bytes, is_whole)
}

/// Fills an empty index from all twins.
pub(super) fn build(tx: &WriteTransaction) -> Result<(), Error> {
    let twins = tx.open_table(tables::TWINS)?;
    for row in twins.iter()? {
        let (key, twin) = row?;
        let twin: Twin = tables::decode("twin", twin.value())?;
        Entries::of(key.value(), &twin).replace(tx, key.value(), &Entries::default())?;
    }
    Ok(())
}

/// Where to look for what an equality asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Lookup {
    path: String,
    values: BTreeSet<Vec<u8>>,
    /// Whether every entry found fulfils the equality, without looking at its twin.
    is_exact: bool,
}

impl Lookup {
    /// `None` where the index does not know such a path.
    pub fn of(source: Source, equality: &Equality<'_>) -> Option<Self> {
        let (first, rest) = equality.path.split_first()?;
        match (*first, rest) {
            ("tags", [_, ..]) | ("configurations", [_, "status"]) => {}
            _ => return None,
        }
        let path = std::iter::once(start(source, first).as_str())
            .chain(rest.iter().copied())
            .collect::<Vec<_>>()
            .join("\u{1}");
        let (mut values, mut is_exact) = (BTreeSet::new(), equality.is_whole);
        for value in &equality.values {
            values.insert(match value {
                Literal::Bool(value) => boolean(*value),
                Literal::Number(value) => number(*value),
                Literal::Text(value) => {
                    let (bytes, is_whole) = text(value);
                    is_exact &= is_whole;
                    bytes
                }
            });
        }
        Some(Self { path, values, is_exact })
    }

    /// Whether every entry found is a match.
    pub fn is_exact(&self) -> bool {
        self.is_exact
    }

    /// How many entries there are, counted up to `most`.
    pub fn count(&self, tx: &ReadTransaction, most: usize) -> Result<usize, Error> {
        let table = tx.open_table(tables::INDEX)?;
        let mut count = 0;
        for value in &self.values {
            for row in table.range(self.range(value, ""))?.take(most - count) {
                row?;
                count += 1;
            }
        }
        Ok(count)
    }

    /// Hands the keys of identities after a place to `visit`, in order, until it returns false.
    pub fn keys(
        &self,
        tx: &ReadTransaction,
        after: Option<&str>,
        mut visit: impl FnMut(&str) -> Result<bool, Error>,
    ) -> Result<(), Error> {
        let table = tx.open_table(tables::INDEX)?;
        // NUL follows a key and precedes every longer one.
        let from = after.map(|after| format!("{after}\0")).unwrap_or_default();
        let mut ranges = Vec::with_capacity(self.values.len());
        let mut heads = BinaryHeap::new();
        for value in &self.values {
            let mut range = table.range(self.range(value, &from))?;
            if let Some(row) = range.next() {
                heads.push(std::cmp::Reverse((row?.0.value().2.to_owned(), ranges.len())));
            }
            ranges.push(range);
        }
        while let Some(std::cmp::Reverse((key, index))) = heads.pop() {
            if !visit(&key)? {
                break;
            }
            if let Some(row) = ranges[index].next() {
                heads.push(std::cmp::Reverse((row?.0.value().2.to_owned(), index)));
            }
        }
        Ok(())
    }

    fn range<'r>(&'r self, value: &'r [u8], from: &'r str) -> std::ops::Range<IndexKey<'r>> {
        (self.path.as_str(), value, from)..(self.path.as_str(), value, LAST_KEY)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{clock, device, open};
    use super::super::{IfMatch, Place, TwinChange, Wish, tables};
    use super::*;
    use ironbrook_log::Memory;
    use ironbrook_query::twin::TwinQuery;
    use redb::ReadableTableMetadata as _;
    use serde_json::json;

    async fn found(registry: &super::super::Registry, condition: &str) -> Vec<String> {
        let query = TwinQuery::parse(&format!("SELECT deviceId FROM devices WHERE {condition}")).unwrap();
        let page = registry.query(query, Place::default(), 1000).await.unwrap();
        page.items.iter().map(|item| item["deviceId"].as_str().unwrap().to_owned()).collect()
    }

    #[tokio::test]
    async fn a_database_of_the_format_before_gets_its_index_when_it_is_opened() {
        let (memory, clock) = (Memory::new(), clock());
        let registry = open(&memory, &clock);
        registry.create(device("d"), Wish::default()).await.unwrap();
        let change = TwinChange::Patch { tags: json!({"a": 1}).as_object().cloned(), desired: None };
        registry.change_twin(device("d"), change, IfMatch::Any).await.unwrap();
        let older = |changes: &super::super::store::Changes<'_>| {
            changes.tx.open_table(tables::INDEX)?.retain(|_, ()| false)?;
            changes.tx.open_table(tables::COUNTERS)?.insert("format", 1)?;
            Ok(())
        };
        registry.inner.store.write(older).await.unwrap();
        assert_eq!(found(&registry, "tags.a = 1").await, [""; 0]);
        registry.close().await;
        drop(registry);
        assert_eq!(found(&open(&memory, &clock), "tags.a = 1").await, ["d"]);
    }

    #[tokio::test]
    async fn the_index_finds_what_a_look_at_every_twin_finds() {
        let registry = open(&Memory::new(), &clock());
        let long = "x".repeat(TEXT_LEN_MAX);
        let values = [
            json!("a"),
            json!(""),
            json!(long),
            json!(format!("{long}y")),
            json!(format!("{long}z")),
            json!(0),
            json!(-0.0),
            json!(1.5),
            json!(true),
            json!([1]),
            json!({"in": 1}),
        ];
        for (n, value) in values.iter().enumerate() {
            let id = device(&format!("d{n:02}"));
            registry.create(id.clone(), Wish::default()).await.unwrap();
            // Another value first, so that what was there has to go.
            for tags in [json!({"k": "before", "gone": 1}), json!({"k": value, "gone": null})] {
                let change = TwinChange::Patch { tags: tags.as_object().cloned(), desired: None };
                registry.change_twin(id.clone(), change, IfMatch::Any).await.unwrap();
            }
        }
        for value in &values[..9] {
            let text = value.to_string().replace("-0.0", "0");
            // The second form keeps the index out.
            let (by_index, by_looking) = (format!("tags.k = {text}"), format!("NOT (tags.k != {text})"));
            assert_eq!(found(&registry, &by_index).await, found(&registry, &by_looking).await, "{by_index}");
        }
        assert_eq!(found(&registry, "tags.k.in = 1").await, ["d10"]);
        assert_eq!(found(&registry, "tags.k = 'before' OR tags.k = 'a'").await, ["d00"]);
        let replace = TwinChange::Replace { tags: Object::new(), desired: Object::new() };
        registry.change_twin(device("d00"), replace, IfMatch::Any).await.unwrap();
        for n in 1..values.len() {
            registry.delete(device(&format!("d{n:02}")), IfMatch::Any).await.unwrap();
        }
        let left = registry.inner.store.read(|tx| Ok(tx.open_table(tables::INDEX)?.len()?)).await;
        assert_eq!(left, Ok(0));
    }
}
