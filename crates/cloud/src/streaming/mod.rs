//! Streaming jobs: Stream Analytics queries that run in the hub, over the events of all its devices.
//!
//! Start with [`Streaming`], which keeps the jobs and starts and stops them; the service API and the metrics ask it. A job is a
//! [`Definition`]. Inside, `worker` is a job at work, `events` where its events come from, `output` where its rows go, `state` what it keeps.
//! `docs/streaming-jobs.md` has settings and guarantees in full.
//!
//! What is *not* here: the language, which is crate `ironbrook-analytics`; IoT Hub's jobs over many devices (`registry/jobs`).

mod columns;
mod definition;
mod events;
mod metrics;
mod output;
mod reference;
mod settings;
mod state;
mod status;
mod store;
#[cfg(test)]
mod tests;
mod worker;

pub use definition::{
    Blob, Compression, CompressionKind, Definition, DefinitionError, Failure, Format, Input, Method, Output,
    OutputErrors, Receiver, Serialization, SerializationKind, SerializationProperties, Violation, Webhook,
};
pub use output::pattern::{Pattern, PatternError};
pub use settings::Settings;
pub use status::{OutputReport, Report, Sample, State};

use crate::storage::account::Account;
use ironbrook_analytics::engine::EngineError;
use ironbrook_analytics::value::snapshot::SnapshotError;
use ironbrook_hub::Hub;
use ironbrook_log::{Error as LogError, Storage};
use ironbrook_model::{ErrorCode, Refusal, Timestamp};
use serde::Serialize;
use status::Status;
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use store::{Kept, Start, Store};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use worker::{Parts, Place, Worker, blocking};

pub(crate) use metrics::register;
pub(crate) use store::FOLDER;

/// How long a call that starts a job waits until the job's place is kept.
const START_PATIENCE: Duration = Duration::from_secs(10);

/// Why a job stopped.
#[derive(Debug, thiserror::Error)]
enum JobError {
    /// Its definition cannot be used any more.
    #[error(transparent)]
    Definition(#[from] DefinitionError),
    /// The hub's events cannot be read.
    #[error("reading events failed: {0}")]
    Log(#[from] LogError),
    /// Its files.
    #[error("the job's files: {0}")]
    Store(#[from] io::Error),
    /// Its state.
    #[error("{0}; give a start mode that begins without the state")]
    Snapshot(#[from] SnapshotError),
    /// The query.
    #[error("the query stopped: {0}")]
    Engine(#[from] EngineError),
    /// A row that its output will never take.
    #[error(
        "the output {output} refuses a row: {why}; cure the receiver, or set outputErrorPolicy to Drop, and start the job again"
    )]
    Output {
        /// Which.
        output: String,
        /// Why.
        why: String,
    },
    /// A bug.
    #[error("the job ended unexpectedly; the hub's log says more")]
    Panicked,
}

/// A job as it is shown.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Job {
    /// Its name.
    pub name: String,
    /// Whether it is to run, now and after a restart of the hub.
    pub is_wanted: bool,
    /// What it is, without secrets.
    pub definition: Definition,
    /// How it does.
    #[serde(flatten)]
    pub report: Report,
}

/// Where a job begins to read. The words are Azure's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StartMode {
    /// Where it stopped; now, if it never ran.
    #[default]
    LastOutputEventTime,
    /// Now; what it had is thrown away.
    JobStartTime,
    /// With what was enqueued at this time and later; what it had is thrown away.
    CustomTime(Timestamp),
}

/// All streaming jobs of a hub. Cheap to clone.
#[derive(Clone)]
pub struct Streaming {
    shared: Arc<Shared>,
}

struct Shared {
    place: Place,
    groups: Vec<String>,
    jobs: Mutex<Jobs>,
    /// One change at a time.
    changing: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Jobs {
    by_name: BTreeMap<String, Entry>,
    /// Whether jobs may be at work: between the hub's start and its end.
    is_open: bool,
}

struct Entry {
    kept: Kept,
    status: Status,
    running: Option<Running>,
}

struct Running {
    cancel: CancellationToken,
    /// Closed when the thread ends.
    ended: oneshot::Receiver<()>,
}

impl Streaming {
    /// Reads all jobs from `storage`. None is started before [`run`](Self::run). `groups` are the consumer groups of the events
    /// endpoint besides `$Default`.
    ///
    /// # Errors
    /// Where a file of a job is damaged or the storage fails.
    pub async fn open(
        hub: Hub,
        account: Account,
        storage: Arc<dyn Storage>,
        groups: Vec<String>,
        settings: Settings,
    ) -> io::Result<Self> {
        let (store, kept) = blocking(move || {
            let store = Store::open(storage)?;
            let kept = store.jobs()?;
            Ok((store, kept))
        })
        .await?;
        let entry = |kept| Entry { kept, status: Status::default(), running: None };
        let by_name = kept.into_iter().map(|(name, kept)| (name, entry(kept))).collect();
        let jobs = Mutex::new(Jobs { by_name, is_open: false });
        let place = Place { hub, account, store, settings: Arc::new(settings) };
        Ok(Self { shared: Arc::new(Shared { place, groups, jobs, changing: Default::default() }) })
    }

