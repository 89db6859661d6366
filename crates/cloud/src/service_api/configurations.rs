//! Configurations: deployments at scale and automatic configurations of devices and modules.

use super::Api;
use super::input::{answer, if_match, json, ok, ok_with_etag};
use crate::registry::{ConfigurationWish, IfMatch, TestedQueries};
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use ironbrook_model::{ErrorCode, Refusal};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// Configurations in one list where the caller does not say, and at most.
const LIST: usize = 20;
const LIST_MAX: usize = 1000;

/// `?top=`
#[derive(Deserialize)]
pub(super) struct Top {
    top: Option<usize>,
}

/// Queries to try.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Queries {
    target_condition: Option<String>,
    custom_metric_queries: Option<BTreeMap<String, String>>,
}

/// `GET /configurations[?top=]`: by id, with results of metrics.
pub(super) async fn list(State(api): State<Api>, Query(Top { top }): Query<Top>) -> Response {
    let list = async {
        let all = api.registry.list_configurations(top.unwrap_or(LIST).min(LIST_MAX)).await?;
        Ok(ok(&Value::Array(all)))
    };
    answer(list.await)
}

/// `GET /configurations/{id}`: with results of metrics. 404301.
pub(super) async fn get(State(api): State<Api>, Path(id): Path<String>) -> Response {
    let get = async { Ok(ok_with_etag(&api.registry.configuration(id).await?)) };
    answer(get.await)
}

/// `PUT /configurations/{id}`: creates (409401 if it exists) or, with `If-Match`, changes (404301, 412001).
pub(super) async fn put(
    State(api): State<Api>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let put = async {
        let wish: ConfigurationWish = json(&body)?;
        if let Some(given) = wish.id.as_deref().filter(|given| *given != id) {
            let text = format!("id '{given}' in the body is not the one in the path");
            return Err(Refusal::new(ErrorCode::ArgumentInvalid, text));
        }
        Ok(ok_with_etag(&api.registry.put_configuration(id, wish, if_match(&headers)).await?))
    };
    answer(put.await)
}

/// `DELETE /configurations/{id}`: 204, 404301, 412001.
pub(super) async fn delete(State(api): State<Api>, Path(id): Path<String>, headers: HeaderMap) -> Response {
    let delete = async {
        api.registry.delete_configuration(id, if_match(&headers).unwrap_or(IfMatch::Any)).await?;
        Ok(StatusCode::NO_CONTENT.into_response())
    };
    answer(delete.await)
}

/// `POST /configurations/testQueries`: why a target condition or the query of a metric cannot be used.
pub(super) async fn test_queries(body: Bytes) -> Response {
    let test = async {
        let Queries { target_condition, custom_metric_queries } = json(&body)?;
        let (condition, metrics) =
            (target_condition.unwrap_or_default(), custom_metric_queries.unwrap_or_default());
        Ok(ok(&TestedQueries::of(&condition, &metrics).view()))
    };
    answer(test.await)
}
