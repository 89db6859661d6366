//! An identity as it is stored, and what callers may ask to be stored.

use super::error::Error;
use super::scope::scope_owner;
use ironbrook_hub::seams::Activity;
use ironbrook_model::{
    AuthenticationType, ErrorCode, Identity, IdentityRecord, IdentityStatus, Parent, SharedAccessKey,
    SymmetricKeys, Timestamp, X509Thumbprints,
};
use serde::{Deserialize, Serialize};

/// Milliseconds from year 1 to 1970, and ticks of 100 ns in a millisecond: .NET's way of counting time.
const YEAR_ONE_TO_1970_MS: i64 = 62_135_596_800_000;
const TICKS_PER_MS: i64 = 10_000;
/// Decoded length of a symmetric key, in bytes.
const KEY_LEN: std::ops::RangeInclusive<usize> = 16..=64;
/// Longest status reason, in characters.
const STATUS_REASON_MAX: usize = 128;

/// How an identity proves itself, as stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase")]
pub enum StoredAuthentication {
    /// Two keys.
    Sas {
        /// First key.
        primary: SharedAccessKey,
        /// Second key.
        secondary: SharedAccessKey,
    },
    /// Thumbprints of client certificates.
    SelfSigned {
        /// First certificate.
        primary: Option<String>,
        /// Second certificate.
        secondary: Option<String>,
    },
    /// A certificate of a registered authority.
    CertificateAuthority,
    /// Not at all.
    None,
}

impl StoredAuthentication {
    /// Two new random keys.
    pub fn generate() -> Self {
        Self::Sas { primary: SharedAccessKey::generate(), secondary: SharedAccessKey::generate() }
    }

    /// The wire's word.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Sas { .. } => "sas",
            Self::SelfSigned { .. } => "selfSigned",
            Self::CertificateAuthority => "certificateAuthority",
            Self::None => "none",
        }
    }
}

/// An identity as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stored {
    /// New on each creation.
    pub generation_id: String,
    /// New on each change of the identity; bare.
    pub etag: String,
    /// Whether it may connect.
    #[serde(default)]
    pub status: IdentityStatus,
    /// A person's words on the status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status_reason: Option<String>,
    /// When the status last changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status_updated: Option<Timestamp>,
    /// How it proves itself.
    pub authentication: StoredAuthentication,
    /// `capabilities.iotEdge`.
    #[serde(default)]
    pub iot_edge: bool,
    /// Who looks after a module.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub managed_by: Option<String>,
    /// The scope an edge device opens, or that of a leaf's parent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_scope: Option<String>,
    /// Scopes of the parents.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parent_scopes: Vec<String>,
    /// When it was last heard of, as far as it is on disk. Not part of the row: it changes by itself, and often.
    #[serde(skip)]
    pub activity: Activity,
}

impl Stored {
    /// A new identity with random keys.
    pub fn new(now: Timestamp) -> Self {
        Self {
            generation_id: new_generation_id(now),
            etag: new_etag(),
            status: IdentityStatus::Enabled,
            status_reason: None,
            status_updated: None,
            authentication: StoredAuthentication::generate(),
            iot_edge: false,
            managed_by: None,
            device_scope: None,
            parent_scopes: Vec::new(),
            activity: Activity::default(),
        }
    }

    /// What authentication needs of it.
    pub fn record(&self, identity: &Identity) -> IdentityRecord {
        let authentication = match self.authentication.clone() {
            StoredAuthentication::Sas { primary, secondary } => {
                AuthenticationType::Sas(SymmetricKeys { primary, secondary })
            }
            StoredAuthentication::SelfSigned { primary, secondary } => {
                AuthenticationType::SelfSigned(X509Thumbprints { primary, secondary })
            }
            StoredAuthentication::CertificateAuthority => AuthenticationType::CertificateAuthority,
            StoredAuthentication::None => AuthenticationType::None,
        };
        IdentityRecord {
            identity: identity.clone(),
            generation_id: self.generation_id.clone(),
            status: self.status,
            authentication,
            is_gateway: self.iot_edge,
            parents: self.parents(identity),
            status_updated: self.status_updated,
        }
    }

    /// The devices whose scopes this device names as its parents'. Its own scope, which an edge device opens, is none.
    fn parents(&self, identity: &Identity) -> Vec<Parent> {
        if identity.module.is_some() {
            return Vec::new();
        }
        let leaf = self.device_scope.iter().filter(|_| !self.iot_edge);
        let mut parents: Vec<_> =
            self.parent_scopes.iter().chain(leaf).filter_map(|s| scope_owner(s)).collect();
        parents.retain(|parent| parent.device != identity.device);
        parents.sort();
        parents.dedup();
        parents
    }

