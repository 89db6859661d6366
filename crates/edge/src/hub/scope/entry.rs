//! An identity as the scope calls tell it and as it is kept on disk.

use ironbrook_model::{
    AuthenticationType, DeviceId, Identity, IdentityRecord, IdentityStatus, ModuleId, SharedAccessKey,
    SymmetricKeys, X509Thumbprints,
};
use serde::{Deserialize, Serialize};
use std::fmt;

/// The scheme of scope texts: `ms-azure-iot-edge://{device}-{generation}`.
const SCOPE_SCHEME: &str = "ms-azure-iot-edge://";

/// One identity of the scope. `Debug` hides its keys.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// The device.
    pub device_id: DeviceId,
    /// The module, where it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub module_id: Option<ModuleId>,
    /// New on each creation.
    #[serde(default)]
    pub generation_id: String,
    /// Whether it may connect; modules have no word of their own.
    #[serde(default)]
    pub status: IdentityStatus,
    /// How it proves itself.
    #[serde(default)]
    pub authentication: Authentication,
    /// What it is able to.
    #[serde(default)]
    pub capabilities: Capabilities,
    /// The gateway devices it may connect through, as scope texts.
    #[serde(default)]
    pub parent_scopes: Vec<String>,
}

/// How an identity proves itself.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Authentication {
    /// `sas`, `selfSigned`, `certificateAuthority`, `none`.
    #[serde(rename = "type", default)]
    pub kind: String,
    /// Keys, base64.
    #[serde(default)]
    pub symmetric_key: Option<Keys>,
    /// Thumbprints.
    #[serde(default)]
    pub x509_thumbprint: Option<Thumbprints>,
}

/// Two keys, base64; empty where there are none.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Keys {
    /// First.
    #[serde(default)]
    pub primary_key: Option<String>,
    /// Second.
    #[serde(default)]
    pub secondary_key: Option<String>,
}

/// Two thumbprints; empty where there are none.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Thumbprints {
    /// First.
    #[serde(default)]
    pub primary_thumbprint: Option<String>,
    /// Second.
    #[serde(default)]
    pub secondary_thumbprint: Option<String>,
}

/// What a device is able to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Capabilities {
    /// Whether others may connect through it.
    #[serde(default)]
    pub iot_edge: bool,
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry").field("identity", &self.identity()).finish_non_exhaustive()
    }
}

impl Entry {
    /// A module of which the keys are known before the hub told them.
    pub fn module(identity: &Identity, generation_id: &str, keys: &SymmetricKeys) -> Self {
        Self {
            device_id: identity.device.clone(),
            module_id: identity.module.clone(),
            generation_id: generation_id.to_owned(),
            status: IdentityStatus::Enabled,
            authentication: Authentication {
                kind: "sas".to_owned(),
                symmetric_key: Some(Keys {
                    primary_key: Some(keys.primary.to_base64()),
                    secondary_key: Some(keys.secondary.to_base64()),
                }),
                x509_thumbprint: None,
            },
            capabilities: Capabilities::default(),
            parent_scopes: Vec::new(),
        }
    }

    /// Who.
    pub fn identity(&self) -> Identity {
        Identity { device: self.device_id.clone(), module: self.module_id.clone() }
    }

    /// As authentication needs it.
    pub fn record(&self) -> IdentityRecord {
        IdentityRecord {
            identity: self.identity(),
            generation_id: self.generation_id.clone(),
            status: self.status,
            authentication: self.authentication.to_model(),
            is_gateway: self.capabilities.iot_edge,
            parents: self.parent_scopes.iter().filter_map(|scope| device_of(scope)).collect(),
            status_updated: None,
        }
    }
}

impl Authentication {
    fn to_model(&self) -> AuthenticationType {
        match &*self.kind {
            "sas" => self.keys().map_or(AuthenticationType::None, AuthenticationType::Sas),
            "selfSigned" => {
                let thumbprints = self.x509_thumbprint.clone().unwrap_or_default();
                AuthenticationType::SelfSigned(X509Thumbprints {
                    primary: thumbprints.primary_thumbprint.filter(|text| !text.is_empty()),
                    secondary: thumbprints.secondary_thumbprint.filter(|text| !text.is_empty()),
                })
            }
            "certificateAuthority" => AuthenticationType::CertificateAuthority,
            _ => AuthenticationType::None,
        }
    }

    fn keys(&self) -> Option<SymmetricKeys> {
        let keys = self.symmetric_key.as_ref()?;
        let key = |text: &Option<String>| SharedAccessKey::from_base64(text.as_deref()?);
        let (primary, secondary) = (key(&keys.primary_key), key(&keys.secondary_key));
        // One key alone is both: an absent one must never match anything else.
        let primary = primary.or_else(|| secondary.clone())?;
        Some(SymmetricKeys { secondary: secondary.unwrap_or_else(|| primary.clone()), primary })
    }
}

/// The device of a scope text; ids may hold hyphens, generations do not.
fn device_of(scope: &str) -> Option<DeviceId> {
    let (device, _) = scope.strip_prefix(SCOPE_SCHEME)?.rsplit_once('-')?;
    DeviceId::new(device.to_owned()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn entry(value: serde_json::Value) -> Entry {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn reads_what_the_scope_calls_answer() {
        let leaf = entry(json!({
            "deviceId": "leaf-1", "generationId": "637", "status": "disabled",
            "authentication": {"type": "sas", "symmetricKey": {"primaryKey": "YQ==", "secondaryKey": "Yg=="},
                               "x509Thumbprint": {"primaryThumbprint": null, "secondaryThumbprint": ""}},
            "capabilities": {"iotEdge": false},
            "deviceScope": "ms-azure-iot-edge://gate-way-1-637", "parentScopes": ["ms-azure-iot-edge://gate-way-1-637"]
        }));
        let record = leaf.record();
        assert_eq!(record.identity.to_string(), "leaf-1");
        assert_eq!(record.status, IdentityStatus::Disabled);
        assert_eq!(record.parents, [DeviceId::new("gate-way-1").unwrap()]);
        let AuthenticationType::Sas(keys) = record.authentication else { panic!("no keys") };
        assert_eq!((keys.primary.to_base64(), keys.secondary.to_base64()), ("YQ==".into(), "Yg==".into()));

        let module = entry(json!({"deviceId": "e", "moduleId": "m", "authentication": {"type": "none"}}));
        assert_eq!(module.record().authentication, AuthenticationType::None);
        assert_eq!(module.record().status, IdentityStatus::Enabled);
        let empty = entry(json!({"deviceId": "e", "authentication": {"type": "sas",
            "symmetricKey": {"primaryKey": "", "secondaryKey": ""}}}));
        assert_eq!(empty.record().authentication, AuthenticationType::None);
    }

    #[test]
    fn keys_are_kept_and_not_shown() {
        let keys = SymmetricKeys {
            primary: SharedAccessKey::from_bytes(b"canary-1"),
            secondary: SharedAccessKey::from_bytes(b"canary-2"),
        };
        let identity = Identity::gateway(DeviceId::new("e").unwrap());
        let made = Entry::module(&identity, "5", &keys);
        assert_eq!(made.record().authentication, AuthenticationType::Sas(keys));
        let again: Entry = serde_json::from_slice(&serde_json::to_vec(&made).unwrap()).unwrap();
        assert_eq!(again, made);
        assert!(!format!("{made:?}").contains("Y2FuYXJ5"));
    }
}
