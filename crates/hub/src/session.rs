//! An authenticated identity's stay: its claim, its deliveries, its end.

mod kept;
mod pull;

use crate::hub::{ConnectRequest, Core, Credential};
use crate::mailbox::SessionMailbox;
use crate::operation::{Delivery, LockToken, Settlement};
use crate::record::Stamps;
use crate::seams::{Activity, Epoch, Kept, Mailbox};
use crate::throttle::Bucket;
use crate::{connection_state, telemetry};
use ironbrook_log::{Offset, PartitionId, Ticket, Wait};
use ironbrook_model::{DeviceId, ErrorCode, Identity, MessageSource, Refusal, SystemProperty, Timestamp};
use pull::Pull;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

/// The `expires` of a session whose credential does not end.
const NEVER: i64 = i64::MAX;

/// An authenticated identity's stay. Dropping it gives the claim up and releases its locks.
///
/// All methods take `&self`, so that a door can wait in [`next`](Self::next) while operations run.
pub struct Session {
    core: Arc<Core>,
    identity: Identity,
    auth_method: String,
    generation_id: String,
    partition: PartitionId,
    /// How fast it may send, where that is limited.
    rate: Option<Bucket>,
    stamps: Stamps,
    credential: Mutex<Credential>,
    expires: AtomicI64,
    mailbox: Arc<SessionMailbox>,
    claim: Option<Epoch>,
    takes_commands: AtomicBool,
    /// What is stored of its subscriptions; `None` where the session is clean.
    kept: Mutex<Option<Kept>>,
    /// Cloud-to-device messages locked for this session, and when each lock ends by itself.
    unsettled: Mutex<Vec<(LockToken, Timestamp)>>,
    pull: tokio::sync::Mutex<Pull>,
}

impl Session {
    pub(crate) async fn open(core: Arc<Core>, request: ConnectRequest) -> Result<Self, Refusal> {
        let identity = request.identity;
        let found = core.auth.device(&identity, &request.credential).await?;
        if request.lasting
            && let Err(refusal) = core.throttles.connect(&identity)
        {
            tracing::warn!(code = %refusal.code, %identity, reason = %refusal.message, "refused a device");
            core.auth.refused(&identity, &refusal).await;
            return Err(refusal);
        }
        let mut stamps = Stamps::default();
        telemetry::stamp_identity(&mut stamps, &identity);
        stamps.push(SystemProperty::ConnectionAuthMethod, &found.auth_method);
        stamps.push(SystemProperty::ConnectionGenerationId, &found.generation_id);
        let mut session = Self {
            partition: telemetry::partition_of(&identity, core.seams.log.partitions()),
            rate: core.throttles.of_session(),
            core,
            identity,
            auth_method: found.auth_method,
            generation_id: found.generation_id,
            stamps,
            credential: Mutex::new(request.credential),
            expires: AtomicI64::new(found.refused_from.map_or(NEVER, Timestamp::as_millis)),
            mailbox: Arc::new(SessionMailbox::new(found.via)),
            claim: None,
            takes_commands: AtomicBool::new(false),
            kept: Mutex::default(),
            unsettled: Mutex::default(),
            pull: tokio::sync::Mutex::default(),
        };
        if let Some(model) = &request.model_id {
            session.core.seams.twins.announce_model(&session.identity, model).await?;
        }
        // So that the first message need not wait for it.
        session.core.router.load_twin(MessageSource::DeviceMessages, &session.identity).await?;
        if request.lasting {
            session.claim(request.clean_session).await?;
        }
        Ok(session)
    }

    async fn claim(&mut self, clean_session: bool) -> Result<(), Refusal> {
        let seams = &self.core.seams;
        self.mailbox.connected(self.core.now());
        let mailbox = Arc::clone(&self.mailbox) as Arc<dyn Mailbox>;
        self.claim = Some(seams.fabric.claim(&self.identity, mailbox).await?);
        // A change between the check and the claim reached nobody: look once more.
        self.mailbox.changed();
        // rule HUB-04: a stored subscription counts from the first moment of a session that is not clean.
        if !clean_session && seams.inbox.is_subscribed(&self.identity).await? {
            self.takes_commands.store(true, Ordering::Release);
        }
        if !clean_session {
            self.restore(seams.inbox.kept(&self.identity).await?);
        }
        self.core.metrics.connected.set(i64::try_from(seams.fabric.connected()).unwrap_or(i64::MAX));
        connection_state::publish(&self.core, &self.identity, true);
        Ok(())
    }

    /// Who.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// When the credential ends; `None` for certificates. The session closes itself then, with a [`Delivery::Closed`].
    pub fn expires(&self) -> Option<Timestamp> {
        let millis = self.expires.load(Ordering::Acquire);
        (millis != NEVER).then(|| Timestamp::from_millis(millis))
    }

    /// The JSON text of `iothub-connection-auth-method`.
    pub fn auth_method(&self) -> &str {
        &self.auth_method
    }

    /// The gateway device whose credential proved the identity, where it was not its own.
    pub fn through(&self) -> Option<&DeviceId> {
        self.mailbox.via().last()
    }

    /// The next thing for the device; pulls from the inbox only while subscribed and within the window of 10 unsettled
    /// messages. After [`Delivery::Closed`] it waits for ever. Cancel-safe. One caller at a time is served.
    pub async fn next(&self) -> Delivery {
        let mut pull = self.pull.lock().await;
        let delivery = pull.next(self).await;
        match &delivery {
            Delivery::Closed(why) => {
                tracing::info!(code = %why.code, identity = %self.identity, reason = %why.message, "session closed");
            }
            Delivery::CloudToDevice(_) => self.received(),
            _ => {}
        }
        delivery
    }

