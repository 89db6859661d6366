//! `/healthz`, `/readyz`, `/metrics`.

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use prometheus_client::registry::Registry;
use std::sync::Arc;

/// Tells whether work can be done now; `Err` says why not.
pub type Probe = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

/// The routes. `healthz`: the process answers. `readyz`: what a client asks for now would be done.
pub fn router(registry: Arc<Registry>, ready: Probe) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route(
            "/readyz",
            get(move || async move {
                match ready() {
                    Ok(()) => (StatusCode::OK, "ready\n".to_owned()),
                    Err(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
                }
            }),
        )
        .route(
            "/metrics",
            get(move || async move {
                let mut text = String::new();
                match prometheus_client::encoding::text::encode(&mut text, &registry) {
                    Ok(()) => {
                        let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
                        ([(header::CONTENT_TYPE, kind)], text).into_response()
                    }
                    Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
                }
            }),
        )
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;
    use axum::http::Request;
    use tower::ServiceExt as _;

    async fn status(ready: Result<(), String>, path: &str) -> StatusCode {
        let router = router(Arc::new(Registry::default()), Arc::new(move || ready.clone()));
        router.oneshot(Request::get(path).body(Body::empty()).unwrap()).await.unwrap().status()
    }

    #[tokio::test]
    async fn health_and_readiness_are_two_things() {
        assert_eq!(status(Ok(()), "/readyz").await, StatusCode::OK);
        let poisoned = || Err("the log is poisoned".to_owned());
        assert_eq!(status(poisoned(), "/readyz").await, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(status(poisoned(), "/healthz").await, StatusCode::OK);
        assert_eq!(status(Ok(()), "/metrics").await, StatusCode::OK);
    }
}
