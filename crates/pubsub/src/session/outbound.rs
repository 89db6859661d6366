//! What goes to the client.
//!
//! Messages of QoS 1 and 2 stand in one line in the order they came, each with a number that no other of the session ever
//! has. The packet identifier follows from the number, so it needs no table, and after a restart the same message has the
//! same identifier again, although no record says so. A cursor runs along the line; what it has passed is under way until
//! it is answered. At a new connection the cursor goes back to the start: that is redelivery in order ([MQTT-4.4.0-1]).
//!
//! Messages of QoS 0 stand in a line of their own, so that a closed window does not stop them; each remembers which number
//! came next when it arrived, so that while the window is open all go out in the order they came.

pub(crate) use super::outgoing::State;
pub use super::outgoing::{Delivery, Link, Outgoing, OutgoingPublish, Pushed, Sealed, Step};

use super::publish_len;
use crate::{Message, QoS, Reason};
use ironbrook_model::Timestamp;
use std::collections::VecDeque;
use std::num::NonZeroU16;

/// Packet identifiers there are.
const PACKET_IDS: u64 = u16::MAX as u64;

/// Numbers that may be missing between two messages read back: those under way and answered out of order.
const RESTORED_GAP_MAX: u64 = 2 * PACKET_IDS;

#[derive(Debug)]
struct Slot {
    /// `None` once it is of no use.
    delivery: Option<Delivery>,
    state: State,
    qos: QoS,
}

/// The queue of one session. Empty it takes no memory but its own.
#[derive(Debug, Default)]
pub struct Outbound {
    /// Number of the first slot.
    first: u64,
    line: VecDeque<Slot>,
    /// Number of the next slot to look at.
    cursor: u64,
    /// Numbers below this may have been sent, on this connection or an earlier one.
    sent: u64,
    plain: VecDeque<(u64, Delivery)>,
    under_way: u16,
    /// Messages held, and their bytes.
    held: usize,
    bytes: usize,
    /// No message held expires before this.
    expires: Option<Timestamp>,
    /// Whether a journal wants to know which numbers are done.
    pub(crate) tracked: bool,
    /// Numbers done since the last [`settled`](Self::settled).
    settled: Vec<u64>,
    /// Left out because they expired, or were too large for the client, since [`take`](Self::take) was last asked.
    pub expired: u64,
    /// See there.
    pub oversize: u64,
}

/// The identifier of the message with a number.
fn packet_id(number: u64) -> NonZeroU16 {
    u16::try_from(number % PACKET_IDS + 1).ok().and_then(NonZeroU16::new).unwrap_or(NonZeroU16::MIN)
}

impl Outbound {
    /// The number the next message of QoS 1 or 2 will get.
    pub fn next_number(&self) -> u64 {
        self.first + self.line.len() as u64
    }

    /// Messages held.
    pub fn len(&self) -> usize {
        self.held
    }

    /// Whether nothing waits or is under way.
    pub fn is_empty(&self) -> bool {
        self.line.is_empty() && self.plain.is_empty()
    }

    /// Whether a message of some size would be too much. One larger than the whole bound passes alone, or it never would.
    pub fn is_full(&self, size: usize, messages_max: usize, bytes_max: usize) -> bool {
        self.held >= messages_max || (self.held > 0 && self.bytes + size > bytes_max)
    }

    /// Puts a message at the end of its line.
    pub fn push(&mut self, delivery: Delivery, messages_max: usize, bytes_max: usize) -> Pushed {
        let size = delivery.message.size();
        if self.is_full(size, messages_max, bytes_max) {
            return Pushed::Full;
        }
        self.held += 1;
        self.bytes += size;
        self.expires = earlier(self.expires, delivery.message.expires);
        let number = self.next_number();
        if delivery.qos == QoS::AtMostOnce {
            self.plain.push_back((number, delivery));
            return Pushed::Plain;
        }
        let qos = delivery.qos;
        self.line.push_back(Slot { delivery: Some(delivery), state: State::Waiting, qos });
        Pushed::Numbered(number)
    }