    /// Takes over what a caller wants; what the caller left out stays.
    pub fn apply(&mut self, identity: &Identity, wish: Wish, now: Timestamp) -> Result<(), Error> {
        if let Some(authentication) = wish.authentication {
            self.apply_authentication(authentication)?;
        }
        if let Some(status) = wish.status
            && status != self.status
        {
            self.status = status;
            self.status_updated = Some(now);
        }
        if let Some(reason) = wish.status_reason {
            if reason.chars().count() > STATUS_REASON_MAX {
                return Err(invalid("statusReason has at most 128 characters"));
            }
            self.status_reason = (!reason.is_empty()).then_some(reason);
        }
        if identity.module.is_some() {
            self.managed_by = wish.managed_by.or(self.managed_by.take());
        } else {
            self.iot_edge = wish.capabilities.and_then(|c| c.iot_edge).unwrap_or(self.iot_edge);
            self.device_scope = wish.device_scope.or(self.device_scope.take());
            self.parent_scopes = wish.parent_scopes.unwrap_or(std::mem::take(&mut self.parent_scopes));
            if self.iot_edge {
                let scope = format!("ms-azure-iot-edge://{}-{}", identity.device, self.generation_id);
                self.device_scope = Some(scope);
            }
        }
        self.etag = new_etag();
        Ok(())
    }

    fn apply_authentication(&mut self, wish: AuthenticationWish) -> Result<(), Error> {
        let thumbprints = wish.x509_thumbprint.unwrap_or_default();
        let keys = wish.symmetric_key.unwrap_or_default();
        let has_thumbprint = thumbprints.primary_thumbprint.as_deref().is_some_and(|t| !t.is_empty());
        let kind = wish.kind.unwrap_or(if has_thumbprint { Kind::SelfSigned } else { Kind::Sas });
        self.authentication = match kind {
            Kind::Sas => self.keys(keys)?,
            Kind::SelfSigned => StoredAuthentication::SelfSigned {
                primary: thumbprint(thumbprints.primary_thumbprint)?,
                secondary: thumbprint(thumbprints.secondary_thumbprint)?,
            },
            Kind::CertificateAuthority => StoredAuthentication::CertificateAuthority,
            Kind::None => StoredAuthentication::None,
        };
        Ok(())
    }

    /// rule REG-02: absent and empty keys mean the same: they are generated, or kept where there are some.
    fn keys(&self, wish: KeysWish) -> Result<StoredAuthentication, Error> {
        let given = |key: Option<String>| key.filter(|k| !k.is_empty());
        match (given(wish.primary_key), given(wish.secondary_key)) {
            (Some(primary), Some(secondary)) => {
                Ok(StoredAuthentication::Sas { primary: key(&primary)?, secondary: key(&secondary)? })
            }
            (None, None) => Ok(match &self.authentication {
                kept @ StoredAuthentication::Sas { .. } => kept.clone(),
                _ => StoredAuthentication::generate(),
            }),
            _ => Err(invalid("give both symmetric keys, or none to have them generated")),
        }
    }
}

/// What a caller wants of an identity; members left out or null mean "as it is", or a default at creation.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Wish {
    /// Must be the id of the path, where given.
    pub device_id: Option<String>,
    /// Must be the id of the path, where given.
    pub module_id: Option<String>,
    /// Whether it may connect.
    pub status: Option<IdentityStatus>,
    /// Why; up to 128 characters.
    pub status_reason: Option<String>,
    /// How it proves itself.
    pub authentication: Option<AuthenticationWish>,
    /// `iotEdge`.
    pub capabilities: Option<Capabilities>,
    /// Parent's scope of a leaf.
    pub device_scope: Option<String>,
    /// Parents' scopes.
    pub parent_scopes: Option<Vec<String>>,
    /// Who looks after a module.
    pub managed_by: Option<String>,
}

/// `capabilities` of a device.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Capabilities {
    /// Whether it is an edge device.
    pub iot_edge: Option<bool>,
}

/// `authentication` of an identity.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AuthenticationWish {
    /// Kind; guessed from the rest where absent.
    #[serde(rename = "type")]
    pub kind: Option<Kind>,
    /// Keys of `sas`.
    pub symmetric_key: Option<KeysWish>,
    /// Thumbprints of `selfSigned`.
    pub x509_thumbprint: Option<ThumbprintsWish>,
}

/// `authentication.type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs, reason = "the wire's own words")]
pub enum Kind {
    Sas,
    SelfSigned,
    CertificateAuthority,
    None,
}

/// `symmetricKey`; base64 texts.
#[derive(Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KeysWish {
    /// First key.
    pub primary_key: Option<String>,
    /// Second key.
    pub secondary_key: Option<String>,
}

impl std::fmt::Debug for KeysWish {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KeysWish(<hidden>)")
    }
}

/// `x509Thumbprint`; hex texts.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ThumbprintsWish {
    /// First certificate.
    pub primary_thumbprint: Option<String>,
    /// Second certificate.
    pub secondary_thumbprint: Option<String>,
}

fn invalid(text: &'static str) -> Error {
    Error::refuse(ErrorCode::ArgumentInvalid, text)
}

