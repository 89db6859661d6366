//! The device provisioning service: devices that know only an id and a key, or have only a certificate, are told which hub is
//! theirs, and are registered there.
//!
//! Start with [`ProvisioningService`]: [`register`](ProvisioningService::register) is what a device asks, `api.rs` what operators
//! do with enrolments. An answer that says *assigned* means that the identity is on disk. What is *not* here: the protocols (the
//! gateway speaks them), TPM attestation, allocation by webhook, and hubs other than this one.

mod api;
mod attestation;
mod enrollment;
mod register;
#[cfg(test)]
mod tests;

pub(crate) use api::{Of, bulk, query};
pub use enrollment::{Enrollment, Kind};
pub use register::Registration;

use crate::registry::{IfMatch, Registry, Shelf};
use ironbrook_gateway::Registrant;
use ironbrook_hub::Hub;
use ironbrook_hub::seams::Clock;
use ironbrook_model::{ErrorCode, Refusal};
use std::sync::Arc;

/// Enrolments of one device each; the documented limit.
const ENROLLMENTS_MAX: u64 = 1_000_000;
/// Enrolment groups; the documented limit. A token of a group's device is tried with the keys of each.
const GROUPS_MAX: u64 = 100;

/// The provisioning service of a hub. Cheap to clone.
#[derive(Clone)]
pub struct ProvisioningService {
    inner: Arc<Inner>,
}

struct Inner {
    registry: Registry,
    hub: Hub,
    id_scope: String,
}

impl ProvisioningService {
    /// A service that assigns devices to this hub.
    pub(crate) fn new(registry: Registry, hub: Hub, id_scope: String) -> Self {
        Self { inner: Arc::new(Inner { registry, hub, id_scope }) }
    }

    /// What devices name it by, e.g. `0ne00A1B2C3`.
    pub fn id_scope(&self) -> &str {
        &self.inner.id_scope
    }

    /// The host names a device may be assigned to; the first is that of devices whose enrolment names none.
    fn hosts(&self) -> &[String] {
        self.inner.hub.auth().hosts()
    }

    fn clock(&self) -> &Arc<dyn Clock> {
        &self.inner.hub.seams().clock
    }

    /// Creates or changes an enrolment; with a precondition only as the caller knows it. 400004, 404, 412001, 403002.
    pub async fn put(
        &self,
        kind: Kind,
        id: String,
        body: serde_json::Value,
        if_match: Option<IfMatch>,
    ) -> Result<Enrollment, Refusal> {
        let (now, hosts) = (self.clock().now(), self.hosts().to_vec());
        let wish = enrollment::Wish::read(kind, &id, body, &hosts)?;
        let change = move |old: Option<Enrollment>, count| {
            check_precondition(kind, old.as_ref(), if_match.as_ref())?;
            if old.is_none() && count >= kind.most() {
                let text = format!("{count} {} are there, {} are allowed", kind.words(), kind.most());
                return Err(Refusal::new(ErrorCode::IotHubQuotaExceeded, text));
            }
            wish.apply(old, now).map(Some)
        };
        let put = self.inner.registry.change_document(kind.shelf(), key(&id_of(kind, &id)?), change).await?;
        put.ok_or_else(|| not_found(kind))
    }

    /// An enrolment.
    pub async fn get(&self, kind: Kind, id: &str) -> Result<Enrollment, Refusal> {
        self.inner.registry.document(kind.shelf(), key(id)).await?.ok_or_else(|| not_found(kind))
    }

    /// Takes an enrolment away; of one device, also what became of it. Identities in the hub stay.
    pub async fn delete(&self, kind: Kind, id: &str, if_match: Option<IfMatch>) -> Result<(), Refusal> {
        let change = move |old: Option<Enrollment>, _| {
            let old = old.ok_or_else(|| not_found(kind))?;
            check_precondition(kind, Some(&old), if_match.as_ref())?;
            Ok(None)
        };
        self.inner.registry.change_document(kind.shelf(), key(id), change).await?;
        if kind == Kind::Individual {
            let forget = |_: Option<Registration>, _| Ok(None);
            self.inner.registry.change_document(Shelf::Registrations, key(id), forget).await?;
        }
        Ok(())
    }

    /// What became of a device that registered.
    pub async fn registration(&self, id: &str) -> Result<Registration, Refusal> {
        let found = self.inner.registry.document(Shelf::Registrations, key(id)).await?;
        found.ok_or_else(|| Refusal::new(ErrorCode::GenericNotFound, "no device registered with this id"))
    }

    /// Forgets what became of a device: its next registration is its first.
    pub async fn delete_registration(&self, id: &str, if_match: Option<IfMatch>) -> Result<(), Refusal> {
        let change = move |old: Option<Registration>, _| {
            let old = old.ok_or_else(|| {
                Refusal::new(ErrorCode::GenericNotFound, "no device registered with this id")
            })?;
            check_etag(&old.etag, if_match.as_ref())?;
            Ok(None)
        };
        self.inner.registry.change_document(Shelf::Registrations, key(id), change).await.map(drop)
    }
}

/// rule DPS-05: ids are compared without case.
fn key(id: &str) -> String {
    id.to_lowercase()
}

fn id_of(kind: Kind, id: &str) -> Result<String, Refusal> {
    enrollment::check_id(kind, id).map(|()| id.to_owned())
}

fn not_found(kind: Kind) -> Refusal {
    let text = match kind {
        Kind::Individual => "there is no enrolment with this registration id",
        Kind::Group => "there is no enrolment group with this id",
    };
    Refusal::new(ErrorCode::GenericNotFound, text)
}

fn check_precondition(
    kind: Kind,
    old: Option<&Enrollment>,
    if_match: Option<&IfMatch>,
) -> Result<(), Refusal> {
    match (old, if_match) {
        (Some(old), if_match) => check_etag(&old.etag, if_match),
        (None, Some(IfMatch::Etag(_))) => Err(not_found(kind)),
        (None, _) => Ok(()),
    }
}

fn check_etag(etag: &str, if_match: Option<&IfMatch>) -> Result<(), Refusal> {
    match if_match {
        Some(IfMatch::Etag(wanted)) if wanted != etag => Err(Refusal::new(
            ErrorCode::PreconditionFailed,
            format!(
                "the etag is {etag} now, If-Match asked for {wanted}; read it again and repeat the change"
            ),
        )),
        _ => Ok(()),
    }
}

/// The identity that a registration id is shown as where somebody asks why it was refused.
fn named(registrant: &Registrant) -> Option<ironbrook_model::Identity> {
    let device = ironbrook_model::DeviceId::new(registrant.registration_id.clone()).ok()?;
    Some(ironbrook_model::Identity::device(device))
}
