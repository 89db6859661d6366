//! One module of a deployment.

use super::create_options;
use super::error::Findings;
use super::image;
use super::node::{Node, kind};
use ironbrook_model::twin::Object;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// The start-up order of modules that have none: after all others.
pub const STARTUP_LAST: u32 = u32::MAX;
/// Longest name of a module.
const NAME_LEN_MAX: usize = 128;

/// Environment variables of a module, as the deployment gives them.
pub type EnvironmentMap = BTreeMap<String, String>;

/// Whether a module should run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DesiredStatus {
    /// It should run.
    Running,
    /// It should be there, and not run.
    Stopped,
}

/// When a module that ended is started again. In the order of how much is covered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RestartPolicy {
    /// Never.
    Never,
    /// When it ended with an exit code other than 0.
    OnFailure,
    /// As on failure, and when it is found unhealthy.
    OnUnhealthy,
    /// Whenever it ended.
    Always,
}

/// When an image is fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PullPolicy {
    /// Before the module is made.
    OnCreate,
    /// Never: it must be there.
    Never,
}

const STATUSES: [(&str, DesiredStatus); 2] =
    [("running", DesiredStatus::Running), ("stopped", DesiredStatus::Stopped)];
const RESTART_POLICIES: [(&str, RestartPolicy); 4] = [
    ("never", RestartPolicy::Never),
    ("on-failure", RestartPolicy::OnFailure),
    ("on-unhealthy", RestartPolicy::OnUnhealthy),
    ("always", RestartPolicy::Always),
];
const PULL_POLICIES: [(&str, PullPolicy); 2] =
    [("on-create", PullPolicy::OnCreate), ("never", PullPolicy::Never)];

/// The word of a value, as the wire spells it.
fn word<T: PartialEq>(words: &[(&'static str, T)], value: &T) -> &'static str {
    words.iter().find(|(_, known)| known == value).map_or("", |(word, _)| word)
}

impl DesiredStatus {
    /// As the wire spells it.
    pub fn as_str(self) -> &'static str {
        word(&STATUSES, &self)
    }
}

impl RestartPolicy {
    /// As the wire spells it.
    pub fn as_str(self) -> &'static str {
        word(&RESTART_POLICIES, &self)
    }
}

impl PullPolicy {
    /// As the wire spells it.
    pub fn as_str(self) -> &'static str {
        word(&PULL_POLICIES, &self)
    }
}

/// Which of the three kinds of entry is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Agent,
    Hub,
    User,
}

/// What a deployment says of one module.
#[derive(Debug, Clone, PartialEq)]
pub struct ModuleDesired {
    /// Free text.
    pub version: String,
    /// `docker` in stock deployments, whatever runs it.
    pub kind: String,
    /// Whether it should run.
    pub status: DesiredStatus,
    /// When it is started again.
    pub restart_policy: RestartPolicy,
    /// When its image is fetched.
    pub pull_policy: PullPolicy,
    /// Lower starts first; [`STARTUP_LAST`] where there is none.
    pub startup_order: u32,
    /// Its environment.
    pub env: EnvironmentMap,
    /// Its image, as it is written.
    pub image: String,
    /// The body of Docker's "create container" call, an object.
    pub create_options: Value,
}

