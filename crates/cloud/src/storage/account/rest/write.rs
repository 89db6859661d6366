//! Answers that write blobs.

use super::super::Account;
use super::super::blobs::NewBlob;
use super::super::blocks::check_block_id;
use super::super::content::Stored;
use super::super::error::{Code, Error};
use super::reply::{self, put};
use super::request::Request;
use super::{BlobCall, xml};
use axum::body::{Body, BodyDataStream};
use axum::http::{Response, StatusCode};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::StreamExt as _;

/// Longest body of Put Blob. Source: Azure docs "Put Blob": 5000 MiB.
const PUT_BLOB_BYTES_MAX: u64 = 5000 * 1024 * 1024;
/// Longest block. Source: Azure docs "Put Block": 4000 MiB.
const PUT_BLOCK_BYTES_MAX: u64 = 4000 * 1024 * 1024;
/// Longest body of Put Block List: 50 000 ids of 88 letters with their tags.
const BLOCK_LIST_BYTES_MAX: u64 = 8 * 1024 * 1024;

impl Account {
    /// Put Blob.
    pub(super) async fn answer_put_blob(
        &self,
        call: BlobCall<'_>,
        body: &mut BodyDataStream,
    ) -> Result<Response<Body>, Error> {
        let request = call.request;
        if request.header("x-ms-copy-source").is_some() {
            return Err(Code::NotImplemented.into());
        }
        match request.header("x-ms-blob-type") {
            None => return Err(Code::MissingRequiredHeader.into()),
            Some(kind) if kind.eq_ignore_ascii_case("BlockBlob") => {}
            Some(_) => return Err(Code::InvalidBlobType.into()),
        }
        let new = new_blob(&call, true)?;
        // Asked before the body is taken, so that a large upload that cannot succeed costs nothing; the commit asks again.
        self.container(call.container).await?;
        let stored = self.receive(request, body, PUT_BLOB_BYTES_MAX).await?;
        check_md5(request, "x-ms-blob-content-md5", &stored)?;
        let blob = self.put_stored(call.container, call.name, stored, new).await?;
        let mut response = reply::versioned(StatusCode::CREATED, blob.etag, blob.modified);
        if let Some(md5) = &blob.headers.content_md5 {
            put(response.headers_mut(), "content-md5", md5);
        }
        put(response.headers_mut(), "x-ms-request-server-encrypted", "false");
        Ok(response)
    }

    /// Put Block.
    pub(super) async fn answer_put_block(
        &self,
        call: BlobCall<'_>,
        body: &mut BodyDataStream,
    ) -> Result<Response<Body>, Error> {
        let id = call.request.require_query("blockid")?;
        check_block_id(id)?;
        if call.request.header("x-ms-copy-source").is_some() {
            return Err(Code::NotImplemented.into());
        }
        self.container(call.container).await?;
        let stored = self.receive(call.request, body, PUT_BLOCK_BYTES_MAX).await?;
        let md5 = STANDARD.encode(stored.md5);
        self.put_block(call.container, call.name, id, stored).await?;
        let mut response = reply::empty(StatusCode::CREATED);
        put(response.headers_mut(), "content-md5", &md5);
        put(response.headers_mut(), "x-ms-request-server-encrypted", "false");
        Ok(response)
    }

    /// Put Block List.
    pub(super) async fn answer_put_block_list(
        &self,
        call: BlobCall<'_>,
        body: &mut BodyDataStream,
    ) -> Result<Response<Body>, Error> {
        if call.request.content_length()? > BLOCK_LIST_BYTES_MAX {
            return Err(Code::RequestBodyTooLarge.into());
        }
        let mut bytes = Vec::new();
        while let Some(chunk) = body.next().await {
            bytes.extend_from_slice(&chunk.map_err(|_| Code::InvalidInput)?);
            if bytes.len() as u64 > BLOCK_LIST_BYTES_MAX {
                return Err(Code::RequestBodyTooLarge.into());
            }
        }
        let list = xml::parse_block_list(&bytes)?;
        let blob = self.commit_blocks(call.container, call.name, list, new_blob(&call, false)?).await?;
        Ok(reply::versioned(StatusCode::CREATED, blob.etag, blob.modified))
    }

    /// Set Blob Metadata: replaces all of it.
    pub(super) async fn answer_set_blob_metadata(&self, call: BlobCall<'_>) -> Result<Response<Body>, Error> {
        let metadata = call.request.metadata();
        let change = move |blob: &mut super::super::Blob| blob.metadata = metadata;
        let blob = self.update_blob(call.container, call.name, call.conditions()?, change).await?;
        Ok(reply::versioned(StatusCode::OK, blob.etag, blob.modified))
    }

    /// Set Blob Properties: replaces all headers; those not given are cleared.
    pub(super) async fn answer_set_blob_headers(&self, call: BlobCall<'_>) -> Result<Response<Body>, Error> {
        call.request.md5("x-ms-blob-content-md5")?;
        let headers = call.request.content_headers();
        let change = move |blob: &mut super::super::Blob| blob.headers = headers;
        let blob = self.update_blob(call.container, call.name, call.conditions()?, change).await?;
        Ok(reply::versioned(StatusCode::OK, blob.etag, blob.modified))
    }

    /// Delete Blob.
    pub(super) async fn answer_delete_blob(&self, call: BlobCall<'_>) -> Result<Response<Body>, Error> {
        self.delete_blob(call.container, call.name, call.conditions()?).await?;
        let mut response = reply::empty(StatusCode::ACCEPTED);
        put(response.headers_mut(), "x-ms-delete-type-permanent", "true");
        Ok(response)
    }

    /// Takes a body to disk and checks what was announced of it.
    async fn receive(&self, request: &Request, body: &mut BodyDataStream, max: u64) -> Result<Stored, Error> {
        let len = request.content_length()?;
        if len > max {
            return Err(Code::RequestBodyTooLarge.into());
        }
        request.md5("content-md5")?;
        let stored = self.store(body, len).await?;
        check_md5(request, "content-md5", &stored)?;
        Ok(stored)
    }
}

fn check_md5(request: &Request, name: &str, stored: &Stored) -> Result<(), Code> {
    match request.md5(name)? {
        Some(md5) if md5 != stored.md5 => Err(Code::Md5Mismatch),
        _ => Ok(()),
    }
}

/// What the headers say of the new blob. Put Blob's standard headers count too, the blob's own go before them; those of Put Block
/// List describe its XML body.
fn new_blob(call: &BlobCall<'_>, standard_headers_count: bool) -> Result<NewBlob, Code> {
    let request = call.request;
    request.md5("x-ms-blob-content-md5")?;
    let mut headers = request.content_headers();
    if standard_headers_count {
        let standard = |own: &mut Option<String>, name| {
            if own.is_none() {
                *own = request.header(name).map(str::to_owned);
            }
        };
        standard(&mut headers.content_type, "content-type");
        standard(&mut headers.content_encoding, "content-encoding");
        standard(&mut headers.content_language, "content-language");
        standard(&mut headers.cache_control, "cache-control");
    }
    Ok(NewBlob { headers, metadata: request.metadata(), conditions: call.conditions()?, published: None })
}
