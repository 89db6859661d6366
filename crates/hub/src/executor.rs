//! Endpoint executors: each reads the queues of one endpoint in one partition, gathers batches, and hands them to the endpoint.
//!
//! A batch is decided by the log and the endpoint's [`Batching`](crate::seams::Batching) alone: its first message, the
//! bounds on messages and bytes, and the time its messages were enqueued. So the same batch comes again after a crash, but for
//! one cut short by a drain.
//!
//! An endpoint has a queue for each priority of its routes. The next batch is always taken from the best queue that has
//! something; each queue has a checkpoint of its own. What an endpoint does not take it holds in the log until its time to live
//! is over or the log has no room for it ([`Handle::give_up`]); then it is dead-lettered and counted. Endpoints come and go while the executors run: [`Handle::add`] and
//! [`Handle::retire`].

mod gather;
mod handle;
mod history;
mod shared;
mod task;

pub use handle::{EndpointHealth, EndpointStatus, Handle};
pub use history::{BatchEnd, BatchOutcome, History};

use crate::Metrics;
use crate::router::DEFAULT_PRIORITY;
use crate::seams::{Endpoint, Seams};
use ironbrook_log::{Error as LogError, QueueId};
use shared::{Entry, Shared};
use std::sync::Arc;
use std::time::Duration;
use task::Task;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// How long an executor rests after an unexpected failure.
const RESTART_PAUSE: Duration = Duration::from_secs(1);

/// How executors treat endpoints that fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// Messages older than this that an endpoint could not take are dead-lettered, so that one dead endpoint never pins the
    /// disk. The original retries for 24 hours. Queues may have a time to live of their own.
    pub time_to_live: Duration,
    /// How long what is gathered may take to be sent after a cancel.
    pub drain: Duration,
    /// Of how many batches is remembered what became of them.
    pub history: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self { time_to_live: Duration::from_secs(24 * 3600), drain: Duration::from_secs(5), history: 1000 }
    }
}

/// A queue of an endpoint. Its checkpoint goes by its [`queue_name`](crate::router::queue_name).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EndpointQueue {
    /// Its number in the log.
    pub id: QueueId,
    /// Lower numbers are served first; each at most once for an endpoint.
    pub priority: u32,
    /// Messages older than this are dead-lettered instead of delivered. `None`: they are always tried once, and given up by
    /// [`Config::time_to_live`] after that.
    pub time_to_live: Option<Duration>,
}

impl From<QueueId> for EndpointQueue {
    /// The only queue of an endpoint whose routes have no priority.
    fn from(id: QueueId) -> Self {
        Self { id, priority: DEFAULT_PRIORITY, time_to_live: None }
    }
}

/// All executors of a hub.
pub struct Executors {
    shared: Arc<Shared>,
}

impl Executors {
    /// For these endpoints and the queues routes fill for them; more may be added. The built-in `events` endpoint needs none:
    /// its readers come themselves. A queue without checkpoint is read from the beginning of the log.
    pub fn new(
        seams: &Seams,
        endpoints: &[(QueueId, Arc<dyn Endpoint>)],
        config: Config,
        metrics: &Metrics,
    ) -> Self {
        let shared = Arc::new(Shared::new(seams, config, metrics));
        for (queue, endpoint) in endpoints {
            shared.insert(Entry::new(Arc::clone(endpoint), vec![(*queue).into()], seams.log.partitions()));
        }
        Self { shared }
    }

    /// Tells where the executors stand, and changes which there are.
    pub fn handle(&self) -> Handle {
        Handle::new(Arc::clone(&self.shared))
    }

    /// Runs until cancelled, then sends what is gathered within the drain time. An error means the log is poisoned: only a
    /// restart, which recovers from disk, helps.
    pub async fn run(self, cancel: CancellationToken) -> Result<(), LogError> {
        let mut running = JoinSet::new();
        let mut result = Ok(());
        loop {
            self.shared.start_fresh(|task, entry| {
                running.spawn(entry.tasks.track_future(supervise(task, cancel.clone())));
            });
            tokio::select! {
                biased;
                Some(ended) = running.join_next() => {
                    if let Ok(Err(error)) = ended {
                        result = Err(error);
                        cancel.cancel();
                    }
                }
                () = cancel.cancelled(), if running.is_empty() => return result,
                () = self.shared.fresh(), if !cancel.is_cancelled() => {}
            }
        }
    }
}

/// Keeps an executor going: an endpoint that panics or a disk that fails for a moment must not stop it for ever.
async fn supervise(task: Task, cancel: CancellationToken) -> Result<(), LogError> {
    loop {
        let mut running = tokio::spawn(task.clone().run(cancel.clone()));
        let ended = tokio::select! {
            biased;
            () = task.retired() => {
                running.abort();
                // What it began with the checkpoints is over before its successor looks at them.
                drop(running.await);
                return Ok(());
            }
            ended = &mut running => ended,
        };
        let why = match ended {
            Ok(Ok(())) | Ok(Err(LogError::Closed)) => return Ok(()),
            Ok(Err(LogError::Poisoned)) => return Err(LogError::Poisoned),
            Ok(Err(error)) => error.to_string(),
            Err(panic) => panic.to_string(),
        };
        tracing::error!(
            endpoint = task.name(),
            partition = task.partition().0,
            why,
            "restarting an executor"
        );
        tokio::select! {
            biased;
            () = cancel.cancelled() => return Ok(()),
            () = task.retired() => return Ok(()),
            () = task.rest(RESTART_PAUSE) => {}
        }
    }
}

#[cfg(test)]
mod dead_tests;
#[cfg(test)]
mod priority_tests;
#[cfg(test)]
mod tests;