impl ModuleDesired {
    pub(super) fn read(node: &Node<'_>, what: Kind, minor: u32, findings: &mut Findings) -> Option<Self> {
        let kind = node.required_text("type", findings);
        let status = node.word("status", &STATUSES, findings);
        if what != Kind::Agent && node.get("status").is_none() {
            findings.add(node.at("status"), "is missing; write running or stopped");
        }
        let restart_policy = node.word("restartPolicy", &RESTART_POLICIES, findings);
        let default_policy =
            if what == Kind::User { RestartPolicy::OnUnhealthy } else { RestartPolicy::Always };
        // In schema 1.0 there is no order, whatever stands there.
        let order =
            (minor >= 1).then(|| node.integer("startupOrder", 0, STARTUP_LAST.into(), findings)).flatten();
        let order = order.and_then(|order| u32::try_from(order).ok()).unwrap_or(STARTUP_LAST);
        let settings = node.required_object("settings", findings);
        let image =
            settings.as_ref().and_then(|settings| settings.required_text("image", findings)).map(str::trim);
        if let (Some(settings), Some(Err(wrong))) = (&settings, image.map(image::check)) {
            findings.add(settings.at("image"), wrong);
        }
        Some(Self {
            version: node.text("version", findings).unwrap_or_default().to_owned(),
            kind: kind?.to_owned(),
            status: status.unwrap_or(DesiredStatus::Running),
            restart_policy: restart_policy.unwrap_or(default_policy),
            pull_policy: node
                .word("imagePullPolicy", &PULL_POLICIES, findings)
                .unwrap_or(PullPolicy::OnCreate),
            startup_order: if what == Kind::Agent { 0 } else { order },
            env: read_env(node, findings),
            create_options: create_options::read(settings.as_ref()?, findings),
            image: image?.to_owned(),
        })
    }

    /// Reads an entry that [`to_json`](Self::to_json) wrote.
    pub(crate) fn from_json(value: &Value) -> Option<Self> {
        let mut findings = Findings::default();
        let node = Node::new("", value, &mut findings)?;
        let read = Self::read(&node, Kind::User, u32::MAX, &mut findings);
        findings.finish(read).ok()
    }

    /// The entry of a module as the wire has it: `createOptions` in pieces, `startupOrder` only where there is one.
    pub fn to_json(&self) -> Object {
        let mut entry = Map::new();
        entry.insert("version".to_owned(), self.version.clone().into());
        entry.insert("type".to_owned(), self.kind.clone().into());
        entry.insert("status".to_owned(), self.status.as_str().into());
        entry.insert("restartPolicy".to_owned(), self.restart_policy.as_str().into());
        entry.insert("imagePullPolicy".to_owned(), self.pull_policy.as_str().into());
        if self.startup_order != STARTUP_LAST {
            entry.insert("startupOrder".to_owned(), self.startup_order.into());
        }
        let mut settings = Map::new();
        settings.insert("image".to_owned(), self.image.clone().into());
        create_options::write(&self.create_options, &mut settings);
        entry.insert("settings".to_owned(), Value::Object(settings));
        let env: Object =
            self.env.iter().map(|(name, value)| (name.clone(), json!({ "value": value }))).collect();
        entry.insert("env".to_owned(), Value::Object(env));
        entry
    }
}

/// `env`: names with a `value` that is a text, a number or a truth value.
fn read_env(node: &Node<'_>, findings: &mut Findings) -> EnvironmentMap {
    let mut env = BTreeMap::new();
    let Some(entries) = node.object("env", findings) else { return env };
    for (name, value) in entries.entries() {
        let Some(entry) = Node::new(entries.at(name), value, findings) else { continue };
        let value = match entry.get("value") {
            None => String::new(),
            Some(Value::String(text)) => text.clone(),
            Some(value @ (Value::Number(_) | Value::Bool(_))) => value.to_string(),
            Some(other) => {
                let what = format!("must be a text, a number, true or false, and is {}", kind(other));
                findings.add(entry.at("value"), what);
                continue;
            }
        };
        if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
            findings
                .add(entry.path, "no process can have this variable: a name without `=`, and no zero byte");
            continue;
        }
        env.insert(name.clone(), value);
    }
    env
}

/// Checks a module's name: `[A-Za-z0-9_-]`, at most 128, because it names folders and sockets too. Stricter than stock agents, as
/// strict as the stock tools that write deployments.
pub(super) fn check_name(name: &str) -> Result<(), &'static str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    if name.is_empty() || name.len() > NAME_LEN_MAX || !name.chars().all(plain) {
        return Err("a module's name has 1 to 128 characters out of letters, digits, _ and -");
    }
    if [super::EDGE_AGENT, super::EDGE_HUB].iter().any(|own| own.eq_ignore_ascii_case(name)) {
        return Err("this name belongs to the runtime; its entry stands in systemModules");
    }
    Ok(())
}
