//! What all executors write and handles read.

use super::handle::EndpointHealth;
use super::history::History;
use super::{Config, EndpointQueue, Task};
use crate::Metrics;
use crate::router::queue_name;
use crate::seams::{Endpoint, Seams};
use ironbrook_log::{Error as LogError, Offset, PartitionId};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// An endpoint with its executors.
pub(super) struct Entry {
    pub(super) endpoint: Arc<dyn Endpoint>,
    /// Best first.
    pub(super) queues: Vec<EndpointQueue>,
    partitions: u16,
    /// By queue, then partition: where the queue is read on; what is before it needs nobody any more.
    positions: Vec<AtomicU64>,
    /// By partition: what is before is no longer delivered.
    given_up: Vec<watch::Sender<u64>>,
    health: Mutex<EndpointHealth>,
    pub(super) retired: CancellationToken,
    pub(super) tasks: TaskTracker,
}

impl Entry {
    pub(super) fn new(
        endpoint: Arc<dyn Endpoint>,
        mut queues: Vec<EndpointQueue>,
        partitions: u16,
    ) -> Arc<Self> {
        queues.sort_by_key(|queue| queue.priority);
        queues.dedup_by_key(|queue| queue.priority);
        let health = EndpointHealth { name: endpoint.name().to_owned(), ..Default::default() };
        let positions = (0..queues.len() * usize::from(partitions)).map(|_| AtomicU64::new(0)).collect();
        let given_up = (0..partitions).map(|_| watch::Sender::new(0)).collect();
        let (retired, tasks) = (CancellationToken::new(), TaskTracker::new());
        let health = Mutex::new(health);
        Arc::new(Self { endpoint, queues, partitions, positions, given_up, health, retired, tasks })
    }

    /// What is before this offset is no longer delivered.
    pub(super) fn given_up(&self, partition: PartitionId) -> Offset {
        Offset(*self.given_up[usize::from(partition.0)].borrow())
    }

    /// Waits until a record is no longer to be delivered. Cancel-safe.
    pub(super) async fn gives_up(&self, partition: PartitionId, last: Offset) {
        let mut changes = self.given_up[usize::from(partition.0)].subscribe();
        // The sender lives as long as this does.
        let _ = changes.wait_for(|before| *before > last.0).await;
    }

    fn give_up(&self, partition: PartitionId, before: Offset) {
        self.given_up[usize::from(partition.0)].send_if_modified(|known| {
            let more = before.0 > *known;
            *known = before.0.max(*known);
            more
        });
    }

    pub(super) fn name(&self) -> &str {
        self.endpoint.name()
    }

    /// Under which name a queue's checkpoint is kept. By name, not by number: people see it.
    pub(super) fn consumer(&self, queue: &EndpointQueue) -> String {
        format!("endpoint:{}", queue_name(self.name(), queue.priority))
    }

    pub(super) fn position(&self, queue: usize, partition: PartitionId) -> Offset {
        Offset(self.slot(queue, partition).load(Ordering::Acquire))
    }

    pub(super) fn set_position(&self, queue: usize, partition: PartitionId, next: Offset) {
        self.slot(queue, partition).store(next.0, Ordering::Release);
    }

    fn slot(&self, queue: usize, partition: PartitionId) -> &AtomicU64 {
        &self.positions[queue * usize::from(self.partitions) + usize::from(partition.0)]
    }

    fn lowest(&self, partition: PartitionId) -> Option<Offset> {
        (0..self.queues.len()).map(|queue| self.position(queue, partition)).min()
    }

