//! Who the modules are, for the agent: the daemon's identities, known to the edge hub too.

use super::first_routes::FirstRoutes;
use crate::agent::DaemonIdentities;
use crate::agent::seams::{Identities, IdentityError};
use crate::daemon::Daemon;
use crate::hub;
use async_trait::async_trait;
use ironbrook_model::{
    AuthenticationType, DeviceId, Identity, IdentityRecord, IdentityStatus, ModuleId, SymmetricKeys,
};
use std::collections::BTreeSet;

/// The daemon's identities, which the edge hub knows at once.
pub(super) struct Known {
    daemon: DaemonIdentities,
    keys: Daemon,
    hub: hub::Handle,
    device: DeviceId,
    first: FirstRoutes,
}

impl Known {
    pub(super) fn new(daemon: Daemon, hub: hub::Handle, device: DeviceId, first: FirstRoutes) -> Self {
        Self { daemon: DaemonIdentities::new(daemon.clone()), keys: daemon, hub, device, first }
    }

    fn identity(&self, module: &str) -> Option<Identity> {
        Some(Identity::module(self.device.clone(), ModuleId::new(module.to_owned()).ok()?))
    }

    /// Lets a module connect before the hub tells of it.
    async fn learn(&self, module: &str) {
        let (Some(known), Ok(key)) = (self.keys.known_identity(module), self.keys.module_key(module)) else {
            return;
        };
        let record = IdentityRecord {
            identity: Identity::module(self.device.clone(), known.module_id),
            generation_id: known.generation_id,
            status: IdentityStatus::Enabled,
            // The one it signs with; the hub tells the other.
            authentication: AuthenticationType::Sas(SymmetricKeys { primary: key.clone(), secondary: key }),
            is_gateway: false,
            parents: Vec::new(),
            status_updated: None,
        };
        if let Err(refusal) = self.hub.learn(record).await {
            tracing::warn!(module, error = %refusal, "a new module is known here only after the hub has told of it");
        }
    }
}

#[async_trait]
impl Identities for Known {
    async fn ensure(&self, module: &str) -> Result<Vec<(String, String)>, IdentityError> {
        let variables = self.daemon.ensure(module).await?;
        self.learn(module).await;
        // Nothing starts without its identity.
        self.first.wait().await;
        Ok(variables)
    }

    async fn managed(&self) -> Result<BTreeSet<String>, IdentityError> {
        self.daemon.managed().await
    }

    async fn remove(&self, module: &str) -> Result<(), IdentityError> {
        self.daemon.remove(module).await?;
        if let Some(identity) = self.identity(module)
            && let Err(refusal) = self.hub.forget(&identity).await
        {
            tracing::warn!(module, error = %refusal, "a removed module is forgotten here only later");
        }
        Ok(())
    }

    async fn release(&self, module: &str) {
        self.daemon.release(module).await;
    }
}
