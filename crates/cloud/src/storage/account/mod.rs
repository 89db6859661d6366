//! The built-in storage account: containers of block blobs in a folder, served with the part of the Azure Blob REST protocol that
//! stock `azure-storage-blob` clients use, path style: `http://127.0.0.1:10000/<account>/<container>/<blob>`.
//!
//! Start with [`Account`]. A blob that was answered with 201 is complete and on disk: its content is synced before the index
//! names it, and the index commits before the answer. What is *not* here: append and page blobs, leases, snapshots, versions,
//! tags, copies, stored access policies, anonymous access, the queue and table services.

mod backend;
mod blobs;
mod blocks;
mod conditions;
mod containers;
mod content;
mod error;
mod index;
mod listing;
mod name;
mod record;
mod rest;
mod share;
mod stream;
#[cfg(test)]
mod tests;

pub use blobs::{Mark, NewBlob, OpenBlob};
pub use blocks::{BlockChoice, BlockList, BlockSource};
pub use conditions::Conditions;
pub use error::{Code, Error};
pub use listing::{Entry, ListBlobs, Listing};
pub use record::{Blob, Container, ContentHeaders, Etag, Metadata};
pub use share::Share;

use content::Contents;
use index::{Index, Write};
use ironbrook_hub::seams::Clock;
use ironbrook_log::Storage;
use ironbrook_model::{SymmetricKeys, Timestamp};
use record::ContentId;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// Disk calls of the account that run at once; others wait.
const DISK_CALLS_MAX: usize = 16;
/// Authorized requests served at once; more are answered with `ServerBusy`.
const REQUESTS_MAX: usize = 256;
/// How long an uncommitted block is kept. Source: Azure docs "Put Block", remarks.
const BLOCK_KEPT_FOR: Duration = Duration::from_secs(7 * 24 * 3600);
/// How often old uncommitted blocks are looked for.
const TIDY_EVERY: Duration = Duration::from_secs(3600);

/// What an account is called and how its users prove themselves.
#[derive(Debug, Clone)]
pub struct Config {
    /// Its name: 3 to 24 lower-case letters and digits.
    pub name: String,
    /// Either key signs requests and shared access signatures.
    pub keys: SymmetricKeys,
}

/// A storage account. Cheap to clone.
#[derive(Clone)]
pub struct Account {
    inner: Arc<Inner>,
}

struct Inner {
    config: Config,
    index: Index,
    contents: Arc<Contents>,
    clock: Arc<dyn Clock>,
    disk_calls: Semaphore,
    requests: Semaphore,
}

impl Account {
    /// Opens the account in a folder of the storage, or makes one. Blocks for a few disk calls.
    ///
    /// # Errors
    /// [`Code::InvalidResourceName`] for a name out of its grammar; [`Error::Format`] for a folder of a newer version.
    pub fn open(
        storage: Arc<dyn Storage>,
        folder: &Path,
        config: Config,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, Error> {
        name::check_account(&config.name)?;
        let contents = Contents::open(storage.clone(), &folder.join("content"))?;
        let index = Index::open(storage.clone(), &folder.join("index.redb"))?;
        storage.sync_folder(folder)?;
        let disk_calls = Semaphore::new(DISK_CALLS_MAX);
        let requests = Semaphore::new(REQUESTS_MAX);
        Ok(Self { inner: Arc::new(Inner { config, index, contents, clock, disk_calls, requests }) })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.inner.config.name
    }

    /// Whether a sync of the index failed: every request fails then, and only a restart helps.
    pub fn is_poisoned(&self) -> bool {
        self.inner.index.is_poisoned()
    }

    /// The connection string for clients, with the primary key. `endpoint` is scheme, host and port: `http://127.0.0.1:10000`.
    pub fn connection_string(&self, endpoint: &str) -> String {
        let Config { name, keys } = &self.inner.config;
        let protocol = if endpoint.starts_with("https:") { "https" } else { "http" };
        let (endpoint, key) = (endpoint.trim_end_matches('/'), keys.primary.to_base64());
        format!(
            "DefaultEndpointsProtocol={protocol};AccountName={name};AccountKey={key};BlobEndpoint={endpoint}/{name};"
        )
    }

    /// The routes of the Blob protocol, all below `/<account>`; they can be merged into another router.
    pub fn router(&self) -> axum::Router {
        rest::router(self.clone())
    }

    /// Tidies up until cancelled: at start what a crash left behind, then uncommitted blocks older than a week.
    pub async fn run(self, cancel: CancellationToken) {
        let work = async {
            match self.blocking(|inner| inner.sweep()).await {
                Ok(0) => {}
                Ok(files) => tracing::info!(files, "removed content of unfinished uploads"),
                Err(error) => tracing::warn!(%error, "could not look for unfinished uploads"),
            }
            loop {
                self.inner.clock.sleep(TIDY_EVERY).await;
                if let Err(error) = self.drop_old_blocks().await {
                    tracing::warn!(%error, "could not look for old blocks");
                }
            }
        };
        tokio::select! {
            () = cancel.cancelled() => {}
            () = work => {}
        }
    }

    async fn drop_old_blocks(&self) -> Result<(), Error> {
        let now = self.inner.now();
        self.change(move |write, unused| {
            for (container, blob, id, block) in write.all_blocks(None)? {
                if now.since(block.staged) > BLOCK_KEPT_FOR {
                    write.remove_block(&container, &blob, &id)?;
                    unused.push(block.content);
                }
            }
            Ok(())
        })
        .await
    }

    /// Runs disk calls where they may block, to the end even if the caller goes away.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let _turn = self.inner.disk_calls.acquire().await.map_err(|_| Error::Stopping)?;
        let inner = self.inner.clone();
        tokio::task::spawn_blocking(move || work(&inner)).await.map_err(|_| Error::Stopping)?
    }

    /// One transaction. `unused` takes the files that are part of nothing afterwards.
    async fn change<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Write, &mut Vec<ContentId>) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        self.blocking(move |inner| inner.change(work)).await
    }
}

impl Inner {
    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn change<T>(
        &self,
        work: impl FnOnce(&Write, &mut Vec<ContentId>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut unused = Vec::new();
        let value = self.index.write(|write| {
            let value = work(write, &mut unused)?;
            for id in &unused {
                write.remove_content(*id)?;
            }
            Ok(value)
        })?;
        self.contents.discard(unused);
        Ok(value)
    }

    fn sweep(&self) -> Result<usize, Error> {
        self.contents.sweep(|id| self.index.read(|read| read.has_content(id)))
    }
}

impl std::fmt::Debug for Account {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Account").field("name", &self.name()).finish_non_exhaustive()
    }
}
