//! Twins: what devices report, what services change, and who is told.

use super::configurations::{self, Touched};
use super::error::Error;
use super::identities::{get, not_found, read_both, stored};
use super::index::Entries;
use super::outbox::{self, Digital, TwinOperation};
use super::store::Changes;
use super::{IdentityListener, IfMatch, Inner, Registry, tables, view};
use async_trait::async_trait;
use bytes::Bytes;
use ironbrook_hub::seams::{DesiredChange, Identities, Twins};
use ironbrook_model::twin::{
    Object, SectionKind, Twin, change_view, device_patch, digital_twin, replacement_patch,
};
use ironbrook_model::{Identity, Refusal, Timestamp};
use serde_json::{Map, Value, json};
use std::sync::{Arc, PoisonError, RwLockReadGuard};

/// Longest model id in bytes (DTDL: 2048 characters, ASCII).
const MODEL_ID_LEN_MAX: usize = 2048;

/// What a service wants of a twin.
#[derive(Debug, Clone)]
pub enum TwinChange {
    /// Merge into these sections; those left out stay.
    Patch {
        /// Tags.
        tags: Option<Object>,
        /// Desired properties.
        desired: Option<Object>,
    },
    /// Replace both sections as a whole.
    Replace {
        /// Tags.
        tags: Object,
        /// Desired properties.
        desired: Object,
    },
}

impl Registry {
    /// The whole twin as services see it. 404001 or 404010.
    pub async fn twin_view(&self, identity: Identity) -> Result<Value, Refusal> {
        let inner = self.inner.clone();
        let read = move |tx: &_| {
            let (stored, twin) = read_both(tx, &identity)?;
            Ok(view::twin(&inner, &identity, &stored, &twin))
        };
        self.inner.store.read(read).await
    }

    /// A device's digital twin and the etag of its twin. 404001.
    pub async fn digital_twin(&self, identity: Identity) -> Result<(Object, String), Refusal> {
        let read = move |tx: &_| {
            let (_, twin) = read_both(tx, &identity)?;
            Ok((digital_twin(identity.device.as_str(), &twin), twin.etag()))
        };
        self.inner.store.read(read).await
    }

    /// Changes tags and desired properties and returns the whole twin. 412001 if the precondition fails; 400004 or 413001
    /// where a rule of twins is broken, and nothing is changed then.
    pub async fn change_twin(
        &self,
        identity: Identity,
        change: TwinChange,
        if_match: IfMatch,
    ) -> Result<Value, Refusal> {
        let inner = self.inner.clone();
        self.inner.store.write(move |changes| apply(&inner, changes, &identity, change, &if_match)).await
    }

    /// An identity as the service API shows it, with its keys.
    pub fn identity_view(&self, identity: &Identity, stored: &super::Stored) -> Value {
        view::identity(&self.inner, identity, stored)
    }
}

/// A twin inside a change.
pub(super) fn load(changes: &Changes<'_>, identity: &Identity) -> Result<Twin, Error> {
    get(&changes.tx.open_table(tables::TWINS)?, "twin", &tables::key(identity))?
        .ok_or_else(|| not_found(identity))
}

/// Writes a twin whose tags and configurations are as they were.
pub(super) fn save(
    inner: &Arc<Inner>,
    changes: &Changes<'_>,
    identity: &Identity,
    twin: &Twin,
) -> Result<(), Error> {
    let mut table = changes.tx.open_table(tables::TWINS)?;
    table.insert(tables::key(identity).as_str(), tables::encode("twin", twin)?.as_slice())?;
    if !watchers(inner).is_empty() {
        let (inner, identity) = (inner.clone(), identity.clone());
        changes.after(move || watchers(&inner).iter().for_each(|watcher| watcher(&identity)));
    }
    Ok(())
}

fn watchers(inner: &Inner) -> RwLockReadGuard<'_, Vec<Arc<IdentityListener>>> {
    inner.twin_watchers.read().unwrap_or_else(PoisonError::into_inner)
}

