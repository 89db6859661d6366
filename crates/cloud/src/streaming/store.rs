//! The files of jobs: what each is, and the state of those that ran. Each file is written anew as a whole and then put in the place of
//! the old one, so that a crash at any moment leaves the one or the other.

use super::definition::Definition;
use ironbrook_log::Storage;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The folder, in the hub's.
pub(crate) const FOLDER: &str = "streaming";
/// Endings of names.
const JOB: &str = ".job.json";
const STATE: &str = ".state";
const NEW: &str = ".new";
/// Largest file that is read, in bytes; the engine's state is limited below.
const FILE_LEN_MAX: u64 = 1 << 30;
/// Length of the checksum at the end of a state, in bytes.
const SUM_LEN: usize = 4;

/// A job as it is kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Kept {
    /// What it is.
    pub(super) definition: Definition,
    /// Whether it is to run.
    pub(super) is_wanted: bool,
    /// Where it begins when it is started next, where that was said.
    #[serde(default)]
    pub(super) start: Option<Start>,
}

/// Where a job begins to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Start {
    /// With what comes from now on. State is thrown away.
    Now,
    /// With what came in at this time, in milliseconds since 1970, and later. State is thrown away.
    At(i64),
}

/// The files.
#[derive(Clone)]
pub(super) struct Store {
    storage: Arc<dyn Storage>,
}

impl Store {
    /// Makes the folder.
    pub(super) fn open(storage: Arc<dyn Storage>) -> io::Result<Self> {
        storage.create_folder(Path::new(FOLDER))?;
        Ok(Self { storage })
    }

    /// All jobs, or why one cannot be read.
    pub(super) fn jobs(&self) -> io::Result<Vec<(String, Kept)>> {
        let mut jobs = Vec::new();
        for file in self.storage.list(Path::new(FOLDER))? {
            let Some(name) = file.strip_suffix(JOB) else { continue };
            let Some(bytes) = self.read(&path(name, JOB))? else { continue };
            let kept = serde_json::from_slice(&bytes).map_err(|error| {
                // The parser's words may quote a value, and a value may be a secret.
                let place = format!("line {}, column {}", error.line(), error.column());
                let text =
                    format!("{FOLDER}/{file} in the data folder is damaged ({place}); restore or remove it");
                io::Error::new(io::ErrorKind::InvalidData, text)
            })?;
            jobs.push((name.to_owned(), kept));
        }
        Ok(jobs)
    }

    /// Keeps a job; durable when it returns.
    pub(super) fn keep(&self, name: &str, kept: &Kept) -> io::Result<()> {
        self.write(&path(name, JOB), &[&serde_json::to_vec_pretty(kept)?])
    }

    /// Forgets a job and its state.
    pub(super) fn forget(&self, name: &str) -> io::Result<()> {
        // State without a job is forgotten by the next job of that name.
        for ending in [JOB, STATE] {
            self.remove(&path(name, ending))?;
        }
        self.storage.sync_folder(Path::new(FOLDER))
    }

    /// Forgets the state of a job.
    pub(super) fn forget_state(&self, name: &str) -> io::Result<()> {
        self.remove(&path(name, STATE))?;
        self.storage.sync_folder(Path::new(FOLDER))
    }

    /// The state that was kept last; an error where it is damaged.
    pub(super) fn state(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        let Some(mut bytes) = self.read(&path(name, STATE))? else { return Ok(None) };
        let damaged = || {
            let text = format!(
                "{FOLDER}/{name}{STATE} in the data folder is damaged; start the job with another start mode, which begins \
                 without it"
            );
            io::Error::new(io::ErrorKind::InvalidData, text)
        };
        let end = bytes.len().checked_sub(SUM_LEN).ok_or_else(damaged)?;
        if crc32c::crc32c(&bytes[..end]).to_le_bytes() != bytes[end..] {
            return Err(damaged());
        }
        bytes.truncate(end);
        Ok(Some(bytes))
    }

