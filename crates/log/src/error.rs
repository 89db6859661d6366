//! Errors of the log.

use std::sync::Arc;

/// Why the log did not do something.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The buffer of unsynced records is full, or the disk is; nothing was appended.
    #[error("the log has no room now; wait for room, and free disk space if this lasts")]
    Full,
    /// A sync failed earlier: what is on disk is known only after a restart.
    #[error("the log is poisoned by a failed sync; restart to recover from disk")]
    Poisoned,
    /// The log was closed.
    #[error("the log is closed")]
    Closed,
    /// No such partition.
    #[error("there is no partition {0}")]
    Partition(u16),
    /// A record larger than the format allows.
    #[error("a record of {0} bytes is too large for the log")]
    TooLarge(usize),
    /// The storage failed.
    #[error("storage failed: {0}")]
    Storage(Arc<std::io::Error>),
    /// A file that is not ours or of a version we do not know.
    #[error("{path}: {what}")]
    Format {
        /// The file.
        path: String,
        /// What is wrong, and what to do.
        what: String,
    },
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        Self::Storage(Arc::new(error))
    }
}
