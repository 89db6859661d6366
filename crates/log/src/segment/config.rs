//! Settings of a segment log.

use crate::Keys;
use std::time::Duration;

/// Settings of a segment log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// How many partitions there are, 1 or more. May grow between starts, never shrink.
    pub partitions: u16,
    /// A segment takes no further records once it would grow beyond this many bytes.
    pub segment_bytes: u64,
    /// When records are synced.
    pub sync: SyncPolicy,
    /// How many bytes of a partition may be gathered and not yet durable, of which half may be on their way to the disk. It says that
    /// it is full where the other half is.
    pub buffer_bytes: usize,
    /// How many bytes of its newest records a partition keeps in memory for readers at its end.
    pub cache_bytes: usize,
    /// How long records are kept; see [`SegmentLog::retain`](super::SegmentLog::retain).
    pub retention: Retention,
    /// Keys for encryption at rest; none by default, so that nothing is encrypted.
    pub keys: Keys,
}

impl Default for Config {
    /// Four partitions of 64 MiB segments, synced in groups, 1.9 MiB gathered, 1 MiB cached, kept for one day.
    fn default() -> Self {
        Self {
            partitions: 4,
            segment_bytes: 64 << 20,
            sync: SyncPolicy::default(),
            // Buffers grow by doubling, so that each half takes 1 MiB. More would help only a disk that is seldom ready.
            buffer_bytes: 15 << 17,
            cache_bytes: 1 << 20,
            retention: Retention::default(),
            keys: Keys::default(),
        }
    }
}

/// When records are synced. Whatever the policy, [`durable`](crate::Log::durable) waits for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SyncPolicy {
    /// As soon as the disk is free; what came in meanwhile is one group. Nothing ever waits for company. A sync for each record
    /// would promise nothing more, as no record is acknowledged before its own.
    Always,
    /// A group waits until it is this old or this large, then as [`Always`](Self::Always). Fewer syncs, later answers. While many
    /// records come it waits up to 8 ms even with no delay set, because syncs one after the other would take the CPU from those
    /// who send; it waits no longer once none come.
    Group {
        /// How long the first record of a group waits for others.
        max_delay: Duration,
        /// At how many gathered bytes, over all partitions, it waits no longer.
        max_bytes: usize,
    },
    /// Only when a segment is finished and at close. A record counts as durable when the operating system has it: it
    /// survives the end of the process, but not a power cut.
    Never,
}

impl Default for SyncPolicy {
    fn default() -> Self {
        Self::Group { max_delay: Duration::ZERO, max_bytes: 1 << 20 }
    }
}

/// How long records are kept where no reader needs them any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Records older than this may go.
    pub max_age: Option<Duration>,
    /// The oldest may go while a partition is larger than this.
    pub max_bytes: Option<u64>,
}

impl Default for Retention {
    /// One day, as a new hub's built-in endpoint has it, and any size.
    fn default() -> Self {
        Self { max_age: Some(Duration::from_secs(24 * 60 * 60)), max_bytes: None }
    }
}
