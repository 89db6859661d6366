//! Setting the modules of one edge device.

use super::Api;
use super::input::{Target, answer, json};
use crate::registry::ConfigurationContent;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::StatusCode;

/// `POST /devices/{device}/applyConfigurationContent`: 204. 400402, 404001, 413003, and the codes of twins.
pub(super) async fn apply(State(api): State<Api>, Target(device): Target, body: Bytes) -> Response {
    let apply = async {
        let content = ConfigurationContent::read(json(&body)?)?;
        api.registry.apply_configuration(device.device, content).await?;
        Ok(StatusCode::NO_CONTENT.into_response())
    };
    answer(apply.await)
}
