//! The database on its file: opening, and opening again after the disk was full.

use super::error::Error;
use super::{index, tables};
use ironbrook_log::Storage;
use redb::{Database, ReadableTable};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

/// Memory for pages of the database.
const CACHE_BYTES: usize = 4 * 1024 * 1024;

/// The format before the index.
const FORMAT_WITHOUT_INDEX: u64 = 1;

/// A database that heals when a full disk has room again.
///
/// A database that met an error refuses all further work. After a full disk it is dropped and opened anew, which undoes the
/// change that failed: nothing of it was synced. After any other error it stays as it is until a restart, since a failed sync
/// leaves nobody knowing what is on disk. Who works on it while another one meets the error hears of that one's.
pub(super) struct DatabaseFile {
    storage: Arc<dyn Storage>,
    path: PathBuf,
    open: RwLock<Option<Database>>,
    /// Some call found the disk full, and the database was not opened anew since.
    full: AtomicBool,
    /// How often it was opened anew.
    opened: AtomicU64,
}

impl DatabaseFile {
    /// Opens or creates the database. Blocks.
    pub fn open(storage: &Arc<dyn Storage>, path: &Path) -> Result<Self, Error> {
        let database = open(storage, path)?;
        let open = RwLock::new(Some(database));
        let (full, opened) = (AtomicBool::new(false), AtomicU64::new(0));
        Ok(Self { storage: storage.clone(), path: path.to_owned(), open, full, opened })
    }

    /// Works on the database. Blocks.
    pub fn with<T>(&self, work: impl FnOnce(&Database) -> Result<T, Error>) -> Result<T, Error> {
        self.open_again()?;
        let (result, opened) = {
            let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
            let result = work(open.as_ref().ok_or(Error::Full)?);
            if matches!(result, Err(Error::Full)) {
                self.full.store(true, Ordering::SeqCst);
            }
            (result, self.opened.load(Ordering::SeqCst))
        };
        if !matches!(result, Err(Error::Full | Error::Interrupted)) {
            return result;
        }
        // All who work meanwhile have to be done first; then it is known what the one met that interrupted this one.
        let mut place = self.open.write().unwrap_or_else(PoisonError::into_inner);
        if opened != self.opened.load(Ordering::SeqCst) {
            return Err(Error::Full);
        }
        if self.full.load(Ordering::SeqCst) {
            drop(place.take());
            return Err(Error::Full);
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
            self.full.store(false, Ordering::SeqCst);
            self.opened.fetch_add(1, Ordering::SeqCst);
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

/// Makes every table, so that readers never meet a missing one, and brings an older format up to date.
fn prepare(database: &Database) -> Result<(), Error> {
    let tx = database.begin_write()?;
    let format = tx.open_table(tables::COUNTERS)?.get("format")?.map(|v| v.value());
    // Tables may come without a new format, where an older program does no harm by not knowing them.
    if format == Some(tables::FORMAT) && tx.list_tables()?.count() >= tables::COUNT {
        return Ok(());
    }
    tables::make_all(&tx)?;
    match format {
        None | Some(tables::FORMAT) => {}
        Some(FORMAT_WITHOUT_INDEX) => index::build(&tx)?,
        Some(other) => {
            let why = format!("format {other}, this version knows {}", tables::FORMAT);
            return Err(Error::Stored { what: "registry", why });
        }
    }
    tx.open_table(tables::COUNTERS)?.insert("format", tables::FORMAT)?;
    Ok(tx.commit()?)
}
