//! A client comes: its session is found, taken over or made.

use super::rules::end_connection;
use super::slot::{Slot, SlotState};
use super::{Broker, Clients, Inner, SessionHandle, Wakes, lock, read, write};
use crate::journal::{Meta, Pen, Record, Ring, Whole};
use crate::session::Link;
use crate::sys::add;
use crate::topic::Turn;
use crate::{Message, Publish, Reason, Version, Will};
use bytestring::ByteString;
use ironbrook_model::Timestamp;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// What a door knows of a client that is authenticated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientInfo {
    /// The client id; empty for one the broker makes up, for which `clean_start` is needed.
    pub client_id: ByteString,
    /// The user it was authenticated as.
    pub user: Option<ByteString>,
    /// The version it speaks.
    pub version: Version,
    /// Clean start of 5.0, clean session of 3.1.1.
    pub clean_start: bool,
    /// Seconds the session outlives the connection; for 3.1.1 `u32::MAX` without clean session, 0 with.
    pub session_expiry: u32,
    /// How many messages of QoS 1 and 2 it takes at a time; 65,535 if it does not say.
    pub receive_maximum: u16,
    /// Bytes of a packet it takes.
    pub maximum_packet: Option<u32>,
    /// How many aliases it takes; 0 if it does not say.
    pub topic_alias_maximum: u16,
    /// Its will.
    pub will: Option<Will>,
    /// Whether its queue, when it is full, holds publishers back, whatever [`WhenFull`](crate::WhenFull) says: for the persistent
    /// session of a part of this process that owes each message to somebody else, and that always comes back.
    pub holds_back: bool,
}

impl ClientInfo {
    /// A client that asks for nothing special.
    pub fn new(client_id: impl Into<ByteString>, version: Version) -> Self {
        Self {
            client_id: client_id.into(),
            user: None,
            version,
            clean_start: true,
            session_expiry: 0,
            receive_maximum: u16::MAX,
            maximum_packet: None,
            topic_alias_maximum: 0,
            will: None,
            holds_back: false,
        }
    }
}

/// A connection, and what CONNACK says of it.
pub struct Connected {
    /// The session.
    pub session: SessionHandle,
    /// Whether there was a session that goes on ([MQTT-3.2.2-2], [MQTT-3.2.2-3]).
    pub session_present: bool,
    /// The client id, which may have been made up.
    pub client_id: ByteString,
    /// The expiry that holds, which may be less than was asked for.
    pub session_expiry: u32,
    /// What has to be durable before CONNACK.
    pub mark: Option<u64>,
}

impl Broker {
    /// Connects a client. Whoever was connected with this id is told [`Reason::SessionTakenOver`].
    ///
    /// # Errors
    /// [`Reason::ClientIdentifierNotValid`] for an empty id without clean start; [`Reason::NotAuthorized`] for a will it may
    /// not publish, or a session that belongs to another user; [`Reason::QuotaExceeded`] for one session too many;
    /// [`Reason::ServerBusy`] and [`Reason::ServerUnavailable`] from the journal.
    pub fn connect(&self, mut client: ClientInfo, now: Timestamp) -> Result<Connected, Reason> {
        let inner = &self.inner;
        inner.saw(now);
        if client.client_id.is_empty() {
            if !client.clean_start {
                return Err(Reason::ClientIdentifierNotValid);
            }
            client.client_id = made_up_id()?;
        } else {
            client.client_id = ByteString::from(&*client.client_id);
        }
        let longest = u32::try_from(inner.config.session_expiry_max.as_secs()).unwrap_or(u32::MAX);
        client.session_expiry = client.session_expiry.min(longest);
        let (rules, acl_generation) = inner.rules_of(client.user.as_deref(), &client.client_id);
        if let Some(will) = &client.will {
            crate::topic::check_name(&will.topic).map_err(|_| Reason::TopicNameInvalid)?;
            if will.payload.len() > inner.config.payload_bytes_max {
                return Err(Reason::PacketTooLarge);
            }
            if !rules.may_publish(&will.topic) {
                return Err(Reason::NotAuthorized);
            }
        }
        let mut due = Due::default();
        let mut clients = inner.clients_of(&client.client_id);
        let found = inner.connect(&mut clients, &client, now, &mut due);
        drop(clients);
        let (slot, epoch, session_present, mark) = match found {
            Ok(found) => found,
            Err(reason) => {
                // The session before may be over all the same.
                inner.settle_due(None, due, now);
                return Err(reason);
            }
        };
        add(&inner.counters.connected, 1);
        if session_present {
            inner.drop_denied(&slot, &rules, now);
        }
        let session = SessionHandle::new(self.clone(), slot, epoch, (rules, acl_generation), now);
        inner.settle_due(Some(session.slot().who), due, now);
        let (client_id, session_expiry) = (client.client_id, client.session_expiry);
        Ok(Connected { session, session_present, client_id, session_expiry, mark })
    }

