//! Messages to the inputs of modules: handed to a session, locked until they are settled.
//!
//! One call of [`Hub::deliver_inputs`](crate::Hub::deliver_inputs) is one [`InputBatch`]. The session's mailbox keeps the
//! locks, so that they end with the session, and tells the batch about each through its [`Receipt`].

use crate::hub::Core;
use crate::operation::{LockToken, LockedMessage, Settlement};
use crate::seams::{InputRefused, Mailbox, Routed};
use bytestring::ByteString;
use ironbrook_model::{Identity, Timestamp};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// Messages to inputs that a session may have unsettled, all its inputs together.
pub const INPUTS_UNSETTLED_MAX: usize = 64;
/// Their bytes, by [`Message::metered_len`](ironbrook_model::Message::metered_len); a message alone may be larger.
pub const INPUTS_UNSETTLED_BYTES_MAX: usize = 1 << 20;

/// What became of messages to an input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputOutcome {
    /// For each message `Complete` or `Reject` where the module said so. Never to be sent again.
    pub settled: Vec<Option<Settlement>>,
    /// Why the others are not settled; `None` where all are.
    pub stopped: Option<InputStop>,
}

/// Why messages to an input stay unsettled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InputStop {
    /// The module has no session.
    NotConnected,
    /// Its session does not take inputs (any more).
    NotSubscribed,
    /// The session, or its link for inputs, ended meanwhile. Says nothing about any message.
    SessionEnded,
    /// The module itself gave the message of this index back.
    Abandoned(usize),
    /// The module settled nothing for [`Limits::input_ack_timeout`](crate::Limits::input_ack_timeout).
    TimedOut,
}

impl std::fmt::Display for InputStop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::NotConnected => "the module is not connected",
            Self::NotSubscribed => "the module does not take inputs",
            Self::SessionEnded => "the module's connection ended",
            Self::Abandoned(_) => "the module gave a message back",
            Self::TimedOut => "the module did not settle a message in time",
        })
    }
}

/// The messages of one call. Opaque: mailboxes tell it through receipts.
#[derive(Debug)]
pub struct InputBatch {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug)]
struct State {
    settled: Vec<Option<Settlement>>,
    in_flight: usize,
    /// Grows with each settlement.
    progress: u64,
    stopped: Option<InputStop>,
}

impl InputBatch {
    fn new(len: usize) -> Arc<Self> {
        let state = State { settled: vec![None; len], in_flight: 0, progress: 0, stopped: None };
        Arc::new(Self { state: Mutex::new(state), changed: Notify::new() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No code under this lock can leave the state half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// There may be room again.
    pub(crate) fn wake(&self) {
        self.changed.notify_one();
    }

    fn stop(&self, why: InputStop) {
        // The first reason stands.
        self.state().stopped.get_or_insert(why);
    }
}

/// The link of a message's lock to its batch.
#[derive(Debug)]
pub struct Receipt {
    pub(crate) batch: Arc<InputBatch>,
    index: usize,
}

impl Receipt {
    /// The message was taken over.
    pub(crate) fn accepted(&self) {
        self.batch.state().in_flight += 1;
    }

    /// The module settled the message.
    pub(crate) fn settle(self, settlement: Settlement) {
        let mut state = self.batch.state();
        state.in_flight -= 1;
        state.progress += 1;
        match settlement {
            Settlement::Complete | Settlement::Reject => state.settled[self.index] = Some(settlement),
            Settlement::Abandon => _ = state.stopped.get_or_insert(InputStop::Abandoned(self.index)),
            // Not the module's word: its link or connection went before it could say anything.
            Settlement::Release => _ = state.stopped.get_or_insert(InputStop::SessionEnded),
        }
        drop(state);
        self.batch.wake();
    }

    /// The message will not be settled by this session.
    pub(crate) fn end(self, why: Option<InputStop>) {
        let mut state = self.batch.state();
        state.in_flight -= 1;
        if let Some(why) = why {
            state.stopped.get_or_insert(why);
        }
        drop(state);
        self.batch.wake();
    }
}

/// Takes everything back that is still out when the call ends, however it ends.
struct Out {
    batch: Arc<InputBatch>,
    mailbox: Arc<dyn Mailbox>,
}

impl Drop for Out {
    fn drop(&mut self) {
        self.mailbox.recall_inputs(&self.batch, true);
    }
}

/// Delivers messages in order; see [`Hub::deliver_inputs`](crate::Hub::deliver_inputs).
pub(crate) async fn deliver(core: &Core, to: &Identity, input: &str, messages: &[Routed]) -> InputOutcome {
    let batch = InputBatch::new(messages.len());
    match core.seams.fabric.find(to) {
        None => batch.stop(InputStop::NotConnected),
        Some((_, mailbox)) => run(core, &Out { batch: batch.clone(), mailbox }, input, messages).await,
    }
    let state = batch.state();
    let settled = state.settled.clone();
    let stopped = state.stopped.filter(|_| settled.iter().any(Option::is_none));
    InputOutcome { settled, stopped }
}

async fn run(core: &Core, out: &Out, input: &str, messages: &[Routed]) {
    let (batch, clock) = (&out.batch, &core.seams.clock);
    let input = ByteString::from(input);
    let mut next = 0;
    let mut progress = 0;
    let mut deadline = clock.now().plus(core.limits.input_ack_timeout);
    loop {
        hand_over(out, &input, messages, &mut next);
        let (in_flight, made) = {
            let state = batch.state();
            if state.in_flight == 0 && (state.stopped.is_some() || next == messages.len()) {
                return;
            }
            (state.in_flight, state.progress)
        };
        // A module that settles one after the other is alive, however many wait behind.
        if made != progress || in_flight == 0 {
            progress = made;
            deadline = clock.now().plus(core.limits.input_ack_timeout);
        }
        tokio::select! {
            biased;
            () = batch.changed.notified() => {}
            () = wait(core, deadline), if in_flight > 0 => {
                batch.stop(InputStop::TimedOut);
                out.mailbox.recall_inputs(batch, true);
            }
        }
    }
}

/// Hands over what there is room for; after a stop nothing more, and what the session did not get yet is taken back.
fn hand_over(out: &Out, input: &ByteString, messages: &[Routed], next: &mut usize) {
    if out.batch.state().stopped.is_some() {
        return out.mailbox.recall_inputs(&out.batch, false);
    }
    while let Some(routed) = messages.get(*next) {
        let receipt = Receipt { batch: out.batch.clone(), index: *next };
        match out.mailbox.deliver_input(input, locked(routed), receipt) {
            Ok(()) => *next += 1,
            Err(InputRefused::Full) => return,
            Err(InputRefused::NotSubscribed) => return out.batch.stop(InputStop::NotSubscribed),
            Err(InputRefused::Ended) => return out.batch.stop(InputStop::SessionEnded),
        }
    }
}

fn locked(routed: &Routed) -> LockedMessage {
    LockedMessage {
        lock: LockToken(uuid::Uuid::new_v4()),
        sequence_number: routed.offset.0,
        enqueued: routed.enqueued,
        delivery_count: 0,
        message: routed.message.clone(),
    }
}

async fn wait(core: &Core, until: Timestamp) {
    core.seams.clock.sleep_until(until).await;
}

#[cfg(test)]
mod tests;
