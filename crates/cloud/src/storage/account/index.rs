//! The index: which containers, blobs and blocks there are and in which files their content is. One redb database; a change
//! is one transaction, durable when it returns.

use super::backend::Backend;
use super::error::Error;
use super::record::{Blob, Block, Container, ContentId, Etag, Part};
use ironbrook_log::Storage;
use redb::{Database, ReadTransaction, ReadableDatabase, ReadableTable, TableDefinition, WriteTransaction};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use uuid::Uuid;

/// Version of the tables below.
const FORMAT: u64 = 1;
/// Memory redb may keep for pages; its own default of 1 GiB is for databases, not for an index.
const CACHE_BYTES: usize = 4 * 1024 * 1024;

/// `format` and `generation` (the last [`Etag`] given).
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
/// Container name → [`Container`].
pub(super) const CONTAINERS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("containers");
/// Container and blob name → [`Blob`].
pub(super) const BLOBS: TableDefinition<'_, (&str, &str), &[u8]> = TableDefinition::new("blobs");
/// Container and blob name → its [`Part`]s; apart from the blob, so that listings do not read them.
pub(super) const PARTS: TableDefinition<'_, (&str, &str), &[u8]> = TableDefinition::new("parts");
/// Container, blob and block id → [`Block`], uncommitted.
pub(super) const BLOCKS: TableDefinition<'_, (&str, &str, &str), &[u8]> = TableDefinition::new("blocks");
/// Container and blob → how many uncommitted blocks it has.
const BLOCK_COUNTS: TableDefinition<'_, (&str, &str), u64> = TableDefinition::new("block_counts");
/// Every file of content that is part of something.
const CONTENT: TableDefinition<'_, u128, ()> = TableDefinition::new("content");
/// Publisher → offset and enqueued time (ms) of the last message it stored.
const PUBLISHED: TableDefinition<'_, &str, (u64, i64)> = TableDefinition::new("published");

/// The open index. Its calls block.
pub(super) struct Index {
    storage: Arc<dyn Storage>,
    path: PathBuf,
    /// `None` after a failure: redb refuses everything after one, so the database is opened anew for the next call. That is how
    /// the account comes back by itself once a full disk has room again.
    database: RwLock<Option<Database>>,
    /// Set for good by a failed sync: what is on disk then is known only after a restart.
    poisoned: Arc<AtomicBool>,
}

impl Index {
    /// Opens or creates the index.
    pub fn open(storage: Arc<dyn Storage>, path: &Path) -> Result<Self, Error> {
        let poisoned = Arc::default();
        let database = open_database(&storage, path, &poisoned)?;
        Ok(Self { storage, path: path.to_owned(), database: RwLock::new(Some(database)), poisoned })
    }

    /// Whether a sync failed, so that only a restart helps.
    pub fn is_poisoned(&self) -> bool {
        self.poisoned.load(Ordering::Acquire)
    }

    /// Reads a consistent state.
    pub fn read<T>(&self, work: impl FnOnce(&Read) -> Result<T, Error>) -> Result<T, Error> {
        self.with(|database| work(&Read(database.begin_read()?)))
    }

    /// Changes the index; nothing is changed if `work` fails, and the change is durable when this returns `Ok`. With
    /// [`Error::Refused`] it surely did not happen, with other errors it may have.
    pub fn write<T>(&self, work: impl FnOnce(&Write) -> Result<T, Error>) -> Result<T, Error> {
        self.with(|database| {
            let write = Write(database.begin_write()?);
            let value = work(&write)?;
            write.0.commit()?;
            Ok(value)
        })
    }

    fn with<T>(&self, work: impl FnOnce(&Database) -> Result<T, Error>) -> Result<T, Error> {
        loop {
            if self.is_poisoned() {
                return Err(Error::Poisoned);
            }
            let guard = self.database.read().unwrap_or_else(PoisonError::into_inner);
            let Some(database) = &*guard else {
                drop(guard);
                self.reopen()?;
                continue;
            };
            let result = work(database);
            drop(guard);
            if matches!(result, Err(Error::Index(_))) {
                *self.database.write().unwrap_or_else(PoisonError::into_inner) = None;
            }
            return result;
        }
    }

    fn reopen(&self) -> Result<(), Error> {
        let mut guard = self.database.write().unwrap_or_else(PoisonError::into_inner);
        if guard.is_none() {
            *guard = Some(open_database(&self.storage, &self.path, &self.poisoned)?);
        }
        Ok(())
    }
}

fn open_database(
    storage: &Arc<dyn Storage>,
    path: &Path,
    poisoned: &Arc<AtomicBool>,
) -> Result<Database, Error> {
    let backend = Backend::new(ironbrook_log::redb_backend(storage, path)?, poisoned.clone());
    let mut builder = redb::Builder::new();
    let database = builder.set_cache_size(CACHE_BYTES).create_with_backend(backend)?;
    let found = match database.begin_read()?.open_table(META) {
        Ok(meta) => meta.get("format")?.map(|f| f.value()),
        Err(redb::TableError::TableDoesNotExist(_)) => None,
        Err(error) => return Err(error.into()),
    };
    match found {
        Some(FORMAT) => {}
        Some(found) => return Err(Error::Format { found, known: FORMAT }),
        None => create_tables(&database)?,
    }
    Ok(database)
}

