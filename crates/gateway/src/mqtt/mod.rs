//! The MQTT door: MQTT 3.1.1 with the platform's topics, nothing of a general broker.
//!
//! Start with [`connection`], then [`address`] for what topics mean. [`login`] is CONNECT, [`bag`] the properties in topics.

mod address;
mod bag;
mod bell;
mod connection;
mod intake;
mod io;
mod login;
mod operations;
mod outgoing;
mod provisioning;
mod recent;
mod served;
#[cfg(test)]
mod tests;
mod unacknowledged;

use crate::{Peer, Protocol, Services};
use connection::Connection;
use io::{Event, Io};
use ironbrook_hub::Hub;
use ironbrook_hub::auth::refusals;
use ironbrook_model::{ErrorCode, Identity, MqttAction, Refusal};
use ironbrook_wire::mqtt::v4::{ConnAck, Connect, ConnectReturnCode, Packet, Unencodable, Violation};
use login::Login;
pub(crate) use login::{credential, identity};
use served::Served;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

/// Largest CONNECT, in bytes: a will of 64 KiB, user name, password.
const CONNECT_LEN_MAX: usize = 128 * 1024;
/// What topic and fixed header add to a payload at most, in bytes.
const OVERHEAD_MAX: usize = 65_535 + 16;
/// How long a refused client may take to read that it is.
const FAREWELL_TIME: Duration = Duration::from_secs(5);

/// Why a connection ends.
#[derive(Debug)]
enum End {
    /// The client said DISCONNECT.
    Disconnected,
    /// The stream ended or failed.
    Lost(Option<std::io::Error>),
    /// Nothing was heard for so long.
    Silent(Duration),
    /// The client takes nothing.
    Stuck,
    /// A packet breaks the standard.
    Violation(Violation),
    /// A packet that may not come, or not now.
    Unexpected(&'static str),
    /// The hub or the door refused something that has no answer.
    Refused(Refusal),
    /// The hub ended the session.
    Closed(Refusal),
    /// The process stops.
    Shutdown,
}

impl From<Violation> for End {
    fn from(violation: Violation) -> Self {
        Self::Violation(violation)
    }
}

impl From<std::io::Error> for End {
    fn from(error: std::io::Error) -> Self {
        Self::Lost(Some(error))
    }
}

impl From<Unencodable> for End {
    fn from(error: Unencodable) -> Self {
        Self::Refused(Refusal::new(ErrorCode::ServerError, format!("an answer cannot be written: {error}")))
    }
}

/// Serves one connection to its end. CONNECT must have arrived by `deadline`.
pub(crate) async fn serve<S>(
    stream: S,
    services: Arc<Services>,
    peer: Peer,
    deadline: Instant,
    cancel: CancellationToken,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let _counted = services.metrics.connection(Protocol::mqtt);
    // Boxed, because letting a client in takes far more memory than serving it.
    if let Some(connection) = Box::pin(let_in(stream, &services, &peer, deadline, &cancel)).await {
        attend(connection, &services, &peer, &cancel).await;
    }
}

/// Serves a connection whose CONNECT was read already.
pub(crate) async fn serve_connect<S>(
    io: Io<S>,
    connect: Connect,
    services: &Services,
    peer: &Peer,
    cancel: &CancellationToken,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let _counted = services.metrics.connection(Protocol::mqtt);
    if provisioning::is_for(&connect) {
        return Box::pin(provisioning::serve(io, connect, services, peer, cancel)).await;
    }
    if let Some(connection) = Box::pin(admit(io, connect, services, peer)).await {
        attend(connection, services, peer, cancel).await;
    }
}

/// Waits for CONNECT and checks it. Who is not let in is told so, and gone when this returns.
async fn let_in<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    services: &Services,
    peer: &Peer,
    deadline: Instant,
    cancel: &CancellationToken,
) -> Option<Box<Connection<S>>> {
    let mut io = Io::new(stream, CONNECT_LEN_MAX);
    let connect = tokio::select! {
        () = cancel.cancelled() => return None,
        connect = timeout_at(deadline, first_packet(&mut io)) => connect,
    };
    let refused = match connect {
        Ok(Ok(connect)) if provisioning::is_for(&connect) => {
            Box::pin(provisioning::serve(io, connect, services, peer, cancel)).await;
            return None;
        }
        Ok(Ok(connect)) => return admit(io, connect, services, peer).await,
        Ok(Err(End::Violation(violation @ Violation::ProtocolLevel(_)))) => {
            let refusal = Refusal::new(ErrorCode::InvalidProtocolVersion, violation.to_string());
            let code = ConnectReturnCode::UnacceptableProtocolVersion;
            let refused = Refused { code, refusal, by_hub: false };
            refused.log(peer, "");
            refused
        }
        Ok(Err(End::Lost(_))) => return None,
        Ok(Err(end)) => {
            tracing::warn!(peer = %peer.addr, reason = %describe(&end), "client refused before CONNECT");
            return None;
        }
        Err(_) => {
            tracing::debug!(peer = %peer.addr, "no CONNECT in time");
            return None;
        }
    };
    services.metrics.refused(Protocol::mqtt, refused.refusal.code);
    farewell(io, refused.code).await;
    None
}

