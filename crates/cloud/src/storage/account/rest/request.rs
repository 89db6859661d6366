//! A request taken apart: what it is about, its query, its headers.

use super::super::conditions::Conditions;
use super::super::error::Code;
use super::super::record::{ContentHeaders, Metadata};
use super::time;
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method};
use ironbrook_gateway::Peer;
use ironbrook_model::{Timestamp, percent_decode};

/// Longest path and query that is looked at.
const URI_BYTES_MAX: usize = 16 * 1024;
/// Names of metadata headers start with this.
const METADATA_PREFIX: &str = "x-ms-meta-";

/// What a request is about, names decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// The account.
    Account,
    /// A container.
    Container(String),
    /// A container and a blob in it.
    Blob(String, String),
}

/// A request without its body.
pub struct Request {
    /// Verb.
    pub method: Method,
    /// What it is about.
    pub target: Target,
    /// The path as sent, still encoded: that is what is signed.
    pub raw_path: String,
    /// Query parameters, decoded, in the order sent.
    pub query: Vec<(String, String)>,
    headers: HeaderMap,
    /// Who is at the other end, where the door tells.
    pub peer: Option<Peer>,
}

impl Request {
    /// Takes the head of a request apart; `account` is the name the path must start with.
    pub fn parse(parts: Parts, account: &str) -> Result<Self, Code> {
        let raw_path = parts.uri.path().to_owned();
        let raw_query = parts.uri.query().unwrap_or_default();
        if raw_path.len() + raw_query.len() > URI_BYTES_MAX {
            return Err(Code::InvalidUri);
        }
        let target = parse_target(&raw_path, account)?;
        let query = parse_query(raw_query)?;
        let peer = parts.extensions.get::<Peer>().cloned();
        Ok(Self { method: parts.method, target, raw_path, query, headers: parts.headers, peer })
    }

    /// A query parameter; names have no case.
    pub fn query(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }

    /// A query parameter that must be there.
    pub fn require_query(&self, name: &str) -> Result<&str, Code> {
        self.query(name).ok_or(Code::MissingRequiredQueryParameter)
    }

    /// A header; empty ones count as absent. Values that are not UTF-8 too.
    pub fn header(&self, name: &str) -> Option<&str> {
        let value = self.headers.get(name)?;
        std::str::from_utf8(value.as_bytes()).ok().map(str::trim).filter(|v| !v.is_empty())
    }

    /// All headers, lower case, in any order.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        self.headers
            .iter()
            .filter_map(|(n, v)| Some((n.as_str(), std::str::from_utf8(v.as_bytes()).ok()?.trim())))
    }

    /// Length of the body; it must be announced.
    pub fn content_length(&self) -> Result<u64, Code> {
        let text = self.header("content-length").ok_or(Code::MissingContentLengthHeader)?;
        text.parse().map_err(|_| Code::InvalidHeaderValue)
    }

    /// `Content-MD5` or another header with the base64 of an MD5.
    pub fn md5(&self, name: &str) -> Result<Option<[u8; 16]>, Code> {
        use base64::Engine as _;
        let Some(text) = self.header(name) else { return Ok(None) };
        let bytes = base64::engine::general_purpose::STANDARD.decode(text).map_err(|_| Code::InvalidMd5)?;
        bytes.try_into().map(Some).map_err(|_| Code::InvalidMd5)
    }

    /// Metadata headers.
    pub fn metadata(&self) -> Metadata {
        self.headers()
            .filter_map(|(n, v)| Some((n.strip_prefix(METADATA_PREFIX)?.to_owned(), v.to_owned())))
            .collect()
    }

    /// Conditional headers.
    pub fn conditions(&self) -> Result<Conditions, Code> {
        let when = |name| -> Result<Option<Timestamp>, Code> {
            self.header(name).map(|text| time::parse_http(text).ok_or(Code::InvalidHeaderValue)).transpose()
        };
        Ok(Conditions {
            if_match: self.header("if-match").map(str::to_owned),
            if_none_match: self.header("if-none-match").map(str::to_owned),
            if_modified_since: when("if-modified-since")?,
            if_unmodified_since: when("if-unmodified-since")?,
            create_only: false,
        })
    }

    /// The headers a blob is to be served with.
    pub fn content_headers(&self) -> ContentHeaders {
        let own = |name| self.header(name).map(str::to_owned);
        ContentHeaders {
            content_type: own("x-ms-blob-content-type"),
            content_encoding: own("x-ms-blob-content-encoding"),
            content_language: own("x-ms-blob-content-language"),
            content_disposition: own("x-ms-blob-content-disposition"),
            cache_control: own("x-ms-blob-cache-control"),
            content_md5: own("x-ms-blob-content-md5"),
        }
    }
}

fn parse_target(path: &str, account: &str) -> Result<Target, Code> {
    let decode = |text: &str| percent_decode(text).map(|t| t.into_owned()).ok_or(Code::InvalidUri);
    let rest = path.strip_prefix('/').unwrap_or(path);
    let (first, rest) = rest.split_once('/').unwrap_or((rest, ""));
    if decode(first)? != account {
        return Err(Code::ResourceNotFound);
    }
    let (container, blob) = rest.split_once('/').unwrap_or((rest, ""));
    Ok(match (container, blob) {
        ("", "") => Target::Account,
        (container, "") => Target::Container(decode(container)?),
        (container, blob) => Target::Blob(decode(container)?, decode(blob)?),
    })
}

fn parse_query(query: &str) -> Result<Vec<(String, String)>, Code> {
    let decode = |text: &str| {
        // A plus stands for a space here, as HTML forms have it; clients send it so for names with spaces.
        let text = text.replace('+', " ");
        percent_decode(&text).map(|t| t.into_owned()).ok_or(Code::InvalidUri)
    };
    query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((decode(name)?, decode(value)?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_tells_account_container_and_blob() {
        assert_eq!(parse_target("/acc", "acc"), Ok(Target::Account));
        assert_eq!(parse_target("/acc/", "acc"), Ok(Target::Account));
        assert_eq!(parse_target("/acc/box", "acc"), Ok(Target::Container("box".into())));
        let blob = |name: &str| Ok(Target::Blob("box".into(), name.into()));
        assert_eq!(parse_target("/acc/box/a/b%20c/%C3%A4", "acc"), blob("a/b c/ä"));
        // Dots are letters like any other: the name is a key of the index and never a path.
        assert_eq!(parse_target("/acc/box/../../etc", "acc"), blob("../../etc"));
        assert_eq!(parse_target("/other/box", "acc"), Err(Code::ResourceNotFound));
        assert_eq!(parse_target("/acc/box/%FF", "acc"), Err(Code::InvalidUri));
    }

    #[test]
    fn query_is_decoded_once() {
        let query = parse_query("comp=list&prefix=a%2520b+c&marker=").unwrap();
        assert_eq!(query[1], ("prefix".into(), "a%20b c".into()));
        assert_eq!(query[2], ("marker".into(), String::new()));
    }
}
