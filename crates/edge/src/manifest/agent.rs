//! The desired properties of `$edgeAgent`.

use super::error::{ConfigError, Findings};
use super::module::{Kind, ModuleDesired, check_name};
use super::node::Node;
use super::schema::SchemaVersion;
use super::{EDGE_AGENT, EDGE_HUB};
use ironbrook_model::twin::Object;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Where the section stands, in messages.
const ROOT: &str = "properties.desired";

/// Which modules run, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct AgentDesired {
    /// Its schema.
    pub schema_version: SchemaVersion,
    /// What is said of the runtime as a whole.
    pub runtime: RuntimeSettings,
    /// The runtime's own modules.
    pub system: SystemModules,
    /// The user's modules by name.
    pub modules: BTreeMap<String, ModuleDesired>,
}

/// `runtime`: echoed in reports, nothing here acts on it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RuntimeSettings {
    /// `docker` in stock deployments.
    pub kind: String,
    /// Free text.
    pub min_docker_version: String,
    /// Free text.
    pub logging_options: String,
    /// Credentials of registries by label. Passwords are not kept: nothing here logs in to a registry.
    pub registries: BTreeMap<String, RegistryCredential>,
}

/// Who logs in where.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RegistryCredential {
    /// The registry's host.
    pub address: String,
    /// The user.
    pub username: String,
}

/// `systemModules`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct SystemModules {
    /// `edgeAgent`.
    pub agent: Option<ModuleDesired>,
    /// `edgeHub`.
    pub hub: Option<ModuleDesired>,
}

impl AgentDesired {
    /// Reads the section, without `$version` and `$metadata`.
    pub fn parse(desired: &Object) -> Result<Self, ConfigError> {
        if desired.keys().all(|key| key.starts_with('$')) {
            return Err(ConfigError::Empty);
        }
        let mut findings = Findings::default();
        let read = Self::read(&Node { path: ROOT.to_owned(), members: desired }, &mut findings)?;
        findings.finish(read)
    }

    /// Reads it, gathering all that is wrong but the version of the schema.
    pub(super) fn read(node: &Node<'_>, findings: &mut Findings) -> Result<Option<Self>, ConfigError> {
        let schema_version = SchemaVersion::agent(node)?;
        let minor = schema_version.minor();
        let runtime =
            node.required_object("runtime", findings).and_then(|node| read_runtime(&node, findings));
        let system = node
            .required_object("systemModules", findings)
            .map(|node| read_system(&node, minor, findings))
            .unwrap_or_default();
        let modules = node
            .object("modules", findings)
            .map(|node| read_modules(&node, minor, findings))
            .unwrap_or_default();
        Ok(runtime.map(|runtime| Self { schema_version, runtime, system, modules }))
    }
}

impl RuntimeSettings {
    /// As it is reported: without passwords, which stock agents report.
    pub fn to_json(&self) -> Object {
        let registries: Object = self
            .registries
            .iter()
            .map(|(label, registry)| {
                (label.clone(), json!({ "username": registry.username, "address": registry.address }))
            })
            .collect();
        let mut entry = Map::new();
        entry.insert("type".to_owned(), self.kind.clone().into());
        entry.insert(
            "settings".to_owned(),
            json!({
                "minDockerVersion": self.min_docker_version,
                "loggingOptions": self.logging_options,
                "registryCredentials": registries,
            }),
        );
        entry
    }
}

/// Takes the passwords of registries out of a desired section, before it is stored.
pub(crate) fn without_passwords(desired: &Object) -> Object {
    fn entry<'a>(members: &'a mut Object, key: &str) -> Option<&'a mut Object> {
        let name = members.keys().find(|name| name.eq_ignore_ascii_case(key))?.clone();
        members.get_mut(&name)?.as_object_mut()
    }
    let mut desired = desired.clone();
    let registries = entry(&mut desired, "runtime")
        .and_then(|runtime| entry(runtime, "settings"))
        .and_then(|settings| entry(settings, "registryCredentials"));
    for (_, registry) in registries.into_iter().flatten() {
        if let Value::Object(members) = registry {
            members.retain(|name, _| !name.eq_ignore_ascii_case("password"));
        }
    }
    desired
}

fn read_runtime(node: &Node<'_>, findings: &mut Findings) -> Option<RuntimeSettings> {
    let kind = node.required_text("type", findings)?.to_owned();
    let mut runtime = RuntimeSettings { kind, ..RuntimeSettings::default() };
    let Some(settings) = node.object("settings", findings) else { return Some(runtime) };
    let text = |key, findings: &mut Findings| settings.text(key, findings).unwrap_or_default().to_owned();
    runtime.min_docker_version = text("minDockerVersion", findings);
    runtime.logging_options = text("loggingOptions", findings);
    if let Some(registries) = settings.object("registryCredentials", findings) {
        for (label, value) in registries.entries() {
            let Some(registry) = Node::new(registries.at(label), value, findings) else { continue };
            let text =
                |key, findings: &mut Findings| registry.text(key, findings).unwrap_or_default().to_owned();
            let credential = RegistryCredential {
                address: text("address", findings),
                username: text("username", findings),
            };
            runtime.registries.insert(label.clone(), credential);
        }
    }
    Some(runtime)
}

fn read_system(node: &Node<'_>, minor: u32, findings: &mut Findings) -> SystemModules {
    let mut read = |key, kind| {
        let entry = node.object(key, findings)?;
        ModuleDesired::read(&entry, kind, minor, findings)
    };
    SystemModules { agent: read(EDGE_AGENT, Kind::Agent), hub: read(EDGE_HUB, Kind::Hub) }
}

fn read_modules(node: &Node<'_>, minor: u32, findings: &mut Findings) -> BTreeMap<String, ModuleDesired> {
    let mut modules = BTreeMap::new();
    for (name, value) in node.entries() {
        if let Err(wrong) = check_name(name) {
            findings.add(node.at(name), wrong);
            continue;
        }
        let Some(entry) = Node::new(node.at(name), value, findings) else { continue };
        if let Some(module) = ModuleDesired::read(&entry, Kind::User, minor, findings) {
            modules.insert(name.clone(), module);
        }
    }
    modules
}
