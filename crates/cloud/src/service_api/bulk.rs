//! Many changes of the registry in one request.

use super::Api;
use super::input::{answer, identity_json, ok};
use crate::registry::{IfMatch, TwinChange, Wish};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, StatusCode};
use ironbrook_model::twin::Object;
use ironbrook_model::{DeviceId, ErrorCode, Identity, ModuleId, Refusal};
use serde::Deserialize;
use serde_json::{Value, json};

/// Changes in one request.
const ITEMS_MAX: usize = 100;

/// One change.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Item {
    id: String,
    module_id: Option<String>,
    import_mode: Option<String>,
    e_tag: Option<String>,
    twin_e_tag: Option<String>,
    tags: Option<Object>,
    properties: Option<Sections>,
    #[serde(flatten)]
    wish: Wish,
}

#[derive(Deserialize)]
struct Sections {
    desired: Option<Object>,
}

/// `POST /devices`: `{"isSuccessful","errors","warnings"}`, 400 with the same shape where an item failed.
pub(super) async fn apply(State(api): State<Api>, body: Bytes) -> Response {
    let apply = async {
        let items: Vec<Value> = identity_json(&body)?;
        if items.len() > ITEMS_MAX {
            let text = format!("{} changes in one request, {ITEMS_MAX} are allowed", items.len());
            return Err(Refusal::new(ErrorCode::TooManyDevices, text));
        }
        let mut errors = Vec::new();
        for item in items {
            let (id, module) = (item["id"].clone(), item["moduleId"].clone());
            if let Err(refusal) = api.apply_item(item).await {
                errors.push(json!({
                    "deviceId": id, "moduleId": module,
                    "errorCode": refusal.code.number(), "errorStatus": refusal.message,
                }));
            }
        }
        Ok(result(&errors))
    };
    answer(apply.await)
}

fn result(errors: &[Value]) -> Response {
    let body = json!({ "isSuccessful": errors.is_empty(), "errors": errors, "warnings": [] });
    if errors.is_empty() {
        return ok(&body);
    }
    let json = HeaderValue::from_static("application/json; charset=utf-8");
    (StatusCode::BAD_REQUEST, [(CONTENT_TYPE, json)], body.to_string()).into_response()
}

impl Api {
    async fn apply_item(&self, item: Value) -> Result<(), Refusal> {
        let invalid = |text: String| Refusal::new(ErrorCode::ArgumentInvalid, text);
        // `from_value` names no place, and its text may quote a key.
        let item: Item = serde_json::from_value(super::input::camel_case(item))
            .map_err(|_| invalid("the item has no id, or a member of the wrong type".to_owned()))?;
        let identity = Identity {
            device: DeviceId::new(item.id).map_err(|e| invalid(e.to_string()))?,
            module: item.module_id.map(ModuleId::new).transpose().map_err(|e| invalid(e.to_string()))?,
        };
        let mode = item.import_mode.unwrap_or_else(|| "create".to_owned()).to_ascii_lowercase();
        // rule REG-06: modes are compared without case; Node sends them with a capital letter.
        let (action, conditional) = match mode.strip_suffix("ifmatchetag") {
            Some(action) => (action, true),
            None => (mode.as_str(), false),
        };
        let condition = |etag: Option<String>| match etag {
            Some(etag) if conditional => IfMatch::Etag(etag.trim_matches('"').to_owned()),
            _ => IfMatch::Any,
        };
        let desired = item.properties.and_then(|sections| sections.desired);
        let twin = TwinChange::Patch { tags: item.tags, desired };
        match action {
            "create" => self.registry.create(identity.clone(), item.wish).await.map(|_| ())?,
            "update" => {
                self.registry.update(identity.clone(), item.wish, condition(item.e_tag)).await.map(|_| ())?;
            }
            "createorupdate" => self.create_or_update(&identity, item.wish, condition(item.e_tag)).await?,
            "delete" => return self.registry.delete(identity, condition(item.e_tag)).await,
            "updatetwin" => {
                let if_match = condition(item.twin_e_tag);
                return self.registry.change_twin(identity, twin, if_match).await.map(|_| ());
            }
            _ => return Err(invalid(format!("importMode '{mode}' is not known"))),
        }
        self.patch_new(identity, twin).await
    }

    async fn create_or_update(
        &self,
        identity: &Identity,
        wish: Wish,
        condition: IfMatch,
    ) -> Result<(), Refusal> {
        match self.registry.update(identity.clone(), wish.clone(), condition).await {
            Err(refusal) if matches!(refusal.code, ErrorCode::DeviceNotFound | ErrorCode::ModuleNotFound) => {
                self.registry.create(identity.clone(), wish).await.map(|_| ())
            }
            done => done.map(|_| ()),
        }
    }

    /// Puts the twin of an item in, where it has one.
    async fn patch_new(&self, identity: Identity, twin: TwinChange) -> Result<(), Refusal> {
        if matches!(&twin, TwinChange::Patch { tags: None, desired: None }) {
            return Ok(());
        }
        self.registry.change_twin(identity, twin, IfMatch::Any).await.map(|_| ())
    }
}
