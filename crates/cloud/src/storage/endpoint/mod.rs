//! The storage endpoint: routed messages become blobs, one per batch, JSON lines or Avro.
//!
//! Start with [`StorageEndpoint`]. Into the built-in account each message is written once, however often its batch comes: how
//! far the endpoint has come is stored in the transaction that stores the blob. Into another account it is written at least
//! once; a batch that comes again after a crash is recognised by the blob's metadata.

mod avro;
mod external;
pub(crate) mod json;
mod name;
#[cfg(test)]
mod tests;

pub use external::S3;
pub(crate) use external::builder;
pub use name::{NameError, NameFormat};

use super::account::{self, Account, Code, Conditions, ContentHeaders, Mark, NewBlob};
use async_trait::async_trait;
use bytes::Bytes;
use external::External;
use ironbrook_hub::seams::{Batching, Endpoint, Routed, Sent};
use ironbrook_log::PartitionId;
use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Messages of a blob: bounds the memory of a batch, whatever the chunk size allows.
const BATCH_MESSAGES_MAX: usize = 10_000;
/// Bytes of a batch in memory, for the same reason.
const BATCH_BYTES_MAX: usize = 16 * 1024 * 1024;
/// With batches rarer than this two of them never fall into one minute, so names need no suffix.
const MINUTE: Duration = Duration::from_secs(60);
/// First and longest wait after a failure.
const RETRY: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(60);
/// Batch frequencies that Azure accepts. Source: Azure docs "IoT Hub message routing endpoints", storage container.
const AZURE_FREQUENCY: RangeInclusive<Duration> = Duration::from_secs(60)..=Duration::from_secs(720);
/// Chunk sizes that Azure accepts, in bytes.
const AZURE_CHUNK_BYTES: RangeInclusive<u64> = 10_485_760..=524_288_000;

/// How messages are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Encoding {
    /// A container file of records.
    #[default]
    Avro,
    /// One object per line.
    Json,
}

/// What the endpoint is called and how it writes.
#[derive(Debug, Clone)]
pub struct Config {
    /// Its name in routes.
    pub name: String,
    /// The hub's name, for `{iothub}`.
    pub hub: String,
    /// The container; made if absent in the built-in account, and there already in any other.
    pub container: String,
    /// How messages are written.
    pub encoding: Encoding,
    /// Names of blobs, without their ending; see [`NameFormat`].
    pub file_name_format: String,
    /// Ending of names; `None` for `.avro` and `.json`.
    pub extension: Option<String>,
    /// How long the first message of a blob waits for others.
    pub batch_frequency: Duration,
    /// A blob is closed before it gets larger, in bytes. Memory bounds blobs to 16 MiB and 10 000 messages as well.
    pub max_chunk_bytes: u64,
}

impl Config {
    /// Azure's defaults: Avro, the stock name, 300 s, 300 MiB.
    pub fn new(name: impl Into<String>, hub: impl Into<String>, container: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            hub: hub.into(),
            container: container.into(),
            encoding: Encoding::Avro,
            file_name_format: NameFormat::DEFAULT.into(),
            extension: None,
            batch_frequency: Duration::from_secs(300),
            max_chunk_bytes: 314_572_800,
        }
    }

    /// Checks that Azure would accept the frequency and the size, for the profile with exact limits.
    pub fn check_azure_limits(&self) -> Result<(), Error> {
        if !AZURE_FREQUENCY.contains(&self.batch_frequency) {
            return Err(Error::Frequency(self.batch_frequency));
        }
        if !AZURE_CHUNK_BYTES.contains(&self.max_chunk_bytes) {
            return Err(Error::Chunk(self.max_chunk_bytes));
        }
        Ok(())
    }
}

/// Where blobs go.
#[derive(Clone)]
pub enum Target {
    /// The account in this process.
    BuiltIn(Account),
    /// Any Azure Blob account: `UseDevelopmentStorage=true`, or `AccountName` with `AccountKey` or `SharedAccessSignature`, and
    /// `BlobEndpoint` where it is not Azure's.
    ConnectionString(String),
    /// A bucket, named by the container.
    S3(S3),
    /// A folder; the container is a folder in it.
    Folder(std::path::PathBuf),
}

