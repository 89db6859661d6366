//! The service side over HTTPS: identities, twins, methods, queries.

use crate::device::Credentials;
use crate::error::{Error, Result};
use crate::transport::{Remote, Trust, split_port};
use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::rt::TokioIo;
use ironbrook_model::{ConnectionString, Identity, Message, percent_encode};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// The port of HTTPS.
const HTTPS_PORT: u16 = 443;
/// The port of AMQP over TLS.
const AMQP_PORT: u16 = 5671;
/// The version of the service API that is asked for.
const API_VERSION: &str = "2021-04-12";
/// How long a token is good: one request.
const TOKEN_LIFETIME: Duration = Duration::from_secs(300);
/// How long an answer may take beyond what the request itself allows.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Largest answer that is read.
const ANSWER_LEN_MAX: usize = 16 << 20;
/// How much of an error's text is passed on, in characters.
const MESSAGE_LEN_MAX: usize = 500;

/// Sets up a [`ServiceClient`].
#[derive(Debug, Clone)]
pub struct ServiceBuilder {
    host: String,
    port: u16,
    address: Option<SocketAddr>,
    amqp_address: Option<SocketAddr>,
    trust: Trust,
    credentials: Credentials,
}

impl ServiceBuilder {
    /// Believes only the authorities in this PEM file, read now.
    pub fn ca_file(mut self, path: impl AsRef<Path>) -> Result<Self> {
        self.trust = Trust::file(path)?;
        Ok(self)
    }

    /// Believes only these authorities, or the system's (the default).
    pub fn trust(mut self, trust: Trust) -> Self {
        self.trust = trust;
        self
    }

    /// Dials this address whatever the host name resolves to; the certificate is still checked against the name.
    pub fn address(mut self, address: SocketAddr) -> Self {
        self.address = Some(address);
        self
    }

    /// Dials this address to send messages, which go by AMQP; else port 5671 of the host.
    pub fn amqp_address(mut self, address: SocketAddr) -> Self {
        self.amqp_address = Some(address);
        self
    }

    /// The client; it connects with its first call.
    pub fn build(self) -> Result<ServiceClient> {
        let Self { host, port, address, amqp_address, trust, credentials } = self;
        let tls = Some(trust.client_config()?);
        let amqp = Remote { host: host.clone(), port: AMQP_PORT, address: amqp_address, tls: tls.clone() };
        let remote = Remote { host, port, address, tls };
        Ok(ServiceClient(Arc::new(Shared { remote, amqp, credentials })))
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
    remote: Remote,
    /// Where messages to devices go.
    amqp: Remote,
    credentials: Credentials,
}

impl ServiceClient {
    /// From a service connection string: `HostName`, `SharedAccessKeyName`, `SharedAccessKey`.
    pub fn builder(connection_string: &str) -> Result<ServiceBuilder> {
        let parts = ConnectionString::parse(connection_string)?;
        let (host, port) = split_port(parts.require("HostName")?, HTTPS_PORT)?;
        let credentials = Credentials::from_connection_string(&parts)?;
        Ok(ServiceBuilder {
            host,
            port,
            address: None,
            amqp_address: None,
            trust: Trust::System,
            credentials,
        })
    }

    /// Up to `top` devices (at most 1000) as the registry has them, keys included.
    pub async fn list_devices(&self, top: usize) -> Result<Vec<Value>> {
        match self.call(Method::GET, "/devices", &format!("top={top}&"), None, TIMEOUT).await? {
            Value::Array(devices) => Ok(devices),
            _ => Err(Error::Protocol("the list of devices is no array".to_owned())),
        }
    }

    /// A device or module identity.
    pub async fn identity(&self, identity: &Identity) -> Result<Value> {
        self.call(Method::GET, &path("/", identity), "", None, TIMEOUT).await
    }

    /// Creates a device with keys of the hub's choice and returns it.
    pub async fn create_device(&self, identity: &Identity) -> Result<Value> {
        let body =
            json!({ "deviceId": identity.device, "status": "enabled", "authentication": { "type": "sas" } });
        self.call(Method::PUT, &path("/", identity), "", Some(body), TIMEOUT).await
    }

    /// A whole twin.
    pub async fn twin(&self, identity: &Identity) -> Result<Value> {
        self.call(Method::GET, &twin_path(identity), "", None, TIMEOUT).await
    }

    /// Merges `{"tags": …, "properties": {"desired": …}}` into a twin and returns it.
    pub async fn patch_twin(&self, identity: &Identity, patch: Value) -> Result<Value> {
        self.call(Method::PATCH, &twin_path(identity), "", Some(patch), TIMEOUT).await
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
        let target = format!("{}/methods", twin_path(identity));
        let answer = self.call(Method::POST, &target, "", Some(body), response_timeout + TIMEOUT).await?;
        let status = answer.get("status").and_then(Value::as_i64);
        let status = status.ok_or_else(|| Error::Protocol("a method's answer has no status".to_owned()))?;
        Ok((status, answer.get("payload").cloned().unwrap_or_default()))
    }

