//! The service side over HTTPS: identities, twins, methods, queries, deployments.

mod certificates;
mod refusals;

use crate::credentials::Credentials;
use crate::error::{Error, Result};
use crate::https::{Api, Call, HTTPS_PORT, TIMEOUT};
use crate::transport::{Remote, Transport, transport_options};
use http::Method;
use ironbrook_model::{ConnectionString, DeviceId, Identity, Message, percent_encode};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// The port of AMQP over TLS.
const AMQP_PORT: u16 = 5671;
/// The version of the service API that is asked for.
const API_VERSION: &str = "2021-04-12";

/// Headers of pages.
const MAX_ITEM_COUNT: &str = "x-ms-max-item-count";
const CONTINUATION: &str = "x-ms-continuation";

/// Sets up a [`ServiceClient`].
#[derive(Debug, Clone)]
pub struct ServiceBuilder {
    /// `HostName` as written.
    hub: String,
    amqp_address: Option<SocketAddr>,
    transport: Transport,
    credentials: Credentials,
}

transport_options!(ServiceBuilder);

impl ServiceBuilder {
    /// Dials this address to send messages, which go by AMQP; else port 5671 of the host.
    pub fn amqp_address(mut self, address: SocketAddr) -> Self {
        self.amqp_address = Some(address);
        self
    }

    /// The client; it connects with its first call.
    pub fn build(self) -> Result<ServiceClient> {
        let Self { hub, amqp_address, transport, credentials } = self;
        let remote = transport.remote(&hub, HTTPS_PORT)?;
        let amqp = Remote { port: AMQP_PORT, address: amqp_address, ..remote.clone() };
        let audience = remote.host.clone();
        Ok(ServiceClient(Arc::new(Shared { api: Api { remote, credentials, audience }, amqp })))
    }
}

/// A client of the service API. Each call is a connection of its own: these calls are rare, and nothing has to be kept alive.
///
/// ```no_run
/// # async fn example() -> ironbrook_client::Result<()> {
/// use ironbrook_client::ServiceClient;
///
/// let text = "HostName=localhost;SharedAccessKeyName=iothubowner;SharedAccessKey=c2VjcmV0";
/// let client = ServiceClient::builder(text)?.ca_file("ironbrook-data/ca/ca.pem")?.build()?;
/// for device in client.list_devices(10).await? {
///     println!("{}", device["deviceId"]);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct ServiceClient(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    api: Api,
    /// Where messages to devices go.
    amqp: Remote,
}

impl ServiceClient {
    /// From a service connection string: `HostName`, `SharedAccessKeyName`, `SharedAccessKey`.
    pub fn builder(connection_string: &str) -> Result<ServiceBuilder> {
        let parts = ConnectionString::parse(connection_string)?;
        let hub = parts.require("HostName")?.to_owned();
        let credentials = Credentials::from_connection_string(&parts)?;
        Ok(ServiceBuilder { hub, amqp_address: None, transport: Transport::default(), credentials })
    }

    /// Up to `top` devices (at most 1000) as the registry has them, keys included.
    pub async fn list_devices(&self, top: usize) -> Result<Vec<Value>> {
        array(self.call(Method::GET, &format!("/devices?top={top}&"), None).await?, "the list of devices")
    }

    /// The modules of a device, keys included.
    pub async fn list_modules(&self, device: &DeviceId) -> Result<Vec<Value>> {
        let path = format!("/devices/{}/modules?", percent_encode(device.as_str()));
        array(self.call(Method::GET, &path, None).await?, "the list of modules")
    }

    /// A device or module identity.
    pub async fn identity(&self, identity: &Identity) -> Result<Value> {
        self.call(Method::GET, &format!("{}?", path("/", identity)), None).await
    }

    /// Creates a device or module with keys of the hub's choice and returns it.
    pub async fn create(&self, identity: &Identity) -> Result<Value> {
        self.put_identity(identity, &record(identity), None).await
    }

    /// Creates a device with keys of the hub's choice and returns it.
    pub async fn create_device(&self, identity: &Identity) -> Result<Value> {
        self.create(identity).await
    }

    /// Creates an identity as `body` says, or with `if_match` (an etag, or `*`) replaces it; returns what the registry has then.
    pub async fn put_identity(
        &self,
        identity: &Identity,
        body: &Value,
        if_match: Option<&str>,
    ) -> Result<Value> {
        let path = versioned(&format!("{}?", path("/", identity)));
        self.0.api.call(Call::new(Method::PUT, path).body(body).if_match(if_match)).await
    }

    /// Deletes a device, with its modules, or a module, whatever its etag is.
    pub async fn delete(&self, identity: &Identity) -> Result<()> {
        let path = versioned(&format!("{}?", path("/", identity)));
        self.0.api.call(Call::new(Method::DELETE, path).if_match(Some("*"))).await.map(drop)
    }

