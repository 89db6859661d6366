//! Registration: whose enrolment it is, which hub it gets, and its identity there.

use super::enrollment::{Allocation, Enrollment, InitialTwin, Kind};
use super::{GROUPS_MAX, ProvisioningService, key, named};
use crate::registry::{IfMatch, Shelf, TwinChange, Wish, new_etag};
use async_trait::async_trait;
use ironbrook_gateway::{Provisioning, Registrant, RegistrationAnswer};
use ironbrook_hub::Credential;
use ironbrook_hub::auth::registration;
use ironbrook_hub::seams::Identities as _;
use ironbrook_model::{
    Cause, DeviceId, ErrorCode, Identity, Refusal, SharedAccessKey, Timestamp, X509Thumbprints,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Seconds after which a device is to ask how its registration goes.
const RETRY_SECONDS: u32 = 1;
/// Bytes of the payload a device may send along.
const PAYLOAD_LEN_MAX: usize = 32 * 1024;

/// What became of a device that registered.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Registration {
    /// As the device wrote it.
    pub registration_id: String,
    /// The group it belongs to, if any.
    pub group: Option<String>,
    /// Its id in the hub.
    pub device_id: Option<String>,
    /// The host name of the hub it was assigned to.
    pub assigned_hub: Option<String>,
    /// `assigned`, `failed` or `disabled`.
    pub status: String,
    /// How it came to its hub.
    pub substatus: Option<String>,
    /// The Azure code of a failure.
    pub error_code: Option<u32>,
    /// What failed.
    pub error_message: Option<String>,
    /// What the device sent along.
    pub payload: Option<Value>,
    /// The last operation.
    pub operation_id: String,
    /// When it registered first.
    pub created: Timestamp,
    /// When it registered last.
    pub updated: Timestamp,
    /// Changes with each change; bare.
    pub etag: String,
}

impl Registration {
    /// As devices and operators see it.
    pub(crate) fn view(&self) -> Value {
        let mut view = json!({
            "registrationId": self.registration_id,
            "createdDateTimeUtc": self.created.to_string(),
            "status": self.status,
            "lastUpdatedDateTimeUtc": self.updated.to_string(),
            "etag": self.etag,
        });
        let optional = [
            ("assignedHub", json!(self.assigned_hub)),
            ("deviceId", json!(self.device_id)),
            ("substatus", json!(self.substatus)),
            ("errorCode", json!(self.error_code)),
            ("errorMessage", json!(self.error_message)),
        ];
        for (name, value) in optional.into_iter().filter(|(_, value)| !value.is_null()) {
            view[name] = value;
        }
        view
    }

    fn answer(&self) -> RegistrationAnswer {
        let body = json!({
            "operationId": self.operation_id,
            "status": self.status,
            "registrationState": self.view(),
        });
        RegistrationAnswer { status: 200, retry_after: None, body }
    }
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Request {
    registration_id: Option<String>,
    payload: Option<Value>,
}

fn read_request(registrant: &Registrant, body: &[u8]) -> Result<Option<Value>, Refusal> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(None);
    }
    let invalid = |text: &'static str| Refusal::new(ErrorCode::ArgumentInvalid, text);
    let request: Request = serde_json::from_slice(body)
        .map_err(|_| Refusal::new(ErrorCode::IotHubFormatError, "the body is no registration in JSON"))?;
    let id = request.registration_id.as_deref();
    if id.is_some_and(|id| !id.eq_ignore_ascii_case(&registrant.registration_id)) {
        return Err(invalid("registrationId in the body is not the one of the connection"));
    }
    if body.len() > PAYLOAD_LEN_MAX {
        return Err(Refusal::new(
            ErrorCode::MessageTooLarge,
            "a registration with its payload has up to 32 KB",
        ));
    }
    Ok(request.payload.filter(|payload| !payload.is_null()))
}

#[async_trait]
impl Provisioning for ProvisioningService {
    async fn authenticate(&self, registrant: &Registrant) -> Result<(), Refusal> {
        self.enrolled(registrant).await.map(drop)
    }

    async fn register(&self, registrant: &Registrant, request: &[u8]) -> Result<RegistrationAnswer, Refusal> {
        let (kind, enrollment) = self.enrolled(registrant).await?;
        let payload = read_request(registrant, request)?;
        let operation_id = self.assign(registrant, kind, &enrollment, payload).await?;
        let body = json!({ "operationId": operation_id, "status": "assigning" });
        Ok(RegistrationAnswer { status: 202, retry_after: Some(RETRY_SECONDS), body })
    }

    async fn operation(
        &self,
        registrant: &Registrant,
        operation_id: &str,
    ) -> Result<RegistrationAnswer, Refusal> {
        self.enrolled(registrant).await?;
        let found = self.registration(&registrant.registration_id).await?;
        if found.operation_id != operation_id {
            let text = "there is no such operation of this registration; register again";
            return Err(Refusal::new(ErrorCode::GenericNotFound, text));
        }
        Ok(found.answer())
    }
}

