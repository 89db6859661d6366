//! Who asks, and whether they may.

use super::Api;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use ironbrook_gateway::Peer;
use ironbrook_hub::Credential;
use ironbrook_model::{ErrorCode, Identity, Permissions, Refusal, SasToken};

/// The token of a request. 401002 if there is none, 401003 if it cannot be read.
fn token(headers: &HeaderMap) -> Result<SasToken, Refusal> {
    let text = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()).ok_or_else(|| {
        Refusal::new(
            ErrorCode::IotHubUnauthorizedAccess,
            "the Authorization header is missing; send 'Authorization: SharedAccessSignature sr=…'",
        )
    })?;
    SasToken::parse(text).map_err(|error| Refusal::new(ErrorCode::IotHubUnauthorized, error.to_string()))
}

impl Api {
    /// Checks that the request's token has a right on the hub.
    pub(super) async fn require(&self, headers: &HeaderMap, wanted: Permissions) -> Result<(), Refusal> {
        let token = token(headers).inspect_err(|refusal| {
            tracing::warn!(code = refusal.code.number(), reason = %refusal.message, "service request refused");
        })?;
        self.hub.auth().require(&token, wanted).await.map(|_| ())
    }

    /// As [`require`](Self::require), but a device may also show its own credential. rule REG-04: a device looks after its
    /// own modules, which is how the identity service of an edge device creates them.
    pub(super) async fn require_or_device(
        &self,
        headers: &HeaderMap,
        peer: Option<&Peer>,
        device: &Identity,
        wanted: Permissions,
    ) -> Result<(), Refusal> {
        let certificates = peer.map(|peer| peer.certificates.clone()).unwrap_or_default();
        let credential = match token(headers) {
            Ok(token) if token.policy().is_none() => Credential::Sas(token),
            Err(_) if !certificates.is_empty() && !headers.contains_key(AUTHORIZATION) => {
                Credential::Certificate(certificates)
            }
            _ => return self.require(headers, wanted).await,
        };
        self.hub.auth().device(device, &credential).await.map(|_| ())
    }
}
