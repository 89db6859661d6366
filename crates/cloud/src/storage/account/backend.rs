//! The index's file, watched for failed syncs. After one, pages may be lost on disk and still be read from the system's memory, so
//! neither redb nor we may trust a database that is opened anew.

use ironbrook_log::RedbBackend;
use redb::StorageBackend;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A file that remembers whether a sync failed.
#[derive(Debug)]
pub(super) struct Backend {
    file: RedbBackend,
    sync_failed: Arc<AtomicBool>,
}

impl Backend {
    pub fn new(file: RedbBackend, sync_failed: Arc<AtomicBool>) -> Self {
        Self { file, sync_failed }
    }
}

impl StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data().inspect_err(|error| {
            tracing::error!(%error, "a sync of the storage account's index failed, restart to recover from disk");
            self.sync_failed.store(true, Ordering::Release);
        })
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.file.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.file.close()
    }
}
