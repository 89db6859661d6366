//! Who is connected, and how to reach them.

use super::Activity;
use crate::input::{InputBatch, Receipt};
use crate::operation::{Delivery, LockedMessage, MethodAnswer, MethodCall};
use async_trait::async_trait;
use bytestring::ByteString;
use ironbrook_model::{DeviceId, Identity, Refusal, Timestamp};
use std::sync::Arc;

/// The number of a claim on an identity; a later claim has a higher one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u64);

/// Why a session does not take a message to an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InputRefused {
    /// Too many are unsettled; the batch is woken when there may be room.
    Full,
    /// It does not take inputs.
    NotSubscribed,
    /// It is over.
    Ended,
}

/// How the fabric reaches a session; bounded, never blocks.
pub trait Mailbox: Send + Sync + 'static {
    /// Hands something to the session. `Err` gives it back where the session is gone or too far behind.
    #[expect(clippy::result_large_err, reason = "the delivery goes back to who has it")]
    fn deliver(&self, delivery: Delivery) -> Result<(), Delivery>;

    /// Ends the session.
    fn close(&self, why: Refusal);

    /// Tells the session that its identity changed, so that it checks its credential again.
    fn changed(&self);

    /// Whether the session takes direct methods.
    fn takes_methods(&self) -> bool;

    /// Whether the session takes changes of desired properties.
    fn takes_desired(&self) -> bool;

    /// Whether the session takes messages to inputs.
    fn takes_inputs(&self) -> bool {
        false
    }

    /// Hands a message to an input over, locked until the receipt is told what became of it.
    fn deliver_input(&self, _: &ByteString, _: LockedMessage, _: Receipt) -> Result<(), InputRefused> {
        Err(InputRefused::NotSubscribed)
    }

    /// Takes the messages of a batch back that the session did not take yet; with `locks`, ends the locks of those it has.
    fn recall_inputs(&self, _: &Arc<InputBatch>, _locks: bool) {}

    /// The gateway devices on the way to the one whose credential proved the identity, that one last; none where it was its own.
    fn via(&self) -> &[DeviceId] {
        &[]
    }

    /// When the session began, and when its device last did something.
    fn activity(&self) -> Activity;
}

/// One claim per identity: the newest wins, the older session is closed with 400027.
#[async_trait]
pub trait Fabric: Send + Sync + 'static {
    /// Claims an identity for a session.
    async fn claim(&self, identity: &Identity, mailbox: Arc<dyn Mailbox>) -> Result<Epoch, Refusal>;

    /// Gives a claim up; nothing happens where a newer one exists.
    fn release(&self, identity: &Identity, epoch: Epoch);

    /// The session of an identity, if it is on this node.
    fn find(&self, identity: &Identity) -> Option<(Epoch, Arc<dyn Mailbox>)>;

    /// Tells that a claimed identity began to take direct methods or inputs.
    fn reachable(&self, identity: &Identity);

    /// Waits until an identity is connected and takes inputs. Cancel-safe.
    async fn inputs_ready(&self, identity: &Identity);

    /// Tells the session of an identity, and those of its modules where it is a device, that the identity changed; where it is
    /// a gateway device or its module, also those of identities it proved.
    fn changed(&self, identity: &Identity);

    /// Tells all sessions of this node that what vouches for identities changed, so that each checks its credential again.
    fn all_changed(&self);

    /// Ends all sessions of this node.
    fn close_all(&self, why: &Refusal);

    /// The claimed identities that did something at or after a time, to store it.
    fn active_since(&self, time: Timestamp) -> Vec<(Identity, Activity)>;

    /// How many identities are claimed.
    fn connected(&self) -> usize;

    /// Calls a direct method wherever the identity is connected. 404103 not online, 504101 no answer in time.
    async fn call(&self, identity: &Identity, call: MethodCall) -> Result<MethodAnswer, Refusal>;

    /// Brings a device's answer back to the caller; unknown and late ones are dropped.
    fn answer(&self, identity: &Identity, request: &str, answer: MethodAnswer);
}
