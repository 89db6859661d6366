//! The way of a publish: find who gets it, write it down if it has to be kept, put it into queues.

use super::slot::Slot;
use super::{Inner, Wakes, lock, read, write};
use crate::config::WhenFull;
use crate::journal::{Pen, PublishRef, Record, Retains, Target as Written};
use crate::session::{Delivery, Pushed};
use crate::sys::add;
use crate::topic::{Entry, Group, Ids, Match, Seen, Turn};
use crate::{Message, QoS, Reason};
use bytestring::ByteString;
use ironbrook_model::Timestamp;
use smallvec::SmallVec;
use std::sync::Arc;

/// Numbers of expired messages that are gathered for a session nobody is connected to, before they are written down.
const SETTLED_MAX: usize = 512;

/// A subscriber of a name.
pub(super) struct Target {
    slot: Arc<Slot>,
    qos: QoS,
    retain_as_published: bool,
    ids: Ids,
    group: Option<Turn>,
}

/// The subscribers of a name, as long as [`Seen`] is current.
pub(super) struct Route {
    pub topic: ByteString,
    pub seen: Seen,
    /// Whether the publisher may, and under which rules that was found out.
    pub allowed: bool,
    pub acl_generation: u64,
    publisher: Option<u32>,
    targets: Vec<Target>,
    groups: Vec<Arc<Group>>,
}

impl Route {
    /// How much a publisher that keeps it keeps alive.
    pub fn len(&self) -> usize {
        self.targets.len()
    }
}

/// What became of a publish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Delivered {
    /// Sessions that got it.
    pub receivers: usize,
    /// What has to be durable before it may be acknowledged.
    pub mark: Option<u64>,
}

/// One who is to get this message.
struct Pick<'a> {
    slot: &'a Arc<Slot>,
    qos: QoS,
    retain: bool,
    ids: &'a Ids,
    group: Option<&'a Turn>,
}

type Picks<'a> = SmallVec<[Pick<'a>; 8]>;

impl Inner {
    /// Finds the subscribers of a valid name.
    pub(super) fn route(&self, topic: &str, publisher: Option<u32>, allowed: bool) -> Route {
        let (matches, seen) = self.index.matches(topic, publisher);
        let slots = read(&self.slots);
        let target = |found: Match| {
            let slot = slots.get(&found.who)?.clone();
            let Match { qos, retain_as_published, ids, .. } = found;
            Some(Target { slot, qos, retain_as_published, ids, group: None })
        };
        let targets = matches.direct.into_iter().filter_map(target).collect();
        let (topic, groups) = (ByteString::from(topic), matches.groups);
        Route { topic, seen, allowed, acl_generation: 0, publisher, targets, groups }
    }

    /// One member of each group. Not kept with the route: a group may be large, and one of it is enough.
    fn draw(&self, route: &Route) -> SmallVec<[Target; 1]> {
        route.groups.iter().filter_map(|group| self.draw_one(group)).collect()
    }

    fn draw_one(&self, group: &Group) -> Option<Target> {
        let online = {
            let slots = read(&self.slots);
            group.next(|_, entry| slots.get(&entry.who).is_some_and(|slot| slot.is_online()))
        };
        // Who is connected comes first; else it waits for one who will be, but only if it is worth keeping.
        let keeps = |entry: &Entry| self.slot(entry.who).is_some_and(|slot| slot.state().keeps());
        let at = online.or_else(|| group.next(|_, entry| keeps(entry)))?;
        let entry = group.members().get(at)?;
        let ids = Some(entry.id).filter(|id| *id != 0).into_iter().collect();
        let (qos, retain_as_published) = (entry.qos, entry.retain_as_published);
        let group = Some(group.turn().clone());
        Some(Target { slot: self.slot(entry.who)?, qos, retain_as_published, ids, group })
    }

    /// Gives what the members of groups had not done when their sessions ended to others of their groups.
    pub(super) fn pass_to_others(&self, orphans: Vec<(Arc<Message>, Turn)>, now: Timestamp) {
        let mut wakes = Wakes::new();
        for (message, turn) in orphans {
            let (matches, _) = self.index.matches(&message.topic, None);
            let group = matches.groups.iter().find(|group| Arc::ptr_eq(group.turn(), &turn));
            let passed = match group.and_then(|group| self.draw_one(group)) {
                Some(target) => self.deliver_again(&pick_of(&target, &message), &message, now, &mut wakes),
                None => Ok(false),
            };
            if passed != Ok(true) {
                add(&self.counters.dropped, 1);
            }
        }
    }

