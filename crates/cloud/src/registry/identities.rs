//! Identities: create, update, delete, find, list.

use super::configurations::{self, Touched};
use super::error::Error;
use super::index::Entries;
use super::store::Changes;
use super::stored::{Stored, StoredAuthentication, Wish};
use super::{Inner, Place, Registry, activity, outbox, tables, twins};
use async_trait::async_trait;
use ironbrook_hub::auth::certificate::CertificateAuthority;
use ironbrook_hub::seams::{Activity, Identities};
use ironbrook_model::twin::Twin;
use ironbrook_model::{
    DeviceId, ErrorCode, Identity, IdentityRecord, IdentityStatus, ModuleId, Refusal, SharedAccessPolicy,
};
use redb::{ReadTransaction, ReadableTable, ReadableTableMetadata};
use serde::de::DeserializeOwned;
use std::ops::Bound;
use std::sync::{Arc, PoisonError};

/// The system modules of an edge device.
const SYSTEM_MODULES: [&str; 2] = ["$edgeAgent", "$edgeHub"];

/// A precondition of a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IfMatch {
    /// The thing must exist, in whatever state (`*`).
    Any,
    /// The thing must have this etag; bare.
    Etag(String),
}

impl IfMatch {
    /// Checks an etag.
    pub(super) fn check(&self, etag: &str) -> Result<(), Error> {
        match self {
            Self::Etag(wanted) if wanted != etag => Err(Error::refuse(
                ErrorCode::PreconditionFailed,
                format!(
                    "the etag is {etag} now, If-Match asked for {wanted}; read it again and repeat the change"
                ),
            )),
            _ => Ok(()),
        }
    }
}

/// How many devices there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// All devices.
    pub total: u64,
    /// Those that may connect.
    pub enabled: u64,
}

pub(super) fn not_found(identity: &Identity) -> Error {
    match &identity.module {
        None => Error::refuse(
            ErrorCode::DeviceNotFound,
            format!("the device '{}' is not registered", identity.device),
        ),
        Some(module) => Error::refuse(
            ErrorCode::ModuleNotFound,
            format!("the module '{module}' of device '{}' is not registered", identity.device),
        ),
    }
}

/// A value of a table, decoded.
pub(super) fn get<T: DeserializeOwned>(
    table: &impl ReadableTable<&'static str, &'static [u8]>,
    what: &'static str,
    key: &str,
) -> Result<Option<T>, Error> {
    table.get(key)?.map(|bytes| tables::decode(what, bytes.value())).transpose()
}

/// An identity inside a change.
pub(super) fn stored(changes: &Changes<'_>, identity: &Identity) -> Result<Option<Stored>, Error> {
    let key = tables::key(identity);
    let mut stored: Option<Stored> = get(&changes.tx.open_table(tables::IDENTITIES)?, "identity", &key)?;
    if let Some(stored) = &mut stored {
        activity::fill(&changes.tx.open_table(tables::ACTIVITY)?, &key, stored)?;
    }
    Ok(stored)
}

/// Identity and twin of one read.
pub(super) fn read_both(tx: &ReadTransaction, identity: &Identity) -> Result<(Stored, Twin), Error> {
    let key = tables::key(identity);
    let stored: Option<Stored> = get(&tx.open_table(tables::IDENTITIES)?, "identity", &key)?;
    let twin = get(&tx.open_table(tables::TWINS)?, "twin", &key)?;
    let (mut stored, twin) = stored.zip(twin).ok_or_else(|| not_found(identity))?;
    activity::fill(&tx.open_table(tables::ACTIVITY)?, &key, &mut stored)?;
    Ok((stored, twin))
}

fn put(changes: &Changes<'_>, identity: &Identity, stored: &Stored) -> Result<(), Error> {
    let mut table = changes.tx.open_table(tables::IDENTITIES)?;
    table.insert(tables::key(identity).as_str(), tables::encode("identity", stored)?.as_slice())?;
    Ok(())
}

impl Registry {
    /// Creates an identity with an empty twin. 409001 or 409301 if it exists, 404001 if a module's device does not.
    pub async fn create(&self, identity: Identity, wish: Wish) -> Result<Stored, Refusal> {
        let inner = self.inner.clone();
        self.inner.store.write(move |changes| create(&inner, changes, &identity, wish, Twin::default())).await
    }

