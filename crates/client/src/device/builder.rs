//! Building a client: whom to reach, how to prove who we are, how long to wait.

use super::RetryPolicy;
use super::driver::{Config, Driver};
use super::environment::BundleDial;
use super::handle::DeviceClient;
use crate::credentials::{Credentials, Signer};
use crate::error::{Error, Result};
use crate::transport::{Dial, Transport, transport_options};
use crate::workload::Workload;
use ironbrook_model::{ConnectionString, DeviceId, Identity, ModuleId, SharedAccessKey};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// The port of MQTT over TLS.
const MQTT_PORT: u16 = 8883;
/// How long a token is good, as in the stock SDKs.
const TOKEN_LIFETIME: Duration = Duration::from_secs(3600);
/// The shortest token life that makes sense: reconnecting takes a while.
const TOKEN_LIFETIME_MIN: Duration = Duration::from_secs(10);
/// Keep alive, as in the stock Python SDK.
const KEEP_ALIVE: Duration = Duration::from_secs(60);
/// Longest keep alive that the hub honours, in seconds.
const KEEP_ALIVE_MAX: Duration = Duration::from_secs(1177);
/// Messages under way at once.
const IN_FLIGHT: usize = 64;
/// Bound of the in-flight setting; packet ids would allow 65 535.
const IN_FLIGHT_MAX: usize = 4096;

/// Sets up a [`DeviceClient`].
#[derive(Debug, Clone)]
pub struct Builder {
    /// Whose connection it is.
    identity: Identity,
    /// Whose credentials these are; another identity only where somebody acts for others.
    signer: Identity,
    /// `HostName` as written; it is the audience of tokens and stands in the user name.
    hub: String,
    pub(super) dialled: String,
    pub(super) transport: Transport,
    credentials: Credentials,
    token_lifetime: Duration,
    keep_alive: Duration,
    in_flight: usize,
    retry: RetryPolicy,
    retry_unauthorized: bool,
    client_type: String,
    /// Who knows whose certificates are believed, where that changes with time.
    pub(super) bundle: Option<Arc<Workload>>,
}

transport_options!(Builder);

impl Builder {
    /// From a device or module connection string: `HostName`, `DeviceId`, optionally `ModuleId` and `GatewayHostName`, and
    /// `SharedAccessKey` (with `SharedAccessKeyName` for a policy's key) or `SharedAccessSignature`.
    pub fn new(connection_string: &str) -> Result<Self> {
        let parts = ConnectionString::parse(connection_string)?;
        let credentials = Credentials::from_connection_string(&parts)?;
        let builder = Self::with(parts.require("HostName")?.to_owned(), identity_of(&parts)?, credentials);
        Ok(match parts.get("GatewayHostName") {
            None => builder,
            Some(gateway) => builder.gateway_host(gateway),
        })
    }

    /// An identity of a hub (its host name) that holds its own key.
    pub fn with_key(hub: impl Into<String>, identity: Identity, key: SharedAccessKey) -> Self {
        Self::with(hub.into(), identity, Credentials::Key(key, None))
    }

    /// An identity of a hub (its host name) whose key is kept elsewhere.
    pub fn with_signer(hub: impl Into<String>, identity: Identity, signer: Arc<dyn Signer>) -> Self {
        Self::with(hub.into(), identity, Credentials::Signer(signer))
    }

    fn with(hub: String, identity: Identity, credentials: Credentials) -> Self {
        Self {
            dialled: hub.clone(),
            hub,
            signer: identity.clone(),
            identity,
            transport: Transport::default(),
            credentials,
            token_lifetime: TOKEN_LIFETIME,
            keep_alive: KEEP_ALIVE,
            in_flight: IN_FLIGHT,
            retry: RetryPolicy::default(),
            retry_unauthorized: false,
            client_type: concat!("ironbrook/", env!("CARGO_PKG_VERSION")).to_owned(),
            bundle: None,
        }
    }

