//! Who asks, and whether they may.

use super::Api;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use ironbrook_gateway::Peer;
use ironbrook_hub::Credential;
use ironbrook_hub::auth::refusals;
use ironbrook_model::{ErrorCode, Identity, Permissions, Refusal, SasToken};

/// The module that speaks for an edge device's hub.
const EDGE_HUB: &str = "$edgeHub";

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

fn log(refusal: &Refusal) {
    tracing::warn!(code = refusal.code.number(), reason = %refusal.message, "service request refused");
}

impl Api {
    /// Checks that the request's token has a right on the hub.
    pub(super) async fn require(&self, headers: &HeaderMap, wanted: Permissions) -> Result<(), Refusal> {
        let token = token(headers).inspect_err(log)?;
        self.hub.auth().require(&token, wanted).await.map(|_| ())
    }

    /// Checks that the request's token has at least one of these rights on the hub.
    pub(super) async fn require_one_of(
        &self,
        headers: &HeaderMap,
        wanted: Permissions,
    ) -> Result<(), Refusal> {
        let token = token(headers).inspect_err(log)?;
        self.hub.auth().require_one_of(&token, wanted).await.map(|_| ())
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
        match own_credential(headers, peer) {
            Some(credential) => self.prove(device, &credential, peer).await,
            None => self.require(headers, wanted).await,
        }
    }

    /// Checks that the request is of an edge device's own hub. rule REG-07: who is in scope, and their keys, is for no
    /// other module and for no policy.
    pub(super) async fn require_own(
        &self,
        headers: &HeaderMap,
        peer: Option<&Peer>,
        caller: &Identity,
    ) -> Result<(), Refusal> {
        let refuse = |text: String| Refusal::new(ErrorCode::IotHubUnauthorized, text);
        if caller.module.as_ref().is_none_or(|module| module.as_str() != EDGE_HUB) {
            return Err(refuse(format!("only {EDGE_HUB} may ask for the identities in scope, not {caller}")));
        }
        let credential = own_credential(headers, peer)
            .ok_or_else(|| refuse(format!("show the credential of {caller} itself, not that of a policy")))?;
        self.prove(caller, &credential, peer).await
    }

    async fn prove(
        &self,
        identity: &Identity,
        credential: &Credential,
        peer: Option<&Peer>,
    ) -> Result<(), Refusal> {
        let proving = self.hub.auth().device(identity, credential);
        match peer {
            Some(peer) => refusals::from(peer.origin("https"), proving).await.map(drop),
            None => proving.await.map(drop),
        }
    }
}

/// The credential of an identity, where the request does not show a policy's.
fn own_credential(headers: &HeaderMap, peer: Option<&Peer>) -> Option<Credential> {
    let certificates = peer.map(|peer| peer.certificates.clone()).unwrap_or_default();
    match token(headers) {
        Ok(token) if token.policy().is_none() => Some(Credential::Sas(token)),
        Err(_) if !certificates.is_empty() && !headers.contains_key(AUTHORIZATION) => {
            Some(Credential::Certificate(certificates))
        }
        _ => None,
    }
}