    /// Lets the jobs work that are wanted, until cancelled; then each writes down where it is.
    pub async fn run(self, cancel: CancellationToken) {
        let wanted: Vec<String> = {
            let _turn = self.shared.changing.lock().await;
            let mut jobs = self.lock();
            jobs.is_open = true;
            let wanted = jobs.by_name.iter().filter(|(_, entry)| entry.kept.is_wanted);
            wanted.map(|(name, _)| name.clone()).collect()
        };
        for name in wanted {
            let _turn = self.shared.changing.lock().await;
            if let Err(refusal) = self.spawn(&name) {
                tracing::error!(job = name, %refusal, "a streaming job does not start");
            }
        }
        cancel.cancelled().await;
        let _turn = self.shared.changing.lock().await;
        let running: Vec<Running> = {
            let mut jobs = self.lock();
            jobs.is_open = false;
            jobs.by_name.values_mut().filter_map(|entry| entry.running.take()).collect()
        };
        running.iter().for_each(|running| running.cancel.cancel());
        for running in running {
            // A panic was told of where it happened.
            let _ = running.ended.await;
        }
    }

    /// All jobs by name.
    pub fn list(&self) -> Vec<Job> {
        self.lock().by_name.iter().map(|(name, entry)| shown(name, entry)).collect()
    }

    /// One job. 404002.
    pub fn get(&self, name: &str) -> Result<Job, Refusal> {
        self.lock().by_name.get(name).map(|entry| shown(name, entry)).ok_or_else(|| not_found(name))
    }

    /// Makes a job, stopped, or changes one in place: one that runs goes on with the new definition, and windows that are the same in
    /// both queries keep what they hold. 400004 with what is wrong; 403003 for too many.
    pub async fn put(&self, name: &str, definition: Definition) -> Result<Job, Refusal> {
        let invalid = |error: DefinitionError| Refusal::new(ErrorCode::ArgumentInvalid, error.to_string());
        definition::check_name(name).map_err(invalid)?;
        definition.compile(&self.shared.groups).map_err(invalid)?;
        let _turn = self.shared.changing.lock().await;
        let before = {
            let jobs = self.lock();
            let before = jobs.by_name.get(name).map(|entry| entry.kept.clone());
            let most = self.shared.place.settings.max_jobs;
            if before.is_none() && jobs.by_name.len() >= most {
                let text = format!(
                    "a hub has at most {most} streaming jobs; delete one, or raise [streaming] max_jobs"
                );
                return Err(Refusal::new(ErrorCode::JobQuotaExceeded, text));
            }
            before
        };
        let ran = self.halt(name).await;
        let (is_wanted, start) = before.map_or((false, None), |kept| (kept.is_wanted, kept.start));
        self.keep(name, Kept { definition, is_wanted, start }).await?;
        if ran && let Ok(ready) = self.spawn(name) {
            wait(ready).await;
        }
        self.get(name)
    }

    /// Removes a job with what it had. 404002.
    pub async fn delete(&self, name: &str) -> Result<(), Refusal> {
        let _turn = self.shared.changing.lock().await;
        self.get(name)?;
        self.halt(name).await;
        let (store, job) = (self.shared.place.store.clone(), name.to_owned());
        blocking(move || store.forget(&job)).await.map_err(|error| disk(&error))?;
        self.lock().by_name.remove(name);
        Ok(())
    }

    /// Lets a job work. Returns when nothing that comes from now on is passed over. 404002; 405102 where it runs.
    pub async fn start(&self, name: &str, mode: StartMode) -> Result<Job, Refusal> {
        let _turn = self.shared.changing.lock().await;
        let mut kept = {
            let jobs = self.lock();
            let entry = jobs.by_name.get(name).ok_or_else(|| not_found(name))?;
            if matches!(entry.status.state(), State::Running | State::Starting) && entry.running.is_some() {
                let text = format!("the job {name} runs; stop it before it is started in another way");
                return Err(Refusal::new(ErrorCode::OperationNotAllowedInCurrentState, text));
            }
            entry.kept.clone()
        };
        self.halt(name).await;
        kept.is_wanted = true;
        kept.start = match mode {
            StartMode::LastOutputEventTime => kept.start,
            StartMode::JobStartTime => Some(Start::Now),
            StartMode::CustomTime(time) => Some(Start::At(time.as_millis())),
        };
        self.keep(name, kept).await?;
        let ready = self.spawn(name)?;
        wait(ready).await;
        self.get(name)
    }

