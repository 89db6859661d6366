//! How the modules are, for lists: the words people read.

use super::reported::DeploymentStatus;
use super::restart::RuntimeStatus;
use super::view::ModuleView;
use crate::daemon::management::{ModuleStatus, ModuleStatusProvider, RestartError};
use crate::manifest::{EDGE_AGENT, EDGE_HUB};
use crate::runtime::{ModuleRuntime, RuntimeError};
use async_trait::async_trait;
use ironbrook_hub::seams::Clock;
use ironbrook_model::Timestamp;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, Notify, watch};

/// What the agent last found.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Snapshot {
    pub(super) version: u64,
    pub(super) status: DeploymentStatus,
    pub(super) modules: BTreeMap<String, ModuleView>,
    pub(super) agent_image: String,
    pub(super) hub_image: String,
    pub(super) started: Timestamp,
}

/// How the agent is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentStatus {
    /// The version of the desired properties the status is of; 0 before the first.
    pub desired_version: u64,
    /// How its deployment went.
    pub deployment: DeploymentStatus,
    /// All modules, those inside this process among them, sorted by name.
    pub modules: Vec<ModuleStatus>,
}

/// Asks the agent how the modules are, and restarts one. Cheap to clone.
#[derive(Clone)]
pub struct Handle {
    pub(super) shared: Arc<Shared>,
}

pub(super) struct Shared {
    pub(super) runtime: Arc<dyn ModuleRuntime>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) snapshot: watch::Sender<Arc<Snapshot>>,
    /// Held by whoever changes modules: calls for one module come one at a time.
    pub(super) work: Mutex<()>,
    /// Wakes the agent after a restart by hand.
    pub(super) restarted: Notify,
}

impl Handle {
    /// How the agent and its modules are now.
    pub fn status(&self) -> AgentStatus {
        let snapshot = self.shared.snapshot.borrow().clone();
        let now = self.shared.clock.now();
        let built_in = |name: &str, image: &str| ModuleStatus {
            name: name.to_owned(),
            status: RuntimeStatus::Running.as_str().to_owned(),
            description: format!("Up {}", ago(now.since(snapshot.started))),
            image: image.to_owned(),
            started: Some(snapshot.started),
            exited: None,
            exit_code: None,
        };
        let mut modules =
            vec![built_in(EDGE_AGENT, &snapshot.agent_image), built_in(EDGE_HUB, &snapshot.hub_image)];
        modules.extend(snapshot.modules.iter().map(|(name, module)| listed(name, module, now)));
        modules.sort_by(|a, b| a.name.cmp(&b.name));
        AgentStatus { desired_version: snapshot.version, deployment: snapshot.status.clone(), modules }
    }

    /// Stops and starts a module; its restarts are not counted for this.
    pub async fn restart_module(&self, name: &str) -> Result<(), RestartError> {
        if [EDGE_AGENT, EDGE_HUB].contains(&name) {
            let text = format!("{name} is built into this process; restart the process to restart it");
            return Err(RestartError::Refused(text));
        }
        let _work = self.shared.work.lock().await;
        let refused = |error: RuntimeError| match error {
            RuntimeError::NotFound(name) => RestartError::NotFound(name),
            other => RestartError::Refused(other.to_string()),
        };
        self.shared.runtime.stop(name, super::reconcile::STOP_GRACE).await.map_err(refused)?;
        let started = self.shared.runtime.start(name).await.map_err(refused);
        self.shared.restarted.notify_one();
        started
    }
}

#[async_trait]
impl ModuleStatusProvider for Handle {
    fn modules(&self) -> Vec<ModuleStatus> {
        self.status().modules
    }

    async fn restart(&self, name: &str) -> Result<(), RestartError> {
        self.restart_module(name).await
    }
}

fn listed(name: &str, module: &ModuleView, now: Timestamp) -> ModuleStatus {
    ModuleStatus {
        name: name.to_owned(),
        status: module.status.as_str().to_owned(),
        description: description(module, now),
        image: module.entry.image.clone(),
        started: module.started,
        exited: module.exited,
        exit_code: module.exited.map(|_| module.exit_code),
    }
}