/// All tables at once, so that readers never meet an absent one.
fn create_tables(database: &Database) -> Result<(), Error> {
    let write = database.begin_write()?;
    write.open_table(CONTAINERS)?;
    write.open_table(BLOBS)?;
    write.open_table(PARTS)?;
    write.open_table(BLOCKS)?;
    write.open_table(BLOCK_COUNTS)?;
    write.open_table(CONTENT)?;
    write.open_table(PUBLISHED)?;
    write.open_table(META)?.insert("format", FORMAT)?;
    write.commit()?;
    Ok(())
}

/// A consistent state to read from.
pub(super) struct Read(ReadTransaction);

impl Read {
    pub fn container(&self, name: &str) -> Result<Option<Container>, Error> {
        container(&self.0.open_table(CONTAINERS)?, name)
    }

    pub fn containers(&self) -> Result<impl ReadableTable<&'static str, &'static [u8]>, Error> {
        Ok(self.0.open_table(CONTAINERS)?)
    }

    pub fn blob(&self, container: &str, name: &str) -> Result<Option<Blob>, Error> {
        blob(&self.0.open_table(BLOBS)?, container, name)
    }

    pub fn blobs(&self) -> Result<impl ReadableTable<(&'static str, &'static str), &'static [u8]>, Error> {
        Ok(self.0.open_table(BLOBS)?)
    }

    pub fn parts(&self, container: &str, name: &str) -> Result<Vec<Part>, Error> {
        parts(&self.0.open_table(PARTS)?, container, name)
    }

    pub fn blocks(&self, container: &str, name: &str) -> Result<Vec<(String, Block)>, Error> {
        blocks(&self.0.open_table(BLOCKS)?, container, name)
    }

    pub fn has_content(&self, id: ContentId) -> Result<bool, Error> {
        Ok(self.0.open_table(CONTENT)?.get(id.0.as_u128())?.is_some())
    }

    pub fn published(&self, publisher: &str) -> Result<Option<(u64, i64)>, Error> {
        Ok(self.0.open_table(PUBLISHED)?.get(publisher)?.map(|mark| mark.value()))
    }
}

/// A change being made.
pub(super) struct Write(WriteTransaction);

impl Write {
    /// The version of the next thing changed.
    pub fn next_etag(&self) -> Result<Etag, Error> {
        let mut meta = self.0.open_table(META)?;
        let next = meta.get("generation")?.map_or(0, |g| g.value()) + 1;
        meta.insert("generation", next)?;
        Ok(Etag(next))
    }

    pub fn container(&self, name: &str) -> Result<Option<Container>, Error> {
        container(&self.0.open_table(CONTAINERS)?, name)
    }

    pub fn put_container(&self, name: &str, container: &Container) -> Result<(), Error> {
        self.0.open_table(CONTAINERS)?.insert(name, encode(container, "a container")?.as_slice())?;
        Ok(())
    }

    pub fn remove_container(&self, name: &str) -> Result<(), Error> {
        self.0.open_table(CONTAINERS)?.remove(name)?;
        Ok(())
    }

    /// The name of some blob of a container, for emptying it.
    pub fn any_blob(&self, container: &str) -> Result<Option<String>, Error> {
        let table = self.0.open_table(BLOBS)?;
        let first = table.range((container, "")..)?.next().transpose()?;
        Ok(first.and_then(|(key, _)| {
            let (found, name) = key.value();
            (found == container).then(|| name.to_owned())
        }))
    }

    pub fn blob(&self, container: &str, name: &str) -> Result<Option<Blob>, Error> {
        blob(&self.0.open_table(BLOBS)?, container, name)
    }

    pub fn put_blob(&self, container: &str, name: &str, blob: &Blob) -> Result<(), Error> {
        self.0.open_table(BLOBS)?.insert((container, name), encode(blob, "a blob")?.as_slice())?;
        Ok(())
    }

    pub fn remove_blob(&self, container: &str, name: &str) -> Result<(), Error> {
        self.0.open_table(BLOBS)?.remove((container, name))?;
        self.0.open_table(PARTS)?.remove((container, name))?;
        Ok(())
    }

    pub fn parts(&self, container: &str, name: &str) -> Result<Vec<Part>, Error> {
        parts(&self.0.open_table(PARTS)?, container, name)
    }

    pub fn put_parts(&self, container: &str, name: &str, parts: &[Part]) -> Result<(), Error> {
        self.0.open_table(PARTS)?.insert((container, name), encode(&parts, "parts")?.as_slice())?;
        Ok(())
    }

    pub fn block(&self, container: &str, name: &str, id: &str) -> Result<Option<Block>, Error> {
        let table = self.0.open_table(BLOCKS)?;
        let found = table.get((container, name, id))?;
        found.map(|bytes| decode(bytes.value(), "a block")).transpose()
    }