    /// Replaces what runs on a device: a deployment manifest, `{"modulesContent": {…}}`, applied to the twins of its modules.
    pub async fn apply_configuration(&self, device: &DeviceId, content: &Value) -> Result<()> {
        let path = format!("/devices/{}/applyConfigurationContent?", percent_encode(device.as_str()));
        self.call(Method::POST, &path, Some(content)).await.map(drop)
    }

    /// A whole twin.
    pub async fn twin(&self, identity: &Identity) -> Result<Value> {
        self.call(Method::GET, &format!("{}?", twin_path(identity)), None).await
    }

    /// Merges `{"tags": …, "properties": {"desired": …}}` into a twin and returns it.
    pub async fn patch_twin(&self, identity: &Identity, patch: Value) -> Result<Value> {
        self.call(Method::PATCH, &format!("{}?", twin_path(identity)), Some(&patch)).await
    }

    /// Calls a direct method and gives the device's status and payload. `response_timeout`: 5 to 300 s.
    pub async fn invoke_method(
        &self,
        identity: &Identity,
        name: &str,
        payload: Value,
        response_timeout: Duration,
    ) -> Result<(i64, Value)> {
        let body = json!({
            "methodName": name,
            "payload": payload,
            "responseTimeoutInSeconds": response_timeout.as_secs(),
        });
        let target = versioned(&format!("{}/methods?", twin_path(identity)));
        let mut call = Call::new(Method::POST, target).body(&body);
        call.timeout = response_timeout + TIMEOUT;
        let answer = self.0.api.call(call).await?;
        let status = answer.get("status").and_then(Value::as_i64);
        let status = status.ok_or_else(|| Error::Protocol("a method's answer has no status".to_owned()))?;
        Ok((status, answer.get("payload").cloned().unwrap_or_default()))
    }

    /// Sends a message to a device or module (C2D). Returns when the hub has queued it; the device need not be connected.
    ///
    /// System properties that count: message id, correlation id, user id, content type and encoding, expiry, and `Ack` for the
    /// feedback that is wanted.
    pub async fn send_message(&self, to: &Identity, message: &Message) -> Result<()> {
        let Shared { amqp, api } = &*self.0;
        let work = crate::c2d::send(amqp, &api.credentials, to, message);
        tokio::time::timeout(TIMEOUT, work).await.map_err(|_| Error::Timeout("a message to a device"))?
    }

    /// Removes all messages that wait for a device, and says how many they were.
    pub async fn purge_messages(&self, device: &DeviceId) -> Result<u64> {
        let path = format!("/devices/{}/commands?", percent_encode(device.as_str()));
        let answer = self.call(Method::DELETE, &path, None).await?;
        let purged = answer.get("totalMessagesPurged").and_then(Value::as_u64);
        purged.ok_or_else(|| Error::Protocol("the answer does not say how many messages are gone".to_owned()))
    }

    /// The first page of a query over twins.
    pub async fn query(&self, query: &str) -> Result<Vec<Value>> {
        let body = json!({ "query": query });
        array(self.call(Method::POST, "/devices/query?", Some(&body)).await?, "the answer to a query")
    }

    /// A page of a query, `most` items at most, and what [`query_page`](Self::query_page) needs for the next one.
    pub async fn query_page(
        &self,
        query: &str,
        continuation: Option<String>,
        most: usize,
    ) -> Result<(Vec<Value>, Option<String>)> {
        let body = json!({ "query": query });
        self.page(Method::POST, "/devices/query?", Some(&body), continuation, most).await
    }

    /// A page of devices as the registry has them, keys included, and what is needed for the next one.
    pub async fn devices_page(
        &self,
        continuation: Option<String>,
        most: usize,
    ) -> Result<(Vec<Value>, Option<String>)> {
        self.page(Method::GET, &format!("/devices?top={most}&"), None, continuation, most).await
    }

    async fn page(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        continuation: Option<String>,
        most: usize,
    ) -> Result<(Vec<Value>, Option<String>)> {
        let mut call = Call { body, ..Call::new(method, versioned(path)) };
        call.headers.push((MAX_ITEM_COUNT, most.to_string()));
        call.headers.extend(continuation.map(|text| (CONTINUATION, text)));
        let (items, headers) = self.0.api.answer(call).await?;
        let next = headers.get(CONTINUATION).and_then(|value| value.to_str().ok()).map(str::to_owned);
        Ok((array(items, "a page of items")?, next))
    }

    /// Many changes at once: items of an import, 100 at most. Gives what the hub answers, refused items in `errors`.
    pub async fn bulk(&self, items: &[Value]) -> Result<Value> {
        let body = Value::Array(items.to_vec());
        let call = Call { body: Some(&body), ..Call::new(Method::POST, versioned("/devices?")) };
        self.0.api.call_or_errors(call).await
    }

