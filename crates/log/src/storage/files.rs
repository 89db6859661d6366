//! Real files below a root folder.

use super::{File, Storage, check_inside};
#[cfg(target_os = "linux")]
use rustix::fs::Advice;
use std::io;
#[cfg(target_os = "linux")]
use std::num::NonZeroU64;
use std::ops::Range;
use std::os::unix::fs::{FileExt, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The name of the lock file in the root of [`Files`].
pub const LOCK: &str = ".lock";

/// Real files below a root folder, which one process at a time may use.
///
/// The root is locked as long as this value, a clone of it or a file opened through it lives: two processes that write
/// the same log would destroy it. Symbolic links inside the root are followed: the names in it are ours.
#[derive(Debug, Clone)]
pub struct Files {
    root: PathBuf,
    lock: Arc<std::fs::File>,
}

impl Files {
    /// Opens a root folder and makes it if absent.
    ///
    /// # Errors
    /// `ResourceBusy` if another process, or another `Files` of this one, has it open.
    pub fn open(root: impl Into<PathBuf>) -> io::Result<Self> {
        let root = root.into();
        std::fs::create_dir_all(&root)?;
        let lock = options().create(true).open(root.join(LOCK))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { root, lock: Arc::new(lock) }),
            Err(std::fs::TryLockError::WouldBlock) => Err(io::Error::new(
                io::ErrorKind::ResourceBusy,
                format!("{} is in use by another process; stop it first", root.display()),
            )),
            Err(std::fs::TryLockError::Error(error)) => Err(error),
        }
    }

    /// The root folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    fn path(&self, path: &Path) -> io::Result<PathBuf> {
        check_inside(path)?;
        Ok(self.root.join(path))
    }
}

/// Real files below a root folder, to be looked at only. Nothing is locked: another process may have them open as [`Files`].
/// Whatever would change something fails with `ReadOnlyFilesystem`.
#[derive(Debug, Clone)]
pub struct ReadOnly {
    root: PathBuf,
}

impl ReadOnly {
    /// The files below a folder.
    ///
    /// # Errors
    /// If there is no such folder.
    pub fn open(root: impl Into<PathBuf>) -> io::Result<Self> {
        let root = root.into();
        std::fs::read_dir(&root)?;
        Ok(Self { root })
    }

    fn path(&self, path: &Path) -> io::Result<PathBuf> {
        check_inside(path)?;
        Ok(self.root.join(path))
    }
}

fn read_only<T>() -> io::Result<T> {
    Err(io::ErrorKind::ReadOnlyFilesystem.into())
}

impl Storage for ReadOnly {
    fn open(&self, path: &Path, create: bool) -> io::Result<Arc<dyn File>> {
        if create {
            return read_only();
        }
        Ok(Arc::new(ReadOnlyFile(std::fs::File::open(self.path(path)?)?)))
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        names_in(&self.path(folder)?)
    }

    fn create_folder(&self, _folder: &Path) -> io::Result<()> {
        read_only()
    }

    fn remove(&self, _path: &Path) -> io::Result<()> {
        read_only()
    }

    fn rename(&self, _from: &Path, _to: &Path) -> io::Result<()> {
        read_only()
    }

    fn sync_folder(&self, _folder: &Path) -> io::Result<()> {
        read_only()
    }
}

struct ReadOnlyFile(std::fs::File);

impl File for ReadOnlyFile {
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        read_at(&self.0, buffer, position)
    }

    fn write_at(&self, _bytes: &[u8], _position: u64) -> io::Result<()> {
        read_only()
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn set_len(&self, _len: u64) -> io::Result<()> {
        read_only()
    }

    fn sync_data(&self) -> io::Result<()> {
        read_only()
    }
}

fn read_at(file: &std::fs::File, buffer: &mut [u8], position: u64) -> io::Result<usize> {
    loop {
        match file.read_at(buffer, position) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

fn names_in(folder: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        // Names that are not UTF-8 are not ours.
        if let Ok(name) = entry?.file_name().into_string()
            && name != LOCK
        {
            names.push(name);
        }
    }
    Ok(names)
}

/// How files are opened. New ones are their owner's alone, whatever folder they are in: they hold keys and messages.
fn options() -> std::fs::OpenOptions {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).truncate(false).mode(0o600);
    options
}

impl Storage for Files {
    fn open(&self, path: &Path, create: bool) -> io::Result<Arc<dyn File>> {
        let path = self.path(path)?;
        let file = options().read(true).create(create).open(path)?;
        Ok(Arc::new(RealFile { file, _lock: self.lock.clone() }))
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        names_in(&self.path(folder)?)
    }