    /// Ends the connection of a client, for an operator. False if it has none.
    pub fn close(&self, client_id: &str, why: Reason) -> bool {
        let slot = self.inner.clients_of(client_id).get(client_id).cloned();
        slot.is_some_and(|slot| end_connection(&slot, why))
    }
}

/// 128 random bits: nobody can guess the id of a session to take it over.
fn made_up_id() -> Result<ByteString, Reason> {
    let mut bytes = [0; 16];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| Reason::ImplementationSpecificError)?;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("auto-{hex}").into())
}

type Found = (Arc<Slot>, u64, bool, Option<u64>);

/// What is to be done when the locks are given back.
#[derive(Default)]
pub(super) struct Due {
    pub wills: Vec<Will>,
    /// Messages of groups whose member is gone.
    pub orphans: Vec<(Arc<Message>, Turn)>,
}

impl Inner {
    fn connect(
        &self,
        clients: &mut Clients,
        client: &ClientInfo,
        now: Timestamp,
        due: &mut Due,
    ) -> Result<Found, Reason> {
        if let Some(slot) = clients.get(&client.client_id).cloned() {
            if slot.user != client.user {
                return Err(Reason::NotAuthorized);
            }
            let mut pen = self.pen();
            let mut state = slot.state();
            let resumes = !client.clean_start && state.expiry > 0;
            let sent = state.outbound.sent();
            let mark = if resumes { self.write_meta(pen.as_mut(), &slot, client, sent, now)? } else { None };
            due.wills.extend(self.leave(&mut state, resumes));
            if resumes {
                let epoch = self.attach(&slot, &mut state, client);
                return Ok((slot.clone(), epoch, true, mark));
            }
            self.end(clients, pen.as_mut(), &slot, &mut state, due, now);
        }
        self.make(clients, client, now)
    }

    /// Takes the session from its old connection, if it has one; gives the will that is due by that.
    fn leave(&self, state: &mut SlotState, resumes: bool) -> Option<Will> {
        let was_connected = state.link.take().is_some();
        if was_connected {
            self.counters.connected.fetch_sub(1, Ordering::Relaxed);
            state.closed = Some(Reason::SessionTakenOver);
            state.outbound.disconnected();
        }
        let will = state.will.take()?;
        // [MQTT-3.1.3-9] of 5.0: who comes back in time is not missed.
        let missed = !resumes || (was_connected && will.delay == 0);
        missed.then_some(*will)
    }

    /// Gives the session to its new connection.
    fn attach(&self, slot: &Arc<Slot>, state: &mut SlotState, client: &ClientInfo) -> u64 {
        if let Some(deadline) = state.deadline() {
            lock(&self.timers).remove(&(deadline, slot.who));
        }
        (state.will_at, state.end_at) = (None, None);
        let window = client.receive_maximum.min(self.config.inflight_max);
        let aliases = client.topic_alias_maximum.min(self.config.aliases_out_max);
        state.link = Some(Box::new(Link::new(client.version, window, client.maximum_packet, aliases)));
        state.expiry = client.session_expiry;
        state.will = client.will.clone().map(detached).map(Box::new);
        state.epoch += 1;
        slot.set_epoch(state.epoch);
        slot.set_holds_back(client.holds_back);
        state.outbound.connected();
        state.inbound.connected();
        slot.set_online(true);
        // There may be messages that wait.
        slot.ring();
        state.epoch
    }

    fn make(&self, clients: &mut Clients, client: &ClientInfo, now: Timestamp) -> Result<Found, Reason> {
        let persistent = self.journal.is_some() && client.session_expiry > 0;
        let number = self.next_number.fetch_add(1, Ordering::Relaxed);
        let slot = self.new_slot(number, client.client_id.clone(), client.user.clone(), persistent)?;
        let mut mark = None;
        if let Some(mut pen) = self.pen().filter(|_| persistent) {
            let whole = Whole {
                meta: meta_of(&slot, client, 0, now),
                client_id: client.client_id.clone(),
                user: client.user.clone(),
                next: 0,
                subscriptions: Vec::new(),
                line: Vec::new(),
                unreleased: Vec::new(),
            };
            match pen.write(&Record::Session(Box::new(whole)), now) {
                Ok(offset) => mark = Some(offset),
                Err(reason) => {
                    write(&self.slots).remove(&slot.who);
                    return Err(reason);
                }
            }
        }
        let mut state = slot.state();
        state.outbound.tracked = persistent;
        let epoch = self.attach(&slot, &mut state, client);
        drop(state);
        clients.insert(client.client_id.clone(), slot.clone());
        Ok((slot, epoch, false, mark))
    }

