//! The database and its one writer thread, which takes all waiting changes into one transaction and one sync.

use super::error::Error;
use super::tables;
use ironbrook_log::Storage;
use ironbrook_model::Refusal;
use redb::{Database, ReadTransaction, ReadableDatabase, ReadableTable, WriteTransaction};
use std::cell::RefCell;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use tokio::sync::{mpsc, oneshot};

/// Changes that may wait for the writer; callers wait beyond.
const WAITING_MAX: usize = 1024;
/// Changes taken into one transaction at most, so that one sync does not wait for ever.
const GROUP_MAX: usize = 512;
/// Memory for pages of the database.
const CACHE_BYTES: usize = 4 * 1024 * 1024;

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
    database: Arc<Database>,
    jobs: Mutex<Option<mpsc::Sender<Job>>>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl Store {
    /// Opens or creates the database. Blocks.
    pub fn open(storage: &Arc<dyn Storage>, path: &Path) -> Result<Self, Error> {
        let database = Arc::new(open_database(storage, path)?);
        prepare(&database)?;
        let (jobs, waiting) = mpsc::channel(WAITING_MAX);
        let for_writer = database.clone();
        let writer = std::thread::Builder::new()
            .name("registry".to_owned())
            .spawn(move || write_loop(&for_writer, waiting))
            .map_err(|e| Error::Database(format!("no thread for the registry's writer: {e}")))?;
        Ok(Self { database, jobs: Mutex::new(Some(jobs)), writer: Mutex::new(Some(writer)) })
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
        let database = self.database.clone();
        let done = tokio::task::spawn_blocking(move || read(&database.begin_read()?));
        Ok(done.await.map_err(|_| Error::Closed)??)
    }

    /// Reads on this thread; for the time before anything else runs.
    pub fn read_now<T>(&self, read: impl FnOnce(&ReadTransaction) -> Result<T, Error>) -> Result<T, Error> {
        read(&self.database.begin_read()?)
    }

    /// Does a change on this thread; for the time before anything else runs. Blocks.
    pub fn write_now<T>(&self, change: impl FnOnce(&Changes<'_>) -> Result<T, Error>) -> Result<T, Error> {
        let tx = self.database.begin_write()?;
        let changes = Changes { tx: &tx, effects: RefCell::default() };
        let result = change(&changes)?;
        let effects = changes.effects.into_inner();
        tx.commit()?;
        effects.into_iter().for_each(|effect| effect());
        Ok(result)
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

fn open_database(storage: &Arc<dyn Storage>, path: &Path) -> Result<Database, Error> {
    let backend = ironbrook_log::redb_backend(storage, path)
        .map_err(|e| Error::Database(format!("{} cannot be opened: {e}", path.display())))?;
    Ok(Database::builder().set_cache_size(CACHE_BYTES).create_with_backend(backend)?)
}

/// Makes every table, so that readers never meet a missing one, and checks the format.
fn prepare(database: &Database) -> Result<(), Error> {
    let tx = database.begin_write()?;
    {
        tx.open_table(tables::IDENTITIES)?;
        tx.open_table(tables::TWINS)?;
        tx.open_table(tables::POLICIES)?;
        tx.open_table(tables::QUEUES)?;
        tx.open_table(tables::INBOX)?;
        tx.open_table(tables::SUBSCRIBED)?;
        tx.open_table(tables::FEEDBACK)?;
        tx.open_table(tables::OUTBOX)?;
        let mut counters = tx.open_table(tables::COUNTERS)?;
        let format = counters.get("format")?.map(|v| v.value());
        match format {
            None => {
                counters.insert("format", tables::FORMAT)?;
            }
            Some(tables::FORMAT) => {}
            Some(other) => {
                let why = format!("format {other}, this version knows {}", tables::FORMAT);
                return Err(Error::Stored { what: "registry", why });
            }
        }
    }
    Ok(tx.commit()?)
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

fn write_loop(database: &Database, mut waiting: mpsc::Receiver<Job>) {
    let mut group = Vec::new();
    while let Some(first) = waiting.blocking_recv() {
        group.push(first);
        while group.len() < GROUP_MAX
            && let Ok(next) = waiting.try_recv()
        {
            group.push(next);
        }
        write_group(database, &mut group);
    }
}

fn write_group(database: &Database, group: &mut Vec<Job>) {
    let mut finishes = Vec::with_capacity(group.len());
    let outcome = (|| {
        let tx = database.begin_write()?;
        for job in group.drain(..) {
            let (finish, fatal) = job(&tx);
            finishes.push(finish);
            if let Some(error) = fatal {
                tx.abort()?;
                return Err(error);
            }
        }
        tx.commit()?;
        Ok(())
    })();
    if let Err(error) = &outcome {
        tracing::error!(%error, "a registry transaction failed; none of its changes was kept");
        // Jobs behind the failed one were not run; they hear that the registry did not take them.
        group.clear();
    }
    for finish in finishes {
        finish(outcome.clone());
    }
}
