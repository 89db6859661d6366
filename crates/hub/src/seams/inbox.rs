//! Messages that wait for a device.

use crate::operation::{LockToken, LockedMessage, Settlement};
use async_trait::async_trait;
use ironbrook_model::{Identity, Message, Refusal, Timestamp};
use std::time::Duration;

/// One line of feedback about a cloud-to-device message.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FeedbackRecord {
    /// The sender's message id.
    pub original_message_id: String,
    /// When the end was reached.
    pub enqueued_time_utc: String,
    /// `Success`, `Expired`, `DeliveryCountExceeded`, `Rejected`, `Purged`.
    pub status_code: String,
    /// The same word.
    pub description: String,
    /// The device.
    pub device_id: String,
    /// Its generation.
    pub device_generation_id: String,
}

/// A batch of feedback under a lock.
#[derive(Debug, Clone)]
pub struct Feedback {
    /// Proof of the lock.
    pub lock: LockToken,
    /// When the batch was closed.
    pub enqueued: Timestamp,
    /// 1 to 64 records.
    pub records: Vec<FeedbackRecord>,
}

/// What a session that is not clean stays subscribed to when it is gone, besides cloud-to-device messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Kept {
    /// Direct methods.
    pub methods: bool,
    /// Changes of the desired properties.
    pub desired: bool,
    /// Messages to inputs.
    pub inputs: bool,
    /// Answers to twin requests.
    pub twin_answers: bool,
}

impl Kept {
    /// As a number for stores: one bit each, in the order of the fields.
    pub fn bits(self) -> u8 {
        let bits = [self.methods, self.desired, self.inputs, self.twin_answers];
        bits.into_iter().rev().fold(0, |bits, bit| bits << 1 | u8::from(bit))
    }

    /// From a stored number; bits of later versions are dropped.
    pub fn from_bits(bits: u8) -> Self {
        let bit = |n: u8| bits & 1 << n != 0;
        Self { methods: bit(0), desired: bit(1), inputs: bit(2), twin_answers: bit(3) }
    }
}

/// Cloud-to-device queues: first in, first out per identity, locked while delivered.
///
/// Contract: what `enqueue` returned `Ok` for survives a crash until it is completed, rejected, expired, purged or delivered
/// too often; a lock that ends without settlement makes the message available again, in its old place.
#[async_trait]
pub trait Inbox: Send + Sync + 'static {
    /// Queues a message. Every way to send one ends here, so it is here that
    /// [`Limits::cloud_to_device_bytes`](crate::Limits::cloud_to_device_bytes) is enforced: 413001. 404001 unknown identity, 403004 queue full (50). `Expiry` and `Ack` are its system properties.
    async fn enqueue(&self, to: &Identity, message: Message) -> Result<(), Refusal>;

    /// Locks up to `max` available messages in order; empty if there is none. Not cancel-safe: run it to the end.
    async fn lock(
        &self,
        identity: &Identity,
        max: usize,
        lock_for: Duration,
    ) -> Result<Vec<LockedMessage>, Refusal>;

    /// Settles a locked message; 412002 if the lock is not held (any more).
    async fn settle(
        &self,
        identity: &Identity,
        lock: LockToken,
        settlement: Settlement,
    ) -> Result<(), Refusal>;

    /// Waits until a message is (or becomes) available for the identity. Cancel-safe; may return early.
    async fn available(&self, identity: &Identity);

    /// Removes all waiting messages and returns how many.
    async fn purge(&self, identity: &Identity) -> Result<u64, Refusal>;

    /// Whether a persistent subscription is stored for the identity.
    async fn is_subscribed(&self, identity: &Identity) -> Result<bool, Refusal>;

    /// Stores or removes the persistent subscription.
    async fn set_subscribed(&self, identity: &Identity, subscribed: bool) -> Result<(), Refusal>;

    /// What else an identity stays subscribed to.
    async fn kept(&self, _identity: &Identity) -> Result<Kept, Refusal> {
        Ok(Kept::default())
    }

    /// Stores what else an identity stays subscribed to. Implementations that forget it serve clients badly that do not
    /// subscribe anew after each connect.
    async fn keep(&self, _identity: &Identity, _kept: Kept) -> Result<(), Refusal> {
        Ok(())
    }

    /// Locks the next batch of feedback, waiting for one. Cancel-safe.
    async fn lock_feedback(&self, lock_for: Duration) -> Result<Feedback, Refusal>;

    /// Settles a batch of feedback.
    async fn settle_feedback(&self, lock: LockToken, settlement: Settlement) -> Result<(), Refusal>;
}
