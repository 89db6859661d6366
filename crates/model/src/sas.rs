//! Shared access signatures: keys, tokens, signing, checking.
//!
//! Source: Azure docs "Control access to IoT Hub with SAS"; the tolerance rules mirror what stock SDKs emit
//! (hex in either case, unescaped `/` and `+` in `sig`, any field order, old tokens with an api-version tail).

use crate::{Timestamp, percent_decode, percent_encode};
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::fmt;
use std::time::Duration;

/// How long after its `se` a token is still accepted, for clocks that differ.
const CLOCK_SKEW: Duration = Duration::from_secs(300);
/// Longest token text that is looked at.
const TOKEN_LEN_MAX: usize = 4096;

/// A symmetric key. `Debug` and `Display` never show it.
#[derive(Clone, PartialEq, Eq)]
pub struct SharedAccessKey(Box<[u8]>);

impl SharedAccessKey {
    /// From the base64 text of a connection string; `None` if it is not base64 or empty.
    pub fn from_base64(text: &str) -> Option<Self> {
        let bytes = STANDARD.decode(text.trim()).ok()?;
        (!bytes.is_empty()).then(|| Self(bytes.into_boxed_slice()))
    }

    /// From raw bytes.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        Self(bytes.into())
    }

    /// A new random key of 32 bytes from the operating system's generator.
    pub fn generate() -> Self {
        let mut bytes = [0_u8; 32];
        // aws-lc aborts nothing here: failure means the system has no entropy source at all.
        if aws_lc_rs::rand::fill(&mut bytes).is_err() {
            unreachable!("the operating system's random generator failed");
        }
        Self(Box::new(bytes))
    }

    /// The base64 text, for connection strings and the registry only.
    pub fn to_base64(&self) -> String {
        STANDARD.encode(&self.0)
    }

    /// HMAC-SHA256 of `data` under this key, 32 bytes.
    pub fn hmac_sha256(&self, data: &[u8]) -> [u8; 32] {
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &self.0), data);
        let mut out = [0; 32];
        out.copy_from_slice(tag.as_ref());
        out
    }

    /// The key of one registration of an enrolment group whose key this is.
    pub fn derive(&self, registration_id: &str) -> Self {
        Self::from_bytes(&self.hmac_sha256(registration_id.as_bytes()))
    }

    /// Signs a token for `resource` (not yet percent-encoded), valid until `expires`.
    pub fn sign(&self, resource: &str, expires: Timestamp, policy: Option<&str>) -> String {
        let sr = percent_encode(resource);
        let se = expires.as_secs();
        let sig = STANDARD.encode(self.hmac_sha256(format!("{sr}\n{se}").as_bytes()));
        let mut token = format!("SharedAccessSignature sr={sr}&sig={}&se={se}", percent_encode(&sig));
        if let Some(policy) = policy {
            token.push_str("&skn=");
            token.push_str(&percent_encode(policy));
        }
        token
    }
}

impl fmt::Debug for SharedAccessKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SharedAccessKey(<hidden>)")
    }
}

impl serde::Serialize for SharedAccessKey {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&self.to_base64())
    }
}

impl<'de> serde::Deserialize<'de> for SharedAccessKey {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        Self::from_base64(&text)
            .ok_or_else(|| serde::de::Error::custom("a key is base64 text of at least one byte"))
    }
}

/// A token that cannot be read or does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SasError {
    /// Not of the form `SharedAccessSignature sr=…&sig=…&se=…`.
    #[error("the token is not of the form 'SharedAccessSignature sr=…&sig=…&se=…'")]
    Malformed,
    /// `se` passed more than five minutes ago.
    #[error("the token expired at {0}; sign a new one, and check the sender's clock")]
    Expired(Timestamp),
    /// No key gives this signature.
    #[error("the signature does not match the key")]
    Signature,
    /// Signed for something else.
    #[error("the token was signed for another resource")]
    Scope,
}

/// A parsed token, not yet checked. `Debug` hides the signature.
#[derive(Clone, PartialEq, Eq)]
pub struct SasToken {
    /// `sr` and `se` exactly as received, for the MAC.
    signed_text: String,
    signature: Vec<u8>,
    /// The resource, decoded, without scheme and port, host in lower case, e.g. `localhost/devices/d1`.
    resource: String,
    expires: Timestamp,
    policy: Option<String>,
}

