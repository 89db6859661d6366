//! Changes of identities and twins as bulk requests and import files have them, one item each.

use super::scope::scope_owner;
use super::{IfMatch, Registry, TwinChange, Wish};
use ironbrook_model::twin::Object;
use ironbrook_model::{DeviceId, ErrorCode, Identity, ModuleId, Refusal};
use serde::Deserialize;
use serde_json::{Map, Value};

/// What is to be done where an item does not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImportMode(&'static str);

impl ImportMode {
    /// Of a bulk request.
    pub const CREATE: Self = Self("create");
    /// Of an import.
    pub const CREATE_OR_UPDATE: Self = Self("createOrUpdate");
}

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

impl Registry {
    /// Does what an item says: `{"id", "moduleId", "importMode", "eTag", "twinETag", "status", "statusReason",
    /// "authentication", "capabilities", "deviceScope", "parentScopes", "tags", "properties"}`. Reported properties are the
    /// device's own and are not read.
    pub async fn apply_item(&self, item: Value, default: ImportMode) -> Result<(), Refusal> {
        let invalid = |text: String| Refusal::new(ErrorCode::ArgumentInvalid, text);
        // `from_value` names no place, and its text may quote a key.
        let item: Item = serde_json::from_value(camel_case(item))
            .map_err(|_| invalid("the item has no id, or a member of the wrong type".to_owned()))?;
        let identity = Identity {
            device: DeviceId::new(item.id).map_err(|e| invalid(e.to_string()))?,
            module: item.module_id.map(ModuleId::new).transpose().map_err(|e| invalid(e.to_string()))?,
        };
        let mode = item.import_mode.unwrap_or_else(|| default.0.to_owned()).to_ascii_lowercase();
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
            "create" => self.create(identity.clone(), item.wish).await.map(|_| ())?,
            "update" => {
                self.update(identity.clone(), item.wish, condition(item.e_tag)).await.map(|_| ())?;
            }
            "createorupdate" => self.create_or_update(&identity, item.wish, condition(item.e_tag)).await?,
            "delete" => return self.delete(identity, condition(item.e_tag)).await,
            "updatetwin" => {
                let if_match = condition(item.twin_e_tag);
                return self.change_twin(identity, twin, if_match).await.map(|_| ());
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
        match self.update(identity.clone(), wish.clone(), condition).await {
            Err(refusal) if matches!(refusal.code, ErrorCode::DeviceNotFound | ErrorCode::ModuleNotFound) => {
                self.create(identity.clone(), wish).await.map(|_| ())
            }
            done => done.map(|_| ()),
        }
    }

    /// Puts the twin of an item in, where it has one.
    async fn patch_new(&self, identity: Identity, twin: TwinChange) -> Result<(), Refusal> {
        if matches!(&twin, TwinChange::Patch { tags: None, desired: None }) {
            return Ok(());
        }
        self.change_twin(identity, twin, IfMatch::Any).await.map(|_| ())
    }

    /// Names the scopes of an item that another hub gave out by those of the same edge devices here: scopes hold the generation of
    /// the edge device, which is another in each hub. An edge device's own scope is made anew anyhow.
    pub(super) async fn adopt_scopes(&self, item: &mut Value) {
        let Value::Object(item) = item else { return };
        for (name, value) in item.iter_mut() {
            let scopes: Vec<&mut Value> = match (name.to_ascii_lowercase().as_str(), value) {
                ("devicescope", scope) => vec![scope],
                ("parentscopes", Value::Array(scopes)) => scopes.iter_mut().collect(),
                _ => continue,
            };
            for scope in scopes {
                let owner = scope.as_str().and_then(scope_owner);
                let Some(owner) = owner else { continue };
                if let Ok(stored) = self.get(Identity::device(owner.device)).await
                    && let Some(here) = stored.device_scope.filter(|_| stored.iot_edge)
                {
                    *scope = here.into();
                }
            }
        }
    }
}

/// Lowers the first letter of every member's name, but not inside twins, whose names are the user's.
pub(crate) fn camel_case(value: Value) -> Value {
    match value {
        Value::Object(object) => {
            Value::Object(object.into_iter().fold(Map::new(), |mut all, (name, value)| {
                let mut letters = name.chars();
                let name = match letters.next() {
                    Some(first) => first.to_lowercase().chain(letters).collect(),
                    None => name,
                };
                let value =
                    if matches!(name.as_str(), "tags" | "properties") { value } else { camel_case(value) };
                all.insert(name, value);
                all
            }))
        }
        other => other,
    }
}
