//! Where the scope is read: the hub's scope calls.

use super::record::{of_device, of_module};
use async_trait::async_trait;
use ironbrook_client::{DeviceRegistryClient, Error, ScopePage as WirePage};
use ironbrook_model::{Identity, IdentityRecord};
use std::sync::OnceLock;

/// A page of the scope.
#[derive(Debug, Default)]
pub struct ScopePage {
    /// Devices and modules, in any order.
    pub records: Vec<IdentityRecord>,
    /// Where the next page begins.
    pub next: Option<String>,
}

/// The hub's scope calls.
#[async_trait]
pub trait ScopeSource: Send + Sync + 'static {
    /// A page of all identities; the text of an error names the cause.
    async fn page(&self, from: Option<&str>) -> Result<ScopePage, String>;

    /// One identity; an empty page where it is not in the scope.
    async fn one(&self, identity: &Identity) -> Result<ScopePage, String>;
}

/// The hub over HTTPS, once the credential of `$edgeHub` is known.
#[derive(Default)]
pub(crate) struct HubScope(OnceLock<DeviceRegistryClient>);

impl HubScope {
    /// Gives it its client; the first counts.
    pub(crate) fn set(&self, client: DeviceRegistryClient) {
        let _ = self.0.set(client);
    }

    fn client(&self) -> Result<&DeviceRegistryClient, String> {
        self.0.get().ok_or_else(|| "$edgeHub has no identity at the hub yet".to_owned())
    }
}

#[async_trait]
impl ScopeSource for HubScope {
    async fn page(&self, from: Option<&str>) -> Result<ScopePage, String> {
        self.client()?.scope(from).await.map(page).map_err(|error| error.to_string())
    }

    async fn one(&self, identity: &Identity) -> Result<ScopePage, String> {
        match self.client()?.in_scope(identity).await {
            Err(Error::Refused { status: 404, .. }) => Ok(ScopePage::default()),
            found => found.map(page).map_err(|error| error.to_string()),
        }
    }
}

fn page(page: WirePage) -> ScopePage {
    let WirePage { devices, modules, continuation_link } = page;
    let devices = devices.into_iter().map(of_device);
    ScopePage {
        records: devices.chain(modules.into_iter().map(of_module)).collect(),
        next: continuation_link,
    }
}
