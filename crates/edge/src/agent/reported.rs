//! What the agent reports of itself.

use super::restart::RuntimeStatus;
use super::view::{ModuleView, View};
use crate::manifest::{AgentDesired, ConfigError, EDGE_AGENT, EDGE_HUB, ModuleDesired, RuntimeSettings};
use ironbrook_model::Timestamp;
use ironbrook_model::twin::Object;
use serde_json::{Map, Value, json};

/// A time that never was, as stock agents write it.
const NEVER: &str = "0001-01-01T00:00:00";
/// The version of the reported document itself.
const SCHEMA_VERSION: &str = "1.0";
/// Longest description; a reported text has at most 4096 bytes.
const DESCRIPTION_LEN_MAX: usize = 2048;
/// Bytes of a report, beyond which environments and create options are left out: the section has at most 32 KiB.
const REPORT_LEN_MAX: usize = 30 * 1024;
/// Reported of the edge hub where a deployment wants it stopped.
const BUILT_IN: &str = "running: it is built into this process and ends with it";

/// `lastDesiredStatus`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeploymentStatus {
    /// 200, 400, 406, 412, 417 or 500.
    pub code: u16,
    /// Empty with 200.
    pub description: String,
}

impl DeploymentStatus {
    pub(super) fn new(code: u16, description: &str) -> Self {
        let end = description.floor_char_boundary(DESCRIPTION_LEN_MAX);
        Self { code, description: description.get(..end).unwrap_or_default().to_owned() }
    }

    pub(super) fn of(error: &ConfigError) -> Self {
        Self::new(error.code(), &error.to_string())
    }

    /// The agent goes away, and nobody knows how the modules are.
    pub(super) fn shutdown() -> Self {
        Self::new(406, "the agent is not running")
    }
}

/// Everything a report is made from.
pub(super) struct Report<'a> {
    pub(super) version: &'a str,
    pub(super) agent_image: &'a str,
    pub(super) started: Timestamp,
    /// The version of the desired properties that the status is of.
    pub(super) desired_version: u64,
    pub(super) status: &'a DeploymentStatus,
    pub(super) deployed: Option<&'a AgentDesired>,
    pub(super) view: &'a View,
    /// Whether the agent is going away.
    pub(super) ending: bool,
}

impl Report<'_> {
    /// The members of the reported properties that are the agent's.
    pub(super) fn document(&self) -> Object {
        let whole = self.write(true);
        if Value::Object(whole.clone()).to_string().len() <= REPORT_LEN_MAX {
            return whole;
        }
        self.write(false)
    }

    fn write(&self, details: bool) -> Object {
        let none = RuntimeSettings { kind: "docker".to_owned(), ..RuntimeSettings::default() };
        let mut runtime = self.deployed.map_or(&none, |deployed| &deployed.runtime).to_json();
        let platform = json!({"os": std::env::consts::OS, "architecture": std::env::consts::ARCH, "version": self.version});
        runtime.insert("platform".to_owned(), platform);
        let modules: Object = self
            .view
            .modules
            .iter()
            .map(|(name, module)| (name.clone(), Value::Object(self.module(module, details))))
            .collect();
        object(json!({
            "schemaVersion": SCHEMA_VERSION,
            "version": {"version": self.version, "build": "", "commit": ""},
            "lastDesiredVersion": self.desired_version,
            "lastDesiredStatus": {"code": self.status.code, "description": self.status.description},
            "runtime": runtime,
            "systemModules": self.system(details),
            "modules": modules,
        }))
    }

    fn system(&self, details: bool) -> Object {
        let mut system = Map::new();
        let deployed = self.deployed.map(|deployed| &deployed.system);
        let agent =
            deployed.and_then(|system| system.agent.clone()).unwrap_or_else(|| own_entry(self.agent_image));
        let mut entry = self.built_in(&agent, details);
        // rule AGENT-09: nobody starts, stops or counts the agent itself.
        for key in ["version", "status", "restartPolicy", "restartCount", "lastRestartTimeUtc"] {
            entry.shift_remove(key);
        }
        system.insert(EDGE_AGENT.to_owned(), Value::Object(entry));
        if let Some(hub) = deployed.and_then(|system| system.hub.as_ref()) {
            let mut entry = self.built_in(hub, details);
            entry.shift_remove("version");
            system.insert(EDGE_HUB.to_owned(), Value::Object(entry));
        }
        system
    }

    /// A module inside this process: it runs as long as the agent does.
    fn built_in(&self, entry: &ModuleDesired, details: bool) -> Object {
        let stopped = entry.status == crate::manifest::DesiredStatus::Stopped;
        self.module(
            &ModuleView {
                entry: entry.clone(),
                image_hash: String::new(),
                status: RuntimeStatus::Running,
                exit_code: 0,
                started: Some(self.started),
                exited: None,
                restarts: 0,
                last_restart: None,
                next_start: None,
                error: stopped.then(|| BUILT_IN.to_owned()),
            },
            details,
        )
    }

    fn module(&self, module: &ModuleView, details: bool) -> Object {
        let mut entry = module.entry.to_json();
        if !details {
            entry.shift_remove("env");
        }
        if let Some(Value::Object(settings)) = entry.get_mut("settings") {
            if !details {
                settings.retain(|key, _| !key.starts_with("createOptions"));
            }
            settings.insert("imageHash".to_owned(), module.image_hash.clone().into());
        }
        let status = if self.ending { RuntimeStatus::Unknown } else { module.status };
        let description = match &module.error {
            Some(error) if !self.ending => DeploymentStatus::new(0, error).description,
            _ => status.as_str().to_owned(),
        };
        entry.insert("exitCode".to_owned(), module.exit_code.into());
        entry.insert("statusDescription".to_owned(), description.into());
        entry.insert("lastStartTimeUtc".to_owned(), time(module.started));
        entry.insert("lastExitTimeUtc".to_owned(), time(module.exited));
        entry.insert("restartCount".to_owned(), module.restarts.into());
        entry.insert("lastRestartTimeUtc".to_owned(), time(module.last_restart));
        entry.insert("runtimeStatus".to_owned(), status.as_str().into());
        entry
    }
}

/// The agent's entry where nothing is deployed.
fn own_entry(image: &str) -> ModuleDesired {
    use crate::manifest::{DesiredStatus, PullPolicy, RestartPolicy};
    ModuleDesired {
        version: String::new(),
        kind: "docker".to_owned(),
        status: DesiredStatus::Running,
        restart_policy: RestartPolicy::Always,
        pull_policy: PullPolicy::OnCreate,
        startup_order: 0,
        env: std::collections::BTreeMap::new(),
        image: image.to_owned(),
        create_options: json!({}),
    }
}

/// A time, or the year 1 for never.
fn time(time: Option<Timestamp>) -> Value {
    time.map_or_else(|| NEVER.into(), |time| time.to_string().into())
}

fn object(value: Value) -> Object {
    if let Value::Object(members) = value { members } else { Map::new() }
}
