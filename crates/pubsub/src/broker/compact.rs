//! The journal written anew: everything alive at its end, then what is before goes.

use super::slot::Slot;
use super::{Broker, Inner, read};
use crate::journal::{Line, Meta, PublishRef, Record, Retains, Whole};
use crate::{Message, Reason};
use bytestring::ByteString;
use std::collections::HashSet;
use std::sync::Arc;

/// Retained messages written at a time, so that publishers can write in between.
const PAGE: usize = 64;

impl Inner {
    /// Whether the journal is so much longer than what is alive in it that writing it anew pays.
    pub(super) fn is_overgrown(&self) -> bool {
        self.journal
            .as_ref()
            .is_some_and(|journal| journal.grown() > self.config.compact_bytes + 2 * journal.held() as u64)
    }
}

impl Broker {
    /// Writes the journal anew and trims it. Others go on meanwhile.
    ///
    /// # Errors
    /// [`Reason::ServerUnavailable`] when the journal fails; nothing is trimmed then.
    pub async fn compact(&self) -> Result<(), Reason> {
        let Some(journal) = &self.inner.journal else { return Ok(()) };
        let begin = self.write_with_room(&Record::Begin).await?;
        journal.pen().restart_growth();
        let mut written = HashSet::new();
        self.write_retained(&mut written).await?;
        let mut slots: Vec<Arc<Slot>> = read(&self.inner.slots).values().cloned().collect();
        slots.retain(|slot| slot.persistent);
        for slot in slots {
            self.write_session(&slot, &mut written).await?;
        }
        let end = self.write_with_room(&Record::End).await?;
        journal.durable(end).await?;
        journal.trim(begin).await?;
        tracing::debug!(begin, end, "the journal of messages is written anew");
        Ok(())
    }

    async fn write_with_room(&self, record: &Record) -> Result<u64, Reason> {
        loop {
            let result = match self.inner.pen() {
                Some(mut pen) => pen.write(record, self.inner.now()),
                None => Err(Reason::ImplementationSpecificError),
            };
            match result {
                Err(Reason::ServerBusy) => self.room().await?,
                result => return result,
            }
        }
    }

    async fn write_retained(&self, written: &mut HashSet<u64>) -> Result<(), Reason> {
        let mut after: Option<ByteString> = None;
        loop {
            let page = read(&self.inner.retained).page(after.as_deref(), PAGE);
            let Some(last) = page.last() else { return Ok(()) };
            after = Some(last.topic.clone());
            for message in page {
                self.write_in_room(&message, true, written).await?;
            }
        }
    }

    /// Writes a message as soon as there is room for it. A journal that failed is told, and not asked again.
    async fn write_in_room(
        &self,
        message: &Arc<Message>,
        retained: bool,
        written: &mut HashSet<u64>,
    ) -> Result<(), Reason> {
        loop {
            match self.write_message(message, retained, written) {
                Err(Reason::ServerBusy) => self.room().await?,
                result => return result,
            }
        }
    }

    /// Writes a message that is alive. A retained one only if it still is: what replaced it is already written.
    fn write_message(
        &self,
        message: &Arc<Message>,
        retained: bool,
        written: &mut HashSet<u64>,
    ) -> Result<(), Reason> {
        let Some(stored) = &message.stored else { return Ok(()) };
        let Some(mut pen) = self.inner.pen() else { return Ok(()) };
        if retained {
            let store = read(&self.inner.retained);
            if !store.get(&message.topic).is_some_and(|current| Arc::ptr_eq(current, message)) {
                return Ok(());
            }
        } else if written.contains(&stored.id) {
            return Ok(());
        }
        let retains = if retained { Retains::Sets } else { Retains::Nothing };
        let publish = PublishRef { id: stored.id, message, retains, targets: &[], from: None };
        pen.publish(&publish, self.inner.now())?;
        written.insert(stored.id);
        Ok(())
    }

    async fn write_session(&self, slot: &Arc<Slot>, written: &mut HashSet<u64>) -> Result<(), Reason> {
        loop {
            let messages: Vec<Arc<Message>> = {
                let state = slot.state();
                let line = state.outbound.line().filter_map(|(_, _, _, delivery)| delivery);
                line.map(|delivery| delivery.message.clone()).collect()
            };
            for message in messages {
                self.write_in_room(&message, false, written).await?;
            }
            match self.write_whole(slot, written) {
                // A message came meanwhile, or there is no room: once more from the start.
                Ok(false) => {}
                Ok(true) => return Ok(()),
                Err(Reason::ServerBusy) => self.room().await?,
                Err(reason) => return Err(reason),
            }
        }
    }

    /// Writes the session's own record; false if a message in its line is not written yet.
    fn write_whole(&self, slot: &Arc<Slot>, written: &HashSet<u64>) -> Result<bool, Reason> {
        let Some(mut pen) = self.inner.pen() else { return Ok(true) };
        let state = slot.state();
        if state.ended {
            return Ok(true);
        }
        let mut line = Vec::with_capacity(state.outbound.len());
        for (number, at, qos, delivery) in state.outbound.line() {
            let message =
                match delivery.map(|delivery| delivery.message.stored.as_ref().map(|stored| stored.id)) {
                    Some(Some(id)) if !written.contains(&id) => return Ok(false),
                    // Not in the journal before either.
                    Some(None) => continue,
                    other => other.flatten(),
                };
            let (retain, ids) =
                delivery.map_or_else(Default::default, |delivery| (delivery.retain, delivery.ids.clone()));
            line.push(Line { number, state: at, qos, message, retain, ids });
        }
        // While connected the time does not count; after that it is when the connection was lost.
        let since = state.end_at.map(|end| end.as_millis() - i64::from(state.expiry) * 1000);
        let at = since.map_or_else(|| self.inner.now(), ironbrook_model::Timestamp::from_millis);
        let whole = Whole {
            meta: Meta {
                number: slot.number,
                expiry: state.expiry,
                connected: state.link.is_some(),
                at,
                sent: state.outbound.sent(),
                will: state.will.as_deref().cloned(),
            },
            client_id: slot.client_id.clone(),
            user: slot.user.clone(),
            next: state.outbound.next_number(),
            subscriptions: state
                .subscriptions
                .iter()
                .map(|(filter, options)| (filter.text().clone(), *options))
                .collect(),
            line,
            unreleased: state.inbound.unreleased().collect(),
        };
        drop(state);
        pen.write(&Record::Session(Box::new(whole)), self.inner.now()).map(|_| true)
    }
}
