//! The device-side API: telemetry in, cloud-to-device messages out.
//!
//! | Request | Answer |
//! |---|---|
//! | `POST /devices/{device}[/modules/{module}]/messages/events` | 204; a batch has its own content type |
//! | `GET /devices/{device}/messages/devicebound` | 200 with the message, its lock in `ETag`; 204 if there is none |
//! | `DELETE …/devicebound/{lock}`, with `?reject` | 204: completed, or rejected |
//! | `POST …/devicebound/{lock}/abandon` | 204 |
//!
//! A request is no connection: it claims nothing and ends nobody's session.

use super::spelling::Spelling;
use super::{batch, error_response, properties};
use crate::{Metrics, PROPERTIES_MAX, Peer, Protocol};
use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, StatusCode};
use ironbrook_hub::auth::refusals;
use ironbrook_hub::throttle::Throttle;
use ironbrook_hub::{ConnectRequest, Credential, Hub, LockToken, Session, Settlement};
use ironbrook_model::{Cause, DeviceId, ErrorCode, Identity, Message, ModuleId, Refusal, SasToken};
use std::time::Duration;
use tracing::Instrument as _;

/// Seconds for which a client may ask a message to be locked.
const LOCK_SECONDS: std::ops::RangeInclusive<u64> = 5..=300;

#[derive(Clone)]
struct Api {
    hub: Hub,
    metrics: Metrics,
}

pub(super) fn router(hub: Hub, metrics: Metrics) -> axum::Router {
    axum::Router::new()
        .route("/devices/{device}/messages/events", post(send_from_device))
        .route("/devices/{device}/modules/{module}/messages/events", post(send_from_module))
        .route("/devices/{device}/messages/devicebound", get(receive))
        .route("/devices/{device}/messages/devicebound/{lock}", delete(settle))
        .route("/devices/{device}/messages/devicebound/{lock}/abandon", post(abandon))
        .with_state(Api { hub, metrics })
}

async fn send_from_device(
    State(api): State<Api>,
    Path(device): Path<String>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let identity = device_identity(device);
    answer(&api, &peer, send(&api, identity, &peer, &headers, body).await.map(|()| no_content()))
}

async fn send_from_module(
    State(api): State<Api>,
    Path((device, module)): Path<(String, String)>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let identity = device_identity(device).and_then(|device| {
        let module = ModuleId::new(module).map_err(bad_id)?;
        Ok(Identity::module(device.device, module))
    });
    answer(&api, &peer, send(&api, identity, &peer, &headers, body).await.map(|()| no_content()))
}

async fn receive(
    State(api): State<Api>,
    Path(device): Path<String>,
    Extension(peer): Extension<Peer>,
    Extension(spelling): Extension<Spelling>,
    headers: HeaderMap,
) -> Response {
    let taken = take_one(&api, device, &peer, &headers).await;
    if taken.is_ok() {
        // rule HTTP-15: the C client looks for the lock under this very name.
        spelling.ask();
    }
    answer(&api, &peer, taken)
}

async fn settle(
    State(api): State<Api>,
    Path((device, lock)): Path<(String, String)>,
    RawQuery(query): RawQuery,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
) -> Response {
    // rule HTTP-04: `reject` is a flag without a value somewhere in the query.
    let reject = query.is_some_and(|query| {
        query.split('&').any(|item| item.split('=').next().is_some_and(|name| name == "reject"))
    });
    let how = if reject { Settlement::Reject } else { Settlement::Complete };
    answer(&api, &peer, settle_one(&api, device, &lock, how, &peer, &headers).await)
}

async fn abandon(
    State(api): State<Api>,
    Path((device, lock)): Path<(String, String)>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
) -> Response {
    answer(&api, &peer, settle_one(&api, device, &lock, Settlement::Abandon, &peer, &headers).await)
}

fn answer(api: &Api, peer: &Peer, result: Result<Response, Refusal>) -> Response {
    result.unwrap_or_else(|refusal| {
        api.metrics.refused(Protocol::http, refusal.code);
        tracing::debug!(peer = %peer.addr, code = refusal.code.number(), reason = %refusal.message, "request refused");
        error_response(&refusal)
    })
}

fn no_content() -> Response {
    StatusCode::NO_CONTENT.into_response()
}

async fn send(
    api: &Api,
    identity: Result<Identity, Refusal>,
    peer: &Peer,
    headers: &HeaderMap,
    body: Body,
) -> Result<(), Refusal> {
    let session = connect(api, identity, peer, headers).await?;
    let is_batch = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).is_some_and(|value| {
        value.split(';').next().unwrap_or("").trim().eq_ignore_ascii_case(batch::CONTENT_TYPE)
    });
    let limit = api.hub.limits().telemetry_bytes;
    // Base64 and JSON make a batch longer than its messages.
    let body_max = if is_batch { 2 * limit + 128 * PROPERTIES_MAX } else { limit };
    let body = axum::body::to_bytes(body, body_max).await.map_err(|_| {
        Refusal::new(
            ErrorCode::MessageTooLarge,
            format!("the body was cut off or has more than {body_max} bytes; send smaller messages"),
        )
    })?;
    let messages = if is_batch { batch::read(&body)? } else { vec![single(headers, body)?] };
    take(api, &session, &messages).await
}

fn single(headers: &HeaderMap, body: Bytes) -> Result<Message, Refusal> {
    let mut message = Message::new(body);
    properties::read(headers, &mut message)?;
    Ok(message)
}

