//! What a session is sent by others: a short bounded queue, and the reason of its end.
//!
//! Not a channel: most sessions never get anything, and an empty queue costs them nothing.

mod inputs;

use crate::input::{InputBatch, InputStop, Receipt};
use crate::operation::{Delivery, LockToken, LockedMessage, Settlement};
use crate::seams::{Activity, InputRefused, Mailbox};
use bytestring::ByteString;
use inputs::Inputs;
use ironbrook_model::{DeviceId, ErrorCode, Refusal, Timestamp};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// Deliveries that wait for a session; one more ends it.
const WAITING_MAX: usize = 32;

#[derive(Default)]
struct State {
    waiting: VecDeque<Delivery>,
    /// Most sessions take no inputs.
    inputs: Option<Box<Inputs>>,
    closed: Option<Refusal>,
}

impl State {
    /// Gives up all that waits and all locks on inputs.
    fn empty(&mut self) {
        self.waiting = VecDeque::new();
        if let Some(mut inputs) = self.inputs.take() {
            inputs.recall(None, true, Some(InputStop::SessionEnded));
            inputs.wake();
        }
    }
}

/// The mailbox of one session, which is also what others can see of it.
#[derive(Default)]
pub(crate) struct SessionMailbox {
    state: Mutex<State>,
    rung: Notify,
    is_closed: AtomicBool,
    takes_methods: AtomicBool,
    takes_desired: AtomicBool,
    takes_inputs: AtomicBool,
    /// A stored subscription to inputs waits to count.
    expects_inputs: AtomicBool,
    /// The gateways on the way to the one whose credential proved the identity, that one last.
    via: Vec<DeviceId>,
    changes: AtomicU32,
    /// Milliseconds; 0 is never.
    connected: AtomicI64,
    last_active: AtomicI64,
}

