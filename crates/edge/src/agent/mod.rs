//! The edge agent: makes what runs equal to what is deployed, and reports how that went.
//!
//! The deployment comes through the twin of `$edgeAgent`; the last good one is kept, so that a start without the hub runs it.
//! Start with [`Agent::run`]; one turn is [`reconcile`], what has to be done is [`plan`], when an ended module is started again
//! is [`restart`], and [`sync`] speaks to the twin. All of it stands on [`seams`] and on the
//! [`ModuleRuntime`](crate::runtime::ModuleRuntime).
//!
//! The system modules `edgeAgent` and `edgeHub` are parts of this process: they are reported, and never started or stopped here.
//! What is *not* here: what an image means ([`runtime`](crate::runtime)), and keys ([`daemon`](crate::daemon)).

mod adapters;
mod members;
mod methods;
mod metrics;
mod patch;
mod plan;
mod reconcile;
mod records;
mod reported;
mod restart;
mod retry;
pub mod seams;
mod settings;
mod status;
mod store;
mod sync;
#[cfg(test)]
mod tests;
mod view;

pub use adapters::{ClientTwin, DaemonIdentities};
pub use metrics::Metrics;
pub use reported::DeploymentStatus;
pub use restart::RuntimeStatus;
pub use status::{AgentStatus, Handle};
pub use store::FileStore;

use crate::manifest::AgentDesired;
use crate::runtime::{ModuleLogs, ModuleRuntime};
use futures_util::future::join_all;
use ironbrook_hub::seams::Clock;
use ironbrook_model::Timestamp;
use ironbrook_model::twin::Object;
use methods::Methods;
use reconcile::{Engine, STOP_GRACE, Turned};
use records::Deployment;
use reported::Report;
use seams::{AgentTwin, Identities, Store};
use settings::Settings;
use status::{Shared, Snapshot};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use sync::{Ends, Sync};
use tokio::sync::{Mutex, Notify, watch};
use tokio_util::sync::CancellationToken;
use view::View;

/// How long a start waits for the hub's word before it runs the stored deployment.
const FIRST_WORD_TIME: Duration = Duration::from_secs(5);
/// The shortest time between two turns that nothing but the clock asks for.
const TURN_MIN: Duration = Duration::from_millis(100);

/// What the agent must know.
#[derive(Debug, Clone)]
pub struct Config {
    /// The product's version, as it is reported.
    pub version: String,
    /// Reported as the agent's image while nothing is deployed.
    pub agent_image: String,
    /// The hub's host name; in log records.
    pub hub_host: String,
    /// The device's id; in log records.
    pub device: String,
}

/// What the agent stands on.
#[derive(Clone)]
pub struct Seams {
    /// Its own connection to the hub.
    pub twin: Arc<dyn AgentTwin>,
    /// Who the modules are.
    pub identities: Arc<dyn Identities>,
    /// What runs them.
    pub runtime: Arc<dyn ModuleRuntime>,
    /// What they wrote.
    pub logs: Arc<dyn ModuleLogs>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// What survives a restart.
    pub store: Arc<dyn Store>,
}

/// The agent; [`run`](Self::run) it.
pub struct Agent {
    config: Config,
    seams: Seams,
    metrics: Metrics,
    shared: Arc<Shared>,
    started: Timestamp,
}

impl Agent {
    /// An agent that does nothing before it is run.
    pub fn new(config: Config, seams: Seams, metrics: Metrics) -> Self {
        let started = seams.clock.now();
        let snapshot = Snapshot {
            version: 0,
            status: DeploymentStatus::new(406, "the agent has not yet looked"),
            modules: BTreeMap::new(),
            agent_image: config.agent_image.clone(),
            hub_image: String::new(),
            started,
        };
        let shared = Arc::new(Shared {
            runtime: seams.runtime.clone(),
            clock: seams.clock.clone(),
            snapshot: watch::Sender::new(Arc::new(snapshot)),
            work: Mutex::new(()),
            restarted: Notify::new(),
        });
        Self { config, seams, metrics, shared, started }
    }

