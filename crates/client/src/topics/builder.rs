//! Building a client: whom to reach, how to prove who we are, what to promise.

use super::codec::Codec;
use super::driver::{Config, Driver};
use super::handle::{self, Client};
use super::{Error, Message, Messages, Properties, Result, RetryPolicy, url};
use crate::credentials::Secret;
use crate::transport::{Dial, Transport, transport_options};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Keep alive, as most clients have it.
const KEEP_ALIVE: Duration = Duration::from_secs(60);
/// Messages under way at once, to the server.
const IN_FLIGHT: usize = 256;
/// Bound of the in-flight setting; packet identifiers would allow 65,535.
const IN_FLIGHT_MAX: usize = 16_384;
/// Messages of QoS 1 and 2 that may be unacknowledged on the way from the server.
const RECEIVE_MAXIMUM: u16 = 256;
/// Longest packet taken from a server, bytes.
const PACKET_LEN_MAX: usize = 8 * 1024 * 1024;
/// Aliases a server may set.
const ALIAS_MAXIMUM: u16 = 32;
/// The value of a session expiry that stands for ever.
const FOR_EVER: u32 = u32::MAX;

/// A version of MQTT.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Version {
    /// MQTT 3.1.1
    V4,
    /// MQTT 5.0
    #[default]
    V5,
}

/// What the server publishes when the client vanishes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Will {
    /// The message.
    pub message: Message,
    /// How long after the loss of the connection; only MQTT 5.0.
    pub delay: Duration,
}

impl From<Message> for Will {
    fn from(message: Message) -> Self {
        Self { message, delay: Duration::ZERO }
    }
}

/// Sets up a [`Client`].
#[derive(Debug, Clone)]
pub struct Builder {
    authority: String,
    default_port: u16,
    tls: bool,
    transport: Transport,
    version: Version,
    client_id: String,
    user: Option<String>,
    password: Option<Secret>,
    clean_start: Option<bool>,
    session_expiry: Duration,
    will: Option<Will>,
    keep_alive: Duration,
    in_flight: usize,
    receive_maximum: u16,
    packet_max: usize,
    by_hand: bool,
    bridge: bool,
    retry: RetryPolicy,
    retry_always: bool,
}

transport_options!(Builder);

impl Builder {
    /// A client of the server at `mqtt://[user@]host[:port]`, or `mqtts://` with TLS; ports 1883 and 8883 where none is
    /// written. MQTT 5.0, a session that ends with the connection, and a client id that the server chooses.
    pub fn new(url: &str) -> Result<Self> {
        let address = url::parse(url)?;
        Ok(Self {
            default_port: address.default_port(),
            authority: address.authority,
            tls: address.tls,
            transport: Transport::default(),
            version: Version::default(),
            client_id: String::new(),
            user: address.user,
            password: None,
            clean_start: None,
            session_expiry: Duration::ZERO,
            will: None,
            keep_alive: KEEP_ALIVE,
            in_flight: IN_FLIGHT,
            receive_maximum: RECEIVE_MAXIMUM,
            packet_max: PACKET_LEN_MAX,
            by_hand: false,
            bridge: false,
            retry: RetryPolicy::default(),
            retry_always: false,
        })
    }

    /// The version of MQTT to speak.
    pub fn version(self, version: Version) -> Self {
        Self { version, ..self }
    }

    /// The client id; empty (the default) lets the server choose one, which needs a session without expiry.
    pub fn client_id(self, id: impl Into<String>) -> Self {
        Self { client_id: id.into(), ..self }
    }

    /// The user name, in place of that in the address.
    pub fn user(self, name: impl Into<String>) -> Self {
        Self { user: Some(name.into()), ..self }
    }

    /// The password. Never part of the address, which other programs and logs may show.
    pub fn password(self, password: impl Into<String>) -> Self {
        Self { password: Some(Secret(password.into())), ..self }
    }

    /// Whether a session the server has from before is forgotten at the first connection; by default exactly where the session
    /// has no expiry. MQTT 3.1.1 knows no other.
    pub fn clean_start(self, clean: bool) -> Self {
        Self { clean_start: Some(clean), ..self }
    }

    /// How long the server keeps the session when the connection is gone (default zero). MQTT 3.1.1 knows only zero and for
    /// ever; anything but zero is for ever there, as [`Duration::MAX`] is in 5.0.
    pub fn session_expiry(self, expiry: Duration) -> Self {
        Self { session_expiry: expiry, ..self }
    }

    /// What the server publishes when the client vanishes.
    pub fn will(self, will: impl Into<Will>) -> Self {
        Self { will: Some(will.into()), ..self }
    }

    /// Longest silence before a ping (default 60 s, in whole seconds up to 65,535); zero turns pings off.
    pub fn keep_alive(self, keep_alive: Duration) -> Self {
        Self { keep_alive, ..self }
    }

