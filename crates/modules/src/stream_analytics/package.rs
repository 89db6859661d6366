//! The package a job is published as: one JSON document with the query and its event ordering policies.
//!
//! The original's packages are zip files of compiled code and cannot be run here; they are told apart and refused with the reason.

use super::inputs::InputSettings;
use super::policies::OrderingPolicies;
use super::reference::ReferenceSettings;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What `format` says.
const FORMAT: &str = "ironbrook-stream-analytics-job";
/// What `version` says.
const VERSION: u32 = 1;
/// Longest name and etag that are taken, in bytes.
const NAME_LEN_MAX: usize = 256;
/// Longest query that is taken, in bytes.
pub const QUERY_LEN_MAX: usize = 256 * 1024;
/// Largest package that is fetched, in bytes.
pub(super) const PACKAGE_LEN_MAX: usize = 4 << 20;
/// How a zip file begins.
const ZIP: &[u8] = b"PK";

/// A published job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Package {
    format: String,
    version: u32,
    /// The job's name.
    pub name: String,
    /// Changes with each publishing; the module reports the one that runs.
    pub etag: String,
    /// The text of the query.
    pub query: String,
    /// How events are brought into order.
    #[serde(default)]
    pub policies: OrderingPolicies,
    /// Functions in JavaScript that the query calls, by name; the original has none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub functions: BTreeMap<String, String>,
    /// How the bodies of messages are written, by input; what is left out is JSON.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub inputs: BTreeMap<String, InputSettings>,
    /// Where the rows of inputs of reference data are, by input.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub reference: BTreeMap<String, ReferenceSettings>,
}

/// Why bytes are no package.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PackageError {
    /// A zip file, as the original's compiled jobs are.
    #[error(
        "the package is a zip file of compiled code, which only the original module can run; publish the query itself with \
         `ironbrook sql publish`, or put it into the desired property `query`"
    )]
    Compiled,
    /// Not JSON of the right shape.
    #[error("the package is no document of format {FORMAT}: {0}")]
    Malformed(String),
    /// Of a later time.
    #[error("the package has version {0} and this module reads version {VERSION}; update ironbrook here")]
    Version(u32),
    /// Too long.
    #[error("the package's {what} has {len} bytes, {limit} are the limit")]
    TooLong {
        /// Which member.
        what: &'static str,
        /// Its length.
        len: usize,
        /// What is allowed.
        limit: usize,
    },
}

impl Package {
    /// A package with the default policies.
    pub fn new(name: &str, etag: &str, query: &str) -> Self {
        Self {
            format: FORMAT.to_owned(),
            version: VERSION,
            name: name.to_owned(),
            etag: etag.to_owned(),
            query: query.to_owned(),
            policies: OrderingPolicies::default(),
            functions: BTreeMap::new(),
            inputs: BTreeMap::new(),
            reference: BTreeMap::new(),
        }
    }

    /// The document, for people to read too.
    pub fn to_json(&self) -> Vec<u8> {
        // Texts and numbers only: this cannot fail to serialise.
        serde_json::to_vec_pretty(self).unwrap_or_default()
    }

    /// Reads a document. Members that are unknown are left alone, so that a later program may add some.
    pub fn read(bytes: &[u8]) -> Result<Self, PackageError> {
        if bytes.starts_with(ZIP) {
            return Err(PackageError::Compiled);
        }
        let malformed = |error: serde_json::Error| PackageError::Malformed(error.to_string());
        let head: Head = serde_json::from_slice(bytes).map_err(malformed)?;
        if head.format != FORMAT {
            return Err(PackageError::Malformed("its format says something else".to_owned()));
        }
        if head.version != VERSION {
            return Err(PackageError::Version(head.version));
        }
        let package: Self = serde_json::from_slice(bytes).map_err(malformed)?;
        bounded("name", &package.name, NAME_LEN_MAX)?;
        bounded("etag", &package.etag, NAME_LEN_MAX)?;
        bounded("query", &package.query, QUERY_LEN_MAX)?;
        package.policies.check().map_err(PackageError::Malformed)?;
        Ok(package)
    }
}

/// What decides how the rest is read.
#[derive(Deserialize)]
struct Head {
    format: String,
    version: u32,
}

fn bounded(what: &'static str, text: &str, limit: usize) -> Result<(), PackageError> {
    match text.len() {
        len if len > limit => Err(PackageError::TooLong { what, len, limit }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(value: &serde_json::Value) -> Result<Package, PackageError> {
        Package::read(value.to_string().as_bytes())
    }

    #[test]
    fn a_package_survives_its_document() {
        let package = Package::new("edgeAlertJob", "e-1", "SELECT 'ö' INTO a FROM b\n");
        assert_eq!(Package::read(&package.to_json()), Ok(package));
    }

    #[test]
    fn policies_may_be_left_out_and_unknown_members_are_left_alone() {
        let mut document =
            json!({ "format": FORMAT, "version": 1, "name": "n", "etag": "e", "query": "q", "later": [1] });
        assert_eq!(read(&document), Ok(Package::new("n", "e", "q")));
        document["policies"] = json!({ "lateArrivalSeconds": 9, "onViolation": "drop" });
        let policies = read(&document).unwrap().policies;
        assert_eq!((policies.out_of_order_seconds, policies.late_arrival_seconds), (0, 9));
    }

    #[test]
    fn what_is_no_package_is_refused_with_the_reason() {
        let zip = Package::read(b"PK\x03\x04 and so on").unwrap_err();
        assert!(zip.to_string().contains("zip"), "{zip}");
        let good = json!({ "format": FORMAT, "version": 1, "name": "n", "etag": "e", "query": "q" });
        for (member, value) in [
            ("format", json!("other")),
            ("version", json!(2)),
            ("version", json!(-1)),
            ("name", json!("x".repeat(NAME_LEN_MAX + 1))),
            ("etag", json!(7)),
            ("query", json!("x".repeat(QUERY_LEN_MAX + 1))),
            ("query", json!(null)),
            ("policies", json!({ "lateArrivalSeconds": u64::MAX })),
            ("policies", json!({ "onViolation": "explode" })),
        ] {
            let mut bad = good.clone();
            bad[member] = value;
            assert!(read(&bad).is_err(), "{member}");
        }
        for bytes in [&b""[..], b"[]", b"{}", b"\xff", b"null"] {
            assert!(Package::read(bytes).is_err());
        }
    }
}