impl SasToken {
    /// Reads a token.
    pub fn parse(text: &str) -> Result<Self, SasError> {
        if text.len() > TOKEN_LEN_MAX {
            return Err(SasError::Malformed);
        }
        let mut words = text.split_whitespace();
        let (Some(scheme), Some(fields), None) = (words.next(), words.next(), words.next()) else {
            return Err(SasError::Malformed);
        };
        if !scheme.eq_ignore_ascii_case("SharedAccessSignature") {
            return Err(SasError::Malformed);
        }
        let (mut sr, mut sig, mut se, mut skn) = (None, None, None, None);
        for field in fields.split('&') {
            let (name, value) = field.split_once('=').ok_or(SasError::Malformed)?;
            match name.to_ascii_lowercase().as_str() {
                "sr" => sr = Some(value),
                "sig" => sig = Some(value),
                "se" => se = Some(value),
                "skn" => skn = Some(value),
                _ => {}
            }
        }
        let (Some(sr), Some(sig), Some(se)) = (sr, sig, se) else { return Err(SasError::Malformed) };
        let decode = |v| percent_decode(v).ok_or(SasError::Malformed);
        let signature = STANDARD.decode(decode(sig)?.as_bytes()).map_err(|_| SasError::Malformed)?;
        let seconds: i64 = decode(se)?.parse().map_err(|_| SasError::Malformed)?;
        let policy = skn.map(decode).transpose()?.filter(|p| !p.is_empty()).map(|p| p.into_owned());
        Ok(Self {
            signed_text: format!("{sr}\n{se}"),
            signature,
            resource: normalise_resource(&decode(sr)?),
            expires: Timestamp::from_secs(seconds),
            policy,
        })
    }

    /// The policy that signed it; `None` for a device's or module's own key.
    pub fn policy(&self) -> Option<&str> {
        self.policy.as_deref()
    }

    /// The resource it was signed for: host in lower case, no scheme, no port, no trailing slash.
    pub fn resource(&self) -> &str {
        &self.resource
    }

    /// When it ends (`se`), without the tolerance.
    pub fn expires(&self) -> Timestamp {
        self.expires
    }

    /// When the hub stops accepting it: `se` and five minutes.
    pub fn refused_from(&self) -> Timestamp {
        self.expires.plus(CLOCK_SKEW)
    }

    /// Checks the expiry and the signature against either of two keys, in constant time for each.
    pub fn check(&self, now: Timestamp, keys: [&SharedAccessKey; 2]) -> Result<(), SasError> {
        let signed_with = |key: &[u8]| {
            let key = hmac::Key::new(hmac::HMAC_SHA256, key);
            hmac::verify(&key, self.signed_text.as_bytes(), &self.signature).is_ok()
        };
        // rule AUTH-10: Event Hubs clients take the key's base64 text itself as the key, hub clients what it decodes to.
        let good = keys.iter().any(|key| signed_with(&key.0) || signed_with(key.to_base64().as_bytes()));
        // The signature comes first: only somebody with the key is told about the clock.
        if !good {
            return Err(SasError::Signature);
        }
        if now > self.refused_from() {
            return Err(SasError::Expired(self.expires));
        }
        Ok(())
    }

    /// Checks that the token covers `path` (`devices/d1/modules/m`, or empty) on one of the hub's host names.
    /// Prefix by whole segments: `devices/ab` covers `devices/ab/x`, not `devices/abc`.
    pub fn check_scope(&self, hosts: &[impl AsRef<str>], path: &str) -> Result<(), SasError> {
        let (host, scope) = self.resource.split_once('/').unwrap_or((&self.resource, ""));
        if !hosts.iter().any(|h| h.as_ref().eq_ignore_ascii_case(host)) {
            return Err(SasError::Scope);
        }
        let mut wanted = path.split('/');
        for segment in scope.split('/').filter(|s| !s.is_empty()) {
            let found = wanted.next().unwrap_or("");
            // .NET encodes an id by itself and then again as part of the whole.
            let same = found == segment || percent_decode(segment).is_some_and(|s| s == found);
            if !same {
                return Err(SasError::Scope);
            }
        }
        Ok(())
    }
}

impl fmt::Debug for SasToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SasToken")
            .field("resource", &self.resource)
            .field("expires", &self.expires)
            .field("policy", &self.policy)
            .finish_non_exhaustive()
    }
}

