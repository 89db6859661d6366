//! What the registry knows of an identity, as authentication and stamping need it.

use crate::{DeviceId, Identity, SharedAccessKey, Timestamp};
use aws_lc_rs::digest;

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

impl X509Thumbprints {
    /// The SHA-1 thumbprint of a certificate (DER), as Azure shows it: 40 hex digits, upper case.
    pub fn sha1(certificate: &[u8]) -> String {
        hex(&digest::SHA1_FOR_LEGACY_USE_ONLY, certificate)
    }

    /// The SHA-256 thumbprint of a certificate (DER): 64 hex digits, upper case.
    pub fn sha256(certificate: &[u8]) -> String {
        hex(&digest::SHA256, certificate)
    }

    /// Whether a certificate (DER) has one of the thumbprints; case of the digits does not matter.
    pub fn matches(&self, certificate: &[u8]) -> bool {
        let (sha1, sha256) = (Self::sha1(certificate), Self::sha256(certificate));
        [&self.primary, &self.secondary]
            .into_iter()
            .flatten()
            .any(|known| known.eq_ignore_ascii_case(&sha1) || known.eq_ignore_ascii_case(&sha256))
    }
}

fn hex(algorithm: &'static digest::Algorithm, bytes: &[u8]) -> String {
    digest::digest(algorithm, bytes).as_ref().iter().map(|byte| format!("{byte:02X}")).collect()
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

/// A gateway device that a device names as the one it connects through. One that was deleted and created again is another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Parent {
    /// The gateway device.
    pub device: DeviceId,
    /// Its generation.
    pub generation_id: String,
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
    /// Whether other devices may connect through it.
    pub is_gateway: bool,
    /// For a device: the gateway devices it may connect through. Empty for modules, which go with their device.
    pub parents: Vec<Parent>,
    /// When the status last changed.
    pub status_updated: Option<Timestamp>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thumbprints_are_sha1_or_sha256_in_any_case() {
        let with = |primary: &str| X509Thumbprints { primary: Some(primary.to_owned()), secondary: None };
        // SHA-1 and SHA-256 of "abc" from FIPS 180-4's examples.
        assert!(with("a9993e364706816aba3e25717850c26c9cd0d89d").matches(b"abc"));
        let sha256 = "BA7816BF8F01CFEA414140DE5DAE2223B00361A396177A9CB410FF61F20015AD";
        assert!(with(sha256).matches(b"abc"));
        assert!(!with(sha256).matches(b"abd"));
        assert!(!X509Thumbprints::default().matches(b"abc"));
    }
}
