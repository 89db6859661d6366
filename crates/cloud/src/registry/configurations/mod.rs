//! Configurations: what many twins are to hold, by a condition. Deployments of edge devices, and automatic configurations of
//! devices and modules.
//!
//! Start with [`Registry::put_configuration`]. What they say reaches twins in the background ([`converge`]): each change of a
//! twin that a condition may look at leaves a row in the same transaction, so that no crash loses one, and only such twins are
//! looked at again. A new or changed configuration is carried past all twins once. Sources: Azure docs "Understand IoT Edge
//! automatic deployments" and "Automatic device and module management using Azure IoT Hub".

mod content;
mod converge;
mod metrics;
mod row;
#[cfg(test)]
mod tests;

pub use row::{ConfigurationWish, MetricsWish};

use super::error::Error;
use super::store::{Changes, Store};
use super::{IfMatch, Inner, Registry, tables};
use content::Content;
use ironbrook_model::{ErrorCode, Identity, Refusal};
use ironbrook_query::twin::TargetCondition;
use redb::{ReadTransaction, ReadableTable, ReadableTableMetadata};
use row::Row;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use tokio::sync::Notify;

/// Members of a twin that change by themselves, without anybody writing the twin.
const RESTLESS: [&str; 4] =
    ["connectionState", "lastActivityTime", "cloudToDeviceMessageCount", "connectionStateUpdatedTime"];

/// A configuration, ready to be tried on twins.
struct Compiled {
    id: String,
    target: TargetCondition,
    content: Content,
    is_base: bool,
}

/// All configurations, the strongest last.
#[derive(Default)]
struct List {
    all: Vec<Compiled>,
    reads_reported: bool,
    reads_restless: bool,
}

impl List {
    fn of(mut rows: Vec<(String, Row)>) -> Result<Self, Error> {
        rows.sort_by_key(|(_, row)| (row.priority, row.number));
        let compile = |(id, row): (String, Row)| -> Result<Compiled, Error> {
            let target = TargetCondition::parse(&row.target_condition)
                .map_err(|error| Error::Stored { what: "configuration", why: error.to_string() })?;
            let content = row.content()?.signed(&id);
            Ok(Compiled { id, target, is_base: content.is_base(), content })
        };
        let all: Vec<_> = rows.into_iter().map(compile).collect::<Result<_, _>>()?;
        let reads = |names: &[&str]| all.iter().any(|one| one.target.reads(names));
        let reads_reported = reads(&["properties", "reported"]);
        let reads_restless = RESTLESS.iter().any(|name| reads(&[name]));
        Ok(Self { all, reads_reported, reads_restless })
    }
}

/// What of configurations is in memory.
pub(super) struct State {
    list: RwLock<Arc<List>>,
    /// Rows came into `UNSETTLED`, or all twins are to be looked at.
    filled: Notify,
    /// Results of metrics, by id; as many as there are configurations.
    results: Mutex<BTreeMap<String, metrics::Results>>,
}

impl State {
    /// Reads all configurations. Blocks.
    pub fn load(store: &Store) -> Result<Self, Error> {
        let list = store.read_now(|tx| List::of(rows(&tx.open_table(tables::CONFIGURATIONS)?)?))?;
        Ok(Self { list: RwLock::new(Arc::new(list)), filled: Notify::new(), results: Mutex::default() })
    }

    fn list(&self) -> Arc<List> {
        self.list.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn rows(table: &impl ReadableTable<&'static str, &'static [u8]>) -> Result<Vec<(String, Row)>, Error> {
    let read =
        |row: Result<(redb::AccessGuard<'_, &'static str>, redb::AccessGuard<'_, &'static [u8]>), _>| {
            let (id, bytes) = row?;
            Ok((id.value().to_owned(), tables::decode("configuration", bytes.value())?))
        };
    table.iter()?.map(read).collect()
}

/// What was done to a twin or identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Touched {
    /// By a service: identity, tags, desired properties.
    ByService,
    /// By the device: reported properties.
    ByDevice,
}

/// Inside a change: leaves a row where configurations have to be looked at again.
pub(super) fn touch(
    inner: &Arc<Inner>,
    changes: &Changes<'_>,
    identity: &Identity,
    touched: Touched,
) -> Result<(), Error> {
    let list = inner.configurations.list();
    // A configuration of this very group of changes is not in the list yet, but is carried past all twins afterwards.
    if list.all.is_empty() || (touched == Touched::ByDevice && !list.reads_reported) {
        return Ok(());
    }
    changes.tx.open_table(tables::UNSETTLED)?.insert(identity.device.as_str(), ())?;
    let inner = inner.clone();
    changes.after(move || inner.configurations.filled.notify_one());
    Ok(())
}

/// Why queries of a configuration cannot be used; empty where they can.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TestedQueries {
    /// Of the target condition.
    pub target_condition: Option<String>,
    /// Of metrics, by name.
    pub metrics: BTreeMap<String, String>,
}

