//! Enrolments: as they are stored, and as the API reads and shows them.

use super::attestation::Attestation;
use crate::registry::{Shelf, new_etag};
use ironbrook_model::twin::Object;
use ironbrook_model::{DeviceId, ErrorCode, Refusal, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// Characters of an id.
const ID_LEN_MAX: usize = 128;

/// Whether an enrolment is of one device or of many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Of one device; its id is the registration id.
    Individual,
    /// Of all devices with keys derived from its own, or with certificates of its authority.
    Group,
}

impl Kind {
    pub(super) const fn shelf(self) -> Shelf {
        match self {
            Self::Individual => Shelf::Enrollments,
            Self::Group => Shelf::EnrollmentGroups,
        }
    }

    pub(super) const fn most(self) -> u64 {
        match self {
            Self::Individual => super::ENROLLMENTS_MAX,
            Self::Group => super::GROUPS_MAX,
        }
    }

    pub(super) const fn words(self) -> &'static str {
        match self {
            Self::Individual => "enrolments",
            Self::Group => "enrolment groups",
        }
    }

    /// The member that holds the id.
    pub(crate) const fn id_name(self) -> &'static str {
        match self {
            Self::Individual => "registrationId",
            Self::Group => "enrollmentGroupId",
        }
    }
}

/// How devices are spread over the host names of the hub.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Allocation {
    /// The first of the enrolment's, or of the hub's.
    #[default]
    Static,
    /// By a hash of the registration id.
    Hashed,
    /// As `Static`: all names lead to the same place.
    GeoLatency,
}

/// What happens to a device that registers again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Reprovision {
    /// Whether it is assigned anew.
    pub update_hub_assignment: bool,
    /// Whether its twin goes with it; otherwise it begins anew with the initial twin.
    pub migrate_device_data: bool,
}

impl Default for Reprovision {
    fn default() -> Self {
        Self { update_hub_assignment: true, migrate_device_data: true }
    }
}

/// What the twin of a new device begins with.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct InitialTwin {
    /// Tags.
    pub tags: Object,
    /// Desired properties.
    pub desired: Object,
}

/// An enrolment as stored.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Enrollment {
    /// Registration id, or the id of the group.
    pub id: String,
    /// The id in the hub, where it is not the registration id.
    pub device_id: Option<String>,
    /// What it accepts as proof.
    pub attestation: Attestation,
    /// The host names its devices are assigned to; none: those of the hub.
    pub hosts: Vec<String>,
    /// How they are spread.
    pub allocation: Allocation,
    /// What a new device's twin begins with.
    pub initial_twin: Option<InitialTwin>,
    /// Whether its devices may register.
    pub enabled: bool,
    /// What happens to a device that registers again.
    pub reprovision: Reprovision,
    /// Whether its devices are edge devices.
    pub iot_edge: bool,
    /// What the operator wants to keep with it.
    pub information: Option<Value>,
    /// When it was made.
    pub created: Timestamp,
    /// When it last changed.
    pub updated: Timestamp,
    /// Changes with each change; bare.
    pub etag: String,
}

fn invalid(text: impl Into<std::borrow::Cow<'static, str>>) -> Refusal {
    Refusal::new(ErrorCode::ArgumentInvalid, text)
}

pub(super) fn check_id(kind: Kind, id: &str) -> Result<(), Refusal> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | ':');
    if !id.is_empty() && id.len() <= ID_LEN_MAX && id.chars().all(fits) {
        return Ok(());
    }
    let name = kind.id_name();
    Err(invalid(format!("{name} has up to {ID_LEN_MAX} letters, digits, '-', '.', '_' and ':'")))
}

/// What a caller wants an enrolment to be.
pub(super) struct Wish {
    kind: Kind,
    id: String,
    body: Body,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body {
    registration_id: Option<String>,
    enrollment_group_id: Option<String>,
    device_id: Option<String>,
    attestation: Option<Value>,
    iot_hub_host_name: Option<String>,
    #[serde(default)]
    iot_hubs: Option<Vec<String>>,
    allocation_policy: Option<String>,
    initial_twin: Option<TwinBody>,
    provisioning_status: Option<String>,
    reprovision_policy: Option<Reprovision>,
    capabilities: Option<Capabilities>,
    optional_device_information: Option<Value>,
}

#[derive(Deserialize)]
struct TwinBody {
    tags: Option<Object>,
    properties: Option<Sections>,
}

#[derive(Deserialize)]
struct Sections {
    desired: Option<Object>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Capabilities {
    iot_edge: Option<bool>,
}

impl Wish {
    /// Reads a body and checks everything about it that does not depend on what is stored.
    pub(super) fn read(kind: Kind, id: &str, body: Value, hosts: &[String]) -> Result<Self, Refusal> {
        check_id(kind, id)?;
        // The parser's text may quote a value, and a value may be a key.
        let body: Body = serde_json::from_value(body).map_err(|_| {
            Refusal::new(ErrorCode::IotHubFormatError, "the body has a member of the wrong type")
        })?;
        let given = match kind {
            Kind::Individual => &body.registration_id,
            Kind::Group => &body.enrollment_group_id,
        };
        if given.as_deref().is_some_and(|given| !given.eq_ignore_ascii_case(id)) {
            return Err(invalid(format!("{} in the body is not the one in the path", kind.id_name())));
        }
        if let Some(device) = &body.device_id {
            if kind == Kind::Group {
                return Err(invalid("a group names no deviceId; its devices have their registration ids"));
            }
            DeviceId::new(device.clone()).map_err(|error| invalid(format!("deviceId: {error}")))?;
        }
        for host in body.iot_hubs.iter().flatten().chain(&body.iot_hub_host_name) {
            if !hosts.iter().any(|known| known.eq_ignore_ascii_case(host)) {
                return Err(invalid(format!(
                    "this service assigns devices to its own hub only, which is called {}, not '{}'",
                    hosts.join(", "),
                    host.escape_debug()
                )));
            }
        }
        Ok(Self { kind, id: id.to_owned(), body })
    }

