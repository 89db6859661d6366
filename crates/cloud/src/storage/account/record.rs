//! What the index remembers of containers, blobs and blocks. Stored as JSON: few bytes, readable in a debugger, and a field
//! added later needs no new format.

use ironbrook_model::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use uuid::Uuid;

/// Metadata of a container or blob: names in lower case, because HTTP header names have no case.
pub type Metadata = BTreeMap<String, String>;

/// The version of a container or blob: a number that grows with each change in the account, never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Etag(pub(super) u64);

impl fmt::Display for Etag {
    /// `0x8D…`, 15 hex digits, without quotes, as listings show it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x8D{:013X}", self.0)
    }
}

/// A container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Container {
    /// When it was changed last.
    pub modified: Timestamp,
    /// Its version.
    pub etag: Etag,
    /// Names and values made up by users.
    #[serde(default, skip_serializing_if = "Metadata::is_empty")]
    pub metadata: Metadata,
}

/// The headers a blob is served with.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ContentHeaders {
    /// MIME type; `application/octet-stream` where none was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// Compression of the content.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_encoding: Option<String>,
    /// Natural language of the content.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_language: Option<String>,
    /// How a browser should show it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_disposition: Option<String>,
    /// How long it may be cached.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_control: Option<String>,
    /// Base64 of the MD5 of the whole blob.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_md5: Option<String>,
}

/// A block blob, without its content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blob {
    /// When it was made first.
    pub created: Timestamp,
    /// When it was changed last.
    pub modified: Timestamp,
    /// Its version.
    pub etag: Etag,
    /// Length in bytes.
    pub len: u64,
    /// The headers it is served with.
    #[serde(flatten)]
    pub headers: ContentHeaders,
    /// Names and values made up by users.
    #[serde(default, skip_serializing_if = "Metadata::is_empty")]
    pub metadata: Metadata,
}

/// A file of content: part of one blob, or an uncommitted block. Written once, never changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct ContentId(pub(super) Uuid);

/// A part of a blob, in order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Part {
    /// The file.
    pub content: ContentId,
    /// Its length in bytes.
    pub len: u64,
    /// The block it was committed as; `None` for a blob put whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub block: Option<String>,
}

/// A block that waits to be committed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Block {
    /// The file.
    pub content: ContentId,
    /// Its length in bytes.
    pub len: u64,
    /// When it was put.
    pub staged: Timestamp,
}