/// `Up 2 minutes`, `Stopped 3 seconds ago`, `Failed (1) 5 minutes ago`.
pub(super) fn description(module: &ModuleView, now: Timestamp) -> String {
    let since = |time: Option<Timestamp>| time.map(|time| ago(now.since(time)));
    let ended = |word: &str| match since(module.exited) {
        Some(ago) => format!("{word} {ago} ago"),
        None => word.to_owned(),
    };
    let text = match module.status {
        RuntimeStatus::Running => {
            format!("Up {}", since(module.started).unwrap_or_default()).trim_end().to_owned()
        }
        RuntimeStatus::Unhealthy => "Unhealthy".to_owned(),
        RuntimeStatus::Stopped => ended("Stopped"),
        RuntimeStatus::Failed if module.exited.is_some() => ended(&format!("Failed ({})", module.exit_code)),
        RuntimeStatus::Failed => "Failed".to_owned(),
        RuntimeStatus::Backoff => {
            let ended = match module.exit_code {
                0 => ended("Stopped"),
                code => ended(&format!("Failed ({code})")),
            };
            match module.next_start.filter(|next| *next > now) {
                Some(next) => format!("{ended}, starts again in {}", ago(next.since(now))),
                None => format!("{ended}, starts again"),
            }
        }
        RuntimeStatus::Dead => ended("Dead"),
        RuntimeStatus::Unknown => "Unknown".to_owned(),
    };
    match &module.error {
        Some(error) => format!("{text}: {error}"),
        None => text,
    }
}

/// A length of time in one unit: `2 minutes`.
fn ago(time: Duration) -> String {
    let seconds = time.as_secs();
    let (count, unit) = match seconds {
        0..60 => (seconds, "second"),
        60..3600 => (seconds / 60, "minute"),
        3600..86_400 => (seconds / 3600, "hour"),
        86_400..604_800 => (seconds / 86_400, "day"),
        _ => (seconds / 604_800, "week"),
    };
    format!("{count} {unit}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptions_as_people_read_them() {
        use RuntimeStatus::{Backoff, Dead, Failed, Running, Stopped, Unknown};
        let now = Timestamp::from_secs(1_000_000);
        let before = |seconds: u64| Some(Timestamp::from_millis(now.as_millis() - seconds as i64 * 1000));
        for (status, exit_code, started, exited, expected) in [
            (Running, 0, before(0), None, "Up 0 seconds"),
            (Running, 1, before(150), before(200), "Up 2 minutes"),
            (Running, 0, before(3600), None, "Up 1 hour"),
            (Running, 0, before(200_000), None, "Up 2 days"),
            (Stopped, 0, before(10), before(3), "Stopped 3 seconds ago"),
            (Stopped, 0, None, None, "Stopped"),
            (Failed, 1, before(400), before(300), "Failed (1) 5 minutes ago"),
            (Failed, 0, None, None, "Failed"),
            (Backoff, 137, before(10), before(1), "Failed (137) 1 second ago, starts again in 9 seconds"),
            (Backoff, 0, before(20), before(15), "Stopped 15 seconds ago, starts again"),
            (Dead, 0, None, before(61), "Dead 1 minute ago"),
            (Unknown, 0, None, None, "Unknown"),
        ] {
            let entry = super::super::tests::deployment(
                1,
                &serde_json::json!({ "m": super::super::tests::module("i", serde_json::json!({})) }),
            );
            let module = ModuleView {
                entry: entry.desired.modules["m"].clone(),
                image_hash: String::new(),
                status,
                exit_code,
                started,
                exited,
                restarts: 0,
                last_restart: None,
                next_start: exited.map(|exited| exited.plus(Duration::from_secs(10))),
                error: None,
            };
            assert_eq!(description(&module, now), expected);
        }
    }
}
