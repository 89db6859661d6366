//! A folder of this machine.

use super::super::Error;
use object_store::local::LocalFileSystem;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

/// Where files are, to bring them to the disk: the store itself leaves that to the operating system.
pub(super) struct Folder(PathBuf);

/// Makes the folder if it is absent.
pub(super) fn open(path: &Path) -> Result<(LocalFileSystem, Folder), Error> {
    let failed = |error| Error::Folder { path: path.to_owned(), error };
    fs::create_dir_all(path).map_err(failed)?;
    let path = fs::canonicalize(path).map_err(failed)?;
    Ok((LocalFileSystem::new_with_prefix(&path)?, Folder(path)))
}

impl Folder {
    /// Syncs a file and the folders that lead to it.
    pub(super) async fn sync(&self, name: &str) -> Result<(), Error> {
        let (root, name) = (self.0.clone(), name.to_owned());
        let synced =
            tokio::task::spawn_blocking(move || sync(&root, &name)).await.map_err(|_| Error::Stopping)?;
        synced.map_err(|error| Error::Folder { path: self.0.clone(), error })
    }
}

fn sync(root: &Path, name: &str) -> io::Result<()> {
    let file = root.join(name);
    File::open(&file)?.sync_all()?;
    // New names are entries of folders, up to the one that was there.
    for folder in file.ancestors().skip(1).take_while(|folder| folder.starts_with(root)) {
        File::open(folder)?.sync_all()?;
    }
    Ok(())
}