/// Lets a client in and tells it so, or that it is refused.
async fn admit<S: AsyncRead + AsyncWrite + Unpin>(
    mut io: Io<S>,
    connect: Connect,
    services: &Services,
    peer: &Peer,
) -> Option<Box<Connection<S>>> {
    let client_id = connect.client_id.clone();
    let (login, hub, session) = match enter(connect, services, peer).await {
        Ok(entered) => entered,
        Err(refused) => {
            refused.log(peer, &client_id);
            services.metrics.refused(Protocol::mqtt, refused.refusal.code);
            farewell(io, refused.code).await;
            return None;
        }
    };
    let clean_session = login.request.clean_session;
    tracing::debug!(identity = %session.identity(), peer = %peer.addr, clean_session, "connected by MQTT");
    let limits = hub.limits();
    io.set_packet_max(OVERHEAD_MAX + limits.telemetry_bytes.max(limits.method_payload_bytes));
    // rule MQTT-27: session-present is always 0, which has most clients subscribe anew; for the others see rule HUB-11.
    let accepted = ConnAck { session_present: false, code: ConnectReturnCode::Accepted };
    io.put(&Packet::ConnAck(accepted)).ok()?;
    Some(Box::new(Connection::new(io, hub, session, login, &services.metrics)))
}

/// Serves a client that was let in.
async fn attend<S>(
    connection: Box<Connection<S>>,
    services: &Services,
    peer: &Peer,
    cancel: &CancellationToken,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let served = Served::new(*connection);
    let end = served.run(cancel).await;
    let Some(mut connection) = served.take() else { return };
    let end = match end {
        Some(end) => end,
        None => Box::pin(connection.drain()).await,
    };
    note_end(&end, connection.identity(), services, peer);
    // rule MQTT-28: the will is for ungraceful ends; a session that the hub ended, or another took over, leaves none.
    let is_graceful = matches!(end, End::Disconnected | End::Shutdown | End::Closed(_));
    Box::pin(connection.close(!is_graceful)).await;
}

/// A client that is not let in.
struct Refused {
    code: ConnectReturnCode,
    refusal: Refusal,
    /// Whether the hub refused, which logs who and why itself.
    by_hub: bool,
}

impl Refused {
    /// rule MQTT-16: malformed credentials 4, bad ids 2, busy 3, all else 5.
    fn new(refusal: Refusal, by_hub: bool) -> Self {
        let code = match refusal.code.mqtt_action(true) {
            MqttAction::Refuse(code) => ConnectReturnCode::from_number(code),
            MqttAction::Close | MqttAction::Answer => None,
        };
        Self { code: code.unwrap_or(ConnectReturnCode::NotAuthorized), refusal, by_hub }
    }

