//! Module identities, made in the hub with the device's own credential.
//!
//! A module's keys are never made by the hub and never on disk: they follow from the device's key and the generation id that the
//! hub gave the module. So a start without the hub needs only the generation ids, which are kept in `identities.json`.

mod adapter;
mod kept;

use super::{Config, Error, bare_name};
use async_trait::async_trait;
use ironbrook_client::ModuleRecord;
use ironbrook_hub::seams::Clock;
use ironbrook_model::{AuthenticationType, DeviceId, ModuleId, SharedAccessKey, SymmetricKeys, Timestamp};
use kept::Kept;
use serde_json::{Value, json};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long the hub may take for one identity.
const REGISTRY_TIME: Duration = Duration::from_secs(20);
/// The same where the answer is known from before: a line that swallows packets must not keep modules from starting.
const KNOWN_TIME: Duration = Duration::from_secs(2);
/// How long a hub that did not answer is not asked again where the answer is known: a start with many modules shall not wait for
/// each of them.
const AWAY_TIME: Duration = Duration::from_secs(30);
/// Who looks after the modules made here, as the hub shows it.
const MANAGED_BY: &str = "iotedge";

/// A module's identity.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ModuleIdentity {
    /// Its id in the hub (`$edgeHub`).
    pub module_id: ModuleId,
    /// New each time the module is created in the hub.
    pub generation_id: String,
    /// Who looks after it; `iotedge` or `IotEdge` for modules of deployments, empty where nobody is named.
    pub managed_by: String,
}

impl ModuleIdentity {
    /// Whether it was made for a deployment, so that it may be removed with it.
    pub fn is_managed_here(&self) -> bool {
        self.managed_by.eq_ignore_ascii_case(MANAGED_BY)
    }
}

impl From<ModuleRecord> for ModuleIdentity {
    fn from(record: ModuleRecord) -> Self {
        let ModuleRecord { module_id, generation_id, managed_by, .. } = record;
        Self { module_id, generation_id, managed_by }
    }
}

/// Why the hub's registry did not do as asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RegistryError {
    /// The device's credential does not hold.
    #[error(
        "the hub refuses the device's credential ({0}); check the key in the connection string, that the device is enabled and an edge device, and this machine's clock"
    )]
    Unauthorized(String),
    /// The hub could not be reached, or failed in itself; later it may work.
    #[error("the hub cannot be reached: {0}")]
    Away(String),
    /// The hub understood and said no.
    #[error("the hub refused with {status}: {message}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// The hub's text.
        message: String,
    },
}

/// The hub's registry of this device's modules, with the device's credential; in earnest
/// [`DeviceRegistryClient`](ironbrook_client::DeviceRegistryClient).
#[async_trait]
pub trait ModuleRegistry: Send + Sync + 'static {
    /// One module; `None` where there is none.
    async fn module(&self, module: &ModuleId) -> Result<Option<ModuleRecord>, RegistryError>;

    /// All modules of the device.
    async fn modules(&self) -> Result<Vec<ModuleRecord>, RegistryError>;

    /// Creates a module, or with `update` changes the one that is there whatever its etag (`If-Match: *`). Returns it.
    async fn put_module(
        &self,
        module: &ModuleId,
        body: &Value,
        update: bool,
    ) -> Result<ModuleRecord, RegistryError>;

    /// Deletes a module; one that is not there is as good as deleted.
    async fn delete_module(&self, module: &ModuleId) -> Result<(), RegistryError>;
}

/// The identities of one device's modules.
pub(crate) struct Identities {
    device: DeviceId,
    key: SharedAccessKey,
    registry: Arc<dyn ModuleRegistry>,
    clock: Arc<dyn Clock>,
    kept: Mutex<Kept>,
    /// One change at a time, so that the file never goes back.
    turn: tokio::sync::Mutex<()>,
    away_until: Mutex<Timestamp>,
}

