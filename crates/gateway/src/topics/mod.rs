//! The door of ordinary topics: MQTT 3.1.1 and 5.0 in full, over the broker of `ironbrook-pubsub`.
//!
//! Start with [`serve`], which reads CONNECT and finds out which namespace a client is for; then [`login`] for who it is and
//! what it asks for, [`connection`] for the loop. [`speech`] writes answers in the client's version, [`answers`] holds them
//! back until the disk has what they acknowledge, [`convert`] translates words.
//!
//! A listener with a hub alone is for the platform's own topics (the door `mqtt`), one with [`Topics`] alone for ordinary ones;
//! where it has both, the user name decides.

mod answers;
#[cfg(test)]
mod conformance;
mod connection;
mod convert;
mod enhanced;
mod login;
mod speech;
#[cfg(test)]
mod tests;

use crate::packet_io::{Event, Io};
use crate::{Peer, Protocol, Services, mqtt};
use connection::Connection;
pub use enhanced::{EnhancedAuthentication, Exchange, ExchangeStep, ScramSha256};
use futures_util::future::BoxFuture;
use ironbrook_hub::Hub;
use ironbrook_hub::seams::Clock;
use ironbrook_model::ErrorCode;
use ironbrook_pubsub::{Broker, Connected, Reason};
use ironbrook_wire::mqtt::first::{First, Refused, decode_first};
use ironbrook_wire::mqtt::v5::{self, ReasonCode};
use ironbrook_wire::mqtt::{PacketType, v4};
use login::Login;
use speech::{Speech, V5};
use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

/// Largest CONNECT, in bytes: a will of 64 KiB, user name, password, properties.
const CONNECT_LEN_MAX: usize = 128 * 1024;
/// What topic and fixed header add to a payload at most, in bytes.
const OVERHEAD_MAX: usize = 65_535 + 16 + v5::PROPERTIES_LEN_MAX;
/// How long a client may take to read the last word.
const FAREWELL_TIME: Duration = Duration::from_secs(5);
/// Passwords checked at once: a check takes a tenth of a second of a core on purpose.
const PASSWORD_CHECKS_MAX: usize = 2;

/// Settings of the door.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicsSettings {
    /// The longest keep-alive: an MQTT 5.0 client that asks for more, or for none, is told to use this one. `None` for no bound.
    /// An MQTT 3.1.1 client cannot be told, and keeps what it asks for.
    pub keep_alive_max: Option<NonZeroU16>,
    /// Whether identities of the hub may use ordinary topics. Needs the hub in [`Topics::new`].
    pub hub_identities: bool,
    /// What MQTT 5.0 clients are told to make response topics of, if they ask; `%c` stands for the client id.
    pub response_information: Option<String>,
    /// Whether an MQTT 5.0 client is told that no rule allows what it wants (0x87), or only that it is not done (0x80).
    pub explain_refusals: bool,
}

impl Default for TopicsSettings {
    fn default() -> Self {
        Self {
            keep_alive_max: None,
            hub_identities: false,
            response_information: None,
            explain_refusals: true,
        }
    }
}

/// Ordinary topics, as listeners lead to them.
pub struct Topics {
    broker: Broker,
    clock: Arc<dyn Clock>,
    settings: TopicsSettings,
    identities: Option<Hub>,
    checks: Semaphore,
    methods: Vec<Arc<dyn EnhancedAuthentication>>,
}

impl Topics {
    /// A door to a broker. Its [`run`](Broker::run) and [`tick`](Broker::tick) are the assembly's to call. `identities` is who
    /// knows the hub's identities; without it none of them gets in.
    pub fn new(
        broker: Broker,
        clock: Arc<dyn Clock>,
        settings: TopicsSettings,
        identities: Option<Hub>,
    ) -> Self {
        let checks = Semaphore::new(PASSWORD_CHECKS_MAX);
        Self { broker, clock, settings, identities, checks, methods: vec![Arc::new(ScramSha256)] }
    }

    /// Serves another method of enhanced authentication as well.
    #[must_use]
    pub fn with_method(mut self, method: Arc<dyn EnhancedAuthentication>) -> Self {
        self.methods.push(method);
        self
    }

    /// The broker behind it.
    pub fn broker(&self) -> &Broker {
        &self.broker
    }
}

