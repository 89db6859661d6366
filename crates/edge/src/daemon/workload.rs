//! The workload API: what a module asks through its own socket. Signatures, certificates, encryption, whom to trust.
//!
//! The socket says which module asks; the path of a request must name the same one. Keys never leave this process.

mod answer;

use super::server::{Refused, json_answer};
use super::{ModuleIdentity, Services, bare_name};
use answer::{Certificate, Decrypt, Encrypt, Sign, bad, encode, failed, no_identity, read, read_or_default};
use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::{get, post};
use http::StatusCode;
use ironbrook_model::Timestamp;
use serde_json::{Value, json};
use std::sync::Arc;

type Answer = Result<Response, Refused>;

/// One module's view of the daemon.
struct Workload {
    /// The module's name without the dollar of system modules.
    module: String,
    services: Arc<Services>,
}

/// The requests of one module's socket.
pub(crate) fn router(module: String, services: Arc<Services>) -> Router {
    Router::new()
        .route("/modules", get(modules))
        .route("/modules/{module}/genid/{generation}/sign", post(sign))
        .route("/modules/{module}/genid/{generation}/encrypt", post(encrypt))
        .route("/modules/{module}/genid/{generation}/decrypt", post(decrypt))
        .route("/modules/{module}/genid/{generation}/certificate/server", post(server_certificate))
        .route("/modules/{module}/certificate/identity", post(identity_certificate))
        .route("/trust-bundle", get(trust_bundle))
        .route("/manifest-trust-bundle", get(manifest_trust_bundle))
        .with_state(Arc::new(Workload { module, services }))
}

impl Workload {
    /// The caller's identity, if the path names it. rule WORKLOAD-02
    fn caller(&self, module: &str) -> Result<ModuleIdentity, Refused> {
        if bare_name(module) != self.module {
            tracing::warn!(
                module = self.module,
                asked_for = bare_name(module),
                "workload request for another module"
            );
            return Err(Refused::new(StatusCode::FORBIDDEN, "forbidden"));
        }
        self.services.identities.known(module).ok_or_else(no_identity)
    }
}

async fn modules(State(workload): State<Arc<Workload>>) -> Response {
    let modules = workload.services.modules.get().map(|modules| modules.modules()).unwrap_or_default();
    let list: Vec<Value> = modules.iter().map(super::management::details).collect();
    json_answer(StatusCode::OK, &json!({"modules": list}))
}

// rule WORKLOAD-03: neither the key's name nor the algorithm nor the generation id in the path is looked at.
async fn sign(
    State(workload): State<Arc<Workload>>,
    Path((module, _generation)): Path<(String, String)>,
    body: Bytes,
) -> Answer {
    let identity = workload.caller(&module)?;
    let Sign { data } = read(&body)?;
    let key = workload.services.identities.key(identity.module_id.as_str()).map_err(|_| no_identity())?;
    Ok(json_answer(StatusCode::OK, &json!({"digest": encode(&key.hmac_sha256(&data.0))})))
}

async fn encrypt(
    State(workload): State<Arc<Workload>>,
    Path((module, _generation)): Path<(String, String)>,
    body: Bytes,
) -> Answer {
    let identity = workload.caller(&module)?;
    let Encrypt { plaintext, vector } = read(&body)?;
    let ciphertext = workload.services.cipher.encrypt(&identity, &vector.0, &plaintext.0);
    let ciphertext = ciphertext.ok_or_else(|| failed("the text cannot be encrypted"))?;
    Ok(json_answer(StatusCode::OK, &json!({"ciphertext": encode(&ciphertext)})))
}

async fn decrypt(
    State(workload): State<Arc<Workload>>,
    Path((module, _generation)): Path<(String, String)>,
    body: Bytes,
) -> Answer {
    let identity = workload.caller(&module)?;
    let Decrypt { ciphertext, vector } = read(&body)?;
    let plaintext = workload.services.cipher.decrypt(&identity, &vector.0, &ciphertext.0);
    let plaintext = plaintext.map_err(|_| {
        bad("the ciphertext was changed, or encrypted for another module or initializationVector")
    })?;
    Ok(json_answer(StatusCode::OK, &json!({"plaintext": encode(&plaintext)})))
}

async fn server_certificate(
    State(workload): State<Arc<Workload>>,
    Path((module, _generation)): Path<(String, String)>,
    body: Bytes,
) -> Answer {
    let identity = workload.caller(&module)?;
    let Certificate { common_name, expiration } = read(&body)?;
    let common_name = common_name.ok_or_else(|| bad("commonName is missing"))?;
    if !super::certificates::is_name(&common_name) {
        return Err(bad("commonName is neither a host name nor an IP address"));
    }
    let until = expiration.as_deref().and_then(Timestamp::parse);
    let issued = workload.services.certificates.module_server(&identity.module_id, &common_name, until);
    answer::certificate(issued)
}

async fn identity_certificate(
    State(workload): State<Arc<Workload>>,
    Path(module): Path<String>,
    body: Bytes,
) -> Answer {
    let identity = workload.caller(&module)?;
    let Certificate { expiration, .. } = read_or_default(&body)?;
    let until = expiration.as_deref().and_then(Timestamp::parse);
    answer::certificate(workload.services.certificates.module_identity(&identity.module_id, until))
}

async fn trust_bundle(State(workload): State<Arc<Workload>>) -> Response {
    let bundle = workload.services.certificates.trust_bundle();
    json_answer(StatusCode::OK, &json!({"certificate": *bundle}))
}

/// Signed manifests are not known here, which the stock daemon says in this way.
async fn manifest_trust_bundle() -> Response {
    json_answer(StatusCode::OK, &json!({"certificate": ""}))
}

#[cfg(test)]
mod tests;