/// Reads a base64 key of 16 to 64 bytes.
pub(super) fn key(text: &str) -> Result<SharedAccessKey, Error> {
    use base64::Engine as _;
    let len = base64::engine::general_purpose::STANDARD.decode(text.trim()).map(|bytes| bytes.len());
    match (len, SharedAccessKey::from_base64(text)) {
        (Ok(len), Some(key)) if KEY_LEN.contains(&len) => Ok(key),
        _ => Err(invalid("a symmetric key is base64 text of 16 to 64 bytes")),
    }
}

fn thumbprint(text: Option<String>) -> Result<Option<String>, Error> {
    let Some(text) = text.filter(|t| !t.is_empty()) else { return Ok(None) };
    let hex: String = text.chars().filter(|c| !matches!(c, ':' | ' ')).collect();
    if !matches!(hex.len(), 40 | 64) || !hex.chars().all(|c| c.is_ascii_hexdigit()) {
        return Err(invalid("a thumbprint is 40 (SHA-1) or 64 (SHA-256) hex digits"));
    }
    Ok(Some(hex.to_ascii_uppercase()))
}

/// A number of 18 digits, as observed: ticks of 100 ns, the last four at random so that no two creations share one.
fn new_generation_id(now: Timestamp) -> String {
    let ticks = (now.as_millis().saturating_add(YEAR_ONE_TO_1970_MS)).saturating_mul(TICKS_PER_MS);
    ticks.saturating_add(i64::from(random() % 10_000)).to_string()
}

/// Base64 of a changing number, as observed. At random, so that the etag of a deleted identity never comes back.
pub(crate) fn new_etag() -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(random().to_string())
}

fn random() -> u32 {
    uuid::Uuid::new_v4().as_fields().0
}

#[cfg(test)]
mod tests {
    use super::*;
    use ironbrook_model::DeviceId;

    const NOW: Timestamp = Timestamp::from_millis(1_769_850_000_000);

    fn device() -> Identity {
        Identity::device(DeviceId::new("d").unwrap())
    }

    fn apply(stored: &mut Stored, json: &str) -> Result<(), Error> {
        stored.apply(&device(), serde_json::from_str(json).unwrap(), NOW)
    }

    #[test]
    fn generation_ids_have_18_digits_and_etags_change() {
        let (a, b) = (Stored::new(NOW), Stored::new(NOW));
        assert_eq!(a.generation_id.len(), 18);
        assert_ne!(a.etag, b.etag);
    }

    // REG-02
    #[test]
    fn reg_02_absent_and_empty_keys_are_generated_or_kept_and_one_alone_is_refused() {
        let mut stored = Stored::new(NOW);
        let before = stored.authentication.clone();
        apply(&mut stored, r#"{"authentication":{"symmetricKey":{"primaryKey":"","secondaryKey":null}}}"#)
            .unwrap();
        assert_eq!(stored.authentication, before);
        let one =
            r#"{"authentication":{"type":"sas","symmetricKey":{"primaryKey":"AAECAwQFBgcICQoLDA0ODw=="}}}"#;
        assert!(apply(&mut stored, one).is_err());
        let short = r#"{"authentication":{"symmetricKey":{"primaryKey":"AAEC","secondaryKey":"AAEC"}}}"#;
        assert!(apply(&mut stored, short).is_err());
    }

    #[test]
    fn a_thumbprint_without_a_type_means_self_signed() {
        let mut stored = Stored::new(NOW);
        let print = "ab".repeat(20);
        apply(
            &mut stored,
            &format!(r#"{{"authentication":{{"x509Thumbprint":{{"primaryThumbprint":"{print}"}}}}}}"#),
        )
        .unwrap();
        let primary = Some(print.to_uppercase());
        assert_eq!(stored.authentication, StoredAuthentication::SelfSigned { primary, secondary: None });
    }

    #[test]
    fn an_edge_device_gets_its_own_scope() {
        let mut stored = Stored::new(NOW);
        apply(&mut stored, r#"{"capabilities":{"iotEdge":true}}"#).unwrap();
        assert_eq!(stored.device_scope, Some(format!("ms-azure-iot-edge://d-{}", stored.generation_id)));
    }

    #[test]
    fn the_parents_of_a_leaf_are_read_from_its_scopes() {
        let mut leaf = Stored::new(NOW);
        let wish = r#"{"deviceScope":"ms-azure-iot-edge://plant-1-637","parentScopes":["ms-azure-iot-edge://plant-1-637","x"]}"#;
        apply(&mut leaf, wish).unwrap();
        let plant = Parent { device: DeviceId::new("plant-1").unwrap(), generation_id: "637".to_owned() };
        assert_eq!(leaf.record(&device()).parents, [plant]);
        let mut gateway = Stored::new(NOW);
        apply(&mut gateway, r#"{"capabilities":{"iotEdge":true}}"#).unwrap();
        assert!(gateway.record(&device()).parents.is_empty(), "its own scope is no parent");
    }

    #[test]
    fn debug_of_a_wish_hides_keys() {
        let wish: Wish =
            serde_json::from_str(r#"{"authentication":{"symmetricKey":{"primaryKey":"canary"}}}"#).unwrap();
        assert!(!format!("{wish:?}").contains("canary"));
    }
}
