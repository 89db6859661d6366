//! How many twins a configuration's queries find.

use super::super::error::Error;
use super::super::{Inner, scan};
use super::State;
use super::row::Row;
use ironbrook_model::Timestamp;
use ironbrook_query::twin::TwinQuery;
use redb::ReadTransaction;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::sync::{MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Results are good for so long at least.
const FRESH: Duration = Duration::from_secs(1);
/// And for so many times what counting took: who asks all the time costs a twentieth of a thread.
const FRESH_FACTOR: u32 = 20;

/// What was counted, and until when it is told without counting again.
#[derive(Debug, Clone, Default)]
pub(super) struct Results {
    until: Timestamp,
    system: Map<String, Value>,
    custom: Map<String, Value>,
}

impl State {
    pub(super) fn results(&self) -> MutexGuard<'_, BTreeMap<String, Results>> {
        self.results.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// A configuration with its results.
    pub(super) fn view_configuration(
        &self,
        tx: &ReadTransaction,
        id: &str,
        row: &Row,
    ) -> Result<Value, Error> {
        let known = self.configurations.results().get(id).cloned();
        let now = self.clock.now();
        let results = match known.filter(|known| known.until > now) {
            Some(known) => known,
            None => {
                let begin = Instant::now();
                let mut counted = self.count_all(tx, id, row)?;
                counted.until = now.plus(FRESH.max(begin.elapsed() * FRESH_FACTOR));
                self.configurations.results().insert(id.to_owned(), counted.clone());
                counted
            }
        };
        row.view(id, &results.system, &results.custom)
    }

    fn count_all(&self, tx: &ReadTransaction, id: &str, row: &Row) -> Result<Results, Error> {
        let mut results = Results::default();
        for (name, query) in row.system_metrics(id)? {
            results.system.insert(name.to_owned(), self.count(tx, &query)?.into());
        }
        for (name, query) in &row.metrics {
            results.custom.insert(name.clone(), self.count(tx, query)?.into());
        }
        Ok(results)
    }

    fn count(&self, tx: &ReadTransaction, query: &str) -> Result<u64, Error> {
        // Queries were read before they were stored.
        let query = TwinQuery::parse(query)
            .map_err(|error| Error::Stored { what: "configuration", why: error.to_string() })?;
        scan::count(self, tx, &query)
    }
}
