//! Direct methods that modules call on clients of the same edge hub, over HTTPS.
//!
//! `POST /twins/{device}/methods` and `POST /twins/{device}/modules/{module}/methods`, with the caller in `x-ms-edge-moduleId`
//! and its own token. 200 with `{"status","payload"}`; errors are `{"message"}`: 400, 401, 404 not connected, 504 no answer.

use axum::Router;
use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use bytes::Bytes;
use bytestring::ByteString;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, StatusCode};
use ironbrook_hub::{Credential, Hub, MethodCall};
use ironbrook_model::{DeviceId, ErrorCode, Identity, ModuleId, Refusal, SasToken, percent_decode};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::time::Duration;

/// Names the calling module: `{device}/{module}`.
const CALLER: &str = "x-ms-edge-moduleid";
/// How long the answer may take where the caller does not say, in seconds.
const RESPONSE_SECONDS: u64 = 30;
/// Longest body of a call: the payload's limit, and room for the rest.
const BODY_LEN_MAX: usize = 128 * 1024 + 4096;
/// Longest name of a method.
const NAME_LEN_MAX: usize = 100;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body {
    method_name: Option<String>,
    payload: Option<Value>,
    response_timeout_in_seconds: Option<u64>,
    connect_timeout_in_seconds: Option<u64>,
}

/// The routes.
pub(crate) fn router(hub: Hub) -> Router {
    Router::new()
        .route("/twins/{device}/methods", post(on_device))
        .route("/twins/{device}/modules/{module}/methods", post(on_module))
        .layer(axum::extract::DefaultBodyLimit::max(BODY_LEN_MAX))
        .with_state(hub)
}

async fn on_device(
    State(hub): State<Hub>,
    Path(device): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    answer(invoke(&hub, target(device, None), &headers, &body).await)
}

async fn on_module(
    State(hub): State<Hub>,
    Path((device, module)): Path<(String, String)>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    answer(invoke(&hub, target(device, Some(module)), &headers, &body).await)
}

fn answer(result: Result<Value, Refusal>) -> Response {
    let (status, body) = match result {
        Ok(body) => (StatusCode::OK, body),
        Err(refusal) => {
            let status = StatusCode::from_u16(refusal.code.http_status());
            (status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), json!({ "message": refusal.message }))
        }
    };
    (status, [(CONTENT_TYPE, "application/json; charset=utf-8")], body.to_string()).into_response()
}

fn invalid(text: impl Into<std::borrow::Cow<'static, str>>) -> Refusal {
    Refusal::new(ErrorCode::ArgumentInvalid, text)
}

fn target(device: String, module: Option<String>) -> Result<Identity, Refusal> {
    let bad = |error: ironbrook_model::IdError| invalid(format!("the id in the path: {error}"));
    let module = module.map(ModuleId::new).transpose().map_err(bad)?;
    Ok(Identity { device: DeviceId::new(device).map_err(bad)?, module })
}

async fn invoke(
    hub: &Hub,
    target: Result<Identity, Refusal>,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Value, Refusal> {
    authorize(hub, headers).await?;
    let call = call(body)?;
    let answer = hub.invoke_method(&target?, call).await?;
    let payload: Value = serde_json::from_str(answer.payload.get()).unwrap_or_default();
    Ok(json!({ "status": answer.status, "payload": payload }))
}

/// The caller is a module of this hub, with its own token.
async fn authorize(hub: &Hub, headers: &HeaderMap) -> Result<(), Refusal> {
    let denied = |text: &'static str| Refusal::new(ErrorCode::IotHubUnauthorized, text);
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let caller = text(CALLER).ok_or_else(|| denied("the header x-ms-edge-moduleId is missing"))?;
    // Some clients escape the slash.
    let caller = percent_decode(caller).unwrap_or_default();
    let (device, module) =
        caller.split_once('/').ok_or_else(|| denied("x-ms-edge-moduleId is {device}/{module}"))?;
    let caller = target(device.to_owned(), Some(module.to_owned()))?;
    let token = text(AUTHORIZATION.as_str()).and_then(|text| SasToken::parse(text).ok());
    let token =
        token.ok_or_else(|| denied("a SAS token of the calling module is needed in Authorization"))?;
    hub.auth().device(&caller, &Credential::Sas(token)).await.map(drop)
}

fn call(body: &[u8]) -> Result<MethodCall, Refusal> {
    let body: Body =
        serde_json::from_slice(body).map_err(|error| invalid(format!("the body cannot be read: {error}")))?;
    let name = body.method_name.filter(|name| !name.is_empty() && name.len() <= NAME_LEN_MAX);
    let name = name.ok_or_else(|| invalid("methodName is missing, or longer than 100 characters"))?;
    Ok(MethodCall {
        name: ByteString::from(name),
        payload: RawValue::from_string(body.payload.unwrap_or_default().to_string())
            .map_err(|_| invalid("the payload is not JSON"))?,
        // The core checks the ranges.
        response_timeout: Duration::from_secs(body.response_timeout_in_seconds.unwrap_or(RESPONSE_SECONDS)),
        connect_timeout: Duration::from_secs(body.connect_timeout_in_seconds.unwrap_or(0)),
    })
}
