//! The durable message log: append-only, partitioned, checksummed, synced in groups.
//!
//! Start with [`Log`], whose doc comment is the contract; [`SegmentLog`] is the log in files, [`FileCheckpoints`] the
//! checkpoints of its readers. [`Storage`] is the seam to the disk: [`Files`] in production, [`Memory`] with faults in
//! tests and for running without a disk; [`RedbBackend`] lets databases stand on it too. What is *not* here: what a
//! record means. Headers and bodies are opaque bytes; routes, endpoints and devices are words of the crates above.

mod api;
mod checkpoints;
mod error;
mod keys;
mod redb_backend;
mod segment;
pub mod storage;

pub use api::{
    Append, Batch, Bounds, Checkpoints, Log, Offset, PartitionId, QueueId, Record, Seek, Ticket, Wait,
};
pub use checkpoints::FileCheckpoints;
pub use error::Error;
pub use keys::{KeyFileError, KeyId, Keys};
pub use redb_backend::{RedbBackend, redb_backend};
pub use segment::{Config, Retention, SegmentLog, Stats, SyncPolicy, inspect};
pub use storage::{File, Files, LOCK, Memory, ReadOnly, Storage};
