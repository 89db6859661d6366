//! How long to wait after failures, by partition.

use ironbrook_log::PartitionId;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// First and longest wait.
const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(60);

/// Counts failures in a row.
#[derive(Debug, Default)]
pub(super) struct Backoff(Mutex<HashMap<PartitionId, u32>>);

impl Backoff {
    /// After a failure: how long to wait, twice as long each time.
    pub(super) fn failed(&self, partition: PartitionId) -> Duration {
        let mut failures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = failures.entry(partition).or_default();
        let wait = FIRST.saturating_mul(1 << (*count).min(6)).min(LONGEST);
        *count = count.saturating_add(1);
        wait
    }

    /// After a success.
    pub(super) fn worked(&self, partition: PartitionId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&partition);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_minute_and_start_anew() {
        let backoff = Backoff::default();
        let waits: Vec<_> = (0..8).map(|_| backoff.failed(PartitionId(0)).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(backoff.failed(PartitionId(1)), FIRST);
        backoff.worked(PartitionId(0));
        assert_eq!(backoff.failed(PartitionId(0)), FIRST);
    }
}