    /// Ends a job's work; what it has is kept. 404002.
    pub async fn stop(&self, name: &str) -> Result<Job, Refusal> {
        let _turn = self.shared.changing.lock().await;
        self.get(name)?;
        self.halt(name).await;
        let kept = self.lock().by_name.get(name).map(|entry| entry.kept.clone());
        if let Some(kept) = kept {
            self.keep(name, Kept { is_wanted: false, ..kept }).await?;
        }
        self.get(name)
    }

    /// Ends the work of a job, if it works. Whether it did.
    async fn halt(&self, name: &str) -> bool {
        let running = self.lock().by_name.get_mut(name).and_then(|entry| entry.running.take());
        let Some(running) = running else { return false };
        running.cancel.cancel();
        // A panic was told of where it happened.
        let _ = running.ended.await;
        true
    }

    async fn keep(&self, name: &str, kept: Kept) -> Result<(), Refusal> {
        let (store, job, written) = (self.shared.place.store.clone(), name.to_owned(), kept.clone());
        blocking(move || store.keep(&job, &written)).await.map_err(|error| disk(&error))?;
        let mut jobs = self.lock();
        match jobs.by_name.get_mut(name) {
            Some(entry) => entry.kept = kept,
            None => {
                let entry = Entry { kept, status: Status::default(), running: None };
                jobs.by_name.insert(name.to_owned(), entry);
            }
        }
        Ok(())
    }

    /// Lets a job work on a thread of its own: an engine with much to do must not hold up the doors.
    fn spawn(&self, name: &str) -> Result<oneshot::Receiver<()>, Refusal> {
        let mut jobs = self.lock();
        let is_open = jobs.is_open;
        let entry = jobs.by_name.get_mut(name).ok_or_else(|| not_found(name))?;
        let (ready, told) = oneshot::channel();
        if !is_open {
            // It begins with the hub.
            return Ok(told);
        }
        let status = Status::default();
        status.set(State::Starting);
        entry.status = status.clone();
        let definition = Arc::new(entry.kept.definition.clone());
        // Only once: later starts go on from there.
        let start = entry.kept.start.take();
        let compiled = definition.compile(&self.shared.groups);
        let query = match compiled {
            Ok(query) => query,
            Err(error) => {
                status.fail(&error.to_string());
                return Err(Refusal::new(ErrorCode::ArgumentInvalid, error.to_string()));
            }
        };
        let parts = Parts { name: name.to_owned(), definition, query, start, status: status.clone(), ready };
        let cancel = CancellationToken::new();
        let (place, stop) = (self.shared.place.clone(), cancel.clone());
        let runtime = tokio::runtime::Handle::current();
        let (alive, ended) = oneshot::channel();
        // Not one of the runtime's own: a process that ends in another way than by `run` must not wait for it.
        let thread = std::thread::Builder::new().name("streaming-job".to_owned()).spawn(move || {
            let _alive: oneshot::Sender<()> = alive;
            runtime.block_on(work(place, parts, stop));
        });
        if let Err(error) = thread {
            status.fail(&format!("no thread for the job: {error}"));
            return Err(disk(&error));
        }
        entry.running = Some(Running { cancel, ended });
        Ok(told)
    }

    fn lock(&self) -> MutexGuard<'_, Jobs> {
        self.shared.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A job from its start to its end.
async fn work(place: Place, parts: Parts, cancel: CancellationToken) {
    let (name, status) = (parts.name.clone(), parts.status.clone());
    let _last = LastWords(status.clone());
    let result = async {
        let worker = Worker::open(place, parts).await?;
        worker.run(cancel).await
    };
    match result.await {
        Ok(()) => status.set(State::Stopped),
        Err(error) => {
            tracing::error!(job = name, %error, "a streaming job failed");
            status.fail(&error.to_string());
        }
    }
}

/// Tells of a job that ended by a panic.
struct LastWords(Status);

impl Drop for LastWords {
    fn drop(&mut self) {
        if !matches!(self.0.state(), State::Stopped | State::Failed) {
            self.0.fail(&JobError::Panicked.to_string());
        }
    }
}

async fn wait(ready: oneshot::Receiver<()>) {
    // Either way the job tells how it does.
    let _ = tokio::time::timeout(START_PATIENCE, ready).await;
}

fn shown(name: &str, entry: &Entry) -> Job {
    Job {
        name: name.to_owned(),
        is_wanted: entry.kept.is_wanted,
        definition: entry.kept.definition.without_secrets(),
        report: entry.status.report(),
    }
}

fn not_found(name: &str) -> Refusal {
    Refusal::new(ErrorCode::JobNotFound, format!("there is no streaming job {name:.80?}"))
}

fn disk(error: &io::Error) -> Refusal {
    Refusal::new(ErrorCode::ServerError, format!("the job cannot be kept: {error}"))
}
