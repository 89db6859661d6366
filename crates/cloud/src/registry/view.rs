//! Identities and twins as the service API shows them.

use super::Inner;
use super::stored::{Stored, StoredAuthentication};
use ironbrook_model::twin::{NEVER, Twin};
use ironbrook_model::{Identity, IdentityStatus, Timestamp};
use serde_json::{Map, Value, json};

/// The time of something that never happened, in identities: without the Z that twins have.
const NEVER_IN_IDENTITIES: &str = "0001-01-01T00:00:00";

fn connection_state(connected: bool) -> &'static str {
    if connected { "Connected" } else { "Disconnected" }
}

fn status(status: IdentityStatus) -> &'static str {
    match status {
        IdentityStatus::Enabled => "enabled",
        IdentityStatus::Disabled => "disabled",
    }
}

fn time(time: Option<Timestamp>, never: &str) -> Value {
    time.map_or_else(|| never.into(), |t| t.to_string().into())
}

/// A device or module identity with its keys. The etag is bare here and quoted in headers.
pub(super) fn identity(inner: &Inner, identity: &Identity, stored: &Stored) -> Value {
    let (connected, activity) = inner.activity.of(identity, stored);
    let mut view = Map::new();
    let mut put = |name: &str, value: Value| {
        view.insert(name.to_owned(), value);
    };
    if let Some(module) = &identity.module {
        put("moduleId", module.as_str().into());
        put("managedBy", stored.managed_by.clone().into());
    }
    put("deviceId", identity.device.as_str().into());
    put("generationId", stored.generation_id.clone().into());
    put("etag", stored.etag.clone().into());
    put("connectionState", connection_state(connected).into());
    if identity.module.is_none() {
        put("status", status(stored.status).into());
        put("statusReason", stored.status_reason.clone().into());
        put("statusUpdatedTime", time(stored.status_updated, NEVER_IN_IDENTITIES));
    }
    put("connectionStateUpdatedTime", time(activity.connection_changed, NEVER_IN_IDENTITIES));
    put("lastActivityTime", time(activity.last, NEVER_IN_IDENTITIES));
    put("cloudToDeviceMessageCount", inner.inbox.count(identity).into());
    put("authentication", authentication(&stored.authentication));
    if identity.module.is_none() {
        put("capabilities", json!({ "iotEdge": stored.iot_edge }));
        if let Some(scope) = &stored.device_scope {
            put("deviceScope", scope.clone().into());
        }
        put("parentScopes", stored.parent_scopes.clone().into());
    }
    Value::Object(view)
}

fn authentication(stored: &StoredAuthentication) -> Value {
    let (keys, thumbprints) = match stored {
        StoredAuthentication::Sas { primary, secondary } => {
            ((Some(primary.to_base64()), Some(secondary.to_base64())), (None, None))
        }
        StoredAuthentication::SelfSigned { primary, secondary } => {
            ((None, None), (primary.clone(), secondary.clone()))
        }
        _ => ((None, None), (None, None)),
    };
    json!({
        "symmetricKey": { "primaryKey": keys.0, "secondaryKey": keys.1 },
        "x509Thumbprint": { "primaryThumbprint": thumbprints.0, "secondaryThumbprint": thumbprints.1 },
        "type": stored.name(),
    })
}

/// A twin with what the registry knows of its identity; no keys.
pub(super) fn twin(inner: &Inner, identity: &Identity, stored: &Stored, twin: &Twin) -> Value {
    let thumbprints = match &stored.authentication {
        StoredAuthentication::SelfSigned { primary, secondary } => (primary.clone(), secondary.clone()),
        _ => (None, None),
    };
    let (connected, activity) = inner.activity.of(identity, stored);
    let mut view = Map::new();
    let mut put = |name: &str, value: Value| {
        view.insert(name.to_owned(), value);
    };
    put("deviceId", identity.device.as_str().into());
    if let Some(module) = &identity.module {
        put("moduleId", module.as_str().into());
    }
    put("etag", twin.etag().into());
    put("deviceEtag", stored.etag.clone().into());
    put("status", status(stored.status).into());
    put("statusReason", stored.status_reason.clone().into());
    put("statusUpdateTime", time(stored.status_updated, NEVER));
    put("connectionState", connection_state(connected).into());
    put("lastActivityTime", time(activity.last, NEVER));
    put("cloudToDeviceMessageCount", inner.inbox.count(identity).into());
    put("authenticationType", stored.authentication.name().into());
    put(
        "x509Thumbprint",
        json!({ "primaryThumbprint": thumbprints.0, "secondaryThumbprint": thumbprints.1 }),
    );
    put("modelId", twin.model_id.clone().unwrap_or_default().into());
    put("version", twin.version.into());
    put("tags", Value::Object(twin.tags.clone()));
    put(
        "properties",
        json!({ "desired": twin.desired.service_view(), "reported": twin.reported.service_view() }),
    );
    if identity.module.is_none() {
        put("capabilities", json!({ "iotEdge": stored.iot_edge }));
        if let Some(scope) = &stored.device_scope {
            put("deviceScope", scope.clone().into());
        }
        put("parentScopes", stored.parent_scopes.clone().into());
    }
    if !twin.configurations.is_empty() {
        let one = |(id, status)| (String::clone(id), json!({ "status": status }));
        put("configurations", Value::Object(twin.configurations.iter().map(one).collect()));
    }
    Value::Object(view)
}
