//! Many changes of the registry in one request.

use super::Api;
use super::input::{answer, identity_json, ok};
use crate::registry::ImportMode;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, StatusCode};
use ironbrook_model::{ErrorCode, Refusal};
use serde_json::{Value, json};

/// Changes in one request.
const ITEMS_MAX: usize = 100;

/// `POST /devices`: `{"isSuccessful","errors","warnings"}`, 400 with the same shape where an item failed.
pub(super) async fn apply(State(api): State<Api>, body: Bytes) -> Response {
    let apply = async {
        let items: Vec<Value> = identity_json(&body)?;
        if items.len() > ITEMS_MAX {
            let text = format!("{} changes in one request, {ITEMS_MAX} are allowed", items.len());
            return Err(Refusal::new(ErrorCode::TooManyDevices, text));
        }
        let mut errors = Vec::new();
        for item in items {
            let (id, module) = (item["id"].clone(), item["moduleId"].clone());
            if let Err(refusal) = api.registry.apply_item(item, ImportMode::CREATE).await {
                errors.push(json!({
                    "deviceId": id, "moduleId": module,
                    "errorCode": refusal.code.number(), "errorStatus": refusal.message,
                }));
            }
        }
        Ok(result(&errors))
    };
    answer(apply.await)
}

fn result(errors: &[Value]) -> Response {
    let body = json!({ "isSuccessful": errors.is_empty(), "errors": errors, "warnings": [] });
    if errors.is_empty() {
        return ok(&body);
    }
    let json = HeaderValue::from_static("application/json; charset=utf-8");
    (StatusCode::BAD_REQUEST, [(CONTENT_TYPE, json)], body.to_string()).into_response()
}
