//! What must outlive a restart besides the messages: a small database on the same storage as the log.
//!
//! | table | key | value |
//! |---|---|---|
//! | queues | name of a queue | its number in the log, given once and for ever |
//! | identities | `device` or `device/module` | the scope's record, JSON with keys in clear, as the hub has them |
//! | twins | the same | the twin as last known and what is still to be reported, JSON |
//! | settings | a name | JSON |

use ironbrook_log::{QueueId, Storage};
use ironbrook_model::{ErrorCode, Refusal};
use redb::{Database, ReadableDatabase as _, ReadableTable as _, TableDefinition};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

/// Memory for pages of the database: it is small and seldom read.
const CACHE_BYTES: usize = 256 * 1024;
const QUEUES: TableDefinition<'_, &str, u16> = TableDefinition::new("queues");
const IDENTITIES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("identities");
const TWINS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("twins");
const SETTINGS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("settings");

/// Why something could not be stored or read.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// No room on the disk; it heals when there is room again.
    #[error("the disk is full; make room, and it goes on by itself")]
    Full,
    /// Anything else the disk or the database says.
    #[error("the database of the edge hub: {0}; if it stays so, restart, which recovers from disk")]
    Database(String),
    /// All numbers of queues are given out.
    #[error("all 65535 numbers of queues are used; start in a new data folder")]
    Queues,
    /// The program ends.
    #[error("the edge hub is closed")]
    Closed,
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        let code = match error {
            Error::Full => ErrorCode::ServerBusy,
            Error::Closed => ErrorCode::ServiceUnavailable,
            Error::Database(_) | Error::Queues => ErrorCode::ServerError,
        };
        Self::new(code, error.to_string())
    }
}

macro_rules! database_errors {
    ($($kind:ident),*) => {
        $(impl From<redb::$kind> for Error {
            fn from(error: redb::$kind) -> Self {
                match redb::Error::from(error) {
                    redb::Error::Io(io) if is_full(&io) => Self::Full,
                    other => Self::Database(other.to_string()),
                }
            }
        })*
    };
}

database_errors!(DatabaseError, TransactionError, TableError, StorageError, CommitError);

fn is_full(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded)
}

/// A table of JSON values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Table {
    Identities,
    Twins,
    Settings,
}

impl Table {
    fn definition(self) -> TableDefinition<'static, &'static str, &'static [u8]> {
        match self {
            Self::Identities => IDENTITIES,
            Self::Twins => TWINS,
            Self::Settings => SETTINGS,
        }
    }
}

/// The database. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Store(Arc<File>);

struct File {
    storage: Arc<dyn Storage>,
    path: PathBuf,
    /// `None` after a full disk, until it is opened again: a database that met an error refuses all further work.
    open: RwLock<Option<Database>>,
}

impl Store {
    /// Opens or makes the database. Blocks.
    pub(crate) fn open(storage: Arc<dyn Storage>, path: &Path) -> Result<Self, Error> {
        let database = open(&storage, path)?;
        Ok(Self(Arc::new(File { storage, path: path.to_owned(), open: RwLock::new(Some(database)) })))
    }

    /// All rows of a table, by key.
    pub(crate) async fn all(&self, table: Table) -> Result<Vec<(String, Vec<u8>)>, Error> {
        self.run(move |database| {
            let rows = database.begin_read()?.open_table(table.definition())?;
            let mut all = Vec::new();
            for row in rows.iter()? {
                let (key, value) = row?;
                all.push((key.value().to_owned(), value.value().to_owned()));
            }
            Ok(all)
        })
        .await
    }

    /// One row.
    pub(crate) async fn get(&self, table: Table, key: &str) -> Result<Option<Vec<u8>>, Error> {
        let key = key.to_owned();
        self.run(move |database| {
            let rows = database.begin_read()?.open_table(table.definition())?;
            Ok(rows.get(&*key)?.map(|value| value.value().to_owned()))
        })
        .await
    }

