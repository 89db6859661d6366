//! The bodies of the workload API.

use super::Answer;
use crate::daemon::Error;
use crate::daemon::certificates::Issued;
use crate::daemon::server::{Refused, json_answer};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;

/// The module has no identity (any more).
pub(super) fn no_identity() -> Refused {
    Refused::new(StatusCode::NOT_FOUND, "the module has no identity")
}

/// The request cannot be understood.
pub(super) fn bad(text: impl Into<String>) -> Refused {
    Refused::new(StatusCode::BAD_REQUEST, text)
}

/// The request cannot be done.
pub(super) fn failed(text: impl Into<String>) -> Refused {
    Refused::new(StatusCode::INTERNAL_SERVER_ERROR, text)
}

/// Bytes that travel as base64.
pub(super) struct Base64(pub Vec<u8>);

impl<'de> Deserialize<'de> for Base64 {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
        // The text itself stays out of the error: it may be what somebody wants encrypted.
        STANDARD.decode(text.as_bytes()).map(Self).map_err(|_| serde::de::Error::custom("not base64"))
    }
}

#[derive(Deserialize)]
pub(super) struct Sign {
    pub data: Base64,
}

#[derive(Deserialize)]
pub(super) struct Encrypt {
    pub plaintext: Base64,
    #[serde(rename = "initializationVector")]
    pub vector: Base64,
}

#[derive(Deserialize)]
pub(super) struct Decrypt {
    pub ciphertext: Base64,
    #[serde(rename = "initializationVector")]
    pub vector: Base64,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Certificate {
    pub common_name: Option<String>,
    pub expiration: Option<String>,
}

/// Reads a body, whatever its content type: Python sends none.
pub(super) fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refused> {
    serde_json::from_slice(body).map_err(|error| bad(format!("the body cannot be read: {error}")))
}

/// Reads a body that may be absent.
pub(super) fn read_or_default<T: DeserializeOwned + Default>(body: &[u8]) -> Result<T, Refused> {
    if body.iter().all(u8::is_ascii_whitespace) { Ok(T::default()) } else { read(body) }
}

pub(super) fn encode(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// The stock form of a certificate with its key.
pub(super) fn certificate(issued: Result<Issued, Error>) -> Answer {
    let issued = issued.map_err(|error| failed(error.to_string()))?;
    let body = json!({
        "privateKey": {"type": "key", "bytes": issued.key_pem},
        "certificate": issued.chain_pem,
        "expiration": rfc3339(issued.not_after),
    });
    Ok(json_answer(StatusCode::CREATED, &body))
}

/// To the second: that is how exact certificates are.
fn rfc3339(time: ironbrook_model::Timestamp) -> String {
    let text = time.to_string();
    format!("{}Z", text.split('.').next().unwrap_or_default())
}
