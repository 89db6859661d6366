//! Records of identities: as the hub's scope calls tell them, and as they are kept on disk.

use ironbrook_client::{ModuleRecord, ScopeDevice};
use ironbrook_model::{
    AuthenticationType, DeviceId, Identity, IdentityRecord, IdentityStatus, Parent, SharedAccessKey,
    SymmetricKeys, X509Thumbprints,
};
use serde::{Deserialize, Serialize};

/// The scheme of scope texts: `ms-azure-iot-edge://{device}-{generation}`.
const SCOPE_SCHEME: &str = "ms-azure-iot-edge://";

/// A device as the scope calls tell it.
pub(super) fn of_device(device: ScopeDevice) -> IdentityRecord {
    IdentityRecord {
        identity: Identity::device(device.device_id),
        generation_id: device.generation_id,
        status: device.status,
        authentication: device.authentication,
        is_gateway: device.is_gateway,
        parents: device.parent_scopes.iter().filter_map(|scope| parent_of(scope)).collect(),
        status_updated: None,
    }
}

/// A module as the scope calls tell it; modules have no status of their own.
pub(super) fn of_module(module: ModuleRecord) -> IdentityRecord {
    IdentityRecord {
        identity: Identity::module(module.device_id, module.module_id),
        generation_id: module.generation_id,
        status: IdentityStatus::Enabled,
        authentication: module.authentication,
        is_gateway: false,
        parents: Vec::new(),
        status_updated: None,
    }
}

/// The device of a scope text; ids may hold hyphens, generations do not.
fn parent_of(scope: &str) -> Option<Parent> {
    let (device, generation_id) = scope.strip_prefix(SCOPE_SCHEME)?.rsplit_once('-')?;
    let device = DeviceId::new(device.to_owned()).ok()?;
    Some(Parent { device, generation_id: generation_id.to_owned() })
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Stored {
    identity: Identity,
    generation_id: String,
    status: IdentityStatus,
    authentication: StoredAuthentication,
    is_gateway: bool,
    parents: Vec<Parent>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum StoredAuthentication {
    Sas { primary: SharedAccessKey, secondary: SharedAccessKey },
    SelfSigned { primary: Option<String>, secondary: Option<String> },
    CertificateAuthority,
    None,
}

/// The bytes on disk. They hold keys in clear, as the hub's own registry does.
pub(super) fn to_bytes(record: &IdentityRecord) -> Vec<u8> {
    let authentication = match record.authentication.clone() {
        AuthenticationType::Sas(SymmetricKeys { primary, secondary }) => {
            StoredAuthentication::Sas { primary, secondary }
        }
        AuthenticationType::SelfSigned(X509Thumbprints { primary, secondary }) => {
            StoredAuthentication::SelfSigned { primary, secondary }
        }
        AuthenticationType::CertificateAuthority => StoredAuthentication::CertificateAuthority,
        AuthenticationType::None => StoredAuthentication::None,
    };
    let stored = Stored {
        identity: record.identity.clone(),
        generation_id: record.generation_id.clone(),
        status: record.status,
        authentication,
        is_gateway: record.is_gateway,
        parents: record.parents.clone(),
    };
    // Texts, lists and words only: this cannot fail.
    serde_json::to_vec(&stored).unwrap_or_default()
}

/// The record of bytes on disk; `None` where they are damaged or of a newer version.
pub(super) fn from_bytes(bytes: &[u8]) -> Option<IdentityRecord> {
    let stored: Stored = serde_json::from_slice(bytes).ok()?;
    let authentication = match stored.authentication {
        StoredAuthentication::Sas { primary, secondary } => {
            AuthenticationType::Sas(SymmetricKeys { primary, secondary })
        }
        StoredAuthentication::SelfSigned { primary, secondary } => {
            AuthenticationType::SelfSigned(X509Thumbprints { primary, secondary })
        }
        StoredAuthentication::CertificateAuthority => AuthenticationType::CertificateAuthority,
        StoredAuthentication::None => AuthenticationType::None,
    };
    Some(IdentityRecord {
        identity: stored.identity,
        generation_id: stored.generation_id,
        status: stored.status,
        authentication,
        is_gateway: stored.is_gateway,
        parents: stored.parents,
        status_updated: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_leaf_is_below_its_gateways() {
        let leaf: ScopeDevice = serde_json::from_value(json!({
            "deviceId": "leaf-1", "generationId": "637", "status": "disabled",
            "authentication": {"type": "none"},
            "parentScopes": ["ms-azure-iot-edge://gate-way-1-637", "other"]
        }))
        .unwrap();
        let record = of_device(leaf);
        let gateway = DeviceId::new("gate-way-1").unwrap();
        assert_eq!(record.parents, [Parent { device: gateway, generation_id: "637".to_owned() }]);
        assert_eq!(record.status, IdentityStatus::Disabled);
    }

    #[test]
    fn every_kind_of_record_is_read_back() {
        let key = |text: &str| SharedAccessKey::from_bytes(text.as_bytes());
        let thumbprints = X509Thumbprints { primary: Some("AB".to_owned()), secondary: None };
        for authentication in [
            AuthenticationType::Sas(SymmetricKeys { primary: key("a"), secondary: key("b") }),
            AuthenticationType::SelfSigned(thumbprints),
            AuthenticationType::CertificateAuthority,
            AuthenticationType::None,
        ] {
            let record = IdentityRecord {
                identity: Identity::gateway(DeviceId::new("e").unwrap()),
                generation_id: "5".to_owned(),
                status: IdentityStatus::Disabled,
                authentication,
                is_gateway: true,
                parents: vec![Parent { device: DeviceId::new("p").unwrap(), generation_id: "6".to_owned() }],
                status_updated: None,
            };
            assert_eq!(from_bytes(&to_bytes(&record)), Some(record));
        }
        assert_eq!(from_bytes(b"{}"), None);
    }
}
