//! Modules of edge devices that reach the hub through another one only: that one's `$edgeHub` looks after them on their behalf.
//!
//! rule REG-21: the first of `authChain` is the device whose modules are meant, and has to be below the caller. Source: IoT Edge hub,
//! `RegistryOnBehalfOfApiClient`.

use super::Api;
use super::input::{Target, identity_json, if_match, json, module_answer, ok};
use crate::registry::{IfMatch, Wish};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use ironbrook_model::{ErrorCode, Identity, ModuleId, Refusal};
use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Put {
    auth_chain: String,
    module: Wish,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct One {
    auth_chain: String,
    /// Deleting names it so, reading by the other name.
    #[serde(alias = "targetModuleId")]
    module_id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Of {
    auth_chain: String,
}

/// `POST, PUT …/putModuleOnBehalfOf`: creates (409301) or, with `If-Match`, updates (404010, 412001).
pub(super) async fn put(
    State(api): State<Api>,
    Target(caller): Target,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let put = async {
        let Put { auth_chain, module } = identity_json(&body)?;
        let id = module.module_id.clone().unwrap_or_default();
        let target = api.module_of(&caller, &auth_chain, id).await?;
        api.put(target, module, if_match(&headers)).await
    };
    module_answer(put.await)
}

/// `POST …/getModuleOnBehalfOf`: the module with its keys. 404010.
pub(super) async fn get(State(api): State<Api>, Target(caller): Target, body: Bytes) -> Response {
    let get = async {
        let One { auth_chain, module_id } = json(&body)?;
        let target = api.module_of(&caller, &auth_chain, module_id).await?;
        let stored = api.registry.get(target.clone()).await?;
        Ok(api.identity_answer(&target, &stored))
    };
    module_answer(get.await)
}

/// `POST …/getModulesOnTargetDevice`: all modules with their keys. 404001.
pub(super) async fn list(State(api): State<Api>, Target(caller): Target, body: Bytes) -> Response {
    let list = async {
        let Of { auth_chain } = json(&body)?;
        let device = api.target_of(&caller, Some(&auth_chain)).await?;
        let modules = api.registry.list_modules(device).await?;
        let views = modules.iter().map(|(identity, stored)| api.registry.identity_view(identity, stored));
        Ok(ok(&Value::Array(views.collect())))
    };
    module_answer(list.await)
}

/// `POST …/deleteModuleOnBehalfOf`: 204, 404010.
pub(super) async fn delete(State(api): State<Api>, Target(caller): Target, body: Bytes) -> Response {
    let delete = async {
        let One { auth_chain, module_id } = json(&body)?;
        let target = api.module_of(&caller, &auth_chain, module_id).await?;
        api.registry.delete(target, IfMatch::Any).await?;
        Ok(StatusCode::NO_CONTENT.into_response())
    };
    module_answer(delete.await)
}

impl Api {
    async fn module_of(&self, caller: &Identity, chain: &str, module: String) -> Result<Identity, Refusal> {
        let module = ModuleId::new(module)
            .map_err(|error| Refusal::new(ErrorCode::ArgumentInvalid, format!("the module's id: {error}")))?;
        Ok(Identity { device: self.target_of(caller, Some(chain)).await?, module: Some(module) })
    }
}