    /// Keeps the state; durable when it returns.
    pub(super) fn keep_state(&self, name: &str, state: &[u8]) -> io::Result<()> {
        self.write(&path(name, STATE), &[state, &crc32c::crc32c(state).to_le_bytes()])
    }

    fn read(&self, path: &Path) -> io::Result<Option<Vec<u8>>> {
        let file = match self.storage.open(path, false) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other?,
        };
        let len = usize::try_from(file.len()?.min(FILE_LEN_MAX)).unwrap_or(0);
        let (mut bytes, mut filled) = (vec![0; len], 0);
        while filled < len {
            match file.read_at(&mut bytes[filled..], filled as u64)? {
                0 => break,
                more => filled += more,
            }
        }
        bytes.truncate(filled);
        Ok(Some(bytes))
    }

    fn write(&self, path: &Path, parts: &[&[u8]]) -> io::Result<()> {
        let mut new = path.as_os_str().to_owned();
        new.push(NEW);
        let new = PathBuf::from(new);
        // What an earlier attempt left behind is no part of this one: a file that failed to sync proves nothing.
        self.remove(&new)?;
        let file = self.storage.open(&new, true)?;
        let mut at = 0;
        for part in parts {
            file.write_at(part, at)?;
            at += part.len() as u64;
        }
        file.sync_data()?;
        self.storage.rename(&new, path)?;
        self.storage.sync_folder(Path::new(FOLDER))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        match self.storage.remove(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").finish_non_exhaustive()
    }
}

/// Names of jobs are plain, so they cannot lead out of the folder.
fn path(name: &str, ending: &str) -> PathBuf {
    Path::new(FOLDER).join(format!("{name}{ending}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ironbrook_log::Memory;

    fn kept(is_wanted: bool) -> Kept {
        let text = r#"{"query":"q","inputs":{},"outputs":{}}"#;
        let definition = serde_json::from_str(text).unwrap();
        Kept { definition, is_wanted, start: is_wanted.then_some(Start::At(7)) }
    }

    #[test]
    fn what_is_kept_survives_a_power_cut_and_damage_is_seen() {
        let storage = Memory::new();
        let store = Store::open(Arc::new(storage.clone())).unwrap();
        assert_eq!((store.jobs().unwrap(), store.state("one").unwrap()), (Vec::new(), None));
        store.keep("one", &kept(false)).unwrap();
        store.keep("one", &kept(true)).unwrap();
        for state in ["first", "", "second"] {
            store.keep_state("one", state.as_bytes()).unwrap();
        }
        let storage = storage.power_cut(3);
        let store = Store::open(Arc::new(storage.clone())).unwrap();
        assert_eq!(store.jobs().unwrap(), [("one".to_owned(), kept(true))]);
        assert_eq!(store.state("one").unwrap().as_deref(), Some(&b"second"[..]));
        storage.open(&path("one", STATE), false).unwrap().write_at(b"S", 0).unwrap();
        assert!(store.state("one").unwrap_err().to_string().contains("one.state"));
        store.forget_state("one").unwrap();
        assert_eq!(store.state("one").unwrap(), None);
        store.forget("one").unwrap();
        store.forget("one").unwrap();
        assert!(store.jobs().unwrap().is_empty());
    }

    #[test]
    fn a_power_cut_at_any_operation_leaves_the_old_or_the_new_state() {
        for operation in 0..12 {
            let storage = Memory::new();
            let store = Store::open(Arc::new(storage.clone())).unwrap();
            store.keep_state("one", b"old").unwrap();
            storage.power_off_after(operation);
            let result = store.keep_state("one", b"new");
            let store = Store::open(Arc::new(storage.power_cut(operation))).unwrap();
            let found = store.state("one").unwrap().unwrap();
            assert!(found == b"new" || (result.is_err() && found == b"old"), "{operation}: {found:?}");
        }
    }
}