/// Serves one connection to its end, in the namespace it is for. CONNECT must have arrived by `deadline`.
///
/// Each door has a future of its own: one for both would be as large as the larger, for as long as the connection lasts.
pub(crate) fn serve<S>(
    stream: S,
    services: Arc<Services>,
    peer: Peer,
    deadline: Instant,
    cancel: CancellationToken,
) -> BoxFuture<'static, ()>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    match services.topics.clone() {
        Some(topics) => Box::pin(serve_either(stream, topics, services, peer, deadline, cancel)),
        None => Box::pin(mqtt::serve(stream, services, peer, deadline, cancel)),
    }
}

/// Serves a connection to a listener that has ordinary topics, and perhaps the hub's too.
async fn serve_either<S>(
    stream: S,
    topics: Arc<Topics>,
    services: Arc<Services>,
    peer: Peer,
    deadline: Instant,
    cancel: CancellationToken,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut io = Io::new(stream, CONNECT_LEN_MAX);
    let first = tokio::select! {
        () = cancel.cancelled() => return,
        first = timeout_at(deadline, first_packet(&mut io)) => first,
    };
    match first {
        Ok(Ok(Some(first))) => {
            let is_for_hub = services.hub.is_some() && login::is_hub_user(&first);
            match first {
                First::V4(connect) if is_for_hub => {
                    Box::pin(mqtt::serve_connect(io, *connect, &services, &peer, &cancel)).await;
                }
                First::V5(_) if is_for_hub => {
                    // rule TOPIC-02: the hub namespace is MQTT 3.1.1 only.
                    tracing::warn!(peer = %peer.addr, "client refused: devices of the hub speak MQTT 3.1.1");
                    refuse(io, Refused::ProtocolLevel(5)).await;
                }
                first => Box::pin(enter(io, first, &topics, &services, &peer, &cancel)).await,
            }
        }
        Ok(Ok(None)) => {}
        Ok(Err(refused)) => {
            tracing::warn!(peer = %peer.addr, reason = %refused, "client refused before CONNECT");
            refuse(io, refused).await;
        }
        Err(_) => tracing::debug!(peer = %peer.addr, "no CONNECT in time"),
    }
}

/// The first packet; `None` where the stream ends before.
async fn first_packet<S: AsyncRead + AsyncWrite + Unpin>(io: &mut Io<S>) -> Result<Option<First>, Refused> {
    loop {
        if let Some(first) = io.take(decode_first)? {
            return Ok(Some(first));
        }
        if !matches!(io.drive(true).await, Ok(Event::Read(1..) | Event::Wrote)) {
            return Ok(None);
        }
    }
}

async fn refuse<S: AsyncRead + AsyncWrite + Unpin>(mut io: Io<S>, refused: Refused) {
    let written = io.put_with(|out| {
        refused.answer(out);
        Ok::<_, std::convert::Infallible>(())
    });
    match written {
        Ok(()) => farewell(io).await,
        Err(never) => match never {},
    }
}

/// Why a client is not let in.
struct Denied {
    reason: Reason,
    /// In MQTT 5.0 where it says more than the broker's reason can.
    code: Option<ReasonCode>,
    text: String,
}

impl From<Reason> for Denied {
    fn from(reason: Reason) -> Self {
        Self { reason, code: None, text: reason.to_string() }
    }
}

/// Lets a client in, or tells it why not, and serves it.
async fn enter<S: AsyncRead + AsyncWrite + Unpin + Send>(
    mut io: Io<S>,
    first: First,
    topics: &Topics,
    services: &Services,
    peer: &Peer,
    cancel: &CancellationToken,
) {
    let _counted = services.metrics.connection(Protocol::mqtt);
    let (client_id, speech) = login::who(&first, topics);
    let let_in = async {
        let rules = topics.broker.acl_generation();
        let login = login::read(first, topics, peer, &mut io).await?;
        let connected = topics.broker.connect(login.client.clone(), topics.clock.now())?;
        if topics.broker.acl_generation() != rules {
            // The user may be gone since the password was checked.
            let text = "users and rules changed meanwhile; connect again";
            return Err(Denied { reason: Reason::NotAuthorized, code: None, text: text.to_owned() });
        }
        if let Some(mark) = connected.mark {
            topics.broker.durable(mark).await?;
        }
        Ok::<_, Denied>((login, connected))
    };
    let let_in = tokio::select! {
        () = cancel.cancelled() => return,
        let_in = let_in => let_in,
    };
    match let_in {
        Ok((login, connected)) => {
            if io.put_with(|out| accept(&login, &connected, topics, out)).is_err() {
                return;
            }
            io.set_packet_max(packet_max(topics));
            tracing::debug!(client_id = %connected.client_id, user = login.client.user.as_deref().unwrap_or_default(),
                peer = %peer.addr, session_present = connected.session_present, "connected to ordinary topics");
            let connection = Connection::new(io, topics, login, connected.session, services);
            Box::pin(connection.serve(&connected.client_id, peer, cancel)).await;
        }
        Err(denied) => {
            tracing::warn!(peer = %peer.addr, %client_id, reason = %denied.text, "client refused");
            services.metrics.refused(Protocol::mqtt, ErrorCode::IotHubUnauthorized);
            if io.put_with(|out| deny(speech, &denied, out)).is_ok() {
                farewell(io).await;
            }
        }
    }
}

