//! Direct methods.

use super::Api;
use super::input::{Target, identity_json, ok};
use crate::registry::MethodWish;
use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use ironbrook_gateway::http::method_error_response;
use ironbrook_model::Refusal;
use serde_json::{Value, json};

/// `POST /twins/{device}[/modules/{module}]/methods`: `{"status","payload"}` as the device answered. 400004, 404001,
/// 404103 not online, 504101 no answer in time.
pub(super) async fn invoke(State(api): State<Api>, Target(target): Target, body: Bytes) -> Response {
    let invoke = async {
        let call = identity_json::<MethodWish>(&body)?.call()?;
        let answer = api.hub.invoke_method(&target, call).await?;
        let payload: Value = serde_json::from_str(answer.payload.get()).unwrap_or_default();
        Ok(ok(&json!({ "status": answer.status, "payload": payload })))
    };
    invoke.await.unwrap_or_else(|refusal: Refusal| method_error_response(&refusal))
}
