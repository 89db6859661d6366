//! The seed file: a set of devices, policies and routes prepared in one go. The format is described in `docs/seed-file.md`.
//!
//! Seeding is idempotent: what is there already stays as it is, what is missing is made.

use super::error::Error;
use super::identities::{self, create};
use super::stored::{AuthenticationWish, Capabilities, KeysWish, Kind, Wish};
use super::{Registry, policies, stored};
use ironbrook_model::twin::{Object, Twin};
use ironbrook_model::{
    DeviceId, ErrorCode, Identity, IdentityStatus, ModuleId, Refusal, SharedAccessKey, SharedAccessPolicy,
    Timestamp,
};
use serde::Deserialize;

/// A seed file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SeedError {
    /// Not JSON, or not of the documented form.
    #[error("the seed file cannot be read at line {line}, column {column}: {what}")]
    Format {
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
        /// The parser's words.
        what: String,
    },
    /// A value that breaks a rule.
    #[error("{of} in the seed file: {why}")]
    Value {
        /// Which entry.
        of: String,
        /// The rule.
        why: String,
    },
}

/// A seed file.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct SeedFile {
    /// Devices to make.
    #[serde(default)]
    pub devices: Vec<SeedDevice>,
    /// Shared access policies to make.
    #[serde(default)]
    pub policies: Vec<SeedPolicy>,
    /// Routes to add to those of the configuration.
    #[serde(default)]
    pub routes: Vec<SeedRoute>,
    /// Routing as an Azure hub has it under `properties.routing`.
    #[serde(default)]
    pub routing: Option<crate::assembly::AzureRouting>,
}

/// A device.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct SeedDevice {
    device_id: DeviceId,
    primary_key: Option<SharedAccessKey>,
    secondary_key: Option<SharedAccessKey>,
    status: Option<IdentityStatus>,
    #[serde(default)]
    iot_edge: bool,
    #[serde(default)]
    tags: Object,
    #[serde(default)]
    desired: Object,
    #[serde(default)]
    modules: Vec<SeedModule>,
}

/// A module of a device.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct SeedModule {
    module_id: ModuleId,
    primary_key: Option<SharedAccessKey>,
    secondary_key: Option<SharedAccessKey>,
    #[serde(default)]
    tags: Object,
    #[serde(default)]
    desired: Object,
}

/// A shared access policy.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct SeedPolicy {
    name: String,
    primary_key: Option<SharedAccessKey>,
    secondary_key: Option<SharedAccessKey>,
    /// Comma-separated: `RegistryRead, RegistryWrite, ServiceConnect, DeviceConnect`; the default right of a default policy
    /// where absent.
    permissions: Option<String>,
}

/// A route, as in the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, serde::Serialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct SeedRoute {
    /// Its name.
    pub name: String,
    /// `DeviceMessages`, `TwinChangeEvents`, `DeviceLifecycleEvents` or `DeviceConnectionStateEvents`.
    #[serde(default = "device_messages")]
    pub source: String,
    /// Which messages; `true` takes all.
    #[serde(default = "always")]
    pub condition: String,
    /// Names of endpoints.
    pub endpoints: Vec<String>,
    /// Whether it is in force.
    #[serde(default = "yes")]
    pub enabled: bool,
}

fn device_messages() -> String {
    "DeviceMessages".to_owned()
}

fn always() -> String {
    "true".to_owned()
}

fn yes() -> bool {
    true
}

/// What seeding did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SeedSummary {
    /// Identities made.
    pub created: usize,
    /// Identities that were there already.
    pub kept: usize,
}

impl SeedFile {
    /// Reads a seed file. Errors name line and column, never a value.
    pub fn parse(text: &str) -> Result<Self, SeedError> {
        serde_json::from_str(text).map_err(|error| {
            let what = error.to_string();
            let what = what.split(" at line ").next().unwrap_or_default().to_owned();
            SeedError::Format { line: error.line(), column: error.column(), what }
        })
    }
}

/// An identity to make.
struct Entry {
    identity: Identity,
    wish: Wish,
    twin: Twin,
}

impl Registry {
    /// Makes what a seed file names and is not there. Nothing is made if one entry breaks a rule. Routes are the assembly's affair.
    pub async fn seed(&self, seed: &SeedFile) -> Result<SeedSummary, SeedError> {
        let mut policies = Vec::new();
        for one in &seed.policies {
            policies.extend(policy(one, self.policy_now(&one.name).as_deref())?);
        }
        let now = self.inner.clock.now();
        // Made anew one after the other when they are stored: all of them at once would take many times the memory of the file.
        for device in &seed.devices {
            entries(device, now).try_for_each(|entry| entry.map(drop))?;
        }
        let of = |what: &str| {
            let of = what.to_owned();
            move |error: Error| SeedError::Value { of, why: Refusal::from(error).message.into_owned() }
        };
        let (registry, devices) = (self.clone(), seed.devices.clone());
        let work = tokio::task::spawn_blocking(move || registry.seed_now(policies, &devices, now));
        let done = work.await.map_err(|_| of("all of it")(Error::Closed))?;
        done.map_err(of("an entry"))
    }

