//! Where files go: a container of the built-in account, or of any other.

use super::Config;
use crate::storage::account::{Account, Code, Error as AccountError, Share};
use crate::storage::endpoint;
use axum::extract::Request;
use axum::routing::any;
use http::Method;
use ironbrook_model::{ErrorCode, Refusal, Timestamp, percent_encode};
use object_store::azure::MicrosoftAzure;
use object_store::path::Path;
use object_store::signer::Signer as _;
use object_store::{Error as StoreError, ObjectStore as _};
use std::time::Duration;
use tower::ServiceExt as _;

/// What a device may do to its blob.
const PERMISSIONS: &str = "rw";
/// First parts of paths that belong to the hub's own requests.
const OWN_PATHS: [&str; 15] = [
    "devices",
    "twins",
    "modules",
    "jobs",
    "streamingjobs",
    "messages",
    "configurations",
    "statistics",
    "digitaltwins",
    "enrollments",
    "enrollmentgroups",
    "registrations",
    "metrics",
    "health",
    "api",
];

/// Where files go. `Debug` hides the connection string, which holds a key.
#[derive(Clone)]
pub enum Target {
    /// The account in this process.
    BuiltIn,
    /// Any other Azure Blob account; its key is needed.
    ConnectionString(String),
}

impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::BuiltIn => "BuiltIn",
            Self::ConnectionString(_) => "ConnectionString(<hidden>)",
        })
    }
}