    /// How many messages of QoS 1 and 2 may be under way to the server (default 256, 1 to 16,384); the server may want fewer.
    pub fn in_flight(self, messages: usize) -> Self {
        Self { in_flight: messages.clamp(1, IN_FLIGHT_MAX), ..self }
    }

    /// How many messages of QoS 1 and 2 may be unacknowledged on the way here (default 256, at least 1).
    pub fn receive_maximum(self, messages: u16) -> Self {
        Self { receive_maximum: messages.max(1), ..self }
    }

    /// Longest packet taken, bytes (default 8 MiB); a server that sends a longer one is left.
    pub fn packet_max(self, bytes: u32) -> Self {
        Self { packet_max: bytes.max(1024) as usize, ..self }
    }

    /// Messages are acknowledged by [`Received::acknowledge`](super::Received::acknowledge), and not when they are taken.
    pub fn acknowledge_by_hand(self, by_hand: bool) -> Self {
        Self { by_hand, ..self }
    }

    /// Tells the server that this is a bridge, as mosquitto's bridges do in MQTT 3.1.1: such a client does not get back what
    /// it publishes, and gets retain flags as they were published. In 5.0 each subscription says that itself.
    pub fn bridge(self, bridge: bool) -> Self {
        Self { bridge, ..self }
    }

    /// How long to wait between attempts to connect.
    pub fn retry(self, retry: RetryPolicy) -> Self {
        Self { retry, ..self }
    }

    /// Goes on trying whatever the server says, e.g. because its access list may still change.
    pub fn retry_always(self, always: bool) -> Self {
        Self { retry_always: always, ..self }
    }

    /// Connects, and gives the client once the server has accepted it, with the messages of its later subscriptions.
    ///
    /// The first failure of any kind is returned; after the first success the client reconnects by itself. See
    /// [`start`](Self::start) for a client that keeps trying from the beginning.
    pub async fn connect(self) -> Result<(Client, Messages)> {
        let (client, messages) = self.start()?;
        client.first_connection().await?;
        Ok((client, messages))
    }

    /// Starts a client that connects in the background and keeps trying. Needs a tokio runtime.
    pub fn start(self) -> Result<(Client, Messages)> {
        let (client, messages, driver) = self.build()?;
        tokio::spawn(driver.run(CancellationToken::new()));
        Ok((client, messages))
    }

    /// The client and the driver that has to run for it, for those who own their tasks.
    pub fn build(self) -> Result<(Client, Messages, Driver)> {
        let (authority, port) = (&self.authority, self.default_port);
        let remote = if self.tls {
            self.transport.remote(authority, port)?
        } else {
            self.transport.plain(authority, port)?
        };
        self.build_on(Arc::new(remote))
    }

    /// As [`build`](Self::build), over any kind of byte stream.
    pub(super) fn build_on(self, dial: Arc<dyn Dial>) -> Result<(Client, Messages, Driver)> {
        self.check()?;
        let codec = Codec { version: self.version, packet_max: self.packet_max, peer_packet_max: usize::MAX };
        let config = Config {
            codec,
            client_id: self.client_id.into(),
            user: self.user.map(Into::into),
            password: self.password,
            clean_start: self.clean_start.unwrap_or(self.session_expiry.is_zero()),
            session_expiry: u32::try_from(self.session_expiry.as_secs_f64().ceil() as u64)
                .unwrap_or(FOR_EVER),
            will: self.will,
            keep_alive: self.keep_alive,
            in_flight: self.in_flight,
            receive_maximum: self.receive_maximum,
            alias_maximum: ALIAS_MAXIMUM,
            by_hand: self.by_hand,
            bridge: self.bridge,
            retry: self.retry,
            retry_always: self.retry_always,
        };
        Ok(handle::pair(config, dial))
    }

    fn check(&self) -> Result<()> {
        let wrong = |text: &str| Err(Error::Configuration(text.to_owned()));
        let keeps = !self.session_expiry.is_zero();
        if keeps && self.client_id.is_empty() {
            return wrong("a session that outlives its connection needs a client id");
        }
        if self.keep_alive.as_secs() > u64::from(u16::MAX) {
            return wrong("the keep-alive time is over 65,535 seconds");
        }
        if self.version == Version::V5 {
            return Ok(());
        }
        if self.clean_start.is_some_and(|clean| clean == keeps) {
            return wrong("in MQTT 3.1.1 a session is clean exactly if it does not outlive its connection");
        }
        if self.password.is_some() && self.user.is_none() {
            return wrong("in MQTT 3.1.1 a password needs a user name");
        }
        let has_properties =
            |will: &Will| !will.delay.is_zero() || will.message.properties != Properties::default();
        if self.will.as_ref().is_some_and(has_properties) {
            return wrong("a will has properties or a delay, which only MQTT 5.0 has");
        }
        Ok(())
    }
}