impl TestedQueries {
    /// Tries a target condition and the queries of metrics.
    pub fn of(target_condition: &str, metrics: &BTreeMap<String, String>) -> Self {
        let metrics =
            metrics.iter().filter_map(|(name, query)| Some((name.clone(), row::metric_error(query)?)));
        Self { target_condition: row::condition_error(target_condition), metrics: metrics.collect() }
    }
}

impl Registry {
    /// Creates a configuration (409401 if it exists, 413101 if there are too many) or, with a precondition, changes it
    /// (404301, 412001). 400401 target condition, 400402 content, 400403 other content than before, 400404 metrics.
    pub async fn put_configuration(
        &self,
        id: String,
        wish: ConfigurationWish,
        if_match: Option<IfMatch>,
    ) -> Result<Value, Refusal> {
        row::check_id(&id)?;
        let inner = self.inner.clone();
        let change = move |changes: &Changes<'_>| {
            let row = put(&inner, changes, &id, wish, if_match.as_ref())?;
            carry_round(&inner, changes)?;
            row.view(&id, &Map::new(), &Map::new())
        };
        self.inner.store.write(change).await
    }

    /// Deletes a configuration: its targets take the next one that is for them, and stay as they are where there is none.
    /// 404301, 412001.
    pub async fn delete_configuration(&self, id: String, if_match: IfMatch) -> Result<(), Refusal> {
        let inner = self.inner.clone();
        let change = move |changes: &Changes<'_>| {
            let row = find(&changes.tx.open_table(tables::CONFIGURATIONS)?, &id)?;
            if_match.check(&row.etag)?;
            changes.tx.open_table(tables::CONFIGURATIONS)?.remove(id.as_str())?;
            carry_round(&inner, changes)?;
            changes.after(move || drop(inner.configurations.results().remove(&id)));
            Ok(())
        };
        self.inner.store.write(change).await
    }

    /// A configuration with the results of its metrics. 404301.
    pub async fn configuration(&self, id: String) -> Result<Value, Refusal> {
        let inner = self.inner.clone();
        let read = move |tx: &ReadTransaction| {
            let row = find(&tx.open_table(tables::CONFIGURATIONS)?, &id)?;
            inner.view_configuration(tx, &id, &row)
        };
        self.inner.store.read(read).await
    }

    /// Up to `top` configurations, by id.
    pub async fn list_configurations(&self, top: usize) -> Result<Vec<Value>, Refusal> {
        let inner = self.inner.clone();
        let read = move |tx: &ReadTransaction| {
            let rows = rows(&tx.open_table(tables::CONFIGURATIONS)?)?;
            rows.iter().take(top).map(|(id, row)| inner.view_configuration(tx, id, row)).collect()
        };
        self.inner.store.read(read).await
    }
}

fn find(table: &impl ReadableTable<&'static str, &'static [u8]>, id: &str) -> Result<Row, Error> {
    super::identities::get(table, "configuration", id)?.ok_or_else(|| {
        Error::refuse(ErrorCode::ConfigurationNotFound, format!("there is no configuration '{id}'"))
    })
}

fn put(
    inner: &Inner,
    changes: &Changes<'_>,
    id: &str,
    wish: ConfigurationWish,
    if_match: Option<&IfMatch>,
) -> Result<Row, Error> {
    let now = inner.clock.now();
    let mut row = {
        let table = changes.tx.open_table(tables::CONFIGURATIONS)?;
        match if_match {
            Some(if_match) => {
                let row = find(&table, id)?;
                if_match.check(&row.etag)?;
                row
            }
            None if table.get(id)?.is_some() => {
                return Err(Error::refuse(
                    ErrorCode::ConfigurationAlreadyExists,
                    format!("A configuration with ID '{id}' exists; send If-Match to change it."),
                ));
            }
            None if table.len()? >= inner.config.configurations as u64 => {
                return Err(Error::refuse(
                    ErrorCode::ConfigurationCountLimitExceeded,
                    format!("{} configurations are there, as many as are allowed", table.len()?),
                ));
            }
            None => Row::new(now, 0),
        }
    };
    row.apply(wish, now, inner.config.configuration_metrics)?;
    if if_match.is_none() {
        row.number = changes.next_number("configurations")?;
    }
    let mut table = changes.tx.open_table(tables::CONFIGURATIONS)?;
    table.insert(id, tables::encode("configuration", &row)?.as_slice())?;
    Ok(row)
}

/// Inside a change of configurations: all twins are to be looked at, from the first on.
fn carry_round(inner: &Arc<Inner>, changes: &Changes<'_>) -> Result<(), Error> {
    let list = List::of(rows(&changes.tx.open_table(tables::CONFIGURATIONS)?)?)?;
    converge::begin_round(changes)?;
    let inner = inner.clone();
    changes.after(move || {
        *inner.configurations.list.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(list);
        inner.configurations.results().clear();
        inner.configurations.filled.notify_one();
    });
    Ok(())
}

impl TestedQueries {
    /// As the service API answers it.
    pub fn view(&self) -> Value {
        json!({ "targetConditionError": self.target_condition, "customMetricQueryErrors": self.metrics })
    }
}
