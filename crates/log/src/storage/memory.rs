//! Storage in memory: keeps nothing for ever, and fails like a disk where a test asks for it.

mod inode;
mod power;

use super::{File, Storage, check_inside, folder_of};
use inode::{Inode, InodeRef};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Storage in memory. Clones share their contents.
///
/// Made by [`Memory::new`] it knows which writes, creations, renames and removals were not synced, so that
/// [`power_cut`](Self::power_cut) can lose them; by [`Memory::forgetful`] it saves that memory and cannot.
#[derive(Clone)]
pub struct Memory {
    state: Arc<Mutex<State>>,
}

struct State {
    /// Off after a power cut: every call fails, so that a process still running cannot write any more.
    power: bool,
    tracked: bool,
    names: BTreeMap<PathBuf, InodeRef>,
    folders: BTreeSet<PathBuf>,
    synced_names: BTreeMap<PathBuf, InodeRef>,
    unsynced: Vec<NameChange>,
    capacity: Option<u64>,
    syncs: u64,
    failing_sync: Option<u64>,
    failing_operation: Option<u64>,
    operations: u64,
    last_operation: Option<u64>,
}

/// A change of a folder that is not yet durable.
enum NameChange {
    Create(PathBuf, InodeRef),
    Remove(PathBuf),
    Rename(PathBuf, PathBuf, InodeRef),
}

impl NameChange {
    /// The folder whose sync makes it durable.
    fn folder(&self) -> &Path {
        match self {
            Self::Create(path, _) | Self::Remove(path) | Self::Rename(_, path, _) => folder_of(path),
        }
    }

    fn apply(&self, names: &mut BTreeMap<PathBuf, InodeRef>) {
        match self {
            Self::Create(path, inode) => {
                names.insert(path.clone(), inode.clone());
            }
            Self::Remove(path) => {
                names.remove(path);
            }
            Self::Rename(from, to, inode) => {
                names.remove(from);
                names.insert(to.clone(), inode.clone());
            }
        }
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self::new()
    }
}

impl Memory {
    /// Empty storage that can suffer a power cut.
    pub fn new() -> Self {
        Self::with(true)
    }

    /// Empty storage that remembers no more than its contents: for running without a disk.
    pub fn forgetful() -> Self {
        Self::with(false)
    }

    fn with(tracked: bool) -> Self {
        let state = State {
            power: true,
            tracked,
            names: BTreeMap::new(),
            folders: BTreeSet::from([PathBuf::new()]),
            synced_names: BTreeMap::new(),
            unsynced: Vec::new(),
            capacity: None,
            syncs: 0,
            failing_sync: None,
            failing_operation: None,
            operations: 0,
            last_operation: None,
        };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// The n-th sync from now (1 is the next one) fails, once. What it should have synced is lost at a power cut even
    /// if later syncs succeed, unless it was written again, as with real disks.
    pub fn fail_sync(&self, nth: u64) {
        let mut state = self.lock();
        state.failing_sync = Some(state.syncs + nth);
    }

    /// The n-th changing call from now (1 is the next one) fails, once: a write half done, a sync as by
    /// [`fail_sync`](Self::fail_sync), all else not done.
    pub fn fail_operation(&self, nth: u64) {
        let mut state = self.lock();
        state.failing_operation = Some(state.operations + nth);
    }

    /// Flips a bit of a file, on the disk and for all who read it. Nothing happens where there is no such file or byte.
    pub fn flip_bit(&self, path: &Path, byte: u64, bit: u8) {
        if let Some(inode) = self.lock().names.get(path) {
            inode.lock().flip_bit(byte, bit);
        }
    }

    /// Sets how many bytes fit in all; a write beyond fails with `StorageFull`, half done. `None` heals it.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.lock().capacity = bytes;
    }

    /// Takes back all faults that were asked for and have not come yet, and the capacity.
    pub fn heal(&self) {
        let mut state = self.lock();
        (state.failing_sync, state.failing_operation) = (None, None);
        (state.last_operation, state.capacity) = (None, None);
    }

    /// Sum of the lengths of all files.
    pub fn used(&self) -> u64 {
        self.lock().used()
    }

    /// How many calls have changed something so far: writes, syncs, creations, renames, removals.
    pub fn operations(&self) -> u64 {
        self.lock().operations
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn powered(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.lock();
        if state.power { Ok(state) } else { Err(power_is_off()) }
    }
}

fn power_is_off() -> io::Error {
    io::Error::other("the power is off")
}

impl State {
    fn used(&self) -> u64 {
        self.names.values().map(|inode| inode.lock().len()).sum()
    }

