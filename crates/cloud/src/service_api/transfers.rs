//! Import and export of all identities.

use super::Api;
use super::input::{answer, identity_json, ok};
use crate::registry::TransferWish;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::StatusCode;
use serde_json::Value;

/// `POST /jobs/create`: begins one. 400004, 400008, 403003.
pub(super) async fn create(State(api): State<Api>, body: Bytes) -> Response {
    let create = async {
        let wish: TransferWish = identity_json(&body)?;
        Ok(ok(&api.registry.create_transfer(wish).await?))
    };
    answer(create.await)
}

/// `GET /jobs`: all that are kept, the newest last.
pub(super) async fn list(State(api): State<Api>) -> Response {
    let list = async { Ok(ok(&Value::Array(api.registry.list_transfers().await?))) };
    answer(list.await)
}

/// `GET /jobs/{id}`: how far one has come. 404002.
pub(super) async fn get(State(api): State<Api>, Path(id): Path<String>) -> Response {
    let get = async { Ok(ok(&api.registry.transfer(id).await?)) };
    answer(get.await)
}

/// `DELETE /jobs/{id}`: ends one; what it has done stays. 204, 404002.
pub(super) async fn cancel(State(api): State<Api>, Path(id): Path<String>) -> Response {
    let cancel = async {
        api.registry.cancel_transfer(id).await?;
        Ok(StatusCode::NO_CONTENT.into_response())
    };
    answer(cancel.await)
}
