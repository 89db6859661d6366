//! How a session gets its deliveries: from its mailbox, and from the inbox while it has room.
//!
//! Everything that waits is kept here between calls, so that a caller may drop the future of `next` at any time: above
//! all a lock under way, whose messages would be lost to the device until the lock ends.

use super::{Session, lock, release};
use crate::operation::{Delivery, LockedMessage};
use crate::seams::Mailbox;
use ironbrook_model::{Refusal, Timestamp};
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

/// Messages a device may have unsettled.
///
/// rule HUB-03: Azure's own gateway caps it at 10 as well.
const UNSETTLED_MAX: usize = 10;
/// How long the inbox is left alone after it failed.
const INBOX_PAUSE: Duration = Duration::from_secs(1);

type Kept<T> = Pin<Box<dyn Future<Output = T> + Send>>;
/// A lock under way.
pub(super) type Locking = Kept<Result<Vec<LockedMessage>, Refusal>>;

/// What is being done about the inbox.
#[derive(Default)]
enum Inbox {
    #[default]
    Idle,
    /// Waiting for a message, or for the window to open, or out a failure. May be dropped at any time.
    Waiting(Kept<()>),
    /// Must be run to the end.
    Locking(Locking),
}

/// The receiving side of a session.
#[derive(Default)]
pub(super) struct Pull {
    ended: bool,
    /// Locked for this session and not yet handed to the door.
    ready: VecDeque<LockedMessage>,
    inbox: Inbox,
    expiry: Option<(Timestamp, Kept<()>)>,
    /// The count of identity changes that were looked at.
    checked: u32,
}

impl Pull {
    pub(super) fn take_locking(&mut self) -> Option<Locking> {
        match std::mem::take(&mut self.inbox) {
            Inbox::Locking(locking) => Some(locking),
            _ => None,
        }
    }

    pub(super) async fn next(&mut self, session: &Session) -> Delivery {
        if self.ended {
            std::future::pending::<()>().await;
        }
        loop {
            let changes = session.mailbox.changes();
            if changes != self.checked {
                // Rare, and larger than all the rest of what a session waits for.
                Box::pin(session.check_again()).await;
                // After the await: a cancelled check is done again.
                self.checked = changes;
            }
            if let Some(delivery) = session.mailbox.take() {
                self.ended = matches!(delivery, Delivery::Closed(_));
                return delivery;
            }
            self.follow_subscription(session);
            if let Some(message) = self.ready.pop_front() {
                return Delivery::CloudToDevice(message);
            }
            self.wait(session).await;
        }
    }

    /// After an unsubscription what is locked goes back.
    fn follow_subscription(&mut self, session: &Session) {
        if session.takes_commands() {
            return;
        }
        if matches!(self.inbox, Inbox::Waiting(_)) {
            self.inbox = Inbox::Idle;
        }
        if !self.ready.is_empty() {
            let tokens: Vec<_> = self.ready.drain(..).map(|message| message.lock).collect();
            lock(&session.unsettled).retain(|(token, _)| !tokens.contains(token));
            let (core, identity) = (Arc::clone(&session.core), session.identity.clone());
            session.core.tasks.spawn_on(
                async move { release(&core, &identity, tokens.into_iter()).await },
                &session.core.runtime,
            );
        }
    }

    /// Waits for anything that may change what `next` finds.
    async fn wait(&mut self, session: &Session) {
        self.keep_expiry(session);
        let mut rung = false;
        let expiry = async {
            match &mut self.expiry {
                Some((at, kept)) => {
                    kept.as_mut().await;
                    *at
                }
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = session.mailbox.rung() => rung = true,
            at = expiry => {
                self.expiry = None;
                session.mailbox.close(session.expired(at));
            }
            () = step(&mut self.inbox, &mut self.ready, session) => {}
        }
        // The window may have opened: look at it anew.
        if rung && matches!(self.inbox, Inbox::Waiting(_)) && window(session, session.core.now()).is_ok() {
            self.inbox = Inbox::Idle;
        }
    }

    /// Keeps one timer for the credential's end, replaced when it is renewed.
    fn keep_expiry(&mut self, session: &Session) {
        let wanted = session.expires();
        if self.expiry.as_ref().map(|(at, _)| *at) != wanted {
            self.expiry = wanted.map(|at| {
                let clock = Arc::clone(&session.core.seams.clock);
                (at, Box::pin(async move { clock.sleep_until(at).await }) as Kept<()>)
            });
        }
    }
}

/// How many messages may be locked now; otherwise when the first lock ends by itself.
fn window(session: &Session, now: Timestamp) -> Result<usize, Timestamp> {
    let mut unsettled = lock(&session.unsettled);
    unsettled.retain(|(_, ends)| *ends > now);
    match UNSETTLED_MAX.saturating_sub(unsettled.len()) {
        0 => Err(unsettled.iter().map(|(_, ends)| *ends).min().unwrap_or(now)),
        room => Ok(room),
    }
}

/// One step towards the next message of the inbox. Cancel-safe: its state stays in `inbox`.
async fn step(inbox: &mut Inbox, ready: &mut VecDeque<LockedMessage>, session: &Session) {
    match inbox {
        Inbox::Idle if session.takes_commands() => *inbox = Inbox::Waiting(waiting(session)),
        Inbox::Idle => std::future::pending().await,
        Inbox::Waiting(kept) => {
            kept.as_mut().await;
            *inbox = match window(session, session.core.now()) {
                Ok(room) => Inbox::Locking(locking(session, room)),
                Err(_) => Inbox::Idle,
            };
        }
        Inbox::Locking(kept) => match kept.as_mut().await {
            Ok(messages) => {
                *inbox = Inbox::Idle;
                let ends = session.core.now().plus(session.core.limits.lock_for);
                lock(&session.unsettled).extend(messages.iter().map(|message| (message.lock, ends)));
                ready.extend(messages);
            }
            Err(refusal) => {
                tracing::warn!(code = %refusal.code, identity = %session.identity, reason = %refusal.message,
                    "could not lock messages for a device");
                let clock = Arc::clone(&session.core.seams.clock);
                *inbox = Inbox::Waiting(Box::pin(async move { clock.sleep(INBOX_PAUSE).await }));
            }
        },
    }
}

fn waiting(session: &Session) -> Kept<()> {
    let seams = &session.core.seams;
    match window(session, seams.clock.now()) {
        Ok(_) => {
            let (inbox, identity) = (Arc::clone(&seams.inbox), session.identity.clone());
            Box::pin(async move { inbox.available(&identity).await })
        }
        Err(opens) => {
            let clock = Arc::clone(&seams.clock);
            Box::pin(async move { clock.sleep_until(opens).await })
        }
    }
}

fn locking(session: &Session, room: usize) -> Locking {
    let (inbox, identity) = (Arc::clone(&session.core.seams.inbox), session.identity.clone());
    let lock_for = session.core.limits.lock_for;
    Box::pin(async move { inbox.lock(&identity, room, lock_for).await })
}
