//! What goes to the client.
//!
//! Messages of QoS 1 and 2 stand in one line in the order they came, each with a number that no other of the session ever
//! has. The packet identifier follows from the number, so it needs no table, and after a restart the same message has the
//! same identifier again, although no record says so. A cursor runs along the line; what it has passed is under way until
//! it is answered. At a new connection the cursor goes back to the start: that is redelivery in order ([MQTT-4.4.0-1]).
//! What is done stays in the line until it is at its start or the line is half done: so the line is never much longer than
//! what is held, however long its first message waits.
//!
//! Messages of QoS 0 stand in a line of their own, so that a closed window does not stop them; each remembers which number
//! came next when it arrived, so that while the window is open all go out in the order they came. Where the queue is full
//! they make room for those of QoS 1 and 2.

mod restore;

pub(crate) use super::outgoing::State;
pub use super::outgoing::{Delivery, Link, Outgoing, OutgoingPublish, Pushed, Sealed, Step};

use super::publish_len;
use crate::topic::Turn;
use crate::{Message, QoS, Reason};
use ironbrook_model::Timestamp;
use std::collections::VecDeque;
use std::num::NonZeroU16;
use std::sync::Arc;

/// Packet identifiers there are.
const PACKET_IDS: u64 = u16::MAX as u64;

/// Done slots that the line is not gone through for.
const DONE_KEPT: usize = 64;
/// Places that an empty line may keep: a busy client's is filled and emptied many times a second.
const EMPTY_KEPT: usize = 32;

/// Bytes of payloads handed out at a time, so that what a door has to write at once does not grow with the size of messages.
const TAKE_BYTES: usize = 256 * 1024;

#[derive(Debug)]
struct Slot {
    /// Higher than those before it, but not always by one.
    number: u64,
    /// `None` once it is of no use.
    delivery: Option<Delivery>,
    state: State,
    qos: QoS,
}

/// The queue of one session. Empty it takes no memory but its own.
#[derive(Debug, Default)]
pub struct Outbound {
    line: VecDeque<Slot>,
    /// Number of the next slot.
    next: u64,
    /// Slots of the line that are done.
    done: usize,
    /// Number of the next slot to look at.
    cursor: u64,
    /// Numbers below this may have been sent, on this connection or an earlier one.
    sent: u64,
    plain: VecDeque<(u64, Delivery)>,
    plain_bytes: usize,
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
    /// Left out because they expired, since who counts them last looked.
    pub expired: u64,
    /// The same for those that were too large for the client, and those of QoS 0 that made room for others.
    pub left_out: u64,
}

/// The identifier of the message with a number.
fn packet_id(number: u64) -> NonZeroU16 {
    u16::try_from(number % PACKET_IDS + 1).ok().and_then(NonZeroU16::new).unwrap_or(NonZeroU16::MIN)
}

impl Outbound {
    /// The number the next message of QoS 1 or 2 will get.
    pub fn next_number(&self) -> u64 {
        self.next
    }

    /// Messages held.
    pub fn len(&self) -> usize {
        self.held
    }

    /// Whether nothing waits or is under way.
    pub fn is_empty(&self) -> bool {
        self.line.is_empty() && self.plain.is_empty()
    }

    /// Whether there is room for a message. One larger than the whole bound passes alone, or it never would.
    pub fn has_room(&self, qos: QoS, size: usize, messages_max: usize, bytes_max: usize) -> bool {
        let (mut held, mut bytes) = (self.held, self.bytes);
        if qos > QoS::AtMostOnce {
            // Those of QoS 0 would go.
            held -= self.plain.len();
            bytes -= self.plain_bytes;
        }
        held < messages_max && (held == 0 || bytes + size <= bytes_max)
    }

    /// Puts a message at the end of its line. One of QoS 1 or 2 drives out the oldest of QoS 0 where there is no room else.
    pub fn push(&mut self, delivery: Delivery, messages_max: usize, bytes_max: usize) -> Pushed {
        let size = delivery.message.size();
        if !self.has_room(delivery.qos, size, messages_max, bytes_max) {
            return Pushed::Full;
        }
        while !self.has_room(QoS::AtMostOnce, size, messages_max, bytes_max) && self.drop_plain() {
            self.left_out += 1;
        }
        self.held += 1;
        self.bytes += size;
        self.expires = earlier(self.expires, delivery.message.expires);
        let number = self.next;
        if delivery.qos == QoS::AtMostOnce {
            self.plain.push_back((number, delivery));
            self.plain_bytes += size;
            return Pushed::Plain;
        }
        let qos = delivery.qos;
        self.line.push_back(Slot { number, delivery: Some(delivery), state: State::Waiting, qos });
        self.next += 1;
        Pushed::Numbered(number)
    }

