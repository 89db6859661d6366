//! The database on its file: opening, and opening again after the disk was full.

use super::error::Error;
use super::tables;
use ironbrook_log::Storage;
use redb::{Database, ReadableDatabase as _, ReadableTable};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

/// Memory for pages of the database.
const CACHE_BYTES: usize = 4 * 1024 * 1024;

/// A database that heals when a full disk has room again.
///
/// A database that met an error refuses all further work. After a full disk it is dropped and opened anew, which undoes the
/// change that failed: nothing of it was synced. After any other error it stays as it is until a restart, since a failed sync
/// leaves nobody knowing what is on disk.
pub(super) struct DatabaseFile {
    storage: Arc<dyn Storage>,
    path: PathBuf,
    open: RwLock<Option<Database>>,
}

impl DatabaseFile {
    /// Opens or creates the database. Blocks.
    pub fn open(storage: &Arc<dyn Storage>, path: &Path) -> Result<Self, Error> {
        let database = open(storage, path)?;
        Ok(Self { storage: storage.clone(), path: path.to_owned(), open: RwLock::new(Some(database)) })
    }

    /// Works on the database. Blocks.
    pub fn with<T>(&self, work: impl FnOnce(&Database) -> Result<T, Error>) -> Result<T, Error> {
        self.open_again()?;
        let result = {
            let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
            work(open.as_ref().ok_or(Error::Full)?)
        };
        if matches!(result, Err(Error::Full)) {
            // All who read meanwhile have to be done first.
            drop(self.open.write().unwrap_or_else(PoisonError::into_inner).take());
        }
        result
    }

    fn open_again(&self) -> Result<(), Error> {
        if self.open.read().unwrap_or_else(PoisonError::into_inner).is_some() {
            return Ok(());
        }
        let mut place = self.open.write().unwrap_or_else(PoisonError::into_inner);
        if place.is_none() {
            *place = Some(open(&self.storage, &self.path)?);
            tracing::info!("the registry goes on after a full disk");
        }
        Ok(())
    }
}

fn open(storage: &Arc<dyn Storage>, path: &Path) -> Result<Database, Error> {
    let backend = ironbrook_log::redb_backend(storage, path)?;
    let database = Database::builder().set_cache_size(CACHE_BYTES).create_with_backend(backend)?;
    prepare(&database)?;
    Ok(database)
}

/// Makes every table, so that readers never meet a missing one, and checks the format.
fn prepare(database: &Database) -> Result<(), Error> {
    let tx = database.begin_write()?;
    let format = {
        let mut counters = tx.open_table(tables::COUNTERS)?;
        let format = counters.get("format")?.map(|v| v.value());
        if format.is_none() {
            counters.insert("format", tables::FORMAT)?;
        }
        format
    };
    match format {
        Some(tables::FORMAT) => {
            // It came after the first databases of this format.
            if database.begin_read()?.open_table(tables::KEPT).is_err() {
                tx.open_table(tables::KEPT)?;
                tx.commit()?;
            }
            return Ok(());
        }
        Some(other) => {
            let why = format!("format {other}, this version knows {}", tables::FORMAT);
            return Err(Error::Stored { what: "registry", why });
        }
        None => {}
    }
    tx.open_table(tables::IDENTITIES)?;
    tx.open_table(tables::TWINS)?;
    tx.open_table(tables::ACTIVITY)?;
    tx.open_table(tables::POLICIES)?;
    tx.open_table(tables::QUEUES)?;
    tx.open_table(tables::INBOX)?;
    tx.open_table(tables::SUBSCRIBED)?;
    tx.open_table(tables::KEPT)?;
    tx.open_table(tables::FEEDBACK)?;
    tx.open_table(tables::OUTBOX)?;
    Ok(tx.commit()?)
}