/// Writes a twin and what the index says of it.
pub(super) fn save_indexed(
    inner: &Arc<Inner>,
    changes: &Changes<'_>,
    identity: &Identity,
    before: &Entries,
    twin: &Twin,
) -> Result<(), Error> {
    save(inner, changes, identity, twin)?;
    let key = tables::key(identity);
    Entries::of(&key, twin).replace(changes.tx, &key, before)
}

/// Does what a service wants, inside a change.
pub(super) fn apply(
    inner: &Arc<Inner>,
    changes: &Changes<'_>,
    identity: &Identity,
    change: TwinChange,
    if_match: &IfMatch,
) -> Result<Value, Error> {
    let stored = stored(changes, identity)?.ok_or_else(|| not_found(identity))?;
    let mut twin = load(changes, identity)?;
    if_match.check(&twin.etag())?;
    match change {
        TwinChange::Patch { tags, desired } => {
            patch(inner, changes, identity, &mut twin, tags.as_ref(), desired.as_ref())?;
        }
        TwinChange::Replace { tags, desired } => twin = replace(inner, changes, identity, &tags, &desired)?,
    }
    configurations::touch(inner, changes, identity, Touched::ByService)?;
    Ok(view::twin(inner, identity, &stored, &twin))
}

/// Merges into a twin inside a change, and tells who listens.
pub(super) fn patch(
    inner: &Arc<Inner>,
    changes: &Changes<'_>,
    identity: &Identity,
    twin: &mut Twin,
    tags: Option<&Object>,
    desired: Option<&Object>,
) -> Result<(), Error> {
    let now = inner.clock.now();
    let before = tags.map(|_| Entries::of(&tables::key(identity), twin));
    let digital = Digital::before(inner, identity, twin);
    twin.patch_within(inner.config.twins, tags, desired, now)?;
    let body = patch_event(twin, tags, desired, now);
    outbox::twin(inner, changes, identity, TwinOperation::Update, body)?;
    digital.tell(inner, changes, identity, twin, TwinOperation::Update)?;
    match before {
        Some(before) => save_indexed(inner, changes, identity, &before, twin)?,
        None => save(inner, changes, identity, twin)?,
    }
    if let Some(patch) = desired {
        tell(inner, changes, identity, twin.desired.version, patch);
    }
    Ok(())
}

/// Replaces tags and desired properties inside a change, and tells who listens.
pub(super) fn replace(
    inner: &Arc<Inner>,
    changes: &Changes<'_>,
    identity: &Identity,
    tags: &Object,
    desired: &Object,
) -> Result<Twin, Error> {
    let mut twin = load(changes, identity)?;
    let (before, entries) = (twin.desired.values.clone(), Entries::of(&tables::key(identity), &twin));
    let digital = Digital::before(inner, identity, &twin);
    twin.replace_within(inner.config.twins, tags, desired, inner.clock.now())?;
    outbox::twin(inner, changes, identity, TwinOperation::Replace, replace_event(&twin))?;
    digital.tell(inner, changes, identity, &twin, TwinOperation::Replace)?;
    save_indexed(inner, changes, identity, &entries, &twin)?;
    // rule TWIN-09: a connected device hears of a replacement as a patch, with null for what is gone.
    let patch = replacement_patch(&before, &twin.desired.values);
    tell(inner, changes, identity, twin.desired.version, &patch);
    Ok(twin)
}

fn patch_event(twin: &Twin, tags: Option<&Object>, desired: Option<&Object>, now: Timestamp) -> Value {
    let mut body = Map::from_iter([("version".to_owned(), twin.version.into())]);
    if let Some(tags) = tags {
        body.insert("tags".to_owned(), Value::Object(tags.clone()));
    }
    if let Some(desired) = desired {
        let section = change_view(SectionKind::Desired, desired, twin.desired.version, now);
        body.insert("properties".to_owned(), json!({ "desired": section }));
    }
    Value::Object(body)
}

fn replace_event(twin: &Twin) -> Value {
    json!({
        "version": twin.version,
        "tags": twin.tags,
        "properties": { "desired": twin.desired.service_view() },
    })
}

