//! What an enrolment accepts as proof, as stored and as the API writes it.

use super::enrollment::Kind;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use ironbrook_hub::auth::certificate::{self, CertificateAuthority, Details};
use ironbrook_model::{ErrorCode, Refusal, SharedAccessKey, SymmetricKeys, X509Thumbprints};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Decoded length of a symmetric key, in bytes.
const KEY_LEN: std::ops::RangeInclusive<usize> = 16..=64;

/// See the module.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase")]
pub enum Attestation {
    /// Keys: of the device, or of a group whose devices have derived ones.
    #[serde(rename_all = "camelCase")]
    SymmetricKey {
        /// First key.
        primary: SharedAccessKey,
        /// Second key.
        secondary: SharedAccessKey,
    },
    /// The device's own certificates, base64 of DER.
    ClientCertificates {
        /// One or two.
        certificates: Vec<String>,
    },
    /// Certificates of authorities, base64 of DER.
    SigningCertificates {
        /// One or two.
        certificates: Vec<String>,
    },
    /// Authorities that are registered with the hub, by name.
    References {
        /// One or two.
        names: Vec<String>,
    },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body {
    #[serde(rename = "type")]
    kind: Option<String>,
    symmetric_key: Option<Keys>,
    x509: Option<X509>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Keys {
    primary_key: Option<String>,
    secondary_key: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct X509 {
    client_certificates: Option<Pair<Certificate>>,
    signing_certificates: Option<Pair<Certificate>>,
    ca_references: Option<Pair<String>>,
}

#[derive(Deserialize)]
struct Pair<T> {
    primary: Option<T>,
    secondary: Option<T>,
}

impl<T> Pair<T> {
    fn both(self) -> impl Iterator<Item = T> {
        self.primary.into_iter().chain(self.secondary)
    }
}

#[derive(Deserialize)]
struct Certificate {
    certificate: Option<String>,
}

fn invalid(text: impl Into<std::borrow::Cow<'static, str>>) -> Refusal {
    Refusal::new(ErrorCode::ArgumentInvalid, text)
}

impl Attestation {
    /// Reads what a caller wants; keys that are left out stay, or are made.
    pub(super) fn read(kind: Kind, body: Value, old: Option<&Self>) -> Result<Self, Refusal> {
        // The parser's text may quote a value, and a value may be a key.
        let body: Body = serde_json::from_value(body)
            .map_err(|_| invalid("attestation has a member of the wrong type"))?;
        match body.kind.as_deref().unwrap_or_default().to_ascii_lowercase().as_str() {
            "symmetrickey" => Self::keys(body.symmetric_key.unwrap_or_default(), old),
            "x509" => Self::x509(kind, body.x509.unwrap_or_default(), old),
            "tpm" => Err(invalid("attestation by TPM is not supported; use symmetricKey or x509")),
            _ => Err(invalid("attestation.type is symmetricKey or x509")),
        }
    }

    fn keys(keys: Keys, old: Option<&Self>) -> Result<Self, Refusal> {
        let given = |text: Option<String>| text.filter(|text| !text.is_empty());
        let read = |text: String| {
            SharedAccessKey::from_base64(&text)
                .filter(|_| STANDARD.decode(text.trim()).is_ok_and(|bytes| KEY_LEN.contains(&bytes.len())))
                .ok_or_else(|| invalid("a key is base64 of 16 to 64 bytes"))
        };
        match (given(keys.primary_key), given(keys.secondary_key)) {
            (Some(primary), Some(secondary)) => {
                Ok(Self::SymmetricKey { primary: read(primary)?, secondary: read(secondary)? })
            }
            (None, None) => Ok(match old {
                Some(old @ Self::SymmetricKey { .. }) => old.clone(),
                _ => Self::SymmetricKey {
                    primary: SharedAccessKey::generate(),
                    secondary: SharedAccessKey::generate(),
                },
            }),
            _ => Err(invalid("give both keys or none")),
        }
    }

    fn x509(kind: Kind, x509: X509, old: Option<&Self>) -> Result<Self, Refusal> {
        let read = |pair: Pair<Certificate>, authority: bool| {
            let texts = pair.both().filter_map(|one| one.certificate).filter(|text| !text.trim().is_empty());
            texts.map(|text| read_certificate(&text, authority)).collect::<Result<Vec<_>, _>>()
        };
        let client = x509.client_certificates.map(|pair| read(pair, false)).transpose()?.unwrap_or_default();
        let signing = x509.signing_certificates.map(|pair| read(pair, true)).transpose()?.unwrap_or_default();
        let names: Vec<_> = x509.ca_references.map(|pair| pair.both().collect()).unwrap_or_default();
        match (client.is_empty(), signing.is_empty(), names.is_empty()) {
            (false, true, true) if kind == Kind::Individual => {
                Ok(Self::ClientCertificates { certificates: client })
            }
            (false, ..) if kind == Kind::Group => {
                Err(invalid("a group is known by its authority: give signingCertificates or caReferences"))
            }
            (true, false, true) => Ok(Self::SigningCertificates { certificates: signing }),
            (true, true, false) => Ok(Self::References { names }),
            (true, true, true) => match old {
                // The API shows what certificates say, not themselves: what is put back without them stays.
                Some(old) if !matches!(old, Self::SymmetricKey { .. }) => Ok(old.clone()),
                _ => Err(invalid("x509 has no certificate and no caReferences")),
            },
            _ => Err(invalid("give one of clientCertificates, signingCertificates and caReferences")),
        }
    }

    /// What the hub's authentication checks for a registration; `authorities` are those registered with the hub.
    pub(super) fn check_for(
        &self,
        kind: Kind,
        registration_id: &str,
        authorities: &[CertificateAuthority],
    ) -> ironbrook_hub::auth::registration::Attestation {
        use ironbrook_hub::auth::registration::Attestation as Checked;
        match self {
            Self::SymmetricKey { primary, secondary } => {
                let key = |key: &SharedAccessKey| match kind {
                    Kind::Individual => key.clone(),
                    Kind::Group => key.derive(registration_id),
                };
                Checked::Keys(SymmetricKeys { primary: key(primary), secondary: key(secondary) })
            }
            Self::ClientCertificates { certificates } => {
                Checked::Certificates(certificates.iter().filter_map(|text| decode(text)).collect())
            }
            Self::SigningCertificates { certificates } => Checked::Authorities(
                certificates
                    .iter()
                    .filter_map(|text| decode(text))
                    // Whoever may write enrolments vouches for what they name.
                    .map(|certificate| CertificateAuthority {
                        name: "of the enrolment".to_owned(),
                        certificate,
                        verified: true,
                    })
                    .collect(),
            ),
            Self::References { names } => Checked::Authorities(
                authorities.iter().filter(|authority| names.contains(&authority.name)).cloned().collect(),
            ),
        }
    }

    /// As the API shows it: of certificates what they say, keys only where they are asked for.
    pub(super) fn view(&self, keys: bool) -> Value {
        let pair = |all: Vec<Value>| {
            let mut all = all.into_iter();
            json!({ "primary": all.next(), "secondary": all.next() })
        };
        match self {
            Self::SymmetricKey { primary, secondary } if keys => json!({
                "type": "symmetricKey",
                "symmetricKey": { "primaryKey": primary.to_base64(), "secondaryKey": secondary.to_base64() },
            }),
            Self::SymmetricKey { .. } => json!({ "type": "symmetricKey", "symmetricKey": {} }),
            Self::ClientCertificates { certificates } => json!({
                "type": "x509",
                "x509": { "clientCertificates": pair(certificates.iter().map(|text| info(text)).collect()) },
            }),
            Self::SigningCertificates { certificates } => json!({
                "type": "x509",
                "x509": { "signingCertificates": pair(certificates.iter().map(|text| info(text)).collect()) },
            }),
            Self::References { names } => json!({
                "type": "x509",
                "x509": { "caReferences": pair(names.iter().map(|name| json!(name)).collect()) },
            }),
        }
    }
}

/// PEM, base64 of PEM or base64 of DER, as base64 of DER.
fn read_certificate(text: &str, authority: bool) -> Result<String, Refusal> {
    let bytes = if text.contains("-----BEGIN") {
        text.as_bytes().to_vec()
    } else {
        let compact: String = text.split_whitespace().collect();
        STANDARD.decode(compact).map_err(|_| invalid("a certificate is PEM text, or base64 of PEM or DER"))?
    };
    let der = certificate::from_pem_or_der(&bytes).map_err(|error| invalid(error.to_string()))?;
    if authority && !Details::read(&der).is_ok_and(|details| details.is_authority) {
        return Err(invalid(
            "a signing certificate has to be an authority's (CA flag in its basic constraints)",
        ));
    }
    Ok(STANDARD.encode(der))
}

fn decode(text: &str) -> Option<Bytes> {
    STANDARD.decode(text).ok().map(Bytes::from)
}

fn info(text: &str) -> Value {
    let Some((der, details)) = decode(text).and_then(|der| Some((der.clone(), Details::read(&der).ok()?)))
    else {
        return Value::Null;
    };
    json!({ "info": {
        "subjectName": details.subject,
        "issuerName": details.issuer,
        "sha1Thumbprint": X509Thumbprints::sha1(&der),
        "sha256Thumbprint": X509Thumbprints::sha256(&der),
        "notBeforeUtc": details.not_before.to_string(),
        "notAfterUtc": details.not_after.to_string(),
        "version": 3,
    }})
}
