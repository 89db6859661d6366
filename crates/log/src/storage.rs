//! The seam to the disk: the few file calls the log, the registry and the storage account need.
//!
//! Calls block; callers run them on threads meant for that.

use std::io;
use std::path::Path;
use std::sync::Arc;

/// An open file.
pub trait File: Send + Sync {
    /// Reads up to `buffer.len()` bytes at a position; 0 at the end.
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize>;
    /// Writes all bytes at a position, growing the file as needed. Not durable before [`sync_data`](Self::sync_data).
    fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<()>;
    /// Length in bytes.
    fn len(&self) -> io::Result<u64>;
    /// Cuts or grows the file. Durable after [`sync_data`](Self::sync_data).
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// Makes contents and length durable.
    fn sync_data(&self) -> io::Result<()>;
}

/// A place with files and folders. Paths are relative to its root.
pub trait Storage: Send + Sync + 'static {
    /// Opens a file; with `create` it is made if absent.
    fn open(&self, path: &Path, create: bool) -> io::Result<Arc<dyn File>>;
    /// The names in a folder, files and folders, unsorted; `NotFound` if there is no such folder.
    fn list(&self, folder: &Path) -> io::Result<Vec<String>>;
    /// Makes a folder and its parents.
    fn create_folder(&self, folder: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Renames a file, replacing the target. Durable after [`sync_folder`](Self::sync_folder).
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Makes creations, renames and removals in a folder durable.
    fn sync_folder(&self, folder: &Path) -> io::Result<()>;
}
