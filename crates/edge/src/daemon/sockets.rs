//! The folder of unix sockets.
//!
//! A socket's path may have about a hundred bytes, data folders are often deeper. So sockets live in a short folder of their own,
//! named by user and data folder, which nobody else can enter.

use super::Error;
use aws_lc_rs::digest;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use tokio::net::UnixListener;
use tokio_util::sync::CancellationToken;

/// Longest path in bytes; systems allow 103 to 107.
const PATH_LEN_MAX: usize = 100;
/// How much of a module's name is seen in its socket's.
const NAME_LEN_MAX: usize = 20;
/// The file in `edge/` that tells where the management socket is.
pub(crate) const MANAGEMENT_PATH_FILE: &str = "mgmt.path";

/// The folder of one data folder's sockets.
pub(crate) struct Folder(PathBuf);

/// A module's socket while it is served.
pub(crate) struct Socket {
    pub path: PathBuf,
    pub stop: CancellationToken,
}

impl Socket {
    /// Frees the path and ends the server.
    pub fn close(self) {
        let _ = fs::remove_file(&self.path);
        self.stop.cancel();
    }
}

/// A bound socket.
pub(crate) struct Bound {
    pub listener: UnixListener,
    path: PathBuf,
    /// Tells this socket from a later one of the same path.
    inode: u64,
}

impl Bound {
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|metadata| metadata.ino() == self.inode) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl Folder {
    /// Opens or makes the folder below `base`, or below the first usual place that is short enough.
    pub fn open(data_dir: &Path, base: Option<&Path>) -> Result<Self, Error> {
        let real = data_dir.canonicalize().map_err(|source| Error::File { path: data_dir.into(), source })?;
        let user = rustix::process::geteuid().as_raw();
        let name = format!("ironbrook-{user}-{}", hash(real.as_os_str().as_bytes(), 6));
        let longest = format!("{name}/{}", file_name(&"x".repeat(128))).len() + 1;
        let fits = |base: &PathBuf| base.as_os_str().len() + longest <= PATH_LEN_MAX;
        let base = match base {
            Some(base) => Some(base.to_owned()),
            None => usual_places().find(fits),
        };
        let base = base.filter(fits).ok_or_else(|| {
            let room = PATH_LEN_MAX - longest;
            Error::Socket(format!(
                "no runtime folder has a path of at most {room} bytes; set XDG_RUNTIME_DIR to one that has"
            ))
        })?;
        let path = base.join(name);
        make_own(&path, user)?;
        Ok(Self(path))
    }

    /// Removes the folder once nothing is in it.
    pub fn remove(&self) {
        let _ = fs::remove_dir(&self.0);
    }

    /// Opens the socket of a name. One that a killed process left is replaced, one that is served is not.
    pub fn bind(&self, name: &str) -> Result<Bound, Error> {
        // Another process that ends on the same data folder may have removed it.
        make_own(&self.0, rustix::process::geteuid().as_raw())?;
        let path = self.0.join(file_name(name));
        let file = |source| Error::File { path: path.clone(), source };
        if std::os::unix::net::UnixStream::connect(&path).is_ok() {
            return Err(Error::Socket(format!(
                "{} is served by another process; only one may run on a data folder",
                path.display()
            )));
        }
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(file(error)),
            _ => {}
        }
        let listener = UnixListener::bind(&path).map_err(file)?;
        // Nobody else can enter the folder, so the moment between the two calls is harmless.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).map_err(file)?;
        let inode = fs::symlink_metadata(&path).map_err(file)?.ino();
        Ok(Bound { listener, path, inode })
    }
}

fn usual_places() -> impl Iterator<Item = PathBuf> {
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let runtime = runtime.filter(|path| path.is_absolute() && path.is_dir());
    runtime.into_iter().chain([std::env::temp_dir(), PathBuf::from("/tmp")])
}

fn make_own(path: &Path, user: u32) -> Result<(), Error> {
    let file = |source| Error::File { path: path.into(), source };
    match fs::DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(file(error)),
    }
    // Where anybody can make files, somebody may have made this one first to listen in.
    let metadata = fs::symlink_metadata(path).map_err(file)?;
    if metadata.is_dir() && metadata.uid() == user && metadata.mode() & 0o077 == 0 {
        return Ok(());
    }
    Err(Error::Socket(format!(
        "{} is not a folder that only this user can enter; remove it, or set XDG_RUNTIME_DIR to another place",
        path.display()
    )))
}

/// A short file name that is unique for each name.
fn file_name(name: &str) -> String {
    let seen: String =
        name.chars().filter(|c| c.is_ascii_alphanumeric() || "-_".contains(*c)).take(NAME_LEN_MAX).collect();
    format!("{seen}.{}.sock", hash(name.as_bytes(), 4))
}

fn hash(bytes: &[u8], len: usize) -> String {
    let digest = digest::digest(&digest::SHA256, bytes);
    digest.as_ref().iter().take(len).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn paths_stay_short_and_private_whatever_the_data_folder() {
        let place = tempfile::tempdir_in("/tmp").unwrap();
        let deep = place.path().join("d".repeat(200));
        fs::create_dir(&deep).unwrap();
        let folder = Folder::open(&deep, Some(place.path())).unwrap();
        assert_eq!(fs::metadata(&folder.0).unwrap().mode() & 0o777, 0o700);
        let bound = folder.bind(&"m".repeat(128)).unwrap();
        assert!(bound.path().as_os_str().len() <= PATH_LEN_MAX);
        assert_eq!(fs::metadata(bound.path()).unwrap().mode() & 0o777, 0o600);
    }

    #[tokio::test]
    async fn a_stale_socket_is_replaced_and_a_served_one_is_not() {
        let place = tempfile::tempdir_in("/tmp").unwrap();
        let folder = Folder::open(place.path(), Some(place.path())).unwrap();
        let path = folder.0.join(file_name("m"));
        // What a killed process leaves: a socket file nobody listens on.
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let bound = folder.bind("m").unwrap();
        assert!(matches!(folder.bind("m"), Err(Error::Socket(_))));
        drop(bound);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn the_end_of_an_old_server_leaves_the_new_socket() {
        let place = tempfile::tempdir_in("/tmp").unwrap();
        let folder = Folder::open(place.path(), Some(place.path())).unwrap();
        let old = folder.bind("m").unwrap();
        fs::remove_file(old.path()).unwrap();
        let new = folder.bind("m").unwrap();
        drop(old);
        assert!(new.path().exists());
    }

    #[test]
    fn a_folder_others_can_enter_and_a_link_are_refused() {
        let place = tempfile::tempdir_in("/tmp").unwrap();
        let path = place.path().join("open");
        let user = rustix::process::geteuid().as_raw();
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        assert!(matches!(make_own(&path, user), Err(Error::Socket(_))));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
        make_own(&path, user).unwrap();
        assert!(matches!(make_own(&path, user + 1), Err(Error::Socket(_))));
        std::os::unix::fs::symlink(&path, place.path().join("link")).unwrap();
        assert!(matches!(make_own(&place.path().join("link"), user), Err(Error::Socket(_))));
    }

    #[test]
    fn names_that_look_alike_have_different_files() {
        assert_ne!(file_name("a.b"), file_name("ab"));
        assert_ne!(file_name("A"), file_name("a"));
        assert!(!file_name("../x").contains('/'));
    }
}
