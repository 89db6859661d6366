//! Connections that are lost, wills that wait, sessions that expire.

use super::connect::Due;
use super::slot::{Slot, SlotState};
use super::{Broker, Inner, lock, read, write};
use crate::journal::{Meta, Record};
use ironbrook_model::Timestamp;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Retained messages looked at for their expiry at each tick.
const SWEEP: usize = 512;
/// Timers that fire at each tick; the rest fires at the next, which is due at once.
const TIMERS_MAX: usize = 1024;

impl Broker {
    /// Does what is due: wills, ends of sessions, expired retained messages. To be called at the time it gives, at once
    /// when a connection was lost, and once a second at least.
    pub fn tick(&self, now: Timestamp) -> Option<Timestamp> {
        let inner = &self.inner;
        inner.saw(now);
        for _ in 0..TIMERS_MAX {
            let due = {
                let mut timers = lock(&inner.timers);
                let first = timers.first().copied().filter(|(at, _)| *at <= now);
                first.inspect(|first| {
                    timers.remove(first);
                })
            };
            let Some((_, who)) = due else { break };
            if let Some(slot) = inner.slot(who) {
                inner.fire(&slot, now);
            }
        }
        inner.sweep_retained(now);
        lock(&inner.timers).first().map(|(at, _)| *at)
    }
}

impl Inner {
    /// The connection of a session is gone.
    pub(super) fn lost(&self, slot: &Arc<Slot>, epoch: u64, with_will: bool, now: Timestamp) {
        let mut clients = self.clients_of(&slot.client_id);
        let mut pen = self.pen();
        let mut state = slot.state();
        if state.epoch != epoch || state.link.take().is_none() {
            return;
        }
        self.counters.connected.fetch_sub(1, Ordering::Relaxed);
        slot.set_online(false);
        state.closed = None;
        state.outbound.disconnected();
        if !with_will {
            state.will = None;
        }
        let mut due = Due::default();
        if state.expiry == 0 {
            due.wills.extend(state.will.take().map(|will| *will));
            self.end(&mut clients, pen.as_mut(), slot, &mut state, &mut due, now);
        } else {
            // [MQTT-3.1.2-8], and the delay of 5.0.
            if state.will.as_ref().is_some_and(|will| will.delay == 0) {
                due.wills.extend(state.will.take().map(|will| *will));
            }
            if let Some(pen) = pen.as_mut().filter(|_| slot.persistent) {
                let settled = state.outbound.settled();
                let settled = Some(Record::Settled(slot.number, settled)).filter(Record::says_something);
                let meta = Record::Meta(Box::new(meta(slot, &state, now)));
                for record in settled.into_iter().chain([meta]) {
                    if let Err(reason) = pen.write(&record, now) {
                        tracing::warn!(client_id = %slot.client_id, %reason, "a disconnect is not written down");
                    }
                }
            }
            self.arm(slot, &mut state, now);
        }
        drop(state);
        drop(pen);
        drop(clients);
        self.settle_due(Some(slot.who), due, now);
    }

    /// Sets the times of a session that nobody is connected to.
    pub(super) fn arm(&self, slot: &Slot, state: &mut SlotState, since: Timestamp) {
        let after = |seconds: u32| since.plus(Duration::from_secs(seconds.into()));
        state.will_at = state.will.as_ref().map(|will| after(will.delay.min(state.expiry)));
        state.end_at = Some(after(state.expiry));
        if let Some(deadline) = state.deadline() {
            lock(&self.timers).insert((deadline, slot.who));
        }
    }

    fn fire(&self, slot: &Arc<Slot>, now: Timestamp) {
        let mut clients = self.clients_of(&slot.client_id);
        let mut pen = self.pen();
        let mut state = slot.state();
        if state.ended || state.link.is_some() {
            return;
        }
        let mut due = Due::default();
        if state.will_at.is_some_and(|at| at <= now) {
            state.will_at = None;
            due.wills.extend(state.will.take().map(|will| *will));
            if let Some(pen) = pen.as_mut().filter(|_| slot.persistent) {
                let since = state.end_at.unwrap_or(now).as_millis() - i64::from(state.expiry) * 1000;
                let meta = meta(slot, &state, Timestamp::from_millis(since));
                if let Err(reason) = pen.write(&Record::Meta(Box::new(meta)), now) {
                    tracing::warn!(client_id = %slot.client_id, %reason, "a will may be published again");
                }
            }
        }
        if state.end_at.is_some_and(|at| at <= now) {
            self.end(&mut clients, pen.as_mut(), slot, &mut state, &mut due, now);
        } else if let Some(deadline) = state.deadline() {
            lock(&self.timers).insert((deadline, slot.who));
        }
        drop(state);
        drop(pen);
        drop(clients);
        self.settle_due(Some(slot.who), due, now);
    }

    /// Looks at some retained messages and removes those that expired.
    fn sweep_retained(&self, now: Timestamp) {
        let mut cursor = lock(&self.sweep);
        let (expired, next) = read(&self.retained).expired(cursor.as_deref(), now, SWEEP);
        *cursor = next;
        drop(cursor);
        if expired.is_empty() {
            return;
        }
        let _changes = lock(&self.changes);
        let mut pen = self.pen();
        for topic in expired {
            let mut retained = write(&self.retained);
            if !retained.get(&topic).is_some_and(|message| message.is_expired(now)) {
                continue;
            }
            retained.clear(&topic);
            if let Some(pen) = &mut pen {
                // Unwritten it expires again after the next start.
                let _ = pen.write(&Record::Cleared(topic, None), now);
            }
        }
    }
}

fn meta(slot: &Slot, state: &SlotState, at: Timestamp) -> Meta {
    let will = state.will.as_deref().cloned();
    Meta {
        number: slot.number,
        expiry: state.expiry,
        connected: state.link.is_some(),
        at,
        sent: state.outbound.sent(),
        will,
    }
}
