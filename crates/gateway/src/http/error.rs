//! Error bodies. Three envelopes exist side by side, and clients depend on each where it stands.

use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderName, HeaderValue, StatusCode};
use ironbrook_hub::seams::{Clock as _, SystemClock};
use ironbrook_model::{Refusal, Timestamp};
use serde_json::json;

/// Carries the error's name.
const ERROR_CODE: HeaderName = HeaderName::from_static("iothub-errorcode");
/// Seconds after which a client may try again.
const RETRY_SECONDS: HeaderValue = HeaderValue::from_static("5");

/// An error in the words of the JSON envelopes: code, text, tracking id, time.
#[derive(Debug)]
struct ErrorBody {
    tracking_id: String,
    timestamp: Timestamp,
}

impl ErrorBody {
    fn new(now: Timestamp) -> Self {
        // The form of a tracking id: 32 hex digits, the gateway's mark, the time.
        let id = uuid::Uuid::new_v4().simple().to_string().to_uppercase();
        Self { tracking_id: format!("{id}-G2:-TimeStamp:{now}"), timestamp: now }
    }

    fn json(&self, refusal: &Refusal) -> serde_json::Value {
        json!({
            "errorCode": refusal.code.number(),
            "message": refusal.message,
            "trackingId": self.tracking_id,
            "timestampUtc": self.timestamp.to_string(),
            "info": null,
        })
    }
}

/// The JSON object that modules, digital twins and MQTT twin answers carry:
/// `{"errorCode":…,"message":…,"trackingId":…,"timestampUtc":…,"info":null}`.
pub fn error_json(refusal: &Refusal, now: Timestamp) -> Vec<u8> {
    ErrorBody::new(now).json(refusal).to_string().into_bytes()
}

/// The envelope of registry, twins, queries and jobs: `{"Message":"ErrorCode:<name>;<text>","ExceptionMessage":"Tracking ID:…"}`.
///
/// rule HTTP-01: Node's service SDK knows a 404 as a missing device only by `ErrorCode:DeviceNotFound;` and a text after it.
pub fn error_response(refusal: &Refusal) -> Response {
    let body = ErrorBody::new(SystemClock.now());
    let text = if refusal.message.is_empty() { "refused" } else { &refusal.message };
    respond(
        refusal,
        &json!({
            "Message": format!("ErrorCode:{};{text}", refusal.code.name()),
            "ExceptionMessage": format!("Tracking ID:{}", body.tracking_id),
        }),
    )
}

/// The envelope of direct methods: the JSON of [`error_json`] as a string in `Message`.
pub fn method_error_response(refusal: &Refusal) -> Response {
    let inner = ErrorBody::new(SystemClock.now()).json(refusal).to_string();
    respond(refusal, &json!({ "Message": inner, "ExceptionMessage": "" }))
}

/// The envelope of modules and digital twins: the JSON of [`error_json`].
pub fn module_error_response(refusal: &Refusal) -> Response {
    respond(refusal, &ErrorBody::new(SystemClock.now()).json(refusal))
}

fn respond(refusal: &Refusal, body: &serde_json::Value) -> Response {
    let status =
        StatusCode::from_u16(refusal.code.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = (status, body.to_string()).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"));
    headers.insert(ERROR_CODE, HeaderValue::from_static(refusal.code.name()));
    if matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
        headers.insert(RETRY_AFTER, RETRY_SECONDS);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt as _;
    use ironbrook_model::ErrorCode;

    async fn body(response: Response) -> serde_json::Value {
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        serde_json::from_slice(&bytes).unwrap()
    }

    #[tokio::test]
    async fn http_01_the_name_stands_in_header_and_message() {
        let response = error_response(&Refusal::new(ErrorCode::DeviceNotFound, "no device 'd1'"));
        assert_eq!(response.status(), 404);
        assert_eq!(response.headers()["iothub-errorcode"], "DeviceNotFound");
        assert_eq!(body(response).await["Message"], "ErrorCode:DeviceNotFound;no device 'd1'");
    }

    #[tokio::test]
    async fn a_method_error_is_json_in_a_string() {
        let response = method_error_response(&Refusal::new(ErrorCode::DeviceNotOnline, "not connected"));
        assert_eq!(response.status(), 404);
        let inner: serde_json::Value =
            serde_json::from_str(body(response).await["Message"].as_str().unwrap()).unwrap();
        assert_eq!(inner["errorCode"], 404_103);
    }

    #[tokio::test]
    async fn a_busy_server_says_when_to_come_back() {
        let response = module_error_response(&Refusal::new(ErrorCode::ServerBusy, "full"));
        assert_eq!(response.headers()["retry-after"], "5");
        assert_eq!(body(response).await["errorCode"], 503_005);
    }
}