/// After the commit: tells the listeners of new desired properties.
fn tell(inner: &Arc<Inner>, changes: &Changes<'_>, identity: &Identity, version: u64, patch: &Object) {
    let patch = Bytes::from(Value::Object(device_patch(patch, version)).to_string());
    let change = DesiredChange { identity: identity.clone(), version, patch };
    let inner = inner.clone();
    changes.after(move || {
        let listeners = inner.desired_listeners.read().unwrap_or_else(PoisonError::into_inner);
        listeners.iter().for_each(|listener| listener(&change));
    });
}

#[async_trait]
impl Twins for Registry {
    async fn device_view(&self, identity: &Identity) -> Result<Bytes, Refusal> {
        let identity = identity.clone();
        let read = move |tx: &_| {
            let (_, twin) = read_both(tx, &identity)?;
            Ok(Bytes::from(twin.device_view().to_string()))
        };
        self.inner.store.read(read).await
    }

    async fn patch_reported(&self, identity: &Identity, patch: &[u8]) -> Result<u64, Refusal> {
        let (inner, identity, patch) = (self.inner.clone(), identity.clone(), Bytes::copy_from_slice(patch));
        let change = move |changes: &Changes<'_>| {
            let mut twin = load(changes, &identity)?;
            let now = inner.clock.now();
            let digital = Digital::before(&inner, &identity, &twin);
            let patch = twin.patch_reported_within(inner.config.twins, &patch, now)?;
            save(&inner, changes, &identity, &twin)?;
            let version = twin.reported.version;
            let section = change_view(SectionKind::Reported, &patch, version, now);
            let body = json!({ "version": twin.version, "properties": { "reported": section } });
            outbox::twin(&inner, changes, &identity, TwinOperation::Update, body)?;
            digital.tell(&inner, changes, &identity, &twin, TwinOperation::Update)?;
            configurations::touch(&inner, changes, &identity, Touched::ByDevice)?;
            Ok(version)
        };
        self.inner.store.write(change).await
    }

    async fn announce_model(&self, identity: &Identity, model_id: &str) -> Result<(), Refusal> {
        if model_id.len() > MODEL_ID_LEN_MAX {
            tracing::warn!(%identity, len = model_id.len(), "a model id is too long and was left out");
            return Ok(());
        }
        // Devices announce at every connect; only a new id costs a commit.
        let (who, wanted) = (identity.clone(), model_id.to_owned());
        let same = move |tx: &_| Ok(read_both(tx, &who)?.1.model_id.as_deref() == Some(wanted.as_str()));
        if self.inner.store.read(same).await? {
            return Ok(());
        }
        let (inner, who, wanted) = (self.inner.clone(), identity.clone(), model_id.to_owned());
        let change = move |changes: &Changes<'_>| {
            let mut twin = load(changes, &who)?;
            let digital = Digital::before(&inner, &who, &twin);
            twin.model_id = Some(wanted);
            twin.version += 1;
            save(&inner, changes, &who, &twin)?;
            digital.tell(&inner, changes, &who, &twin, TwinOperation::Update)?;
            configurations::touch(&inner, changes, &who, Touched::ByService)
        };
        self.inner.store.write(change).await
    }

    async fn service_view(&self, identity: &Identity) -> Result<Arc<Value>, Refusal> {
        self.twin_view(identity.clone()).await.map(Arc::new)
    }

    fn watch(&self, changed: Box<dyn Fn(&Identity) + Send + Sync>) {
        let changed = Arc::new(changed);
        self.inner.twin_watchers.write().unwrap_or_else(PoisonError::into_inner).push(changed.clone());
        // Twins come and go with their identities.
        Identities::listen(self, Box::new(move |identity| changed(identity)));
    }

    fn listen(&self, changed: Box<dyn Fn(&DesiredChange) + Send + Sync>) {
        self.inner.desired_listeners.write().unwrap_or_else(PoisonError::into_inner).push(changed);
    }
}