    /// Connects as `identity`, with the token of the builder's own identity: what a gateway's module does for the devices and
    /// modules behind it (rule CLIENT-08). The hub decides for whom that holds.
    pub fn acting_for(mut self, identity: Identity) -> Self {
        self.identity = identity;
        self
    }

    /// Connects to this host instead of `HostName`; the server's certificate must carry it. Tokens are still for the hub.
    pub fn gateway_host(mut self, host: impl Into<String>) -> Self {
        self.dialled = host.into();
        self
    }

    /// How long a signed token is good (default one hour, at least 10 s). A new one is made before it ends, by reconnecting.
    pub fn token_lifetime(mut self, lifetime: Duration) -> Self {
        self.token_lifetime = lifetime.max(TOKEN_LIFETIME_MIN);
        self
    }

    /// Longest silence before a ping (default 60 s, 1 s to 1177 s).
    pub fn keep_alive(mut self, keep_alive: Duration) -> Self {
        self.keep_alive = keep_alive.clamp(Duration::from_secs(1), KEEP_ALIVE_MAX);
        self
    }

    /// How many telemetry messages may be unacknowledged (default 64, 1 to 4096). All of them are sent again after a reconnect.
    pub fn in_flight(mut self, messages: usize) -> Self {
        self.in_flight = messages.clamp(1, IN_FLIGHT_MAX);
        self
    }

    /// How long to wait between attempts to connect.
    pub fn retry(mut self, policy: RetryPolicy) -> Self {
        self.retry = policy;
        self
    }

    /// Goes on trying when the hub refuses the credentials, e.g. because the device may be registered later.
    pub fn retry_unauthorized(mut self, retry: bool) -> Self {
        self.retry_unauthorized = retry;
        self
    }

    /// The product text the hub is told (`DeviceClientType`).
    pub fn client_type(mut self, text: impl Into<String>) -> Self {
        self.client_type = text.into();
        self
    }

    /// Connects, and gives the client once the hub has accepted it.
    ///
    /// The first failure of any kind is returned; after the first success the client reconnects by itself. See
    /// [`start`](Self::start) for a client that keeps trying from the beginning.
    pub async fn connect(self) -> Result<DeviceClient> {
        let client = self.start()?;
        client.first_connection().await?;
        Ok(client)
    }

    /// Starts a client that connects in the background and keeps trying. Needs a tokio runtime.
    pub fn start(self) -> Result<DeviceClient> {
        let (client, driver) = self.build()?;
        tokio::spawn(driver.run(CancellationToken::new()));
        Ok(client)
    }

    /// The client and the driver that has to run for it, for those who own their tasks.
    pub fn build(self) -> Result<(DeviceClient, Driver)> {
        let remote = self.transport.remote(&self.dialled, MQTT_PORT)?;
        let dial: Arc<dyn Dial> = match self.bundle.clone() {
            None => Arc::new(remote),
            Some(workload) => Arc::new(BundleDial::new(remote, workload)),
        };
        self.build_on(dial)
    }

    /// As [`build`](Self::build), over any kind of byte stream.
    pub(crate) fn build_on(self, dial: Arc<dyn Dial>) -> Result<(DeviceClient, Driver)> {
        if self.client_type.len() > 1024 {
            return Err(Error::Configuration("the client type has more than 1024 bytes".to_owned()));
        }
        let config = Config {
            identity: self.identity,
            signer: self.signer,
            hub: self.hub,
            client_type: self.client_type,
            credentials: self.credentials,
            token_lifetime: self.token_lifetime,
            keep_alive: self.keep_alive,
            in_flight: self.in_flight,
            retry: self.retry,
            retry_unauthorized: self.retry_unauthorized,
        };
        Ok(super::handle::pair(config, dial))
    }
}

/// The device or module of a connection string.
pub(crate) fn identity_of(parts: &ConnectionString) -> Result<Identity> {
    let device = DeviceId::new(parts.require("DeviceId")?)?;
    Ok(match parts.get("ModuleId") {
        None => Identity::device(device),
        Some(module) => Identity::module(device, ModuleId::new(module)?),
    })
}
