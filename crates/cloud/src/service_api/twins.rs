//! Twins of devices and modules.

use super::Api;
use super::input::{Target, answer, if_match, json, ok_with_etag};
use crate::registry::{IfMatch, TwinChange};
use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use http::HeaderMap;
use ironbrook_model::twin::Object;
use ironbrook_model::{Identity, Refusal};
use serde::Deserialize;

/// The members of a twin a service may write; all others are ignored.
#[derive(Deserialize)]
struct TwinBody {
    tags: Option<Object>,
    properties: Option<PropertiesBody>,
}

#[derive(Deserialize)]
struct PropertiesBody {
    desired: Option<Object>,
}

impl TwinBody {
    fn sections(self) -> (Option<Object>, Option<Object>) {
        (self.tags, self.properties.and_then(|properties| properties.desired))
    }
}

/// `GET /twins/{device}[/modules/{module}]`: the whole twin. 404001, 404010.
pub(super) async fn get_twin(State(api): State<Api>, Target(target): Target) -> Response {
    let get = async { Ok(ok_with_etag(&api.registry.twin_view(target).await?)) };
    answer(get.await)
}

/// `PATCH`: merges tags and desired properties. 400004, 412001, 413001.
pub(super) async fn patch_twin(
    State(api): State<Api>,
    Target(target): Target,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let patch = async {
        let (tags, desired) = json::<TwinBody>(&body)?.sections();
        change(&api, target, TwinChange::Patch { tags, desired }, &headers).await
    };
    answer(patch.await)
}

/// `PUT`: replaces tags and desired properties; what is missing is cleared. 400004, 412001, 413001.
pub(super) async fn put_twin(
    State(api): State<Api>,
    Target(target): Target,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let put = async {
        let (tags, desired) = json::<TwinBody>(&body)?.sections();
        let (tags, desired) = (tags.unwrap_or_default(), desired.unwrap_or_default());
        change(&api, target, TwinChange::Replace { tags, desired }, &headers).await
    };
    answer(put.await)
}

async fn change(
    api: &Api,
    target: Identity,
    change: TwinChange,
    headers: &HeaderMap,
) -> Result<Response, Refusal> {
    let if_match = if_match(headers).unwrap_or(IfMatch::Any);
    Ok(ok_with_etag(&api.registry.change_twin(target, change, if_match).await?))
}