    /// Delivers a message. `from` is the session and identifier of a publish of QoS 2 that has to be remembered on disk.
    ///
    /// # Errors
    /// Nothing was delivered: [`Reason::ServerBusy`], [`Reason::QuotaExceeded`], [`Reason::ServerUnavailable`],
    /// [`Reason::PacketTooLarge`].
    pub(super) fn deliver(
        &self,
        message: Message,
        route: &Route,
        from: Option<(u64, u16)>,
        now: Timestamp,
        wakes: &mut Wakes,
    ) -> Result<Delivered, Reason> {
        // Who subscribes meanwhile gets it either now or from what is retained.
        let _changes = message.retain.then(|| lock(&self.changes));
        let stale = message.retain && !self.index.is_current(route.seen);
        let fresh = stale.then(|| self.route(&message.topic, route.publisher, true));
        let route = fresh.as_ref().unwrap_or(route);
        let drawn = self.draw(route);
        let picks = pick_all(&route.targets, &drawn, &message);
        self.deliver_to(message, &picks, from, now, wakes)
    }

    fn deliver_to(
        &self,
        message: Message,
        picks: &Picks<'_>,
        from: Option<(u64, u16)>,
        now: Timestamp,
        wakes: &mut Wakes,
    ) -> Result<Delivered, Reason> {
        let kept = |pick: &Pick<'_>| pick.slot.persistent && pick.qos > QoS::AtMostOnce;
        let is_kept = message.retain || from.is_some() || picks.iter().any(kept);
        let mut receivers = 0;
        let (message, mark) = match if is_kept { self.pen() } else { None } {
            Some(mut pen) => {
                // With the pen in hand, so that nobody else takes the room meanwhile.
                self.check_room(&message, picks)?;
                let picks = picks.iter().filter(|pick| kept(pick));
                self.deliver_kept(&mut pen, message, picks, from, now, &mut receivers)?
            }
            None => {
                self.check_room(&message, picks)?;
                (self.deliver_unkept(message)?, None)
            }
        };
        let journaled = self.journal.is_some();
        for pick in picks.iter().filter(|pick| !journaled || !kept(pick)) {
            receivers += usize::from(self.push(pick, &message, false, wakes));
        }
        Ok(Delivered { receivers, mark })
    }