impl ProvisioningService {
    /// The enrolment that a registrant proves to belong to.
    async fn enrolled(&self, registrant: &Registrant) -> Result<(Kind, Enrollment), Refusal> {
        let found = self.find_enrollment(registrant).await;
        if let Err(refusal) = &found {
            tracing::warn!(code = %refusal.code, registration = %registrant.registration_id.escape_debug(),
                reason = %refusal.message, "refused to provision a device");
            if let Some(identity) = named(registrant) {
                self.inner.hub.auth().refused(&identity, refusal).await;
            }
        }
        found
    }

    async fn find_enrollment(&self, registrant: &Registrant) -> Result<(Kind, Enrollment), Refusal> {
        let refuse =
            |cause, text: String| Refusal::new(ErrorCode::IotHubUnauthorizedAccess, text).because(cause);
        let id = &registrant.registration_id;
        if !registrant.id_scope.eq_ignore_ascii_case(self.id_scope()) {
            let text =
                format!("this service's id scope is {}, not the one that was asked for", self.id_scope());
            return Err(refuse(Cause::WrongAudience, text));
        }
        super::enrollment::check_id(Kind::Individual, id)?;
        let registry = &self.inner.registry;
        // rule DPS-06: an enrolment of its own comes before every group.
        if let Some(own) = registry.document::<Enrollment>(Shelf::Enrollments, key(id)).await? {
            self.check(registrant, Kind::Individual, &own).await?;
            return Ok((Kind::Individual, own));
        }
        let by_key = matches!(registrant.credential, Credential::Sas(_));
        let fits = move |group: &Enrollment| {
            by_key == matches!(group.attestation, super::attestation::Attestation::SymmetricKey { .. })
        };
        let most = usize::try_from(GROUPS_MAX).unwrap_or(usize::MAX);
        let mut refused = None;
        for (_, group) in registry.documents(Shelf::EnrollmentGroups, String::new(), most, fits).await? {
            match self.check(registrant, Kind::Group, &group).await {
                Ok(()) => return Ok((Kind::Group, group)),
                // What is wrong with a credential of the right group is worth more than that another group does not know it.
                Err(refusal) => {
                    let is_strange = matches!(refusal.cause, Some(Cause::WrongKey | Cause::UnknownAuthority));
                    if refused.is_none() || !is_strange {
                        refused = Some(refusal);
                    }
                }
            }
        }
        Err(refused.unwrap_or_else(|| {
            refuse(
                Cause::UnknownIdentity,
                "there is neither an enrolment with this registration id nor a group that could be its own; enrol the device".to_owned(),
            )
        }))
    }

    async fn check(
        &self,
        registrant: &Registrant,
        kind: Kind,
        enrollment: &Enrollment,
    ) -> Result<(), Refusal> {
        let Registrant { id_scope, registration_id, credential } = registrant;
        let authorities = self.inner.registry.authorities().await?;
        let attestation = enrollment.attestation.check_for(kind, registration_id, &authorities);
        registration::check(id_scope, registration_id, credential, &attestation, self.clock().now())
    }

    /// Assigns a device, registers it with the hub, and gives the operation's id. All is on disk when this returns.
    async fn assign(
        &self,
        registrant: &Registrant,
        kind: Kind,
        enrollment: &Enrollment,
        payload: Option<Value>,
    ) -> Result<String, Refusal> {
        let id = &registrant.registration_id;
        let before: Option<Registration> =
            self.inner.registry.document(Shelf::Registrations, key(id)).await?;
        let assigned = before.as_ref().filter(|before| before.status == "assigned");
        let outcome = if !enrollment.enabled {
            Outcome::disabled()
        } else if let Some(before) = assigned.filter(|_| !enrollment.reprovision.update_hub_assignment) {
            Outcome::kept(before)
        } else {
            let substatus = match assigned {
                None => "initialAssignment",
                Some(_) if !enrollment.reprovision.migrate_device_data => "deviceDataReset",
                Some(before) => before.substatus.as_deref().unwrap_or("initialAssignment"),
            };
            match self.admit(registrant, kind, enrollment, assigned).await {
                Ok((device, hub)) => Outcome::assigned(device, hub, substatus),
                // A refusal that another try may cure is not written down.
                Err(refusal) if refusal.code.is_transient() => return Err(refusal),
                Err(refusal) => Outcome::failed(&refusal),
            }
        };
        let now = self.clock().now();
        let operation_id = format!("5.{}.{}", self.id_scope().to_lowercase(), uuid::Uuid::new_v4());
        let registration = Registration {
            registration_id: id.clone(),
            group: (kind == Kind::Group).then(|| enrollment.id.clone()),
            device_id: outcome.device_id,
            assigned_hub: outcome.hub,
            status: outcome.status.to_owned(),
            substatus: outcome.substatus,
            error_code: outcome.error.as_ref().map(|(code, _)| *code),
            error_message: outcome.error.map(|(_, text)| text),
            payload: payload.or_else(|| before.as_ref().and_then(|before| before.payload.clone())),
            operation_id: operation_id.clone(),
            created: before.map_or(now, |before| before.created),
            updated: now,
            etag: new_etag(),
        };
        tracing::info!(registration = %id, status = %registration.status,
            device = registration.device_id.as_deref().unwrap_or_default(), "a device registered");
        let put = move |_: Option<Registration>, _| Ok(Some(registration));
        self.inner.registry.change_document(Shelf::Registrations, key(id), put).await?;
        Ok(operation_id)
    }

