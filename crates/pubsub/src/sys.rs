//! Counters of the broker as data; who wants them as `$SYS` topics publishes them.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counters since the start. Handles gather their own and add them once per batch, so that threads do not fight for them.
#[derive(Debug, Default)]
pub struct Counters {
    pub(crate) received: AtomicU64,
    pub(crate) sent: AtomicU64,
    pub(crate) bytes_received: AtomicU64,
    pub(crate) bytes_sent: AtomicU64,
    pub(crate) dropped: AtomicU64,
    pub(crate) expired: AtomicU64,
    pub(crate) connected: AtomicU64,
    pub(crate) damaged: AtomicU64,
}

pub(crate) fn add(counter: &AtomicU64, count: u64) {
    if count > 0 {
        counter.fetch_add(count, Ordering::Relaxed);
    }
}

/// A look at the counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Snapshot {
    /// Publishes taken from clients.
    pub messages_received: u64,
    /// Publishes handed out to clients.
    pub messages_sent: u64,
    /// Their payload bytes.
    pub bytes_received: u64,
    /// Their payload bytes.
    pub bytes_sent: u64,
    /// Messages left out for a session whose queue was full or whose client takes no packets so large.
    pub messages_dropped: u64,
    /// Messages that expired in a queue.
    pub messages_expired: u64,
    /// Connected clients.
    pub clients_connected: u64,
    /// Sessions, connected or not.
    pub sessions: u64,
    /// Subscriptions.
    pub subscriptions: u64,
    /// About how much memory their filters take.
    pub subscription_bytes: u64,
    /// Retained messages.
    pub retained: u64,
    /// Their bytes.
    pub retained_bytes: u64,
    /// Bytes of messages on disk that are retained or wait for somebody.
    pub stored_bytes: u64,
    /// Records of the journal that could not be read at start.
    pub journal_damaged: u64,
}

impl Snapshot {
    /// Names below `$SYS/broker/` and values, in the spelling other brokers use.
    pub fn topics(&self) -> [(&'static str, u64); 14] {
        [
            ("messages/publish/received", self.messages_received),
            ("messages/publish/sent", self.messages_sent),
            ("bytes/publish/received", self.bytes_received),
            ("bytes/publish/sent", self.bytes_sent),
            ("publish/messages/dropped", self.messages_dropped),
            ("publish/messages/expired", self.messages_expired),
            ("clients/connected", self.clients_connected),
            ("clients/total", self.sessions),
            ("subscriptions/count", self.subscriptions),
            ("subscriptions/bytes", self.subscription_bytes),
            ("retained messages/count", self.retained),
            ("retained messages/bytes", self.retained_bytes),
            ("store/messages/bytes", self.stored_bytes),
            ("store/damaged", self.journal_damaged),
        ]
    }
}