    /// Sends a message to a device or module (C2D). Returns when the hub has queued it; the device need not be connected.
    ///
    /// System properties that count: message id, correlation id, user id, content type and encoding, expiry, and `Ack` for the
    /// feedback that is wanted.
    pub async fn send_message(&self, to: &Identity, message: &Message) -> Result<()> {
        let Shared { amqp, credentials, .. } = &*self.0;
        let work = crate::c2d::send(amqp, credentials, to, message);
        tokio::time::timeout(TIMEOUT, work).await.map_err(|_| Error::Timeout("a message to a device"))?
    }

    /// The first page of a query over twins.
    pub async fn query(&self, query: &str) -> Result<Vec<Value>> {
        match self.call(Method::POST, "/devices/query", "", Some(json!({ "query": query })), TIMEOUT).await? {
            Value::Array(rows) => Ok(rows),
            _ => Err(Error::Protocol("the answer to a query is no array".to_owned())),
        }
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        query: &str,
        body: Option<Value>,
        timeout: Duration,
    ) -> Result<Value> {
        let work = self.exchange(method, path, query, body);
        let (status, bytes) =
            tokio::time::timeout(timeout, work).await.map_err(|_| Error::Timeout("a service call"))??;
        match status {
            StatusCode::NO_CONTENT => Ok(Value::Null),
            status if status.is_success() => serde_json::from_slice(&bytes)
                .map_err(|error| Error::Protocol(format!("the answer is not JSON: {error}"))),
            StatusCode::UNAUTHORIZED => Err(Error::Unauthorized(text(&bytes))),
            status => Err(Error::Refused { status: status.as_u16(), message: text(&bytes) }),
        }
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        query: &str,
        body: Option<Value>,
    ) -> Result<(StatusCode, Bytes)> {
        let Shared { remote, credentials, .. } = &*self.0;
        let token = credentials.pass(&remote.host, TOKEN_LIFETIME)?.token;
        let body = body.map_or_else(Bytes::new, |value| value.to_string().into());
        let authority = if remote.port == HTTPS_PORT { remote.host.clone() } else { remote.to_string() };
        let request = Request::builder()
            .method(method)
            .uri(format!("{path}?{query}api-version={API_VERSION}"))
            .header(http::header::HOST, authority)
            .header(http::header::AUTHORIZATION, token.0)
            .header(http::header::CONTENT_TYPE, "application/json; charset=utf-8")
            .header(http::header::CONNECTION, "close")
            .body(Full::new(body))
            .map_err(|error| Error::Configuration(format!("a request cannot be built: {error}")))?;
        let failed = |error: hyper::Error| remote.network("a service call", std::io::Error::other(error));
        let stream = remote.connect().await?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
        let exchange = async {
            let response = sender.send_request(request).await.map_err(failed)?;
            let status = response.status();
            let body = Limited::new(response.into_body(), ANSWER_LEN_MAX).collect().await;
            let body =
                body.map_err(|error| remote.network("reading an answer", std::io::Error::other(error)))?;
            Ok((status, body.to_bytes()))
        };
        // The connection has to be driven while the exchange goes on; both end together.
        tokio::pin!(connection);
        tokio::pin!(exchange);
        tokio::select! {
            biased;
            done = &mut exchange => done,
            ended = &mut connection => {
                ended.map_err(failed)?;
                exchange.await
            }
        }
    }
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

/// The text of a refusal: the service's `Message`, or the start of whatever came.
fn text(bytes: &[u8]) -> String {
    let whole = serde_json::from_slice::<Value>(bytes).ok();
    let message =
        whole.as_ref().and_then(|v| v.get("Message").or_else(|| v.get("message"))).and_then(Value::as_str);
    let text = message.map_or_else(|| String::from_utf8_lossy(bytes).into_owned(), str::to_owned);
    text.chars().take(MESSAGE_LEN_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_escaped_in_paths() {
        let device = ironbrook_model::DeviceId::new("a+b#1").unwrap();
        let module = ironbrook_model::ModuleId::new("$m").unwrap();
        assert_eq!(path("/", &Identity::device(device.clone())), "/devices/a%2Bb%231");
        assert_eq!(twin_path(&Identity::module(device, module)), "/twins/a%2Bb%231/modules/%24m");
    }

    #[test]
    fn a_refusal_is_told_in_the_services_words() {
        assert_eq!(text(br#"{"Message":"ErrorCode:DeviceNotFound;gone"}"#), "ErrorCode:DeviceNotFound;gone");
        assert_eq!(text(b"plain"), "plain");
    }
}
