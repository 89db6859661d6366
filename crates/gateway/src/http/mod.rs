//! The HTTP door: HTTP/1.1 for the assembly's routes and the device-side API, and the way to WebSockets.
//!
//! Start with [`device`] for what a device can ask; [`error`] makes the error bodies, for the assembly's routes too.

mod batch;
mod device;
mod error;
#[cfg(test)]
mod error_table_tests;
mod patience;
mod properties;
mod spelling;

pub use device::device_credential;
pub use error::{error_json, error_response, method_error_response, module_error_response};

use crate::connection::{Entrance, Permit};
use crate::stream::Stream;
use crate::websocket::{self, Handshake, WebSocketIo};
use crate::{Peer, Protocol, Services, amqp, topics};
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use patience::{Taken, Timely};
use spelling::{Spelled, Spelling};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tower::ServiceExt as _;

/// Longest wait for the head of a request, and so for the next request of an open connection.
const HEAD_TIME: Duration = Duration::from_secs(60);
/// Longest wait for the next bytes of a body, and for room to write an answer.
const STEP_TIME: Duration = Duration::from_secs(60);
/// Bytes of a request's head.
const HEAD_LEN_MAX: usize = 64 * 1024;
/// Headers of a request: a message may have that many properties.
const HEADERS_MAX: usize = 256;
/// From the WebSocket handshake to the first packet in it.
const FIRST_PACKET_TIME: Duration = Duration::from_secs(60);

/// The routes of a listener: the assembly's, and where there is a hub the device-side API.
pub(crate) fn router(services: &Arc<Services>) -> axum::Router {
    let router = services.http.clone();
    match &services.hub {
        Some(hub) => router.merge(device::router(hub.clone(), services.metrics.clone())),
        None => router,
    }
}

/// Serves one connection to its end.
pub(crate) async fn serve(stream: Stream, entrance: Arc<Entrance>, peer: Peer, permit: Permit) {
    let _counted = entrance.services.metrics.connection(Protocol::http);
    let cancel = entrance.cancel.clone();
    let addr = peer.addr;
    let spelling = Spelling::default();
    let stream = Spelled::new(Taken::new(stream, STEP_TIME), spelling.clone());
    let service = service_fn(move |mut request: Request<Incoming>| {
        let (entrance, peer, permit) = (entrance.clone(), peer.clone(), permit.clone());
        request.extensions_mut().insert(spelling.clone());
        async move { Ok::<_, Infallible>(answer(request, entrance, peer, permit).await) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(HEAD_LEN_MAX)
        .max_headers(HEADERS_MAX)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    tokio::pin!(connection);
    let served = tokio::select! {
        served = &mut connection => served,
        () = cancel.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = served {
        tracing::debug!(peer = %addr, %error, "HTTP connection ended");
    }
}

async fn answer(
    mut request: Request<Incoming>,
    entrance: Arc<Entrance>,
    peer: Peer,
    permit: Permit,
) -> Response {
    if entrance.services.websocket {
        match Handshake::of(&request, entrance.services.topics.is_some()) {
            Some(Ok(handshake)) => {
                let response = handshake.response();
                let upgrade = hyper::upgrade::on(&mut request);
                let tracker = entrance.tracker.clone();
                tracker.spawn(upgraded(upgrade, handshake.inner, entrance, peer, permit));
                return response;
            }
            Some(Err((status, text))) => {
                tracing::warn!(peer = %peer.addr, path = request.uri().path(), reason = text, "WebSocket refused");
                return (status, text).into_response();
            }
            None => {}
        }
    }
    request.extensions_mut().insert(peer);
    match entrance.router.clone().oneshot(request.map(|body| Body::new(Timely::new(body, STEP_TIME)))).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}

async fn upgraded(
    upgrade: hyper::upgrade::OnUpgrade,
    inner: websocket::Inner,
    entrance: Arc<Entrance>,
    peer: Peer,
    _permit: Permit,
) {
    let stream = match upgrade.await {
        Ok(upgraded) => WebSocketIo::server(TokioIo::new(upgraded)),
        Err(error) => {
            tracing::debug!(peer = %peer.addr, %error, "WebSocket handshake not finished");
            return;
        }
    };
    let stream = Stream::WebSocket(Box::new(stream));
    let (services, cancel) = (entrance.services.clone(), entrance.cancel.clone());
    match inner {
        websocket::Inner::Mqtt => {
            topics::serve(stream, services, peer, Instant::now() + FIRST_PACKET_TIME, cancel).await;
        }
        websocket::Inner::Amqp => amqp::serve(stream, services, peer, cancel).await,
    }
}
