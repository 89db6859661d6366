//! The identities in the scope of an edge device, with their keys: how its hub authenticates them while it is offline.
//!
//! Open to the edge device's own `$edgeHub` alone. Two forms of the same calls are in use: the older GETs, and POSTs whose body
//! carries the chain of edge devices between.

use super::Api;
use super::input::{Target, answer, json, ok};
use crate::registry::ScopePage;
use axum::extract::{Query, State};
use axum::response::Response;
use bytes::Bytes;
use http::Uri;
use ironbrook_model::{DeviceId, ErrorCode, Identity, ModuleId, Refusal, percent_decode, percent_encode};
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// Devices of one page where the caller says nothing, and at most.
const PAGE: usize = 100;
const PAGE_MAX: usize = 1000;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PageQuery {
    device_count: Option<usize>,
    continuation_token: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct TargetQuery {
    target_device_id: Option<String>,
    target_module_id: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PageBody {
    auth_chain: Option<String>,
    page_size: Option<usize>,
    continuation_link: Option<String>,
}

/// `GET …/devicesAndModulesInDeviceScope?deviceCount=&continuationToken=`.
pub(super) async fn list(
    State(api): State<Api>,
    Target(caller): Target,
    uri: Uri,
    Query(query): Query<PageQuery>,
) -> Response {
    let list = async {
        let after = query.continuation_token.filter(|token| !token.is_empty());
        api.page(&caller.device, query.device_count, after, uri.path()).await
    };
    answer(list.await)
}

/// `POST …/devicesAndModulesInTargetDeviceScope`: the page's place is the link of the page before.
pub(super) async fn list_target(
    State(api): State<Api>,
    Target(caller): Target,
    uri: Uri,
    body: Bytes,
) -> Response {
    let list = async {
        let body: PageBody = json(&body)?;
        let after = body.continuation_link.as_deref().and_then(token_of_link);
        let target = api.target_of(&caller, body.auth_chain.as_deref()).await?;
        api.page(&target, body.page_size, after, uri.path()).await
    };
    answer(list.await)
}

/// The token in a continuation link.
fn token_of_link(link: &str) -> Option<String> {
    let (_, rest) = link.split_once("continuationToken=")?;
    let token = rest.split('&').next().unwrap_or_default();
    percent_decode(token).filter(|token| !token.is_empty()).map(|token| token.into_owned())
}

/// `GET …/deviceAndModuleInDeviceScope?targetDeviceId=&targetModuleId=`.
pub(super) async fn one(
    State(api): State<Api>,
    Target(caller): Target,
    Query(query): Query<TargetQuery>,
) -> Response {
    let one = async { api.one_in_scope(caller, query).await };
    answer(one.await)
}

/// `POST …/getDeviceAndModuleOnBehalfOf`.
pub(super) async fn one_on_behalf(State(api): State<Api>, Target(caller): Target, body: Bytes) -> Response {
    let one = async { api.one_in_scope(caller, json(&body)?).await };
    answer(one.await)
}

impl Api {
    /// The edge device whose scope is asked for: the first of the chain, which has to be the caller's own or below it.
    ///
    /// rule REG-20: `{target};…;{caller}`, as a parent asks for the edge devices behind it.
    pub(super) async fn target_of(
        &self,
        caller: &Identity,
        chain: Option<&str>,
    ) -> Result<DeviceId, Refusal> {
        let first =
            chain.and_then(|chain| chain.split(';').next()).map(str::trim).filter(|id| !id.is_empty());
        let Some(first) = first else { return Ok(caller.device.clone()) };
        // A chain may begin with a module of the device.
        let id = first.split('/').next().unwrap_or(first);
        let target = DeviceId::new(id.to_owned())
            .map_err(|error| Refusal::new(ErrorCode::ArgumentInvalid, format!("authChain: {error}")))?;
        if self.registry.is_within(caller.device.clone(), target.clone()).await? {
            return Ok(target);
        }
        let text = format!("{target} is not below {}; only those that are may be asked for", caller.device);
        Err(Refusal::new(ErrorCode::IotHubUnauthorizedAccess, text))
    }

    async fn page(
        &self,
        caller: &DeviceId,
        count: Option<usize>,
        after: Option<String>,
        path: &str,
    ) -> Result<Response, Refusal> {
        let count = count.unwrap_or(PAGE).clamp(1, PAGE_MAX);
        let page = self.registry.scope(caller.clone(), count, after).await?;
        let link = page.next.as_deref().map(|next| {
            let token = percent_encode(next);
            format!("{path}?deviceCount={count}&continuationToken={token}&api-version=2018-08-30-preview")
        });
        Ok(self.scope_answer(&page, link))
    }

    async fn one_in_scope(&self, caller: Identity, target: TargetQuery) -> Result<Response, Refusal> {
        let invalid = |text: String| Refusal::new(ErrorCode::ArgumentInvalid, text);
        let device = target.target_device_id.filter(|id| !id.is_empty());
        let device = device.ok_or_else(|| invalid("targetDeviceId is missing".to_owned()))?;
        let device = DeviceId::new(device).map_err(|error| invalid(format!("targetDeviceId: {error}")))?;
        let module = target.target_module_id.filter(|id| !id.is_empty()).map(ModuleId::new).transpose();
        let module = module.map_err(|error| invalid(format!("targetModuleId: {error}")))?;
        let page = self.registry.in_scope(caller.device, Identity { device, module }).await?;
        Ok(self.scope_answer(&page, None))
    }

    fn scope_answer(&self, page: &ScopePage, link: Option<String>) -> Response {
        let view = |entries: &[(Identity, crate::registry::Stored)]| -> Vec<Value> {
            entries.iter().map(|(id, stored)| scope_view(self.registry.identity_view(id, stored))).collect()
        };
        ok(&json!({
            "devices": view(&page.devices),
            "modules": view(&page.modules),
            "continuationLink": link,
        }))
    }
}

/// What the scope calls tell of an identity: not how it is doing.
fn scope_view(view: Value) -> Value {
    const MEMBERS: [&str; 9] = [
        "deviceId",
        "moduleId",
        "generationId",
        "status",
        "managedBy",
        "authentication",
        "capabilities",
        "deviceScope",
        "parentScopes",
    ];
    let Value::Object(all) = view else { return view };
    Value::Object(all.into_iter().filter(|(name, _)| MEMBERS.contains(&name.as_str())).collect::<Map<_, _>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_gives_its_token_back() {
        let token = "leaf \u{0}&x";
        let link = format!("/a/b?deviceCount=1&continuationToken={}&api-version=1", percent_encode(token));
        assert_eq!(token_of_link(&link).as_deref(), Some(token));
        for none in ["", "/a/b", "/a?continuationToken=&x=1"] {
            assert_eq!(token_of_link(none), None);
        }
    }
}
