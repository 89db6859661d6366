//! What the agent must remember of its modules over its own restart.

use super::seams::Store;
use crate::manifest::{AgentDesired, ModuleDesired, without_passwords};
use ironbrook_model::Timestamp;
use ironbrook_model::twin::Object;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// The file of the last good deployment.
const DEPLOYMENT_FILE: &str = "deployment.json";
/// The file of what is known of modules.
const MODULES_FILE: &str = "modules.json";

/// A deployment that can be used.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Deployment {
    /// `$version` of the desired properties.
    pub(super) version: u64,
    pub(super) desired: AgentDesired,
}

impl Deployment {
    /// The last good one. Damage is told and costs only the start without the hub.
    pub(super) async fn load(store: &dyn Store) -> Option<Self> {
        let document = load(store, DEPLOYMENT_FILE).await?;
        let version = document.get("version").and_then(Value::as_u64)?;
        match AgentDesired::parse(document.get("desired")?.as_object()?) {
            Ok(desired) => Some(Self { version, desired }),
            Err(error) => {
                tracing::warn!(%error, "the stored deployment cannot be used; waiting for the hub's");
                None
            }
        }
    }

    /// Stores the section a deployment was read from; false where that failed.
    pub(super) async fn save(store: &dyn Store, version: u64, desired: &Object) -> bool {
        let document = json!({ "version": version, "desired": without_passwords(desired) });
        save(store, DEPLOYMENT_FILE, &document).await
    }
}

/// What is known of one module besides what its runtime knows.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Record {
    /// The entry it was made or last changed from.
    pub(super) applied: Option<ModuleDesired>,
    /// Restarts since it was last healthy.
    pub(super) restarts: u32,
    pub(super) last_restart: Option<Timestamp>,
}

impl Record {
    pub(super) fn clear_restarts(&mut self) {
        (self.restarts, self.last_restart) = (0, None);
    }
}

/// All records by module; written when they changed.
#[derive(Debug, Default)]
pub(super) struct Records {
    pub(super) by_name: BTreeMap<String, Record>,
    stored: BTreeMap<String, Record>,
}

impl Records {
    pub(super) async fn load(store: &dyn Store) -> Self {
        let mut by_name = BTreeMap::new();
        let document = load(store, MODULES_FILE).await.unwrap_or_default();
        for (name, entry) in document.get("modules").and_then(Value::as_object).into_iter().flatten() {
            by_name.insert(name.clone(), read(entry));
        }
        Self { stored: by_name.clone(), by_name }
    }

    pub(super) async fn save_if_changed(&mut self, store: &dyn Store) {
        if self.by_name == self.stored {
            return;
        }
        let modules: Object =
            self.by_name.iter().map(|(name, record)| (name.clone(), written(record))).collect();
        if save(store, MODULES_FILE, &json!({ "modules": modules })).await {
            self.stored = self.by_name.clone();
        }
    }
}

fn read(entry: &Value) -> Record {
    Record {
        applied: entry.get("applied").and_then(ModuleDesired::from_json),
        restarts: entry.get("restarts").and_then(Value::as_u64).and_then(|n| n.try_into().ok()).unwrap_or(0),
        last_restart: entry.get("lastRestart").and_then(Value::as_i64).map(Timestamp::from_millis),
    }
}

fn written(record: &Record) -> Value {
    let mut entry = Map::new();
    if let Some(applied) = &record.applied {
        entry.insert("applied".to_owned(), Value::Object(applied.to_json()));
    }
    entry.insert("restarts".to_owned(), record.restarts.into());
    if let Some(time) = record.last_restart {
        entry.insert("lastRestart".to_owned(), time.as_millis().into());
    }
    Value::Object(entry)
}

async fn load(store: &dyn Store, name: &'static str) -> Option<Object> {
    let content = match store.load(name).await {
        Ok(content) => content?,
        Err(error) => {
            tracing::warn!(%error, name, "a file of the agent cannot be read");
            return None;
        }
    };
    match serde_json::from_slice(&content) {
        Ok(Value::Object(document)) => Some(document),
        _ => {
            tracing::warn!(name, "a file of the agent is damaged and not used");
            None
        }
    }
}

async fn save(store: &dyn Store, name: &'static str, document: &Value) -> bool {
    match store.save(name, document.to_string().into_bytes()).await {
        Ok(()) => true,
        Err(error) => {
            tracing::warn!(%error, name, "a file of the agent cannot be written; it would be missing at the next start");
            false
        }
    }
}
