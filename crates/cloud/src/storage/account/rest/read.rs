//! Answers that read blobs.

use super::super::Account;
use super::super::error::{Code, Error};
use super::super::record::Blob;
use super::reply::{self, put};
use super::request::Request;
use super::{BlobCall, xml};
use axum::body::Body;
use axum::http::{HeaderMap, Response, StatusCode};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::TryStreamExt as _;
use md5::{Digest, Md5};
use std::ops::Range;

/// Longest range whose MD5 is computed on request. Source: Azure docs "Get Blob", x-ms-range-get-content-md5.
const RANGE_MD5_BYTES_MAX: u64 = 4 * 1024 * 1024;

impl Account {
    /// Get Blob.
    pub(super) async fn answer_get_blob(&self, call: BlobCall<'_>) -> Result<Response<Body>, Error> {
        refuse_versions(call.request)?;
        let open = self.open_blob(call.container, call.name).await?;
        let blob = open.blob.clone();
        call.conditions()?.check_read(blob.etag, blob.modified)?;
        let range = match asked_range(call.request)? {
            None => None,
            // rule BLOB-05: a range behind the end is refused, the first byte of an empty blob included.
            Some(asked) => match cut(&asked, blob.len) {
                None => return Ok(unsatisfiable(blob.len)),
                range => range,
            },
        };
        let mut response = reply::empty(StatusCode::OK);
        let headers = response.headers_mut();
        reply::put_blob(headers, &blob);
        put_answer_overrides(headers, call.request);
        let Some(range) = range else {
            put(headers, "content-length", &blob.len.to_string());
            if let Some(md5) = &blob.headers.content_md5 {
                put(headers, "content-md5", md5);
            }
            *response.body_mut() = Body::from_stream(self.read(open, 0..blob.len));
            return Ok(response);
        };
        let len = range.end - range.start;
        put(headers, "content-length", &len.to_string());
        put(headers, "content-range", &format!("bytes {}-{}/{}", range.start, range.end - 1, blob.len));
        if let Some(md5) = &blob.headers.content_md5 {
            put(headers, "x-ms-blob-content-md5", md5);
        }
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
        if call.request.header("x-ms-range-get-content-md5").is_some_and(|v| v.eq_ignore_ascii_case("true")) {
            if len > RANGE_MD5_BYTES_MAX {
                return Err(Code::InvalidHeaderValue.into());
            }
            let chunks: Vec<_> = self.read(open, range).try_collect().await?;
            let bytes = chunks.concat();
            put(response.headers_mut(), "content-md5", &STANDARD.encode(Md5::digest(&bytes)));
            *response.body_mut() = Body::from(bytes);
        } else {
            *response.body_mut() = Body::from_stream(self.read(open, range));
        }
        Ok(response)
    }

    /// Get Blob Properties, Get Blob Metadata.
    pub(super) async fn answer_blob_properties(&self, call: BlobCall<'_>) -> Result<Response<Body>, Error> {
        refuse_versions(call.request)?;
        let blob: Blob = self.open_blob(call.container, call.name).await?.blob;
        call.conditions()?.check_read(blob.etag, blob.modified)?;
        let mut response = reply::empty(StatusCode::OK);
        let headers = response.headers_mut();
        reply::put_blob(headers, &blob);
        put_answer_overrides(headers, call.request);
        if let Some(md5) = &blob.headers.content_md5 {
            put(headers, "content-md5", md5);
        }
        // A GET with comp=metadata has no body, so it must not announce one.
        let len = if call.request.method == axum::http::Method::HEAD { blob.len } else { 0 };
        put(headers, "content-length", &len.to_string());
        Ok(response)
    }

