//! Checkpoints in one small file that is appended to, synced once for all stores that wait, and rewritten when long.

mod file;

use crate::storage::is_full;
use crate::{Checkpoints, Error, Offset, PartitionId, Storage};
use async_trait::async_trait;
use file::{CheckpointFile, Key};
use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use tokio::sync::watch;

/// The longest name of a consumer, in bytes.
const MAX_CONSUMER_BYTES: usize = 1024;

/// Checkpoints in one small file.
///
/// Stores that come while the disk is busy share the next sync. On a full disk a store fails with [`Error::Full`] and
/// may be tried again; a failed sync poisons, as it does the log. Dropping it waits for the write that is under way.
pub struct FileCheckpoints {
    shared: Arc<Shared>,
    writer: Option<JoinHandle<()>>,
}

struct Shared {
    state: Mutex<State>,
    wake: Condvar,
    done: watch::Sender<Done>,
}

struct State {
    /// What is durable.
    stored: BTreeMap<Key, u64>,
    /// What is to be stored; a newer checkpoint takes the place of an older one.
    waiting: BTreeMap<Key, u64>,
    /// The number of the round that takes what is waiting now.
    round: u64,
    /// Somebody asks for a round. Not so while a full disk waits to be tried again.
    wanted: bool,
    closing: bool,
}

/// How the rounds went.
#[derive(Debug, Clone, Copy)]
struct Done {
    /// All rounds up to this one are over.
    round: u64,
    outcome: Outcome,
}

/// How the last round went. What a full disk kept from being stored waits for the next round, so that a good outcome
/// holds for all rounds before.
#[derive(Debug, Clone, Copy)]
enum Outcome {
    Stored,
    Full,
    Poisoned,
    Closed,
}

impl FileCheckpoints {
    /// Opens or makes the file; folders on the way to it are made. Blocks.
    pub fn open(storage: Arc<dyn Storage>, path: &Path) -> Result<Self, Error> {
        let file = CheckpointFile::open(storage, path)?;
        let stored = file.stored().clone();
        let state = State { stored, waiting: BTreeMap::new(), round: 1, wanted: false, closing: false };
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            wake: Condvar::new(),
            done: watch::Sender::new(Done { round: 0, outcome: Outcome::Stored }),
        });
        let (writing, last) = (shared.clone(), LastWords(shared.clone()));
        let writer = std::thread::Builder::new().name("checkpoints".to_owned()).spawn(move || {
            let _last = last;
            writing.run(file);
        })?;
        Ok(Self { shared, writer: Some(writer) })
    }
}

impl Drop for FileCheckpoints {
    fn drop(&mut self) {
        self.shared.lock().closing = true;
        self.shared.wake.notify_all();
        if let Some(writer) = self.writer.take() {
            // A panic of the writer was reported where it happened.
            let _ = writer.join();
        }
    }
}

/// Tells waiting stores when the writer ends, by a panic too.
struct LastWords(Arc<Shared>);

impl Drop for LastWords {
    fn drop(&mut self) {
        self.0.lock().closing = true;
        self.0.done.send_modify(|done| {
            if !matches!(done.outcome, Outcome::Poisoned) {
                done.outcome = Outcome::Closed;
            }
        });
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, mut file: CheckpointFile) {
        while let Some((round, changes)) = self.next_round() {
            match file.append(&changes) {
                Ok(()) => self.finish(round, changes),
                Err(error) if is_full(&error) => self.put_back(round, changes, &error),
                Err(error) => {
                    tracing::error!(%error, "checkpoints are poisoned: a write or sync failed, restart to recover");
                    self.done.send_modify(|done| *done = Done { round, outcome: Outcome::Poisoned });
                    return;
                }
            }
        }
    }

    /// Waits for something to store; `None` at the end.
    fn next_round(&self) -> Option<(u64, BTreeMap<Key, u64>)> {
        let mut state = self.lock();
        while !state.wanted {
            if state.closing {
                return None;
            }
            state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.wanted = false;
        state.round += 1;
        Some((state.round - 1, std::mem::take(&mut state.waiting)))
    }

    fn finish(&self, round: u64, changes: BTreeMap<Key, u64>) {
        let mut state = self.lock();
        changes.into_iter().for_each(|(key, next)| raise(&mut state.stored, key, next));
        drop(state);
        self.done.send_modify(|done| *done = Done { round, outcome: Outcome::Stored });
    }

    fn put_back(&self, round: u64, changes: BTreeMap<Key, u64>, error: &io::Error) {
        tracing::warn!(%error, "no space to store checkpoints");
        let mut state = self.lock();
        changes.into_iter().for_each(|(key, next)| raise(&mut state.waiting, key, next));
        drop(state);
        self.done.send_modify(|done| *done = Done { round, outcome: Outcome::Full });
    }
}

/// A checkpoint moves forward only.
fn raise(checkpoints: &mut BTreeMap<Key, u64>, key: Key, next: u64) {
    let found = checkpoints.entry(key).or_insert(next);
    *found = next.max(*found);
}

fn key(consumer: &str, partition: PartitionId) -> Key {
    (consumer.into(), partition.0)
}

#[async_trait]
impl Checkpoints for FileCheckpoints {
    async fn load(&self, consumer: &str, partition: PartitionId) -> Result<Option<Offset>, Error> {
        Ok(self.shared.lock().stored.get(&key(consumer, partition)).copied().map(Offset))
    }

    async fn store(&self, consumer: &str, partition: PartitionId, next: Offset) -> Result<(), Error> {
        if consumer.len() > MAX_CONSUMER_BYTES {
            return Err(Error::TooLarge(consumer.len()));
        }
        let mut done = self.shared.done.subscribe();
        let round = {
            let mut state = self.shared.lock();
            raise(&mut state.waiting, key(consumer, partition), next.0);
            state.wanted = true;
            state.round
        };
        self.shared.wake.notify_one();
        let over =
            |done: &Done| done.round >= round || matches!(done.outcome, Outcome::Poisoned | Outcome::Closed);
        let found = *done.wait_for(over).await.map_err(|_| Error::Closed)?;
        match found.outcome {
            Outcome::Stored => Ok(()),
            Outcome::Full => Err(Error::Full),
            Outcome::Poisoned => Err(Error::Poisoned),
            Outcome::Closed => Err(Error::Closed),
        }
    }

    async fn lowest(&self, consumers: &[&str], partition: PartitionId) -> Result<Option<Offset>, Error> {
        let state = self.shared.lock();
        let offsets = consumers.iter().map(|consumer| state.stored.get(&key(consumer, partition)).copied());
        Ok(offsets.map(Option::unwrap_or_default).min().map(Offset))
    }
}

#[cfg(test)]
mod tests;
