//! Streaming jobs: Stream Analytics queries in the hub.
//!
//! | Request | Answer |
//! |---|---|
//! | `GET /streamingjobs` | `{"value":[…]}`, jobs by name |
//! | `GET /streamingjobs/{id}` | the job with its definition and how it does |
//! | `PUT /streamingjobs/{id}` | makes it, stopped, or changes it in place |
//! | `DELETE /streamingjobs/{id}` | 204; with its state |
//! | `POST /streamingjobs/{id}/start` | `{"outputStartMode": …, "outputStartTime": …}`, either left out; the job |
//! | `POST /streamingjobs/{id}/stop` | the job |
//!
//! Verbs and modes are those of Azure's resource provider; in Azure they are not part of a hub's own API.

use super::input::{answer, json, ok};
use crate::streaming::{Definition, StartMode, Streaming};
use axum::Extension;
use axum::extract::Path;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use http::StatusCode;
use ironbrook_model::{ErrorCode, Refusal, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::json as value;

/// How a job is to be started.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct How {
    output_start_mode: Option<String>,
    output_start_time: Option<String>,
}

impl How {
    fn mode(self) -> Result<StartMode, Refusal> {
        let invalid = |text: &'static str| Refusal::new(ErrorCode::ArgumentInvalid, text);
        match (self.output_start_mode.as_deref(), self.output_start_time) {
            (None | Some("LastOutputEventTime"), None) => Ok(StartMode::LastOutputEventTime),
            (Some("JobStartTime"), None) => Ok(StartMode::JobStartTime),
            (None | Some("CustomTime"), Some(time)) => {
                let time =
                    Timestamp::parse(&time).ok_or_else(|| invalid("outputStartTime is no ISO 8601 time"))?;
                Ok(StartMode::CustomTime(time))
            }
            (Some("CustomTime"), None) => Err(invalid("outputStartMode CustomTime needs outputStartTime")),
            _ => Err(invalid(
                "outputStartMode is JobStartTime, LastOutputEventTime, or CustomTime with outputStartTime",
            )),
        }
    }
}

/// `GET /streamingjobs`.
pub(super) async fn list(Extension(streaming): Extension<Streaming>) -> Response {
    answer(shown(&streaming.list()).map(|jobs| ok(&value!({ "value": jobs }))))
}

/// `GET /streamingjobs/{id}`. 404002.
pub(super) async fn get(Extension(streaming): Extension<Streaming>, Path(id): Path<String>) -> Response {
    answer(streaming.get(&id).and_then(|job| Ok(ok(&shown(&job)?))))
}

/// `PUT /streamingjobs/{id}`. 400004, 400006, 403003.
pub(super) async fn put(
    Extension(streaming): Extension<Streaming>,
    Path(id): Path<String>,
    body: Bytes,
) -> Response {
    let put = async { Ok(ok(&shown(&streaming.put(&id, definition(&body)?).await?)?)) };
    answer(put.await)
}

/// A definition. What is wrong in it is told but for values, which may be secrets.
fn definition(body: &Bytes) -> Result<Definition, Refusal> {
    let value: serde_json::Value = json(body)?;
    Definition::deserialize(value).map_err(|error| {
        let told = error.to_string();
        // The parser names members and variants in backquotes; only a value it quotes otherwise.
        let safe =
            if told.starts_with("invalid ") { "a member has a value of the wrong type" } else { &told };
        Refusal::new(ErrorCode::ArgumentInvalid, format!("the job's definition: {safe}"))
    })
}

/// `DELETE /streamingjobs/{id}`. 404002.
pub(super) async fn delete(Extension(streaming): Extension<Streaming>, Path(id): Path<String>) -> Response {
    answer(streaming.delete(&id).await.map(|()| StatusCode::NO_CONTENT.into_response()))
}

/// `POST /streamingjobs/{id}/start`. 400004, 404002, 405102.
pub(super) async fn start(
    Extension(streaming): Extension<Streaming>,
    Path(id): Path<String>,
    body: Bytes,
) -> Response {
    let start = async {
        let how: How = if body.is_empty() { How::default() } else { json(&body)? };
        Ok(ok(&shown(&streaming.start(&id, how.mode()?).await?)?))
    };
    answer(start.await)
}

/// `POST /streamingjobs/{id}/stop`. 404002.
pub(super) async fn stop(Extension(streaming): Extension<Streaming>, Path(id): Path<String>) -> Response {
    let stop = async { Ok(ok(&shown(&streaming.stop(&id).await?)?)) };
    answer(stop.await)
}

fn shown(what: &impl Serialize) -> Result<serde_json::Value, Refusal> {
    serde_json::to_value(what).map_err(|error| Refusal::new(ErrorCode::ServerError, error.to_string()))
}
