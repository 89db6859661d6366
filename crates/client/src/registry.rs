//! The registry as a device or module may use it with its own credential: a device looks after its own modules, and a gateway's
//! module learns who is behind the gateway.

mod records;

pub use records::{ModuleRecord, ScopeDevice, ScopePage};

use crate::credentials::{Credentials, Signer};
use crate::device::identity_of;
use crate::error::{Error, Result};
use crate::https::{Api, Call, HTTPS_PORT};
use crate::transport::{Transport, transport_options};
use http::Method;
use ironbrook_model::{ConnectionString, Identity, ModuleId, SharedAccessKey, percent_encode};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::sync::Arc;

/// The version stock daemons ask for when they create modules.
const MODULES_VERSION: &str = "2017-11-08-preview";
/// The version of the first form of the scope calls.
const SCOPE_VERSION: &str = "2018-08-30-preview";
/// The version of the form for gateways behind gateways.
const CHAINED_VERSION: &str = "2020-06-30-preview";
/// Devices of one page.
const PAGE: usize = 100;

/// Sets up a [`DeviceRegistryClient`].
#[derive(Debug, Clone)]
pub struct DeviceRegistryBuilder {
    hub: String,
    identity: Identity,
    credentials: Credentials,
    transport: Transport,
}

transport_options!(DeviceRegistryBuilder);

impl DeviceRegistryBuilder {
    /// The client; it connects with its first call.
    pub fn build(self) -> Result<DeviceRegistryClient> {
        let Self { hub, identity, credentials, transport } = self;
        let remote = transport.remote(&hub, HTTPS_PORT)?;
        let audience = format!("{}/{}", remote.host, identity.resource());
        let api = Api { remote, credentials, audience };
        Ok(DeviceRegistryClient(Arc::new(Shared { api, identity })))
    }
}

/// A client of the registry for a device, or for the module that speaks for a gateway. Each call is a connection of its own.
#[derive(Debug, Clone)]
pub struct DeviceRegistryClient(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    api: Api,
    identity: Identity,
}

impl DeviceRegistryClient {
    /// From a device or module connection string.
    pub fn builder(connection_string: &str) -> Result<DeviceRegistryBuilder> {
        let parts = ConnectionString::parse(connection_string)?;
        let credentials = Credentials::from_connection_string(&parts)?;
        let (hub, identity) = (parts.require("HostName")?.to_owned(), identity_of(&parts)?);
        Ok(DeviceRegistryBuilder { hub, identity, credentials, transport: Transport::default() })
    }

    /// An identity of a hub (its host name) that holds its own key.
    pub fn with_key(
        hub: impl Into<String>,
        identity: Identity,
        key: SharedAccessKey,
    ) -> DeviceRegistryBuilder {
        let (hub, credentials) = (hub.into(), Credentials::Key(key, None));
        DeviceRegistryBuilder { hub, identity, credentials, transport: Transport::default() }
    }

    /// An identity of a hub (its host name) whose key is kept elsewhere.
    pub fn with_signer(
        hub: impl Into<String>,
        identity: Identity,
        signer: Arc<dyn Signer>,
    ) -> DeviceRegistryBuilder {
        let (hub, credentials) = (hub.into(), Credentials::Signer(signer));
        DeviceRegistryBuilder { hub, identity, credentials, transport: Transport::default() }
    }

    /// A module of the device; 404 if there is none.
    pub async fn module(&self, module: &ModuleId) -> Result<ModuleRecord> {
        self.read(Call::new(Method::GET, self.modules_path(Some(module)))).await
    }

    /// All modules of the device.
    pub async fn modules(&self) -> Result<Vec<ModuleRecord>> {
        self.read(Call::new(Method::GET, self.modules_path(None))).await
    }

    /// Creates a module, or with `if_match` (an etag, or `*`) replaces it: `{"moduleId", "deviceId", "managedBy",
    /// "authentication": {"type": "sas", "symmetricKey": {"primaryKey", "secondaryKey"}}}`. Returns what the registry has then.
    pub async fn put_module(
        &self,
        module: &ModuleId,
        body: &Value,
        if_match: Option<&str>,
    ) -> Result<ModuleRecord> {
        let path = self.modules_path(Some(module));
        self.read(Call::new(Method::PUT, path).body(body).if_match(if_match)).await
    }

    /// Deletes a module of the device, whatever its etag is; 404 if there is none.
    pub async fn delete_module(&self, module: &ModuleId) -> Result<()> {
        let path = self.modules_path(Some(module));
        self.0.api.call(Call::new(Method::DELETE, path).if_match(Some("*"))).await.map(drop)
    }

