//! Queries over twins, paged by headers.

use super::Api;
use super::input::{answer, identity_json, ok};
use crate::registry::{Page, Place};
use axum::extract::State;
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use ironbrook_model::{ErrorCode, Refusal};
use ironbrook_query::twin::TwinQuery;
use serde::Deserialize;
use serde_json::Value;

const MAX_ITEM_COUNT: HeaderName = HeaderName::from_static("x-ms-max-item-count");
pub(super) const CONTINUATION: HeaderName = HeaderName::from_static("x-ms-continuation");
pub(super) const ITEM_TYPE: HeaderName = HeaderName::from_static("x-ms-item-type");
/// Items of a page where the caller does not say.
const PAGE: usize = 100;
/// Items of a page at most.
const PAGE_MAX: usize = 1000;

#[derive(Deserialize)]
struct QueryBody {
    query: String,
}

/// `POST /devices/query` with `{"query":"SELECT …"}`: an array. `x-ms-max-item-count` asks for a page size,
/// `x-ms-continuation` brings the next page and is absent at the last one, `x-ms-item-type` tells what the items are.
/// 400004 for a query that cannot be read, with line and column.
pub(super) async fn run(State(api): State<Api>, headers: HeaderMap, body: Bytes) -> Response {
    let run = async {
        let QueryBody { query } = identity_json(&body)?;
        let query = TwinQuery::parse(&query).map_err(|error| invalid(error.to_string()))?;
        let item_type = query.item_type().name();
        let page = api.registry.query(query, place(&headers)?, page_size(&headers)).await?;
        paged(page, item_type)
    };
    answer(run.await)
}

/// A page with its headers.
pub(super) fn paged(page: Page, item_type: &'static str) -> Result<Response, Refusal> {
    let mut response = ok(&Value::Array(page.items));
    response.headers_mut().insert(ITEM_TYPE, HeaderValue::from_static(item_type));
    continued(response, page.next)
}

/// An answer with the header that brings the next one, where there is a next one.
pub(super) fn continued(mut response: Response, next: Option<Place>) -> Result<Response, Refusal> {
    if let Some(next) = next {
        response.headers_mut().insert(CONTINUATION, token(&next)?);
    }
    Ok(response)
}

fn invalid(text: String) -> Refusal {
    Refusal::new(ErrorCode::ArgumentInvalid, text)
}

/// How many items a caller wants.
pub(super) fn page_size(headers: &HeaderMap) -> usize {
    let asked = headers.get(MAX_ITEM_COUNT).and_then(|value| value.to_str().ok()?.trim().parse().ok());
    asked.filter(|count| *count > 0).unwrap_or(PAGE).min(PAGE_MAX)
}

/// Where a caller's page begins.
pub(super) fn place(headers: &HeaderMap) -> Result<Place, Refusal> {
    let Some(text) = headers.get(CONTINUATION).filter(|text| !text.is_empty()) else {
        return Ok(Place::default());
    };
    let bytes = URL_SAFE_NO_PAD.decode(text.as_bytes()).ok();
    bytes
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .ok_or_else(|| invalid("x-ms-continuation is not one this hub gave out".to_owned()))
}

fn token(place: &Place) -> Result<HeaderValue, Refusal> {
    let text = serde_json::to_vec(place).map(|json| URL_SAFE_NO_PAD.encode(json));
    text.ok()
        .and_then(|text| HeaderValue::from_str(&text).ok())
        .ok_or_else(|| Refusal::new(ErrorCode::ServerError, "the place of the next page cannot be written"))
}