    /// Changes an identity. 404001 or 404010 if it does not exist, 412001 if the precondition fails.
    pub async fn update(&self, identity: Identity, wish: Wish, if_match: IfMatch) -> Result<Stored, Refusal> {
        let inner = self.inner.clone();
        self.inner.store.write(move |changes| update(&inner, changes, &identity, wish, &if_match)).await
    }

    /// Deletes an identity, its twin, its waiting messages and, of a device, its modules.
    pub async fn delete(&self, identity: Identity, if_match: IfMatch) -> Result<(), Refusal> {
        let inner = self.inner.clone();
        self.inner.store.write(move |changes| delete(&inner, changes, &identity, &if_match)).await
    }

    /// An identity as stored. 404001 or 404010.
    pub async fn get(&self, identity: Identity) -> Result<Stored, Refusal> {
        let read = move |tx: &ReadTransaction| {
            let (table, key) = (tx.open_table(tables::IDENTITIES)?, tables::key(&identity));
            let mut stored = get(&table, "identity", &key)?.ok_or_else(|| not_found(&identity))?;
            activity::fill(&tx.open_table(tables::ACTIVITY)?, &key, &mut stored)?;
            Ok(stored)
        };
        self.inner.store.read(read).await
    }

    /// Up to `top` devices.
    pub async fn list_devices(&self, top: usize) -> Result<Vec<(Identity, Stored)>, Refusal> {
        self.devices_page(Place::default(), top).await.map(|(devices, _)| devices)
    }

    /// Up to `most` devices from a place on, by id, and where the next page begins; `None` at the end.
    pub async fn devices_page(
        &self,
        from: Place,
        most: usize,
    ) -> Result<(Vec<(Identity, Stored)>, Option<Place>), Refusal> {
        let read = move |tx: &ReadTransaction| {
            let (table, activities) = (tx.open_table(tables::IDENTITIES)?, tx.open_table(tables::ACTIVITY)?);
            let after = from.after.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
            let (mut devices, mut last) = (Vec::new(), None);
            for row in table.range::<&str>((after, Bound::Unbounded))? {
                let (key, value) = row?;
                if !key.value().ends_with('\0') {
                    continue;
                }
                if devices.len() >= most {
                    let given = from.given + devices.len();
                    return Ok((devices, Some(Place { after: last, given })));
                }
                let mut stored = tables::decode("identity", value.value())?;
                activity::fill(&activities, key.value(), &mut stored)?;
                devices.push((tables::identity(key.value())?, stored));
                last = Some(key.value().to_owned());
            }
            Ok((devices, None))
        };
        self.inner.store.read(read).await
    }

    /// All modules of a device. 404001.
    pub async fn list_modules(&self, device: DeviceId) -> Result<Vec<(Identity, Stored)>, Refusal> {
        self.inner
            .store
            .read(move |tx| {
                let table = tx.open_table(tables::IDENTITIES)?;
                let activities = tx.open_table(tables::ACTIVITY)?;
                let (from, to) = tables::device_range(&device);
                let mut rows = table.range(from.as_str()..to.as_str())?.map(|row| {
                    let (key, value) = row?;
                    let mut stored = tables::decode("identity", value.value())?;
                    activity::fill(&activities, key.value(), &mut stored)?;
                    Ok((tables::identity(key.value())?, stored))
                });
                match rows.next() {
                    Some(Ok((Identity { module: None, .. }, _))) => rows.collect(),
                    Some(Err(error)) => Err(error),
                    _ => Err(not_found(&Identity::device(device.clone()))),
                }
            })
            .await
    }

    /// How many devices there are.
    pub async fn counts(&self) -> Result<Counts, Refusal> {
        self.inner
            .store
            .read(move |tx| {
                let table = tx.open_table(tables::IDENTITIES)?;
                let mut counts = Counts::default();
                for row in table.iter()? {
                    let (key, value) = row?;
                    if key.value().ends_with('\0') {
                        let stored: Stored = tables::decode("identity", value.value())?;
                        counts.total += 1;
                        counts.enabled += u64::from(stored.status == IdentityStatus::Enabled);
                    }
                }
                Ok(counts)
            })
            .await
    }

    /// Whether no identity was ever made. Blocks.
    pub fn is_empty(&self) -> Result<bool, Error> {
        self.inner.store.read_now(|tx| Ok(tx.open_table(tables::IDENTITIES)?.is_empty()?))
    }
}

