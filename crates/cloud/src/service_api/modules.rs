//! Module identities; open to services and to the device they belong to.

use super::Api;
use super::input::{Target, identity_json, if_match, module_answer, ok};
use crate::registry::IfMatch;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use serde_json::Value;

/// `GET /devices/{device}/modules`: all modules with their keys. 404001.
pub(super) async fn list_modules(State(api): State<Api>, Target(device): Target) -> Response {
    let list = async {
        let modules = api.registry.list_modules(device.device.clone()).await?;
        let views = modules.iter().map(|(identity, stored)| api.registry.identity_view(identity, stored));
        Ok(ok(&Value::Array(views.collect())))
    };
    module_answer(list.await)
}

/// `GET /devices/{device}/modules/{module}`: the module with its keys. 404010.
pub(super) async fn get_module(State(api): State<Api>, Target(module): Target) -> Response {
    let get = async {
        let stored = api.registry.get(module.clone()).await?;
        Ok(api.identity_answer(&module, &stored))
    };
    module_answer(get.await)
}

/// `PUT /devices/{device}/modules/{module}`: creates (409301) or, with `If-Match`, updates (404010, 412001).
pub(super) async fn put_module(
    State(api): State<Api>,
    Target(module): Target,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let put = async { api.put(module, identity_json(&body)?, if_match(&headers)).await };
    module_answer(put.await)
}

/// `DELETE /devices/{device}/modules/{module}`: 204, 404010, 412001.
pub(super) async fn delete_module(
    State(api): State<Api>,
    Target(module): Target,
    headers: HeaderMap,
) -> Response {
    let delete = async {
        api.registry.delete(module, if_match(&headers).unwrap_or(IfMatch::Any)).await?;
        Ok(StatusCode::NO_CONTENT.into_response())
    };
    module_answer(delete.await)
}