    /// Sets or removes rows, all or none; on disk when it returns.
    pub(crate) async fn put(&self, table: Table, rows: Vec<(String, Option<Vec<u8>>)>) -> Result<(), Error> {
        self.run(move |database| {
            let write = database.begin_write()?;
            {
                let mut stored = write.open_table(table.definition())?;
                for (key, value) in &rows {
                    match value {
                        Some(value) => _ = stored.insert(&**key, &**value)?,
                        None => _ = stored.remove(&**key)?,
                    }
                }
            }
            Ok(write.commit()?)
        })
        .await
    }

    /// The numbers of queues by name; names without one get the next.
    pub(crate) async fn queues(&self, names: Vec<String>) -> Result<Vec<QueueId>, Error> {
        self.run(move |database| {
            let write = database.begin_write()?;
            let numbers = {
                let mut queues = write.open_table(QUEUES)?;
                let mut used = 0;
                for row in queues.iter()? {
                    used = row?.1.value().max(used);
                }
                let mut numbers = Vec::with_capacity(names.len());
                for name in &names {
                    let known = queues.get(&**name)?.map(|number| number.value());
                    let number = match known {
                        Some(number) => number,
                        None => {
                            used = used.checked_add(1).ok_or(Error::Queues)?;
                            queues.insert(&**name, used)?;
                            used
                        }
                    };
                    numbers.push(QueueId(number));
                }
                numbers
            };
            write.commit()?;
            Ok(numbers)
        })
        .await
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Database) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let file = Arc::clone(&self.0);
        tokio::task::spawn_blocking(move || file.with(work)).await.map_err(|_| Error::Closed)?
    }
}

impl File {
    fn with<T>(&self, work: impl FnOnce(&Database) -> Result<T, Error>) -> Result<T, Error> {
        if self.open.read().unwrap_or_else(PoisonError::into_inner).is_none() {
            let mut place = self.open.write().unwrap_or_else(PoisonError::into_inner);
            if place.is_none() {
                *place = Some(open(&self.storage, &self.path)?);
                tracing::info!("the database of the edge hub goes on after a full disk");
            }
        }
        let result = {
            let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
            work(open.as_ref().ok_or(Error::Full)?)
        };
        if matches!(result, Err(Error::Full)) {
            drop(self.open.write().unwrap_or_else(PoisonError::into_inner).take());
        }
        result
    }
}

fn open(storage: &Arc<dyn Storage>, path: &Path) -> Result<Database, Error> {
    let backend = ironbrook_log::redb_backend(storage, path)
        .map_err(|error| if is_full(&error) { Error::Full } else { Error::Database(error.to_string()) })?;
    let database = Database::builder().set_cache_size(CACHE_BYTES).create_with_backend(backend)?;
    // Readers never meet a missing table.
    let write = database.begin_write()?;
    write.open_table(QUEUES)?;
    for table in [Table::Identities, Table::Twins, Table::Settings] {
        write.open_table(table.definition())?;
    }
    write.commit()?;
    Ok(database)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ironbrook_log::Memory;

    #[tokio::test]
    async fn rows_and_numbers_of_queues_survive_a_power_cut() {
        let storage = Memory::new();
        let path = Path::new("edge/hub.redb");
        let store = Store::open(Arc::new(storage.clone()), path).unwrap();
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let first = store.queues(names(&["a", "b"])).await.unwrap();
        assert_eq!(first, [QueueId(1), QueueId(2)]);
        let rows = vec![("k".to_owned(), Some(b"1".to_vec())), ("l".to_owned(), Some(b"2".to_vec()))];
        store.put(Table::Twins, rows).await.unwrap();
        store.put(Table::Twins, vec![("l".to_owned(), None)]).await.unwrap();

        let storage = storage.power_cut(3);
        let store = Store::open(Arc::new(storage), path).unwrap();
        assert_eq!(
            store.queues(names(&["b", "c", "a"])).await.unwrap(),
            [QueueId(2), QueueId(3), QueueId(1)]
        );
        assert_eq!(store.all(Table::Twins).await.unwrap(), [("k".to_owned(), b"1".to_vec())]);
        assert_eq!(store.get(Table::Settings, "k").await.unwrap(), None);
    }
}