    /// A page of those behind the gateway, the gateway and its modules included. The first page without `link`; then with the
    /// link of the page before.
    pub async fn scope(&self, link: Option<&str>) -> Result<ScopePage> {
        let token = link.map(page_token).unwrap_or_default();
        let query = format!("deviceCount={PAGE}&continuationToken={token}&api-version={SCOPE_VERSION}");
        self.read(Call::new(Method::GET, self.own_path("devicesAndModulesInDeviceScope", &query))).await
    }

    /// One of those behind the gateway: for a module its device too. Nothing in it, or 404, if it is not in the scope.
    pub async fn in_scope(&self, target: &Identity) -> Result<ScopePage> {
        let device = percent_encode(target.device.as_str());
        let module = target.module.as_ref().map(|module| percent_encode(module.as_str())).unwrap_or_default();
        let query = format!("targetDeviceId={device}&targetModuleId={module}&api-version={SCOPE_VERSION}");
        self.read(Call::new(Method::GET, self.own_path("deviceAndModuleInDeviceScope", &query))).await
    }

    /// As [`scope`](Self::scope), for one gateway of a chain of them: `chain` is `target;…;this one`.
    pub async fn scope_of(&self, chain: &str, link: Option<&str>) -> Result<ScopePage> {
        let body =
            json!({ "pageSize": PAGE, "continuationLink": link.unwrap_or_default(), "authChain": chain });
        let query = format!("api-version={CHAINED_VERSION}");
        let path = self.own_path("devicesAndModulesInTargetDeviceScope", &query);
        self.read(Call::new(Method::POST, path).body(&body)).await
    }

    /// As [`in_scope`](Self::in_scope), through a chain of gateways.
    pub async fn in_scope_of(&self, chain: &str, target: &Identity) -> Result<ScopePage> {
        let module = target.module.as_ref().map(ModuleId::as_str).unwrap_or_default();
        let body = json!({ "targetDeviceId": target.device, "targetModuleId": module, "authChain": chain });
        let query = format!("api-version={CHAINED_VERSION}");
        self.read(Call::new(Method::POST, self.own_path("getDeviceAndModuleOnBehalfOf", &query)).body(&body))
            .await
    }

    fn modules_path(&self, module: Option<&ModuleId>) -> String {
        let device = percent_encode(self.0.identity.device.as_str());
        let module = module.map(|module| format!("/{}", percent_encode(module.as_str()))).unwrap_or_default();
        format!("/devices/{device}/modules{module}?api-version={MODULES_VERSION}")
    }

    /// A path below the caller's own identity.
    fn own_path(&self, what: &str, query: &str) -> String {
        let Identity { device, module } = &self.0.identity;
        let device = percent_encode(device.as_str());
        match module {
            None => format!("/devices/{device}/{what}?{query}"),
            Some(module) => {
                format!("/devices/{device}/modules/{}/{what}?{query}", percent_encode(module.as_str()))
            }
        }
    }

    async fn read<T: DeserializeOwned>(&self, call: Call<'_>) -> Result<T> {
        serde_json::from_value(self.0.api.call(call).await?)
            // Texts of the reader quote values, and a key may be among them.
            .map_err(|_| Error::Protocol("an answer of the registry is not as expected".to_owned()))
    }
}

