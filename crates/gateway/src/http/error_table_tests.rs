//! Every row of the table of errors over HTTP, in all three envelopes.

use super::{error_response, method_error_response, module_error_response};
use crate::Services;
use crate::fakes::World;
use crate::fakes::errors::{ROWS, code};
use axum::body::Body;
use axum::extract::Path;
use axum::response::Response;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt as _;
use ironbrook_model::Refusal;
use serde_json::Value;
use std::sync::Arc;
use tower::ServiceExt as _;

const TEXT: &str = "the cause; the cure";

/// Refuses whatever is asked, with the number and in the envelope of the path.
async fn refuse(Path((envelope, number)): Path<(String, u32)>) -> Response {
    let refusal = Refusal::new(code(number), TEXT);
    match envelope.as_str() {
        "registry" => error_response(&refusal),
        "method" => method_error_response(&refusal),
        _ => module_error_response(&refusal),
    }
}

async fn ask(router: &axum::Router, envelope: &str, number: u32) -> (StatusCode, HeaderMap, Value) {
    let request = Request::get(format!("/refuse/{envelope}/{number}")).body(Body::empty()).unwrap();
    let (head, body) = router.clone().oneshot(request).await.unwrap().into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    (head.status, head.headers, serde_json::from_slice(&body).unwrap())
}

// ERR-01
#[tokio::test]
async fn err_01_status_header_and_envelopes_of_every_code() {
    let world = World::new(&[]);
    let services = Services {
        hub: Some(world.hub.clone()),
        topics: None,
        http: axum::Router::new().route("/refuse/{envelope}/{number}", axum::routing::get(refuse)),
        amqp: None,
        provisioning: None,
        websocket: false,
        metrics: crate::Metrics::default(),
    };
    let router = super::router(&Arc::new(services));
    for (number, name, ..) in ROWS {
        for envelope in ["registry", "method", "module"] {
            let (status, headers, body) = ask(&router, envelope, *number).await;
            assert_eq!(u32::from(status.as_u16()), number / 1000, "{name}");
            assert_eq!(headers["iothub-errorcode"], *name);
            assert_eq!(headers["content-type"], "application/json; charset=utf-8");
            let busy = matches!(number / 1000, 429 | 503);
            assert_eq!(headers.contains_key("retry-after"), busy, "{name}");
            match envelope {
                "registry" => {
                    assert_eq!(body["Message"], format!("ErrorCode:{name};{TEXT}"));
                    let tracking = body["ExceptionMessage"].as_str().unwrap();
                    assert!(
                        tracking.starts_with("Tracking ID:") && tracking.contains("-TimeStamp:"),
                        "{tracking}"
                    );
                }
                "method" => {
                    assert_eq!(body["ExceptionMessage"], "");
                    let inner = serde_json::from_str(body["Message"].as_str().unwrap()).unwrap();
                    check_object(&inner, *number);
                }
                _ => check_object(&body, *number),
            }
        }
    }
}

fn check_object(object: &Value, number: u32) {
    assert_eq!(object["errorCode"], number);
    assert_eq!(object["message"], TEXT);
    assert!(object["trackingId"].as_str().unwrap().len() > 32, "{object}");
    assert!(object["timestampUtc"].as_str().unwrap().ends_with('Z'), "{object}");
    assert!(object.as_object().unwrap().contains_key("info"), "{object}");
}