    /// Lets go of messages that expired waiting, where a full queue makes that worth a look at all of them.
    pub fn drop_expired(&mut self, now: Timestamp) {
        if self.expires.is_none_or(|expires| expires > now) {
            return;
        }
        let expired = |slot: &Slot| {
            slot.state == State::Waiting
                && slot.delivery.as_ref().is_some_and(|delivery| delivery.message.is_expired(now))
        };
        let slots = self.line.iter().zip(self.first..).filter(|(slot, _)| expired(slot));
        let numbers: Vec<u64> = slots.map(|(_, number)| number).collect();
        self.expired += numbers.len() as u64;
        numbers.into_iter().for_each(|number| self.finish(number));
        let (held, bytes) = (&mut self.held, &mut self.bytes);
        let gone = &mut self.expired;
        self.plain.retain(|(_, delivery)| {
            let keeps = !delivery.message.is_expired(now);
            if !keeps {
                *held -= 1;
                *bytes -= delivery.message.size();
                *gone += 1;
            }
            keeps
        });
        let waiting = self.line.iter().filter(|slot| slot.state == State::Waiting);
        let held = waiting.filter_map(|slot| slot.delivery.as_ref());
        let held = held.chain(self.plain.iter().map(|(_, delivery)| delivery));
        self.expires = held.filter_map(|delivery| delivery.message.expires).min();
    }

    /// Takes back the message that was pushed last, which nobody has seen yet.
    pub(crate) fn unpush(&mut self, number: u64) {
        let unseen = number + 1 == self.next_number() && self.cursor <= number;
        let last = if unseen { self.line.pop_back() } else { None };
        if let Some(delivery) = last.and_then(|slot| slot.delivery) {
            self.held -= 1;
            self.bytes -= delivery.message.size();
        }
    }

    /// A new connection: what was under way comes again, first and in order; QoS 0 of the old connection goes.
    pub fn connected(&mut self) {
        self.cursor = self.first;
        self.under_way = 0;
    }

    /// The connection is gone: messages of QoS 0 are for connected clients only.
    pub fn disconnected(&mut self) {
        for (_, delivery) in std::mem::take(&mut self.plain) {
            self.held -= 1;
            self.bytes -= delivery.message.size();
        }
    }

    /// Hands out packets to send, at most `max` at a time. True if there was more that could go now.
    pub fn take(
        &mut self,
        link: &mut Link,
        now: Timestamp,
        sealed: Sealed,
        max: usize,
        out: &mut Vec<Outgoing>,
    ) -> bool {
        let end = out.len() + max;
        loop {
            let number = self.skip_done();
            let ready = self.is_ready(number, link.window, sealed);
            let plain = self.plain.front().is_some_and(|(before, delivery)| {
                (!ready || *before <= number) && is_shown(delivery, sealed)
            });
            if !plain && !ready {
                return false;
            }
            if out.len() >= end {
                return true;
            }
            if plain {
                out.extend(self.next_plain(link, now));
            } else {
                out.extend(self.next_numbered(number, link, now));
            }
        }
    }

    /// The number of the first slot from the cursor on that is not done.
    fn skip_done(&mut self) -> u64 {
        while self.slot(self.cursor).is_some_and(|slot| slot.state == State::Done) {
            self.cursor += 1;
        }
        self.cursor
    }

    fn is_ready(&self, number: u64, window: u16, sealed: Sealed) -> bool {
        let Some(slot) = self.slot(number) else { return false };
        // An old message that is not answered holds its identifier.
        self.under_way < window
            && number - self.first < PACKET_IDS
            && slot.delivery.as_ref().is_none_or(|delivery| is_shown(delivery, sealed))
    }

    fn next_plain(&mut self, link: &mut Link, now: Timestamp) -> Option<Outgoing> {
        let (_, delivery) = self.plain.pop_front()?;
        self.held -= 1;
        self.bytes -= delivery.message.size();
        if self.plain.is_empty() {
            // An idle client keeps no memory of its last burst.
            self.plain = VecDeque::new();
        }
        if self.unfit(&delivery, link, now, true) {
            return None;
        }
        let (expiry, alias) = (left(&delivery.message, now), link.alias(&delivery.message.topic));
        let Delivery { message, qos, retain, ids, .. } = delivery;
        let publish =
            OutgoingPublish { message, qos, retain, dup: false, packet_id: None, expiry, alias, ids };
        Some(Outgoing::Publish(publish))
    }

