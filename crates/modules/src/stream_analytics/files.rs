//! The module's folder: the job that runs, and the state of its windows. Each file is written anew as a whole and then put in the place
//! of the old one, so that a kill at any moment leaves the one or the other.

use super::package::Package;
use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

const JOB: &str = "job.json";
const STATE: &str = "state";
/// Largest file that is read, in bytes; the engine's state is limited far below.
const FILE_LEN_MAX: u64 = 256 << 20;
/// Length of the digest at the end of the state, in bytes.
const SUM_LEN: usize = 16;

/// The job that ran last, and what the twin called it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct KeptJob {
    /// [`Wish::key`](super::twin::Wish::key).
    pub(super) key: String,
    pub(super) package: Package,
}

/// The folder; without one, memory.
#[derive(Debug)]
pub(super) struct Files {
    folder: Option<PathBuf>,
    in_memory: Option<Bytes>,
}

impl Files {
    pub(super) fn new(folder: Option<PathBuf>) -> Self {
        Self { folder, in_memory: None }
    }

    /// The job that ran last; `None` where there is none or it cannot be read.
    pub(super) async fn job(&self) -> io::Result<Option<KeptJob>> {
        let Some(folder) = self.folder.clone() else { return Ok(None) };
        let Some(bytes) = blocking(move || read(&folder.join(JOB))).await? else { return Ok(None) };
        serde_json::from_slice(&bytes).map(Some).map_err(io::Error::other)
    }

    /// Keeps the job, before its state is kept.
    pub(super) async fn keep_job(&self, job: &KeptJob) -> io::Result<()> {
        let Some(folder) = self.folder.clone() else { return Ok(()) };
        let bytes = serde_json::to_vec_pretty(job).map_err(io::Error::other)?;
        blocking(move || write(&folder, JOB, &[&bytes])).await
    }

    /// The state that was kept last; an error where it is damaged.
    pub(super) async fn state(&self) -> io::Result<Option<Vec<u8>>> {
        let Some(folder) = self.folder.clone() else {
            return Ok(self.in_memory.as_ref().map(|state| state.to_vec()));
        };
        let Some(mut bytes) = blocking(move || read(&folder.join(STATE))).await? else { return Ok(None) };
        let damaged = || io::Error::new(io::ErrorKind::InvalidData, "the state file is damaged");
        let end = bytes.len().checked_sub(SUM_LEN).ok_or_else(damaged)?;
        if sum(&bytes[..end]) != bytes[end..] {
            return Err(damaged());
        }
        bytes.truncate(end);
        Ok(Some(bytes))
    }

    /// Keeps the state; safe when it returns.
    pub(super) async fn keep_state(&mut self, bytes: Bytes) -> io::Result<()> {
        let Some(folder) = self.folder.clone() else {
            self.in_memory = Some(bytes);
            return Ok(());
        };
        blocking(move || write(&folder, STATE, &[&bytes, &sum(&bytes)])).await
    }

    /// Forgets job and state.
    pub(super) async fn clear(&mut self) -> io::Result<()> {
        self.in_memory = None;
        let Some(folder) = self.folder.clone() else { return Ok(()) };
        blocking(move || [JOB, STATE].iter().try_for_each(|name| remove(&folder.join(name)))).await
    }
}

fn sum(bytes: &[u8]) -> [u8; SUM_LEN] {
    let mut sum = [0; SUM_LEN];
    sum.copy_from_slice(&digest(&SHA256, bytes).as_ref()[..SUM_LEN]);
    sum
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    let mut bytes = Vec::new();
    file.take(FILE_LEN_MAX).read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

fn write(folder: &Path, name: &str, parts: &[&[u8]]) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let (path, new) = (folder.join(name), folder.join(format!("{name}.new")));
    let mut file = File::create(&new)?;
    parts.iter().try_for_each(|part| file.write_all(part))?;
    file.sync_all()?;
    fs::rename(&new, &path)?;
    // The new name is safe only with its folder.
    File::open(folder)?.sync_all()
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_kept_is_there_again_and_damage_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("not/yet");
        let mut files = Files::new(Some(path.clone()));
        assert_eq!((files.job().await.unwrap(), files.state().await.unwrap()), (None, None));
        let job = KeptJob { key: "k".to_owned(), package: Package::new("n", "e", "q") };
        files.keep_job(&job).await.unwrap();
        for state in ["first", "", "second"] {
            files.keep_state(state.into()).await.unwrap();
            let state = state.as_bytes().to_vec();
            assert_eq!(Files::new(Some(path.clone())).state().await.unwrap(), Some(state));
        }
        assert_eq!(files.job().await.unwrap(), Some(job));
        let mut bytes = fs::read(path.join(STATE)).unwrap();
        // What a kill in the middle of writing leaves behind is no harm.
        fs::write(path.join("state.new"), &bytes[..3]).unwrap();
        assert!(files.state().await.unwrap().is_some());
        bytes[2] ^= 1;
        fs::write(path.join(STATE), &bytes).unwrap();
        assert!(files.state().await.is_err());
        fs::write(path.join(STATE), b"short").unwrap();
        assert!(files.state().await.is_err());
        fs::write(path.join(JOB), b"{}").unwrap();
        assert!(files.job().await.is_err());
        files.clear().await.unwrap();
        files.clear().await.unwrap();
        assert_eq!((files.job().await.unwrap(), files.state().await.unwrap()), (None, None));
    }

    #[tokio::test]
    async fn without_a_folder_state_lives_in_memory() {
        let mut files = Files::new(None);
        files.keep_state("x".into()).await.unwrap();
        assert_eq!((files.job().await.unwrap(), files.state().await.unwrap()), (None, Some(b"x".to_vec())));
        files.clear().await.unwrap();
        assert_eq!(files.state().await.unwrap(), None);
    }
}
