//! What the operator of a hub may set for all its jobs.

use std::ops::RangeInclusive;
use std::time::Duration;

/// Settings of all streaming jobs of a hub. Each has a range, outside of which it would do harm: threads and memory without bound,
/// a disk that does nothing else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Most jobs; each has a thread of its own.
    pub max_jobs: usize,
    /// What open windows and waiting events of a job may hold, in bytes.
    pub max_state: usize,
    /// Largest blob of reference data, in bytes, before and after compression.
    pub max_reference: u64,
    /// How often it is looked whether reference data changed.
    pub refresh: Duration,
    /// How often state is kept where nothing is to be sent. What came in since is read from the log again after a crash.
    pub checkpoint: Duration,
    /// How much longer than its time a window waits for events that are on their way to the disk, where no event closes it.
    pub close_delay: Duration,
}

impl Settings {
    /// How many jobs may be allowed.
    pub const JOBS: RangeInclusive<usize> = 1..=1024;
    /// How many bytes of state may be allowed.
    pub const STATE: RangeInclusive<usize> = 1 << 20..=64 << 30;
    /// How large reference data may be; the end is what the readers of formats take.
    pub const REFERENCE: RangeInclusive<u64> = 1 << 20..=64 << 20;
    /// How often reference data may be looked at.
    pub const REFRESH: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(3600);
    /// How often state may be kept.
    pub const CHECKPOINT: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(60);
    /// How long windows may wait for the disk.
    pub const CLOSE_DELAY: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_secs(60);
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_jobs: 64,
            max_state: 512 << 20,
            max_reference: 64 << 20,
            refresh: Duration::from_secs(5),
            checkpoint: Duration::from_secs(1),
            close_delay: Duration::from_millis(250),
        }
    }
}
