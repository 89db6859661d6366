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

/// Connection strings, in the order they are looked for, and before the other variables (rule CLIENT-09).
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{json, serve_unix};
    use std::collections::HashMap;

    fn variables(socket: &str) -> HashMap<&'static str, String> {
        HashMap::from([
            (WORKLOAD_URI, socket.to_owned()),
            (API_VERSION, "2022-08-03".to_owned()),
            (AUTH_SCHEME, SAS.to_owned()),
            (HUB, "hub.test".to_owned()),
            (GATEWAY, "gateway.test".to_owned()),
            (DEVICE, "d1".to_owned()),
            (MODULE, "m1".to_owned()),
            (GENERATION, "637".to_owned()),
        ])
    }

    async fn build(variables: &HashMap<&'static str, String>) -> Result<Builder> {
        Builder::from_lookup(&|name| variables.get(name).cloned()).await
    }

    #[tokio::test]
    async fn the_variables_of_a_daemon_lead_to_the_gateway() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("w.sock");
        let mut requests = serve_unix(&path, vec![json(r#"{"certificate":"PEM"}"#)]);
        let builder = build(&variables(&format!("unix://{}", path.display()))).await.unwrap();
        assert!(requests.next().await.starts_with("GET /trust-bundle?api-version=2022-08-03 "));
        assert_eq!((&*builder.dialled, builder.bundle.is_some()), ("gateway.test", true));
        assert!(matches!(&builder.transport.trust, Trust::Pem(pem) if pem == b"PEM"));
        let shown = format!("{builder:?}");
        assert!(shown.contains("hub.test") && shown.contains("Signer"), "{shown}");
    }

    #[tokio::test]
    async fn the_variable_that_is_missing_or_wrong_is_named() {
        for name in [WORKLOAD_URI, HUB, GATEWAY, DEVICE, MODULE, GENERATION] {
            for value in [None, Some(String::new())] {
                let mut variables = variables("unix:///nowhere.sock");
                match value {
                    None => drop(variables.remove(name)),
                    Some(value) => drop(variables.insert(name, value)),
                }
                let error = build(&variables).await.unwrap_err();
                assert!(matches!(error, Error::Variable { name: n, .. } if n == name), "{name}: {error}");
                assert!(!error.is_transient());
            }
        }
        for (name, value) in [(AUTH_SCHEME, "x509"), (DEVICE, "a/b"), (WORKLOAD_URI, "tcp://x")] {
            let mut variables = variables("unix:///nowhere.sock");
            variables.insert(name, value.to_owned());
            let error = build(&variables).await.unwrap_err();
            assert!(error.to_string().contains(name), "{error}");
        }
    }

    #[tokio::test]
    async fn a_daemon_that_is_away_is_worth_another_attempt() {
        let folder = tempfile::tempdir().unwrap();
        let uri = format!("unix://{}/w.sock", folder.path().display());
        let error = build(&variables(&uri)).await.unwrap_err();
        assert!(error.is_transient() && error.to_string().contains("w.sock"), "{error}");
    }

    #[tokio::test]
    async fn rule_client_09_a_connection_string_comes_first() {
        let mut variables = variables("unix:///nowhere.sock");
        let text = "HostName=h.test;DeviceId=d2;ModuleId=m2;SharedAccessKey=a2V5;GatewayHostName=g.test";
        variables.insert(CONNECTION_STRINGS[0], text.to_owned());
        let builder = build(&variables).await.unwrap();
        assert_eq!((&*builder.dialled, builder.bundle.is_some()), ("g.test", false));
        variables.insert(CA_FILE, "/no/such/file".to_owned());
        assert!(matches!(build(&variables).await, Err(Error::Configuration(_))));
    }

    #[tokio::test]
    async fn a_new_authority_is_found_in_the_trust_bundle() {
        let made = rcgen::generate_simple_self_signed(["gateway.test".to_owned()]).unwrap();
        let old = rcgen::generate_simple_self_signed(["gateway.test".to_owned()]).unwrap();
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let _ = acceptor.accept(stream).await;
            }
        });
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("w.sock");
        let bundle = serde_json::json!({ "certificate": made.cert.pem() }).to_string();
        let _requests = serve_unix(&path, vec![json(&bundle)]);
        let uri = format!("unix://{}", path.display());
        let workload = Workload::new(&uri, "v", ModuleId::new("m").unwrap(), "g").unwrap();
        let transport = crate::Transport::new(Trust::Pem(old.cert.pem().into_bytes())).address(address);
        let dial = BundleDial::new(transport.remote("gateway.test", 8883).unwrap(), Arc::new(workload));
        assert!(matches!(dial.connect().await, Err(Error::Tls { .. })));
        dial.connect().await.unwrap();
    }
}
