//! Downloading many blobs, resumable: what is here with the same size and etag is not fetched again.

use anyhow::{Context as _, bail};
use futures_util::{StreamExt as _, TryStreamExt as _};
use indicatif::{ProgressBar, ProgressStyle};
use object_store::{ObjectMeta, ObjectStore};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::io::AsyncWriteExt as _;

/// Blobs under way at once.
const AT_ONCE: usize = 4;
/// The journal of finished downloads, in the destination.
const JOURNAL: &str = ".ironbrook-pull";
/// What an unfinished file ends in.
const PART: &str = ".part";

/// What was done.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Done {
    pub downloaded: u64,
    pub unchanged: u64,
    pub bytes: u64,
}

/// A finished download: one line of the journal.
#[derive(Debug, Serialize, Deserialize)]
struct Finished {
    name: String,
    size: u64,
    etag: Option<String>,
}

/// Downloads all `blobs` into `dest`.
pub async fn pull(store: Arc<dyn ObjectStore>, blobs: Vec<ObjectMeta>, dest: &Path) -> anyhow::Result<Done> {
    std::fs::create_dir_all(dest).with_context(|| format!("the folder {} cannot be made", dest.display()))?;
    let mut journal = Journal::open(dest)?;
    let total = blobs.len() as u64;
    let wanted: Vec<_> = blobs.into_iter().filter(|blob| !journal.has(blob, dest)).collect();
    let mut done = Done { unchanged: total - wanted.len() as u64, ..Done::default() };
    let bar = bar(wanted.iter().map(|blob| blob.size).sum());
    let mut downloads = futures_util::stream::iter(wanted)
        .map(|blob| {
            let (store, bar) = (store.clone(), bar.clone());
            async move {
                let name = blob.location.to_string();
                download(&*store, &blob, dest, &bar).await.with_context(|| format!("the blob {name}"))?;
                anyhow::Ok(blob)
            }
        })
        .buffer_unordered(AT_ONCE);
    while let Some(blob) = downloads.try_next().await? {
        done.downloaded += 1;
        done.bytes += blob.size;
        journal.add(&blob)?;
    }
    bar.finish_and_clear();
    Ok(done)
}

/// A bar on stderr, drawn only where that is a terminal.
fn bar(bytes: u64) -> ProgressBar {
    let bar = ProgressBar::new(bytes);
    if let Ok(style) =
        ProgressStyle::with_template("{bar:40} {bytes}/{total_bytes} {bytes_per_sec} {eta} {wide_msg}")
    {
        bar.set_style(style);
    }
    bar
}

/// Fetches one blob beside its place and moves it there when it is whole.
async fn download(
    store: &dyn ObjectStore,
    blob: &ObjectMeta,
    dest: &Path,
    bar: &ProgressBar,
) -> anyhow::Result<()> {
    let path = local_path(dest, &blob.location)?;
    bar.set_message(blob.location.to_string());
    if let Some(folder) = path.parent() {
        tokio::fs::create_dir_all(folder).await.with_context(|| folder.display().to_string())?;
    }
    let mut part = path.clone().into_os_string();
    part.push(PART);
    let part = PathBuf::from(part);
    let mut file = tokio::fs::File::create(&part).await.with_context(|| part.display().to_string())?;
    let mut body = store.get(&blob.location).await?.into_stream();
    while let Some(bytes) = body.try_next().await? {
        file.write_all(&bytes).await.with_context(|| part.display().to_string())?;
        bar.inc(bytes.len() as u64);
    }
    file.flush().await.with_context(|| part.display().to_string())?;
    drop(file);
    tokio::fs::rename(&part, &path).await.with_context(|| path.display().to_string())
}

