//! Direct methods.

use super::Api;
use super::input::{Target, identity_json, ok};
use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use bytestring::ByteString;
use ironbrook_gateway::http::method_error_response;
use ironbrook_hub::MethodCall;
use ironbrook_model::{ErrorCode, Refusal};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::time::Duration;

/// How long the answer may take where the caller does not say.
const RESPONSE_SECONDS: u64 = 30;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct MethodBody {
    method_name: Option<String>,
    payload: Option<Value>,
    response_timeout_in_seconds: Option<u64>,
    connect_timeout_in_seconds: Option<u64>,
}

/// `POST /twins/{device}[/modules/{module}]/methods`: `{"status","payload"}` as the device answered. 400004, 404001,
/// 404103 not online, 504101 no answer in time.
pub(super) async fn invoke(State(api): State<Api>, Target(target): Target, body: Bytes) -> Response {
    let invoke = async {
        let call = call(identity_json(&body)?)?;
        let answer = api.hub.invoke_method(&target, call).await?;
        let payload: Value = serde_json::from_str(answer.payload.get()).unwrap_or_default();
        Ok(ok(&json!({ "status": answer.status, "payload": payload })))
    };
    invoke.await.unwrap_or_else(|refusal: Refusal| method_error_response(&refusal))
}

fn call(body: MethodBody) -> Result<MethodCall, Refusal> {
    let invalid = |text: &'static str| Refusal::new(ErrorCode::ArgumentInvalid, text);
    let name =
        body.method_name.filter(|name| !name.is_empty()).ok_or_else(|| invalid("methodName is missing"))?;
    // The core checks the ranges.
    Ok(MethodCall {
        name: ByteString::from(name),
        payload: RawValue::from_string(body.payload.unwrap_or_default().to_string())
            .map_err(|_| invalid("the payload is not JSON"))?,
        response_timeout: Duration::from_secs(body.response_timeout_in_seconds.unwrap_or(RESPONSE_SECONDS)),
        connect_timeout: Duration::from_secs(body.connect_timeout_in_seconds.unwrap_or(0)),
    })
}
