//! Errors of the registry.

use ironbrook_model::twin::TwinError;
use ironbrook_model::{ErrorCode, Refusal};
use std::io::ErrorKind;

/// Why the registry did not do something.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The caller asked for something that may not be.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The disk is full; nothing of the change was kept. Heals by itself when there is space again.
    #[error("the disk of the registry is full; free some space, and it goes on by itself")]
    Full,
    /// Another call met an error of the disk at the same time; [`Error::Full`] where that was it.
    #[error("the registry's database failed while another call worked on it; restart to recover from disk")]
    Interrupted,
    /// The database failed; nothing of the change was acknowledged, and only a restart tells what is on disk.
    #[error("the registry's database failed: {0}; restart to recover from disk")]
    Database(String),
    /// A stored value that cannot be read.
    #[error(
        "a stored {what} cannot be read: {why}; it was written by a newer version, or the file is damaged"
    )]
    Stored {
        /// Kind of value.
        what: &'static str,
        /// The parser's words.
        why: String,
    },
    /// The registry was closed, or its writer ended.
    #[error("the registry is closed")]
    Closed,
}

impl Error {
    /// A refusal with its code and text.
    pub(crate) fn refuse(code: ErrorCode, text: impl Into<std::borrow::Cow<'static, str>>) -> Self {
        Self::Refused(Refusal::new(code, text))
    }
}

impl From<TwinError> for Error {
    fn from(error: TwinError) -> Self {
        Self::Refused(error.into())
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        match error {
            Error::Refused(refusal) => refusal,
            Error::Closed | Error::Full => Self::new(ErrorCode::ServiceUnavailable, error.to_string()),
            other => {
                tracing::error!(error = %other, "the registry failed");
                Self::new(ErrorCode::ServerError, other.to_string())
            }
        }
    }
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Self::Full,
            _ => Self::Database(error.to_string()),
        }
    }
}

macro_rules! database_errors {
    ($($kind:ident),*) => {
        $(impl From<redb::$kind> for Error {
            fn from(error: redb::$kind) -> Self {
                match redb::Error::from(error) {
                    redb::Error::Io(error) => error.into(),
                    redb::Error::PreviousIo => Self::Interrupted,
                    other => Self::Database(other.to_string()),
                }
            }
        })*
    };
}

database_errors!(DatabaseError, TransactionError, TableError, StorageError, CommitError);
