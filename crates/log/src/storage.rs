//! The seam to the disk: the few file calls the log, the registry and the storage account need.
//!
//! Calls block; callers run them on threads meant for that. [`Files`] is the real disk, [`Memory`] one that forgets,
//! with faults for tests.

mod files;
mod memory;

use std::io;
use std::ops::Range;
use std::path::{Component, Path};
use std::sync::Arc;

pub use files::{Files, LOCK, ReadOnly};
pub use memory::Memory;

/// An open file.
pub trait File: Send + Sync {
    /// Reads up to `buffer.len()` bytes at a position; 0 at the end.
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize>;
    /// Writes all bytes at a position, growing the file as needed. Not durable before [`sync_data`](Self::sync_data).
    /// After an error any part of the bytes may have been written.
    fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<()>;
    /// Length in bytes.
    fn len(&self) -> io::Result<u64>;
    /// Whether there is nothing in it.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
    /// Cuts or grows the file; what is new reads as zeros. Durable after [`sync_data`](Self::sync_data).
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// Makes contents and length durable. The name of a new file needs [`Storage::sync_folder`] as well.
    /// After an error nobody knows what is on disk, and a second call proves nothing.
    fn sync_data(&self) -> io::Result<()>;
    /// Says that these bytes will hardly be read soon, so that the system need not keep them in memory. They stay in the file. A hint
    /// that may do nothing.
    fn forget(&self, _bytes: Range<u64>) {}
}

/// A place with files and folders. Paths are relative to its root and may not leave it.
pub trait Storage: Send + Sync + 'static {
    /// Opens a file for reading and writing; with `create` it is made if absent.
    fn open(&self, path: &Path, create: bool) -> io::Result<Arc<dyn File>>;
    /// The names in a folder, files and folders, unsorted; `NotFound` if there is no such folder.
    fn list(&self, folder: &Path) -> io::Result<Vec<String>>;
    /// Makes a folder and its parents; durable when it returns.
    fn create_folder(&self, folder: &Path) -> io::Result<()>;
    /// Removes a file. Durable after [`sync_folder`](Self::sync_folder). Open handles stay usable.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Renames a file, replacing the target. Durable after [`sync_folder`](Self::sync_folder) of the target's folder.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Makes creations, renames and removals in a folder durable.
    fn sync_folder(&self, folder: &Path) -> io::Result<()>;
}

/// Refuses what is not plain names below the root: `..`, absolute paths, prefixes.
fn check_inside(path: &Path) -> io::Result<()> {
    let plain = path.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    if plain {
        Ok(())
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidInput, "a path may not leave its root"))
    }
}

/// The folder a name is in; the root for a bare name.
pub(crate) fn folder_of(path: &Path) -> &Path {
    path.parent().unwrap_or_else(|| Path::new(""))
}

/// Whether an error says that there is no space left, which heals, unlike all others.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
