//! The Blob REST protocol: a request is parsed, authorized, done and answered.
//!
//! Start with [`router`], then `operation.rs` for all that can be asked.

mod containers;
mod operation;
mod read;
mod reply;
mod request;
mod shared_key;
mod signature;
#[cfg(test)]
mod tests;
mod time;
mod write;
mod xml;

use super::Account;
use super::error::{Code, Error};
use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::Response;
use futures_util::StreamExt as _;
use operation::Operation;
use reply::Common;
use request::{Request, Target};
use std::time::Duration;

/// How much of a refused upload is read and thrown away, so that the client gets to read why.
const REFUSED_BODY_BYTES_MAX: usize = 8 * 1024 * 1024;
/// How long that may take.
const REFUSED_BODY_TIME_MAX: Duration = Duration::from_secs(5);

/// The routes below `/<account>`.
pub(super) fn router(account: Account) -> Router {
    let name = account.name().to_owned();
    let handler = axum::routing::any(handle);
    Router::new()
        .route(&format!("/{name}"), handler.clone())
        .route(&format!("/{name}/"), handler.clone())
        .route(&format!("/{name}/{{*path}}"), handler)
        .with_state(account)
}

async fn handle(State(account): State<Account>, request: axum::extract::Request) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let common = Common::of(&parts);
    let mut body = body.into_data_stream();
    let result = match Request::parse(parts, account.name()) {
        Ok(request) => match account.serve(&request, &mut body).await {
            Err(error) => {
                report(&request, &error);
                Err(error)
            }
            served => served,
        },
        Err(code) => Err(code.into()),
    };
    match result {
        Ok(response) => common.finish(response),
        Err(error) => {
            drain(&mut body).await;
            common.refuse(error.code())
        }
    }
}

/// One line for each refusal of authorization and each failure of ours; what clients ask wrongly is their business.
fn report(request: &Request, error: &Error) {
    let (code, path) = (error.code(), &request.raw_path);
    let peer = request.peer.as_ref().map(|peer| tracing::field::display(peer.addr));
    match (code.status(), error) {
        (401 | 403, _) => {
            tracing::warn!(code = code.as_str(), reason = code.reason(), %path, peer, "blob request refused");
        }
        (500.., Error::Refused(_)) | (..500, _) => {
            tracing::debug!(code = code.as_str(), %path, "blob request not done");
        }
        _ => tracing::error!(code = code.as_str(), %path, %error, "blob request failed"),
    }
}

async fn drain(body: &mut axum::body::BodyDataStream) {
    let mut left = REFUSED_BODY_BYTES_MAX;
    let work = async {
        while let Some(Ok(chunk)) = body.next().await {
            left = left.saturating_sub(chunk.len());
            if left == 0 {
                break;
            }
        }
    };
    // Past the bounds the connection is closed, which is all that can be done then.
    let _ = tokio::time::timeout(REFUSED_BODY_TIME_MAX, work).await;
}

impl Account {
    async fn serve(
        &self,
        request: &Request,
        body: &mut axum::body::BodyDataStream,
    ) -> Result<Response<Body>, Error> {
        let operation = Operation::of(request);
        // A stranger is not told what exists here, so authorization comes before complaints about the request.
        let create_only = self.authorize(request, operation.as_ref().ok().copied())?;
        // Only after that: strangers who are slow must not take the places of those who may do something.
        let _place = self.inner.requests.try_acquire().map_err(|_| Code::ServerBusy)?;
        let call = (operation?, &request.target);
        match call {
            (Operation::ListContainers, _) => self.answer_list_containers(request).await,
            (Operation::ServiceProperties, _) => Ok(xml::reply(xml::SERVICE_PROPERTIES.to_owned())),
            (Operation::AccountInformation, _) => Ok(reply::account_information()),
            (_, Target::Account) => Err(Code::InvalidUri.into()),
            (operation, Target::Container(name)) => self.serve_container(operation, request, name).await,
            (operation, Target::Blob(container, name)) => {
                let blob = BlobCall { request, container, name, create_only };
                self.serve_blob(operation, blob, body).await
            }
        }
    }

    /// True if the request may create but not replace.
    fn authorize(&self, request: &Request, operation: Option<Operation>) -> Result<bool, Code> {
        if let Some(authorization) = request.header("authorization") {
            let (scheme, credential) = authorization.split_once(' ').unwrap_or((authorization, ""));
            if !scheme.eq_ignore_ascii_case("SharedKey") {
                return Err(Code::InvalidAuthenticationInfo);
            }
            return self.inner.check_shared_key(request, credential.trim()).map(|()| false);
        }
        if request.query("sig").is_some() {
            // What we do not know needs the most: a signature that only reads is told so and not more.
            let right = operation.unwrap_or(Operation::SetBlobMetadata).right();
            return self.inner.check_signature(request, right);
        }
        Err(Code::NoAuthenticationInformation)
    }

    async fn serve_container(
        &self,
        operation: Operation,
        request: &Request,
        name: &str,
    ) -> Result<Response<Body>, Error> {
        match operation {
            Operation::CreateContainer => self.answer_create_container(request, name).await,
            Operation::DeleteContainer => self.answer_delete_container(request, name).await,
            Operation::ContainerProperties => self.answer_container(request, name).await,
            Operation::SetContainerMetadata => self.answer_set_container_metadata(request, name).await,
            Operation::ContainerAcl => self.answer_container_acl(name).await,
            Operation::ListBlobs => self.answer_list_blobs(request, name).await,
            _ => Err(Code::UnsupportedHttpVerb.into()),
        }
    }

    async fn serve_blob(
        &self,
        operation: Operation,
        call: BlobCall<'_>,
        body: &mut axum::body::BodyDataStream,
    ) -> Result<Response<Body>, Error> {
        match operation {
            Operation::GetBlob => self.answer_get_blob(call).await,
            Operation::BlobProperties => self.answer_blob_properties(call).await,
            Operation::GetBlockList => self.answer_get_block_list(call).await,
            Operation::PutBlob => self.answer_put_blob(call, body).await,
            Operation::PutBlock => self.answer_put_block(call, body).await,
            Operation::PutBlockList => self.answer_put_block_list(call, body).await,
            Operation::SetBlobMetadata => self.answer_set_blob_metadata(call).await,
            Operation::SetBlobHeaders => self.answer_set_blob_headers(call).await,
            Operation::DeleteBlob => self.answer_delete_blob(call).await,
            _ => Err(Code::UnsupportedHttpVerb.into()),
        }
    }
}

/// A request about a blob.
struct BlobCall<'r> {
    request: &'r Request,
    container: &'r str,
    name: &'r str,
    create_only: bool,
}

impl BlobCall<'_> {
    fn conditions(&self) -> Result<super::Conditions, Code> {
        Ok(super::Conditions { create_only: self.create_only, ..self.request.conditions()? })
    }
}