    fn next_numbered(&mut self, number: u64, link: &mut Link, now: Timestamp) -> Option<Outgoing> {
        self.cursor = number + 1;
        self.sent = self.sent.max(self.cursor);
        let slot = self.slot(number)?;
        let (id, state) = (packet_id(number), slot.state);
        let Some(delivery) = slot.delivery.clone() else {
            self.under_way += 1;
            return Some(Outgoing::PubRel(id));
        };
        // What may have been sent is sent again even if it expired: the handshake has to end.
        if self.unfit(&delivery, link, now, state == State::Waiting) {
            self.finish(number);
            return None;
        }
        self.under_way += 1;
        self.slot_mut(number)?.state = State::Sent;
        let (expiry, alias) = (left(&delivery.message, now), link.alias(&delivery.message.topic));
        let Delivery { message, qos, retain, ids, .. } = delivery;
        let dup = state == State::Sent;
        let publish = OutgoingPublish { message, qos, retain, dup, packet_id: Some(id), expiry, alias, ids };
        Some(Outgoing::Publish(publish))
    }

    /// Whether a message cannot go: expired ([MQTT-3.3.2-5] of 5.0), or too large ([MQTT-3.1.2-24], [MQTT-3.1.2-25]).
    fn unfit(&mut self, delivery: &Delivery, link: &Link, now: Timestamp, expires: bool) -> bool {
        if expires && delivery.message.is_expired(now) {
            self.expired += 1;
            return true;
        }
        let has_id = delivery.qos > QoS::AtMostOnce;
        // 4 bytes more for the alias that may go with the name.
        let oversize = link.maximum_packet < usize::MAX
            && publish_len(link.version, &delivery.message, has_id, &delivery.ids) + 4 > link.maximum_packet;
        self.oversize += u64::from(oversize);
        oversize
    }

    /// PUBACK.
    pub fn puback(&mut self, id: NonZeroU16) -> Result<Step, Reason> {
        self.answer(id, QoS::AtLeastOnce, &[State::Sent])
    }

    /// PUBREC; `failed` for a reason code of 0x80 or above.
    pub fn pubrec(&mut self, id: NonZeroU16, failed: bool) -> Result<Step, Reason> {
        let cursor = self.cursor;
        let number =
            self.number(id).filter(|number| *number < cursor).ok_or(Reason::PacketIdentifierNotFound)?;
        let slot = self.slot_mut(number).ok_or(Reason::PacketIdentifierNotFound)?;
        match slot.state {
            State::Released => return Ok(Step::Released(number)),
            State::Sent if slot.qos == QoS::ExactlyOnce => {}
            _ => return Err(Reason::PacketIdentifierNotFound),
        }
        if failed {
            self.finish(number);
            self.under_way = self.under_way.saturating_sub(1);
            return Ok(Step::Done(number));
        }
        self.release(number);
        Ok(Step::Released(number))
    }

    /// PUBCOMP.
    pub fn pubcomp(&mut self, id: NonZeroU16) -> Result<Step, Reason> {
        self.answer(id, QoS::ExactlyOnce, &[State::Released])
    }

    fn answer(&mut self, id: NonZeroU16, qos: QoS, states: &[State]) -> Result<Step, Reason> {
        let number = self.number(id).ok_or(Reason::PacketIdentifierNotFound)?;
        let fits = self.slot(number).is_some_and(|slot| slot.qos == qos && states.contains(&slot.state));
        // Only what the cursor has passed on this connection counts as under way.
        if !fits || number >= self.cursor {
            return Err(Reason::PacketIdentifierNotFound);
        }
        self.finish(number);
        self.under_way = self.under_way.saturating_sub(1);
        Ok(Step::Done(number))
    }

    /// The number an identifier stands for now: there are fewer slots passed than identifiers.
    fn number(&self, id: NonZeroU16) -> Option<u64> {
        let (wanted, first) = (u64::from(id.get() - 1), self.first % PACKET_IDS);
        let number = self.first + (wanted + PACKET_IDS - first) % PACKET_IDS;
        (number < self.next_number()).then_some(number)
    }

    fn slot(&self, number: u64) -> Option<&Slot> {
        self.line.get(usize::try_from(number.checked_sub(self.first)?).ok()?)
    }

    fn slot_mut(&mut self, number: u64) -> Option<&mut Slot> {
        self.line.get_mut(usize::try_from(number.checked_sub(self.first)?).ok()?)
    }

