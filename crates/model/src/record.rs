//! What the registry knows of an identity, as authentication and stamping need it.

use crate::{Identity, SharedAccessKey, Timestamp};

/// Whether an identity may connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IdentityStatus {
    /// It may.
    #[default]
    Enabled,
    /// It may not.
    Disabled,
}

/// Two keys, either of which proves the identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SymmetricKeys {
    /// First key.
    pub primary: SharedAccessKey,
    /// Second key, for rotation.
    pub secondary: SharedAccessKey,
}

/// SHA-1 (40 hex digits) or SHA-256 (64 hex digits) of a client certificate's DER, upper case.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct X509Thumbprints {
    /// First certificate.
    pub primary: Option<String>,
    /// Second certificate, for rotation.
    pub secondary: Option<String>,
}

/// How an identity proves itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuthenticationType {
    /// A SAS token signed with one of two keys.
    Sas(SymmetricKeys),
    /// A self-signed client certificate, by thumbprint.
    SelfSigned(X509Thumbprints),
    /// A client certificate of a registered authority, with the id as common name.
    CertificateAuthority,
    /// Not at all: system modules before their device set keys.
    None,
}

/// An identity as the hub's authentication sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdentityRecord {
    /// Who.
    pub identity: Identity,
    /// New on each creation: a re-created identity is another one.
    pub generation_id: String,
    /// Whether it may connect.
    pub status: IdentityStatus,
    /// How it proves itself.
    pub authentication: AuthenticationType,
    /// Whether it is an edge device (`capabilities.iotEdge`).
    pub is_gateway: bool,
    /// When the status last changed.
    pub status_updated: Option<Timestamp>,
}
