//! The durable message log: append-only, partitioned, checksummed, synced in groups.
//!
//! Start with [`Log`], whose doc comment is the contract. [`Storage`] is the seam to the disk: files in production,
//! memory with faults in tests and for `--ephemeral`. What is *not* here: what a record means. Headers and bodies are
//! opaque bytes; routes, endpoints and devices are words of the crates above.

mod api;
mod error;
pub mod storage;

pub use api::{Append, Batch, Bounds, Checkpoints, Log, Offset, PartitionId, QueueId, Record, Seek, Ticket};
pub use error::Error;
pub use storage::{File, Storage};
