//! A file's contents: as the running process sees them, and as a power cut would leave them.

use super::power::Random;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A file that names and handles share.
#[derive(Clone)]
pub(super) struct InodeRef(Arc<Mutex<Inode>>);

impl InodeRef {
    pub(super) fn new(inode: Inode) -> Self {
        Self(Arc::new(Mutex::new(inode)))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Inode> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A file's contents.
pub(super) struct Inode {
    current: Vec<u8>,
    /// `None` where nothing is tracked.
    disk: Option<Disk>,
}

/// What is known of the disk.
#[derive(Default)]
struct Disk {
    synced: Vec<u8>,
    changes: Vec<Change>,
}

enum Change {
    Write { position: usize, bytes: Vec<u8> },
    SetLen(usize),
}

impl Change {
    fn apply(&self, contents: &mut Vec<u8>) {
        match self {
            Self::Write { position, bytes } => write(contents, bytes, *position),
            Self::SetLen(len) => contents.resize(*len, 0),
        }
    }
}

fn write(contents: &mut Vec<u8>, bytes: &[u8], position: usize) {
    let end = position + bytes.len();
    if contents.len() < end {
        contents.resize(end, 0);
    }
    contents[position..end].copy_from_slice(bytes);
}

impl Inode {
    pub(super) fn new(tracked: bool) -> Self {
        Self { current: Vec::new(), disk: tracked.then(Disk::default) }
    }

    /// A file found on disk.
    pub(super) fn found(contents: Vec<u8>) -> Self {
        Self { current: contents.clone(), disk: Some(Disk { synced: contents, changes: Vec::new() }) }
    }

    pub(super) fn len(&self) -> u64 {
        self.current.len() as u64
    }

    pub(super) fn contents(&self) -> &[u8] {
        &self.current
    }

    pub(super) fn read(&self, buffer: &mut [u8], position: u64) -> usize {
        let from = usize::try_from(position).unwrap_or(usize::MAX).min(self.current.len());
        let count = buffer.len().min(self.current.len() - from);
        buffer[..count].copy_from_slice(&self.current[from..from + count]);
        count
    }

    pub(super) fn write(&mut self, bytes: &[u8], position: u64) {
        let position = usize::try_from(position).unwrap_or(usize::MAX);
        write(&mut self.current, bytes, position);
        if let Some(disk) = &mut self.disk {
            disk.changes.push(Change::Write { position, bytes: bytes.to_vec() });
        }
    }

    pub(super) fn set_len(&mut self, len: u64) {
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        self.current.resize(len, 0);
        if let Some(disk) = &mut self.disk {
            disk.changes.push(Change::SetLen(len));
        }
    }

    pub(super) fn sync(&mut self) {
        if let Some(Disk { synced, changes }) = &mut self.disk {
            changes.drain(..).for_each(|change| change.apply(synced));
        }
    }

    /// The kernel forgets what it could not write: readers still see it, the disk has it only if written again.
    pub(super) fn fail_sync(&mut self) {
        if let Some(disk) = &mut self.disk {
            disk.changes.clear();
        }
    }

    pub(super) fn flip_bit(&mut self, byte: u64, bit: u8) {
        let at = usize::try_from(byte).unwrap_or(usize::MAX);
        let synced = self.disk.as_mut().map(|disk| &mut disk.synced);
        for contents in [Some(&mut self.current), synced].into_iter().flatten() {
            if let Some(byte) = contents.get_mut(at) {
                *byte ^= 1 << (bit % 8);
            }
        }
    }

    /// What is on disk after a power cut that tears writes by blocks: of each change that was not synced some blocks are there,
    /// in any order, and the others are as before, or zeros where there was nothing.
    pub(super) fn after_power_cut_by_block(&self, random: &mut Random, block: usize) -> Vec<u8> {
        let Some(disk) = &self.disk else { return Vec::new() };
        let mut contents = disk.synced.clone();
        for change in &disk.changes {
            let Change::Write { position, bytes } = change else {
                if random.below(2) == 0 {
                    change.apply(&mut contents);
                }
                continue;
            };
            let mut at = 0;
            while at < bytes.len() {
                let to = (at + block - (position + at) % block).min(bytes.len());
                if random.below(2) == 0 {
                    write(&mut contents, &bytes[at..to], position + at);
                }
                at = to;
            }
        }
        contents
    }

    /// What is on disk after a power cut: each change that was not synced is there, is not, or is there in part.
    pub(super) fn after_power_cut(&self, random: &mut Random) -> Vec<u8> {
        let Some(disk) = &self.disk else { return Vec::new() };
        let mut contents = disk.synced.clone();
        for change in &disk.changes {
            match (random.below(3), change) {
                (0, _) => {}
                (1, Change::Write { position, bytes }) => {
                    write(&mut contents, &bytes[..random.below(bytes.len() + 1)], *position);
                }
                _ => change.apply(&mut contents),
            }
        }
        contents
    }
}
