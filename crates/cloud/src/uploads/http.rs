//! The two requests of a device.

use super::{Ended, Ticket, Uploads};
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Extension, Json};
use bytes::Bytes;
use http::header::HOST;
use http::{HeaderMap, StatusCode};
use ironbrook_gateway::Peer;
use ironbrook_gateway::http::{device_credential, error_response};
use ironbrook_hub::throttle::Throttle;
use ironbrook_model::{DeviceId, ErrorCode, Identity, Refusal};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;

/// Bytes of a request: a name and a few words.
const BODY_MAX: usize = 16 * 1024;

pub(super) fn router(uploads: Uploads) -> axum::Router {
    // rule FILE-07: the C client puts a slash behind the path.
    axum::Router::new()
        .route("/devices/{device}/files", post(begin))
        .route("/devices/{device}/files/", post(begin))
        .route("/devices/{device}/files/notifications", post(end))
        .route("/devices/{device}/files/notifications/", post(end))
        .route("/devices/{device}/files/notifications/{correlation}", post(end_named))
        .layer(DefaultBodyLimit::max(BODY_MAX))
        .with_state(uploads)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct BeginBody {
    blob_name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct EndBody {
    correlation_id: Option<String>,
    is_success: Option<bool>,
    status_code: Option<i64>,
    status_description: Option<String>,
}

async fn begin(
    State(uploads): State<Uploads>,
    Path(device): Path<String>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let begun = async {
        let device = uploads.authenticate(device, &peer, &headers).await?;
        let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
        let name = read::<BeginBody>(&body)?.blob_name;
        uploads.begin(&device, &name, host).await
    };
    answer(begun.await.map(|ticket| Json(told(&ticket)).into_response()))
}

/// As stock clients put it together: `https://{hostName}/{containerName}/{blobName}{sasToken}`. rule FILE-05
fn told(ticket: &Ticket) -> serde_json::Value {
    json!({
        "correlationId": ticket.correlation,
        "hostName": ticket.host,
        "containerName": ticket.container,
        "blobName": ticket.blob,
        "sasToken": format!("?{}", ticket.signature),
    })
}

async fn end(
    State(uploads): State<Uploads>,
    Path(device): Path<String>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    finish(&uploads, device, None, &peer, &headers, &body).await
}

/// rule FILE-06: the Node client names the upload in the path, others in the body.
async fn end_named(
    State(uploads): State<Uploads>,
    Path((device, correlation)): Path<(String, String)>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    finish(&uploads, device, Some(correlation), &peer, &headers, &body).await
}

async fn finish(
    uploads: &Uploads,
    device: String,
    named: Option<String>,
    peer: &Peer,
    headers: &HeaderMap,
    body: &Bytes,
) -> Response {
    let ended = async {
        let device = uploads.authenticate(device, peer, headers).await?;
        let body: EndBody = read(body)?;
        let Some(succeeded) = body.is_success else {
            return Err(Refusal::new(
                ErrorCode::InvalidFileUploadCompletionStatus,
                "the body says with isSuccess, true or false, whether the file was written",
            ));
        };
        if !succeeded {
            let reason: String = body.status_description.unwrap_or_default().chars().take(200).collect();
            tracing::info!(%device, status = body.status_code, reason, "a device could not upload a file");
        }
        let correlation = named.or(body.correlation_id).unwrap_or_default();
        uploads.end(&device, &Ended { correlation, succeeded }).await
    };
    answer(ended.await.map(|()| StatusCode::NO_CONTENT.into_response()))
}

fn answer(result: Result<Response, Refusal>) -> Response {
    result.unwrap_or_else(|refusal| {
        tracing::debug!(code = refusal.code.number(), reason = %refusal.message, "upload refused");
        error_response(&refusal)
    })
}

fn read<T: DeserializeOwned>(body: &Bytes) -> Result<T, Refusal> {
    serde_json::from_slice(body).map_err(|error| {
        let text = format!("the body is no JSON object of this request: {error}");
        Refusal::new(ErrorCode::IotHubFormatError, text)
    })
}

impl Uploads {
    /// Who asks, if it may and, rule HUB-20, not more often than the hub takes.
    async fn authenticate(
        &self,
        device: String,
        peer: &Peer,
        headers: &HeaderMap,
    ) -> Result<DeviceId, Refusal> {
        let device = DeviceId::new(device).map_err(|error| {
            Refusal::new(ErrorCode::ArgumentInvalid, format!("the id in the path is not valid: {error}"))
        })?;
        let credential = device_credential(peer, headers)?;
        let authenticated = self.inner.hub.auth().device(&Identity::device(device), &credential).await?;
        self.inner.hub.throttles().take(Throttle::FileUploads)?;
        Ok(authenticated.identity.device)
    }
}