impl Identities {
    pub fn open(
        home: &Path,
        config: &Config,
        registry: Arc<dyn ModuleRegistry>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, Error> {
        Ok(Self {
            device: config.device.clone(),
            key: config.device_key.clone(),
            registry,
            clock,
            kept: Mutex::new(Kept::open(home, &config.hub_host, &config.device)?),
            turn: tokio::sync::Mutex::default(),
            away_until: Mutex::default(),
        })
    }

    pub async fn ensure(&self, module: &str) -> Result<ModuleIdentity, Error> {
        let id = module_id(module)?;
        let _turn = self.turn.lock().await;
        let known = self.lock().get(&id);
        if let Some(known) = known.as_ref().filter(|_| self.is_away()) {
            return Ok(known.clone());
        }
        let limit = if known.is_some() { KNOWN_TIME } else { REGISTRY_TIME };
        match self.ask(limit, self.make(&id)).await {
            Ok(identity) => {
                self.keep(|kept| kept.insert(identity.clone())).await?;
                Ok(identity)
            }
            Err(RegistryError::Away(reason)) => {
                tracing::warn!(module = %id, reason, kept = known.is_some(), "the hub cannot be asked for an identity");
                known.ok_or(Error::NoIdentity(id.to_string()))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Three steps: the module is made without keys, the hub tells its generation, the keys that follow from it are set.
    async fn make(&self, id: &ModuleId) -> Result<ModuleIdentity, RegistryError> {
        let found = match self.registry.module(id).await? {
            Some(found) => found,
            None => self.create(id).await?,
        };
        let generation = found.generation_id.as_str();
        if generation.is_empty() {
            return Err(RegistryError::Away(format!("its answer tells no generation id of module {id}")));
        }
        let derive = |which| self.derive(id, generation, which);
        let keys = SymmetricKeys { primary: derive("primary"), secondary: derive("secondary") };
        if found.authentication != AuthenticationType::Sas(keys.clone()) {
            let [primary, secondary] = [keys.primary, keys.secondary].map(|key| key.to_base64());
            let body = json!({
                "moduleId": id, "deviceId": self.device, "managedBy": found.managed_by,
                "authentication": {"type": "sas", "symmetricKey": {"primaryKey": primary, "secondaryKey": secondary}},
            });
            self.registry.put_module(id, &body, true).await?;
            tracing::info!(module = %id, generation, "keys of the module set in the hub");
        }
        Ok(found.into())
    }

    async fn create(&self, id: &ModuleId) -> Result<ModuleRecord, RegistryError> {
        let body = json!({"moduleId": id, "deviceId": self.device, "managedBy": MANAGED_BY});
        match self.registry.put_module(id, &body, false).await {
            // Somebody was faster, or our own request was answered on a connection that broke.
            Err(RegistryError::Refused { status: 409, message }) => {
                self.registry.module(id).await?.ok_or(RegistryError::Refused { status: 409, message })
            }
            made => made,
        }
    }

    // rule IDENTITY-01
    fn derive(&self, id: &ModuleId, generation: &str, which: &str) -> SharedAccessKey {
        SharedAccessKey::from_bytes(&self.key.hmac_sha256(format!("{id}:{generation}:{which}").as_bytes()))
    }

    pub async fn list(&self) -> Result<Vec<ModuleIdentity>, Error> {
        let _turn = self.turn.lock().await;
        let asked = if self.is_away() {
            Err(RegistryError::Away("it did not answer a moment ago".to_owned()))
        } else {
            self.ask(REGISTRY_TIME, self.registry.modules()).await
        };
        match asked {
            Ok(modules) => {
                let identities: Vec<ModuleIdentity> = modules.into_iter().map(ModuleIdentity::from).collect();
                self.keep(|kept| kept.retain(&identities)).await?;
                Ok(identities)
            }
            Err(RegistryError::Away(_)) => Ok(self.lock().all()),
            Err(error) => Err(error.into()),
        }
    }

    pub async fn remove(&self, module: &str) -> Result<(), Error> {
        let id = module_id(module)?;
        let _turn = self.turn.lock().await;
        self.ask(REGISTRY_TIME, self.registry.delete_module(&id)).await?;
        self.keep(|kept| kept.remove(&id)).await
    }

    pub fn known(&self, module: &str) -> Option<ModuleIdentity> {
        self.lock().get(&module_id(module).ok()?)
    }

    pub fn key(&self, module: &str) -> Result<SharedAccessKey, Error> {
        let id = module_id(module)?;
        let known = self.lock().get(&id).ok_or_else(|| Error::NoIdentity(id.to_string()))?;
        Ok(self.derive(&id, &known.generation_id, "primary"))
    }

    /// Asks the hub within a time limit and remembers when it did not answer.
    async fn ask<T>(
        &self,
        limit: Duration,
        asking: impl Future<Output = Result<T, RegistryError>>,
    ) -> Result<T, RegistryError> {
        let asked = tokio::time::timeout(limit, asking)
            .await
            .unwrap_or_else(|_| Err(RegistryError::Away("no answer in time".to_owned())));
        let away = matches!(asked, Err(RegistryError::Away(_)));
        let until = if away { self.clock.now().plus(AWAY_TIME) } else { Timestamp::default() };
        *self.away_until.lock().unwrap_or_else(PoisonError::into_inner) = until;
        asked
    }

    fn is_away(&self) -> bool {
        let until = *self.away_until.lock().unwrap_or_else(PoisonError::into_inner);
        // A clock that was set back must not make it a long time.
        let left = until.since(self.clock.now());
        !left.is_zero() && left <= AWAY_TIME
    }

    /// Changes what is kept, on disk first.
    async fn keep(&self, change: impl FnOnce(&mut Kept) -> bool) -> Result<(), Error> {
        let mut next = self.lock().clone();
        if !change(&mut next) {
            return Ok(());
        }
        let written = tokio::task::spawn_blocking(move || next.write().map(|()| next)).await;
        let next = written.map_err(|error| Error::Socket(format!("identities were not kept: {error}")))??;
        *self.lock() = next;
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The module id of a name in a deployment: only the two system modules differ.
fn module_id(module: &str) -> Result<ModuleId, Error> {
    let text = match bare_name(module) {
        "edgeAgent" => "$edgeAgent",
        "edgeHub" => "$edgeHub",
        _ => module,
    };
    ModuleId::new(text).map_err(|source| Error::Id { module: module.to_owned(), source })
}

#[cfg(test)]
mod tests;