    /// The enrolment it becomes; what the caller left out is as at first.
    pub(super) fn apply(self, old: Option<Enrollment>, now: Timestamp) -> Result<Enrollment, Refusal> {
        let Self { kind, id, body } = self;
        let attestation = match body.attestation {
            Some(given) => Attestation::read(kind, given, old.as_ref().map(|old| &old.attestation))?,
            None => old
                .as_ref()
                .map(|old| old.attestation.clone())
                .ok_or_else(|| invalid("attestation is missing"))?,
        };
        let mut hosts = body.iot_hubs.unwrap_or_default();
        if let Some(host) = body.iot_hub_host_name
            && !hosts.contains(&host)
        {
            hosts.insert(0, host);
        }
        let twin = body.initial_twin.map(|twin| InitialTwin {
            tags: twin.tags.unwrap_or_default(),
            desired: twin.properties.and_then(|sections| sections.desired).unwrap_or_default(),
        });
        Ok(Enrollment {
            id: old.as_ref().map_or(id, |old| old.id.clone()),
            device_id: body.device_id.filter(|id| !id.is_empty()),
            attestation,
            hosts,
            allocation: allocation(body.allocation_policy.as_deref())?,
            initial_twin: twin,
            enabled: match body.provisioning_status.as_deref() {
                None | Some("enabled") => true,
                Some("disabled") => false,
                Some(_) => return Err(invalid("provisioningStatus is enabled or disabled")),
            },
            reprovision: body.reprovision_policy.unwrap_or_default(),
            iot_edge: body.capabilities.and_then(|c| c.iot_edge).unwrap_or(false),
            information: body.optional_device_information,
            created: old.map_or(now, |old| old.created),
            updated: now,
            etag: new_etag(),
        })
    }
}

fn allocation(policy: Option<&str>) -> Result<Allocation, Refusal> {
    match policy.map(str::to_ascii_lowercase).as_deref() {
        None | Some("static") => Ok(Allocation::Static),
        Some("hashed") => Ok(Allocation::Hashed),
        Some("geolatency") => Ok(Allocation::GeoLatency),
        Some("custom") => Err(invalid("allocation by a webhook is not supported; use static or hashed")),
        Some(_) => Err(invalid("allocationPolicy is static, hashed or geoLatency")),
    }
}

impl Enrollment {
    /// As the API shows it; keys only where they are asked for.
    pub(crate) fn view(&self, kind: Kind, keys: bool) -> Value {
        let mut all = Map::new();
        all.insert(kind.id_name().to_owned(), json!(self.id));
        if kind == Kind::Individual
            && let Some(device) = &self.device_id
        {
            all.insert("deviceId".to_owned(), json!(device));
        }
        let twin = self.initial_twin.as_ref();
        let rest = json!({
            "attestation": self.attestation.view(keys),
            "iotHubHostName": self.hosts.first(),
            "iotHubs": self.hosts,
            "allocationPolicy": self.allocation,
            "initialTwin": twin.map(|twin| json!({"tags": twin.tags, "properties": {"desired": twin.desired}})),
            "provisioningStatus": if self.enabled { "enabled" } else { "disabled" },
            "reprovisionPolicy": self.reprovision,
            "capabilities": { "iotEdge": self.iot_edge },
            "optionalDeviceInformation": self.information,
            "createdDateTimeUtc": self.created.to_string(),
            "lastUpdatedDateTimeUtc": self.updated.to_string(),
            "etag": self.etag,
        });
        if let Value::Object(rest) = rest {
            // An absent member is one that was not set.
            all.extend(rest.into_iter().filter(|(_, value)| !value.is_null()));
        }
        Value::Object(all)
    }
}
