//! The seam `Inbox` over index, table and feedback.

use super::super::error::Error;
use super::super::identities::{not_found, stored};
use super::super::store::Changes;
use super::super::{Inner, Registry, tables};
use super::index::Locked;
use super::outgoing::Batch;
use super::row::Row;
use super::{End, end};
use async_trait::async_trait;
use ironbrook_hub::operation::LockedMessage;
use ironbrook_hub::seams::{Feedback, FeedbackRecord, Inbox, Kept};
use ironbrook_hub::{LockToken, Settlement};
use ironbrook_model::{ErrorCode, Identity, Message, Refusal, SystemProperty, Timestamp};
use redb::ReadableTable;
use std::sync::Arc;
use std::time::Duration;

fn refuse<T>(code: ErrorCode, text: impl Into<std::borrow::Cow<'static, str>>) -> Result<T, Refusal> {
    Err(Refusal::new(code, text))
}

/// When a message ends: its own expiry, or the hub's, whichever comes first. rule C2D-02
fn expiry(message: &Message, now: Timestamp, ttl: Duration) -> Result<Timestamp, Refusal> {
    let latest = now.plus(ttl);
    let Some(text) = message.system.get(SystemProperty::Expiry).filter(|text| !text.is_empty()) else {
        return Ok(latest);
    };
    match Timestamp::parse(text) {
        Some(own) if own > now => Ok(own.min(latest)),
        Some(own) => {
            refuse(ErrorCode::InvalidMessageExpiryTime, format!("the message expired at {own} already"))
        }
        None => {
            refuse(ErrorCode::InvalidMessageExpiryTime, "the expiry time is not an ISO 8601 time with offset")
        }
    }
}

fn check(message: &mut Message, to: &Identity, len_max: usize) -> Result<(), Refusal> {
    let len = message.metered_len();
    if len > len_max {
        return refuse(
            ErrorCode::MessageTooLarge,
            format!("the message has {len} bytes, a cloud-to-device message at most {len_max}"),
        );
    }
    if let Some(ack) = message.system.get(SystemProperty::Ack) {
        let ack = ack.to_ascii_lowercase();
        if !matches!(ack.as_str(), "none" | "positive" | "negative" | "full" | "") {
            return refuse(ErrorCode::ArgumentInvalid, "iothub-ack is none, positive, negative or full");
        }
        message.system.set(SystemProperty::Ack, ack);
    }
    // rule C2D-04: every message has `to`; .NET's device client closes where the topic's bag is empty.
    if message.system.get(SystemProperty::To).is_none_or(|to| to.is_empty()) {
        message.system.set(SystemProperty::To, format!("/{}/messages/devicebound", to.resource()));
    }
    Ok(())
}

fn enqueue(inner: &Arc<Inner>, changes: &Changes<'_>, to: &Identity, message: &Message) -> Result<(), Error> {
    let identity = stored(changes, to)?.ok_or_else(|| not_found(to))?;
    let now = inner.clock.now();
    let expires = expiry(message, now, inner.config.inbox_ttl)?;
    make_room(inner, changes, to, now)?;
    let key = tables::key(to);
    let sequence = changes.next_number("inbox")?;
    let row = Row::new(message, now, expires, identity.generation_id);
    changes.tx.open_table(tables::INBOX)?.insert((key.as_str(), sequence), row.encode()?.as_slice())?;
    let (inner, to) = (inner.clone(), to.clone());
    changes.after(move || {
        if inner.inbox.index().insert(&to, sequence, expires, 0) {
            inner.inbox.deadline_changed.notify_one();
        }
    });
    Ok(())
}

/// Refuses where the queue is full of messages that live; those that expired make room.
fn make_room(inner: &Arc<Inner>, changes: &Changes<'_>, to: &Identity, now: Timestamp) -> Result<(), Error> {
    let key = tables::key(to);
    let (mut living, mut expired) = (0, Vec::new());
    {
        let table = changes.tx.open_table(tables::INBOX)?;
        for row in table.range((key.as_str(), 0)..=(key.as_str(), u64::MAX))? {
            let (key, bytes) = row?;
            match Row::head(bytes.value())?.expires > now {
                true => living += 1,
                false => expired.push(key.value().1),
            }
        }
    }
    if living >= inner.config.inbox_depth {
        return Err(Error::refuse(
            ErrorCode::DeviceMaximumQueueDepthExceeded,
            format!("{living} messages wait for '{to}' already; let it receive them, or purge its queue"),
        ));
    }
    for sequence in expired {
        end(inner, changes, to, sequence, End::Expired)?;
    }
    Ok(())
}