    /// A handle that stays good while the agent runs and after.
    pub fn handle(&self) -> Handle {
        Handle { shared: self.shared.clone() }
    }

    /// Runs until cancelled; then stops all modules and tells the hub that nobody looks after them.
    ///
    /// Takes as long as the slowest module's stop, at most ten seconds and what the runtime needs to end it by force, and as
    /// the hub needs to take the last report, at most five seconds.
    pub async fn run(self, cancel: CancellationToken) {
        let Seams { twin, clock, .. } = self.seams.clone();
        let (sync, ends) = Sync::new(twin.clone(), clock, self.metrics.clone());
        let methods = Methods::new(&self.config, &self.seams, self.handle(), self.metrics.clone());
        let reported = CancellationToken::new();
        let keep_in_step = sync.run(reported.clone());
        let answer = cancel.run_until_cancelled(methods.run(twin));
        let work = async {
            Worker::new(self, ends).await.run(&cancel).await;
            reported.cancel();
        };
        // One task for all three: none can outlive the agent.
        tokio::join!(keep_in_step, answer, work);
    }
}

/// The part that works on modules.
struct Worker {
    agent: Agent,
    engine: Engine,
    ends: Ends,
    /// The last good deployment, and whether it is the hub's word since the agent began.
    deployment: Option<Deployment>,
    confirmed: bool,
    /// The version the status is of, and what is wrong with it.
    version: u64,
    refused: Option<DeploymentStatus>,
    view: View,
    /// A deployment that found no room on the disk; a start without the hub would run the one before.
    unsaved: Option<(u64, Object)>,
}

impl Worker {
    async fn new(agent: Agent, ends: Ends) -> Self {
        let Seams { runtime, identities, store, clock, .. } = agent.seams.clone();
        let deployment = Deployment::load(&*store).await;
        let version = deployment.as_ref().map_or(0, |deployment| deployment.version);
        let engine = Engine::new(runtime, identities, store, clock, agent.metrics.clone(), version).await;
        let view = View::default();
        Self {
            agent,
            engine,
            ends,
            deployment,
            confirmed: false,
            version,
            refused: None,
            view,
            unsaved: None,
        }
    }

    async fn run(mut self, cancel: &CancellationToken) {
        let clock = self.agent.seams.clock.clone();
        tokio::select! {
            () = cancel.cancelled() => {}
            _ = self.ends.desired.changed() => self.ends.desired.mark_changed(),
            () = clock.sleep(FIRST_WORD_TIME) => tracing::warn!("the hub is not there; running what was deployed last"),
        }
        while !cancel.is_cancelled() {
            self.take_desired().await;
            let wake = self.turn(cancel).await;
            self.wait(wake, cancel).await;
        }
        self.end().await;
    }

    /// Waits for anything that asks for another turn.
    async fn wait(&mut self, wake: Option<Timestamp>, cancel: &CancellationToken) {
        let Seams { clock, runtime, .. } = &self.agent.seams;
        let soonest = clock.now().plus(TURN_MIN);
        tokio::select! {
            () = cancel.cancelled() => {}
            Ok(()) = self.ends.desired.changed() => self.ends.desired.mark_changed(),
            () = runtime.changed() => {}
            () = self.agent.shared.restarted.notified() => {}
            () = clock.sleep_until(wake.unwrap_or_default().max(soonest)), if wake.is_some() => {}
        }
    }

    /// Reads what the hub wants, if that is new. What cannot be used changes nothing but the status.
    async fn take_desired(&mut self) {
        if !self.ends.desired.has_changed().unwrap_or(false) {
            return;
        }
        let Some(desired) = self.ends.desired.borrow_and_update().clone() else { return };
        self.version = desired.version;
        match AgentDesired::parse(&desired.properties) {
            Ok(read) => {
                tracing::info!(
                    version = desired.version,
                    modules = read.modules.len(),
                    "deployment received"
                );
                self.refused = None;
                self.confirmed = true;
                let deployment = Deployment { version: desired.version, desired: read };
                if self.deployment.as_ref() != Some(&deployment) {
                    self.unsaved = Some((desired.version, desired.properties.clone()));
                }
                self.ends.refresh.send_replace(Settings::of(&deployment.desired).refresh);
                self.deployment = Some(deployment);
            }
            Err(error) => {
                tracing::warn!(version = desired.version, %error, "deployment refused; what runs stays");
                self.refused = Some(DeploymentStatus::of(&error));
            }
        }
    }

