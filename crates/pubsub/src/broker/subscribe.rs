//! Subscribing and unsubscribing, and the retained messages a new subscription is owed.

use super::handle::SessionHandle;
use super::{Wakes, lock, read};
use crate::journal::Record;
use crate::session::Owed;
use crate::topic::{Entry, Filter};
use crate::{QoS, Reason, RetainHandling, Subscription};
use bytestring::ByteString;
use ironbrook_model::Timestamp;

/// Retained messages that are fetched at a time.
const REPLAY_PAGE: usize = 64;
/// Names that are looked at for them: a filter that fits few of many must not hold the others up.
const REPLAY_LOOKS: usize = 1024;

/// The answers to a SUBSCRIBE or UNSUBSCRIBE, one per filter in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Granted<T> {
    /// The QoS granted, or why not; for UNSUBSCRIBE nothing or [`Reason::NoSubscriptionExisted`].
    pub answers: Vec<Result<T, Reason>>,
    /// What has to be durable before the answer.
    pub mark: Option<u64>,
}

impl SessionHandle {
    /// Subscribes. Retained messages come with [`take`](Self::take).
    ///
    /// # Errors
    /// The connection has to end: it was taken over, the filter list is empty, or a shared subscription has no-local
    /// ([MQTT-3.8.3-4] of 5.0). [`Reason::ServerBusy`]: the same again when there is room.
    pub fn subscribe(
        &mut self,
        subscriptions: &[Subscription],
        now: Timestamp,
    ) -> Result<Granted<QoS>, Reason> {
        if subscriptions.is_empty() {
            return Err(Reason::ProtocolError);
        }
        let mut granted = Granted { answers: Vec::with_capacity(subscriptions.len()), mark: None };
        for subscription in subscriptions {
            let answer = match self.subscribe_one(subscription, now, &mut granted.mark) {
                Ok(qos) => Ok(qos),
                Err(
                    reason @ (Reason::TopicFilterInvalid | Reason::NotAuthorized | Reason::QuotaExceeded),
                ) => Err(reason),
                Err(fatal) => return Err(fatal),
            };
            granted.answers.push(answer);
        }
        Ok(granted)
    }

    fn subscribe_one(
        &mut self,
        subscription: &Subscription,
        now: Timestamp,
        mark: &mut Option<u64>,
    ) -> Result<QoS, Reason> {
        let filter = Filter::parse(subscription.filter.clone()).map_err(|_| Reason::TopicFilterInvalid)?;
        let options = subscription.options;
        if filter.group().is_some() && options.no_local {
            return Err(Reason::ProtocolError);
        }
        self.refresh_rules();
        if !self.rules().may_subscribe(filter.pattern()) {
            return Err(Reason::NotAuthorized);
        }
        let is_shared = filter.group().is_some();
        let is_new = self.add(&filter, options, now, mark)?;
        // New rules may have come between; who put them in force then did not see it yet.
        if self.refresh_rules() && !self.rules().may_subscribe(filter.pattern()) {
            self.inner().drop_denied(self.slot(), self.rules(), now);
            return Err(Reason::NotAuthorized);
        }
        // [MQTT-3.3.1-9] to [MQTT-3.3.1-11]; shared subscriptions get none.
        let replays = match options.retain_handling {
            RetainHandling::Send => true,
            RetainHandling::SendIfNew => is_new,
            RetainHandling::DoNotSend => false,
        };
        // What is retained from here on finds the subscription.
        if replays && !is_shared && !read(&self.inner().retained).is_empty() {
            let ids = options.id.map(std::num::NonZeroU32::get).into_iter().collect();
            self.own()?.replays.add(filter.detach(), Owed { after: None, qos: options.qos, ids });
        }
        Ok(options.qos)
    }