impl Registry {
    /// Reads locked messages; one that is gone meanwhile is left out.
    async fn read_locked(
        &self,
        identity: &Identity,
        locked: &[Locked],
    ) -> Result<Vec<LockedMessage>, Refusal> {
        let (key, locked) = (tables::key(identity), locked.to_vec());
        let read = move |tx: &redb::ReadTransaction| {
            let table = tx.open_table(tables::INBOX)?;
            let mut messages = Vec::with_capacity(locked.len());
            for one in locked {
                let Some(bytes) = table.get((key.as_str(), one.sequence))? else { continue };
                let row = Row::decode(bytes.value())?;
                messages.push(LockedMessage {
                    lock: one.token,
                    sequence_number: one.sequence,
                    enqueued: row.head.enqueued,
                    delivery_count: one.delivery_count,
                    message: row.message(),
                });
            }
            Ok(messages)
        };
        self.inner.store.read(read).await
    }

    fn free(&self, identity: &Identity, sequence: u64, delivery_count: u8) {
        if self.inner.inbox.index().free(identity, sequence, delivery_count) {
            self.inner.inbox.deadline_changed.notify_one();
        }
    }

    /// Counts a refusal, or gives the message up.
    async fn abandon(&self, identity: &Identity, sequence: u64, delivery_count: u8) -> Result<(), Refusal> {
        let count = delivery_count.saturating_add(1);
        if count >= self.inner.config.inbox_max_delivery_count {
            return self.write_end(identity, sequence, End::DeliveryCountExceeded).await;
        }
        let (inner, who) = (self.inner.clone(), identity.clone());
        let change = move |changes: &Changes<'_>| {
            let key = tables::key(&who);
            let mut table = changes.tx.open_table(tables::INBOX)?;
            let row =
                table.get((key.as_str(), sequence))?.map(|bytes| Row::decode(bytes.value())).transpose()?;
            let Some(mut row) = row else { return Ok(()) };
            row.head.delivery_count = count;
            table.insert((key.as_str(), sequence), row.encode()?.as_slice())?;
            changes.after(move || {
                if inner.inbox.index().free(&who, sequence, count) {
                    inner.inbox.deadline_changed.notify_one();
                }
            });
            Ok(())
        };
        self.inner.store.write(change).await
    }

    async fn write_end(&self, identity: &Identity, sequence: u64, how: End) -> Result<(), Refusal> {
        let (inner, identity) = (self.inner.clone(), identity.clone());
        let change = move |changes: &Changes<'_>| end(&inner, changes, &identity, sequence, how).map(|_| ());
        self.inner.store.write(change).await
    }
}

#[async_trait]
impl Inbox for Registry {
    async fn enqueue(&self, to: &Identity, mut message: Message) -> Result<(), Refusal> {
        check(&mut message, to, self.inner.config.inbox_message_bytes)?;
        let (inner, to) = (self.inner.clone(), to.clone());
        self.inner.store.write(move |changes| enqueue(&inner, changes, &to, &message)).await
    }

    async fn lock(
        &self,
        identity: &Identity,
        max: usize,
        lock_for: Duration,
    ) -> Result<Vec<LockedMessage>, Refusal> {
        let now = self.inner.clock.now();
        let (locked, sooner) = self
            .inner
            .inbox
            .index()
            .lock(identity, max, now, now.plus(lock_for), || LockToken(uuid::Uuid::new_v4()));
        if sooner {
            self.inner.inbox.deadline_changed.notify_one();
        }
        if locked.is_empty() {
            return Ok(Vec::new());
        }
        let messages = self.read_locked(identity, &locked).await;
        if messages.is_err() {
            locked.iter().for_each(|one| self.free(identity, one.sequence, one.delivery_count));
        }
        messages
    }

