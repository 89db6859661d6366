//! Keeps the agent in step with its twin: what is deployed comes in whole, what is reported goes out as small patches.
//!
//! A change is merged only if its version is the next one; otherwise the whole twin is read. It is read again every hour too, or as
//! often as the deployment says.

use super::metrics::Metrics;
use super::patch::{difference, merge};
use super::seams::{AgentTwin, DesiredChange, TwinError};
use super::settings::Settings;
use ironbrook_hub::seams::Clock;
use ironbrook_model::Timestamp;
use ironbrook_model::twin::Object;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// How long the hub may take for an answer.
const ANSWER_TIME: Duration = Duration::from_secs(60);
/// How long the last report may take.
const LAST_WORDS_TIME: Duration = Duration::from_secs(5);
/// First wait after a failure, doubled each time.
const WAIT_FIRST: Duration = Duration::from_secs(2);
/// Longest wait after a failure.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// The desired properties as the hub has them now.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Desired {
    pub(super) version: u64,
    pub(super) properties: Object,
}

/// The two ends the rest of the agent holds.
pub(super) struct Ends {
    /// What is deployed; `None` until the hub was heard.
    pub(super) desired: watch::Receiver<Option<Arc<Desired>>>,
    /// What is to be reported: all members that are the agent's.
    pub(super) document: watch::Sender<Option<Arc<Object>>>,
    /// How often the whole twin is read.
    pub(super) refresh: watch::Sender<Duration>,
}

pub(super) struct Sync {
    twin: Arc<dyn AgentTwin>,
    clock: Arc<dyn Clock>,
    metrics: Metrics,
    desired: watch::Sender<Option<Arc<Desired>>>,
    document: watch::Receiver<Option<Arc<Object>>>,
    refresh: watch::Receiver<Duration>,
    /// When the twin was last read.
    last_read: Option<Timestamp>,
    /// The agent's members of the reported properties as the hub has them; `None` until they were read.
    known: Option<Object>,
    read_at: Wait,
    report_at: Wait,
}

/// When something is to be done, with a back-off.
#[derive(Debug, Default)]
struct Wait {
    due: Option<Timestamp>,
    failures: u32,
}

impl Wait {
    fn is_due(&self, now: Timestamp) -> bool {
        self.due.is_none_or(|due| due <= now)
    }

    fn failed(&mut self, now: Timestamp) {
        let wait = WAIT_FIRST.saturating_mul(2_u32.saturating_pow(self.failures)).min(WAIT_MAX);
        self.failures += 1;
        self.due = Some(now.plus(wait));
    }

    fn done(&mut self, next: Option<Timestamp>) {
        *self = Self { due: next, failures: 0 };
    }
}

impl Sync {
    pub(super) fn new(twin: Arc<dyn AgentTwin>, clock: Arc<dyn Clock>, metrics: Metrics) -> (Self, Ends) {
        let (desired, desired_end) = watch::channel(None);
        let (document_end, document) = watch::channel(None);
        let (refresh_end, refresh) = watch::channel(Settings::default().refresh);
        let (read_at, report_at) = Default::default();
        let sync = Self {
            twin,
            clock,
            metrics,
            desired,
            document,
            refresh,
            last_read: None,
            known: None,
            read_at,
            report_at,
        };
        (sync, Ends { desired: desired_end, document: document_end, refresh: refresh_end })
    }

    /// Until cancelled; then what is still to be reported goes out, if the hub answers soon.
    pub(super) async fn run(mut self, cancel: CancellationToken) {
        let outcome = cancel.run_until_cancelled(self.keep()).await;
        debug_assert!(outcome.is_none(), "keeping in step never ends");
        let clock = self.clock.clone();
        tokio::select! {
            () = self.report() => {}
            () = clock.sleep(LAST_WORDS_TIME) => {
                tracing::warn!("the hub did not take the last report in time");
            }
        }
    }