/// Strips scheme, port, an old api-version tail and trailing slashes; lowers the host.
fn normalise_resource(resource: &str) -> String {
    let rest = resource.split_once("://").map_or(resource, |(_, rest)| rest);
    let rest = rest.split_once("/api-version=").map_or(rest, |(head, _)| head).trim_end_matches('/');
    let (authority, path) = rest.split_once('/').map_or((rest, None), |(a, p)| (a, Some(p)));
    let host = match authority.rsplit_once(':') {
        // An IPv6 address keeps its colons: only a tail of digits after ']' or a plain name is a port.
        Some((host, port))
            if port.bytes().all(|b| b.is_ascii_digit()) && (!host.contains(':') || host.ends_with(']')) =>
        {
            host
        }
        _ => authority,
    };
    let mut out = host.to_ascii_lowercase();
    if let Some(path) = path {
        out.push('/');
        out.push_str(path);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    const VECTORS: [(&str, &str); 3] = [
        ("hub1.example.test%2Fdevices%2Fdev-1", "D3YPCbjg9OEBgbkWVCXmOeKhVVkbOo7jR+VPYEFxF5w="),
        ("hub1.example.test%2fdevices%2fdev-1", "fNWuuIBZGqIAMsh6WGGlPKp3Gt7qSOT1qnlNRJtVKsI="),
        ("hub1.example.test", "jqevsbxyY+OSlaPjzWQE4xd83NR3tgaQfh7sJnadmj8="),
    ];

    fn key() -> SharedAccessKey {
        SharedAccessKey::from_base64(KEY).unwrap()
    }

    fn before_expiry() -> Timestamp {
        Timestamp::from_secs(1_893_456_000 - 10)
    }

    #[test]
    fn accepts_the_vectors_with_raw_and_encoded_signature() {
        for (sr, sig) in VECTORS {
            for sig in [sig.to_owned(), percent_encode(sig).into_owned()] {
                let token =
                    SasToken::parse(&format!("SharedAccessSignature sr={sr}&sig={sig}&se=1893456000"))
                        .unwrap();
                token.check(before_expiry(), [&SharedAccessKey::from_bytes(b"other"), &key()]).unwrap();
            }
        }
    }

    #[test]
    fn auth_10_event_hubs_clients_sign_with_the_text_of_the_key() {
        let text = SharedAccessKey::from_bytes(KEY.as_bytes()).sign(
            "sb://h.test/hub",
            Timestamp::from_secs(1000),
            None,
        );
        let token = SasToken::parse(&text).unwrap();
        assert_eq!(token.check(Timestamp::from_secs(900), [&key(), &key()]), Ok(()));
        let other = SharedAccessKey::from_bytes(b"other");
        assert_eq!(token.check(Timestamp::from_secs(900), [&other, &other]), Err(SasError::Signature));
    }

    #[test]
    fn a_groups_key_gives_the_known_key_of_a_registration() {
        assert_eq!(key().derive("reg-1").to_base64(), "thxXBjNB6FBV+ugwOZsLC2OkELTF0TOHZ3+Q6g7OCS0=");
    }

    #[test]
    fn signs_what_it_accepts() {
        let text = key().sign("h.test/devices/a b", Timestamp::from_secs(1_893_456_000), Some("device"));
        let token = SasToken::parse(&text).unwrap();
        token.check(before_expiry(), [&key(), &key()]).unwrap();
        assert_eq!(token.policy(), Some("device"));
        assert_eq!(token.resource(), "h.test/devices/a b");
    }

    #[test]
    fn expiry_has_five_minutes_of_tolerance() {
        let text = key().sign("h.test", Timestamp::from_secs(1000), None);
        let token = SasToken::parse(&text).unwrap();
        assert_eq!(token.check(Timestamp::from_secs(1300), [&key(), &key()]), Ok(()));
        assert!(matches!(
            token.check(Timestamp::from_secs(1301), [&key(), &key()]),
            Err(SasError::Expired(_))
        ));
    }

    #[test]
    fn scope_is_a_prefix_by_segments_and_ignores_port_and_case_of_host() {
        let token = |sr: &str| SasToken::parse(&key().sign(sr, Timestamp::from_secs(0), None)).unwrap();
        let hosts = ["localhost"];
        assert_eq!(token("LOCALHOST:8443/devices/ab").check_scope(&hosts, "devices/ab/modules/x"), Ok(()));
        assert_eq!(token("localhost/devices/ab").check_scope(&hosts, "devices/abc"), Err(SasError::Scope));
        assert_eq!(token("sb://localhost/").check_scope(&hosts, "hub/anything"), Ok(()));
        assert_eq!(token("elsewhere/devices/ab").check_scope(&hosts, "devices/ab"), Err(SasError::Scope));
        assert_eq!(token("localhost/devices/a%2525b").check_scope(&hosts, "devices/a%25b"), Ok(()));
    }

    #[test]
    fn garbage_is_an_error() {
        for text in
            ["", "x", "SharedAccessSignature", "SharedAccessSignature sr=a&se=1", "Bearer sr=a&sig=b&se=1"]
        {
            assert_eq!(SasToken::parse(text), Err(SasError::Malformed), "{text}");
        }
    }
}