    fn pop_plain(&mut self) -> Option<Delivery> {
        let (_, delivery) = self.plain.pop_front()?;
        let size = delivery.message.size();
        self.held -= 1;
        self.bytes -= size;
        self.plain_bytes -= size;
        if self.plain.is_empty() && self.plain.capacity() > EMPTY_KEPT {
            // An idle client keeps no memory of its last burst.
            self.plain = VecDeque::new();
        }
        Some(delivery)
    }

    fn drop_plain(&mut self) -> bool {
        self.pop_plain().is_some()
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
        let numbers: Vec<u64> =
            self.line.iter().filter(|slot| expired(slot)).map(|slot| slot.number).collect();
        self.expired += numbers.len() as u64;
        numbers.into_iter().for_each(|number| self.finish(number));
        let (mut gone, mut freed) = (0, 0);
        self.plain.retain(|(_, delivery)| {
            let keeps = !delivery.message.is_expired(now);
            if !keeps {
                gone += 1;
                freed += delivery.message.size();
            }
            keeps
        });
        self.held -= gone;
        self.bytes -= freed;
        self.plain_bytes -= freed;
        self.expired += gone as u64;
        let waiting = self.line.iter().filter(|slot| slot.state == State::Waiting);
        let held = waiting.filter_map(|slot| slot.delivery.as_ref());
        let held = held.chain(self.plain.iter().map(|(_, delivery)| delivery));
        self.expires = held.filter_map(|delivery| delivery.message.expires).min();
    }

