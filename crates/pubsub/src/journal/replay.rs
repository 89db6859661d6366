//! The journal read at start.

use super::{Record, Retains, Stored, Whole};
use crate::session::{Delivery, Inbound, Outbound, Subscriptions};
use crate::topic::Filter;
use crate::{Message, Will};
use bytestring::ByteString;
use ironbrook_log::{Error, Log, Offset, PartitionId};
use ironbrook_model::Timestamp;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Records read at a time.
const READ_RECORDS: usize = 1024;
const READ_BYTES: usize = 4 << 20;
/// Messages held that nobody may want, before they are looked through.
const FORGET_AT: usize = 64 * 1024;

/// A session read back.
#[derive(Default)]
pub(crate) struct RestoredSession {
    pub client_id: ByteString,
    pub user: Option<ByteString>,
    pub expiry: u32,
    pub connected: bool,
    pub at: Timestamp,
    pub will: Option<Will>,
    pub subscriptions: Subscriptions,
    pub outbound: Outbound,
    pub inbound: Inbound,
}

/// All that was alive.
#[derive(Default)]
pub(crate) struct Restored {
    pub sessions: BTreeMap<u64, RestoredSession>,
    pub retained: HashMap<ByteString, Arc<Message>>,
    pub next_message: u64,
    pub next_session: u64,
    /// Records that could not be read.
    pub damaged: u64,
    pub held: Arc<AtomicUsize>,
    /// Bytes read.
    pub bytes: u64,
    /// Between `Begin` and `End` messages stand before the sessions that want them.
    rewriting: bool,
    /// Messages by number; cleared of what nobody wants now and then.
    messages: HashMap<u64, Arc<Message>>,
}

/// Reads the journal.
pub(crate) async fn replay(log: &dyn Log, partition: PartitionId) -> Result<Restored, Error> {
    let mut state = Restored::default();
    let bounds = log.bounds(partition);
    let mut next = bounds.first;
    let mut read = 0;
    while next < bounds.end {
        let batch = log.read(partition, super::QUEUE, next, READ_RECORDS, READ_BYTES).await?;
        if batch.next <= next {
            break;
        }
        next = batch.next;
        for record in batch.records {
            read += 1;
            state.bytes += (record.header.len() + record.body.len()) as u64;
            match Record::read(&record.header, &record.body) {
                Some(record) => state.apply(record),
                None => state.damaged += 1,
            }
        }
        if !state.rewriting && state.messages.len() > FORGET_AT {
            state.forget_unwanted();
        }
    }
    // Who was connected at the end of the process may have got what no record speaks of ([MQTT-3.3.1-1]).
    for session in state.sessions.values_mut().filter(|session| session.connected) {
        session.outbound.restore_all_sent();
    }
    // Numbers are dense: what is missing was damaged and is counted by the log.
    let Offset(span) = Offset(bounds.end.0 - bounds.first.0);
    state.damaged += span.saturating_sub(read);
    state.messages = HashMap::new();
    Ok(state)
}

impl Restored {
    pub(super) fn apply(&mut self, record: Record) {
        match record {
            Record::Publish { id, message, retains, targets, from } => {
                self.publish(id, message, retains, targets);
                self.came_from(from);
            }
            Record::Cleared(topic, from) => {
                self.retained.remove(&topic);
                self.came_from(from);
            }
            Record::Session(whole) => self.session(*whole),
            Record::Meta(meta) => self.with(meta.number, |session| {
                session.expiry = meta.expiry;
                session.connected = meta.connected;
                session.at = meta.at;
                session.outbound.restore_sent(meta.sent);
                session.will = meta.will;
            }),
            Record::Ended(session) => {
                self.next_session = self.next_session.max(session + 1);
                self.sessions.remove(&session);
            }
            Record::Subscribed(session, filter, options) => self.with(session, |session| {
                subscribe(&mut session.subscriptions, filter, options);
            }),
            Record::Unsubscribed(session, filter) => self.with(session, |session| {
                if let Ok(filter) = Filter::parse(filter) {
                    session.subscriptions.remove(&filter);
                }
            }),
            Record::Settled(session, numbers) => self.with(session, |session| {
                numbers.into_iter().for_each(|number| session.outbound.finish(number));
            }),
            Record::Released(session, number) => {
                self.with(session, |session| session.outbound.release(number));
            }
            Record::Taken(session, id) => self.with(session, |session| session.inbound.restore(id)),
            Record::Freed(session, id) => self.with(session, |session| {
                if let Some(id) = std::num::NonZeroU16::new(id) {
                    session.inbound.release(id);
                }
            }),
            Record::Begin => self.rewriting = true,
            Record::End => {
                self.rewriting = false;
                self.forget_unwanted();
            }
        }
    }