/// Takes messages in order and waits until all are durable. After an error some may have been taken; the client sends again.
async fn take(api: &Api, session: &Session, messages: &[Message]) -> Result<(), Refusal> {
    let total: usize = messages.iter().map(Message::metered_len).sum();
    let limit = api.hub.limits().telemetry_bytes;
    // rule HTTP-05: the limit holds for a batch as a whole.
    if total > limit {
        return Err(Refusal::new(
            ErrorCode::MessageTooLarge,
            format!(
                "{total} bytes of messages in one request, at most {limit} are taken; send fewer at once"
            ),
        ));
    }
    let mut last = None;
    for message in messages {
        last = api.hub.telemetry(session, message)?.or(last);
    }
    if let Some(ticket) = last {
        api.hub.durable(ticket).await?;
    }
    api.metrics.received(Protocol::http).inc_by(messages.len() as u64);
    Ok(())
}

async fn take_one(api: &Api, device: String, peer: &Peer, headers: &HeaderMap) -> Result<Response, Refusal> {
    let session = connect(api, device_identity(device), peer, headers).await?;
    api.hub.throttles().take(Throttle::HttpReceives)?;
    let identity = session.identity().clone();
    let lock_for = headers
        .get("iothub-messagelocktimeout")
        .and_then(|value| value.to_str().ok()?.trim().parse::<u64>().ok())
        .map_or(api.hub.limits().lock_for, |seconds| {
            Duration::from_secs(seconds.clamp(*LOCK_SECONDS.start(), *LOCK_SECONDS.end()))
        });
    let inbox = api.hub.seams().inbox.clone();
    // In a task of its own, since locking has to run to its end although the client may be gone.
    let locking = tokio::spawn(async move { inbox.lock(&identity, 1, lock_for).await });
    let locked = locking
        .await
        .map_err(|_| Refusal::new(ErrorCode::ServerError, "the queue was not read; try again"))??;
    let Some(locked) = locked.into_iter().next() else { return Ok(no_content()) };
    api.metrics.sent(Protocol::http).inc();
    session.received();
    let headers = properties::write(&locked);
    Ok((headers, locked.message.body).into_response())
}

async fn settle_one(
    api: &Api,
    device: String,
    lock: &str,
    how: Settlement,
    peer: &Peer,
    headers: &HeaderMap,
) -> Result<Response, Refusal> {
    let session = connect(api, device_identity(device), peer, headers).await?;
    // rule HTTP-02: the C client sends the token with its quotes, Node without.
    let lock = lock.trim_matches('"');
    let lock = uuid::Uuid::try_parse(lock).map(LockToken).map_err(|_| {
        Refusal::new(
            ErrorCode::DeviceMessageLockLost,
            "the lock token is none of ours; receive the message again",
        )
    })?;
    let identity = session.identity().clone();
    let inbox = api.hub.seams().inbox.clone();
    tokio::spawn(async move { inbox.settle(&identity, lock, how).await })
        .await
        .map_err(|_| Refusal::new(ErrorCode::ServerError, "the message was not settled; try again"))??;
    Ok(no_content())
}

async fn connect(
    api: &Api,
    identity: Result<Identity, Refusal>,
    peer: &Peer,
    headers: &HeaderMap,
) -> Result<Session, Refusal> {
    let identity = identity?;
    let origin = peer.origin("https");
    let credential = match device_credential(peer, headers) {
        Ok(credential) => credential,
        Err(refusal) => {
            tracing::warn!(peer = %peer.addr, %identity, code = refusal.code.number(), reason = %refusal.message,
                "request refused");
            refusals::from(origin, api.hub.auth().refused(&identity, &refusal)).await;
            return Err(refusal);
        }
    };
    let request =
        ConnectRequest { identity, credential, model_id: None, clean_session: true, lasting: false };
    // The hub's line about a refusal gets the address from the span.
    let span = tracing::info_span!("http", peer = %peer.addr);
    refusals::from(origin, api.hub.connect(request)).instrument(span).await
}

/// The credential of a device's request: its token, or the certificate of its connection. 401003 where there is neither.
pub fn device_credential(peer: &Peer, headers: &HeaderMap) -> Result<Credential, Refusal> {
    match headers.get(AUTHORIZATION) {
        Some(value) => {
            let token = value.to_str().ok().and_then(|text| SasToken::parse(text).ok());
            token.map(Credential::Sas).ok_or_else(|| {
                Refusal::new(
                    ErrorCode::IotHubUnauthorized,
                    "the Authorization header is not of the form 'SharedAccessSignature sr=…&sig=…&se=…'",
                )
                .because(Cause::Malformed)
            })
        }
        None if !peer.certificates.is_empty() => Ok(Credential::Certificate(peer.certificates.clone())),
        None => Err(Refusal::new(
            ErrorCode::IotHubUnauthorized,
            "no Authorization header and no client certificate; send a SAS token",
        )
        .because(Cause::NoCredential)),
    }
}

fn device_identity(device: String) -> Result<Identity, Refusal> {
    DeviceId::new(device).map(Identity::device).map_err(bad_id)
}

fn bad_id(error: ironbrook_model::IdError) -> Refusal {
    Refusal::new(ErrorCode::ArgumentInvalid, format!("the id in the path is not valid: {error}"))
}
