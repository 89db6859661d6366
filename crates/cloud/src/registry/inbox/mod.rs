//! Cloud-to-device messages: queues on disk, locks and the index of what waits in memory. And what services fetch: feedback on
//! messages, and notices of files that devices uploaded.
//!
//! The index holds a few dozen bytes for each waiting message and is built when the registry opens. A message leaves the
//! disk in the same transaction in which its feedback is written.

mod index;
mod outgoing;
mod queue;
mod row;
mod uploads;

pub use uploads::{FileNotification, Upload};

use super::error::Error;
use super::store::{Changes, Store};
use super::{Inner, Registry, tables};
use index::Index;
use ironbrook_hub::seams::FeedbackRecord;
use ironbrook_model::Identity;
use outgoing::Queue;
use redb::ReadableTable;
use row::Row;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// Everything of the inbox that is in memory.
pub(super) struct State {
    index: Mutex<Index>,
    feedback: Queue<FeedbackRecord>,
    files: Queue<FileNotification>,
    /// Something will end earlier than what the expiring task waits for.
    deadline_changed: Notify,
}

impl State {
    /// Reads what waits. Blocks.
    pub fn load(store: &Store) -> Result<Self, Error> {
        let index = store.read_now(|tx| {
            let table = tx.open_table(tables::INBOX)?;
            let mut index = Index::default();
            for row in table.iter()? {
                let (key, value) = row?;
                let (identity, sequence) = key.value();
                let head = Row::head(value.value())?;
                index.insert(&tables::identity(identity)?, sequence, head.expires, head.delivery_count);
            }
            Ok(index)
        })?;
        Ok(Self {
            index: Mutex::new(index),
            feedback: Queue::load(store)?,
            files: Queue::load(store)?,
            deadline_changed: Notify::new(),
        })
    }

    /// How many messages wait for an identity.
    pub fn count(&self, identity: &Identity) -> usize {
        self.index().count(identity)
    }

    fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How a message ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Success,
    Expired,
    DeliveryCountExceeded,
    Rejected,
    Purged,
}

impl End {
    fn word(self) -> &'static str {
        match self {
            Self::Success => "Success",
            Self::Expired => "Expired",
            Self::DeliveryCountExceeded => "DeliveryCountExceeded",
            Self::Rejected => "Rejected",
            Self::Purged => "Purged",
        }
    }

    /// rule C2D-03: which wishes (`iothub-ack`) want to hear of this end.
    fn is_wanted(self, ack: Option<&str>) -> bool {
        match ack {
            Some("full") => true,
            Some("positive") => self == Self::Success,
            Some("negative") => self != Self::Success,
            _ => false,
        }
    }
}

/// Removes a message for good and writes its feedback, inside a change. False if it was gone already.
fn end(
    inner: &Arc<Inner>,
    changes: &Changes<'_>,
    identity: &Identity,
    sequence: u64,
    end: End,
) -> Result<bool, Error> {
    let key = tables::key(identity);
    let removed = {
        let mut table = changes.tx.open_table(tables::INBOX)?;
        let removed = table.remove((key.as_str(), sequence))?;
        removed.map(|bytes| Row::head(bytes.value())).transpose()?
    };
    let Some(head) = removed else { return Ok(false) };
    if end.is_wanted(head.ack()) {
        let record = FeedbackRecord {
            original_message_id: head.message_id().unwrap_or_default().to_owned(),
            enqueued_time_utc: inner.clock.now().to_string(),
            status_code: end.word().to_owned(),
            description: end.word().to_owned(),
            device_id: identity.device.to_string(),
            device_generation_id: head.generation_id,
        };
        outgoing::put(inner, changes, record)?;
    }
    let (inner, identity) = (inner.clone(), identity.clone());
    changes.after(move || inner.inbox.index().remove(&identity, sequence));
    Ok(true)
}

/// Removes all messages and uploads of a deleted identity, without feedback.
pub(super) fn remove_all(
    inner: &Arc<Inner>,
    changes: &Changes<'_>,
    identity: &Identity,
) -> Result<(), Error> {
    let key = tables::key(identity);
    let mut table = changes.tx.open_table(tables::INBOX)?;
    table.retain_in((key.as_str(), 0)..=(key.as_str(), u64::MAX), |_, _| false)?;
    if identity.module.is_none() {
        uploads::remove_all(changes, &identity.device)?;
    }
    let (inner, identity) = (inner.clone(), identity.clone());
    changes.after(move || inner.inbox.index().remove_all(&identity));
    Ok(())
}

impl Registry {
    /// Ends locks, messages and feedback when their time comes; never returns.
    pub(super) async fn expire_forever(&self) {
        loop {
            let now = self.inner.clock.now();
            let due = self.inner.inbox.index().take_due(now);
            for (identity, sequence) in due {
                self.expire(identity, sequence).await;
            }
            self.expire_outgoing::<FeedbackRecord>(now).await;
            self.expire_outgoing::<FileNotification>(now).await;
            let next = {
                let (inbox, config) = (&self.inner.inbox, &self.inner.config);
                let messages = inbox.index().next_deadline();
                let feedback = inbox.feedback.next_deadline(config.feedback_ttl);
                let files = inbox.files.next_deadline(config.file_notification_ttl);
                messages.into_iter().chain(feedback).chain(files).min()
            };
            let changed = self.inner.inbox.deadline_changed.notified();
            match next {
                None => changed.await,
                Some(deadline) => tokio::select! {
                    () = changed => {}
                    () = self.inner.clock.sleep_until(deadline) => {}
                },
            }
        }
    }

    async fn expire(&self, identity: Identity, sequence: u64) {
        let inner = self.inner.clone();
        let for_change = identity.clone();
        let change = move |changes: &Changes<'_>| end(&inner, changes, &for_change, sequence, End::Expired);
        if let Err(refusal) = self.inner.store.write(change).await {
            tracing::warn!(%identity, %refusal, "an expired message could not be removed");
        }
    }
}