    /// Makes the identity, or makes it as the enrolment says; gives its id and the host name of its hub.
    async fn admit(
        &self,
        registrant: &Registrant,
        kind: Kind,
        enrollment: &Enrollment,
        before: Option<&Registration>,
    ) -> Result<(String, String), Refusal> {
        let id = &registrant.registration_id;
        let device = enrollment.device_id.clone().unwrap_or_else(|| id.clone());
        let device = DeviceId::new(device)
            .map_err(|error| Refusal::new(ErrorCode::ArgumentInvalid, format!("the device's id: {error}")))?;
        let identity = Identity::device(device);
        let wish = wish(registrant, kind, enrollment);
        let registry = &self.inner.registry;
        let begins = before.is_none() || !enrollment.reprovision.migrate_device_data;
        if before.is_some() && begins {
            match registry.delete(identity.clone(), IfMatch::Any).await {
                Err(refusal) if refusal.code != ErrorCode::DeviceNotFound => return Err(refusal),
                _ => {}
            }
        }
        match registry.create(identity.clone(), wish.clone()).await {
            Err(refusal) if refusal.code == ErrorCode::DeviceAlreadyExists => {
                registry.update(identity.clone(), wish, IfMatch::Any).await?;
            }
            made => drop(made?),
        }
        if begins && let Some(InitialTwin { tags, desired }) = &enrollment.initial_twin {
            let change = TwinChange::Replace { tags: tags.clone(), desired: desired.clone() };
            registry.change_twin(identity.clone(), change, IfMatch::Any).await?;
        }
        Ok((identity.device.to_string(), self.host_for(id, enrollment)))
    }

    fn host_for(&self, id: &str, enrollment: &Enrollment) -> String {
        let hosts = if enrollment.hosts.is_empty() { self.hosts() } else { &enrollment.hosts };
        let n = match enrollment.allocation {
            Allocation::Static | Allocation::GeoLatency => 0,
            Allocation::Hashed => hash(id) % hosts.len().max(1),
        };
        hosts.get(n).cloned().unwrap_or_default()
    }
}

/// FNV-1a: the same in every build, so that a device that registers again gets the same name.
fn hash(text: &str) -> usize {
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte.to_ascii_lowercase())).wrapping_mul(0x0100_0000_01b3)
    });
    usize::try_from(hash >> 33).unwrap_or_default()
}

/// The identity an enrolment gives a device.
///
/// rule DPS-07: a device that came with keys has the same in the hub; one that came with a certificate is known there by its
/// thumbprint, so that its authority need not be registered with the hub.
fn wish(registrant: &Registrant, kind: Kind, enrollment: &Enrollment) -> Wish {
    use super::attestation::Attestation;
    let authentication = match (&enrollment.attestation, &registrant.credential) {
        (Attestation::SymmetricKey { primary, secondary }, _) => {
            let key = |key: &SharedAccessKey| match kind {
                Kind::Individual => key.to_base64(),
                Kind::Group => key.derive(&registrant.registration_id).to_base64(),
            };
            json!({ "type": "sas", "symmetricKey": { "primaryKey": key(primary), "secondaryKey": key(secondary) } })
        }
        (_, Credential::Certificate(chain)) => {
            let thumbprint = chain.first().map(|leaf| X509Thumbprints::sha256(leaf));
            json!({ "type": "selfSigned", "x509Thumbprint": {
                "primaryThumbprint": thumbprint, "secondaryThumbprint": thumbprint } })
        }
        // Nobody else passed the check.
        _ => json!({ "type": "none" }),
    };
    let wish = json!({
        "authentication": authentication,
        "capabilities": { "iotEdge": enrollment.iot_edge },
    });
    serde_json::from_value(wish).unwrap_or_default()
}

/// How an assignment ended.
struct Outcome {
    status: &'static str,
    device_id: Option<String>,
    hub: Option<String>,
    substatus: Option<String>,
    error: Option<(u32, String)>,
}

impl Outcome {
    fn assigned(device: String, hub: String, substatus: &str) -> Self {
        let substatus = Some(substatus.to_owned());
        Self { status: "assigned", device_id: Some(device), hub: Some(hub), substatus, error: None }
    }

    fn kept(before: &Registration) -> Self {
        Self {
            status: "assigned",
            device_id: before.device_id.clone(),
            hub: before.assigned_hub.clone(),
            substatus: before.substatus.clone(),
            error: None,
        }
    }

    fn disabled() -> Self {
        Self { status: "disabled", device_id: None, hub: None, substatus: None, error: None }
    }

    fn failed(refusal: &Refusal) -> Self {
        let error = Some((refusal.code.number(), refusal.message.to_string()));
        Self { status: "failed", device_id: None, hub: None, substatus: None, error }
    }
}