/// Creates an identity with a given twin inside a change; with the system modules of an edge device.
pub(super) fn create(
    inner: &Arc<Inner>,
    changes: &Changes<'_>,
    identity: &Identity,
    wish: Wish,
    twin: Twin,
) -> Result<Stored, Error> {
    check_new(inner, changes, identity)?;
    let now = inner.clock.now();
    let mut new = Stored::new(now);
    new.apply(identity, wish, now)?;
    insert(inner, changes, identity, &new, &twin)?;
    if new.iot_edge {
        add_system_modules(inner, changes, &identity.device)?;
    }
    Ok(new)
}

fn check_new(inner: &Inner, changes: &Changes<'_>, identity: &Identity) -> Result<(), Error> {
    let table = changes.tx.open_table(tables::IDENTITIES)?;
    if table.get(tables::key(identity).as_str())?.is_some() {
        return Err(match &identity.module {
            None => Error::refuse(
                ErrorCode::DeviceAlreadyExists,
                format!("A device with ID '{}' is already registered.", identity.device),
            ),
            Some(module) => Error::refuse(
                ErrorCode::ModuleAlreadyExistsOnDevice,
                format!("A module with ID '{module}' is already registered on device '{}'.", identity.device),
            ),
        });
    }
    if identity.module.is_none() {
        return Ok(());
    }
    let device = Identity::device(identity.device.clone());
    let parent: Stored = get(&table, "identity", &tables::key(&device))?.ok_or_else(|| not_found(&device))?;
    drop(table);
    check_room(inner, changes, &identity.device, &parent, 1)
}

/// Whether a device may have so many more modules.
pub(super) fn check_room(
    inner: &Inner,
    changes: &Changes<'_>,
    device: &DeviceId,
    stored: &Stored,
    more: usize,
) -> Result<(), Error> {
    let most = match stored.iot_edge {
        true => inner.config.modules_per_edge_device,
        false => inner.config.modules_per_device,
    };
    let (from, to) = tables::device_range(device);
    let table = changes.tx.open_table(tables::IDENTITIES)?;
    // The range starts with the device itself.
    let modules = table.range(from.as_str()..to.as_str())?.count().saturating_sub(1);
    if more > 0 && modules + more > most {
        return Err(Error::refuse(
            ErrorCode::TooManyModulesOnDevice,
            format!("the device '{device}' has {modules} modules, {most} are allowed"),
        ));
    }
    Ok(())
}

fn insert(
    inner: &Arc<Inner>,
    changes: &Changes<'_>,
    identity: &Identity,
    stored: &Stored,
    twin: &Twin,
) -> Result<(), Error> {
    put(changes, identity, stored)?;
    twins::save_indexed(inner, changes, identity, &Entries::default(), twin)?;
    outbox::lifecycle(inner, changes, identity, twin, outbox::Lifecycle::Created)?;
    configurations::touch(inner, changes, identity, Touched::ByService)?;
    changed(inner, changes, identity);
    Ok(())
}

/// rule REG-03: an edge device has its two system modules at once; they cannot connect before the device sets keys.
fn add_system_modules(inner: &Arc<Inner>, changes: &Changes<'_>, device: &DeviceId) -> Result<(), Error> {
    for name in SYSTEM_MODULES {
        let Ok(module) = ModuleId::new(name) else { continue };
        let identity = Identity::module(device.clone(), module);
        if stored(changes, &identity)?.is_none() {
            let new = Stored {
                authentication: StoredAuthentication::None,
                managed_by: Some("IotEdge".to_owned()),
                ..Stored::new(inner.clock.now())
            };
            insert(inner, changes, &identity, &new, &Twin::default())?;
        }
    }
    Ok(())
}

fn update(
    inner: &Arc<Inner>,
    changes: &Changes<'_>,
    identity: &Identity,
    wish: Wish,
    if_match: &IfMatch,
) -> Result<Stored, Error> {
    let mut stored = stored(changes, identity)?.ok_or_else(|| not_found(identity))?;
    if_match.check(&stored.etag)?;
    stored.apply(identity, wish, inner.clock.now())?;
    put(changes, identity, &stored)?;
    if stored.iot_edge {
        add_system_modules(inner, changes, &identity.device)?;
    }
    for member in members(changes, identity)? {
        changed(inner, changes, &member);
    }
    configurations::touch(inner, changes, identity, Touched::ByService)?;
    Ok(stored)
}

