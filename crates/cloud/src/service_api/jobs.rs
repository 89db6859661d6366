//! Jobs over many devices.

use super::Api;
use super::input::{answer, json, ok};
use super::query::{page_size, paged, place};
use crate::registry::JobWish;
use axum::extract::{Path, Query, State};
use axum::response::Response;
use bytes::Bytes;
use http::HeaderMap;
use serde::Deserialize;

/// `?jobType=&jobStatus=`
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Which {
    job_type: Option<String>,
    job_status: Option<String>,
}

/// `PUT /jobs/v2/{id}`: makes a job. 400004, 403003, 409104.
pub(super) async fn put(State(api): State<Api>, Path(id): Path<String>, body: Bytes) -> Response {
    let put = async {
        let wish: JobWish = json(&body)?;
        Ok(ok(&api.registry.create_job(id, wish).await?))
    };
    answer(put.await)
}

/// `GET /jobs/v2/{id}`: the job with its statistics. 404002.
pub(super) async fn get(State(api): State<Api>, Path(id): Path<String>) -> Response {
    let get = async { Ok(ok(&api.registry.job(id).await?)) };
    answer(get.await)
}

/// `POST /jobs/v2/{id}/cancel`: what has not begun stays undone. 404002, 405102.
pub(super) async fn cancel(State(api): State<Api>, Path(id): Path<String>) -> Response {
    let cancel = async { Ok(ok(&api.registry.cancel_job(id).await?)) };
    answer(cancel.await)
}

/// `GET /jobs/v2/query[?jobType=&jobStatus=]`: jobs by id, paged by headers as queries are.
pub(super) async fn list(
    State(api): State<Api>,
    headers: HeaderMap,
    Query(Which { job_type, job_status }): Query<Which>,
) -> Response {
    let list = async {
        // Some clients send the parameters without a value.
        let given = |text: Option<String>| text.filter(|text| !text.is_empty());
        let (kind, status) = (given(job_type), given(job_status));
        let page = api.registry.list_jobs(kind, status, place(&headers)?, page_size(&headers)).await?;
        paged(page, "jobResponse")
    };
    answer(list.await)
}