    fn create_folder(&self, folder: &Path) -> io::Result<()> {
        check_inside(folder)?;
        let mut path = self.root.clone();
        for part in folder.components() {
            let parent = path.clone();
            path.push(part);
            match std::fs::create_dir(&path) {
                Ok(()) => sync_real_folder(&parent)?,
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(self.path(path)?)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(self.path(from)?, self.path(to)?)
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        sync_real_folder(&self.path(folder)?)
    }
}

/// A folder is synced through a descriptor of its own.
fn sync_real_folder(path: &Path) -> io::Result<()> {
    std::fs::File::open(path)?.sync_all()
}

struct RealFile {
    file: std::fs::File,
    /// A writer that outlives its `Files` still keeps others out.
    _lock: Arc<std::fs::File>,
}

impl File for RealFile {
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        read_at(&self.file, buffer, position)
    }

    fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        self.file.write_all_at(bytes, position)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    #[cfg(target_os = "linux")]
    fn forget(&self, bytes: Range<u64>) {
        // A hint: where a file system does not take it, nothing is lost.
        if let Some(length) = NonZeroU64::new(bytes.end.saturating_sub(bytes.start)) {
            let _ = rustix::fs::fadvise(&self.file, bytes.start, Some(length), Advice::DontNeed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_leave_the_root_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let files = Files::open(folder.path().join("root")).unwrap();
        for path in ["../x", "/etc/passwd", "a/../../x"] {
            let error = files.open(Path::new(path), true).err().unwrap();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{path}");
        }
        assert!(files.rename(Path::new("a"), Path::new("../a")).is_err());
    }

    #[test]
    fn a_second_user_is_kept_out_until_the_last_file_is_closed() {
        let folder = tempfile::tempdir().unwrap();
        let files = Files::open(folder.path()).unwrap();
        let file = files.open(Path::new("x"), true).unwrap();
        drop(files);
        assert_eq!(Files::open(folder.path()).err().unwrap().kind(), io::ErrorKind::ResourceBusy);
        drop(file);
        Files::open(folder.path()).unwrap();
    }

    #[test]
    fn what_another_one_has_open_can_be_looked_at_and_not_changed() {
        let folder = tempfile::tempdir().unwrap();
        let files = Files::open(folder.path()).unwrap();
        let file = files.open(Path::new("x"), true).unwrap();
        file.write_at(b"hello", 0).unwrap();
        let looked = ReadOnly::open(folder.path()).unwrap();
        assert_eq!(looked.list(Path::new("")).unwrap(), ["x"]);
        let found = looked.open(Path::new("x"), false).unwrap();
        let mut buffer = [0; 9];
        assert_eq!(found.read_at(&mut buffer, 1).unwrap(), 4);
        let denied = [
            found.write_at(b"y", 0),
            found.set_len(0),
            looked.remove(Path::new("x")),
            looked.rename(Path::new("x"), Path::new("y")),
            looked.create_folder(Path::new("y")),
            looked.open(Path::new("y"), true).map(drop),
        ];
        for result in denied {
            assert_eq!(result.unwrap_err().kind(), io::ErrorKind::ReadOnlyFilesystem);
        }
        assert_eq!(file.len().unwrap(), 5);
    }

    #[test]
    fn what_is_stored_is_read_by_its_owner_only() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let files = Files::open(folder.path()).unwrap();
        files.open(Path::new("keys"), true).unwrap();
        let mode = std::fs::metadata(folder.path().join("keys")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn files_are_made_listed_renamed_and_removed() {
        let folder = tempfile::tempdir().unwrap();
        let files = Files::open(folder.path()).unwrap();
        files.create_folder(Path::new("a/b")).unwrap();
        let file = files.open(Path::new("a/b/x"), true).unwrap();
        file.write_at(b"hello", 2).unwrap();
        file.sync_data().unwrap();
        files.rename(Path::new("a/b/x"), Path::new("a/b/y")).unwrap();
        files.sync_folder(Path::new("a/b")).unwrap();
        assert_eq!(files.list(Path::new("a/b")).unwrap(), ["y"]);
        let mut buffer = [9; 8];
        assert_eq!(file.read_at(&mut buffer, 0).unwrap(), 7);
        assert_eq!(&buffer[..7], b"\0\0hello");
        files.remove(Path::new("a/b/y")).unwrap();
        assert_eq!(files.open(Path::new("a/b/y"), false).err().unwrap().kind(), io::ErrorKind::NotFound);
    }
}
