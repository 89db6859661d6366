//! Stream Analytics as a module: rows of a query over the module's inputs leave by its outputs.
//!
//! Start with [`run_from_environment`]; the document a job is published as is [`Package`].

mod package;
mod policies;

pub use package::{Package, PackageError, QUERY_LEN_MAX};
pub use policies::{OrderingPolicies, Violation};

use std::io::Write;
use tokio_util::sync::CancellationToken;

/// Why the module ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A variable that cannot be used.
    #[error("the environment variable {name} cannot be used: {reason}")]
    Setting {
        /// Its name.
        name: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// The client cannot be made, or failed for good.
    #[error(transparent)]
    Client(#[from] ironbrook_client::Error),
}

/// Runs the module as the environment of the process says, until `cancel`. Lines for people go to `lines`.
pub async fn run_from_environment(
    lines: Box<dyn Write + Send>,
    cancel: CancellationToken,
) -> Result<(), Error> {
    drop(lines);
    cancel.cancelled().await;
    Ok(())
}
