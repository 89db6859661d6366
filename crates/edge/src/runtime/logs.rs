//! What modules write, as tools ask for it.

use super::RuntimeError;
use async_trait::async_trait;
use ironbrook_model::Timestamp;

/// Which lines of a log are wanted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LogQuery {
    /// At most so many, the last ones; all without it.
    pub tail: Option<usize>,
    /// Not before.
    pub since: Option<Timestamp>,
    /// Not after.
    pub until: Option<Timestamp>,
    /// Only lines behind this [`LogLine::position`].
    pub after: Option<u64>,
}

/// One line a module wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// When it was read.
    pub time: Timestamp,
    /// Grows from line to line while this process runs.
    pub position: u64,
    /// The line without its end.
    pub text: String,
}

/// Keeps what modules write.
#[async_trait]
pub trait ModuleLogs: Send + Sync + 'static {
    /// The lines a query names, oldest first.
    async fn lines(&self, name: &str, query: LogQuery) -> Result<Vec<LogLine>, RuntimeError>;
}