    async fn keep(&mut self) {
        loop {
            let now = self.clock.now();
            if self.read_at.is_due(now) {
                self.read().await;
            }
            if self.report_at.is_due(self.clock.now()) {
                self.report().await;
            }
            let wake = [self.read_at.due, self.report_at.due].into_iter().flatten().min();
            let (twin, clock) = (self.twin.clone(), self.clock.clone());
            tokio::select! {
                change = twin.changed() => self.changed(change),
                // The other end lives as long as the agent.
                Ok(()) = self.document.changed() => {}
                Ok(()) = self.refresh.changed() => self.refresh_after(),
                () = clock.sleep_until(wake.unwrap_or_default()), if wake.is_some() => {}
            }
        }
    }

    async fn read(&mut self) {
        let twin = self.twin.clone();
        let result = self.in_time(twin.get()).await;
        self.metrics.synced(result.is_ok());
        match result {
            Ok(full) => {
                self.last_read = Some(self.clock.now());
                self.refresh_after();
                self.known = Some(full.reported);
                self.publish(full.desired_version, full.desired);
            }
            Err(error) => {
                tracing::warn!(%error, "the agent's twin cannot be read; trying again");
                self.read_at.failed(self.clock.now());
            }
        }
    }

    /// Plans the next reading. One that is due, or failed, stays as it is.
    fn refresh_after(&mut self) {
        let every = *self.refresh.borrow_and_update();
        if let Some(last) = self.last_read {
            self.read_at.done(Some(last.plus(every)));
        }
    }

    fn changed(&mut self, change: DesiredChange) {
        let current = self.desired.borrow().clone();
        let version = current.as_ref().map_or(0, |current| current.version);
        match current {
            // rule AGENT-10
            Some(current) if !change.complete && change.version == version + 1 => {
                let mut properties = current.properties.clone();
                merge(&mut properties, &change.properties);
                self.publish(change.version, properties);
            }
            // Forward only: a version that went back means another twin, and that has other reported properties too.
            Some(_) if change.complete && change.version >= version => {
                self.publish(change.version, change.properties);
            }
            Some(_) if !change.complete && change.version <= version && change.version > 0 => {}
            _ => self.read_at.done(None),
        }
    }

    fn publish(&mut self, version: u64, properties: Object) {
        let new = Some(Arc::new(Desired { version, properties }));
        self.desired.send_if_modified(|desired| {
            let differs = *desired != new;
            *desired = new;
            differs
        });
    }

    /// Sends what the hub does not know yet.
    async fn report(&mut self) {
        let Some(document) = self.document.borrow_and_update().clone() else { return };
        let Some(known) = &self.known else { return };
        let own: Object = known
            .iter()
            .filter(|(key, _)| is_own(key))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        let patch = difference(&own, &document);
        if patch.is_empty() {
            self.report_at.done(None);
            return;
        }
        let twin = self.twin.clone();
        match self.in_time(twin.report(&patch)).await {
            Ok(()) => {
                if let Some(known) = &mut self.known {
                    merge(known, &patch);
                }
                self.report_at.done(None);
            }
            Err(error) => {
                tracing::warn!(%error, "the agent's report was not taken; trying again");
                self.report_at.failed(self.clock.now());
            }
        }
    }

    async fn in_time<T>(&self, call: impl Future<Output = Result<T, TwinError>>) -> Result<T, TwinError> {
        tokio::select! {
            result = call => result,
            () = self.clock.sleep(ANSWER_TIME) => {
                Err(TwinError::Away(format!("no answer of the hub within {} s", ANSWER_TIME.as_secs())))
            }
        }
    }
}

/// The members of the reported properties that are the agent's; others, such as `configurations`, are left alone.
fn is_own(key: &str) -> bool {
    const OWN: [&str; 7] = [
        "schemaVersion",
        "version",
        "lastDesiredVersion",
        "lastDesiredStatus",
        "runtime",
        "systemModules",
        "modules",
    ];
    OWN.contains(&key)
}
