//! The hub's registry through the device's own client.

use super::{ModuleRegistry, RegistryError};
use async_trait::async_trait;
use ironbrook_client::{DeviceRegistryClient, Error, ModuleRecord};
use ironbrook_model::ModuleId;
use serde_json::Value;

#[async_trait]
impl ModuleRegistry for DeviceRegistryClient {
    async fn module(&self, module: &ModuleId) -> Result<Option<ModuleRecord>, RegistryError> {
        found(self.module(module).await)
    }

    async fn modules(&self) -> Result<Vec<ModuleRecord>, RegistryError> {
        Ok(self.modules().await?)
    }

    async fn put_module(
        &self,
        module: &ModuleId,
        body: &Value,
        update: bool,
    ) -> Result<ModuleRecord, RegistryError> {
        Ok(self.put_module(module, body, update.then_some("*")).await?)
    }

    async fn delete_module(&self, module: &ModuleId) -> Result<(), RegistryError> {
        found(self.delete_module(module).await).map(drop)
    }
}

fn found<T>(asked: Result<T, Error>) -> Result<Option<T>, RegistryError> {
    match asked {
        Err(Error::Refused { status: 404, .. }) => Ok(None),
        asked => Ok(Some(asked?)),
    }
}

impl From<Error> for RegistryError {
    fn from(error: Error) -> Self {
        match error {
            Error::Unauthorized(text) => Self::Unauthorized(text),
            Error::Refused { status: 401, message } => Self::Unauthorized(message),
            // 429 and the hub's own failures are transient too: the identity kept here still holds.
            error if error.is_transient() => Self::Away(error.to_string()),
            Error::Refused { status, message } => Self::Refused { status, message },
            error => Self::Refused { status: 0, message: error.to_string() },
        }
    }
}
