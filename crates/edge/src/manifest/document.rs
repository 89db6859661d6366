//! The document people write: the twins of all modules of a device.

use super::agent::AgentDesired;
use super::error::{ConfigError, Finding, Findings};
use super::hub::HubDesired;
use super::module::check_name;
use super::node::{Node, kind};
use super::{EDGE_AGENT, EDGE_HUB};
use ironbrook_model::Timestamp;
use ironbrook_model::twin::{Object, Twin};
use serde_json::Value;

const AGENT_ID: &str = "$edgeAgent";
const HUB_ID: &str = "$edgeHub";
const CONTENT: &str = "modulesContent";
const DESIRED: &str = "properties.desired";
/// Modules of a device, the runtime's own not counted (IoT Hub limits).
const MODULES_MAX: usize = 50;
/// What may stand in the desired properties of the edge hub.
const HUB_MEMBERS: [&str; 5] =
    ["schemaVersion", "routes", "storeAndForwardConfiguration", "mqttBroker", "integrity"];

/// Why a text is no deployment document at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// Not JSON.
    #[error("not JSON at line {line}, column {column}: {reason}")]
    Json {
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
        /// What the reader says.
        reason: String,
    },
    /// JSON, but no deployment.
    #[error(
        "not a deployment: {0}; it is an object with `modulesContent`, bare or inside of `content` (other documents of deployment tools are templates, which their tool turns into one)"
    )]
    Shape(String),
}

/// A deployment document: `{"modulesContent": …}`, bare or in `{"content": …}`.
#[derive(Debug, Clone, PartialEq)]
pub struct Manifest {
    modules: Object,
    /// Where `modulesContent` stands.
    path: String,
}

impl Manifest {
    /// Reads a document's outer shape; [`validate`](Self::validate) looks inside.
    pub fn parse(text: &str) -> Result<Self, ManifestError> {
        let value: Value = serde_json::from_str(text.trim_start_matches('\u{feff}')).map_err(|error| {
            ManifestError::Json { line: error.line(), column: error.column(), reason: error.to_string() }
        })?;
        Self::from_value(&value)
    }

    /// As [`parse`](Self::parse).
    pub fn from_value(value: &Value) -> Result<Self, ManifestError> {
        let shape = |what: String| ManifestError::Shape(what);
        let Value::Object(document) = value else { return Err(shape(format!("this is {}", kind(value)))) };
        let (members, path) = match document.get("content") {
            Some(Value::Object(content)) => (content, "$.content"),
            _ => (document, "$"),
        };
        match members.get(CONTENT) {
            Some(Value::Object(modules)) => {
                Ok(Self { modules: modules.clone(), path: format!("{path}.{CONTENT}") })
            }
            Some(other) => Err(shape(format!("`{CONTENT}` is {}", kind(other)))),
            None => Err(shape(format!("there is no `{CONTENT}`"))),
        }
    }

    /// The body of a set-modules call: `{"modulesContent": …}`.
    pub fn content(&self) -> Value {
        Value::Object(Object::from_iter([(CONTENT.to_owned(), Value::Object(self.modules.clone()))]))
    }

    /// All that would not work on a device this is set for; empty if nothing was found.
    ///
    /// Stricter than agents where the tools that write deployments are: names, both system modules, no unknown members of the
    /// edge hub. Texts of routes are not read here.
    pub fn validate(&self) -> Vec<Finding> {
        let mut findings = Findings::default();
        let node = Node { path: self.path.clone(), members: &self.modules };
        for id in [AGENT_ID, HUB_ID] {
            if !self.modules.contains_key(id) {
                findings.add(
                    node.at(id),
                    "is missing; to set the modules of a device takes both $edgeAgent and $edgeHub",
                );
            }
        }
        for (id, section) in &self.modules {
            let Some(section) = Node::new(node.at(id), section, &mut findings) else { continue };
            check_section(id, &section, &mut findings);
        }
        findings.into_vec()
    }
}

fn check_section(id: &str, section: &Node<'_>, findings: &mut Findings) {
    if !matches!(id, AGENT_ID | HUB_ID)
        && let Err(wrong) = check_name(id)
    {
        findings.add(&section.path, wrong);
    }
    for key in section.members.keys().filter(|key| *key != DESIRED) {
        let layered = key.strip_prefix(DESIRED).is_some_and(|rest| rest.starts_with('.'));
        let message = if layered {
            "belongs to a layered deployment; to set the modules of a device takes whole desired properties"
        } else {
            "is not known; a module's section holds `properties.desired`"
        };
        findings.add(section.at(key), message);
    }
    let Some(desired) = section.required_object(DESIRED, findings) else { return };
    if let Err(error) = Twin::default().replace(&Object::new(), desired.members, Timestamp::from_millis(0)) {
        findings.add(&desired.path, error.to_string());
    }
    match id {
        AGENT_ID => check_agent(&desired, findings),
        HUB_ID => check_hub(&desired, findings),
        _ => {}
    }
}

fn check_agent(desired: &Node<'_>, findings: &mut Findings) {
    let read = AgentDesired::read(desired, findings);
    let Some(agent) = read_or_told(desired, read, findings) else { return };
    for (key, module) in [(EDGE_AGENT, &agent.system.agent), (EDGE_HUB, &agent.system.hub)] {
        if module.is_none() {
            findings.add(format!("{}.systemModules.{key}", desired.path), "is missing");
        }
    }
    if let Some(Value::Object(system)) = desired.get("systemModules") {
        for key in system
            .keys()
            .filter(|key| !key.eq_ignore_ascii_case(EDGE_AGENT) && !key.eq_ignore_ascii_case(EDGE_HUB))
        {
            let path = format!("{}.systemModules.{key}", desired.path);
            findings.add(path, "is no system module; user modules stand in `modules`");
        }
    }
    if agent.modules.len() > MODULES_MAX {
        let path = desired.at("modules");
        findings
            .add(path, format!("has {} modules; a device has at most {MODULES_MAX}", agent.modules.len()));
    }
    for (name, module) in &agent.modules {
        let wrong = |c: char| matches!(c, '+' | '#' | '$' | '.') || c.is_whitespace();
        for variable in module.env.keys().filter(|variable| variable.contains(wrong)) {
            let path = format!("{}.modules.{name}.env['{variable}']", desired.path);
            findings.add(path, "the name of a variable holds no + # $ . and no white space");
        }
    }
}

fn check_hub(desired: &Node<'_>, findings: &mut Findings) {
    let read = HubDesired::read(desired, findings);
    read_or_told(desired, read, findings);
    for key in
        desired.members.keys().filter(|key| !HUB_MEMBERS.iter().any(|known| known.eq_ignore_ascii_case(key)))
    {
        findings.add(desired.at(key), format!("is not known; there are {}", HUB_MEMBERS.join(", ")));
    }
    let Some(Value::Object(routes)) = desired.get("routes") else {
        if desired.get("routes").is_none() {
            findings.add(desired.at("routes"), "is missing");
        }
        return;
    };
    for name in routes.keys().filter(|name| name.is_empty() || name.contains(['.', '$', '#', ' '])) {
        findings.add(
            format!("{}.routes['{name}']", desired.path),
            "the name of a route holds no . $ # and no space",
        );
    }
}

/// What was read; the schema's error becomes a finding.
fn read_or_told<T>(
    desired: &Node<'_>,
    read: Result<Option<T>, ConfigError>,
    findings: &mut Findings,
) -> Option<T> {
    match read {
        Ok(value) => value,
        Err(error) => {
            findings.add(desired.at("schemaVersion"), error.to_string());
            None
        }
    }
}