    /// Stores a new deployment; true if that must be tried again.
    async fn save(&mut self) -> bool {
        if let Some((version, properties)) = &self.unsaved
            && Deployment::save(&*self.engine.store, *version, properties).await
        {
            self.unsaved = None;
        }
        self.unsaved.is_some()
    }

    async fn turn(&mut self, cancel: &CancellationToken) -> Option<Timestamp> {
        let save_again = self.save().await;
        let shared = self.agent.shared.clone();
        let work = shared.work.lock().await;
        let turned = self.engine.turn(self.deployment.as_ref(), self.confirmed, cancel).await;
        drop(work);
        let (status, wake) = match turned {
            Ok(Turned { view, wake }) => {
                self.view = view;
                let status = match (&self.refused, self.view.errors.is_empty()) {
                    (Some(refused), _) => refused.clone(),
                    (None, true) => DeploymentStatus::new(200, ""),
                    (None, false) => DeploymentStatus::new(500, &self.view.errors.join("; ")),
                };
                (status, wake)
            }
            Err(error) => {
                tracing::warn!(%error, "the module runtime does not answer");
                (DeploymentStatus::new(500, &error.to_string()), Some(shared.clock.now().plus(plan::TURN)))
            }
        };
        if !cancel.is_cancelled() {
            self.tell(&status, false);
        }
        match save_again {
            true => Some(
                wake.unwrap_or(Timestamp::from_millis(i64::MAX)).min(shared.clock.now().plus(plan::TURN)),
            ),
            false => wake,
        }
    }

    /// Tells the hub and this machine's tools.
    fn tell(&self, status: &DeploymentStatus, ending: bool) {
        let config = &self.agent.config;
        let deployed = self.deployment.as_ref().map(|deployment| &deployment.desired);
        // Before the first deployment there is nothing to say of one.
        let report = Report {
            version: &config.version,
            agent_image: &config.agent_image,
            started: self.agent.started,
            desired_version: self.version,
            status,
            deployed,
            view: &self.view,
            ending,
        };
        self.ends.document.send_replace(Some(Arc::new(report.document())));
        let image =
            |module: Option<&crate::manifest::ModuleDesired>| module.map(|module| module.image.clone());
        let system = deployed.map(|deployed| &deployed.system);
        self.agent.shared.snapshot.send_replace(Arc::new(Snapshot {
            version: self.version,
            status: status.clone(),
            modules: self.view.modules.clone(),
            agent_image: image(system.and_then(|system| system.agent.as_ref()))
                .unwrap_or_else(|| config.agent_image.clone()),
            hub_image: image(system.and_then(|system| system.hub.as_ref())).unwrap_or_default(),
            started: self.agent.started,
        }));
    }

    /// Stops all modules at once and says goodbye.
    async fn end(self) {
        let shared = self.agent.shared.clone();
        let _work = shared.work.lock().await;
        self.tell(&DeploymentStatus::shutdown(), true);
        let names: Vec<String> = match shared.runtime.list().await {
            Ok(modules) => modules.into_iter().map(|info| info.spec.name).collect(),
            Err(error) => {
                tracing::warn!(%error, "modules cannot be listed and are not stopped one by one");
                Vec::new()
            }
        };
        let stop = async |name: String| {
            if let Err(error) = shared.runtime.stop(&name, STOP_GRACE).await {
                tracing::warn!(module = name, %error, "module not stopped");
            }
        };
        join_all(names.into_iter().map(stop)).await;
    }
}
