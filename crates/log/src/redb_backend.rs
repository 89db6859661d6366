//! Databases on the same storage as the log, so that what breaks the disk in a test breaks them too.

use crate::storage::folder_of;
use crate::{File, Storage};
use redb::{Builder, StorageBackend};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A redb database's file on a [`Storage`].
///
/// One database at a time may be open on a file. A database that met an error of its storage, a full disk included,
/// refuses all further work until it is opened anew.
pub struct RedbBackend {
    file: Arc<dyn File>,
    path: PathBuf,
}

impl fmt::Debug for RedbBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedbBackend").field("path", &self.path).finish_non_exhaustive()
    }
}

/// Opens a database's file for [`Builder::create_with_backend`]; folders on the way to it are made. Blocks.
///
/// A new database is first made whole beside its place: redb takes a file whose first bytes were lost for a foreign one
/// for ever after.
pub fn redb_backend(storage: &Arc<dyn Storage>, path: &Path) -> io::Result<RedbBackend> {
    let open = |path: &Path, create| {
        storage.open(path, create).map(|file| RedbBackend { file, path: path.to_path_buf() })
    };
    match open(path, false) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        found => return found,
    }
    let folder = folder_of(path);
    storage.create_folder(folder)?;
    let beside = path.with_extension("new");
    let backend = open(&beside, true)?;
    backend.file.set_len(0)?;
    drop(Builder::new().create_with_backend(backend).map_err(io::Error::other)?);
    storage.rename(&beside, path)?;
    storage.sync_folder(folder)?;
    open(path, false)
}

impl StorageBackend for RedbBackend {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let mut count = 0;
        while count < out.len() {
            match self.file.read_at(&mut out[count..], offset + count as u64)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                more => count += more,
            }
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let longer = len > self.file.len()?;
        self.file.set_len(len)?;
        // redb's next header speaks of the new length; it must never be on disk before the length is.
        if longer { self.file.sync_data() } else { Ok(()) }
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.file.write_at(data, offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Memory;
    use rand::{Rng, SeedableRng, rngs::StdRng};
    use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
    use std::collections::BTreeMap;

    const TABLE: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("t");

    fn open(memory: &Memory) -> Result<Database, Box<dyn std::error::Error>> {
        let storage: Arc<dyn Storage> = Arc::new(memory.clone());
        let backend = redb_backend(&storage, Path::new("data/db"))?;
        Ok(Builder::new().set_cache_size(1 << 20).create_with_backend(backend)?)
    }

    fn put(db: &Database, entries: &[(u64, Vec<u8>)]) -> Result<(), Box<dyn std::error::Error>> {
        let transaction = db.begin_write()?;
        {
            let mut table = transaction.open_table(TABLE)?;
            for (key, value) in entries {
                table.insert(key, value.as_slice())?;
            }
        }
        Ok(transaction.commit()?)
    }

    fn all(db: &Database) -> BTreeMap<u64, Vec<u8>> {
        let Ok(table) = db.begin_read().unwrap().open_table(TABLE) else { return BTreeMap::new() };
        table.iter().unwrap().map(|e| e.unwrap()).map(|(k, v)| (k.value(), v.value().to_vec())).collect()
    }

    /// Each transaction is there whole or not at all, and all committed ones are, wherever the power goes off.
    #[test]
    fn no_power_cut_breaks_a_database() {
        for seed in 0..80 {
            let mut random = StdRng::seed_from_u64(seed);
            let mut memory = Memory::new();
            let mut committed = BTreeMap::new();
            for round in 0..3 {
                memory.power_off_after(random.random_range(0..120));
                let mut tried = committed.clone();
                if let Ok(db) = open(&memory) {
                    for _ in 0..6 {
                        let size = random.random_range(1..40_000);
                        let entries: Vec<_> = (0..random.random_range(1..8))
                            .map(|_| (random.random_range(0..50), vec![random.random(); size]))
                            .collect();
                        tried.extend(entries.iter().cloned());
                        if put(&db, &entries).is_err() {
                            break;
                        }
                        committed.clone_from(&tried);
                    }
                }
                memory = memory.power_cut(random.random());
                let found = all(&open(&memory).unwrap());
                assert!(found == committed || found == tried, "seed {seed} round {round}");
                committed = found;
            }
        }
    }

    #[test]
    fn a_failed_sync_is_not_taken_for_a_commit() {
        let memory = Memory::new();
        let db = open(&memory).unwrap();
        put(&db, &[(1, vec![1])]).unwrap();
        memory.fail_sync(1);
        assert!(put(&db, &[(2, vec![2])]).is_err());
        let found = all(&open(&memory.power_cut(3)).unwrap());
        assert_eq!(found.keys().collect::<Vec<_>>(), [&1]);
    }
}
