//! Answers: headers all of them have, headers of containers and blobs, errors.

use super::super::error::Code;
use super::super::record::{Blob, Etag, Metadata};
use super::{time, xml};
use axum::body::Body;
use axum::http::header::{HeaderName, HeaderValue};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, Response, StatusCode};
use ironbrook_model::Timestamp;
use uuid::Uuid;

/// Answered where the client names no version.
const VERSION: HeaderValue = HeaderValue::from_static("2021-12-02");

/// What an answer takes over from its request.
pub struct Common {
    request_id: Uuid,
    client_request_id: Option<HeaderValue>,
    version: HeaderValue,
    is_head: bool,
}

impl Common {
    /// Any version is accepted and said back: clients check nothing but that it is there.
    pub fn of(parts: &Parts) -> Self {
        let own = |name| parts.headers.get(name).filter(|v: &&HeaderValue| v.len() <= 1024).cloned();
        Self {
            request_id: Uuid::new_v4(),
            client_request_id: own("x-ms-client-request-id"),
            version: own("x-ms-version").unwrap_or(VERSION),
            is_head: parts.method == Method::HEAD,
        }
    }

    /// Adds the headers every answer has.
    pub fn finish(self, mut response: Response<Body>) -> Response<Body> {
        let headers = response.headers_mut();
        put(headers, "x-ms-request-id", &self.request_id.to_string());
        headers.insert("x-ms-version", self.version);
        if let Some(id) = self.client_request_id {
            headers.insert("x-ms-client-request-id", id);
        }
        response
    }

    /// The answer to a request that was not done.
    pub fn refuse(self, code: Code) -> Response<Body> {
        let status = StatusCode::from_u16(code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = Response::new(Body::empty());
        *response.status_mut() = status;
        put(response.headers_mut(), "x-ms-error-code", code.as_str());
        if code == Code::NoAuthenticationInformation {
            put(response.headers_mut(), "www-authenticate", "SharedKey");
        }
        if !self.is_head && status != StatusCode::NOT_MODIFIED {
            put(response.headers_mut(), "content-type", "application/xml");
            *response.body_mut() = Body::from(xml::error(code, self.request_id));
        }
        self.finish(response)
    }
}

/// An answer without a body.
pub fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

/// An answer that names the new version of something.
pub fn versioned(status: StatusCode, etag: Etag, modified: Timestamp) -> Response<Body> {
    let mut response = empty(status);
    put_version(response.headers_mut(), etag, modified);
    response
}

/// Get Account Information.
pub fn account_information() -> Response<Body> {
    let mut response = empty(StatusCode::OK);
    put(response.headers_mut(), "x-ms-sku-name", "Standard_LRS");
    put(response.headers_mut(), "x-ms-account-kind", "BlobStorage");
    put(response.headers_mut(), "x-ms-is-hns-enabled", "false");
    response
}

/// Sets a header; a value that HTTP cannot carry is left out.
pub fn put(headers: &mut HeaderMap, name: &str, value: &str) {
    // Non-ASCII text goes as UTF-8, as it came in.
    if let (Ok(name), Ok(value)) =
        (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_bytes(value.as_bytes()))
    {
        headers.insert(name, value);
    }
}

/// `ETag`, quoted, and `Last-Modified`.
pub fn put_version(headers: &mut HeaderMap, etag: Etag, modified: Timestamp) {
    put(headers, "etag", &format!("\"{etag}\""));
    put(headers, "last-modified", &time::http(modified));
}

/// `x-ms-meta-…`.
pub fn put_metadata(headers: &mut HeaderMap, metadata: &Metadata) {
    for (name, value) in metadata {
        put(headers, &format!("x-ms-meta-{name}"), value);
    }
}

/// No leases here, so nothing is ever leased.
pub fn put_lease(headers: &mut HeaderMap) {
    put(headers, "x-ms-lease-status", "unlocked");
    put(headers, "x-ms-lease-state", "available");
}

/// All that is said of a blob but its length.
pub fn put_blob(headers: &mut HeaderMap, blob: &Blob) {
    put_version(headers, blob.etag, blob.modified);
    let own = &blob.headers;
    put(headers, "content-type", own.content_type.as_deref().unwrap_or("application/octet-stream"));
    for (name, value) in [
        ("content-encoding", &own.content_encoding),
        ("content-language", &own.content_language),
        ("content-disposition", &own.content_disposition),
        ("cache-control", &own.cache_control),
    ] {
        if let Some(value) = value {
            put(headers, name, value);
        }
    }
    put(headers, "accept-ranges", "bytes");
    put(headers, "x-ms-creation-time", &time::http(blob.created));
    put(headers, "x-ms-blob-type", "BlockBlob");
    put(headers, "x-ms-access-tier", "Hot");
    put(headers, "x-ms-access-tier-inferred", "true");
    put(headers, "x-ms-server-encrypted", "false");
    put_lease(headers);
    put_metadata(headers, &blob.metadata);
}
