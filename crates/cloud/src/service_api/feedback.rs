//! Feedback about messages to devices over HTTP, as stock clients without AMQP read it.

use super::Api;
use super::input::{answer, ok};
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::header::ETAG;
use http::{HeaderValue, StatusCode};
use ironbrook_hub::seams::Inbox as _;
use ironbrook_hub::{LockToken, Settlement};
use ironbrook_model::{ErrorCode, Refusal};
use serde_json::Value;
use std::time::Duration;
use uuid::Uuid;

/// How long a batch waits for its reader (Azure docs, "Message feedback": 60 s).
const LOCK: Duration = Duration::from_secs(60);
/// How long a call looks for a batch: one that is there is there at once.
const LOOK: Duration = Duration::from_millis(200);

/// `GET /messages/serviceBound/feedback`: a batch of records with its lock as etag, or 204. rule C2D-10
pub(super) async fn receive(State(api): State<Api>) -> Response {
    let receive = async {
        let Ok(feedback) = tokio::time::timeout(LOOK, api.registry.lock_feedback(LOCK)).await else {
            return Ok(StatusCode::NO_CONTENT.into_response());
        };
        let feedback = feedback?;
        let unwritable = || Refusal::new(ErrorCode::ServerError, "feedback cannot be written as JSON");
        let records: Value = serde_json::to_value(&feedback.records).map_err(|_| unwritable())?;
        let lock = HeaderValue::from_str(&format!("\"{}\"", feedback.lock.0)).map_err(|_| unwritable())?;
        let mut response = ok(&records);
        response.headers_mut().insert(ETAG, lock);
        Ok(response)
    };
    answer(receive.await)
}

/// `DELETE /messages/serviceBound/feedback/{lock}`: 204; 412002 where the lock is over.
pub(super) async fn complete(State(api): State<Api>, Path(lock): Path<String>) -> Response {
    settle(&api, &lock, Settlement::Complete).await
}

/// `POST /messages/serviceBound/feedback/{lock}/abandon`: 204, and the batch comes again; 412002 where the lock is over.
pub(super) async fn abandon(State(api): State<Api>, Path(lock): Path<String>) -> Response {
    settle(&api, &lock, Settlement::Abandon).await
}

async fn settle(api: &Api, lock: &str, settlement: Settlement) -> Response {
    let settle = async {
        let lock: Uuid = lock
            .trim_matches('"')
            .parse()
            .map_err(|_| Refusal::new(ErrorCode::ArgumentInvalid, "the lock is not one this hub gave out"))?;
        api.registry.settle_feedback(LockToken(lock), settlement).await?;
        Ok(StatusCode::NO_CONTENT.into_response())
    };
    answer(settle.await)
}