    fn came_from(&mut self, from: Option<(u64, u16)>) {
        if let Some((session, id)) = from {
            self.with(session, |session| session.inbound.restore(id));
        }
    }

    fn forget_unwanted(&mut self) {
        self.messages.retain(|_, message| Arc::strong_count(message) > 1);
    }

    fn with(&mut self, session: u64, change: impl FnOnce(&mut RestoredSession)) {
        if let Some(session) = self.sessions.get_mut(&session) {
            change(session);
        }
    }

    fn publish(&mut self, id: u64, mut message: Message, retains: Retains, targets: Vec<super::Target>) {
        self.next_message = self.next_message.max(id + 1);
        // The same message comes again where the journal is written anew.
        let message = match self.messages.get(&id) {
            Some(known) => known.clone(),
            None => {
                let size = message.size();
                self.held.fetch_add(size, Ordering::Relaxed);
                message.stored =
                    Some(Stored { id, offset: AtomicU64::new(0), size, held: self.held.clone() });
                Arc::new(message)
            }
        };
        self.messages.insert(id, message.clone());
        for target in targets {
            let delivery = Delivery {
                message: message.clone(),
                qos: target.qos,
                retain: target.retain,
                gated: true,
                ids: target.ids,
                group: None,
            };
            self.with(target.session, |session| {
                let waiting = crate::session::State::Waiting;
                session.outbound.restore(target.number, waiting, target.qos, Some(delivery));
            });
        }
        match retains {
            Retains::Nothing => {}
            Retains::Sets => {
                self.retained.insert(message.topic.clone(), message);
            }
            Retains::Clears => {
                self.retained.remove(&message.topic);
            }
        }
    }

    fn session(&mut self, whole: Whole) {
        let meta = whole.meta;
        self.next_session = self.next_session.max(meta.number + 1);
        let mut session = RestoredSession {
            client_id: whole.client_id,
            user: whole.user,
            expiry: meta.expiry,
            connected: meta.connected,
            at: meta.at,
            will: meta.will,
            ..RestoredSession::default()
        };
        for (filter, options) in whole.subscriptions {
            subscribe(&mut session.subscriptions, filter, options);
        }
        for line in whole.line {
            let message = line.message.map(|id| self.messages.get(&id).cloned());
            let delivery = match message {
                // Its record was damaged: the session goes on without it.
                Some(None) => {
                    self.damaged += 1;
                    continue;
                }
                Some(Some(message)) => Some(Delivery {
                    message,
                    qos: line.qos,
                    retain: line.retain,
                    gated: true,
                    ids: line.ids,
                    group: None,
                }),
                None => None,
            };
            session.outbound.restore(line.number, line.state, line.qos, delivery);
        }
        session.outbound.restore_next(whole.next);
        session.outbound.restore_sent(meta.sent);
        whole.unreleased.into_iter().for_each(|id| session.inbound.restore(id));
        self.sessions.insert(meta.number, session);
    }
}

fn subscribe(subscriptions: &mut Subscriptions, filter: ByteString, options: crate::SubscriptionOptions) {
    if let Ok(filter) = Filter::parse(filter) {
        subscriptions.insert(filter, options);
    }
}
