//! Why devices and modules were not let in.

use super::Api;
use super::input::{Target, answer, ok};
use axum::extract::State;
use axum::response::Response;
use ironbrook_hub::auth::refusals::Refused;
use ironbrook_model::{DeviceId, Identity};
use serde_json::{Value, json};

/// `GET /devices/{device}/refusals`: the last refusals of a device and its modules, newest first. The id need not be registered:
/// that it is not may be the reason.
pub(super) async fn of_device(State(api): State<Api>, Target(device): Target) -> Response {
    answer(Ok(ok(&list(&api, Some(&device.device)))))
}

/// `GET /refusals`: the last refusals of all identities, newest first.
pub(super) async fn all(State(api): State<Api>) -> Response {
    answer(Ok(ok(&list(&api, None))))
}

fn list(api: &Api, device: Option<&DeviceId>) -> Value {
    let all = api.hub.auth().refusals().all();
    let mut found: Vec<_> = all
        .iter()
        .filter(|(identity, _)| device.is_none_or(|device| identity.device == *device))
        .flat_map(|(identity, list)| list.iter().map(move |refused| (identity, refused)))
        .collect();
    found.sort_by_key(|(_, refused)| std::cmp::Reverse(refused.last));
    Value::Array(found.into_iter().map(|(identity, refused)| view(identity, refused)).collect())
}

fn view(identity: &Identity, refused: &Refused) -> Value {
    json!({
        "deviceId": identity.device,
        "moduleId": identity.module,
        "time": refused.last.to_string(),
        "firstTime": refused.first.to_string(),
        "times": refused.times,
        "errorCode": refused.code.number(),
        "error": refused.code.name(),
        "cause": refused.cause.map(ironbrook_model::Cause::word),
        "message": refused.reason,
        "protocol": refused.origin.map(|origin| origin.protocol),
        "address": refused.origin.map(|origin| origin.address.to_string()),
    })
}
