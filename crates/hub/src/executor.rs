//! Endpoint executors: each reads one queue of one partition, gathers batches, and hands them to the endpoint.
//!
//! A batch is decided by the log and the endpoint's [`Batching`](crate::seams::Batching) alone: its first message, the
//! bounds on messages and bytes, and the time its messages were enqueued. So the same batch comes again after a crash, but for
//! one cut short by a drain.

mod gather;
mod health;
mod task;

pub use health::{EndpointHealth, Handle};

use crate::Metrics;
use crate::seams::{Endpoint, Seams};
use health::Shared;
use ironbrook_log::{Error as LogError, PartitionId, QueueId};
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
    /// disk. The original retries for 24 hours.
    pub time_to_live: Duration,
    /// How long what is gathered may take to be sent after a cancel.
    pub drain: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self { time_to_live: Duration::from_secs(24 * 3600), drain: Duration::from_secs(5) }
    }
}

/// All executors of a hub.
pub struct Executors {
    tasks: Vec<Task>,
    shared: Arc<Shared>,
}

impl Executors {
    /// For these endpoints and the queues routes fill for them. The built-in `events` endpoint needs none: its readers come
    /// themselves.
    pub fn new(
        seams: &Seams,
        endpoints: &[(QueueId, Arc<dyn Endpoint>)],
        config: Config,
        metrics: &Metrics,
    ) -> Self {
        let partitions = seams.log.partitions();
        let names = endpoints.iter().map(|(_, endpoint)| endpoint.name().to_owned()).collect();
        let shared = Arc::new(Shared::new(names, partitions));
        let mut tasks = Vec::new();
        for (index, (queue, endpoint)) in endpoints.iter().enumerate() {
            for partition in (0..partitions).map(PartitionId) {
                let endpoint = Arc::clone(endpoint);
                tasks.push(Task::new(seams, *queue, endpoint, partition, index, config, metrics, &shared));
            }
        }
        Self { tasks, shared }
    }

    /// Tells where the executors stand.
    pub fn handle(&self) -> Handle {
        Handle::new(Arc::clone(&self.shared))
    }

    /// Runs until cancelled, then sends what is gathered within the drain time. An error means the log is poisoned: only a
    /// restart, which recovers from disk, helps.
    pub async fn run(self, cancel: CancellationToken) -> Result<(), LogError> {
        let mut running = JoinSet::new();
        for task in self.tasks {
            running.spawn(supervise(task, cancel.clone()));
        }
        let mut result = Ok(());
        while let Some(ended) = running.join_next().await {
            if let Ok(Err(error)) = ended {
                result = Err(error);
                cancel.cancel();
            }
        }
        result
    }
}

/// Keeps an executor going: an endpoint that panics or a disk that fails for a moment must not stop it for ever.
async fn supervise(task: Task, cancel: CancellationToken) -> Result<(), LogError> {
    loop {
        let why = match tokio::spawn(task.clone().run(cancel.clone())).await {
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
            () = task.rest(RESTART_PAUSE) => {}
        }
    }
}

#[cfg(test)]
mod tests;