    /// Messages drawn in groups that another member may get in its place: those of QoS 1, and of QoS 2 that were never sent
    /// ([MQTT-4.8.2-5]).
    pub(crate) fn orphans(&self) -> impl Iterator<Item = (Arc<Message>, Turn)> + '_ {
        let free = self.line.iter().filter(|slot| match slot.state {
            State::Waiting => true,
            State::Sent => slot.qos == QoS::AtLeastOnce,
            State::Released | State::Done => false,
        });
        let deliveries = free.filter_map(|slot| slot.delivery.as_ref());
        deliveries.filter_map(|delivery| Some((delivery.message.clone(), delivery.group.clone()?)))
    }

    /// Takes back the message that was pushed last, which nobody has seen yet.
    pub(crate) fn unpush(&mut self, number: u64) {
        let unseen = number + 1 == self.next && self.cursor <= number;
        let Some(last) = self.line.pop_back_if(|last| unseen && last.number == number) else { return };
        self.next = number;
        if let Some(delivery) = last.delivery {
            self.held -= 1;
            self.bytes -= delivery.message.size();
        }
    }

    /// A new connection: what was under way comes again, first and in order; QoS 0 of the old connection goes.
    pub fn connected(&mut self) {
        self.cursor = self.first();
        self.under_way = 0;
    }

    /// The connection is gone: messages of QoS 0 are for connected clients only.
    pub fn disconnected(&mut self) {
        while self.drop_plain() {}
    }

    /// Hands out packets to send, at most `max` at a time, and about [`TAKE_BYTES`]. True if there was more that could go now.
    pub fn take(
        &mut self,
        link: &mut Link,
        now: Timestamp,
        sealed: Sealed,
        max: usize,
        out: &mut Vec<Outgoing>,
    ) -> bool {
        let end = out.len() + max;
        let mut bytes = 0;
        loop {
            let number = self.skip_done();
            let ready = self.is_ready(number, link.window, sealed);
            let plain = self.plain.front().is_some_and(|(before, delivery)| {
                (!ready || *before <= number) && is_shown(delivery, sealed)
            });
            if !plain && !ready {
                return false;
            }
            if out.len() >= end || bytes >= TAKE_BYTES {
                return true;
            }
            let next = if plain { self.next_plain(link, now) } else { self.next_numbered(number, link, now) };
            if let Some(Outgoing::Publish(publish)) = &next {
                bytes += publish.message.payload.len();
            }
            out.extend(next);
        }
    }

    /// The number of the first slot from the cursor on that is not done.
    fn skip_done(&mut self) -> u64 {
        let from = self.position(self.cursor);
        let slot = self.line.range(from..).find(|slot| slot.state != State::Done);
        self.cursor = slot.map_or(self.next, |slot| slot.number);
        self.cursor
    }

    fn is_ready(&self, number: u64, window: u16, sealed: Sealed) -> bool {
        let Some(slot) = self.slot(number) else { return false };
        // An old message that is not answered holds its identifier.
        self.under_way < window
            && number - self.first() < PACKET_IDS
            && slot.delivery.as_ref().is_none_or(|delivery| is_shown(delivery, sealed))
    }

    fn next_plain(&mut self, link: &mut Link, now: Timestamp) -> Option<Outgoing> {
        let delivery = self.pop_plain()?;
        let alias = self.fit(&delivery, link, now, true)?;
        let expiry = left(&delivery.message, now);
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
        let Some(alias) = self.fit(&delivery, link, now, state == State::Waiting) else {
            self.finish(number);
            return None;
        };
        self.under_way += 1;
        self.slot_mut(number)?.state = State::Sent;
        let expiry = left(&delivery.message, now);
        let Delivery { message, qos, retain, ids, .. } = delivery;
        let dup = state == State::Sent;
        let publish = OutgoingPublish { message, qos, retain, dup, packet_id: Some(id), expiry, alias, ids };
        Some(Outgoing::Publish(publish))
    }

    /// The alias to send a message with, if it has one; `None` where it cannot go: expired ([MQTT-3.3.2-5] of 5.0), or too
    /// large ([MQTT-3.1.2-24], [MQTT-3.1.2-25]).
    fn fit(
        &mut self,
        delivery: &Delivery,
        link: &mut Link,
        now: Timestamp,
        expires: bool,
    ) -> Option<Option<(u16, bool)>> {
        if expires && delivery.message.is_expired(now) {
            self.expired += 1;
            return None;
        }
        let (topic, has_id) = (&delivery.message.topic, delivery.qos > QoS::AtMostOnce);
        if link.maximum_packet == usize::MAX {
            return Some(link.alias(topic));
        }
        let length = |alias| publish_len(link.version, &delivery.message, has_id, &delivery.ids, alias);
        if link.known(topic).is_some_and(|alias| length(Some(alias)) <= link.maximum_packet) {
            return Some(link.alias(topic));
        }
        // A name too long to be given an alias may still go without one.
        if length(None) <= link.maximum_packet {
            return Some(None);
        }
        self.left_out += 1;
        None
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
        let first = self.first();
        let number = first + (u64::from(id.get() - 1) + PACKET_IDS - first % PACKET_IDS) % PACKET_IDS;
        (number < self.next).then_some(number)
    }

    /// The number of the first slot.
    fn first(&self) -> u64 {
        self.line.front().map_or(self.next, |slot| slot.number)
    }

    /// Where the slot with a number stands, or would.
    fn position(&self, number: u64) -> usize {
        let distance = usize::try_from(number.saturating_sub(self.first())).unwrap_or(usize::MAX);
        // No number missing, this is it; else it is before.
        match self.line.get(distance) {
            Some(slot) if slot.number == number => distance,
            _ => self.line.partition_point(|slot| slot.number < number),
        }
    }

    fn slot(&self, number: u64) -> Option<&Slot> {
        self.line.get(self.position(number)).filter(|slot| slot.number == number)
    }

    fn slot_mut(&mut self, number: u64) -> Option<&mut Slot> {
        let at = self.position(number);
        self.line.get_mut(at).filter(|slot| slot.number == number)
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
        self.done += 1;
        while self.line.pop_front_if(|slot| slot.state == State::Done).is_some() {
            self.done -= 1;
        }
        if self.done > DONE_KEPT && self.done * 2 > self.line.len() {
            self.line.retain(|slot| slot.state != State::Done);
            self.done = 0;
        }
        self.cursor = self.cursor.max(self.first());
        if self.line.is_empty() && self.line.capacity() > EMPTY_KEPT {
            self.line = VecDeque::new();
        }
    }

    /// Slots of the line, done ones too.
    #[cfg(test)]
    pub(super) fn slots(&self) -> usize {
        self.line.len()
    }

    /// How many numbers [`settled`](Self::settled) would give.
    pub(crate) fn settled_len(&self) -> usize {
        self.settled.len()
    }

    /// The numbers done since this was last asked.
    pub(crate) fn settled(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.settled)
    }

    /// Gives numbers back that could not be written down.
    pub(crate) fn unsettled(&mut self, numbers: Vec<u64>) {
        self.settled.extend(numbers);
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