/// Why files cannot be taken.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The container's name is one of the hub's own paths.
    #[error("the container {0} has the name of a path of the hub; choose another for file_upload.container")]
    OwnPath(String),
    /// The built-in account.
    #[error("the container for files: {0}")]
    Account(#[from] AccountError),
    /// Another account's connection string.
    #[error("the account for files: {0}")]
    Endpoint(#[from] endpoint::Error),
    /// Another account.
    #[error("the account for files: {0}")]
    Store(#[from] StoreError),
    /// Longer or shorter than Azure has it.
    #[error("a device may take 1 minute to 24 hours for a file, not {0:?}")]
    Ttl(Duration),
}

/// An opened container.
pub(super) enum Place {
    BuiltIn { account: Account, container: String, hosts: Vec<String>, port: u16 },
    External(Box<MicrosoftAzure>),
}

/// Leave to write a blob.
pub(super) struct Written {
    pub host: String,
    /// Where the blob is, without the signature.
    pub uri: String,
    /// Without a question mark.
    pub signature: String,
}

/// What is known of a blob.
pub(super) struct Found {
    pub len: u64,
    /// ISO 8601 with offset.
    pub modified: String,
}

impl Place {
    pub async fn open(config: &Config, account: &Account, hosts: &[String]) -> Result<Self, Error> {
        if !super::TTL_SECONDS.contains(&config.ttl.as_secs()) {
            return Err(Error::Ttl(config.ttl));
        }
        let container = config.container.clone();
        match &config.target {
            Target::BuiltIn => {
                if OWN_PATHS.contains(&container.as_str()) {
                    return Err(Error::OwnPath(container));
                }
                account.ensure_container(&container).await?;
                let (account, hosts, port) = (account.clone(), hosts.to_vec(), config.https_port);
                Ok(Self::BuiltIn { account, container, hosts, port })
            }
            Target::ConnectionString(text) => {
                let store = endpoint::builder(text)?.with_container_name(container).build()?;
                Ok(Self::External(Box::new(store)))
            }
        }
    }

    /// Leave to write one blob.
    pub async fn sign(
        &self,
        blob: &str,
        asked: &str,
        expires: Timestamp,
        ttl: Duration,
    ) -> Result<Written, Refusal> {
        match self {
            Self::BuiltIn { account, container, hosts, port } => {
                let host = authority(asked, hosts, *port);
                let share = Share {
                    container: container.clone(),
                    blob: Some(blob.to_owned()),
                    permissions: PERMISSIONS.to_owned(),
                    expires,
                };
                let path: Vec<_> = blob.split('/').map(percent_encode).collect();
                let uri = format!("https://{host}/{container}/{}", path.join("/"));
                Ok(Written { host, uri, signature: account.sas(&share) })
            }
            Self::External(store) => {
                let path = Path::parse(blob).map_err(|error| {
                    Refusal::new(ErrorCode::ArgumentInvalid, format!("blobName cannot be used: {error}"))
                })?;
                let url = store.signed_url(Method::PUT, &path, ttl).await.map_err(unreachable)?;
                let signature = url.query().unwrap_or_default().to_owned();
                let mut plain = url;
                plain.set_query(None);
                let uri = plain.to_string();
                Ok(Written { host: host_of(&uri, blob), uri, signature })
            }
        }
    }

    /// What is known of a blob; 400020 where it is not there.
    pub async fn look(&self, blob: &str) -> Result<Found, Refusal> {
        let missing = || {
            Refusal::new(
                ErrorCode::InvalidStorageEndpointOrBlob,
                format!(
                    "the blob {blob} is not there; write it first, then tell of it, or tell that it failed"
                ),
            )
        };
        match self {
            Self::BuiltIn { account, container, .. } => match account.open_blob(container, blob).await {
                Ok(found) => Ok(Found { len: found.blob.len, modified: offset_time(found.blob.modified) }),
                Err(AccountError::Refused(Code::BlobNotFound | Code::ContainerNotFound)) => Err(missing()),
                Err(error) => {
                    tracing::error!(%error, "the container for files cannot be read");
                    Err(Refusal::new(
                        ErrorCode::ServiceUnavailable,
                        "the storage cannot be read now; try again",
                    ))
                }
            },
            Self::External(store) => match store.head(&Path::from(blob)).await {
                Ok(found) => {
                    let modified = Timestamp::from_millis(found.last_modified.timestamp_millis());
                    Ok(Found { len: found.size, modified: offset_time(modified) })
                }
                Err(StoreError::NotFound { .. }) => Err(missing()),
                Err(error) => Err(unreachable(error)),
            },
        }
    }

    /// Where the account is the built-in one: its container under the hub's own name, as stock clients look for it.
    pub fn router(&self) -> axum::Router {
        match self {
            Self::External(_) => axum::Router::new(),
            Self::BuiltIn { account, container, .. } => {
                let (served, name) = (account.router(), account.name().to_owned());
                let handler = move |mut request: Request| {
                    let (served, name) = (served.clone(), name.clone());
                    async move {
                        // The account answers below its own name; the rest of the path is the same.
                        let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
                        if let Ok(uri) = format!("/{name}{path}").parse() {
                            *request.uri_mut() = uri;
                        }
                        served.oneshot(request).await
                    }
                };
                axum::Router::new().route(&format!("/{container}/{{*blob}}"), any(handler))
            }
        }
    }
}

fn unreachable(error: StoreError) -> Refusal {
    tracing::warn!(%error, "the account for files does not answer");
    Refusal::new(ErrorCode::ServiceUnavailable, "the storage account does not answer; try again")
}

/// The host under which the device knows the hub, where it is one of the hub's own; else the first.
///
/// What a device writes into its request must not become the address that services read in a notice.
fn authority(asked: &str, hosts: &[String], port: u16) -> String {
    let name = match asked.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => asked.split(':').next().unwrap_or_default(),
    };
    let known = hosts.iter().find(|host| host.eq_ignore_ascii_case(name)).or(hosts.first());
    let host = known.map_or("localhost", String::as_str);
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    if port == 443 { host } else { format!("{host}:{port}") }
}

/// What stands between the scheme and the container: host, port, and where the account is part of the path, its name.
fn host_of(uri: &str, blob: &str) -> String {
    let rest = uri.split_once("://").map_or(uri, |(_, rest)| rest);
    let parts: Vec<_> = rest.split('/').collect();
    // The container and as many parts as the blob's name has are the end.
    let blob_parts = blob.split('/').count() + 1;
    parts[..parts.len().saturating_sub(blob_parts)].join("/")
}

/// `2026-02-01T10:00:00+00:00`, the form that notices have.
fn offset_time(time: Timestamp) -> String {
    time.to_utc().strftime("%Y-%m-%dT%H:%M:%S+00:00").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_told_the_name_it_knows_and_no_foreign_one() {
        let hosts = ["hub.example".to_owned(), "10.0.0.7".to_owned(), "::1".to_owned()];
        assert_eq!(authority("10.0.0.7:443", &hosts, 443), "10.0.0.7");
        assert_eq!(authority("HUB.example", &hosts, 8443), "hub.example:8443");
        assert_eq!(authority("[::1]:443", &hosts, 443), "[::1]");
        for foreign in ["evil.example", "", "hub.example.evil", "["] {
            assert_eq!(authority(foreign, &hosts, 443), "hub.example", "{foreign}");
        }
    }

    #[test]
    fn the_host_of_another_account_may_end_with_its_name() {
        assert_eq!(host_of("https://a.blob.example/box/d1/x%20y/z", "d1/x y/z"), "a.blob.example");
        assert_eq!(host_of("http://127.0.0.1:10000/acc/box/d1/x", "d1/x"), "127.0.0.1:10000/acc");
    }
}
