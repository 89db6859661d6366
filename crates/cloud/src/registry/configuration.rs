//! Setting the modules of one edge device: the content of a deployment, written into the twins it names.

use super::configurations::{self, Touched};
use super::error::Error;
use super::identities::{check_room, create, get, not_found};
use super::store::Changes;
use super::twins::{load, replace};
use super::{Inner, Registry, Wish, tables};
use ironbrook_model::twin::{Object, Twin};
use ironbrook_model::{DeviceId, ErrorCode, Identity, ModuleId, Refusal};
use serde_json::Value;
use std::sync::Arc;

/// Who manages the modules of a deployment.
const MANAGED_BY: &str = "IotEdge";
/// The one key of a section that sets a twin as a whole; layered deployments have others.
const DESIRED: &str = "properties.desired";

/// What a deployment says of each module: all its desired properties.
#[derive(Debug, Clone, PartialEq)]
pub struct ConfigurationContent {
    modules: Vec<(ModuleId, Object)>,
}

impl ConfigurationContent {
    /// Reads `{"modulesContent":{"<module>":{"properties.desired":{…}}}}`, bare or in `{"content":…}`. 400402 with the
    /// place where it is something else.
    pub fn read(body: Value) -> Result<Self, Refusal> {
        let Value::Object(mut body) = body else { return Err(invalid("the body is not an object")) };
        if let Some(Value::Object(content)) = body.remove("content") {
            body = content;
        }
        let Some(Value::Object(sections)) = body.remove("modulesContent") else {
            return Err(invalid("modulesContent is missing or no object"));
        };
        let mut modules = Vec::with_capacity(sections.len());
        for (name, section) in sections {
            let module = ModuleId::new(name.as_str())
                .map_err(|error| invalid(format!("modulesContent.{name}: {error}")))?;
            modules.push((module, desired(&name, section)?));
        }
        if modules.is_empty() {
            return Err(invalid("modulesContent names no module"));
        }
        Ok(Self { modules })
    }
}

fn desired(name: &str, section: Value) -> Result<Object, Refusal> {
    let Value::Object(section) = section else {
        return Err(invalid(format!("modulesContent.{name} is no object")));
    };
    let mut found = None;
    for (key, value) in section {
        match value {
            Value::Object(desired) if key == DESIRED => found = Some(desired),
            _ if key == DESIRED => {
                return Err(invalid(format!("modulesContent.{name}: {DESIRED} is no object")));
            }
            _ => {
                return Err(invalid(format!(
                    "modulesContent.{name}: {key} is not understood; one device is set by {DESIRED} as a whole, parts \
                     of it belong to layered deployments"
                )));
            }
        }
    }
    found.ok_or_else(|| invalid(format!("modulesContent.{name}: {DESIRED} is missing")))
}

fn invalid(text: impl Into<String>) -> Refusal {
    Refusal::new(ErrorCode::InvalidConfigurationContent, text.into())
}

impl Registry {
    /// Sets the desired properties of all modules the content names, as a whole, and makes the modules that are missing; all
    /// of it or nothing. 404001 unknown device, 400402 where the device is no edge device, 413003 too many modules, 400004
    /// and 413001 where a rule of twins is broken.
    pub async fn apply_configuration(
        &self,
        device: DeviceId,
        content: ConfigurationContent,
    ) -> Result<(), Refusal> {
        let inner = self.inner.clone();
        self.inner.store.write(move |changes| apply(&inner, changes, &device, content)).await
    }
}

fn apply(
    inner: &Arc<Inner>,
    changes: &Changes<'_>,
    device: &DeviceId,
    content: ConfigurationContent,
) -> Result<(), Error> {
    let owner = Identity::device(device.clone());
    let stored: super::Stored =
        get(&changes.tx.open_table(tables::IDENTITIES)?, "identity", &tables::key(&owner))?
            .ok_or_else(|| not_found(&owner))?;
    if !stored.iot_edge {
        return Err(Error::refuse(
            ErrorCode::InvalidConfigurationContent,
            format!("the device '{device}' is no edge device; create it with capabilities.iotEdge true"),
        ));
    }
    let now = inner.clock.now();
    // All is looked at before anything is written: a refusal must leave every twin as it was.
    let (mut old, mut new) = (Vec::new(), Vec::new());
    for (module, desired) in content.modules {
        let identity = Identity::module(device.clone(), module);
        match get::<Twin>(&changes.tx.open_table(tables::TWINS)?, "twin", &tables::key(&identity))? {
            Some(mut twin) => {
                let tags = twin.tags.clone();
                twin.replace_within(inner.config.twins, &tags, &desired, now)?;
                old.push((identity, desired));
            }
            None => {
                Twin::default().replace_within(inner.config.twins, &Object::new(), &desired, now)?;
                new.push((identity, desired));
            }
        }
    }
    check_room(inner, changes, device, &stored, new.len())?;
    for (identity, _) in &new {
        let wish = Wish { managed_by: Some(MANAGED_BY.to_owned()), ..Wish::default() };
        create(inner, changes, identity, wish, Twin::default())?;
    }
    for (identity, desired) in old.iter().chain(&new) {
        let tags = load(changes, identity)?.tags;
        replace(inner, changes, identity, &tags, desired)?;
    }
    // Where a deployment is for the device, it prevails again.
    configurations::touch(inner, changes, &owner, Touched::ByService)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn content_is_read_bare_and_wrapped_and_its_faults_name_their_place() {
        let content = json!({"modulesContent": {"m": {"properties.desired": {"a": 1}}}});
        let read = ConfigurationContent::read(content.clone()).unwrap();
        assert_eq!(read.modules.len(), 1);
        assert_eq!(ConfigurationContent::read(json!({ "content": content })).unwrap(), read);
        for (body, place) in [
            (json!([]), "the body"),
            (json!({}), "modulesContent is missing"),
            (json!({"modulesContent": {}}), "names no module"),
            (json!({"modulesContent": {"a b": {"properties.desired": {}}}}), "modulesContent.a b"),
            (json!({"modulesContent": {"m": 1}}), "modulesContent.m"),
            (json!({"modulesContent": {"m": {}}}), "is missing"),
            (json!({"modulesContent": {"m": {"properties.desired": 1}}}), "is no object"),
            (json!({"modulesContent": {"m": {"properties.desired.x": 1}}}), "layered"),
        ] {
            let refusal = ConfigurationContent::read(body).unwrap_err();
            assert_eq!(refusal.code, ErrorCode::InvalidConfigurationContent);
            assert!(refusal.message.contains(place), "{} does not name {place}", refusal.message);
        }
    }
}
