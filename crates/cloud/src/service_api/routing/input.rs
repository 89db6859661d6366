//! A message to be tried, as requests give it.

use ironbrook_hub::router::Facts;
use ironbrook_model::{
    DeviceId, ErrorCode, Identity, Message, MessageSource, ModuleId, Refusal, SystemProperty, Timestamp,
};
use serde::Deserialize;
use serde_json::{Map, Value};

/// Who sends where nobody is named.
const DEVICE: &str = "testDevice";

/// A message as it is given.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Given {
    /// A text; or JSON, which then counts as a body that says so.
    body: Option<Value>,
    #[serde(default)]
    app_properties: Map<String, Value>,
    #[serde(default)]
    system_properties: Map<String, Value>,
}

/// A message to be tried.
pub(super) struct Tried {
    pub(super) identity: Identity,
    auth_method: String,
    source: MessageSource,
    message: Message,
    enqueued: Timestamp,
    pub(super) twin: Option<Value>,
}

impl Tried {
    /// Reads a message. 400004 where something in it cannot be.
    pub(super) fn read(
        given: Option<Given>,
        source: MessageSource,
        now: Timestamp,
        twin: Option<Value>,
    ) -> Result<Self, Refusal> {
        let given =
            given.unwrap_or(Given { body: None, app_properties: Map::new(), system_properties: Map::new() });
        let is_json = given.body.as_ref().is_some_and(|body| !body.is_string());
        let body = match given.body {
            None => String::new(),
            Some(Value::String(text)) => text,
            Some(json) => json.to_string(),
        };
        let mut message = Message::new(body);
        if is_json {
            message.system.set(SystemProperty::ContentType, "application/json");
            message.system.set(SystemProperty::ContentEncoding, "utf-8");
        }
        for (name, value) in &given.app_properties {
            message.properties.set(name.as_str(), text(value));
        }
        let mut enqueued = now;
        for (name, value) in &given.system_properties {
            let value = text(value);
            match property(name) {
                Some(property) => message.system.set(property, value),
                None if is_time(name) => enqueued = Timestamp::parse(&value).unwrap_or(now),
                None => return Err(invalid(format!("there is no system property {name}"))),
            }
        }
        let get = |property| message.system.get(property).map(ToString::to_string);
        let device = get(SystemProperty::ConnectionDeviceId).unwrap_or_else(|| DEVICE.to_owned());
        let device = DeviceId::new(device).map_err(|error| invalid(error.to_string()))?;
        let module = get(SystemProperty::ConnectionModuleId).map(ModuleId::new).transpose();
        let module = module.map_err(|error| invalid(error.to_string()))?;
        let auth_method = get(SystemProperty::ConnectionAuthMethod).unwrap_or_default();
        Ok(Self { identity: Identity { device, module }, auth_method, source, message, enqueued, twin })
    }

    /// As conditions see it.
    pub(super) fn facts(&self) -> Facts<'_> {
        Facts::new(&self.identity, &self.auth_method, self.source, &self.message, self.enqueued)
            .with_twin(self.twin.as_ref())
    }
}

/// A system property by any of its names: with or without `$` or `iothub-`, with or without hyphens.
fn property(name: &str) -> Option<SystemProperty> {
    let bare = name.trim_start_matches('$');
    let found = SystemProperty::from_routing_name(bare);
    found.or_else(|| {
        let bare = bare.strip_prefix("iothub-").unwrap_or(bare).replace('-', "");
        SystemProperty::from_routing_name(&bare)
    })
}

fn is_time(name: &str) -> bool {
    let bare = name.trim_start_matches('$').trim_start_matches("iothub-");
    bare.eq_ignore_ascii_case("enqueuedTime") || bare.eq_ignore_ascii_case("source")
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

pub(super) fn invalid(text: String) -> Refusal {
    Refusal::new(ErrorCode::ArgumentInvalid, text)
}

/// The source of a name in routes. 400004 where there is none of it.
pub(super) fn source(name: Option<&str>) -> Result<MessageSource, Refusal> {
    let Some(name) = name.filter(|name| !name.is_empty()) else { return Ok(MessageSource::DeviceMessages) };
    MessageSource::from_route_name(name).ok_or_else(|| {
        let all = MessageSource::ALL.map(MessageSource::route_name).join(", ");
        invalid(format!("there is no source {name}; there are {all}"))
    })
}
