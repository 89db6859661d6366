//! Telemetry on its way in: from the packet to the ticket, and to the PUBACK that waits for it.

use super::bell::Bell;
use super::recent::Recent;
use super::unacknowledged::Unacknowledged;
use bytes::Bytes;
use bytestring::ByteString;
use futures_util::future::BoxFuture;
use ironbrook_hub::{Envelope, Hub, Session};
use ironbrook_log::{Ticket, Wait};
use ironbrook_model::{ErrorCode, Message, Refusal};
use ironbrook_wire::mqtt::v4::{PacketId, Repeated, repeated};
use prometheus_client::metrics::counter::Counter;
use std::sync::Arc;
use std::task::{Context, Poll};

/// Telemetry that the hub had no room for.
struct Stalled {
    message: Message,
    id: Option<PacketId>,
    room: BoxFuture<'static, Result<(), Refusal>>,
}

/// See the module.
pub(super) struct Intake {
    hub: Hub,
    session: Arc<Session>,
    recent: Recent,
    pub(super) unacknowledged: Unacknowledged,
    /// What is waited for on disk: all before it leaves with it, and what came since waits for its turn.
    awaited: Option<Ticket>,
    wait: Wait,
    /// Rare, and large.
    stalled: Option<Box<Stalled>>,
    /// Rung where room is to be waited for.
    bell: Arc<Bell>,
    received: Counter,
}

impl Intake {
    pub(super) fn new(hub: Hub, session: Arc<Session>, bell: Arc<Bell>, received: Counter) -> Self {
        let (recent, unacknowledged) = (Recent::default(), Unacknowledged::default());
        Self {
            hub,
            session,
            recent,
            unacknowledged,
            awaited: None,
            wait: Wait::new(),
            stalled: None,
            bell,
            received,
        }
    }

    /// Whether nothing more may be taken for now.
    pub(super) fn is_blocked(&self) -> bool {
        self.stalled.is_some() || self.unacknowledged.is_full()
    }

    /// Takes the messages at the front of what was read that come under the topic of the one before. Returns how many bytes they
    /// have, also where the last of them was refused.
    pub(super) fn take_row(&mut self, bytes: &[u8], packet_max: usize) -> (usize, Result<(), Refusal>) {
        let mut taken = 0;
        let result = self.take_row_of(bytes, packet_max, &mut taken);
        (taken, result)
    }

    fn take_row_of(&mut self, bytes: &[u8], packet_max: usize, taken: &mut usize) -> Result<(), Refusal> {
        let Some((topic, envelope)) = self.recent.get() else { return Ok(()) };
        let next = |taken: usize| repeated(&bytes[taken..], packet_max, topic.as_bytes());
        let Some(mut publish) = next(0) else { return Ok(()) };
        let mut burst = self.hub.burst(&self.session);
        let mut count = 0;
        let result = loop {
            *taken += publish.len;
            match burst.take(envelope, publish.payload) {
                Ok(ticket) => self.unacknowledged.push(publish.packet_id, ticket),
                Err(refusal) => break Err((refusal, publish)),
            }
            count += 1;
            match next(*taken) {
                Some(more) if !self.unacknowledged.is_full() => publish = more,
                _ => break Ok(()),
            }
        };
        drop(burst);
        self.received.inc_by(count);
        match result {
            Err((refusal, Repeated { packet_id, payload, .. })) if is_back_pressure(&refusal) => {
                let message = envelope.message(Bytes::copy_from_slice(payload));
                self.stall(message, packet_id);
                Ok(())
            }
            result => result.map_err(|(refusal, _)| refusal),
        }
    }

    /// The topic of a message that is about to be [offered](Self::offer), to be known when it comes again; `read` reads the
    /// message's properties from it.
    pub(super) fn note_topic(&mut self, topic: &str, read: impl FnOnce(&ByteString) -> Option<Message>) {
        let session = &*self.session;
        self.recent.note(topic, |topic| read(topic).map(|message| Envelope::new(session, message)));
    }

    /// Gives telemetry to the hub, or keeps it until there is room.
    ///
    /// By reference, because a message is large and few are kept.
    pub(super) fn offer(&mut self, message: &mut Message, id: Option<PacketId>) -> Result<(), Refusal> {
        match self.hub.telemetry(&self.session, message) {
            Ok(ticket) => {
                self.received.inc();
                self.unacknowledged.push(id, ticket);
                Ok(())
            }
            Err(refusal) if is_back_pressure(&refusal) => {
                self.stall(std::mem::take(message), id);
                Ok(())
            }
            Err(refusal) => Err(refusal),
        }
    }

    fn stall(&mut self, message: Message, id: Option<PacketId>) {
        let (hub, session) = (self.hub.clone(), self.session.clone());
        let room = Box::pin(async move { hub.room(&session).await });
        self.stalled = Some(Box::new(Stalled { message, id, room }));
        self.bell.ring();
    }

    /// Ready when there was room and the message that waited for it was offered again.
    pub(super) fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Refusal>> {
        let Some(stalled) = &mut self.stalled else { return Poll::Pending };
        let Poll::Ready(result) = stalled.room.as_mut().poll(cx) else { return Poll::Pending };
        let Some(mut stalled) = self.stalled.take() else { return Poll::Pending };
        Poll::Ready(result.and_then(|()| self.offer(&mut stalled.message, stalled.id)))
    }

    /// Waits for the disk where a message does. Ready when more may be acknowledged.
    pub(super) fn poll_durable(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Refusal>> {
        let Some(ticket) = self.unacknowledged.awaited() else { return Poll::Pending };
        let ticket = *self.awaited.get_or_insert(ticket);
        self.session.poll_durable(ticket, &mut self.wait, cx).map_ok(|end| {
            self.awaited = None;
            self.unacknowledged.became_durable(end);
        })
    }
}

/// Whether the same message may be taken later.
fn is_back_pressure(refusal: &Refusal) -> bool {
    refusal.code == ErrorCode::ServerBusy || refusal.code.http_status() == 429
}