    /// Counts a changing call; the power may go off at it.
    fn operation(&mut self) -> io::Result<()> {
        if self.last_operation.is_some_and(|last| self.operations >= last) {
            self.power = false;
            return Err(power_is_off());
        }
        self.operations += 1;
        if self.failing_operation == Some(self.operations) {
            return Err(io::Error::other("the call was made to fail"));
        }
        Ok(())
    }

    fn sync(&mut self) -> io::Result<bool> {
        let is_called = match self.operation() {
            Err(error) if !self.power => return Err(error),
            called => called.is_ok(),
        };
        self.syncs += 1;
        Ok(is_called && self.failing_sync != Some(self.syncs))
    }

    /// How many more bytes fit.
    fn free(&self) -> u64 {
        self.capacity.map_or(u64::MAX, |capacity| capacity.saturating_sub(self.used()))
    }

    fn change(&mut self, change: NameChange) {
        change.apply(&mut self.names);
        if self.tracked {
            self.unsynced.push(change);
        }
    }

    fn check_folder(&self, folder: &Path) -> io::Result<()> {
        if self.folders.contains(folder) { Ok(()) } else { Err(io::ErrorKind::NotFound.into()) }
    }
}

impl Storage for Memory {
    fn open(&self, path: &Path, create: bool) -> io::Result<Arc<dyn File>> {
        check_inside(path)?;
        let mut state = self.powered()?;
        let inode = match state.names.get(path) {
            Some(inode) => inode.clone(),
            None if create => {
                state.check_folder(folder_of(path))?;
                state.operation()?;
                let inode = InodeRef::new(Inode::new(state.tracked));
                state.change(NameChange::Create(path.to_path_buf(), inode.clone()));
                inode
            }
            None => return Err(io::ErrorKind::NotFound.into()),
        };
        Ok(Arc::new(MemoryFile { memory: self.clone(), inode }))
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        check_inside(folder)?;
        let state = self.powered()?;
        state.check_folder(folder)?;
        let paths = state.names.keys().chain(state.folders.iter());
        let inside = paths.filter(|path| !path.as_os_str().is_empty() && folder_of(path) == folder);
        Ok(inside.filter_map(|path| path.file_name()?.to_str().map(str::to_owned)).collect())
    }

    fn create_folder(&self, folder: &Path) -> io::Result<()> {
        check_inside(folder)?;
        let mut state = self.powered()?;
        state.operation()?;
        for parent in folder.ancestors() {
            state.folders.insert(parent.to_path_buf());
        }
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.powered()?;
        if !state.names.contains_key(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        state.operation()?;
        state.change(NameChange::Remove(path.to_path_buf()));
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        check_inside(to)?;
        let mut state = self.powered()?;
        let inode = state.names.get(from).cloned().ok_or(io::ErrorKind::NotFound)?;
        state.check_folder(folder_of(to))?;
        state.operation()?;
        state.change(NameChange::Rename(from.to_path_buf(), to.to_path_buf(), inode));
        Ok(())
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        let mut state = self.powered()?;
        state.check_folder(folder)?;
        if !state.sync()? {
            return Err(io::Error::other("the sync was made to fail"));
        }
        let State { unsynced, synced_names, .. } = &mut *state;
        unsynced.retain(|change| {
            let here = change.folder() == folder;
            if here {
                change.apply(synced_names);
            }
            !here
        });
        Ok(())
    }
}

struct MemoryFile {
    memory: Memory,
    inode: InodeRef,
}

impl File for MemoryFile {
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        let _state = self.memory.powered()?;
        Ok(self.inode.lock().read(buffer, position))
    }

    fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        let mut state = self.memory.powered()?;
        if let Err(failed) = state.operation() {
            if state.power && state.capacity.is_none() {
                self.inode.lock().write(&bytes[..bytes.len() / 2], position);
            }
            return Err(failed);
        }
        let len = self.inode.lock().len();
        let grown = (position + bytes.len() as u64).saturating_sub(len);
        let missing = if grown == 0 { 0 } else { grown.saturating_sub(state.free()) };
        let fits = bytes.len().saturating_sub(usize::try_from(missing).unwrap_or(usize::MAX));
        if fits > 0 {
            self.inode.lock().write(&bytes[..fits], position);
        }
        if missing > 0 { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn len(&self) -> io::Result<u64> {
        let _state = self.memory.powered()?;
        Ok(self.inode.lock().len())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.memory.powered()?;
        state.operation()?;
        // Read beforehand: `free` locks every file, this one too.
        let before = self.inode.lock().len();
        if len.saturating_sub(before) > state.free() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.inode.lock().set_len(len);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.memory.powered()?;
        if state.sync()? {
            self.inode.lock().sync();
            Ok(())
        } else {
            self.inode.lock().fail_sync();
            Err(io::Error::other("the sync was made to fail"))
        }
    }
}
