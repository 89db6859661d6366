//! The folder that holds everything `dev` keeps.

use anyhow::{Context as _, bail};
use ironbrook_cloud::assembly;
use std::fs;
use std::io::{IsTerminal as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

const LOCK_FILE: &str = "ironbrook.lock";
/// The file other commands find the running hub by.
const CONNECTION_FILE: &str = "connection.json";
/// Its part while it is written.
const CONNECTION_PART: &str = "connection.part";
/// The folder of the private authority.
pub(super) const AUTHORITY: &str = "ca";

/// The folder, held by this process.
pub struct DataDir {
    path: PathBuf,
    /// Removed when dropped; present for `--ephemeral`.
    _temporary: Option<tempfile::TempDir>,
    /// Holds the lock for as long as it is open.
    _lock: fs::File,
}

impl DataDir {
    /// Opens the folder, making it if absent, and locks it.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        make_private(path)?;
        let path = path.canonicalize().with_context(|| path.display().to_string())?;
        Ok(Self { _lock: lock(&path)?, path, _temporary: None })
    }

    /// A folder of its own that is gone with the process.
    pub fn ephemeral() -> anyhow::Result<Self> {
        let temporary =
            tempfile::Builder::new().prefix("ironbrook-").tempdir().context("a temporary folder")?;
        let path = temporary.path().to_owned();
        Ok(Self { _lock: lock(&path)?, path, _temporary: Some(temporary) })
    }

    /// Where it is, absolute.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes what other commands need to find the hub; only the owner may read it, it holds keys.
    pub fn write_connection(&self, ready: &impl serde::Serialize) -> anyhow::Result<()> {
        let path = self.path.join(CONNECTION_FILE);
        let part = self.path.join(CONNECTION_PART);
        let mut file =
            fs::OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&part)?;
        file.write_all(&serde_json::to_vec_pretty(ready)?)?;
        fs::rename(&part, &path).with_context(|| path.display().to_string())
    }
}

fn make_private(path: &Path) -> anyhow::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .with_context(|| format!("cannot make {}", path.display()))
}

fn lock(folder: &Path) -> anyhow::Result<fs::File> {
    let path = folder.join(LOCK_FILE);
    let file = fs::OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .with_context(|| path.display().to_string())?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => {
            bail!(
                "{} is in use by another ironbrook; stop it, or choose another folder with --data-dir",
                folder.display()
            )
        }
        Err(fs::TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("cannot lock {}", path.display()))
        }
    }
}

/// Removes what is ours in the folder, and the folder if nothing else is in it, after asking on the terminal; `yes` answers
/// beforehand. Somebody may have chosen a folder with other things in it, such as their home: those stay.
#[allow(clippy::print_stderr, reason = "a question to a person")]
pub fn reset(path: &Path, yes: bool) -> anyhow::Result<()> {
    if !path.join(LOCK_FILE).exists() {
        bail!("{} is no data folder of ironbrook; nothing was removed", path.display());
    }
    let held = lock(path)?;
    if !yes {
        if !std::io::stdin().is_terminal() {
            bail!("reset asks before it removes anything; answer beforehand with --yes");
        }
        eprint!("Remove {} with all identities, twins, messages and blobs? [y/N] ", path.display());
        let mut answer = String::new();
        std::io::stdin().read_line(&mut answer)?;
        if !matches!(answer.trim(), "y" | "Y" | "yes") {
            bail!("nothing was removed");
        }
    }
    let gone = remove_own(path).with_context(|| format!("cannot remove {}", path.display()))?;
    drop(held);
    match gone {
        true => eprintln!("removed {}", path.display()),
        false => eprintln!("removed the hub in {}; other files in that folder stay", path.display()),
    }
    Ok(())
}

/// Whether something in the folder is kept there by the hub, the edge device or this program, all but our lock.
fn is_own(name: &str) -> bool {
    let ours =
        [CONNECTION_FILE, CONNECTION_PART, AUTHORITY, ironbrook_log::LOCK, ironbrook_edge::assembly::FOLDER];
    let is = |name: &str| ours.contains(&name) || assembly::OWN.contains(&name);
    is(name) || assembly::UNFINISHED.iter().any(|ending| name.strip_suffix(ending).is_some_and(is))
}

/// True if the folder is gone too. The lock goes last: without it the rest of an interrupted reset would be no data folder.
fn remove_own(folder: &Path) -> std::io::Result<bool> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if !entry.file_name().to_str().is_some_and(is_own) {
            continue;
        }
        if entry.file_type()?.is_dir() {
            fs::remove_dir_all(entry.path())?;
        } else {
            fs::remove_file(entry.path())?;
        }
    }
    fs::remove_file(folder.join(LOCK_FILE))?;
    match fs::remove_dir(folder) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::DirectoryNotEmpty => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_has_one_user_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let first = DataDir::open(folder.path()).unwrap();
        assert!(DataDir::open(folder.path()).err().unwrap().to_string().contains("in use"));
        assert!(reset(folder.path(), true).is_err());
        drop(first);
        reset(folder.path(), true).unwrap();
        assert!(!folder.path().exists());
    }

    #[test]
    fn reset_removes_the_hub_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        drop(DataDir::open(folder.path()).unwrap());
        fs::create_dir_all(folder.path().join("log/00000")).unwrap();
        fs::write(folder.path().join("hub.json.part"), "").unwrap();
        fs::create_dir(folder.path().join("edge")).unwrap();
        for own in assembly::OWN {
            fs::create_dir_all(folder.path().join(own)).unwrap();
        }
        fs::write(folder.path().join("log.txt"), "").unwrap();
        fs::create_dir(folder.path().join("photos")).unwrap();
        reset(folder.path(), true).unwrap();
        let mut left: Vec<_> =
            fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["log.txt", "photos"]);
        assert!(reset(folder.path(), true).is_err(), "no data folder any more");
    }

    #[test]
    fn reset_leaves_other_folders_alone() {
        let folder = tempfile::tempdir().unwrap();
        assert!(reset(folder.path(), true).is_err());
        assert!(folder.path().exists());
    }
}
