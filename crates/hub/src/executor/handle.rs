//! Where executors stand, for retention and for people; and how endpoints come and go.

use super::EndpointQueue;
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
    /// When it last took a batch.
    pub last_sent: Option<Timestamp>,
    /// Messages it took since the start.
    pub sent: u64,
    /// Messages dead-lettered since the start.
    pub dead_letters: u64,
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

    /// How each endpoint does.
    pub fn health(&self) -> Vec<EndpointHealth> {
        self.shared.health()
    }
}
