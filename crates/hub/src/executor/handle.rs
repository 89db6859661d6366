//! Where executors stand, for retention and for people; and how endpoints come and go.

use super::EndpointQueue;
use super::history::History;
use super::shared::Shared;
use crate::seams::Endpoint;
use ironbrook_log::{Error as LogError, Offset, PartitionId};
use ironbrook_model::Timestamp;
use std::sync::Arc;

/// How an endpoint does.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EndpointHealth {
    /// Its name.
    pub name: String,
    /// The reason of its last failure, `None` once a later batch was taken.
    pub failing: Option<String>,
    /// The last failure, also where later batches were taken.
    pub last_failure: Option<(Timestamp, String)>,
    /// When it was last given a batch that it took or failed to take.
    pub last_attempt: Option<Timestamp>,
    /// Messages dead-lettered since it takes none.
    pub lost: u64,
    /// When it last took a batch.
    pub last_sent: Option<Timestamp>,
    /// Messages it took since the start.
    pub sent: u64,
    /// Messages dead-lettered since the start.
    pub dead_letters: u64,
}

/// How an endpoint does, in one word of the original.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndpointStatus {
    /// It takes what it is given.
    Healthy,
    /// It takes nothing now; messages wait for it.
    Unhealthy,
    /// Nothing was given to it yet.
    Unknown,
    /// It takes nothing, and messages that waited for it were dead-lettered.
    Dead,
}

impl EndpointStatus {
    /// As `healthStatus` has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
            Self::Unknown => "unknown",
            Self::Dead => "dead",
        }
    }
}

impl EndpointHealth {
    /// In one word. rule ROUTE-15
    pub fn status(&self) -> EndpointStatus {
        match (&self.failing, self.lost, self.last_attempt) {
            (Some(_), 0, _) => EndpointStatus::Unhealthy,
            (Some(_), _, _) => EndpointStatus::Dead,
            (None, _, None) => EndpointStatus::Unknown,
            (None, _, Some(_)) => EndpointStatus::Healthy,
        }
    }
}

/// Tells where the executors stand, and changes which there are.
#[derive(Clone)]
pub struct Handle {
    shared: Arc<Shared>,
}

impl Handle {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Adds an endpoint with its queues, or gives one of this name other queues or another object behind it; nothing happens
    /// where it is there just so. To be called before routes lead to it.
    ///
    /// A queue known from before goes on at its checkpoint; a new one begins at the end of the log. Where the endpoint is
    /// replaced, what it was sending comes again. Queues of routes that are gone may be given as long as something is in
    /// them. An error is one of the checkpoints; nothing has changed then. Not cancel-safe: run it to the end.
    pub async fn add(&self, endpoint: Arc<dyn Endpoint>, queues: &[EndpointQueue]) -> Result<(), LogError> {
        self.shared.add(endpoint, queues.to_vec()).await
    }

    /// Takes an endpoint away, at once and in the middle of a batch; what is in its queues no longer holds the log. To be
    /// called after the routes to it are gone. Nothing happens where there is none of this name.
    pub async fn retire(&self, name: &str) {
        self.shared.retire(name).await;
    }

    /// The lowest offset of a partition that an endpoint still needs: the log may drop what is before it. `None` without
    /// endpoints. 0 until each executor that was there from the start has read its checkpoint.
    pub fn lowest(&self, partition: PartitionId) -> Option<Offset> {
        self.shared.lowest(partition)
    }

    /// Takes what is before an offset from all endpoints: the log has no room for it any more. What of it is in their queues is
    /// dead-lettered; [`lowest`](Self::lowest) rises as they get there. So an endpoint that takes nothing for long never
    /// fills the disk, however much comes in.
    pub fn give_up(&self, partition: PartitionId, before: Offset) {
        self.shared.give_up(partition, before);
    }

    /// How much may wait in each queue: by endpoint and priority, the records from where it is read on to the end of the log.
    /// Those of other queues among them count too, until they are skipped.
    pub fn backlog(&self) -> Vec<(String, u32, u64)> {
        self.shared.backlog()
    }

    /// What became of the last batches.
    pub fn history(&self) -> History {
        self.shared.history.clone()
    }

    /// Where an endpoint's queue of a priority is read on in a partition; `None` where there is no such queue.
    pub fn position(&self, endpoint: &str, priority: u32, partition: PartitionId) -> Option<Offset> {
        self.shared.position(endpoint, priority, partition)
    }

    /// The queues of each endpoint, by name.
    pub fn queues(&self) -> Vec<(String, Vec<EndpointQueue>)> {
        self.shared.queues()
    }

    /// How each endpoint does.
    pub fn health(&self) -> Vec<EndpointHealth> {
        self.shared.health()
    }
}