    fn seed_now(
        &self,
        policies: Vec<SharedAccessPolicy>,
        devices: &[SeedDevice],
        now: Timestamp,
    ) -> Result<SeedSummary, Error> {
        self.put_policies(policies)?;
        let inner = self.inner.clone();
        self.inner.store.write_now(|changes| {
            let mut summary = SeedSummary::default();
            for entry in devices.iter().flat_map(|device| entries(device, now)) {
                let broken = |error: SeedError| Error::refuse(ErrorCode::ArgumentInvalid, error.to_string());
                let Entry { identity, wish, twin } = entry.map_err(broken)?;
                if identities::stored(changes, &identity)?.is_some() {
                    summary.kept += 1;
                } else {
                    create(&inner, changes, &identity, wish, twin)?;
                    summary.created += 1;
                }
            }
            Ok(summary)
        })
    }
}

/// A device and its modules.
fn entries(device: &SeedDevice, now: Timestamp) -> impl Iterator<Item = Result<Entry, SeedError>> {
    let modules = device.modules.iter().map(move |module| module_entry(&device.device_id, module, now));
    std::iter::once_with(move || device_entry(device, now)).chain(modules)
}

fn keys(
    primary: Option<&SharedAccessKey>,
    secondary: Option<&SharedAccessKey>,
    of: &Identity,
) -> Result<AuthenticationWish, SeedError> {
    // One key is enough in a seed file; the other is made.
    let text =
        |key: Option<&SharedAccessKey>| key.cloned().unwrap_or_else(SharedAccessKey::generate).to_base64();
    for key in [primary, secondary].into_iter().flatten() {
        stored::key(&key.to_base64()).map_err(|_| SeedError::Value {
            of: format!("the keys of '{of}'"),
            why: "a symmetric key is base64 text of 16 to 64 bytes".to_owned(),
        })?;
    }
    let symmetric_key = KeysWish { primary_key: Some(text(primary)), secondary_key: Some(text(secondary)) };
    Ok(AuthenticationWish {
        kind: Some(Kind::Sas),
        symmetric_key: Some(symmetric_key),
        x509_thumbprint: None,
    })
}

fn twin(tags: &Object, desired: &Object, of: &Identity, now: Timestamp) -> Result<Twin, SeedError> {
    let mut twin = Twin::default();
    if !tags.is_empty() || !desired.is_empty() {
        let value = |why: ironbrook_model::twin::TwinError| SeedError::Value {
            of: format!("the twin of '{of}'"),
            why: why.to_string(),
        };
        twin.patch(Some(tags), Some(desired), now).map_err(value)?;
    }
    Ok(twin)
}

fn device_entry(device: &SeedDevice, now: Timestamp) -> Result<Entry, SeedError> {
    let identity = Identity::device(device.device_id.clone());
    let wish = Wish {
        status: device.status,
        authentication: Some(keys(device.primary_key.as_ref(), device.secondary_key.as_ref(), &identity)?),
        capabilities: Some(Capabilities { iot_edge: Some(device.iot_edge) }),
        ..Wish::default()
    };
    let twin = twin(&device.tags, &device.desired, &identity, now)?;
    Ok(Entry { identity, wish, twin })
}

fn module_entry(device: &DeviceId, module: &SeedModule, now: Timestamp) -> Result<Entry, SeedError> {
    let identity = Identity::module(device.clone(), module.module_id.clone());
    let authentication = keys(module.primary_key.as_ref(), module.secondary_key.as_ref(), &identity)?;
    let wish = Wish { authentication: Some(authentication), ..Wish::default() };
    let twin = twin(&module.tags, &module.desired, &identity, now)?;
    Ok(Entry { identity, wish, twin })
}

/// What is to be stored of a policy; `None` where it stays as it is.
fn policy(
    policy: &SeedPolicy,
    existing: Option<&SharedAccessPolicy>,
) -> Result<Option<SharedAccessPolicy>, SeedError> {
    let value = |why: String| SeedError::Value { of: format!("the policy '{}'", policy.name), why };
    let default = SharedAccessPolicy::DEFAULTS.iter().find(|(name, _)| *name == policy.name);
    // The defaults are always there, so a file could never set their keys if what is there always stayed.
    if existing.is_some() && default.is_none() {
        return Ok(None);
    }
    let permissions = match &policy.permissions {
        Some(text) => {
            policies::parse_permissions(text).map_err(|word| value(format!("'{word}' is no permission")))?
        }
        None => default
            .map(|(_, permissions)| *permissions)
            .ok_or_else(|| value("permissions are missing".to_owned()))?,
    };
    let key = |given: &Option<SharedAccessKey>, existing: Option<&SharedAccessKey>| {
        given.as_ref().or(existing).cloned().unwrap_or_else(SharedAccessKey::generate)
    };
    Ok(Some(SharedAccessPolicy {
        name: policy.name.clone(),
        primary_key: key(&policy.primary_key, existing.map(|p| &p.primary_key)),
        secondary_key: key(&policy.secondary_key, existing.map(|p| &p.secondary_key)),
        permissions,
    }))
}