    pub fn blocks(&self, container: &str, name: &str) -> Result<Vec<(String, Block)>, Error> {
        blocks(&self.0.open_table(BLOCKS)?, container, name)
    }

    /// All uncommitted blocks of a container, or of the account: container, blob, id, block.
    pub fn all_blocks(&self, of: Option<&str>) -> Result<Vec<(String, String, String, Block)>, Error> {
        let table = self.0.open_table(BLOCKS)?;
        let mut found = Vec::new();
        for entry in table.range((of.unwrap_or_default(), "", "")..)? {
            let (key, value) = entry?;
            let (container, name, id) = key.value();
            if of.is_some_and(|of| of != container) {
                break;
            }
            found.push((container.into(), name.into(), id.into(), decode(value.value(), "a block")?));
        }
        Ok(found)
    }

    pub fn block_count(&self, container: &str, name: &str) -> Result<u64, Error> {
        Ok(self.0.open_table(BLOCK_COUNTS)?.get((container, name))?.map_or(0, |count| count.value()))
    }

    pub fn first_block_id(&self, container: &str, name: &str) -> Result<Option<String>, Error> {
        let table = self.0.open_table(BLOCKS)?;
        let first = table.range((container, name, "")..)?.next().transpose()?;
        Ok(first.and_then(|(key, _)| {
            let (of, blob, id) = key.value();
            ((of, blob) == (container, name)).then(|| id.to_owned())
        }))
    }

    pub fn put_block(&self, container: &str, name: &str, id: &str, block: &Block) -> Result<(), Error> {
        let record = encode(block, "a block")?;
        let is_new = self.0.open_table(BLOCKS)?.insert((container, name, id), record.as_slice())?.is_none();
        if is_new {
            let count = self.block_count(container, name)? + 1;
            self.0.open_table(BLOCK_COUNTS)?.insert((container, name), count)?;
        }
        Ok(())
    }

    pub fn remove_block(&self, container: &str, name: &str, id: &str) -> Result<(), Error> {
        if self.0.open_table(BLOCKS)?.remove((container, name, id))?.is_some() {
            let count = self.block_count(container, name)?.saturating_sub(1);
            let mut counts = self.0.open_table(BLOCK_COUNTS)?;
            if count == 0 {
                counts.remove((container, name))?;
            } else {
                counts.insert((container, name), count)?;
            }
        }
        Ok(())
    }

    pub fn put_content(&self, id: ContentId) -> Result<(), Error> {
        self.0.open_table(CONTENT)?.insert(id.0.as_u128(), ())?;
        Ok(())
    }

    pub fn remove_content(&self, id: ContentId) -> Result<(), Error> {
        self.0.open_table(CONTENT)?.remove(id.0.as_u128())?;
        Ok(())
    }

    pub fn put_published(&self, publisher: &str, mark: (u64, i64)) -> Result<(), Error> {
        self.0.open_table(PUBLISHED)?.insert(publisher, mark)?;
        Ok(())
    }
}

fn container(
    table: &impl ReadableTable<&'static str, &'static [u8]>,
    name: &str,
) -> Result<Option<Container>, Error> {
    table.get(name)?.map(|bytes| decode(bytes.value(), "a container")).transpose()
}

fn blob(
    table: &impl ReadableTable<(&'static str, &'static str), &'static [u8]>,
    container: &str,
    name: &str,
) -> Result<Option<Blob>, Error> {
    table.get((container, name))?.map(|bytes| decode(bytes.value(), "a blob")).transpose()
}

fn parts(
    table: &impl ReadableTable<(&'static str, &'static str), &'static [u8]>,
    container: &str,
    name: &str,
) -> Result<Vec<Part>, Error> {
    let found = table.get((container, name))?.map(|bytes| decode(bytes.value(), "parts"));
    Ok(found.transpose()?.unwrap_or_default())
}

fn blocks(
    table: &impl ReadableTable<(&'static str, &'static str, &'static str), &'static [u8]>,
    container: &str,
    name: &str,
) -> Result<Vec<(String, Block)>, Error> {
    let mut found = Vec::new();
    for entry in table.range((container, name, "")..)? {
        let (key, value) = entry?;
        let (of, blob, id) = key.value();
        if (of, blob) != (container, name) {
            break;
        }
        found.push((id.to_owned(), decode(value.value(), "a block")?));
    }
    Ok(found)
}

/// Reads a record.
pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8], what: &'static str) -> Result<T, Error> {
    serde_json::from_slice(bytes).map_err(|_| Error::Record(what))
}

fn encode<T: Serialize>(record: &T, what: &'static str) -> Result<Vec<u8>, Error> {
    serde_json::to_vec(record).map_err(|_| Error::Record(what))
}

/// A new name for a file of content. Random, so that a removed file that a power cut brings back is never taken for another.
pub(super) fn new_content_id() -> ContentId {
    ContentId(Uuid::new_v4())
}
