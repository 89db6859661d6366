//! Authorities whose certificates prove devices.

use super::{ServiceClient, array, versioned};
use crate::error::Result;
use crate::https::Call;
use http::Method;
use ironbrook_model::percent_encode;
use serde_json::{Value, json};

impl ServiceClient {
    /// All registered authorities, as the ARM resource shows them.
    pub async fn certificates(&self) -> Result<Vec<Value>> {
        let answer = self.call(Method::GET, "/certificates?", None).await?;
        array(answer["value"].clone(), "the list of certificates")
    }

    /// Registers an authority by its certificate (PEM, or base64 of DER). `verified`: the caller vouches for it, and nobody has to
    /// prove that they hold its key.
    pub async fn add_certificate(&self, name: &str, certificate: &str, verified: bool) -> Result<Value> {
        let body = json!({ "properties": { "certificate": certificate, "isVerified": verified } });
        self.call(Method::PUT, &format!("{}?", certificate_path(name)), Some(&body)).await
    }

    /// Makes the code that a certificate signed by the authority has to have as common name.
    pub async fn certificate_code(&self, name: &str) -> Result<String> {
        let path = format!("{}/generateVerificationCode?", certificate_path(name));
        let answer = self.call(Method::POST, &path, None).await?;
        Ok(answer["properties"]["verificationCode"].as_str().unwrap_or_default().to_owned())
    }

    /// Proves possession with a certificate (PEM, or base64 of DER) that the authority signed for the code.
    pub async fn verify_certificate(&self, name: &str, certificate: &str) -> Result<Value> {
        let path = format!("{}/verify?", certificate_path(name));
        self.call(Method::POST, &path, Some(&json!({ "certificate": certificate }))).await
    }

    /// Takes an authority away; connections of devices that stand on it end.
    pub async fn delete_certificate(&self, name: &str) -> Result<()> {
        let path = versioned(&format!("{}?", certificate_path(name)));
        self.0.api.call(Call::new(Method::DELETE, path).if_match(Some("*"))).await.map(drop)
    }
}

fn certificate_path(name: &str) -> String {
    format!("/certificates/{}", percent_encode(name))
}
