//! One link of a session.

use super::super::{Attach, ReceiverSettleMode, Role, SenderSettleMode};
use bytes::{Bytes, BytesMut};
use bytestring::ByteString;
use std::collections::VecDeque;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LinkState {
    /// The peer attached; our user has not decided.
    Requested,
    /// We attached; the peer has not answered.
    Attaching,
    Attached,
    /// We detached; the peer has not answered. All that comes is ignored.
    Detaching,
}

/// A delivery to be sent.
#[derive(Debug, Clone)]
pub struct Outgoing {
    /// Up to 32 bytes, unique among the link's unsettled deliveries.
    pub tag: Bytes,
    /// The message format; 0 for an ordinary message.
    pub format: u32,
    /// Sent settled: nothing will be heard of it. The link's mode overrides it.
    pub settled: bool,
    /// The encoded message.
    pub payload: Bytes,
}

/// A delivery of which more frames are to come.
pub(super) struct Partial {
    pub id: u32,
    pub tag: Bytes,
    pub format: u32,
    pub settled: bool,
    pub payload: BytesMut,
}

pub(super) struct Link {
    pub serial: u32,
    pub name: ByteString,
    /// Ours.
    pub role: Role,
    pub state: LinkState,
    pub remote_handle: Option<u32>,
    pub snd_settle_mode: SenderSettleMode,
    /// Deliveries so far, as both ends count them.
    pub delivery_count: u32,
    /// How many more may come (receiver) or go (sender).
    pub credit: u32,
    /// Sender: what waits for credit or window.
    pub queue: VecDeque<Outgoing>,
    /// Sender: the peer wants its credit used up.
    pub drain: bool,
    /// Receiver: what has begun.
    pub partial: Option<Partial>,
    /// The longest message this link takes or may send.
    pub max_message_size: u64,
    /// The peer's attach while our user decides.
    pub request: Option<Box<Attach>>,
}

impl Link {
    pub(super) fn new(serial: u32, name: &str, role: Role, state: LinkState) -> Self {
        Self {
            serial,
            // Copied: a shared slice would keep the whole read buffer alive as long as the link.
            name: ByteString::from(name),
            role,
            state,
            remote_handle: None,
            snd_settle_mode: SenderSettleMode::Mixed,
            delivery_count: 0,
            credit: 0,
            queue: VecDeque::new(),
            drain: false,
            partial: None,
            max_message_size: u64::MAX,
            request: None,
        }
    }

    /// How a delivery of ours is sent under the link's mode.
    pub(super) fn settles(&self, wish: bool) -> bool {
        match self.snd_settle_mode {
            SenderSettleMode::Settled => true,
            SenderSettleMode::Unsettled => false,
            SenderSettleMode::Mixed => wish,
        }
    }
}

/// What an attach says where the user has no wish of his own.
pub(super) fn attach(name: ByteString, handle: u32, role: Role) -> Attach {
    Attach {
        name,
        handle,
        role,
        snd_settle_mode: SenderSettleMode::Mixed,
        rcv_settle_mode: ReceiverSettleMode::First,
        source: None,
        target: None,
        incomplete_unsettled: false,
        initial_delivery_count: (role == Role::Sender).then_some(0),
        max_message_size: None,
        offered_capabilities: Vec::new(),
        desired_capabilities: Vec::new(),
        properties: Vec::new(),
    }
}
