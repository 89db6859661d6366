//! What requests carry: ids in the path, preconditions, JSON bodies.

use crate::registry::{IfMatch, camel_case};
use axum::extract::FromRequestParts;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header::{CONTENT_TYPE, ETAG, IF_MATCH};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, StatusCode};
use ironbrook_gateway::http::{error_response, module_error_response};
use ironbrook_model::{DeviceId, ErrorCode, Identity, ModuleId, Refusal};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// The identity a path names.
pub(super) struct Target(pub Identity);

#[derive(Deserialize)]
struct Ids {
    device: String,
    module: Option<String>,
}

impl<S: Send + Sync> FromRequestParts<S> for Target {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Response> {
        let bad = |text: String| error_response(&Refusal::new(ErrorCode::ArgumentInvalid, text));
        let axum::extract::Path(ids) = axum::extract::Path::<Ids>::from_request_parts(parts, state)
            .await
            .map_err(|error| bad(error.body_text()))?;
        let device = DeviceId::new(ids.device).map_err(|error| bad(error.to_string()))?;
        let module = ids.module.map(ModuleId::new).transpose().map_err(|error| bad(error.to_string()))?;
        Ok(Self(Identity { device, module }))
    }
}

/// The precondition of a request. rule HTTP-11: every star means "any", etags come quoted, sometimes bare.
pub(super) fn if_match(headers: &HeaderMap) -> Option<IfMatch> {
    let text = headers.get(IF_MATCH)?.to_str().ok()?.trim();
    let bare = text.strip_prefix("W/").unwrap_or(text).trim_matches('"');
    Some(if bare == "*" { IfMatch::Any } else { IfMatch::Etag(bare.to_owned()) })
}

/// Reads a JSON body.
pub(super) fn json<T: DeserializeOwned>(body: &Bytes) -> Result<T, Refusal> {
    serde_json::from_slice(body).map_err(|error| bad_json(&error))
}

/// Reads the JSON body of an identity. rule HTTP-12: names of members are taken with a capital letter too.
pub(super) fn identity_json<T: DeserializeOwned>(body: &Bytes) -> Result<T, Refusal> {
    let value: Value = json(body)?;
    serde_json::from_value(camel_case(value)).map_err(|error| bad_json(&error))
}

fn bad_json(error: &serde_json::Error) -> Refusal {
    // The parser's text may quote a value, and a value may be a key; its place is enough.
    let what = if error.is_data() { "has a member of the wrong type" } else { "is not JSON" };
    let place = format!("line {}, column {}", error.line(), error.column());
    Refusal::new(ErrorCode::IotHubFormatError, format!("the body {what} ({place})"))
}

/// An answer of JSON.
pub(super) fn ok(body: &Value) -> Response {
    const JSON: HeaderValue = HeaderValue::from_static("application/json; charset=utf-8");
    (StatusCode::OK, [(CONTENT_TYPE, JSON)], body.to_string()).into_response()
}

/// An answer of JSON with its etag, which is bare in the body and quoted in the header.
pub(super) fn ok_with_etag(body: &Value) -> Response {
    let mut response = ok(body);
    let etag =
        body.get("etag").and_then(Value::as_str).map(|etag| HeaderValue::from_str(&format!("\"{etag}\"")));
    if let Some(Ok(etag)) = etag {
        response.headers_mut().insert(ETAG, etag);
    }
    response
}

/// Turns a refusal into the envelope of registry, twins and queries.
pub(super) fn answer(result: Result<Response, Refusal>) -> Response {
    result.unwrap_or_else(|refusal| error_response(&refusal))
}

/// Turns a refusal into the envelope of modules.
pub(super) fn module_answer(result: Result<Response, Refusal>) -> Response {
    result.unwrap_or_else(|refusal| module_error_response(&refusal))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    // HTTP-11
    #[test]
    fn http_11_every_spelling_of_if_match() {
        let read = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(IF_MATCH, HeaderValue::from_static(text));
            if_match(&headers)
        };
        assert_eq!((read("*"), read("\"*\"")), (Some(IfMatch::Any), Some(IfMatch::Any)));
        let etag = Some(IfMatch::Etag("MzE4NzUxOTU1".to_owned()));
        assert_eq!((read("\"MzE4NzUxOTU1\""), read("MzE4NzUxOTU1")), (etag.clone(), etag));
        assert_eq!(if_match(&HeaderMap::new()), None);
    }

    // HTTP-12
    #[test]
    fn http_12_names_of_members_in_either_case_but_not_in_twins() {
        assert_eq!(
            camel_case(json!({"DeviceId": "D", "Capabilities": {"IotEdge": true}, "Tags": {"Site": 1}})),
            json!({"deviceId": "D", "capabilities": {"iotEdge": true}, "tags": {"Site": 1}})
        );
    }
}