    /// A session with a name in the filters that nobody has.
    pub(super) fn new_slot(
        &self,
        number: u64,
        client_id: ByteString,
        user: Option<ByteString>,
        persistent: bool,
    ) -> Result<Arc<Slot>, Reason> {
        let mut slots = write(&self.slots);
        if slots.len() >= self.config.sessions_max {
            return Err(Reason::QuotaExceeded);
        }
        // Not the lowest that is free: who still holds a name that is gone must not reach somebody else by it.
        let who = loop {
            let who = self.next_who.fetch_add(1, Ordering::Relaxed) & (u32::MAX >> 1);
            if !slots.contains_key(&who) {
                break who;
            }
        };
        let slot = Slot::new(who, number, client_id, user, persistent, SlotState::default());
        slots.insert(who, slot.clone());
        Ok(slot)
    }

    fn write_meta(
        &self,
        pen: Option<&mut Pen<'_>>,
        slot: &Slot,
        client: &ClientInfo,
        sent: u64,
        now: Timestamp,
    ) -> Result<Option<u64>, Reason> {
        let Some(pen) = pen.filter(|_| slot.persistent) else { return Ok(None) };
        pen.write(&Record::Meta(Box::new(meta_of(slot, client, sent, now))), now).map(Some)
    }

    /// Ends a session for good: nobody finds it any more.
    pub(super) fn end(
        &self,
        clients: &mut Clients,
        pen: Option<&mut Pen<'_>>,
        slot: &Arc<Slot>,
        state: &mut SlotState,
        due: &mut Due,
        now: Timestamp,
    ) {
        due.orphans.extend(state.outbound.orphans());
        if let Some(deadline) = state.deadline() {
            lock(&self.timers).remove(&(deadline, slot.who));
        }
        for filter in state.subscriptions.take() {
            self.index.remove(&filter, slot.who);
        }
        if clients.get(&slot.client_id).is_some_and(|known| Arc::ptr_eq(known, slot)) {
            clients.remove(&slot.client_id);
        }
        write(&self.slots).remove(&slot.who);
        let closed = state.closed;
        let epoch = state.epoch + 1;
        *state = SlotState { ended: true, closed, epoch, ..SlotState::default() };
        slot.set_epoch(epoch);
        slot.set_online(false);
        slot.ring();
        if let Some(pen) = pen.filter(|_| slot.persistent) {
            // Unwritten, the session comes back at the next start and ends then by its expiry.
            if let Err(reason) = pen.write(&Record::Ended(slot.number), now) {
                tracing::warn!(client_id = %slot.client_id, %reason, "the end of a session is not written down");
            }
        }
    }

    /// Does what follows from the end of a connection or session, without locks. That a client may publish its will was
    /// checked when it connected. `who` is the session, if it goes on.
    pub(super) fn settle_due(&self, who: Option<u32>, due: Due, now: Timestamp) {
        let mut wakes = Wakes::new();
        for will in due.wills {
            let Will { topic, payload, qos, retain, properties, .. } = will;
            let publish = Publish { topic, payload, qos, retain, properties, alias: None, packet_id: None };
            // Its own, if it goes on, does not get it where it said so ([MQTT-3.8.3-3]).
            let route = self.route(&publish.topic, who, true);
            if let Err(reason) = self.deliver(Message::new(publish, now), &route, None, now, &mut wakes) {
                tracing::warn!(%reason, "a will is not published");
                add(&self.counters.dropped, 1);
            }
        }
        drop(wakes);
        self.pass_to_others(due.orphans, now);
    }

    /// The session with a name in the filters.
    pub(super) fn slot(&self, who: u32) -> Option<Arc<Slot>> {
        read(&self.slots).get(&who).cloned()
    }
}

fn meta_of(slot: &Slot, client: &ClientInfo, sent: u64, now: Timestamp) -> Meta {
    Meta {
        number: slot.number,
        expiry: client.session_expiry,
        connected: true,
        at: now,
        sent,
        will: client.will.clone(),
    }
}

/// A will in memory of its own: it waits for as long as the connection lives.
fn detached(will: Will) -> Will {
    let Will { topic, payload, qos, retain, properties, delay } = will;
    let publish = Publish { topic, payload, qos, retain, properties, alias: None, packet_id: None };
    let mut message = Message::new(publish, Timestamp::default());
    message.detach();
    let Message { topic, payload, properties, .. } = message;
    Will { topic, payload, qos, retain, properties, delay }
}