fn delete(
    inner: &Arc<Inner>,
    changes: &Changes<'_>,
    identity: &Identity,
    if_match: &IfMatch,
) -> Result<(), Error> {
    let stored = stored(changes, identity)?.ok_or_else(|| not_found(identity))?;
    if_match.check(&stored.etag)?;
    if identity.module.as_ref().is_some_and(|m| SYSTEM_MODULES.contains(&m.as_str())) {
        return Err(Error::refuse(
            ErrorCode::SystemModuleModifyUnauthorizedAccess,
            "a system module goes only with its device",
        ));
    }
    for member in members(changes, identity)? {
        let key = tables::key(&member);
        changes.tx.open_table(tables::IDENTITIES)?.remove(key.as_str())?;
        let twin = {
            let mut twins = changes.tx.open_table(tables::TWINS)?;
            let twin: Option<Twin> = get(&twins, "twin", &key)?;
            twins.remove(key.as_str())?;
            twin
        };
        if let Some(twin) = &twin {
            Entries::default().replace(changes.tx, &key, &Entries::of(&key, twin))?;
        }
        changes.tx.open_table(tables::SUBSCRIBED)?.remove(key.as_str())?;
        changes.tx.open_table(tables::KEPT)?.remove(key.as_str())?;
        inner.forget_activity(changes, &member)?;
        super::inbox::remove_all(inner, changes, &member)?;
        outbox::lifecycle(inner, changes, &member, &twin.unwrap_or_default(), outbox::Lifecycle::Deleted)?;
        changed(inner, changes, &member);
    }
    Ok(())
}

/// The identity itself and, of a device, its modules: what a change of it concerns.
fn members(changes: &Changes<'_>, identity: &Identity) -> Result<Vec<Identity>, Error> {
    if identity.module.is_some() {
        return Ok(vec![identity.clone()]);
    }
    let (from, to) = tables::device_range(&identity.device);
    let table = changes.tx.open_table(tables::IDENTITIES)?;
    table.range(from.as_str()..to.as_str())?.map(|row| tables::identity(row?.0.value())).collect()
}

/// After the commit: forgets the cached record and tells the listeners.
fn changed(inner: &Arc<Inner>, changes: &Changes<'_>, identity: &Identity) {
    let (inner, identity) = (inner.clone(), identity.clone());
    changes.after(move || {
        inner.cache.remove(&identity);
        let listeners = inner.identity_listeners.read().unwrap_or_else(PoisonError::into_inner);
        listeners.iter().for_each(|listener| listener(&identity));
    });
}

#[async_trait]
impl Identities for Registry {
    async fn find(&self, identity: &Identity) -> Result<Option<Arc<IdentityRecord>>, Refusal> {
        let begun = match self.inner.cache.get(identity) {
            Ok(record) => return Ok(Some(record)),
            Err(begun) => begun,
        };
        let wanted = identity.clone();
        let found = self
            .inner
            .store
            .read(move |tx| {
                let table = tx.open_table(tables::IDENTITIES)?;
                let stored: Option<Stored> = get(&table, "identity", &tables::key(&wanted))?;
                Ok(stored.map(|stored| Arc::new(stored.record(&wanted))))
            })
            .await?;
        if let Some(record) = &found {
            self.inner.cache.put(begun, record);
        }
        Ok(found)
    }

    async fn policy(&self, name: &str) -> Result<Option<Arc<SharedAccessPolicy>>, Refusal> {
        Ok(self.policy_now(name))
    }

    async fn authorities(&self) -> Result<Arc<Vec<CertificateAuthority>>, Refusal> {
        Ok(self.inner.certificates.now())
    }

    fn listen_authorities(&self, changed: Box<dyn Fn() + Send + Sync>) {
        self.inner.certificates.listen(changed);
    }

    fn listen(&self, changed: Box<dyn Fn(&Identity) + Send + Sync>) {
        self.inner.identity_listeners.write().unwrap_or_else(PoisonError::into_inner).push(changed);
    }

    fn note_activity(&self, identity: &Identity, generation_id: &str, activity: Activity) {
        self.inner.activity.note(identity, generation_id, activity);
    }
}
