//! The agent's files on a disk.

use super::seams::Store;
use async_trait::async_trait;
use ironbrook_log::storage::{File, Storage};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Longest file that is read: a deployment has at most 32 KiB, and a few times that with what is known of its modules.
const FILE_LEN_MAX: u64 = 4 * 1024 * 1024;

/// Files in one folder of a [`Storage`], each replaced as a whole.
#[derive(Clone)]
pub struct FileStore {
    storage: Arc<dyn Storage>,
    folder: PathBuf,
}

impl FileStore {
    /// Files in this folder, which is made if absent. Only their owner may read them, which the storage sees to: deployments may
    /// hold secrets.
    pub fn new(storage: Arc<dyn Storage>, folder: impl Into<PathBuf>) -> Self {
        Self { storage, folder: folder.into() }
    }
}

#[async_trait]
impl Store for FileStore {
    async fn load(&self, name: &'static str) -> io::Result<Option<Vec<u8>>> {
        let (storage, path) = (self.storage.clone(), self.folder.join(name));
        blocking(move || match storage.open(&path, false) {
            Ok(file) => read(&*file).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        })
        .await
    }

    async fn save(&self, name: &'static str, content: Vec<u8>) -> io::Result<()> {
        let (storage, folder) = (self.storage.clone(), self.folder.clone());
        blocking(move || replace(&*storage, &folder, name, &content)).await
    }
}

fn read(file: &dyn File) -> io::Result<Vec<u8>> {
    let len = file.len()?;
    if len > FILE_LEN_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the file is far too long"));
    }
    let mut content = vec![0; usize::try_from(len).unwrap_or(0)];
    let mut filled = 0;
    while let Some(rest) = content.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, filled as u64)? {
            0 => break,
            read => filled += read,
        }
    }
    content.truncate(filled);
    Ok(content)
}

/// Writes beside the file, then renames: whoever reads finds the old content or the new.
fn replace(storage: &dyn Storage, folder: &Path, name: &str, content: &[u8]) -> io::Result<()> {
    storage.create_folder(folder)?;
    let part = folder.join(format!("{name}.part"));
    let file = storage.open(&part, true)?;
    file.set_len(0)?;
    file.write_at(content, 0)?;
    file.sync_data()?;
    storage.rename(&part, &folder.join(name))?;
    storage.sync_folder(folder)
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

#[cfg(test)]
mod tests {
    use super::*;
    use ironbrook_log::storage::Memory;

    #[tokio::test]
    async fn files_are_their_owners_alone() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let files = ironbrook_log::Files::open(folder.path()).unwrap();
        let store = FileStore::new(Arc::new(files), "edge/agent");
        for content in [&b"secret"[..], b"another"] {
            store.save("deployment.json", content.to_vec()).await.unwrap();
            let metadata = std::fs::metadata(folder.path().join("edge/agent/deployment.json")).unwrap();
            assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
        }
    }

    #[tokio::test]
    async fn a_file_is_replaced_as_a_whole() {
        let memory: Arc<dyn Storage> = Arc::new(Memory::new());
        let store = FileStore::new(memory.clone(), "agent");
        assert_eq!(store.load("a.json").await.unwrap(), None);
        store.save("a.json", b"a long first content".to_vec()).await.unwrap();
        store.save("a.json", b"short".to_vec()).await.unwrap();
        let again = FileStore::new(memory, "agent");
        assert_eq!(again.load("a.json").await.unwrap().as_deref(), Some(&b"short"[..]));
    }
}
