//! Users and rules of ordinary topics, read anew when the configuration's file changes.

use crate::config::Config;
use ironbrook_hub::seams::{Clock as _, SystemClock};
use ironbrook_pubsub::Broker;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};
use tokio_util::sync::CancellationToken;

/// How often the file is looked at; a change counts once two looks agree, since a program may still be writing.
const LOOK: Duration = Duration::from_secs(1);

/// The file, what stood in it, and what flags added to that.
#[derive(Debug)]
pub struct Source {
    /// The file of the configuration.
    pub file: PathBuf,
    /// The configuration that this run began with.
    pub loaded: Config,
    /// Whether a flag lets clients without user name in.
    pub anonymous: bool,
}

/// By what a change is told: when it was written, and how long it is.
type Mark = Option<(Option<SystemTime>, u64)>;

impl Source {
    fn mark(&self) -> Mark {
        let found = std::fs::metadata(&self.file).ok()?;
        Some((found.modified().ok(), found.len()))
    }

    /// Puts users and rules in force; what is wrong with the file, in words.
    fn apply(&self, broker: &Broker) -> Result<(), String> {
        let config = Config::load(Some(&self.file)).map_err(|error| error.to_string())?;
        let mut topics = config.topics.clone();
        topics.anonymous |= self.anonymous;
        let acl = topics.acl()?;
        let done = broker.set_acl(acl, SystemClock.now());
        tracing::info!(file = %self.file.display(), connections_ended = done.closed,
            subscriptions_ended = done.subscriptions, wills_dropped = done.wills,
            "users and rules of ordinary topics are read anew");
        if without_rules(config) != without_rules(self.loaded.clone()) {
            tracing::warn!(file = %self.file.display(),
                "the configuration has other changes too; they take effect at the next start");
        }
        Ok(())
    }
}

/// What takes effect at the start only.
fn without_rules(mut config: Config) -> Config {
    config.topics.anonymous = false;
    config.topics.users.clear();
    config.topics.rules.clear();
    config
}

/// Reads the file anew whenever it changes, until cancelled. A file that is gone or wrong changes nothing, and that is logged.
pub async fn watch(source: Source, broker: Broker, cancel: CancellationToken) {
    let mut known = source.mark();
    let mut last = known;
    loop {
        tokio::select! {
            () = cancel.cancelled() => return,
            () = tokio::time::sleep(LOOK) => {}
        }
        let now = source.mark();
        if now == last && now != known {
            known = now;
            let outcome = match now {
                Some(_) => source.apply(&broker),
                None => Err(format!("{} is gone", source.file.display())),
            };
            if let Err(error) = outcome {
                tracing::error!(%error, "users and rules of ordinary topics stay as they were");
            }
        }
        last = now;
    }
}