    async fn settle(
        &self,
        identity: &Identity,
        lock: LockToken,
        settlement: Settlement,
    ) -> Result<(), Refusal> {
        let begun = self.inner.inbox.index().begin_settle(identity, lock, self.inner.clock.now());
        let Some((sequence, delivery_count)) = begun else {
            return refuse(
                ErrorCode::DeviceMessageLockLost,
                "the lock on the message is not held any more; the message will be delivered again",
            );
        };
        let done = match settlement {
            Settlement::Complete => self.write_end(identity, sequence, End::Success).await,
            Settlement::Reject => self.write_end(identity, sequence, End::Rejected).await,
            Settlement::Abandon => self.abandon(identity, sequence, delivery_count).await,
            Settlement::Release => {
                self.free(identity, sequence, delivery_count);
                Ok(())
            }
        };
        if done.is_err() {
            self.free(identity, sequence, delivery_count);
        }
        done
    }

    async fn available(&self, identity: &Identity) {
        let _forget = Forget { inner: &self.inner, identity };
        let look = || self.inner.inbox.index().watch(identity, self.inner.clock.now());
        let Err(filled) = look() else { return };
        let notified = filled.notified_owned();
        tokio::pin!(notified);
        // From here on no notice is lost; what came before is seen by looking once more.
        notified.as_mut().enable();
        if look().is_ok() {
            return;
        }
        notified.await;
    }

    async fn purge(&self, identity: &Identity) -> Result<u64, Refusal> {
        let (inner, who) = (self.inner.clone(), identity.clone());
        let change = move |changes: &Changes<'_>| {
            stored(changes, &who)?.ok_or_else(|| not_found(&who))?;
            let key = tables::key(&who);
            let waiting: Vec<u64> = {
                let table = changes.tx.open_table(tables::INBOX)?;
                let rows = table.range((key.as_str(), 0)..=(key.as_str(), u64::MAX))?;
                rows.map(|row| Ok(row?.0.value().1)).collect::<Result<_, Error>>()?
            };
            let mut purged = 0;
            for sequence in waiting {
                purged += u64::from(end(&inner, changes, &who, sequence, End::Purged)?);
            }
            Ok(purged)
        };
        self.inner.store.write(change).await
    }

    async fn is_subscribed(&self, identity: &Identity) -> Result<bool, Refusal> {
        let key = tables::key(identity);
        let read = move |tx: &redb::ReadTransaction| {
            Ok(tx.open_table(tables::SUBSCRIBED)?.get(key.as_str())?.is_some())
        };
        self.inner.store.read(read).await
    }

    async fn set_subscribed(&self, identity: &Identity, subscribed: bool) -> Result<(), Refusal> {
        // Devices subscribe anew at every connect; only a change costs a commit.
        if self.is_subscribed(identity).await? == subscribed {
            return Ok(());
        }
        let key = tables::key(identity);
        let change = move |changes: &Changes<'_>| {
            let mut table = changes.tx.open_table(tables::SUBSCRIBED)?;
            if subscribed {
                table.insert(key.as_str(), ())?;
            } else {
                table.remove(key.as_str())?;
            }
            Ok(())
        };
        self.inner.store.write(change).await
    }

    async fn kept(&self, identity: &Identity) -> Result<Kept, Refusal> {
        let key = tables::key(identity);
        let read = move |tx: &redb::ReadTransaction| {
            let bits = tx.open_table(tables::KEPT)?.get(key.as_str())?.map(|bits| bits.value());
            Ok(bits.map_or_else(Kept::default, Kept::from_bits))
        };
        self.inner.store.read(read).await
    }

    async fn keep(&self, identity: &Identity, kept: Kept) -> Result<(), Refusal> {
        let key = tables::key(identity);
        let change = move |changes: &Changes<'_>| {
            let mut table = changes.tx.open_table(tables::KEPT)?;
            if kept == Kept::default() {
                table.remove(key.as_str())?;
            } else {
                table.insert(key.as_str(), kept.bits())?;
            }
            Ok(())
        };
        self.inner.store.write(change).await
    }

    async fn lock_feedback(&self, lock_for: Duration) -> Result<Feedback, Refusal> {
        let Batch { lock, enqueued, records } = self.next_outgoing(lock_for).await;
        Ok(Feedback { lock, enqueued, records })
    }

    async fn settle_feedback(&self, lock: LockToken, settlement: Settlement) -> Result<(), Refusal> {
        self.end_outgoing::<FeedbackRecord>(lock, settlement).await
    }
}

/// Forgets an empty queue when its watcher goes, also when it is cancelled.
struct Forget<'a> {
    inner: &'a Inner,
    identity: &'a Identity,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.inner.inbox.index().unwatch(self.identity);
    }
}
