//! How the modules are: what reports, lists and the status page are made from.

use super::plan::{Present, Wanted};
use super::restart::{RuntimeStatus, judged, observed};
use super::settings::Settings;
use crate::manifest::ModuleDesired;
use crate::runtime::ModuleState;
use ironbrook_model::Timestamp;
use std::collections::BTreeMap;

/// One module.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ModuleView {
    /// The entry it was made from; what is deployed where it is not there yet.
    pub(super) entry: ModuleDesired,
    pub(super) image_hash: String,
    pub(super) status: RuntimeStatus,
    pub(super) exit_code: i64,
    pub(super) started: Option<Timestamp>,
    pub(super) exited: Option<Timestamp>,
    pub(super) restarts: u32,
    pub(super) last_restart: Option<Timestamp>,
    /// When it is started again, in back-off.
    pub(super) next_start: Option<Timestamp>,
    /// What could not be done for it.
    pub(super) error: Option<String>,
}

/// All modules but the runtime's own, and what failed.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct View {
    pub(super) modules: BTreeMap<String, ModuleView>,
    pub(super) errors: Vec<String>,
}

impl View {
    pub(super) fn new(
        wanted: &BTreeMap<String, Wanted>,
        present: &BTreeMap<String, Present>,
        errors: &BTreeMap<String, String>,
        settings: &Settings,
    ) -> Self {
        let mut modules = BTreeMap::new();
        for (name, present) in present {
            let wanted = wanted.get(name).map(|wanted| &wanted.desired);
            modules.insert(name.clone(), there(present, wanted, errors.get(name), settings));
        }
        for (name, wanted) in wanted.iter().filter(|(name, _)| !present.contains_key(*name)) {
            modules.insert(name.clone(), missing(&wanted.desired, errors.get(name)));
        }
        Self { modules, errors: errors.values().cloned().collect() }
    }
}

fn there(
    present: &Present,
    wanted: Option<&ModuleDesired>,
    error: Option<&String>,
    settings: &Settings,
) -> ModuleView {
    let (info, record) = (&present.info, &present.record);
    let mut entry = record.applied.clone().or_else(|| wanted.cloned()).unwrap_or_else(|| unknown(present));
    // What runs is the runtime's to tell; what should be is the deployment's.
    entry.image.clone_from(&info.spec.image);
    entry.create_options.clone_from(&info.spec.create_options);
    if let Some(wanted) = wanted {
        entry.status = wanted.status;
    }
    let wait = settings.wait(record.restarts);
    let status = judged(observed(info.state), entry.status, entry.restart_policy, wait.is_some());
    let due = wait.and_then(|wait| info.exited.map(|exited| exited.plus(wait)));
    ModuleView {
        image_hash: info.image_hash.clone(),
        exit_code: if let ModuleState::Exited { code } = info.state { code } else { 0 },
        started: info.started,
        exited: info.exited,
        restarts: record.restarts,
        last_restart: record.last_restart,
        next_start: due.filter(|_| status == RuntimeStatus::Backoff),
        error: error.cloned(),
        status,
        entry,
    }
}

/// A module that is deployed and could not be made.
fn missing(wanted: &ModuleDesired, error: Option<&String>) -> ModuleView {
    ModuleView {
        entry: wanted.clone(),
        image_hash: String::new(),
        status: if error.is_some() { RuntimeStatus::Failed } else { RuntimeStatus::Unknown },
        exit_code: 0,
        started: None,
        exited: None,
        restarts: 0,
        last_restart: None,
        next_start: None,
        error: error.cloned(),
    }
}

/// The entry of a module that nobody deployed.
fn unknown(present: &Present) -> ModuleDesired {
    use crate::manifest::{DesiredStatus, PullPolicy, RestartPolicy, STARTUP_LAST};
    ModuleDesired {
        version: String::new(),
        kind: present.info.spec.kind.clone(),
        status: DesiredStatus::Running,
        restart_policy: RestartPolicy::Never,
        pull_policy: PullPolicy::OnCreate,
        startup_order: STARTUP_LAST,
        env: BTreeMap::new(),
        image: String::new(),
        create_options: serde_json::json!({}),
    }
}
