//! What goes from those who take messages back to the connection: acknowledgements, and room.

use ironbrook_wire::mqtt::PacketId;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use tokio::sync::Notify;

/// Bytes of messages that wait for the program above which no more are read.
const WAITING_BYTES_MAX: usize = 16 * 1024 * 1024;

/// What a message is acknowledged by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Token {
    pub id: PacketId,
    /// What the identifier holds for: with QoS 1 the connection, with QoS 2 the session of the server.
    pub scope: Scope,
}

/// See [`Token::scope`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    Connection(u64),
    Session(u64),
}

/// Shared by the driver and the messages. The number of tokens is bounded by that of messages that may be unacknowledged.
#[derive(Debug, Default)]
pub(super) struct Flow {
    tokens: Mutex<Vec<Token>>,
    waiting_bytes: AtomicUsize,
    changed: Notify,
}

impl Flow {
    /// A message waits for the program.
    pub(super) fn waits(&self, bytes: usize) {
        self.waiting_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// The program has taken one.
    pub(super) fn taken(&self, bytes: usize) {
        self.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.changed.notify_one();
    }

    pub(super) fn has_room(&self) -> bool {
        self.waiting_bytes.load(Ordering::Relaxed) < WAITING_BYTES_MAX
    }

    /// A message is done with.
    pub(super) fn acknowledge(&self, token: Token) {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner).push(token);
        self.changed.notify_one();
    }

    /// The messages that are done with since the last time.
    pub(super) fn acknowledged(&self, into: &mut Vec<Token>) {
        std::mem::swap(&mut *self.tokens.lock().unwrap_or_else(PoisonError::into_inner), into);
    }

    /// Nobody takes messages any more.
    pub(super) fn left(&self) {
        self.changed.notify_one();
    }

    /// Waits for any of these. Cancel-safe.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }
}