    /// Writes the message down, with the queues of persistent sessions it stands in from then on.
    fn deliver_kept<'a, 'p: 'a>(
        &self,
        pen: &mut Pen<'_>,
        mut message: Message,
        picks: impl Iterator<Item = &'a Pick<'p>> + Clone,
        from: Option<(u64, u16)>,
        now: Timestamp,
        receivers: &mut usize,
    ) -> Result<(Arc<Message>, Option<u64>), Reason> {
        let retains = match (message.retain, message.payload.is_empty()) {
            (false, _) => Retains::Nothing,
            (true, false) => Retains::Sets,
            // [MQTT-3.3.1-6]
            (true, true) => Retains::Clears,
        };
        let sets = retains == Retains::Sets;
        let mut picks = picks.peekable();
        if sets {
            read(&self.retained).fits(&message)?;
        }
        let (mut room, mut bytes_max) = (true, self.config.queued_bytes_max);
        if sets || picks.peek().is_some() {
            message.detach();
            if pen.is_crowded(message.size()) {
                if sets || self.config.when_full == WhenFull::Refuse {
                    return Err(Reason::QuotaExceeded);
                }
                bytes_max = bytes_max.min(self.fair_share(pen));
            }
            match pen.place(message.size()) {
                Ok(stored) => message.stored = Some(stored),
                // Nobody but the persistent sessions must notice that what they leave unread fills the disk.
                Err(_) => room = false,
            }
            let owed = picks.clone().filter(|pick| pick.slot.holds_back());
            self.check_owed(&message, owed, room.then_some(bytes_max))?;
        }
        let message = Arc::new(message);
        let (mut targets, mut slots) = (Vec::new(), Vec::new());
        for pick in picks {
            match Some(pick).filter(|_| room).map(|pick| self.push_numbered(pen, pick, &message, bytes_max)) {
                Some(Some(number)) => {
                    let (qos, retain, ids) = (pick.qos, pick.retain, pick.ids.clone());
                    targets.push(Written { session: pick.slot.number, number, qos, retain, ids });
                    slots.push(pick.slot);
                }
                Some(None) => {}
                None => add(&self.counters.dropped, 1),
            }
        }
        let written = self.write_publish(pen, &message, retains, &targets, from, now);
        let mark = match written {
            Ok(mark) => mark,
            Err(reason) => {
                for (target, slot) in targets.iter().zip(&slots) {
                    slot.state().outbound.unpush(target.number);
                }
                return Err(reason);
            }
        };
        if message.retain {
            self.set_retained(&message);
        }
        *receivers += slots.len();
        if let Some(offset) = mark {
            for slot in slots {
                pen.ring_at(offset, slot.clone());
            }
        }
        Ok((message, mark))
    }

    /// Bytes of a queue up to which it gets on though the store of all persistent sessions is full of what others leave unread: so
    /// much that all of them together do not use up the reserve.
    fn fair_share(&self, pen: &Pen<'_>) -> usize {
        pen.reserve() / read(&self.slots).len().max(1)
    }

    fn write_publish(
        &self,
        pen: &mut Pen<'_>,
        message: &Message,
        retains: Retains,
        targets: &[Written],
        from: Option<(u64, u16)>,
        now: Timestamp,
    ) -> Result<Option<u64>, Reason> {
        // One record each way, so that a log that is full in between cannot leave half of it.
        if let Some(stored) =
            message.stored.as_ref().filter(|_| retains == Retains::Sets || !targets.is_empty())
        {
            let publish = PublishRef { id: stored.id, message, retains, targets, from };
            return pen.publish(&publish, now).map(Some);
        }
        if retains == Retains::Clears && read(&self.retained).get(&message.topic).is_some() {
            let cleared = Record::Cleared(message.topic.clone(), from);
            return pen.write(&cleared, now).map(Some);
        }
        from.map(|(session, id)| pen.write(&Record::Taken(session, id), now)).transpose()
    }

    /// Without a journal a retained message is in memory only.
    fn deliver_unkept(&self, mut message: Message) -> Result<Arc<Message>, Reason> {
        if !message.retain {
            return Ok(Arc::new(message));
        }
        if !message.payload.is_empty() {
            message.detach();
            read(&self.retained).fits(&message)?;
        }
        let message = Arc::new(message);
        self.set_retained(&message);
        Ok(message)
    }

    fn set_retained(&self, message: &Arc<Message>) {
        let mut retained = write(&self.retained);
        if message.payload.is_empty() {
            retained.clear(&message.topic);
        } else {
            retained.set(message.clone());
        }
    }

    /// With [`WhenFull::Refuse`] a full queue refuses the message for all.
    fn check_room(&self, message: &Message, picks: &Picks<'_>) -> Result<(), Reason> {
        if self.config.when_full != WhenFull::Refuse {
            return Ok(());
        }
        let size = message.size();
        let (messages, bytes) = (self.config.queued_messages_max, self.config.queued_bytes_max);
        let full = |pick: &Pick<'_>| {
            let state = pick.slot.state();
            pick.qos > QoS::AtMostOnce
                && !pick.slot.holds_back()
                && state.keeps()
                && !state.outbound.has_room(pick.qos, size, messages, bytes)
        };
        if picks.iter().any(full) { Err(Reason::QuotaExceeded) } else { Ok(()) }
    }

    /// A full queue that [holds back](super::ClientInfo::holds_back) has the publisher try again later. No room at all is `None`.
    fn check_owed<'a, 'p: 'a>(
        &self,
        message: &Message,
        owed: impl Iterator<Item = &'a Pick<'p>>,
        bytes: Option<usize>,
    ) -> Result<(), Reason> {
        for pick in owed {
            let state = pick.slot.state();
            let messages = self.config.queued_messages_max;
            let fits = |bytes| state.outbound.has_room(pick.qos, message.size(), messages, bytes);
            if state.keeps() && !bytes.is_some_and(fits) {
                self.held_back.send_replace(true);
                return Err(Reason::ServerBusy);
            }
        }
        Ok(())
    }

    fn push_numbered(
        &self,
        pen: &mut Pen<'_>,
        pick: &Pick<'_>,
        message: &Arc<Message>,
        bytes_max: usize,
    ) -> Option<u64> {
        match self.push_into(pick, message, true, bytes_max, Some(pen))? {
            Pushed::Numbered(number) => Some(number),
            _ => None,
        }
    }

    fn push(&self, pick: &Pick<'_>, message: &Arc<Message>, gated: bool, wakes: &mut Wakes) -> bool {
        match self.push_into(pick, message, gated, self.config.queued_bytes_max, None) {
            Some(Pushed::Plain | Pushed::Numbered(_)) => {
                wakes.add(pick.slot);
                true
            }
            _ => false,
        }
    }

    fn push_into(
        &self,
        pick: &Pick<'_>,
        message: &Arc<Message>,
        gated: bool,
        bytes: usize,
        pen: Option<&mut Pen<'_>>,
    ) -> Option<Pushed> {
        let delivery = Delivery {
            message: message.clone(),
            qos: pick.qos,
            retain: pick.retain,
            gated,
            ids: pick.ids.clone(),
            group: pick.group.cloned(),
        };
        let mut state = pick.slot.state();
        let wanted = if pick.qos == QoS::AtMostOnce { state.link.is_some() } else { state.keeps() };
        if !wanted {
            return None;
        }
        let messages = self.config.queued_messages_max;
        if !state.outbound.has_room(pick.qos, message.size(), messages, bytes) {
            state.outbound.drop_expired(self.now());
            if let Some(pen) = pen.filter(|_| state.outbound.settled_len() > SETTLED_MAX) {
                // Nobody takes, or it would be written down there.
                let record = Record::Settled(pick.slot.number, state.outbound.settled());
                if let (Err(_), Record::Settled(_, settled)) = (pen.write(&record, self.now()), record) {
                    state.outbound.unsettled(settled);
                }
            }
        }
        let pushed = state.outbound.push(delivery, messages, bytes);
        if pushed == Pushed::Full {
            add(&self.counters.dropped, 1);
        }
        Some(pushed)
    }

    /// A retained message for one session that subscribed just now. False if its queue is full.
    pub(super) fn deliver_retained(
        &self,
        slot: &Arc<Slot>,
        message: &Arc<Message>,
        qos: QoS,
        ids: &Ids,
        now: Timestamp,
        wakes: &mut Wakes,
    ) -> Result<bool, Reason> {
        let pick = Pick { slot, qos: qos.min(message.qos), retain: true, ids, group: None };
        self.deliver_again(&pick, message, now, wakes)
    }

    /// A message that is there already for one more session.
    fn deliver_again(
        &self,
        pick: &Pick<'_>,
        message: &Arc<Message>,
        now: Timestamp,
        wakes: &mut Wakes,
    ) -> Result<bool, Reason> {
        let slot = pick.slot;
        let Some(mut pen) = self.pen() else { return Ok(self.push(pick, message, true, wakes)) };
        if pick.qos == QoS::AtMostOnce || !slot.persistent {
            let pushed = self.push(pick, message, true, wakes);
            // It may be retained since so short a time that it is not on disk yet.
            let offset = message.stored.as_ref().and_then(crate::journal::Stored::offset);
            if let Some(offset) = offset.filter(|_| pushed) {
                pen.ring_at(offset, slot.clone());
            }
            return Ok(pushed);
        }
        // A place of its own: its number in the line has to be on disk before it is sent.
        let mut copy = Message {
            topic: message.topic.clone(),
            payload: message.payload.clone(),
            properties: message.properties.clone(),
            stored: None,
            ..**message
        };
        let (size, most) = (copy.size(), self.config.queued_bytes_max);
        let bytes_max = if pen.is_crowded(size) { most.min(self.fair_share(&pen)) } else { most };
        copy.stored = Some(pen.place(size)?);
        let copy = Arc::new(copy);
        let Some(number) = self.push_numbered(&mut pen, pick, &copy, bytes_max) else { return Ok(false) };
        let (qos, retain, ids) = (pick.qos, pick.retain, pick.ids.clone());
        let target = Written { session: slot.number, number, qos, retain, ids };
        match self.write_publish(&mut pen, &copy, Retains::Nothing, &[target], None, now) {
            Ok(offset) => {
                offset.into_iter().for_each(|offset| pen.ring_at(offset, slot.clone()));
                Ok(true)
            }
            Err(reason) => {
                slot.state().outbound.unpush(number);
                Err(reason)
            }
        }
    }
}

/// Who gets a message: all of the direct ones, and who was drawn of each group.
fn pick_all<'a>(direct: &'a [Target], drawn: &'a [Target], message: &Message) -> Picks<'a> {
    direct.iter().chain(drawn).map(|target| pick_of(target, message)).collect()
}

fn pick_of<'a>(target: &'a Target, message: &Message) -> Pick<'a> {
    Pick {
        slot: &target.slot,
        // [MQTT-3.8.4-8]
        qos: message.qos.min(target.qos),
        // [MQTT-3.3.1-12], [MQTT-3.3.1-13]
        retain: message.retain && target.retain_as_published,
        ids: &target.ids,
        group: target.group.as_ref(),
    }
}
