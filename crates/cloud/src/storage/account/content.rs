//! Files of content: written once under a random name, synced, then made part of a blob by the index. Names given by clients
//! never become file names.

use super::error::Error;
use super::index::new_content_id;
use super::record::ContentId;
use ironbrook_log::{File, Storage};
use md5::{Digest, Md5};
use std::collections::{HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use uuid::Uuid;

/// Content is spread over this many folders, named by the first hex digit of the file.
const FOLDERS: &str = "0123456789abcdef";

/// The folder of content files.
pub(super) struct Contents {
    storage: Arc<dyn Storage>,
    folder: PathBuf,
    pins: Mutex<Pins>,
}

/// Files that are being written or read, and those of them to be removed afterwards.
#[derive(Default)]
struct Pins {
    held: HashMap<ContentId, usize>,
    doomed: HashSet<ContentId>,
}

impl Contents {
    /// Makes the folders and their names durable.
    pub fn open(storage: Arc<dyn Storage>, folder: &Path) -> io::Result<Arc<Self>> {
        for name in FOLDERS.chars() {
            storage.create_folder(&folder.join(name.to_string()))?;
        }
        for above in folder.ancestors() {
            storage.sync_folder(above)?;
        }
        Ok(Arc::new(Self { storage, folder: folder.to_owned(), pins: Mutex::default() }))
    }

    fn pins(&self) -> MutexGuard<'_, Pins> {
        self.pins.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn folder_of(&self, id: ContentId) -> PathBuf {
        self.folder.join(&id.0.simple().to_string()[..1])
    }

    fn path_of(&self, id: ContentId) -> PathBuf {
        self.folder_of(id).join(id.0.simple().to_string())
    }

    /// Starts a file. Blocks.
    pub fn create(self: &Arc<Self>) -> Result<Draft, Error> {
        let id = new_content_id();
        let pin = self.pin(vec![id]);
        let file = self.storage.open(&self.path_of(id), true)?;
        Ok(Draft { content: Stored { id, len: 0, md5: [0; 16], kept: false, pin }, file, hasher: Md5::new() })
    }

    /// Opens a file for reading. Blocks.
    pub fn read(&self, id: ContentId) -> io::Result<Arc<dyn File>> {
        self.storage.open(&self.path_of(id), false)
    }

    /// Looks something up and keeps the files it names from being removed. One critical section, so that a removal comes either
    /// before the look-up, which then does not find the files, or after the pin, which then holds them. Blocks.
    pub fn pin_found<T>(
        self: &Arc<Self>,
        look_up: impl FnOnce() -> Result<(T, Vec<ContentId>), Error>,
    ) -> Result<(T, Pin), Error> {
        let mut pins = self.pins();
        let (found, ids) = look_up()?;
        hold(&mut pins, &ids);
        Ok((found, Pin { contents: self.clone(), ids }))
    }

    fn pin(self: &Arc<Self>, ids: Vec<ContentId>) -> Pin {
        hold(&mut self.pins(), &ids);
        Pin { contents: self.clone(), ids }
    }

    /// Removes files the index no longer knows, as soon as nobody reads them. Blocks.
    pub fn discard(&self, ids: impl IntoIterator<Item = ContentId>) {
        let mut free = Vec::new();
        let mut pins = self.pins();
        for id in ids {
            if pins.held.contains_key(&id) {
                pins.doomed.insert(id);
            } else {
                free.push(id);
            }
        }
        drop(pins);
        self.remove(&free);
    }

    /// What cannot be removed now is found by the next sweep.
    fn remove(&self, ids: &[ContentId]) {
        for id in ids {
            if let Err(error) = self.storage.remove(&self.path_of(*id)) {
                tracing::debug!(%error, "could not remove a file of content");
            }
        }
    }

    /// Removes files that are part of nothing: left by a crash between writing a file and its commit. Blocks.
    pub fn sweep(&self, is_known: impl Fn(ContentId) -> Result<bool, Error>) -> Result<usize, Error> {
        let mut removed = 0;
        for folder in FOLDERS.chars() {
            for name in self.storage.list(&self.folder.join(folder.to_string()))? {
                let Ok(id) = Uuid::parse_str(&name).map(ContentId) else { continue };
                // The order matters: who is no longer held has been committed or dropped before we ask the index.
                if !self.pins().held.contains_key(&id) && !is_known(id)? {
                    self.remove(&[id]);
                    removed += 1;
                }
            }
        }
        Ok(removed)
    }
}

fn hold(pins: &mut Pins, ids: &[ContentId]) {
    for id in ids {
        *pins.held.entry(*id).or_default() += 1;
    }
}

/// Keeps files from being removed while it lives.
pub(super) struct Pin {
    contents: Arc<Contents>,
    ids: Vec<ContentId>,
}

impl Drop for Pin {
    fn drop(&mut self) {
        let mut free = Vec::new();
        let mut pins = self.contents.pins();
        for id in &self.ids {
            let Some(count) = pins.held.get_mut(id) else { continue };
            *count -= 1;
            if *count == 0 {
                pins.held.remove(id);
                if pins.doomed.remove(id) {
                    free.push(*id);
                }
            }
        }
        drop(pins);
        self.contents.remove(&free);
    }
}

/// A file being written. Dropping it removes the file.
pub(super) struct Draft {
    content: Stored,
    file: Arc<dyn File>,
    hasher: Md5,
}

impl Draft {
    /// Bytes written so far.
    pub fn len(&self) -> u64 {
        self.content.len
    }

    /// Appends bytes. Blocks.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.file.write_at(bytes, self.content.len)?;
        self.content.len += bytes.len() as u64;
        self.hasher.update(bytes);
        Ok(())
    }

    /// Makes content and name durable. Blocks.
    pub fn finish(mut self) -> Result<Stored, Error> {
        self.file.sync_data()?;
        let contents = &self.content.pin.contents;
        contents.storage.sync_folder(&contents.folder_of(self.content.id))?;
        self.content.md5 = self.hasher.finalize().into();
        Ok(self.content)
    }
}

/// A durable file that is part of nothing yet. Dropping it removes the file, unless [`keep`](Self::keep) was called.
pub(super) struct Stored {
    pub id: ContentId,
    pub len: u64,
    pub md5: [u8; 16],
    kept: bool,
    pin: Pin,
}

impl Stored {
    /// It is part of something now, or may be.
    pub fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for Stored {
    fn drop(&mut self) {
        if !self.kept {
            // The own pin still holds it, so it goes when that is dropped, right after this.
            self.pin.contents.discard([self.id]);
        }
    }
}