/// Where a blob goes. Its name comes from outside and must stay below the destination.
fn local_path(dest: &Path, name: &object_store::path::Path) -> anyhow::Result<PathBuf> {
    let mut path = dest.to_owned();
    for part in name.parts() {
        let part = part.as_ref();
        // Backslashes and drive letters are paths on some systems.
        if part.is_empty() || part == "." || part == ".." || part.contains(['/', '\\', ':', '\0']) {
            bail!("its name cannot be a file name");
        }
        path.push(part);
    }
    Ok(path)
}

/// Which blobs are here already.
struct Journal {
    file: std::fs::File,
    finished: HashMap<String, Finished>,
}

impl Journal {
    fn open(dest: &Path) -> anyhow::Result<Self> {
        let path = dest.join(JOURNAL);
        let mut finished = HashMap::new();
        // A line cut off by a crash is no line; the blob is fetched again.
        for line in std::fs::read_to_string(&path).unwrap_or_default().lines() {
            if let Ok(entry) = serde_json::from_str::<Finished>(line) {
                finished.insert(entry.name.clone(), entry);
            }
        }
        let file = std::fs::OpenOptions::new().create(true).append(true).open(&path);
        Ok(Self { file: file.with_context(|| path.display().to_string())?, finished })
    }

    fn has(&self, blob: &ObjectMeta, dest: &Path) -> bool {
        let same =
            |entry: &Finished| entry.size == blob.size && entry.etag == blob.e_tag && entry.etag.is_some();
        let here =
            |path: PathBuf| path.metadata().is_ok_and(|meta| meta.is_file() && meta.len() == blob.size);
        self.finished.get(blob.location.as_ref()).is_some_and(same)
            && local_path(dest, &blob.location).is_ok_and(here)
    }

    fn add(&mut self, blob: &ObjectMeta) -> anyhow::Result<()> {
        let entry = Finished { name: blob.location.to_string(), size: blob.size, etag: blob.e_tag.clone() };
        writeln!(self.file, "\n{}", serde_json::to_string(&entry)?).context("the journal cannot be written")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use object_store::memory::InMemory;

    async fn listed(store: &Arc<dyn ObjectStore>) -> Vec<ObjectMeta> {
        store.list(None).try_collect().await.unwrap()
    }

    #[tokio::test]
    async fn a_second_pull_fetches_only_what_changed() {
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        for (name, body) in [("hub/00/a.json", "one"), ("hub/01/b.json", "three")] {
            store.put(&name.into(), body.into()).await.unwrap();
        }
        let dest = tempfile::tempdir().unwrap();
        let first = pull(store.clone(), listed(&store).await, dest.path()).await.unwrap();
        assert_eq!(first, Done { downloaded: 2, unchanged: 0, bytes: 8 });
        assert_eq!(std::fs::read_to_string(dest.path().join("hub/01/b.json")).unwrap(), "three");

        store.put(&"hub/00/a.json".into(), "ONE".into()).await.unwrap();
        let second = pull(store.clone(), listed(&store).await, dest.path()).await.unwrap();
        assert_eq!(second, Done { downloaded: 1, unchanged: 1, bytes: 3 });
        assert_eq!(std::fs::read_to_string(dest.path().join("hub/00/a.json")).unwrap(), "ONE");

        std::fs::remove_file(dest.path().join("hub/01/b.json")).unwrap();
        let third = pull(store.clone(), listed(&store).await, dest.path()).await.unwrap();
        assert_eq!(third, Done { downloaded: 1, unchanged: 1, bytes: 5 });
    }

    #[test]
    fn names_stay_below_the_destination() {
        let path = |name: &str| local_path(Path::new("dest"), &object_store::path::Path::from(name));
        assert_eq!(path("hub/00/x.json").unwrap(), Path::new("dest/hub/00/x.json"));
        assert!(path("a/c:\\evil").is_err() || !path("a/c:\\evil").unwrap().to_string_lossy().contains('\\'));
        for name in ["../x", "a/../../x"] {
            // The store escapes dots; whatever it gives must not climb.
            assert!(path(name).map_or(true, |p| !p.components().any(|c| c.as_os_str() == "..")), "{name}");
        }
    }
}
