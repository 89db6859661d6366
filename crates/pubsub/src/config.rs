//! Settings and bounds.

use std::time::Duration;

/// What happens to a message of QoS 1 or 2 for a session whose queue is full. QoS 0 is always left out there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WhenFull {
    /// It is left out there and counted; the publisher and all others do not notice. One stuck client must not stop a plant.
    #[default]
    DropNewest,
    /// Nobody gets it, and the publisher is told so with "quota exceeded".
    Refuse,
}

/// Settings and bounds of a broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// How many messages of QoS 1 and 2 a client may have under way to the broker.
    pub receive_maximum: u16,
    /// How many the broker has under way to a client at most, whatever the client allows.
    pub inflight_max: u16,
    /// How many aliases a client may set.
    pub topic_alias_maximum: u16,
    /// How many aliases the broker sets for a client at most.
    pub aliases_out_max: u16,
    /// Messages in the queue of a session.
    pub queued_messages_max: usize,
    /// Bytes in the queue of a session.
    pub queued_bytes_max: usize,
    /// See there.
    pub when_full: WhenFull,
    /// Bytes of a payload; the journal takes no record above 16 MiB.
    pub payload_bytes_max: usize,
    /// The longest a session outlives its connection.
    pub session_expiry_max: Duration,
    /// Sessions, connected or not.
    pub sessions_max: usize,
    /// Filters of a session.
    pub subscriptions_max: usize,
    /// Bytes of memory that the filters of all sessions may take, about.
    pub subscription_bytes_max: usize,
    /// Retained messages.
    pub retained_max: usize,
    /// Bytes of retained messages.
    pub retained_bytes_max: usize,
    /// Bytes of messages that wait for persistent sessions or are retained, each counted once. A quarter more is in reserve for
    /// sessions whose queue is short.
    pub stored_bytes_max: usize,
    /// Bytes the journal grows by, beyond twice what is alive in it, before it is written anew.
    pub compact_bytes: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            receive_maximum: 1024,
            inflight_max: 1024,
            topic_alias_maximum: 64,
            aliases_out_max: 16,
            queued_messages_max: 4096,
            queued_bytes_max: 4 << 20,
            when_full: WhenFull::default(),
            payload_bytes_max: 4 << 20,
            session_expiry_max: Duration::from_secs(7 * 24 * 60 * 60),
            sessions_max: 100_000,
            subscriptions_max: 10_000,
            subscription_bytes_max: 512 << 20,
            retained_max: 200_000,
            retained_bytes_max: 256 << 20,
            stored_bytes_max: 256 << 20,
            compact_bytes: 64 << 20,
        }
    }
}