    /// Configurations with the results of their metrics, by id.
    pub async fn configurations(&self, top: usize) -> Result<Vec<Value>> {
        let path = format!("/configurations?top={top}&");
        array(self.call(Method::GET, &path, None).await?, "the list of configurations")
    }

    /// Jobs of a type and status.
    pub async fn jobs(&self, kind: Option<&str>, status: Option<&str>, most: usize) -> Result<Vec<Value>> {
        let mut path = "/jobs/v2/query?".to_owned();
        for (name, value) in [("jobType", kind), ("jobStatus", status)] {
            if let Some(value) = value {
                path.push_str(&format!("{name}={}&", percent_encode(value)));
            }
        }
        self.page(Method::GET, &path, None, None, most).await.map(|(jobs, _)| jobs)
    }

    /// A call of the service API that has no name of its own here: configurations, jobs. `path` has no query.
    pub async fn request(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        if_match: Option<&str>,
    ) -> Result<Value> {
        let call = Call { body, if_match, ..Call::new(method, versioned(&format!("{path}?"))) };
        self.0.api.call(call).await
    }

    /// `path` ends where its query goes on: with `?` or `&`.
    pub(crate) async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value> {
        self.0.api.call(Call { body, ..Call::new(method, versioned(path)) }).await
    }
}

fn versioned(path: &str) -> String {
    format!("{path}api-version={API_VERSION}")
}

fn array(answer: Value, what: &str) -> Result<Vec<Value>> {
    match answer {
        Value::Array(rows) => Ok(rows),
        _ => Err(Error::Protocol(format!("{what} is no array"))),
    }
}

/// A new identity in the registry's form.
fn record(identity: &Identity) -> Value {
    let mut record = json!({ "deviceId": identity.device, "authentication": { "type": "sas" } });
    match &identity.module {
        None => record["status"] = json!("enabled"),
        Some(module) => record["moduleId"] = json!(module),
    }
    record
}

fn path(root: &str, identity: &Identity) -> String {
    let device = percent_encode(identity.device.as_str());
    match &identity.module {
        None => format!("{root}devices/{device}"),
        Some(module) => format!("{root}devices/{device}/modules/{}", percent_encode(module.as_str())),
    }
}

fn twin_path(identity: &Identity) -> String {
    path("/", identity).replacen("/devices/", "/twins/", 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{json, serve_tcp};

    #[test]
    fn ids_are_escaped_in_paths() {
        let device = ironbrook_model::DeviceId::new("a+b#1").unwrap();
        let module = ironbrook_model::ModuleId::new("$m").unwrap();
        assert_eq!(path("/", &Identity::device(device.clone())), "/devices/a%2Bb%231");
        assert_eq!(twin_path(&Identity::module(device, module)), "/twins/a%2Bb%231/modules/%24m");
    }

    #[tokio::test]
    async fn modules_and_deployments_are_asked_for_as_stock_tools_do() {
        let none = || (204, "", String::new());
        let answers = vec![json(r#"{"moduleId":"m"}"#), json("[]"), none(), none()];
        let (port, mut requests) = serve_tcp(answers).await;
        let parts = ConnectionString::parse("SharedAccessKeyName=p;SharedAccessKey=a2V5").unwrap();
        let credentials = Credentials::from_connection_string(&parts).unwrap();
        let remote = Transport::default().plain(&format!("127.0.0.1:{port}"), HTTPS_PORT).unwrap();
        let audience = "hub.test".to_owned();
        let (amqp, api) = (remote.clone(), Api { remote, credentials, audience });
        let client = ServiceClient(Arc::new(Shared { api, amqp }));
        let device = DeviceId::new("d").unwrap();
        let module = Identity::module(device.clone(), ironbrook_model::ModuleId::new("m").unwrap());
        client.create(&module).await.unwrap();
        client.list_modules(&device).await.unwrap();
        client.delete(&module).await.unwrap();
        client.apply_configuration(&device, &json!({ "modulesContent": {} })).await.unwrap();

        let put = requests.next().await;
        assert!(put.starts_with("PUT /devices/d/modules/m?api-version=2021-04-12 HTTP/1.1\r\n"), "{put}");
        assert!(put.ends_with(r#"{"deviceId":"d","authentication":{"type":"sas"},"moduleId":"m"}"#), "{put}");
        assert!(put.contains("&skn=p\r\n") && !put.contains("if-match"), "{put}");
        assert!(requests.next().await.starts_with("GET /devices/d/modules?api-version=2021-04-12 "));
        let delete = requests.next().await;
        assert!(delete.starts_with("DELETE /devices/d/modules/m?") && delete.contains("if-match: *\r\n"));
        let apply = requests.next().await;
        assert!(apply.starts_with("POST /devices/d/applyConfigurationContent?api-version=2021-04-12 "));
        assert!(apply.ends_with(r#"{"modulesContent":{}}"#), "{apply}");
    }
}
