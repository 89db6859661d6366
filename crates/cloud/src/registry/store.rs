//! The database and its one writer thread, which takes all waiting changes into one transaction and one sync.

use super::error::Error;
use super::file::DatabaseFile;
use super::tables;
use ironbrook_log::Storage;
use ironbrook_model::Refusal;
use redb::{ReadTransaction, ReadableDatabase, ReadableTable, WriteTransaction};
use std::cell::RefCell;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use tokio::sync::{mpsc, oneshot};

/// Changes that may wait for the writer; callers wait beyond.
const WAITING_MAX: usize = 1024;
/// Changes taken into one transaction at most, so that one sync does not wait for ever.
const GROUP_MAX: usize = 512;

type Effect = Box<dyn FnOnce() + Send>;
/// Told how the commit ended; answers the caller.
type Finish = Box<dyn FnOnce(Result<(), Error>) + Send>;
type Job = Box<dyn FnOnce(&WriteTransaction) -> (Finish, Option<Error>) + Send>;

/// A transaction as one change sees it.
///
/// A change looks at everything before it writes anything: when it returns a refusal after its first write, what it wrote is
/// committed with the rest of the group.
pub(super) struct Changes<'a> {
    pub tx: &'a WriteTransaction,
    effects: RefCell<Vec<Effect>>,
}

impl Changes<'_> {
    /// Something to do once the change is on disk, before its caller hears of it; in the order of commits.
    pub fn after(&self, effect: impl FnOnce() + Send + 'static) {
        self.effects.borrow_mut().push(Box::new(effect));
    }

    /// The next number of a series, from 1.
    pub fn next_number(&self, series: &str) -> Result<u64, Error> {
        let mut counters = self.tx.open_table(tables::COUNTERS)?;
        let number = counters.get(series)?.map_or(0, |v| v.value()) + 1;
        counters.insert(series, number)?;
        Ok(number)
    }
}

/// The open database.
pub(super) struct Store {
    file: Arc<DatabaseFile>,
    jobs: Mutex<Option<mpsc::Sender<Job>>>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl Store {
    /// Opens or creates the database. Blocks.
    pub fn open(storage: &Arc<dyn Storage>, path: &Path) -> Result<Self, Error> {
        let file = Arc::new(DatabaseFile::open(storage, path)?);
        let (jobs, waiting) = mpsc::channel(WAITING_MAX);
        let for_writer = file.clone();
        let writer = std::thread::Builder::new()
            .name("registry".to_owned())
            .spawn(move || write_loop(&for_writer, waiting))?;
        Ok(Self { file, jobs: Mutex::new(Some(jobs)), writer: Mutex::new(Some(writer)) })
    }

    /// Does a change and returns when it is on disk. Runs to its end even if the caller goes away.
    pub async fn write<T, F>(&self, change: F) -> Result<T, Refusal>
    where
        T: Send + 'static,
        F: FnOnce(&Changes<'_>) -> Result<T, Error> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner).clone().ok_or(Error::Closed)?;
        jobs.send(job(change, reply)).await.map_err(|_| Error::Closed)?;
        Ok(answer.await.map_err(|_| Error::Closed)??)
    }

    /// Reads the newest committed state on a thread that may wait for the disk.
    pub async fn read<T, F>(&self, read: F) -> Result<T, Refusal>
    where
        T: Send + 'static,
        F: FnOnce(&ReadTransaction) -> Result<T, Error> + Send + 'static,
    {
        let file = self.file.clone();
        let done = tokio::task::spawn_blocking(move || file.with(|database| read(&database.begin_read()?)));
        Ok(done.await.map_err(|_| Error::Closed)??)
    }

    /// Reads on this thread; for the time before anything else runs.
    pub fn read_now<T>(&self, read: impl FnOnce(&ReadTransaction) -> Result<T, Error>) -> Result<T, Error> {
        self.file.with(|database| read(&database.begin_read()?))
    }

    /// Does a change on this thread; for the time before anything else runs. Blocks.
    pub fn write_now<T>(&self, change: impl FnOnce(&Changes<'_>) -> Result<T, Error>) -> Result<T, Error> {
        self.file.with(|database| {
            let tx = database.begin_write()?;
            let changes = Changes { tx: &tx, effects: RefCell::default() };
            let result = change(&changes)?;
            let effects = changes.effects.into_inner();
            tx.commit()?;
            effects.into_iter().for_each(|effect| effect());
            Ok(result)
        })
    }

    /// Finishes what waits and ends the writer. Blocks.
    pub fn close(&self) {
        drop(self.jobs.lock().unwrap_or_else(PoisonError::into_inner).take());
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(writer) = writer
            && writer.join().is_err()
        {
            tracing::error!("the registry's writer had panicked");
        }
    }
}

fn job<T, F>(change: F, reply: oneshot::Sender<Result<T, Error>>) -> Job
where
    T: Send + 'static,
    F: FnOnce(&Changes<'_>) -> Result<T, Error> + Send + 'static,
{
    Box::new(move |tx| {
        let changes = Changes { tx, effects: RefCell::default() };
        let result = change(&changes);
        let effects = changes.effects.into_inner();
        // A refusal is the caller's own affair; a failed database ends the whole group.
        let fatal = match &result {
            Err(error) if !matches!(error, Error::Refused(_)) => Some(error.clone()),
            _ => None,
        };
        let finish: Finish = Box::new(move |committed| {
            let result = committed.and(result);
            if result.is_ok() {
                effects.into_iter().for_each(|effect| effect());
            }
            // A caller that went away does not need the answer.
            let _ = reply.send(result);
        });
        (finish, fatal)
    })
}

fn write_loop(file: &DatabaseFile, mut waiting: mpsc::Receiver<Job>) {
    let mut group = Vec::new();
    while let Some(first) = waiting.blocking_recv() {
        group.push(first);
        while group.len() < GROUP_MAX
            && let Ok(next) = waiting.try_recv()
        {
            group.push(next);
        }
        write_group(file, &mut group);
    }
}

fn write_group(file: &DatabaseFile, group: &mut Vec<Job>) {
    let mut finishes = Vec::with_capacity(group.len());
    let outcome = file.with(|database| {
        let tx = database.begin_write()?;
        for job in group.drain(..) {
            let (finish, fatal) = job(&tx);
            finishes.push(finish);
            if let Some(error) = fatal {
                // Dropping the transaction undoes it; jobs behind this one are not run, and their callers hear that.
                return Err(error);
            }
        }
        tx.commit()?;
        Ok(())
    });
    group.clear();
    if let Err(error) = &outcome {
        tracing::error!(%error, "a registry transaction failed; none of its changes was kept");
    }
    for finish in finishes {
        finish(outcome.clone());
    }
}
