//! HTTP/1.1 on a unix socket, for the workload and the management API, with their common rules: the version asked for, the number
//! of requests at a time, the length of bodies, the form of errors.

use super::sockets::Bound;
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use http_body_util::{BodyExt as _, Limited};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Versions that are answered, all alike.
const API_VERSIONS: [&str; 7] =
    ["2018-06-28", "2019-01-30", "2019-10-22", "2019-11-05", "2020-07-07", "2021-12-07", super::API_VERSION];
/// Requests answered at a time on one socket; others wait. The stock daemon closes their connections instead.
const REQUESTS_MAX: usize = 10;
/// Connections open at a time on one socket; others wait in the system's backlog.
const CONNECTIONS_MAX: usize = 64;
/// Longest body of a request in bytes.
const BODY_LEN_MAX: usize = 1024 * 1024;
/// Longest wait for the head of a request, and so for the next one on an open connection.
const HEAD_TIME: Duration = Duration::from_secs(60);
/// Longest wait for a whole body.
const BODY_TIME: Duration = Duration::from_secs(30);
/// Bytes of a request's head.
const HEAD_LEN_MAX: usize = 16 * 1024;
/// Pause when the process has no file descriptors left.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);

/// Serves a socket until cancelled; requests under way are answered.
pub(crate) async fn serve(socket: Bound, router: Router, cancel: CancellationToken) {
    let requests = Arc::new(Semaphore::new(REQUESTS_MAX));
    let router = router.fallback(no_such_request).method_not_allowed_fallback(no_such_request);
    let router = router.layer(middleware::from_fn_with_state(requests, gate));
    let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let tracker = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            () = cancel.cancelled() => break,
            accepted = accept(&socket, &connections) => accepted,
        };
        let Some((stream, permit)) = accepted else { continue };
        let (router, cancel) = (router.clone(), cancel.clone());
        tracker.spawn(async move {
            connection(stream, router, cancel).await;
            drop(permit);
        });
    }
    drop(socket);
    tracker.close();
    tracker.wait().await;
}

async fn accept(
    socket: &Bound,
    connections: &Arc<Semaphore>,
) -> Option<(UnixStream, tokio::sync::OwnedSemaphorePermit)> {
    let permit = connections.clone().acquire_owned().await.ok()?;
    match socket.listener.accept().await {
        Ok((stream, _)) => Some((stream, permit)),
        Err(error) => {
            tracing::warn!(socket = %socket.path().display(), %error, "a connection was not accepted");
            tokio::time::sleep(EXHAUSTED_PAUSE).await;
            None
        }
    }
}

async fn connection(stream: UnixStream, router: Router, cancel: CancellationToken) {
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(HEAD_LEN_MAX)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    tokio::pin!(connection);
    let served = tokio::select! {
        served = &mut connection => served,
        () = cancel.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = served {
        tracing::debug!(%error, "connection to a unix socket ended");
    }
}

/// Lets a request through when its version is known and there is room, with its body read.
async fn gate(State(requests): State<Arc<Semaphore>>, request: Request, next: Next) -> Response {
    if let Err(refused) = check_version(request.uri().query().unwrap_or_default()) {
        return refused.into_response();
    }
    // The semaphore is never closed.
    let Ok(_permit) = requests.acquire().await else {
        return message(StatusCode::INTERNAL_SERVER_ERROR, "stopping");
    };
    let (head, body) = request.into_parts();
    let body = match tokio::time::timeout(BODY_TIME, Limited::new(body, BODY_LEN_MAX).collect()).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
            return message(StatusCode::BAD_REQUEST, &format!("the body has more than {BODY_LEN_MAX} bytes"));
        }
        Ok(Err(_)) => return message(StatusCode::BAD_REQUEST, "the body cannot be read"),
        Err(_) => return message(StatusCode::BAD_REQUEST, "the body did not come in time"),
    };
    next.run(Request::from_parts(head, Body::from(body))).await
}

// rule WORKLOAD-01
fn check_version(query: &str) -> Result<(), Refused> {
    let mut versions = query.split('&').filter_map(|pair| pair.strip_prefix("api-version="));
    let what = match versions.next_back() {
        Some(version) if API_VERSIONS.contains(&version) => return Ok(()),
        Some(_) => "not known here",
        None => "missing in the query",
    };
    let known = API_VERSIONS.join(", ");
    Err(Refused::new(StatusCode::BAD_REQUEST, format!("api-version is {what}; known are {known}")))
}

async fn no_such_request() -> Response {
    message(StatusCode::NOT_FOUND, "there is no such request")
}

/// An answer that says no, and why.
pub(crate) struct Refused {
    status: StatusCode,
    text: String,
}

impl Refused {
    pub fn new(status: StatusCode, text: impl Into<String>) -> Self {
        Self { status, text: text.into() }
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        message(self.status, &self.text)
    }
}

/// An error in the stock form.
fn message(status: StatusCode, text: &str) -> Response {
    json_answer(status, &json!({"message": text}))
}

/// An answer with a JSON body.
pub(crate) fn json_answer(status: StatusCode, body: &Value) -> Response {
    let json = HeaderValue::from_static("application/json");
    (status, [(header::CONTENT_TYPE, json)], Bytes::from(body.to_string())).into_response()
}