    /// One line for each refused client.
    fn log(&self, peer: &Peer, client_id: &str) {
        let (code, return_code) = (self.refusal.code.number(), self.code as u8);
        let reason = &self.refusal.message;
        if self.by_hub {
            tracing::debug!(peer = %peer.addr, %client_id, code, return_code, %reason, "client refused by the hub");
        } else {
            tracing::warn!(peer = %peer.addr, %client_id, code, return_code, %reason, "client refused");
        }
    }
}

async fn first_packet<S: AsyncRead + AsyncWrite + Unpin>(io: &mut Io<S>) -> Result<Connect, End> {
    loop {
        match io.packet()? {
            Some(Packet::Connect(connect)) => return Ok(*connect),
            Some(_) => return Err(End::Unexpected("another packet before CONNECT")),
            None => {}
        }
        if io.drive(true).await? == Event::Read(0) {
            return Err(End::Lost(None));
        }
    }
}

/// Checks a CONNECT and opens a session.
async fn enter(
    connect: Connect,
    services: &Services,
    peer: &Peer,
) -> Result<(Login, Hub, ironbrook_hub::Session), Refused> {
    let hub = services.hub.clone().ok_or_else(|| {
        let text = "this port takes no devices; use the hub's";
        Refused::new(Refusal::new(ErrorCode::ServiceUnavailable, text), false)
    })?;
    let named = login::identity(&connect.client_id);
    let origin = peer.origin("mqtt");
    let login = match Login::read(connect, peer) {
        Ok(login) => login,
        Err(refusal) => {
            if let Ok(identity) = named {
                refusals::from(origin, hub.auth().refused(&identity, &refusal)).await;
            }
            return Err(Refused::new(refusal, false));
        }
    };
    // The hub's line about a refusal gets the address from the span.
    let span = tracing::info_span!("mqtt", peer = %peer.addr);
    let session = refusals::from(origin, hub.connect(login.request.clone())).instrument(span).await;
    Ok((login, hub, session.map_err(|refusal| Refused::new(refusal, true))?))
}

/// One line for each connection that ends.
fn note_end(end: &End, identity: &Identity, services: &Services, peer: &Peer) {
    match end {
        End::Disconnected | End::Shutdown | End::Lost(_) | End::Closed(_) => {
            tracing::debug!(%identity, peer = %peer.addr, reason = %describe(end), "disconnected");
        }
        End::Refused(refusal) => {
            services.metrics.refused(Protocol::mqtt, refusal.code);
            tracing::warn!(%identity, peer = %peer.addr, code = refusal.code.number(), reason = %refusal.message,
                "client refused and disconnected");
        }
        End::Violation(_) | End::Unexpected(_) | End::Silent(_) | End::Stuck => {
            tracing::warn!(%identity, peer = %peer.addr, reason = %describe(end), "client disconnected");
        }
    }
}

fn describe(end: &End) -> String {
    match end {
        End::Disconnected => "the client said goodbye".to_owned(),
        End::Lost(None) => "the connection was closed without DISCONNECT".to_owned(),
        End::Lost(Some(error)) => format!("the connection failed: {error}"),
        End::Silent(silence) => {
            format!(
                "nothing was heard for {} s, which is one and a half keep-alive intervals",
                silence.as_secs()
            )
        }
        End::Stuck => "it takes nothing of what is sent to it".to_owned(),
        End::Violation(violation) => violation.to_string(),
        End::Unexpected(what) => format!("it sent {what}"),
        End::Refused(refusal) | End::Closed(refusal) => refusal.to_string(),
        End::Shutdown => "the hub stops".to_owned(),
    }
}

/// Tells a client that it is refused, and closes.
async fn farewell<S: AsyncRead + AsyncWrite + Unpin>(mut io: Io<S>, code: ConnectReturnCode) {
    if io.put(&Packet::ConnAck(ConnAck { session_present: false, code })).is_err() {
        return;
    }
    let saying = async {
        while !io.is_flushed() {
            if io.drive(false).await.is_err() {
                return;
            }
        }
        io.shutdown().await;
    };
    let _ = tokio::time::timeout(FAREWELL_TIME, saying).await;
}
