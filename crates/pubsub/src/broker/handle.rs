//! The session as its connection holds it.

use super::deliver::Route;
use super::slot::{Slot, SlotState};
use super::{Broker, Inner, Wakes};
use crate::acl::Rules;
use crate::journal::{Journal, Record};
use crate::session::{Outgoing, Received, Sealed, Step};
use crate::sys::add;
use crate::{Message, Publish, QoS, Reason, Version};
use ironbrook_model::Timestamp;
use std::num::NonZeroU16;
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard};

/// Names whose subscribers a publisher keeps.
const ROUTES_MAX: usize = 4;
/// Subscribers of a name that are worth keeping; with more of them finding them is the smaller part of the work.
const ROUTE_TARGETS_MAX: usize = 256;
/// Messages in the queue below which owed retained messages are fetched.
const REPLAY_BELOW: usize = 64;

/// The answer to a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Answer {
    /// `None` for plain success. A 3.1.1 client is answered without it.
    pub reason: Option<Reason>,
    /// What has to be [durable](Broker::durable) before the answer may leave.
    pub mark: Option<u64>,
}

/// The session of one connection. Dropping it is losing the connection, will and all.
pub struct SessionHandle {
    pub(super) broker: Broker,
    pub(super) slot: Arc<Slot>,
    epoch: u64,
    rules: Arc<Rules>,
    acl_generation: u64,
    routes: Vec<Route>,
    next_route: usize,
    /// The newest time handed in, for the moment it is dropped.
    now: Timestamp,
    left: bool,
    tally: Tally,
}

/// Counts since the last batch.
#[derive(Default)]
struct Tally {
    received: u64,
    received_bytes: u64,
}

impl SessionHandle {
    pub(super) fn new(
        broker: Broker,
        slot: Arc<Slot>,
        epoch: u64,
        (rules, acl_generation): (Arc<Rules>, u64),
        now: Timestamp,
    ) -> Self {
        Self {
            broker,
            slot,
            epoch,
            rules,
            acl_generation,
            routes: Vec::new(),
            next_route: 0,
            now,
            left: false,
            tally: Tally::default(),
        }
    }

    pub(super) fn inner(&self) -> &Inner {
        &self.broker.inner
    }

    pub(super) fn slot(&self) -> &Slot {
        &self.slot
    }

    pub(super) fn rules(&self) -> &Rules {
        &self.rules
    }

