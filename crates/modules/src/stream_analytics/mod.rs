//! Stream Analytics as a module, compatible with the stock one: rows of a query over the module's inputs leave by its outputs.
//!
//! The query comes with the desired properties, as text or as the URL of a [`Package`]; what becomes of it is reported. Input `x` of
//! the query is input `x` of the module, output `y` its output `y`. State is kept in a folder, so that a kill at any moment loses
//! nothing and counts nothing twice. `docs/stream-analytics-module.md` has the properties and the guarantees in full.
//!
//! Start with [`run_from_environment`], or with [`StreamAnalytics`] for a connection of one's own. Inside, `worker` is the loop,
//! `source` where the query comes from, `job` the query at work without any input or output.
//!
//! What is *not* here: the language, which is crate `ironbrook-analytics`, and jobs that run in a hub.

mod console;
mod files;
mod identity;
mod inputs;
mod job;
mod link;
mod outgoing;
mod package;
mod parked;
mod policies;
mod program;
mod reference;
mod report;
mod settings;
mod source;
#[cfg(test)]
mod tests;
mod timeline;
mod twin;
mod worker;

pub use inputs::{Format, Header, InputSettings, Packing};
pub use package::{Package, PackageError, QUERY_LEN_MAX};
pub use policies::{Failure, OrderingPolicies, Violation};
pub use reference::ReferenceSettings;
pub use settings::Settings;

use console::Console;
use files::Files;
use ironbrook_client::{Builder, DeviceClient, RetryPolicy};
use ironbrook_hub::seams::{Clock, SystemClock};
use link::{ClientLink, Link};
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use worker::Worker;

/// Attempts to find the way into the hub, before the module ends and is started again.
const ATTEMPTS: u32 = 6;
/// The first wait between them; it doubles.
const ATTEMPT_WAIT: Duration = Duration::from_secs(2);
/// How long to wait between attempts to connect: the other side is on this machine or near, and often just being started.
const RETRY: RetryPolicy = RetryPolicy { first: Duration::from_millis(100), longest: Duration::from_secs(5) };

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
    let settings = Settings::from_variables(|name| std::env::var_os(name))?;
    let console = Console::new(lines);
    console.line(format_args!("Stream Analytics starts"));
    if settings.state_dir.is_none() {
        console
            .line(format_args!("IRONBROOK_STATE_DIR is not set: open windows do not outlive this process"));
    }
    let builder = tokio::select! {
        () = cancel.cancelled() => return Ok(()),
        builder = find_way(&console) => builder?,
    };
    // A module is often started before the hub has heard of it, so a refusal is no reason to end.
    let client = builder.retry(RETRY).retry_unauthorized(true).start()?;
    StreamAnalytics { client, settings, console, clock: Arc::new(SystemClock) }.run(cancel).await
}

/// Asks for what is needed to connect, some times if it fails in passing.
async fn find_way(console: &Console) -> Result<Builder, Error> {
    let mut wait = ATTEMPT_WAIT;
    for _ in 1..ATTEMPTS {
        match Builder::from_environment().await {
            Err(error) if error.is_transient() => {
                console
                    .line(format_args!("Connecting failed, next attempt in {} s: {error}", wait.as_secs()));
            }
            other => return Ok(other?),
        }
        tokio::time::sleep(wait).await;
        wait *= 2;
    }
    Ok(Builder::from_environment().await?)
}

/// The module. It owns nothing of the connection: any [`DeviceClient`] of a module will do.
pub struct StreamAnalytics {
    client: DeviceClient,
    settings: Settings,
    console: Console,
    clock: Arc<dyn Clock>,
}

impl StreamAnalytics {
    /// A module that speaks through `client` and writes lines for people to `lines`.
    pub fn new(
        client: DeviceClient,
        settings: Settings,
        lines: Box<dyn Write + Send>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self { client, settings, console: Console::new(lines), clock }
    }

    /// Works until `cancel` or until the client fails for good. Closes the client at the end. What is under way then comes again
    /// with the next start.
    pub async fn run(self, cancel: CancellationToken) -> Result<(), Error> {
        let link = Arc::new(ClientLink::new(self.client));
        let outcome = tokio::select! {
            () = cancel.cancelled() => Ok(()),
            done = work(link.clone(), self.settings, self.console, self.clock) => done,
        };
        if let Err(error) = link.client().close().await
            && outcome.is_ok()
        {
            tracing::debug!(%error, "messages under way come again");
        }
        Ok(outcome?)
    }
}

/// Everything the module does, on any link.
async fn work<L: Link>(
    link: Arc<L>,
    settings: Settings,
    console: Console,
    clock: Arc<dyn Clock>,
) -> ironbrook_client::Result<()> {
    let files = Files::new(settings.state_dir);
    let (worker, reports) = Worker::new(link.clone(), clock, console, files, settings.downloads);
    tokio::try_join!(worker.run(), report::tell(link, reports)).map(drop)
}