    /// Writes it down, then lets it count; true if it is new.
    fn add(
        &self,
        filter: &Filter,
        options: crate::SubscriptionOptions,
        now: Timestamp,
        mark: &mut Option<u64>,
    ) -> Result<bool, Reason> {
        let inner = self.inner();
        let _changes = lock(&inner.changes);
        let mut pen = inner.pen();
        let mut state = self.own()?;
        let known = state.subscriptions.contains(filter);
        let full = state.subscriptions.len() >= inner.config.subscriptions_max
            || !state.subscriptions.has_room(filter)
            || inner.index.bytes() > inner.config.subscription_bytes_max;
        if !known && full {
            return Err(Reason::QuotaExceeded);
        }
        if let Some(pen) = pen.as_mut().filter(|_| self.slot().persistent) {
            let record = Record::Subscribed(self.slot().number, filter.text().clone(), options);
            *mark = Some(pen.write(&record, now)?);
        }
        inner.index.add(filter, Entry::new(self.slot().who, &options));
        // A copy, so that no frame is kept for it.
        state.subscriptions.insert(filter.detach(), options);
        Ok(!known)
    }

    /// Unsubscribes. Messages in the queue still come ([MQTT-3.10.4-3]).
    ///
    /// # Errors
    /// As [`subscribe`](Self::subscribe).
    pub fn unsubscribe(&mut self, filters: &[ByteString], now: Timestamp) -> Result<Granted<()>, Reason> {
        if filters.is_empty() {
            return Err(Reason::ProtocolError);
        }
        let mut granted = Granted { answers: Vec::with_capacity(filters.len()), mark: None };
        for text in filters {
            let answer = match Filter::parse(text.clone()) {
                Err(_) => Err(Reason::TopicFilterInvalid),
                Ok(filter) if self.remove(&filter, now, &mut granted.mark)? => Ok(()),
                Ok(_) => Err(Reason::NoSubscriptionExisted),
            };
            granted.answers.push(answer);
        }
        Ok(granted)
    }

    fn remove(&mut self, filter: &Filter, now: Timestamp, mark: &mut Option<u64>) -> Result<bool, Reason> {
        let inner = self.inner();
        let mut pen = inner.pen();
        let mut state = self.own()?;
        if !state.subscriptions.contains(filter) {
            return Ok(false);
        }
        if let Some(pen) = pen.as_mut().filter(|_| self.slot().persistent) {
            let record = Record::Unsubscribed(self.slot().number, filter.text().clone());
            *mark = Some(pen.write(&record, now)?);
        }
        inner.index.remove(filter, self.slot().who);
        state.subscriptions.remove(filter);
        state.replays.remove(filter);
        Ok(true)
    }

    /// Puts some of the retained messages that are owed into the queue, if it has room; true if it did, or there may be more
    /// that it has room for.
    pub(super) fn replay(&mut self, now: Timestamp, wakes: &mut Wakes) -> Result<bool, Reason> {
        let Some((filter, owed)) = self.own()?.replays.front() else { return Ok(false) };
        let mut page = Vec::with_capacity(REPLAY_PAGE);
        let next = read(&self.broker.inner.retained).find_some(
            filter.pattern(),
            owed.after.as_deref(),
            now,
            REPLAY_LOOKS,
            |message| {
                page.push(message.clone());
                page.len() < REPLAY_PAGE
            },
        );
        let mut pushed = false;
        for message in &page {
            let sent =
                self.broker.inner.deliver_retained(&self.slot, message, owed.qos, &owed.ids, now, wakes);
            match sent {
                Ok(true) => pushed = true,
                // No room: the rest comes when the client has read some.
                Ok(false) => return Ok(pushed),
                Err(Reason::QuotaExceeded) => crate::sys::add(&self.broker.inner.counters.dropped, 1),
                Err(reason) => return Err(reason),
            }
            self.own()?.replays.advance(&filter, message.topic.clone());
        }
        let mut state = self.own()?;
        match next {
            Some(after) => state.replays.advance(&filter, after),
            None => state.replays.remove(&filter),
        }
        Ok(pushed || !state.replays.is_empty())
    }
}
