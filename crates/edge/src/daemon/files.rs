//! Small files that are there whole or not at all, with this part's errors.

use super::Error;
use crate::runtime::files;
use std::io;
use std::path::Path;

/// Writes a file with its access rights from the start; blocks until it is on disk.
pub(crate) fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<(), Error> {
    files::write(path, bytes, mode).map_err(error(path))
}

/// Reads a file; `None` where there is none.
pub(crate) fn read(path: &Path) -> Result<Option<Vec<u8>>, Error> {
    files::read(path).map_err(error(path))
}

/// Makes a folder that only this user can enter, and those above it.
pub(crate) fn make_folder(path: &Path) -> Result<(), Error> {
    files::make_folder(path).map_err(error(path))
}

fn error(path: &Path) -> impl FnOnce(io::Error) -> Error {
    move |source| Error::File { path: path.into(), source }
}