/// The token in a continuation link, still escaped; a hub may also give the bare token. The rest of the link is not followed: it
/// could lead anywhere.
fn page_token(link: &str) -> String {
    match link.split_once("continuationToken=") {
        Some((_, rest)) => rest.split('&').next().unwrap_or_default().to_owned(),
        None => percent_encode(link).into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Requests, Scripted, json as answer, serve_tcp};
    use ironbrook_model::{AuthenticationType, DeviceId, SasToken, Timestamp};

    const MODULE: &str = r#"{"moduleId":"m1","deviceId":"g1","generationId":"637","etag":"\"1\"","managedBy":"x",
        "authentication":{"type":"sas","symmetricKey":{"primaryKey":null,"secondaryKey":null}}}"#;

    fn key() -> SharedAccessKey {
        SharedAccessKey::from_bytes(b"the key")
    }

    fn identity(module: Option<&str>) -> Identity {
        Identity {
            device: DeviceId::new("g1").unwrap(),
            module: module.map(|module| ModuleId::new(module).unwrap()),
        }
    }

    /// A client that speaks to a scripted server without TLS.
    async fn client(module: Option<&str>, answers: Vec<Scripted>) -> (DeviceRegistryClient, Requests) {
        let (port, requests) = serve_tcp(answers).await;
        let remote = Transport::default().plain(&format!("127.0.0.1:{port}"), HTTPS_PORT).unwrap();
        let identity = identity(module);
        let audience = format!("hub.test/{}", identity.resource());
        let api = Api { remote, credentials: Credentials::Key(key(), None), audience };
        (DeviceRegistryClient(Arc::new(Shared { api, identity })), requests)
    }

    #[tokio::test]
    async fn a_device_looks_after_its_modules_with_its_own_token() {
        let list = format!("[{MODULE}]");
        let answers = vec![answer(MODULE), answer(&list), answer(MODULE), (204, "", String::new())];
        let (client, mut requests) = client(None, answers).await;
        let id = ModuleId::new("m1").unwrap();
        let record = client.put_module(&id, &json!({ "moduleId": "m1" }), Some("*")).await.unwrap();
        assert_eq!((&*record.generation_id, &*record.managed_by), ("637", "x"));
        assert_eq!(record.authentication, AuthenticationType::None);
        assert_eq!(client.modules().await.unwrap(), std::slice::from_ref(&record));
        assert_eq!(client.module(&id).await.unwrap(), record);
        client.delete_module(&id).await.unwrap();

        let put = requests.next().await;
        assert!(put.starts_with("PUT /devices/g1/modules/m1?api-version=2017-11-08-preview HTTP/1.1\r\n"));
        assert!(put.contains("if-match: *\r\n") && put.ends_with(r#"{"moduleId":"m1"}"#), "{put}");
        let token = put.lines().find_map(|line| line.strip_prefix("authorization: ")).unwrap();
        let token = SasToken::parse(token).unwrap();
        token.check(Timestamp::from_secs(0), [&key(), &key()]).unwrap();
        assert_eq!((token.resource(), token.policy()), ("hub.test/devices/g1", None));
        assert!(requests.next().await.starts_with("GET /devices/g1/modules?api-version="));
        assert!(requests.next().await.starts_with("GET /devices/g1/modules/m1?"));
        let delete = requests.next().await;
        assert!(delete.starts_with("DELETE /devices/g1/modules/m1?") && delete.contains("if-match: *\r\n"));
    }

    #[tokio::test]
    async fn a_scope_is_read_page_by_page_and_links_lead_nowhere_else() {
        let link = "https://elsewhere.test/devices/g1?deviceCount=9&continuationToken=a%20b&api-version=x";
        let page = format!(r#"{{"devices":[],"modules":[{MODULE}],"continuationLink":"{link}"}}"#);
        let last = r#"{"devices":[],"modules":[],"continuationLink":null}"#;
        let (client, mut requests) =
            client(Some("$hub"), vec![answer(&page), answer(last), answer(last)]).await;
        let first = client.scope(None).await.unwrap();
        assert_eq!(first.modules.len(), 1);
        let second = client.scope(first.continuation_link.as_deref()).await.unwrap();
        assert_eq!(second, ScopePage::default());
        client.in_scope(&identity(Some("m1"))).await.unwrap();
        let base = "/devices/g1/modules/%24hub/";
        for wanted in [
            "devicesAndModulesInDeviceScope?deviceCount=100&continuationToken=&api-version=2018-08-30-preview",
            "devicesAndModulesInDeviceScope?deviceCount=100&continuationToken=a%20b&api-version=2018-08-30-preview",
            "deviceAndModuleInDeviceScope?targetDeviceId=g1&targetModuleId=m1&api-version=2018-08-30-preview",
        ] {
            let request = requests.next().await;
            assert!(request.starts_with(&format!("GET {base}{wanted} HTTP/1.1\r\n")), "{request}");
        }
    }

    #[tokio::test]
    async fn the_form_for_chains_posts_what_it_asks() {
        let last = r#"{"devices":[],"modules":[]}"#;
        let (client, mut requests) = client(Some("$hub"), vec![answer(last), answer(last)]).await;
        client.scope_of("leaf;g1", Some("next")).await.unwrap();
        client.in_scope_of("leaf;g1", &identity(None)).await.unwrap();
        let request = requests.next().await;
        assert!(request.starts_with("POST /devices/g1/modules/%24hub/devicesAndModulesInTargetDeviceScope?api-version=2020-06-30-preview"));
        assert!(request.ends_with(r#"{"pageSize":100,"continuationLink":"next","authChain":"leaf;g1"}"#));
        let request = requests.next().await;
        assert!(request.ends_with(r#"{"targetDeviceId":"g1","targetModuleId":"","authChain":"leaf;g1"}"#));
    }

    #[tokio::test]
    async fn refusals_keep_their_status_and_text() {
        let text = r#"{"Message":"ErrorCode:ModuleNotFound;gone"}"#.to_owned();
        let (client, _requests) =
            client(None, vec![(404, "", text), (401, "", String::new()), answer(r#"{"key":"canary"}"#)])
                .await;
        let gone = client.module(&ModuleId::new("m1").unwrap()).await.unwrap_err();
        assert!(
            matches!(&gone, Error::Refused { status: 404, message } if message.contains("ModuleNotFound")),
            "{gone}"
        );
        assert!(matches!(client.modules().await, Err(Error::Unauthorized(_))));
        let nonsense = client.modules().await.unwrap_err();
        assert!(matches!(nonsense, Error::Protocol(_)) && !nonsense.to_string().contains("canary"));
    }
}