impl SessionMailbox {
    pub(crate) fn new(via: Vec<DeviceId>) -> Self {
        Self { via, ..Self::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No code under this lock can leave the state half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next delivery; what waits comes before the end.
    pub(crate) fn take(&self) -> Option<Delivery> {
        let mut state = self.state();
        // After the end nothing else is handed out: the connection goes down with it.
        if let Some(why) = state.closed.clone() {
            return Some(Delivery::Closed(why));
        }
        let delivery = state.waiting.pop_front();
        if state.waiting.is_empty() {
            state.waiting = VecDeque::new();
        }
        delivery.or_else(|| state.inputs.as_mut()?.take())
    }

    /// Settles a message to an input; false where the lock is none of this session's inputs.
    pub(crate) fn settle_input(&self, lock: LockToken, settlement: Settlement) -> bool {
        self.state().inputs.as_mut().is_some_and(|inputs| inputs.settle(lock, settlement))
    }

    /// Waits until [`take`](Self::take) or [`changes`](Self::changes) may have something new. Cancel-safe.
    pub(crate) async fn rung(&self) {
        self.rung.notified().await;
    }

    /// Wakes the session.
    pub(crate) fn ring(&self) {
        self.rung.notify_one();
    }

    /// Whether the session is over, and why.
    pub(crate) fn closed(&self) -> Option<Refusal> {
        // The flag first: this stands on the path of every message.
        if !self.is_closed.load(Ordering::Acquire) {
            return None;
        }
        self.state().closed.clone()
    }

    /// How often the identity changed.
    pub(crate) fn changes(&self) -> u32 {
        self.changes.load(Ordering::Acquire)
    }

    /// The lasting connection begins.
    pub(crate) fn connected(&self, now: Timestamp) {
        self.connected.store(now.as_millis(), Ordering::Relaxed);
        self.active(now);
    }

    /// The device did something. No more than a store: this stands on the path of every message.
    pub(crate) fn active(&self, now: Timestamp) {
        self.last_active.store(now.as_millis(), Ordering::Relaxed);
    }

    pub(crate) fn set_takes_methods(&self, takes: bool) {
        self.takes_methods.store(takes, Ordering::Release);
    }

    pub(crate) fn set_takes_desired(&self, takes: bool) {
        self.takes_desired.store(takes, Ordering::Release);
    }

    /// A stored subscription to inputs is to count soon.
    pub(crate) fn expect_inputs(&self) {
        self.expects_inputs.store(true, Ordering::Release);
    }

    /// The stored subscription counts from now on, unless the device said itself what it wants meanwhile.
    pub(crate) fn accept_expected_inputs(&self) -> bool {
        let _one_after_the_other = self.state();
        let expected = self.expects_inputs.swap(false, Ordering::AcqRel);
        if expected {
            self.takes_inputs.store(true, Ordering::Release);
        }
        expected
    }

    pub(crate) fn set_takes_inputs(&self, takes: bool) {
        let mut state = self.state();
        self.expects_inputs.store(false, Ordering::Release);
        self.takes_inputs.store(takes, Ordering::Release);
        if let Some(inputs) = state.inputs.as_mut().filter(|_| !takes) {
            // What the device has already it may still settle.
            inputs.recall(None, false, Some(InputStop::NotSubscribed));
            inputs.wake();
        }
    }
}

impl Mailbox for SessionMailbox {
    fn deliver(&self, delivery: Delivery) -> Result<(), Delivery> {
        let mut state = self.state();
        if state.closed.is_some() || state.waiting.len() >= WAITING_MAX {
            return Err(delivery);
        }
        state.waiting.push_back(delivery);
        drop(state);
        self.ring();
        Ok(())
    }

    fn close(&self, why: Refusal) {
        let mut state = self.state();
        // The first reason stands.
        state.closed.get_or_insert(why);
        state.empty();
        self.is_closed.store(true, Ordering::Release);
        drop(state);
        self.ring();
    }

    fn changed(&self) {
        self.changes.fetch_add(1, Ordering::AcqRel);
        self.ring();
    }

    fn takes_methods(&self) -> bool {
        self.takes_methods.load(Ordering::Acquire)
    }

    fn takes_desired(&self) -> bool {
        self.takes_desired.load(Ordering::Acquire)
    }

    fn takes_inputs(&self) -> bool {
        self.takes_inputs.load(Ordering::Acquire)
    }

    fn deliver_input(
        &self,
        input: &ByteString,
        message: LockedMessage,
        receipt: Receipt,
    ) -> Result<(), InputRefused> {
        let mut state = self.state();
        if state.closed.is_some() {
            return Err(InputRefused::Ended);
        }
        // Under the lock, so that an unsubscription leaves nothing behind.
        if !self.takes_inputs() {
            return Err(InputRefused::NotSubscribed);
        }
        if !state.inputs.get_or_insert_default().push(input, message, receipt) {
            return Err(InputRefused::Full);
        }
        drop(state);
        self.ring();
        Ok(())
    }

    fn recall_inputs(&self, batch: &Arc<InputBatch>, locks: bool) {
        if let Some(inputs) = self.state().inputs.as_mut() {
            inputs.recall(Some(batch), locks, None);
        }
    }

    fn via(&self) -> &[DeviceId] {
        &self.via
    }

    fn activity(&self) -> Activity {
        let time = |millis: &AtomicI64| match millis.load(Ordering::Relaxed) {
            0 => None,
            millis => Some(Timestamp::from_millis(millis)),
        };
        Activity { connection_changed: time(&self.connected), last: time(&self.last_active) }
    }
}

/// Why a session that does not read its deliveries ends.
pub(crate) fn too_far_behind() -> Refusal {
    Refusal::new(
        ErrorCode::DeviceThrottlingLimitExceeded,
        "the device does not read what it subscribed to; it will read its twin again after reconnecting",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn desired(version: u64) -> Delivery {
        Delivery::DesiredProperties { version, patch: "{}".into() }
    }

    #[test]
    fn is_bounded_and_gives_back_what_does_not_fit() {
        let mailbox = SessionMailbox::default();
        for version in 0..WAITING_MAX as u64 {
            mailbox.deliver(desired(version)).unwrap();
        }
        assert!(matches!(mailbox.deliver(desired(99)), Err(Delivery::DesiredProperties { version: 99, .. })));
        assert!(matches!(mailbox.take(), Some(Delivery::DesiredProperties { version: 0, .. })));
        mailbox.deliver(desired(99)).unwrap();
    }

    #[test]
    fn the_first_reason_of_the_end_stands_and_nothing_follows() {
        let mailbox = SessionMailbox::default();
        mailbox.deliver(desired(1)).unwrap();
        mailbox.close(Refusal::new(ErrorCode::DeviceDisabled, "one"));
        mailbox.close(Refusal::new(ErrorCode::DeviceNotFound, "two"));
        assert!(mailbox.deliver(desired(2)).is_err());
        let Some(Delivery::Closed(why)) = mailbox.take() else { panic!("not closed") };
        assert_eq!(why.code, ErrorCode::DeviceDisabled);
    }
}
