//! What the registry tells a device of identities. Keys are hidden from `Debug` by their own type.

use ironbrook_model::{
    AuthenticationType, DeviceId, IdentityStatus, ModuleId, SharedAccessKey, SymmetricKeys, X509Thumbprints,
};
use serde::{Deserialize, Deserializer};

/// A module identity.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ModuleRecord {
    /// Its id.
    pub module_id: ModuleId,
    /// The device it belongs to.
    pub device_id: DeviceId,
    /// New on each creation: a re-created identity is another one.
    #[serde(default, deserialize_with = "or_default")]
    pub generation_id: String,
    /// Version of the record, for `If-Match`; empty where the call does not tell.
    #[serde(default, deserialize_with = "or_default")]
    pub etag: String,
    /// Who looks after it; empty where nobody is named.
    #[serde(default, deserialize_with = "or_default")]
    pub managed_by: String,
    /// How it proves itself.
    #[serde(default = "nothing", deserialize_with = "authentication")]
    pub authentication: AuthenticationType,
}

/// A device behind a gateway, or the gateway itself.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ScopeDevice {
    /// Its id.
    pub device_id: DeviceId,
    /// New on each creation.
    #[serde(default, deserialize_with = "or_default")]
    pub generation_id: String,
    /// Whether it may connect.
    #[serde(default, deserialize_with = "or_default")]
    pub status: IdentityStatus,
    /// How it proves itself.
    #[serde(default = "nothing", deserialize_with = "authentication")]
    pub authentication: AuthenticationType,
    /// Whether others may connect through it.
    #[serde(default, rename = "capabilities", deserialize_with = "gateway")]
    pub is_gateway: bool,
    /// A gateway's own scope; for others that of the gateway they are behind.
    #[serde(default)]
    pub device_scope: Option<String>,
    /// Scopes of the gateways it is behind.
    #[serde(default, deserialize_with = "or_default")]
    pub parent_scopes: Vec<String>,
}

/// A page of identities in the scope of a gateway.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ScopePage {
    /// Devices.
    #[serde(default, deserialize_with = "or_default")]
    pub devices: Vec<ScopeDevice>,
    /// Modules of these devices.
    #[serde(default, deserialize_with = "or_default")]
    pub modules: Vec<ModuleRecord>,
    /// Leads to the next page; `None` on the last.
    #[serde(default, deserialize_with = "text")]
    pub continuation_link: Option<String>,
}

/// As sent: any member may be absent, null or empty.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct WireAuthentication {
    r#type: Option<String>,
    symmetric_key: Option<WireKeys>,
    x509_thumbprint: Option<WireThumbprints>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct WireKeys {
    primary_key: Option<String>,
    secondary_key: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct WireThumbprints {
    primary_thumbprint: Option<String>,
    secondary_thumbprint: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct WireCapabilities {
    #[serde(rename = "iotEdge")] // tidy: wire word
    gateway: bool,
}

fn nothing() -> AuthenticationType {
    AuthenticationType::None
}

fn or_default<'de, T: Deserialize<'de> + Default, D: Deserializer<'de>>(d: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(d)?.unwrap_or_default())
}

fn text<'de, D: Deserializer<'de>>(d: D) -> Result<Option<String>, D::Error> {
    Ok(Option::<String>::deserialize(d)?.filter(|text| !text.is_empty()))
}

fn gateway<'de, D: Deserializer<'de>>(d: D) -> Result<bool, D::Error> {
    Ok(or_default::<WireCapabilities, D>(d)?.gateway)
}

fn authentication<'de, D: Deserializer<'de>>(d: D) -> Result<AuthenticationType, D::Error> {
    let wire: WireAuthentication = or_default(d)?;
    let kind = wire.r#type.unwrap_or_default().to_ascii_lowercase();
    Ok(match kind.as_str() {
        "selfsigned" => {
            let WireThumbprints { primary_thumbprint, secondary_thumbprint } =
                wire.x509_thumbprint.unwrap_or_default();
            let given = |text: Option<String>| text.filter(|text| !text.is_empty());
            AuthenticationType::SelfSigned(X509Thumbprints {
                primary: given(primary_thumbprint),
                secondary: given(secondary_thumbprint),
            })
        }
        "certificateauthority" => AuthenticationType::CertificateAuthority,
        // Some answers leave the type out and only give keys.
        "sas" | "" => keys(wire.symmetric_key.unwrap_or_default()),
        _ => AuthenticationType::None,
    })
}

/// With one key missing the other stands for both; with none, nobody can prove anything.
fn keys(wire: WireKeys) -> AuthenticationType {
    let key = |text: Option<String>| text.and_then(|text| SharedAccessKey::from_base64(&text));
    match (key(wire.primary_key), key(wire.secondary_key)) {
        (Some(primary), Some(secondary)) => AuthenticationType::Sas(SymmetricKeys { primary, secondary }),
        (Some(key), None) | (None, Some(key)) => {
            AuthenticationType::Sas(SymmetricKeys { primary: key.clone(), secondary: key })
        }
        (None, None) => AuthenticationType::None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_as_the_stock_service_gives_it() {
        let text = r#"{"devices":[{"deviceId":"leaf1","generationId":"637","status":"disabled",
                 "authentication":{"type":"sas","symmetricKey":{"primaryKey":"Y2FuYXJ5","secondaryKey":"Y2FuYXJ5Mg=="},
                   "x509Thumbprint":{"primaryThumbprint":"","secondaryThumbprint":null}},
                 "capabilities":{"GATEWAY":true},"deviceScope":"scope-of-g","parentScopes":["scope-of-g"]},
                {"deviceId":"leaf2","authentication":{"type":"selfSigned","symmetricKey":null,
                   "x509Thumbprint":{"primaryThumbprint":"AB","secondaryThumbprint":""}},"capabilities":null,"parentScopes":null}],
              "modules":[{"moduleId":"m1","deviceId":"leaf1","generationId":"638","managedBy":"x",
                 "authentication":{"type":"sas","symmetricKey":{"primaryKey":"","secondaryKey":""}}}],
              "continuationLink":""}"#;
        let text = text.replace("GATEWAY", "iotEdge"); // tidy: wire word
        let page: ScopePage = serde_json::from_str(&text).unwrap();
        let [first, second] = &page.devices[..] else { panic!("{page:?}") };
        assert!(first.is_gateway && !second.is_gateway);
        assert_eq!(first.status, IdentityStatus::Disabled);
        assert_eq!(first.parent_scopes.len(), 1);
        assert!(
            matches!(&first.authentication, AuthenticationType::Sas(keys) if keys.primary != keys.secondary)
        );
        assert!(matches!(&second.authentication, AuthenticationType::SelfSigned(x) if x.secondary.is_none()));
        assert_eq!(page.modules[0].authentication, AuthenticationType::None);
        assert_eq!(page.continuation_link, None);
        assert!(!format!("{page:?}").contains("Y2Fu"));
    }
}