/// The longest packet a client may send, in bytes.
fn packet_max(topics: &Topics) -> usize {
    OVERHEAD_MAX + topics.broker.config().payload_bytes_max
}

/// Writes the CONNACK of a client that is let in.
fn accept(
    login: &Login,
    connected: &Connected,
    topics: &Topics,
    out: &mut bytes::BytesMut,
) -> Result<(), speech::Unwritten> {
    let session_present = connected.session_present;
    let Speech::V5(V5 { limits, .. }) = login.speech else {
        let ack = v4::ConnAck { session_present, code: v4::ConnectReturnCode::Accepted };
        return Ok(v4::encode(&v4::Packet::ConnAck(ack), out)?);
    };
    let config = topics.broker.config();
    let client = &login.client;
    let response = topics.settings.response_information.as_deref().filter(|_| login.wants_response);
    let properties = v5::ConnAckProperties {
        // [3.2.2.3.2]: what it asked for holds where nothing is said.
        session_expiry_interval: (connected.session_expiry != client.session_expiry)
            .then_some(connected.session_expiry),
        receive_maximum: NonZeroU16::new(config.receive_maximum),
        maximum_packet_size: u32::try_from(packet_max(topics)).ok().and_then(std::num::NonZeroU32::new),
        // [MQTT-3.1.3-7]
        assigned_client_identifier: client.client_id.is_empty().then(|| connected.client_id.clone()),
        topic_alias_maximum: Some(config.topic_alias_maximum),
        server_keep_alive: login.server_keep_alive.map(NonZeroU16::get),
        authentication_method: login.proven.as_ref().map(|(proven, _)| proven.method.name().into()),
        authentication_data: login.proven.as_ref().map(|(_, data)| v5::AuthData(data.clone())),
        response_information: response.map(|text| text.replace("%c", &connected.client_id).into()),
        ..v5::ConnAckProperties::default()
    };
    let ack = v5::ConnAck { session_present, reason: ReasonCode::Success, properties };
    Ok(v5::encode_within(&v5::Packet::ConnAck(Box::new(ack)), limits, out)?)
}

/// Writes the CONNACK of a client that is not let in, where there is one for it.
fn deny(speech: Speech, denied: &Denied, out: &mut bytes::BytesMut) -> Result<(), speech::Unwritten> {
    match speech {
        Speech::V4 => match convert::return_code(denied.reason) {
            Some(code) => {
                Ok(v4::encode(&v4::Packet::ConnAck(v4::ConnAck { session_present: false, code }), out)?)
            }
            None => Ok(()),
        },
        Speech::V5(V5 { limits, .. }) => {
            let code =
                denied.code.unwrap_or_else(|| convert::reason_code(denied.reason, PacketType::ConnAck));
            let mut ack = v5::ConnAck::refusal(code);
            ack.properties.reason_string = Some(denied.text.as_str().into());
            Ok(v5::encode_within(&v5::Packet::ConnAck(Box::new(ack)), limits, out)?)
        }
    }
}

/// Writes what is left, and closes so that the client can read it: a socket that is closed while input waits resets the
/// connection, and what was sent last is lost.
async fn farewell<S: AsyncRead + AsyncWrite + Unpin>(mut io: Io<S>) {
    let saying = async {
        while !io.is_flushed() {
            if io.drive(false).await.is_err() {
                return;
            }
        }
        io.shutdown().await;
        io.discard().await;
    };
    let _ = tokio::time::timeout(FAREWELL_TIME, saying).await;
}