    /// The state, if this connection still owns the session.
    pub(super) fn own(&self) -> Result<MutexGuard<'_, SlotState>, Reason> {
        let state = self.slot.state();
        if state.epoch != self.epoch {
            return Err(state.closed.unwrap_or(Reason::SessionTakenOver));
        }
        match state.closed.filter(|why| *why != Reason::SessionTakenOver) {
            Some(why) => Err(why),
            None => Ok(state),
        }
    }

    /// Looks whether there are new rules; true if there are.
    pub(super) fn refresh_rules(&mut self) -> bool {
        let is_old = self.inner().acl_generation.load(Ordering::Acquire) != self.acl_generation;
        if is_old {
            let user = self.slot.user.clone();
            let found = self.inner().rules_of(user.as_deref(), &self.slot.client_id);
            (self.rules, self.acl_generation) = found;
        }
        is_old
    }

    /// Takes a PUBLISH. With QoS 1 and 2 the answer is PUBACK or PUBREC.
    ///
    /// # Errors
    /// The connection has to end with this reason, but for [`Reason::ServerBusy`]: nothing happened, and the same publish
    /// is to be handed in again after [`Broker::room`].
    pub fn publish(
        &mut self,
        publish: &Publish,
        now: Timestamp,
        wakes: &mut Wakes,
    ) -> Result<Answer, Reason> {
        self.now = now;
        if publish.payload.len() > self.inner().config.payload_bytes_max {
            return Err(Reason::PacketTooLarge);
        }
        let (receive_maximum, aliases) =
            (self.inner().config.receive_maximum, self.inner().config.topic_alias_maximum);
        let received = {
            let mut state = self.own()?;
            // A client of 3.1.1 was told of no maximum: what its identifiers allow is fine.
            let told = state.link.as_ref().is_some_and(|link| link.version == Version::V5);
            let receive_maximum = if told { receive_maximum } else { u16::MAX };
            state.inbound.receive(publish.clone(), receive_maximum, aliases)?
        };
        let Received::New(publish) = received else {
            // Its record may still be on its way to the disk.
            let journal = self.inner().journal.as_ref().filter(|_| self.slot.persistent);
            return Ok(Answer { reason: None, mark: journal.and_then(Journal::last) });
        };
        self.tally.received += 1;
        self.tally.received_bytes += publish.payload.len() as u64;
        let (id, qos) = (publish.packet_id, publish.qos);
        let result = self.pass_on(publish, now, wakes);
        let failed = match &result {
            Ok(answer) => answer.reason.is_some_and(|reason| !reason.is_success()),
            Err(_) => true,
        };
        if let Some(id) = id.filter(|_| failed) {
            let mut state = self.slot.state();
            match qos {
                QoS::ExactlyOnce => state.inbound.refused(id),
                _ if result.is_err() => state.inbound.answered(1),
                _ => {}
            }
        }
        result
    }

    fn pass_on(&mut self, publish: Publish, now: Timestamp, wakes: &mut Wakes) -> Result<Answer, Reason> {
        let at = self.route_of(&publish.topic)?;
        let Some(route) = self.routes.get(at) else { return Err(Reason::ImplementationSpecificError) };
        if !route.allowed {
            return Ok(Answer { reason: Some(Reason::NotAuthorized), mark: None });
        }
        let remembered =
            publish.packet_id.filter(|_| publish.qos == QoS::ExactlyOnce && self.slot.persistent);
        let from = remembered.map(|id| (self.slot.number, id.get()));
        let message = Message::new(publish, now);
        let delivered = self.broker.inner.deliver(message, route, from, now, wakes);
        if route.len() > ROUTE_TARGETS_MAX {
            self.routes.swap_remove(at);
        }
        match delivered {
            Ok(done) => {
                let nobody = (done.receivers == 0).then_some(Reason::NoMatchingSubscribers);
                Ok(Answer { reason: nobody, mark: done.mark })
            }
            Err(reason @ (Reason::QuotaExceeded | Reason::PacketTooLarge)) => {
                Ok(Answer { reason: Some(reason), mark: None })
            }
            Err(reason) => Err(reason),
        }
    }

    /// Where the subscribers of a name are kept, found anew if they changed.
    fn route_of(&mut self, topic: &str) -> Result<usize, Reason> {
        self.refresh_rules();
        let known = self.routes.iter().position(|route| *route.topic == *topic);
        if let Some(at) = known {
            let route = &self.routes[at];
            if route.acl_generation == self.acl_generation && self.inner().index.is_current(route.seen) {
                return Ok(at);
            }
        }
        // [MQTT-3.3.2-2]
        crate::topic::check_name(topic).map_err(|_| Reason::TopicNameInvalid)?;
        let allowed = self.rules.may_publish(topic);
        let mut route = self.inner().route(topic, Some(self.slot.who), allowed);
        route.acl_generation = self.acl_generation;
        let at = match known {
            Some(at) => at,
            None if self.routes.len() < ROUTES_MAX => {
                self.routes.push(route);
                return Ok(self.routes.len() - 1);
            }
            None => {
                self.next_route = (self.next_route + 1) % ROUTES_MAX;
                self.next_route
            }
        };
        match self.routes.get_mut(at) {
            Some(old) => *old = route,
            None => return Err(Reason::ImplementationSpecificError),
        }
        Ok(at)
    }

    /// So many PUBACKs left: the client may send as many more.
    pub fn answered(&mut self, count: u16) {
        if let Ok(mut state) = self.own() {
            state.inbound.answered(count);
        }
    }

    /// PUBREL came; the answer is PUBCOMP.
    ///
    /// # Errors
    /// As [`publish`](Self::publish).
    pub fn pubrel(&mut self, id: NonZeroU16, now: Timestamp) -> Result<Answer, Reason> {
        let mut pen = self.inner().pen().filter(|_| self.slot.persistent);
        let mut state = self.own()?;
        if !state.inbound.release(id) {
            return Ok(Answer { reason: Some(Reason::PacketIdentifierNotFound), mark: None });
        }
        let mut mark = None;
        if let Some(pen) = &mut pen {
            match pen.write(&Record::Freed(self.slot.number, id.get()), now) {
                Ok(offset) => mark = Some(offset),
                Err(reason) => {
                    state.inbound.restore(id.get());
                    return Err(reason);
                }
            }
        }
        Ok(Answer { reason: None, mark })
    }

    /// PUBACK came.
    ///
    /// # Errors
    /// [`Reason::PacketIdentifierNotFound`], which may be passed over; else the connection has to end.
    pub fn puback(&mut self, id: NonZeroU16) -> Result<(), Reason> {
        let mut state = self.own()?;
        let done = state.outbound.puback(id);
        if self.slot.holds_back() {
            // Under the session's lock, as whoever finds it full says so.
            self.inner().held_back.send_if_modified(|held_back| std::mem::replace(held_back, false));
        }
        done.map(|_| ())
    }

    /// PUBACKs came, many at once; those that are not under way are passed over.
    ///
    /// # Errors
    /// The connection has to end.
    pub fn pubacks(&mut self, ids: impl Iterator<Item = NonZeroU16>) -> Result<(), Reason> {
        let mut state = self.own()?;
        for id in ids {
            // Unknown ones may be late.
            let _ = state.outbound.puback(id);
        }
        Ok(())
    }

    /// PUBREC came; `failed` for a reason code of 0x80 or above. The answer is PUBREL, `None` for no answer.
    ///
    /// # Errors
    /// As [`publish`](Self::publish).
    pub fn pubrec(&mut self, id: NonZeroU16, failed: bool, now: Timestamp) -> Result<Option<Answer>, Reason> {
        let mut pen = self.inner().pen().filter(|_| self.slot.persistent);
        let mut state = self.own()?;
        let number = match state.outbound.pubrec(id, failed) {
            // Written down again where it comes again: the first time may have failed.
            Ok(Step::Released(number)) => number,
            Ok(Step::Done(_)) => return Ok(None),
            Err(reason) => return Ok(Some(Answer { reason: Some(reason), mark: None })),
        };
        let mark = match &mut pen {
            // Unwritten, PUBREL must not leave. The client sends PUBREC again on its next connection at the latest.
            Some(pen) => Some(pen.write(&Record::Released(self.slot.number, number), now)?),
            None => None,
        };
        Ok(Some(Answer { reason: None, mark }))
    }

    /// PUBCOMP came.
    ///
    /// # Errors
    /// As [`puback`](Self::puback).
    pub fn pubcomp(&mut self, id: NonZeroU16) -> Result<(), Reason> {
        self.own()?.outbound.pubcomp(id).map(|_| ())
    }

    /// Waits until there may be something to [`take`](Self::take), or to hear of an end. Cancel-safe.
    pub async fn rung(&self) {
        self.slot.rung(self.epoch).await;
    }

    /// Why this connection has to end, if it has to.
    pub fn ended(&self) -> Option<Reason> {
        self.own().err()
    }

    /// Takes packets to send, at most `max` more; true if there are others. To be called at the end of each batch of packets
    /// that came in, as acknowledgements are written down here.
    ///
    /// # Errors
    /// Why the connection is over, but for [`Reason::ServerBusy`]: what is in `out` is to be sent, and this to be called again
    /// after [`Broker::room`].
    pub fn take(&mut self, now: Timestamp, max: usize, out: &mut Vec<Outgoing>) -> Result<bool, Reason> {
        self.now = now;
        self.slot.looking();
        self.count_received();
        let start = out.len();
        let sealed = Sealed(self.inner().journal.as_ref().map_or(u64::MAX, Journal::sealed));
        let mut state = self.own()?;
        let SlotState { outbound, link, .. } = &mut *state;
        let Some(link) = link.as_deref_mut() else { return Err(Reason::SessionTakenOver) };
        let mut more = outbound.take(link, now, sealed, max, out);
        let (expired, left_out) =
            (std::mem::take(&mut outbound.expired), std::mem::take(&mut outbound.left_out));
        let (settled, waiting) = (outbound.settled(), outbound.len());
        let owed = !state.replays.is_empty();
        drop(state);
        add(&self.inner().counters.expired, expired);
        add(&self.inner().counters.dropped, left_out);
        self.count_sent(&out[start..]);
        self.write_settled(settled, now);
        if owed && waiting < REPLAY_BELOW {
            // What this puts into the queue rings the session's own bell; where it found nothing, it is to be called again.
            more |= self.replay(now, &mut Wakes::new())?;
        }
        Ok(more)
    }

    fn count_received(&mut self) {
        let tally = std::mem::take(&mut self.tally);
        add(&self.inner().counters.received, tally.received);
        add(&self.inner().counters.bytes_received, tally.received_bytes);
    }

    fn count_sent(&self, sent: &[Outgoing]) {
        let payloads = sent.iter().filter_map(|outgoing| match outgoing {
            Outgoing::Publish(publish) => Some(publish.message.payload.len() as u64),
            Outgoing::PubRel(_) => None,
        });
        let (count, bytes) = payloads.fold((0, 0), |(count, bytes), payload| (count + 1, bytes + payload));
        add(&self.inner().counters.sent, count);
        add(&self.inner().counters.bytes_sent, bytes);
    }

    /// Unwritten, messages that are done come once more after a crash; so this waits for nothing.
    fn write_settled(&self, settled: Vec<u64>, now: Timestamp) {
        if settled.is_empty() {
            return;
        }
        let Some(mut pen) = self.inner().pen() else { return };
        let record = Record::Settled(self.slot.number, settled);
        if let (Err(Reason::ServerBusy), Record::Settled(_, settled)) = (pen.write(&record, now), record) {
            self.slot.state().outbound.unsettled(settled);
        }
    }

    /// DISCONNECT came, or the door ends the connection. `with_will` publishes the will; `expiry` is a new session expiry of
    /// 5.0.
    ///
    /// # Errors
    /// [`Reason::ProtocolError`] for an expiry where CONNECT had none ([MQTT-3.14.2-2] of 5.0); the connection is lost all the
    /// same.
    pub fn disconnect(mut self, with_will: bool, expiry: Option<u32>, now: Timestamp) -> Result<(), Reason> {
        self.now = now;
        let mut result = Ok(());
        if let (Ok(mut state), Some(expiry)) = (self.own(), expiry) {
            if state.expiry == 0 && expiry > 0 {
                result = Err(Reason::ProtocolError);
            } else {
                let longest = u32::try_from(self.inner().config.session_expiry_max.as_secs());
                state.expiry = expiry.min(longest.unwrap_or(u32::MAX));
            }
        }
        self.leave(with_will || result.is_err());
        result
    }

    fn leave(&mut self, with_will: bool) {
        if !std::mem::replace(&mut self.left, true) {
            self.count_received();
            self.broker.inner.lost(&self.slot, self.epoch, with_will, self.now);
        }
    }
}

impl Drop for SessionHandle {
    fn drop(&mut self) {
        self.leave(true);
    }
}
