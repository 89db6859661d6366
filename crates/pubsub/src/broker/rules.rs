//! New users and rules while clients are here, and what they mean for these.

use super::slot::Slot;
use super::{Broker, Inner, read, write};
use crate::Reason;
use crate::acl::{Acl, Rules};
use crate::journal::{Record, Ring};
use crate::topic::Filter;
use ironbrook_model::Timestamp;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// What new users and rules took away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rechecked {
    /// Connections whose user may not connect any more, or has another password now.
    pub closed: usize,
    /// Subscriptions that are no longer allowed.
    pub subscriptions: usize,
    /// Wills that are no longer allowed.
    pub wills: usize,
}

impl Broker {
    /// Replaces users and rules, and looks at all sessions by them: connections of users who are gone or have another password
    /// are ended with [`Reason::NotAuthorized`]; subscriptions and wills that are no longer allowed go, also of sessions that
    /// nobody is connected to. Publishing follows at once. What is in a queue already was allowed when it was published.
    pub fn set_acl(&self, acl: Acl, now: Timestamp) -> Rechecked {
        let inner = &self.inner;
        let acl = Arc::new(acl);
        let before = std::mem::replace(&mut *write(&inner.acl), acl.clone());
        // Who connects or subscribes from here on looks again when it sees the new number; who did before is in the list below.
        inner.acl_generation.fetch_add(1, Ordering::AcqRel);
        let mut rechecked = Rechecked::default();
        let slots: Vec<Arc<Slot>> = read(&inner.slots).values().cloned().collect();
        for slot in slots {
            let rules = acl.rules_of(slot.user.as_deref(), &slot.client_id);
            let (subscriptions, will) = inner.drop_denied(&slot, &rules, now);
            rechecked.subscriptions += subscriptions;
            rechecked.wills += usize::from(will);
            if !acl.still_admits(slot.user.as_deref(), &before) {
                rechecked.closed += usize::from(end_connection(&slot, Reason::NotAuthorized));
            }
        }
        rechecked
    }

    /// How often users and rules were replaced. A door compares it from before it checks a password to after the client is
    /// connected: between the two they may have changed.
    pub fn acl_generation(&self) -> u64 {
        self.inner.acl_generation.load(Ordering::Acquire)
    }
}

/// Tells the connection of a session to end; false where there is none.
pub(super) fn end_connection(slot: &Slot, why: Reason) -> bool {
    let mut state = slot.state();
    if state.link.is_none() {
        return false;
    }
    state.closed = Some(why);
    drop(state);
    slot.ring();
    true
}

impl Inner {
    /// Takes back subscriptions and the will that these rules do not allow; gives how many, and whether the will. What cannot be
    /// written down comes back with the next start, and is taken back then.
    pub(super) fn drop_denied(&self, slot: &Slot, rules: &Rules, now: Timestamp) -> (usize, bool) {
        if self.denied(slot, rules).is_none() {
            return (0, false);
        }
        let mut pen = self.pen().filter(|_| slot.persistent);
        // Again, as others may have come between.
        let Some((filters, will)) = self.denied(slot, rules) else { return (0, false) };
        let mut state = slot.state();
        let mut count = 0;
        for filter in &filters {
            if !state.subscriptions.contains(filter) {
                continue;
            }
            count += 1;
            if let Some(pen) = &mut pen
                && let Err(reason) = pen.write(&Record::Unsubscribed(slot.number, filter.text().clone()), now)
            {
                tracing::warn!(client_id = %slot.client_id, filter = %filter.text(), %reason,
                    "that a denied subscription is gone is not written down");
            }
            self.index.remove(filter, slot.who);
            state.subscriptions.remove(filter);
            state.replays.remove(filter);
        }
        if will {
            state.will = None;
            state.will_at = None;
        }
        (count, will)
    }

    /// What these rules do not allow, if anything.
    fn denied(&self, slot: &Slot, rules: &Rules) -> Option<(Vec<Filter>, bool)> {
        let state = slot.state();
        let filters = state.subscriptions.iter().map(|(filter, _)| filter);
        let filters: Vec<Filter> =
            filters.filter(|filter| !rules.may_subscribe(filter.pattern())).cloned().collect();
        let will = state.will.as_ref().is_some_and(|will| !rules.may_publish(&will.topic));
        (will || !filters.is_empty()).then_some((filters, will))
    }
}
