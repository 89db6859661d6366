//! File upload: a device asks for a place, writes its file there, and tells how it went; services hear of the files that came.
//!
//! | Request | Answer |
//! |---|---|
//! | `POST /devices/{device}/files` | 200 with host, container, blob and a signature that allows to write just this blob for a while |
//! | `POST /devices/{device}/files/notifications[/{correlation}]` | 204: the upload has ended |
//!
//! Start with [`Uploads`]. The place is a container of the built-in account, which the HTTPS doors then serve under its own
//! name (`https://{hub}/{container}/{blob}`), or of any other Azure Blob account. What is *not* here: the notices services
//! fetch (the registry keeps them, the AMQP links hand them out), and the storage account.

mod http;
mod place;
#[cfg(test)]
mod tests;

pub use place::{Error, Target};

use crate::registry::{FileNotification, Registry, Upload};
use crate::storage::account::Account;
use ironbrook_hub::Hub;
use ironbrook_model::{DeviceId, ErrorCode, Refusal};
use place::Place;
use std::sync::Arc;
use std::time::Duration;

/// How long a device may take (Azure docs "Configure IoT Hub file uploads": 1 minute to 24 hours, one hour by default).
pub const TTL_SECONDS: std::ops::RangeInclusive<u64> = 60..=86_400;
/// Longest name of a blob, the device's id included, in characters.
const BLOB_NAME_CHARS_MAX: usize = 1024;

/// Settings of file upload.
#[derive(Debug, Clone)]
pub struct Config {
    /// The container that takes the files; it is made where the account is the built-in one.
    pub container: String,
    /// The account.
    pub target: Target,
    /// How long a device may take, within [`TTL_SECONDS`].
    pub ttl: Duration,
    /// Whether services get a notice of each file.
    pub notifications: bool,
    /// The port under which devices reach the HTTPS door.
    pub https_port: u16,
}

/// File upload of a hub. Cheap to clone.
#[derive(Clone)]
pub struct Uploads {
    inner: Arc<Inner>,
}

struct Inner {
    hub: Hub,
    registry: Registry,
    /// What is set, and where files go; nothing where no storage is configured.
    open: Option<(Config, Place)>,
}

/// What a device says at the end.
struct Ended {
    correlation: String,
    succeeded: bool,
}

/// Where a device may write.
struct Ticket {
    correlation: String,
    host: String,
    container: String,
    blob: String,
    /// Query with the signature, without a question mark.
    signature: String,
}

impl Uploads {
    /// File upload into an account; without a configuration devices are told that there is none.
    pub async fn open(
        hub: Hub,
        registry: Registry,
        account: &Account,
        hosts: &[String],
        config: Option<Config>,
    ) -> Result<Self, Error> {
        let open = match config {
            Some(config) => {
                let place = Place::open(&config, account, hosts).await?;
                Some((config, place))
            }
            None => None,
        };
        Ok(Self { inner: Arc::new(Inner { hub, registry, open }) })
    }

    /// The device's requests, and where the account is the built-in one its container. Path parameters are named as those of the
    /// service API, so that both can be merged.
    pub fn router(&self) -> axum::Router {
        let files = http::router(self.clone());
        match &self.inner.open {
            Some((_, place)) => files.merge(place.router()),
            None => files,
        }
    }

    fn configured(&self) -> Result<(&Config, &Place), Refusal> {
        self.inner.open.as_ref().map(|(config, place)| (config, place)).ok_or_else(|| {
            Refusal::new(
                ErrorCode::DefaultStorageEndpointNotConfigured,
                "the hub has no storage for files; set file_upload.container in its configuration",
            )
        })
    }

    /// Begins an upload. `host` is the name under which the device knows the hub.
    async fn begin(&self, device: &DeviceId, name: &str, host: &str) -> Result<Ticket, Refusal> {
        let (config, place) = self.configured()?;
        let blob = format!("{device}/{name}");
        check_name(name, &blob)?;
        let expires = self.inner.hub.seams().clock.now().plus(config.ttl);
        let written = place.sign(&blob, host, expires, config.ttl).await?;
        let upload = Upload { blob: blob.clone(), blob_uri: written.uri, expires };
        // Hex digits, so that it stands in paths as it is.
        let correlation = uuid::Uuid::new_v4().simple().to_string();
        self.inner.registry.begin_upload(device, correlation.clone(), upload).await?;
        tracing::debug!(%device, blob, "upload begun");
        let (host, signature) = (written.host, written.signature);
        Ok(Ticket { correlation, host, container: config.container.clone(), blob, signature })
    }

    /// Ends an upload. Services get a notice only of a file that is there. rule FILE-03
    async fn end(&self, device: &DeviceId, ended: &Ended) -> Result<(), Refusal> {
        let (config, place) = self.configured()?;
        let registry = &self.inner.registry;
        let upload = registry.upload(device, &ended.correlation).await?;
        let notification = match ended.succeeded && config.notifications {
            false => None,
            true => {
                let found = place.look(&upload.blob).await?;
                Some(FileNotification {
                    device_id: device.to_string(),
                    blob_uri: upload.blob_uri,
                    blob_name: upload.blob,
                    last_updated_time: Some(found.modified),
                    blob_size_in_bytes: found.len,
                    enqueued_time_utc: self.inner.hub.seams().clock.now().to_string(),
                })
            }
        };
        registry.end_upload(device, &ended.correlation, notification).await
    }
}

/// A blob's name as a device may choose it: what clients would change on the way in a URL is refused here, with a reason.
fn check_name(name: &str, blob: &str) -> Result<(), Refusal> {
    let refuse = |text: String| Err(Refusal::new(ErrorCode::ArgumentInvalid, text));
    if name.is_empty() || name.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return refuse(
            "blobName has no empty part and none that is a dot or two between its slashes".to_owned(),
        );
    }
    if name.chars().any(char::is_control) {
        return refuse("blobName has no control character".to_owned());
    }
    match blob.chars().count() {
        ..=BLOB_NAME_CHARS_MAX => Ok(()),
        chars => {
            refuse(format!("device id and blobName have {chars} characters, at most {BLOB_NAME_CHARS_MAX}"))
        }
    }
}
