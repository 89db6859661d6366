//! The start: bounds are checked, the journal is read, sessions are put back.

use super::slot::Slot;
use super::{Broker, CLIENT_SHARDS, Inner};
use crate::acl::{Acl, INTERNAL_USER};
use crate::journal::{Journal, Restored, RestoredSession, replay};
use crate::retained::Retained;
use crate::topic::Entry;
use crate::{Config, Reason};
use ironbrook_log::{Log, PartitionId};
use ironbrook_model::Timestamp;
use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64};
use std::sync::{Arc, Mutex, RwLock};

/// The most a session's queue may be allowed to hold: the journal writes a session as one record.
const QUEUED_MESSAGES_MAX: usize = 100_000;
/// The most a payload may be allowed to have, for the same reason.
const PAYLOAD_BYTES_MAX: usize = 8 << 20;

/// Why a broker did not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A setting beyond what the journal can hold.
    #[error("{0}")]
    Config(&'static str),
    /// The log failed.
    #[error("the journal could not be read: {0}")]
    Log(#[from] ironbrook_log::Error),
    /// More sessions on disk than the configuration allows.
    #[error("there are more sessions on disk than `sessions_max` allows; raise it")]
    Sessions,
}

impl Broker {
    /// Opens a broker. Without a journal nothing outlives the process; with one, that partition belongs to the broker alone,
    /// and its log must keep what is not trimmed.
    pub async fn open(
        config: Config,
        acl: Acl,
        journal: Option<(Arc<dyn Log>, PartitionId)>,
        now: Timestamp,
    ) -> Result<Self, OpenError> {
        if config.queued_messages_max > QUEUED_MESSAGES_MAX {
            return Err(OpenError::Config("`queued_messages_max` may be 100,000 at most"));
        }
        if config.payload_bytes_max > PAYLOAD_BYTES_MAX {
            return Err(OpenError::Config("`payload_bytes_max` may be 8 MiB at most"));
        }
        let (restored, journal) = match journal {
            None => (Restored::default(), None),
            Some((log, partition)) => {
                let restored = replay(&*log, partition).await?;
                let (next, held) = (restored.next_message, restored.held.clone());
                let journal =
                    Journal::new(log, partition, next, restored.bytes, held, config.stored_bytes_max);
                (restored, Some(journal))
            }
        };
        let inner = Inner {
            acl: RwLock::new(Arc::new(acl)),
            acl_generation: AtomicU64::new(1),
            clients: std::iter::repeat_with(Mutex::default).take(CLIENT_SHARDS).collect(),
            hash: std::hash::RandomState::new(),
            slots: RwLock::default(),
            next_who: AtomicU32::new(0),
            next_number: AtomicU64::new(restored.next_session),
            index: crate::topic::Index::default(),
            held_back: tokio::sync::watch::Sender::new(false),
            changes: Mutex::default(),
            retained: RwLock::new(Retained::new(config.retained_max, config.retained_bytes_max)),
            journal,
            timers: Mutex::default(),
            sweep: Mutex::default(),
            counters: crate::sys::Counters::default(),
            now: AtomicI64::new(now.as_millis()),
            config,
        };
        inner.counters.damaged.store(restored.damaged, std::sync::atomic::Ordering::Relaxed);
        let broker = Self { inner: Arc::new(inner) };
        broker.inner.put_back(restored, now)?;
        broker.tick(now);
        Ok(broker)
    }
}

impl Inner {
    fn put_back(&self, restored: Restored, now: Timestamp) -> Result<(), OpenError> {
        let mut retained = super::write(&self.retained);
        for message in restored.retained.into_values() {
            retained.set(message);
        }
        drop(retained);
        for (number, session) in restored.sessions {
            self.put_back_session(number, session, now).map_err(|_| OpenError::Sessions)?;
        }
        Ok(())
    }

    fn put_back_session(&self, number: u64, session: RestoredSession, now: Timestamp) -> Result<(), Reason> {
        let slot: Arc<Slot> = self.new_slot(number, session.client_id.clone(), session.user, true)?;
        let mut state = slot.state();
        state.expiry = session.expiry;
        state.will = session.will.map(Box::new);
        state.outbound = session.outbound;
        state.outbound.restored(session.connected.then_some(self.config.inflight_max));
        state.inbound = session.inbound;
        for (filter, options) in session.subscriptions.iter() {
            self.index.add(filter, Entry::new(slot.who, options));
        }
        state.subscriptions = session.subscriptions;
        // Who was connected when the process ended lost the connection now, as far as anybody can tell; a part of this process
        // could not come back before.
        let is_internal = slot.user.as_deref() == Some(INTERNAL_USER);
        self.arm(&slot, &mut state, if session.connected || is_internal { now } else { session.at });
        drop(state);
        // The rules may have changed since.
        let (rules, _) = self.rules_of(slot.user.as_deref(), &slot.client_id);
        self.drop_denied(&slot, &rules, now);
        self.clients_of(&session.client_id).insert(session.client_id, slot);
        Ok(())
    }
}
