//! When identities were last heard of: what sessions under way know, what ended ones left behind, what is on disk.
//!
//! Nothing is written for a message or a connection: once a minute, and when the registry closes, all that changed goes to
//! disk together. A table of its own keeps the rows with the keys out of that.

use super::error::Error;
use super::identities::get;
use super::store::Changes;
use super::stored::Stored;
use super::{Inner, Registry, tables};
use ironbrook_hub::seams::{Activity, Fabric};
use ironbrook_model::{Identity, Refusal, Timestamp};
use redb::ReadableTable;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How often activity is written.
const EVERY: Duration = Duration::from_secs(60);
/// Identities in one change, so that other changes come in between.
const GROUP_MAX: usize = 512;

/// What the sessions of an identity left behind.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Ended {
    generation_id: String,
    activity: Activity,
}

/// What is not on disk yet.
#[derive(Default)]
pub(super) struct State {
    /// Bounded by the number of identities: only sessions of existing ones leave something.
    ended: Mutex<HashMap<Identity, Ended>>,
    /// Sessions under way; the core has them, and it is built after the registry.
    fabric: OnceLock<Arc<dyn Fabric>>,
    /// When activity was last written.
    written: Mutex<Timestamp>,
}

impl State {
    fn ended(&self) -> MutexGuard<'_, HashMap<Identity, Ended>> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn set_fabric(&self, fabric: Arc<dyn Fabric>) {
        // A second one is a mistake of the assembly; the first stays.
        let _ = self.fabric.set(fabric);
    }

    /// A session ended.
    pub fn note(&self, identity: &Identity, generation_id: &str, activity: Activity) {
        let mut ended = self.ended();
        match ended.get_mut(identity).filter(|known| known.generation_id == generation_id) {
            Some(known) => known.activity = known.activity.merged(activity),
            None => {
                let new = Ended { generation_id: generation_id.to_owned(), activity };
                ended.insert(identity.clone(), new);
            }
        }
    }

    /// Whether an identity is connected, and when it was last heard of.
    pub fn of(&self, identity: &Identity, stored: &Stored) -> (bool, Activity) {
        let live = self.fabric.get().and_then(|fabric| fabric.find(identity));
        let live = live.map(|(_, mailbox)| mailbox.activity());
        let ended = self.ended().get(identity).filter(|e| e.generation_id == stored.generation_id).cloned();
        let activity = stored.activity.merged(ended.map(|e| e.activity).unwrap_or_default());
        (live.is_some(), activity.merged(live.unwrap_or_default()))
    }

    /// What sessions did since a time, and what ended ones left behind with the generation they belonged to.
    fn unwritten(&self, since: Timestamp) -> Vec<(Identity, Option<String>, Activity)> {
        let live = self.fabric.get().map(|fabric| fabric.active_since(since)).unwrap_or_default();
        let mut all: Vec<_> =
            live.into_iter().map(|(identity, activity)| (identity, None, activity)).collect();
        let ended = self.ended();
        all.extend(ended.iter().map(|(i, e)| (i.clone(), Some(e.generation_id.clone()), e.activity)));
        all
    }

    /// Forgets what was written, where nothing came in addition.
    fn forget(&self, written: &[(Identity, Option<String>, Activity)]) {
        let mut ended = self.ended();
        for (identity, generation_id, activity) in written {
            if ended
                .get(identity)
                .is_some_and(|e| generation_id.as_ref() == Some(&e.generation_id) && e.activity == *activity)
            {
                ended.remove(identity);
            }
        }
        if ended.is_empty() {
            // A crowd that left at once does not hold its room for ever.
            *ended = HashMap::new();
        }
    }
}

/// Adds to an identity what is on disk of its activity.
pub(super) fn fill(
    table: &impl ReadableTable<&'static str, &'static [u8]>,
    key: &str,
    stored: &mut Stored,
) -> Result<(), Error> {
    stored.activity = get(table, "activity", key)?.unwrap_or_default();
    Ok(())
}

fn write(
    changes: &Changes<'_>,
    identity: &Identity,
    generation_id: Option<&str>,
    activity: Activity,
) -> Result<(), Error> {
    let key = tables::key(identity);
    let stored: Option<Stored> = get(&changes.tx.open_table(tables::IDENTITIES)?, "identity", &key)?;
    // What is deleted, or made anew, did nothing.
    if stored.is_none_or(|stored| generation_id.is_some_and(|g| g != stored.generation_id)) {
        return Ok(());
    }
    let mut table = changes.tx.open_table(tables::ACTIVITY)?;
    let before: Activity = get(&table, "activity", &key)?.unwrap_or_default();
    let after = before.merged(activity);
    if after != before {
        table.insert(key.as_str(), tables::encode("activity", &after)?.as_slice())?;
    }
    Ok(())
}

impl Registry {
    /// Tells where to learn who is connected. Set once.
    pub fn set_fabric(&self, fabric: Arc<dyn Fabric>) {
        self.inner.activity.set_fabric(fabric);
    }

    /// Writes activity once a minute, until cancelled.
    pub(super) async fn write_activity_forever(&self, cancel: &CancellationToken) {
        loop {
            tokio::select! {
                () = cancel.cancelled() => return,
                () = self.inner.clock.sleep(EVERY) => {}
            }
            // What could not be written is still known, and written the next time.
            if let Err(refusal) = self.write_activity().await {
                tracing::warn!(%refusal, "the last activity of devices could not be stored");
            }
        }
    }

    /// Writes what changed since the last time.
    pub(super) async fn write_activity(&self) -> Result<(), Refusal> {
        let state = &self.inner.activity;
        let now = self.inner.clock.now();
        let before = *state.written.lock().unwrap_or_else(PoisonError::into_inner);
        // A clock that was set back must not hide who is active.
        let unwritten = state.unwritten(before.min(now));
        for group in unwritten.chunks(GROUP_MAX) {
            let rows = group.to_vec();
            let change = move |changes: &Changes<'_>| {
                rows.iter().try_for_each(|(identity, generation_id, activity)| {
                    write(changes, identity, generation_id.as_deref(), *activity)
                })
            };
            self.inner.store.write(change).await?;
            state.forget(group);
        }
        *state.written.lock().unwrap_or_else(PoisonError::into_inner) = now;
        Ok(())
    }
}

impl Inner {
    /// Inside a deletion: nothing of an identity's activity stays.
    pub(super) fn forget_activity(
        self: &Arc<Self>,
        changes: &Changes<'_>,
        identity: &Identity,
    ) -> Result<(), Error> {
        changes.tx.open_table(tables::ACTIVITY)?.remove(tables::key(identity).as_str())?;
        let (inner, identity) = (self.clone(), identity.clone());
        changes.after(move || drop(inner.activity.ended().remove(&identity)));
        Ok(())
    }
}

#[cfg(test)]
mod tests;