/// Why an endpoint cannot be made or a batch not be stored.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The name format cannot be used.
    #[error(transparent)]
    Name(#[from] NameError),
    /// Batch frequency out of Azure's range.
    #[error("batch frequency {}s is not within 60 to 720 s, which the azure profile demands", .0.as_secs())]
    Frequency(Duration),
    /// Chunk size out of Azure's range.
    #[error("chunk size {0} is not within 10485760 to 524288000 bytes, which the azure profile demands")]
    Chunk(u64),
    /// The connection string cannot be used.
    #[error("the storage connection string: {0}")]
    ConnectionString(String),
    /// The built-in account failed.
    #[error("the storage account: {0}")]
    Account(#[from] account::Error),
    /// The other account failed.
    #[error("the storage account: {0}")]
    External(#[from] object_store::Error),
    /// The folder failed.
    #[error("the folder {}: {error}", path.display())]
    Folder {
        /// Which.
        path: std::path::PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// Messages could not be encoded.
    #[error("the Avro encoder: {0}")]
    Avro(#[from] Box<apache_avro::Error>),
    /// The process is ending.
    #[error("stopping")]
    Stopping,
}

/// An endpoint that writes blobs.
pub struct StorageEndpoint {
    config: Config,
    format: NameFormat,
    extension: String,
    target: Place,
    partitions: Mutex<HashMap<PartitionId, Progress>>,
}

enum Place {
    BuiltIn(Account),
    External(External),
}

/// What is remembered of a partition.
#[derive(Debug, Clone, Default)]
struct Progress {
    /// The name of the last blob.
    name: Option<String>,
    /// The last message known to be stored; `None` if that is not known yet or there is none.
    mark: Option<Mark>,
    /// Whether the mark was looked up.
    is_known: bool,
    failures: u32,
}

impl StorageEndpoint {
    /// Makes the endpoint and, in the built-in account, its container.
    pub async fn open(config: Config, target: Target) -> Result<Self, Error> {
        let format = NameFormat::parse(&config.file_name_format)?;
        let target = match target {
            Target::BuiltIn(account) => {
                account.ensure_container(&config.container).await?;
                Place::BuiltIn(account)
            }
            Target::ConnectionString(text) => Place::External(External::open(&text, &config.container)?),
            Target::S3(settings) => Place::External(External::s3(&settings, &config.container)?),
            Target::Folder(path) => Place::External(External::folder(&path.join(&config.container))?),
        };
        let ending = match config.encoding {
            Encoding::Avro => ".avro",
            Encoding::Json => ".json",
        };
        let extension = config.extension.clone().unwrap_or_else(|| ending.to_owned());
        Ok(Self { config, format, extension, target, partitions: Mutex::default() })
    }

    /// Names to try in order. The same batch has the same names whenever it comes.
    fn names(&self, partition: PartitionId, first: Mark) -> Vec<String> {
        let base = self.format.render(&self.config.hub, partition.0, first.enqueued);
        let (extension, offset) = (&self.extension, first.offset);
        let mut names = Vec::with_capacity(3);
        if self.config.batch_frequency >= MINUTE {
            names.push(format!("{base}{extension}"));
        }
        names.push(format!("{base}-{offset:012}{extension}"));
        // Taken only where a log was begun anew in the same minute.
        names.push(format!("{base}-{offset:012}-{}{extension}", first.enqueued.as_millis()));
        names
    }

    /// Who publishes, for the built-in account's book-keeping.
    fn publisher(&self, partition: PartitionId) -> String {
        let Config { name, hub, container, .. } = &self.config;
        format!("{hub}/{name}/{container}/{}", partition.0)
    }

    fn progress(&self, partition: PartitionId, change: impl FnOnce(&mut Progress)) -> Progress {
        let mut partitions = self.partitions.lock().unwrap_or_else(PoisonError::into_inner);
        let progress = partitions.entry(partition).or_default();
        change(progress);
        progress.clone()
    }

    async fn store(&self, partition: PartitionId, batch: &[Routed]) -> Result<(), Error> {
        let mut progress = self.progress(partition, |_| {});
        if !progress.is_known {
            let mark = match &self.target {
                Place::BuiltIn(account) => account.published(&self.publisher(partition)).await?,
                Place::External(_) => progress.mark,
            };
            progress = self.progress(partition, |p| (p.mark, p.is_known) = (mark, true));
        }
        let fresh: Vec<Routed> =
            batch.iter().filter(|m| !is_stored(progress.mark, mark_of(m))).cloned().collect();
        let (Some(first), Some(last)) = (fresh.first().map(mark_of), fresh.last().map(mark_of)) else {
            // It was stored before, under a name that is not known here.
            self.progress(partition, |p| p.name = None);
            return Ok(());
        };
        let encoding = self.config.encoding;
        let encode = move || match encoding {
            Encoding::Json => Ok(json::encode(&fresh)),
            Encoding::Avro => avro::encode(&fresh).map_err(Box::new),
        };
        let bytes = Bytes::from(tokio::task::spawn_blocking(encode).await.map_err(|_| Error::Stopping)??);
        let names = self.names(partition, first);
        let (stored, name) = match &self.target {
            Place::BuiltIn(account) => self.store_here(account, partition, names, bytes, last).await?,
            Place::External(external) => external.store(&names, bytes, first, last).await?,
        };
        self.progress(partition, |p| (p.mark, p.name) = (Some(stored), Some(name)));
        Ok(())
    }

    async fn store_here(
        &self,
        account: &Account,
        partition: PartitionId,
        mut names: Vec<String>,
        bytes: Bytes,
        last: Mark,
    ) -> Result<(Mark, String), Error> {
        let container = &self.config.container;
        // What was stored by us is behind the mark, so a name that is taken belongs to other messages: never replace it.
        names.extend(names.last().map(|name| format!("{name}-{}", uuid::Uuid::new_v4())));
        for name in &names {
            let new = NewBlob {
                headers: ContentHeaders {
                    content_type: Some("application/octet-stream".into()),
                    ..ContentHeaders::default()
                },
                conditions: Conditions::if_absent(),
                published: Some((self.publisher(partition), last)),
                ..NewBlob::default()
            };
            match account.put_new(container, name, bytes.clone(), new).await {
                Ok(_) => return Ok((last, name.clone())),
                Err(account::Error::Refused(Code::BlobAlreadyExists)) => {}
                Err(account::Error::Refused(Code::ContainerNotFound)) => {
                    // Somebody deleted it; make it again, and the retry will find it.
                    account.ensure_container(container).await?;
                    return Err(Code::ContainerNotFound.into());
                }
                Err(error) => return Err(error.into()),
            }
        }
        Err(Code::BlobAlreadyExists.into())
    }
}

impl From<Code> for Error {
    fn from(code: Code) -> Self {
        Self::Account(code.into())
    }
}

fn mark_of(message: &Routed) -> Mark {
    Mark { offset: message.offset.0, enqueued: message.enqueued }
}

/// Both must be at or before the mark: a log that was begun anew has low offsets, but not old times.
fn is_stored(mark: Option<Mark>, message: Mark) -> bool {
    mark.is_some_and(|mark| message.offset <= mark.offset && message.enqueued <= mark.enqueued)
}

#[async_trait]
impl Endpoint for StorageEndpoint {
    fn name(&self) -> &str {
        &self.config.name
    }

    fn batching(&self) -> Batching {
        let chunk = usize::try_from(self.config.max_chunk_bytes).unwrap_or(usize::MAX);
        Batching {
            max_messages: BATCH_MESSAGES_MAX,
            max_bytes: chunk.min(BATCH_BYTES_MAX),
            max_delay: self.config.batch_frequency,
        }
    }

    fn place(&self, partition: PartitionId) -> Option<String> {
        Some(format!("{}/{}", self.config.container, self.progress(partition, |_| {}).name?))
    }

    async fn send(&self, partition: PartitionId, batch: &[Routed]) -> Sent {
        match self.store(partition, batch).await {
            Ok(()) => {
                self.progress(partition, |p| p.failures = 0);
                Sent::Done
            }
            Err(error) => {
                let failures = self
                    .progress(partition, |p| {
                        p.failures = p.failures.saturating_add(1);
                        // It may have been stored all the same, so the mark is looked up again.
                        p.is_known = false;
                    })
                    .failures;
                let wait = RETRY.start().saturating_mul(1 << (failures - 1).min(6)).min(*RETRY.end());
                Sent::RetryAfter(wait, error.to_string())
            }
        }
    }
}