    /// Get Block List.
    pub(super) async fn answer_get_block_list(&self, call: BlobCall<'_>) -> Result<Response<Body>, Error> {
        let (committed, uncommitted) = match call.request.query("blocklisttype").unwrap_or("committed") {
            "committed" => (true, false),
            "uncommitted" => (false, true),
            "all" => (true, true),
            _ => return Err(Code::InvalidQueryParameterValue.into()),
        };
        let list = self.blocks(call.container, call.name).await?;
        let mut response = xml::reply(xml::block_list(&list, committed, uncommitted));
        let headers = response.headers_mut();
        if let Some(blob) = &list.blob {
            reply::put_version(headers, blob.etag, blob.modified);
        }
        put(headers, "x-ms-blob-content-length", &list.blob.map_or(0, |blob| blob.len).to_string());
        Ok(response)
    }
}

/// There are no snapshots or versions, so none can be read.
fn refuse_versions(request: &Request) -> Result<(), Code> {
    let asked = ["snapshot", "versionid"].iter().any(|n| request.query(n).is_some_and(|v| !v.is_empty()));
    if asked { Err(Code::BlobNotFound) } else { Ok(()) }
}

/// A service signature may say how the blob is served; it signs the fields, so they can be trusted. An account signature does not.
fn put_answer_overrides(headers: &mut HeaderMap, request: &Request) {
    let is_signed = request.query("sig").is_some() && request.query("ss").is_none();
    for (field, name) in [
        ("rscc", "cache-control"),
        ("rscd", "content-disposition"),
        ("rsce", "content-encoding"),
        ("rscl", "content-language"),
        ("rsct", "content-type"),
    ] {
        if let Some(value) = request.query(field).filter(|_| is_signed) {
            put(headers, name, value);
        }
    }
}

/// `bytes=first-` or `bytes=first-last`, both counted from 0, the last included.
#[derive(Debug, PartialEq, Eq)]
struct AskedRange {
    first: u64,
    last: Option<u64>,
}

/// `x-ms-range` goes before `Range`.
fn asked_range(request: &Request) -> Result<Option<AskedRange>, Code> {
    let text = request.header("x-ms-range").or_else(|| request.header("range"));
    text.map(|text| parse_range(text).ok_or(Code::InvalidHeaderValue)).transpose()
}

fn parse_range(text: &str) -> Option<AskedRange> {
    let (first, last) = text.strip_prefix("bytes=")?.split_once('-')?;
    let first = first.trim().parse().ok()?;
    let last = match last.trim() {
        "" => None,
        last => Some(last.parse().ok()?),
    };
    last.is_none_or(|last| first <= last).then_some(AskedRange { first, last })
}

/// The part of a range that is there; `None` if it begins behind the end.
fn cut(asked: &AskedRange, len: u64) -> Option<Range<u64>> {
    let end = asked.last.map_or(len, |last| last.saturating_add(1).min(len));
    (asked.first < len).then_some(asked.first..end)
}

fn unsatisfiable(len: u64) -> Response<Body> {
    let mut response = reply::empty(StatusCode::RANGE_NOT_SATISFIABLE);
    let code = Code::InvalidRange;
    put(response.headers_mut(), "content-range", &format!("bytes */{len}"));
    put(response.headers_mut(), "x-ms-error-code", code.as_str());
    put(response.headers_mut(), "content-type", "application/xml");
    *response.body_mut() = Body::from(xml::error(code, uuid::Uuid::new_v4()));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_cut_to_the_blob_blob_05() {
        let cut = |text, len| parse_range(text).and_then(|asked| cut(&asked, len));
        assert_eq!(cut("bytes=0-4", 10), Some(0..5));
        assert_eq!(cut("bytes=5-", 10), Some(5..10));
        assert_eq!(cut("bytes=5-100", 10), Some(5..10));
        assert_eq!(cut("bytes=0-18446744073709551615", 10), Some(0..10));
        assert_eq!(cut("bytes=10-", 10), None);
        assert_eq!(cut("bytes=0-4", 0), None);
    }

    #[test]
    fn other_forms_of_ranges_are_refused() {
        for bad in ["bytes=-5", "bytes=4-2", "bytes=a-b", "0-4", "bytes=0-4,6-8", "bytes=5"] {
            assert_eq!(parse_range(bad), None, "{bad}");
        }
    }
}
