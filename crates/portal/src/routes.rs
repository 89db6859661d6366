//! The portal's router.

use crate::assets;
use crate::feed::Feed;
use crate::follow;
use crate::session::Sessions;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use futures_util::stream::{self, Stream, StreamExt as _};
use ironbrook_client::ServiceClient;
use serde_json::json;
use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

/// What the portal needs to be a client of the hub.
pub struct Config {
    /// Connection string of a policy with registry read.
    pub service: String,
    /// Connection string of the events endpoint.
    pub events: String,
    /// The authority to trust, a PEM file.
    pub ca_file: PathBuf,
    /// Opens the first browser's session.
    pub setup_token: String,
    /// Shown on the page.
    pub hub_name: String,
    /// Shown on the page.
    pub host: String,
}

/// The portal: a router to serve and a reader of telemetry to run.
#[derive(Clone)]
pub struct Portal {
    shared: Arc<Shared>,
}

struct Shared {
    config: Config,
    service: ServiceClient,
    sessions: Sessions,
    feed: Feed,
    cancel: CancellationToken,
}

impl Portal {
    /// Checks the connection strings; connects to nothing yet. Streams to open pages end with `cancel`.
    pub fn new(config: Config, cancel: CancellationToken) -> Result<Self, ironbrook_client::Error> {
        let service = ServiceClient::builder(&config.service)?.ca_file(&config.ca_file)?.build()?;
        let sessions = Sessions::new(config.setup_token.clone());
        Ok(Self { shared: Arc::new(Shared { config, service, sessions, feed: Feed::default(), cancel }) })
    }

    /// Reads telemetry until cancelled.
    pub async fn run(self) {
        let Shared { config, feed, cancel, .. } = &*self.shared;
        follow::run(&config.events, &config.ca_file, feed, cancel).await;
    }

    /// The page and its API. Only the page's files and the opening of a session need no session.
    pub fn router(&self) -> Router {
        let api = Router::new()
            .route("/api/hub", get(hub))
            .route("/api/devices", get(devices))
            .route("/api/telemetry", get(telemetry))
            .route_layer(axum::middleware::from_fn_with_state(self.shared.clone(), only_with_session));
        Router::new()
            .route("/", get(|| async { assets::serve("index.html") }))
            .route("/app.js", get(|| async { assets::serve("app.js") }))
            .route("/chart.js", get(|| async { assets::serve("chart.js") }))
            .route("/style.css", get(|| async { assets::serve("style.css") }))
            .route("/api/session", post(open_session))
            .merge(api)
            .with_state(self.shared.clone())
    }
}

async fn only_with_session(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    let cookies = request.headers().get_all(header::COOKIE);
    if cookies.iter().filter_map(|v| v.to_str().ok()).any(|c| shared.sessions.holds(c)) {
        return next.run(request).await;
    }
    StatusCode::UNAUTHORIZED.into_response()
}

#[derive(serde::Deserialize)]
struct OpenSession {
    token: String,
}

async fn open_session(State(shared): State<Arc<Shared>>, Json(body): Json<OpenSession>) -> Response {
    match shared.sessions.open(&body.token) {
        Some(cookie) => (StatusCode::NO_CONTENT, [(header::SET_COOKIE, cookie)]).into_response(),
        None => {
            tracing::warn!("a setup token was refused: wrong, or used before");
            StatusCode::UNAUTHORIZED.into_response()
        }
    }
}

async fn hub(State(shared): State<Arc<Shared>>) -> Response {
    Json(json!({ "name": shared.config.hub_name, "host": shared.config.host })).into_response()
}

async fn devices(State(shared): State<Arc<Shared>>) -> Response {
    match shared.service.list_devices(100).await {
        Ok(devices) => Json(devices.iter().map(without_keys).collect::<Vec<_>>()).into_response(),
        Err(error) => {
            tracing::warn!(%error, "the portal cannot list devices");
            StatusCode::BAD_GATEWAY.into_response()
        }
    }
}

/// Only what the page shows leaves the server; keys stay.
fn without_keys(device: &serde_json::Value) -> serde_json::Value {
    let shown = ["deviceId", "connectionState", "status", "lastActivityTime"];
    shown.iter().map(|name| ((*name).to_owned(), device.get(*name).cloned().unwrap_or_default())).collect()
}

async fn telemetry(State(shared): State<Arc<Shared>>) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let (history, news) = shared.feed.subscribe();
    let start = stream::once(async { Event::default().event("start").data("") });
    let history = stream::iter(history).map(|p| event(&p));
    // A page that fell too far behind is cut off; its browser connects again and gets the history.
    let news = stream::unfold(news, |mut news| async move {
        match news.recv().await {
            Ok(point) => Some((event(&point), news)),
            Err(RecvError::Lagged(_) | RecvError::Closed) => None,
        }
    });
    let cancelled = shared.cancel.clone().cancelled_owned();
    Sse::new(start.chain(history).chain(news).take_until(cancelled).map(Ok)).keep_alive(KeepAlive::default())
}

fn event(point: &crate::point::Point) -> Event {
    Event::default().event("point").json_data(point).unwrap_or_default()
}
