//! Where executors stand, for retention and for people.

use ironbrook_log::{Offset, PartitionId};
use ironbrook_model::Timestamp;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

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

/// What all executors write and handles read.
pub(super) struct Shared {
    partitions: u16,
    /// By endpoint, then partition.
    positions: Vec<AtomicU64>,
    health: Mutex<Vec<EndpointHealth>>,
}

impl Shared {
    pub(super) fn new(names: Vec<String>, partitions: u16) -> Self {
        let positions = (0..names.len() * usize::from(partitions)).map(|_| AtomicU64::new(0)).collect();
        let health = names.into_iter().map(|name| EndpointHealth { name, ..Default::default() });
        Self { partitions, positions, health: Mutex::new(health.collect()) }
    }

    pub(super) fn set_position(&self, endpoint: usize, partition: PartitionId, next: Offset) {
        let index = endpoint * usize::from(self.partitions) + usize::from(partition.0);
        self.positions[index].store(next.0, Ordering::Release);
    }

    pub(super) fn update(&self, endpoint: usize, change: impl FnOnce(&mut EndpointHealth)) {
        let mut health = self.health.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut health[endpoint]);
    }
}

/// Tells where the executors stand.
#[derive(Clone)]
pub struct Handle {
    shared: Arc<Shared>,
}

impl Handle {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// The lowest offset of a partition that an endpoint still needs: the log may drop what is before it. `None` without
    /// endpoints. 0 until each executor has read its checkpoint.
    pub fn lowest(&self, partition: PartitionId) -> Option<Offset> {
        let of_partition = self
            .shared
            .positions
            .iter()
            .skip(usize::from(partition.0))
            .step_by(self.shared.partitions.into());
        of_partition.map(|position| Offset(position.load(Ordering::Acquire))).min()
    }

    /// How each endpoint does.
    pub fn health(&self) -> Vec<EndpointHealth> {
        self.shared.health.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
