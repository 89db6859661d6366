//! The portal's router.

use crate::assets;
use crate::edge;
use crate::feed::{self, Feed};
use crate::follow::{self, Viewers};
use crate::now;
use crate::session::Sessions;
use axum::extract::{Query, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use ironbrook_client::ServiceClient;
use serde_json::json;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Devices listed.
const DEVICES_MAX: usize = 100;
/// What the page shows of each; twins hold no keys.
const DEVICES: &str = "SELECT deviceId, modelId, connectionState, status, lastActivityTime FROM devices";
/// The page's files by path.
const FILES: [(&str, &str); 7] = [
    ("/", "index.html"),
    ("/app.js", "app.js"),
    ("/chart.js", "chart.js"),
    ("/dom.js", "dom.js"),
    ("/edge.js", "edge.js"),
    ("/series.js", "series.js"),
    ("/style.css", "style.css"),
];

/// What the portal needs to be a client of the hub.
pub struct Config {
    /// Connection string of a policy with registry read.
    pub service: String,
    /// Where to reach the service API whatever its host name resolves to: the name may be known to others only.
    pub service_address: Option<SocketAddr>,
    /// Connection string of the events endpoint.
    pub events: String,
    /// Where to reach the events endpoint.
    pub events_address: Option<SocketAddr>,
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
    viewers: Viewers,
    edge: edge::Watch,
    cancel: CancellationToken,
}

impl Portal {
    /// Checks the connection strings; connects to nothing yet.
    pub fn new(config: Config, cancel: CancellationToken) -> Result<Self, ironbrook_client::Error> {
        let mut service = ServiceClient::builder(&config.service)?.ca_file(&config.ca_file)?;
        if let Some(address) = config.service_address {
            service = service.address(address);
        }
        let service = service.build()?;
        let sessions = Sessions::new(config.setup_token.clone());
        let (feed, viewers, edge) = (Feed::default(), Viewers::default(), edge::Watch::default());
        Ok(Self { shared: Arc::new(Shared { config, service, sessions, feed, viewers, edge, cancel }) })
    }

    /// Reads telemetry while there are pages, until cancelled.
    pub async fn run(self) {
        let Shared { config, feed, viewers, cancel, .. } = &*self.shared;
        follow::run(config, feed, viewers, cancel).await;
    }

    /// The page and its API. Only the page's files and the opening of a session need no session.
    pub fn router(&self) -> Router {
        let api = Router::new()
            .route("/api/hub", get(hub))
            .route("/api/devices", get(devices))
            .route("/api/edge", get(edge_devices))
            .route("/api/telemetry", get(telemetry))
            .route_layer(axum::middleware::from_fn_with_state(self.shared.clone(), only_with_session));
        let files = FILES.iter().fold(Router::new(), |router, (path, name)| {
            router.route(path, get(|| async { assets::serve(name) }))
        });
        files.route("/api/session", post(open_session)).merge(api).with_state(self.shared.clone())
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
    match shared.service.query_page(DEVICES, None, DEVICES_MAX).await {
        Ok((devices, _)) => Json(devices).into_response(),
        Err(error) => {
            tracing::warn!(%error, "the portal cannot list devices");
            no_answer(&error.to_string())
        }
    }
}

async fn edge_devices(State(shared): State<Arc<Shared>>) -> Response {
    match shared.edge.devices(&shared.service).await {
        Ok(devices) => Json(&*devices).into_response(),
        Err(text) => no_answer(&text),
    }
}

/// The service API said no or nothing; the page shows why. Errors of the client hold no secret.
fn no_answer(text: &str) -> Response {
    (StatusCode::BAD_GATEWAY, Json(json!({ "error": text }))).into_response()
}

#[derive(serde::Deserialize)]
struct Since {
    /// The `next` of the answer before; 0 for all that is kept.
    #[serde(default)]
    from: u64,
}

/// What came since. Pages ask again and again: that goes through any proxy, holds no connection, and needs no start-over.
/// `now` is this machine's time, which the times of points are on: a page's own clock may be wrong.
async fn telemetry(State(shared): State<Arc<Shared>>, Query(since): Query<Since>) -> Response {
    shared.viewers.asked();
    let news = shared.feed.since(since.from);
    Json(News { news, now: now().as_millis() }).into_response()
}

#[derive(serde::Serialize)]
struct News {
    #[serde(flatten)]
    news: feed::News,
    now: i64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;
    use tower::ServiceExt as _;

    const KEY: &str = "c2VjcmV0LWNhbmFyeS1vZi0zMi1ieXRlcy1pbi1hbGw=";

    fn portal() -> Portal {
        let ca_file = tempfile::NamedTempFile::new().unwrap();
        let ca = ironbrook_gateway::authority::Authority::generate(
            "test",
            ironbrook_model::Timestamp::from_secs(1_790_000_000),
        );
        std::fs::write(ca_file.path(), ca.unwrap().certificate_pem()).unwrap();
        let config = Config {
            service: format!("HostName=localhost;SharedAccessKeyName=iothubowner;SharedAccessKey={KEY}"),
            service_address: None,
            events: String::new(),
            events_address: None,
            ca_file: ca_file.path().into(),
            setup_token: "t0ken".into(),
            hub_name: "h".into(),
            host: "localhost".into(),
        };
        Portal::new(config, CancellationToken::new()).unwrap()
    }

    async fn ask(portal: &Portal, request: axum::http::request::Builder, body: &str) -> Response {
        portal.router().oneshot(request.body(Body::from(body.to_owned())).unwrap()).await.unwrap()
    }

    #[tokio::test]
    async fn nothing_of_the_hub_is_told_without_a_session() {
        let portal = portal();
        for path in ["/api/hub", "/api/devices", "/api/edge", "/api/telemetry"] {
            let refused =
                ask(&portal, Request::builder().uri(path).header("cookie", "ironbrook-session=x"), "").await;
            assert_eq!(refused.status(), StatusCode::UNAUTHORIZED, "{path}");
        }
        assert_eq!(ask(&portal, Request::builder().uri("/"), "").await.status(), StatusCode::OK);
    }

    #[tokio::test]
    async fn a_setup_token_opens_a_session_by_post_only() {
        let portal = portal();
        // Looking at the address, as a preview does, uses nothing up.
        ask(&portal, Request::builder().uri("/?token=t0ken"), "").await;
        let open = || Request::post("/api/session").header("content-type", "application/json");
        let opened = ask(&portal, open(), r#"{"token":"t0ken"}"#).await;
        let cookie = opened.headers()[header::SET_COOKIE].to_str().unwrap().to_owned();
        let answer =
            ask(&portal, Request::builder().uri("/api/telemetry").header("cookie", &cookie), "").await;
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(ask(&portal, open(), r#"{"token":"t0ken"}"#).await.status(), StatusCode::UNAUTHORIZED);
    }

    #[tokio::test]
    async fn every_file_of_the_page_is_served() {
        let portal = portal();
        for (path, name) in FILES {
            let answer = ask(&portal, Request::builder().uri(path), "").await;
            assert_eq!(answer.status(), StatusCode::OK, "{name}");
        }
    }
}
