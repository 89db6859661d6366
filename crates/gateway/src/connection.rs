//! One connection: encryption, then the door its first bytes ask for.

use crate::gateway::Encryption;
use crate::stream::{Rewind, Stream};
use crate::{Peer, Services, amqp, http, tls, topics};
use bytes::BytesMut;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// From the TCP connection to the end of the TLS handshake.
const HANDSHAKE_TIME: Duration = Duration::from_secs(30);
/// From the TCP connection to the protocol's first packet.
///
/// rule MQTT-01: CONNECT must arrive within 60 s of the connection.
const FIRST_PACKET_TIME: Duration = Duration::from_secs(60);
/// Bytes taken for telling the protocol; one would do, but a whole first packet saves a read.
const FIRST_READ: usize = 1024;
/// The first byte of a TLS handshake record.
const TLS_HANDSHAKE: u8 = 0x16;
/// The first byte of an MQTT CONNECT.
const MQTT_CONNECT: u8 = 0x10;

/// What all connections of a listener share.
pub(crate) struct Entrance {
    pub(crate) encryption: Encryption,
    pub(crate) services: Arc<Services>,
    /// The assembly's routes and the device-side API.
    pub(crate) router: axum::Router,
    pub(crate) tracker: TaskTracker,
    pub(crate) cancel: CancellationToken,
}

impl Entrance {
    pub(crate) fn new(
        encryption: Encryption,
        services: Arc<Services>,
        tracker: TaskTracker,
        cancel: CancellationToken,
    ) -> Self {
        let router = http::router(&services);
        Self { encryption, services, router, tracker, cancel }
    }
}

/// Counts against the bound on connections while any part of a connection holds it.
pub(crate) type Permit = Arc<OwnedSemaphorePermit>;

/// Serves a connection to its end.
pub(crate) async fn serve(tcp: TcpStream, addr: SocketAddr, entrance: Arc<Entrance>, permit: Permit) {
    let opened = Instant::now();
    // Small answers must not wait for the client's delayed acknowledgement.
    let _ = tcp.set_nodelay(true);
    // rule HUB-21: before anything is spent on it.
    if let Some(hub) = &entrance.services.hub
        && !hub.throttles().admits(addr.ip())
    {
        tracing::debug!(peer = %addr, "connection refused: its address opens more than it may");
        return;
    }
    let cancel = entrance.cancel.clone();
    // Each stage has memory of its own, given back when it is over: together they would be that of the largest for all time.
    let identified = tokio::select! {
        () = cancel.cancelled() => return,
        identified = Box::pin(identify(tcp, addr, &entrance, opened)) => identified,
    };
    let Some((stream, first, peer)) = identified else { return };
    match first {
        MQTT_CONNECT => {
            let services = entrance.services.clone();
            topics::serve(stream, services, peer, opened + FIRST_PACKET_TIME, cancel).await;
        }
        b'A' => Box::pin(amqp::serve(stream, entrance.services.clone(), peer, cancel)).await,
        // Methods are upper-case words; no method of ours begins with an A.
        b'B'..=b'Z' => Box::pin(http::serve(stream, entrance, peer, permit)).await,
        TLS_HANDSHAKE if !peer.tls => {
            tracing::warn!(peer = %addr, "client refused: it speaks TLS to a port without; use the port with TLS");
        }
        other => {
            tracing::warn!(peer = %addr, first_byte = other, tls = peer.tls,
                "client refused: it speaks neither MQTT, AMQP nor HTTP");
        }
    }
}

/// Encrypts where wanted and reads the first bytes, which the stream gives again.
async fn identify(
    tcp: TcpStream,
    addr: SocketAddr,
    entrance: &Entrance,
    opened: Instant,
) -> Option<(Stream, u8, Peer)> {
    let handshaker = match &entrance.encryption {
        Encryption::Off => None,
        Encryption::On(handshaker) => Some(handshaker),
        Encryption::Either(handshaker) => {
            let mut first = [0];
            let read = timeout_at(opened + HANDSHAKE_TIME, tcp.peek(&mut first)).await;
            if !matches!(read, Ok(Ok(1))) {
                return None;
            }
            (first[0] == TLS_HANDSHAKE).then_some(handshaker)
        }
    };
    let deadline = opened + FIRST_PACKET_TIME;
    let Some(handshaker) = handshaker else {
        let mut tcp = tcp;
        let (first, bytes) = first_bytes(&mut tcp, addr, deadline).await?;
        let peer = Peer { addr, certificates: Vec::new(), tls: false };
        return Some((Stream::Plain(Rewind::new(bytes.freeze(), tcp)), first, peer));
    };
    let mut tls = match timeout_at(opened + HANDSHAKE_TIME, handshaker.accept(tcp)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            entrance.services.metrics.handshake_failed();
            log_failed_handshake(addr, &error);
            return None;
        }
        Err(_) => {
            entrance.services.metrics.handshake_failed();
            tracing::debug!(peer = %addr, "TLS handshake not finished in time");
            return None;
        }
    };
    let certificates = tls::certificates(&tls);
    let (first, bytes) = first_bytes(&mut tls, addr, deadline).await?;
    let peer = Peer { addr, certificates, tls: true };
    Some((Stream::Tls(Box::new(Rewind::new(bytes.freeze(), tls))), first, peer))
}

async fn first_bytes<S: tokio::io::AsyncRead + Unpin>(
    stream: &mut S,
    addr: SocketAddr,
    deadline: Instant,
) -> Option<(u8, BytesMut)> {
    let mut bytes = BytesMut::with_capacity(FIRST_READ);
    match timeout_at(deadline, stream.read_buf(&mut bytes)).await {
        Ok(Ok(_)) => bytes.first().copied().map(|first| (first, bytes)),
        Ok(Err(error)) => {
            // In TLS 1.3 a client may refuse the certificate after the server's side of the handshake is done.
            log_failed_handshake(addr, &error);
            None
        }
        Err(_) => {
            tracing::debug!(peer = %addr, "client said nothing and is cut");
            None
        }
    }
}

fn log_failed_handshake(addr: SocketAddr, error: &io::Error) {
    match tls::refused_by_client(error) {
        Some(alert) => tracing::warn!(peer = %addr, ?alert,
            "the client does not trust the server's certificate; give it the CA file, and connect by a name in the certificate"),
        None => tracing::debug!(peer = %addr, %error, "connection ended before its first packet"),
    }
}
