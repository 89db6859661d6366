//! A module finds its way by environment variables, as stock SDKs do: either those that the daemon sets for a module it
//! starts, or a connection string and an authority's file, for development.

use super::Builder;
use crate::error::{Error, Result};
use crate::transport::{BoxStream, Dial, Remote, Trust};
use crate::workload::{API_VERSION_FIRST, Workload};
use ironbrook_model::{DeviceId, Identity, ModuleId};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

/// Connection strings, in the order they are looked for.
const CONNECTION_STRINGS: [&str; 2] = [
    "EdgeHubConnectionString", // tidy: wire word
    "IotHubConnectionString",
];
const CA_FILE: &str = "EdgeModuleCACertificateFile"; // tidy: wire word
const WORKLOAD_URI: &str = "IOTEDGE_WORKLOADURI";
const API_VERSION: &str = "IOTEDGE_APIVERSION";
const AUTH_SCHEME: &str = "IOTEDGE_AUTHSCHEME";
const HUB: &str = "IOTEDGE_IOTHUBHOSTNAME";
const GATEWAY: &str = "IOTEDGE_GATEWAYHOSTNAME";
const DEVICE: &str = "IOTEDGE_DEVICEID";
const MODULE: &str = "IOTEDGE_MODULEID";
const GENERATION: &str = "IOTEDGE_MODULEGENERATIONID";

/// The scheme that is known: tokens signed by the workload API.
const SAS: &str = "sasToken";

/// Where variables come from; a test has its own.
type Lookup<'a> = &'a (dyn Fn(&str) -> Option<String> + Sync);

impl Builder {
    /// From the environment of a module: the variables that stock SDKs read (`IOTEDGE_…`), or for development a connection
    /// string with the file of an authority's certificate.
    ///
    /// Tokens are signed by the workload API, whose trust bundle is the only authority that is believed; it is read here, and again
    /// when a server's certificate does not hold. An error names the variable that is missing or wrong.
    pub async fn from_environment() -> Result<Self> {
        Self::from_lookup(&|name| std::env::var(name).ok()).await
    }

    pub(super) async fn from_lookup(lookup: Lookup<'_>) -> Result<Self> {
        if let Some(name) = CONNECTION_STRINGS.into_iter().find(|name| lookup(name).is_some()) {
            let builder = Self::new(&require(lookup, name)?)?;
            return match lookup(CA_FILE) {
                Some(path) => builder.ca_file(path),
                None => Ok(builder),
            };
        }
        if let Some(scheme) = lookup(AUTH_SCHEME).filter(|scheme| !scheme.eq_ignore_ascii_case(SAS)) {
            return Err(wrong(AUTH_SCHEME, format!("is {scheme:?}, and only {SAS} is known")));
        }
        let device = DeviceId::new(require(lookup, DEVICE)?).map_err(|e| wrong(DEVICE, e.to_string()))?;
        let module = ModuleId::new(require(lookup, MODULE)?).map_err(|e| wrong(MODULE, e.to_string()))?;
        let (hub, gateway) = (require(lookup, HUB)?, require(lookup, GATEWAY)?);
        let version = lookup(API_VERSION).unwrap_or_else(|| API_VERSION_FIRST.to_owned());
        let uri = require(lookup, WORKLOAD_URI)?;
        let workload = Workload::new(&uri, &version, module.clone(), &require(lookup, GENERATION)?)
            .map_err(|error| wrong(WORKLOAD_URI, error.to_string()))?;
        let bundle = workload.trust_bundle().await?;
        let workload = Arc::new(workload);
        let mut builder = Self::with_signer(hub, Identity::module(device, module), workload.clone())
            .gateway_host(gateway)
            .trust(Trust::Pem(bundle.into_bytes()));
        builder.bundle = Some(workload);
        Ok(builder)
    }
}

fn require(lookup: Lookup<'_>, name: &'static str) -> Result<String> {
    lookup(name).filter(|value| !value.is_empty()).ok_or_else(|| wrong(name, "is missing".to_owned()))
}

fn wrong(name: &'static str, reason: String) -> Error {
    Error::Variable { name, reason }
}

/// Dials with the workload API's trust bundle, and fetches it again when a server's certificate does not hold: the authority of a
/// gateway changes while its modules run.
pub(super) struct BundleDial {
    remote: Mutex<Remote>,
    workload: Arc<Workload>,
}

impl BundleDial {
    pub(super) fn new(remote: Remote, workload: Arc<Workload>) -> Self {
        Self { remote: Mutex::new(remote), workload }
    }

    fn remote(&self) -> Remote {
        self.remote.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn connect(&self) -> Result<BoxStream> {
        let outcome = self.remote().connect().await;
        if matches!(outcome, Err(Error::Tls { .. })) {
            // The attempt has failed, the next one finds what holds now.
            match self.refresh().await {
                Ok(()) => tracing::info!("trust bundle read again"),
                Err(error) => tracing::warn!(%error, "the trust bundle cannot be read again"),
            }
        }
        outcome
    }

    async fn refresh(&self) -> Result<()> {
        let bundle = self.workload.trust_bundle().await?;
        let tls = Trust::Pem(bundle.into_bytes()).client_config()?;
        self.remote.lock().unwrap_or_else(PoisonError::into_inner).tls = Some(tls);
        Ok(())
    }
}

impl Dial for BundleDial {
    fn dial(&self) -> Pin<Box<dyn Future<Output = Result<BoxStream>> + Send + '_>> {
        Box::pin(self.connect())
    }
}