    /// PUBREC came: the message itself is of no use any more.
    pub(crate) fn release(&mut self, number: u64) {
        let Some(slot) = self.slot_mut(number) else { return };
        slot.state = State::Released;
        if let Some(delivery) = slot.delivery.take() {
            self.held -= 1;
            self.bytes -= delivery.message.size();
        }
    }

    /// A message is done with, and whatever is done at the start of the line goes.
    pub(crate) fn finish(&mut self, number: u64) {
        let Some(slot) = self.slot_mut(number).filter(|slot| slot.state != State::Done) else { return };
        slot.state = State::Done;
        if let Some(delivery) = slot.delivery.take() {
            self.held -= 1;
            self.bytes -= delivery.message.size();
        }
        if self.tracked {
            self.settled.push(number);
        }
        while self.line.front().is_some_and(|slot| slot.state == State::Done) {
            self.line.pop_front();
            self.first += 1;
        }
        self.cursor = self.cursor.max(self.first);
        if self.line.is_empty() {
            self.line = VecDeque::new();
        }
    }

    /// The numbers done since this was last asked.
    pub(crate) fn settled(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.settled)
    }

    /// Gives numbers back that could not be written down.
    pub(crate) fn unsettled(&mut self, numbers: Vec<u64>) {
        self.settled.extend(numbers);
    }

    /// What is in the line, for the journal: number, state, QoS, message.
    pub(crate) fn line(&self) -> impl Iterator<Item = (u64, State, QoS, Option<&Delivery>)> {
        self.line
            .iter()
            .zip(self.first..)
            .filter(|(slot, _)| slot.state != State::Done)
            .map(|(slot, number)| (number, slot.state, slot.qos, slot.delivery.as_ref()))
    }

    /// Puts a message read back from disk at its number; numbers in between are done. False if that is in the past.
    pub(crate) fn restore(
        &mut self,
        number: u64,
        state: State,
        qos: QoS,
        delivery: Option<Delivery>,
    ) -> bool {
        if self.line.is_empty() && number >= self.first {
            self.first = number;
            self.cursor = number;
        }
        if number < self.next_number() || number - self.next_number() > RESTORED_GAP_MAX {
            return false;
        }
        while self.next_number() < number {
            self.line.push_back(Slot { delivery: None, state: State::Done, qos });
        }
        if let Some(delivery) = &delivery {
            self.held += 1;
            self.bytes += delivery.message.size();
            self.expires = earlier(self.expires, delivery.message.expires);
        }
        self.line.push_back(Slot { delivery, state, qos });
        true
    }

    /// Numbers below this may have been sent.
    pub(crate) fn sent(&self) -> u64 {
        self.sent
    }

    /// The same, read back from disk.
    pub(crate) fn restore_sent(&mut self, sent: u64) {
        self.sent = self.sent.max(sent);
        let below = self.line.iter_mut().zip(self.first..).filter(|(_, number)| *number < sent);
        for (slot, _) in below.filter(|(slot, _)| slot.state == State::Waiting) {
            slot.state = State::Sent;
        }
    }

    /// Sets the next number of an empty line read back from disk.
    pub(crate) fn restore_next(&mut self, number: u64) {
        if self.line.is_empty() && number > self.first {
            self.first = number;
            self.cursor = number;
        }
    }

    /// All is read back. Nobody knows what was sent to a client that was connected: the first messages may have been.
    pub(crate) fn restored(&mut self, maybe_sent: Option<u16>) {
        let alive = self.line.iter_mut().filter(|slot| slot.state != State::Done);
        let alive = alive.take(maybe_sent.unwrap_or_default().into());
        for slot in alive.filter(|slot| slot.state == State::Waiting) {
            slot.state = State::Sent;
        }
        self.tracked = true;
    }
}

fn earlier(one: Option<Timestamp>, other: Option<Timestamp>) -> Option<Timestamp> {
    [one, other].into_iter().flatten().min()
}

fn is_shown(delivery: &Delivery, sealed: Sealed) -> bool {
    !delivery.gated || delivery.message.stored.as_ref().is_none_or(|stored| stored.is_before(sealed.0))
}

/// Whole seconds that are left ([MQTT-3.3.2-6] of 5.0).
fn left(message: &Message, now: Timestamp) -> Option<u32> {
    message.expires.map(|expires| {
        let left = expires.since(now);
        u32::try_from(left.as_millis().div_ceil(1000)).unwrap_or(u32::MAX)
    })
}