    /// Tells that the device received a cloud-to-device message that did not come through [`next`](Self::next).
    pub fn received(&self) {
        self.active(self.core.now());
    }

    pub(crate) fn active(&self, now: Timestamp) {
        self.mailbox.active(now);
    }

    /// Tells that the credential was renewed and ends at another time, without a new session. The caller checked it;
    /// [`Hub::renew`](crate::Hub::renew) checks and replaces it.
    pub fn renew(&self, credential_expires: Option<Timestamp>) {
        self.expires.store(credential_expires.map_or(NEVER, Timestamp::as_millis), Ordering::Release);
        self.mailbox.ring();
    }

    pub(crate) fn replace_credential(&self, credential: Credential, expires: Option<Timestamp>) {
        *lock(&self.credential) = credential;
        self.renew(expires);
    }

    /// As [`Hub::durable`](crate::Hub::durable), for who polls; see [`Log::poll_durable`](ironbrook_log::Log::poll_durable).
    pub fn poll_durable(
        &self,
        ticket: Ticket,
        wait: &mut Wait,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Offset, Refusal>> {
        self.core.seams.log.poll_durable(ticket, wait, cx).map_err(telemetry::log_refusal)
    }

    /// How fast it may send, where that is limited.
    pub(crate) fn rate(&self) -> Option<&Bucket> {
        self.rate.as_ref()
    }

    pub(crate) fn partition(&self) -> PartitionId {
        self.partition
    }

    pub(crate) fn stamps(&self) -> &Stamps {
        &self.stamps
    }

    /// Why the session is over, if it is.
    pub(crate) fn closed(&self) -> Option<Refusal> {
        self.mailbox.closed()
    }

    pub(crate) fn set_takes_commands(&self, takes: bool) {
        self.takes_commands.store(takes, Ordering::Release);
        self.mailbox.ring();
    }

    pub(crate) fn set_takes_methods(&self, takes: bool) {
        self.mailbox.set_takes_methods(takes);
        if takes {
            self.core.seams.fabric.reachable(&self.identity);
        }
    }

    pub(crate) fn set_takes_desired(&self, takes: bool) {
        self.mailbox.set_takes_desired(takes);
    }

    pub(crate) fn set_takes_inputs(&self, takes: bool) {
        self.mailbox.set_takes_inputs(takes);
        if takes {
            self.core.seams.fabric.reachable(&self.identity);
        }
    }

    /// Settles a message to an input; false where the lock is none of an input.
    pub(crate) fn settle_input(&self, token: LockToken, settlement: Settlement) -> bool {
        self.mailbox.settle_input(token, settlement)
    }

    /// Makes room in the window for the next message.
    pub(crate) fn settled(&self, token: LockToken) {
        lock(&self.unsettled).retain(|(other, _)| *other != token);
        self.mailbox.ring();
    }

    fn takes_commands(&self) -> bool {
        self.takes_commands.load(Ordering::Acquire)
    }

    /// Checks the credential against the identity as it is now.
    async fn check_again(&self) {
        let credential = lock(&self.credential).clone();
        if let Err(refusal) = self.core.auth.again(&self.identity, &credential, &self.generation_id).await {
            // Not knowing the answer is no reason to cut a device off.
            if refusal.code.is_transient() {
                tracing::warn!(code = %refusal.code, identity = %self.identity, reason = %refusal.message,
                    "could not check a changed identity again");
            } else {
                self.core.auth.refused(&self.identity, &refusal).await;
                self.mailbox.close(refusal);
            }
        }
    }

    fn expired(&self, at: Timestamp) -> Refusal {
        Refusal::new(
            ErrorCode::IotHubUnauthorized,
            format!("the token of the connection is not accepted after {at}; connect again with a new one"),
        )
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("identity", &self.identity).finish_non_exhaustive()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let mut activity = self.mailbox.activity();
        let fabric = &self.core.seams.fabric;
        let is_mine = |epoch| fabric.find(&self.identity).is_some_and(|(found, _)| found == epoch);
        let current = self.claim.is_some_and(is_mine);
        if current {
            activity.connection_changed = Some(self.core.now());
        }
        // Before the release: who finds no session any more finds its end.
        if activity != Activity::default() {
            self.core.seams.identities.note_activity(&self.identity, &self.generation_id, activity);
        }
        if let Some(epoch) = self.claim {
            fabric.release(&self.identity, epoch);
            self.core.metrics.connected.set(i64::try_from(fabric.connected()).unwrap_or(i64::MAX));
            // A superseded session's identity is still connected.
            if current {
                connection_state::publish(&self.core, &self.identity, false);
            }
        }
        // Locks of inputs end with the session.
        self.mailbox.close(connection_state::ended());
        let locking = self.pull.get_mut().take_locking();
        let tokens: Vec<_> = lock(&self.unsettled).drain(..).map(|(token, _)| token).collect();
        if locking.is_some() || !tokens.is_empty() {
            let (core, identity) = (Arc::clone(&self.core), self.identity.clone());
            let release = async move {
                let late = match locking {
                    Some(locking) => locking.await.unwrap_or_default(),
                    None => Vec::new(),
                };
                release(&core, &identity, tokens.into_iter().chain(late.iter().map(|m| m.lock))).await;
            };
            self.core.tasks.spawn_on(release, &self.core.runtime);
        }
    }
}

/// Gives locks back, so that the next session gets the messages at once.
async fn release(core: &Core, identity: &Identity, tokens: impl Iterator<Item = LockToken>) {
    for token in tokens {
        // A lock that ended meanwhile is gone, which is as good.
        if let Err(refusal) = core.seams.inbox.settle(identity, token, Settlement::Release).await {
            tracing::debug!(code = %refusal.code, %identity, "a lock could not be released");
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No code under these locks can leave the value half changed.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