    pub(super) fn health(&self) -> MutexGuard<'_, EndpointHealth> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends its executors at once and waits until they are gone.
    async fn end(&self) {
        self.retired.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

#[derive(Default)]
struct Entries {
    all: Vec<Arc<Entry>>,
    /// Those of `all` whose executors do not run yet.
    fresh: Vec<Arc<Entry>>,
}

pub(super) struct Shared {
    seams: Seams,
    config: Config,
    metrics: Metrics,
    pub(super) history: History,
    entries: Mutex<Entries>,
    fresh: Notify,
    /// One change at a time.
    changing: tokio::sync::Mutex<()>,
}

impl Shared {
    pub(super) fn new(seams: &Seams, config: Config, metrics: &Metrics) -> Self {
        Self {
            seams: seams.clone(),
            config,
            metrics: metrics.clone(),
            history: History::new(config.history),
            entries: Mutex::default(),
            fresh: Notify::new(),
            changing: tokio::sync::Mutex::default(),
        }
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        // No code under this lock can leave the lists half changed.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, name: &str) -> Option<Arc<Entry>> {
        self.entries().all.iter().find(|entry| entry.name() == name).cloned()
    }

    /// Puts an endpoint in the place of one of its name.
    pub(super) fn insert(&self, entry: Arc<Entry>) {
        let mut entries = self.entries();
        let Entries { all, fresh } = &mut *entries;
        fresh.retain(|other| other.name() != entry.name());
        fresh.push(Arc::clone(&entry));
        match all.iter_mut().find(|other| other.name() == entry.name()) {
            Some(place) => *place = entry,
            None => all.push(entry),
        }
        drop(entries);
        self.fresh.notify_one();
    }

    /// Waits for an endpoint whose executors do not run yet. Cancel-safe.
    pub(super) async fn fresh(&self) {
        self.fresh.notified().await;
    }

    /// Starts the executors of endpoints that are new. Under the lock: who retires one meanwhile waits for them.
    pub(super) fn start_fresh(&self, mut start: impl FnMut(Task, &Entry)) {
        let mut entries = self.entries();
        for entry in std::mem::take(&mut entries.fresh) {
            for partition in (0..entry.partitions).map(PartitionId) {
                let task = Task::new(
                    &self.seams,
                    Arc::clone(&entry),
                    partition,
                    self.config,
                    &self.metrics,
                    &self.history,
                );
                start(task, &entry);
            }
        }
    }

    pub(super) async fn add(
        &self,
        endpoint: Arc<dyn Endpoint>,
        queues: Vec<EndpointQueue>,
    ) -> Result<(), LogError> {
        let _alone = self.changing.lock().await;
        let entry = Entry::new(endpoint, queues, self.seams.log.partitions());
        let old = self.find(entry.name());
        if let Some(old) = &old
            && Arc::ptr_eq(&old.endpoint, &entry.endpoint)
            && old.queues == entry.queues
        {
            return Ok(());
        }
        let known = |queue: &EndpointQueue| {
            let old = old.as_ref()?;
            let same = |other: &EndpointQueue| (other.id, other.priority) == (queue.id, queue.priority);
            Some((old, old.queues.iter().position(same)?))
        };
        let partitions = || (0..entry.partitions).map(PartitionId);
        for (index, queue) in entry.queues.iter().enumerate().filter(|(_, queue)| known(queue).is_none()) {
            for partition in partitions() {
                let next = self.begin(&entry.consumer(queue), partition).await?;
                entry.set_position(index, partition, next);
            }
        }
        if let Some(old) = &old {
            // It holds the log with what it reached until the new one stands.
            old.end().await;
        }
        for (index, queue) in entry.queues.iter().enumerate() {
            for (partition, (old, old_index)) in partitions().filter_map(|p| Some((p, known(queue)?))) {
                entry.set_position(index, partition, old.position(old_index, partition));
            }
        }
        self.insert(entry);
        Ok(())
    }

    /// Where a queue is read on that is new to the executors: at its checkpoint, or at the end of the log.
    async fn begin(&self, consumer: &str, partition: PartitionId) -> Result<Offset, LogError> {
        let end = self.seams.log.bounds(partition).end;
        match self.seams.checkpoints.load(consumer, partition).await? {
            Some(stored) => Ok(stored.min(end)),
            None => {
                // Stored at once: after a crash it must not begin at the end of then.
                self.seams.checkpoints.store(consumer, partition, end).await?;
                Ok(end)
            }
        }
    }

    pub(super) async fn retire(&self, name: &str) {
        let _alone = self.changing.lock().await;
        let entry = {
            let mut entries = self.entries();
            entries.fresh.retain(|entry| entry.name() != name);
            let index = entries.all.iter().position(|entry| entry.name() == name);
            index.map(|index| entries.all.remove(index))
        };
        if let Some(entry) = entry {
            entry.end().await;
        }
    }

    pub(super) fn lowest(&self, partition: PartitionId) -> Option<Offset> {
        self.entries().all.iter().filter_map(|entry| entry.lowest(partition)).min()
    }

    pub(super) fn give_up(&self, partition: PartitionId, before: Offset) {
        self.entries().all.iter().for_each(|entry| entry.give_up(partition, before));
    }

    pub(super) fn backlog(&self) -> Vec<(String, u32, u64)> {
        let mut backlog = Vec::new();
        for entry in &self.entries().all {
            for (index, queue) in entry.queues.iter().enumerate() {
                let waiting = (0..entry.partitions).map(PartitionId).map(|partition| {
                    let bounds = self.seams.log.bounds(partition);
                    let next = entry.position(index, partition).max(bounds.first);
                    bounds.end.0.saturating_sub(next.0)
                });
                backlog.push((entry.name().to_owned(), queue.priority, waiting.sum()));
            }
        }
        backlog
    }

    pub(super) fn position(&self, name: &str, priority: u32, partition: PartitionId) -> Option<Offset> {
        let entry = self.find(name)?;
        let index = entry.queues.iter().position(|queue| queue.priority == priority)?;
        (partition.0 < entry.partitions).then(|| entry.position(index, partition))
    }

    pub(super) fn queues(&self) -> Vec<(String, Vec<EndpointQueue>)> {
        self.entries().all.iter().map(|entry| (entry.name().to_owned(), entry.queues.clone())).collect()
    }

    pub(super) fn health(&self) -> Vec<EndpointHealth> {
        self.entries().all.iter().map(|entry| entry.health().clone()).collect()
    }
}
