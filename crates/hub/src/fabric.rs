//! Who is connected, within one process.
//!
//! Identities are spread over shards by device, so that a device and its modules are in one. Each shard is a short
//! lock; nothing is awaited under it.

use crate::operation::{Delivery, MethodAnswer, MethodCall};
use crate::seams::{Activity, Clock, Epoch, Fabric, Mailbox};
use async_trait::async_trait;
use ironbrook_model::{DeviceId, ErrorCode, Identity, Refusal, Timestamp};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{Notify, oneshot};

/// Independent locks.
const SHARDS: usize = 32;

struct Claim {
    epoch: Epoch,
    mailbox: Arc<dyn Mailbox>,
}

struct PendingMethod {
    identity: Identity,
    answer: oneshot::Sender<MethodAnswer>,
}

#[derive(Default)]
struct State {
    /// Ordered, so that a device's modules follow it.
    claims: BTreeMap<Identity, Claim>,
    methods: HashMap<String, PendingMethod>,
}

#[derive(Default)]
struct Shard {
    state: Mutex<State>,
    /// Rung when an identity may have become reachable.
    reachable: Notify,
}

impl Shard {
    fn state(&self) -> MutexGuard<'_, State> {
        // No code under this lock can leave the maps half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Of all sessions; what is done with them is done without the lock.
    fn mailboxes(&self) -> Vec<Arc<dyn Mailbox>> {
        self.state().claims.values().map(|claim| Arc::clone(&claim.mailbox)).collect()
    }
}

/// The fabric of a hub that is one process.
pub struct InProcess {
    shards: Vec<Shard>,
    /// By gateway device, the claimed identities that came through it. Locked before a shard, never after.
    through: Mutex<HashMap<DeviceId, BTreeSet<Identity>>>,
    epochs: AtomicU64,
    connected: AtomicUsize,
    methods_in_flight: usize,
    clock: Arc<dyn Clock>,
}

impl InProcess {
    /// An empty fabric; `methods_in_flight` is the number of unanswered direct methods an identity may have.
    pub fn new(clock: Arc<dyn Clock>, methods_in_flight: usize) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Shard::default()).collect(),
            through: Mutex::default(),
            epochs: AtomicU64::new(0),
            connected: AtomicUsize::new(0),
            methods_in_flight,
            clock,
        }
    }

    fn shard(&self, identity: &Identity) -> &Shard {
        self.shard_of(&identity.device)
    }

    fn shard_of(&self, device: &DeviceId) -> &Shard {
        &self.shards[crate::telemetry::stable_hash(device.as_str()) as usize % SHARDS]
    }

    /// Waits until the identity takes methods, at most for the call's connect timeout.
    async fn wait_reachable(
        &self,
        identity: &Identity,
        call: &MethodCall,
    ) -> Result<Arc<dyn Mailbox>, Refusal> {
        let find =
            || self.find(identity).map(|(_, mailbox)| mailbox).filter(|mailbox| mailbox.takes_methods());
        if call.connect_timeout.is_zero() {
            return find().ok_or_else(not_online);
        }
        tokio::select! {
            biased;
            mailbox = self.wait_for(identity, find) => Ok(mailbox),
            () = self.clock.sleep(call.connect_timeout) => Err(not_online()),
        }
    }

    /// Waits until something about an identity is found that is looked for whenever it may have become reachable.
    async fn wait_for<T>(&self, identity: &Identity, find: impl Fn() -> Option<T>) -> T {
        let shard = self.shard(identity);
        loop {
            // Registered before looking, so that nothing rings in between unheard.
            let rung = shard.reachable.notified();
            tokio::pin!(rung);
            rung.as_mut().enable();
            if let Some(found) = find() {
                return found;
            }
            rung.await;
        }
    }

    /// Keeps the list of identities that came through a gateway device. Whoever comes last sees how it is.
    fn note_through(&self, identity: &Identity, mailbox: &dyn Mailbox) {
        if mailbox.via().is_empty() {
            return;
        }
        let mut through = self.through();
        let now = self.find(identity).map(|(_, found)| found);
        for gateway in mailbox.via() {
            if now.as_ref().is_some_and(|found| found.via().contains(gateway)) {
                through.entry(gateway.clone()).or_default().insert(identity.clone());
            } else if let Some(behind) = through.get_mut(gateway) {
                behind.remove(identity);
                if behind.is_empty() {
                    through.remove(gateway);
                }
            }
        }
    }

    fn through(&self) -> MutexGuard<'_, HashMap<DeviceId, BTreeSet<Identity>>> {
        self.through.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn register(
        &self,
        identity: &Identity,
    ) -> Result<(Registered<'_>, oneshot::Receiver<MethodAnswer>), Refusal> {
        let (answer, receiver) = oneshot::channel();
        // 32 hex digits: letters and digits only, and readable as the UUID that AMQP wants.
        let request = uuid::Uuid::new_v4().simple().to_string();
        let shard = self.shard(identity);
        let mut state = shard.state();
        if state.methods.values().filter(|p| p.identity == *identity).count() >= self.methods_in_flight {
            return Err(Refusal::new(
                ErrorCode::DeviceMaximumInflightMethodExceeded,
                format!(
                    "{} direct methods of this identity wait for an answer; wait for one",
                    self.methods_in_flight
                ),
            ));
        }
        state.methods.insert(request.clone(), PendingMethod { identity: identity.clone(), answer });
        Ok((Registered { shard, request }, receiver))
    }
}

fn not_online() -> Refusal {
    Refusal::new(
        ErrorCode::DeviceNotOnline,
        "the device is not connected or does not take direct methods; connect it or raise connectTimeoutInSeconds",
    )
}

/// Takes the request off the list when the caller goes, however it goes.
struct Registered<'a> {
    shard: &'a Shard,
    request: String,
}

impl Drop for Registered<'_> {
    fn drop(&mut self) {
        self.shard.state().methods.remove(&self.request);
    }
}

#[async_trait]
impl Fabric for InProcess {
    async fn claim(&self, identity: &Identity, mailbox: Arc<dyn Mailbox>) -> Result<Epoch, Refusal> {
        let shard = self.shard(identity);
        let (epoch, old) = {
            let mut state = shard.state();
            let epoch = Epoch(self.epochs.fetch_add(1, Ordering::Relaxed) + 1);
            let claim = Claim { epoch, mailbox: mailbox.clone() };
            (epoch, state.claims.insert(identity.clone(), claim))
        };
        self.note_through(identity, &*mailbox);
        if let Some(old) = &old {
            self.note_through(identity, &*old.mailbox);
        }
        match old {
            // rule HUB-01: one connection per identity, the newest wins.
            Some(old) => old.mailbox.close(Refusal::new(
                ErrorCode::ConnectionForcefullyClosedOnNewConnection,
                "a newer connection of the same identity took over; check that no two programs use its credentials",
            )),
            None => {
                self.connected.fetch_add(1, Ordering::Relaxed);
            }
        }
        Ok(epoch)
    }

    fn release(&self, identity: &Identity, epoch: Epoch) {
        let mut state = self.shard(identity).state();
        if state.claims.get(identity).is_some_and(|claim| claim.epoch == epoch) {
            let claim = state.claims.remove(identity);
            self.connected.fetch_sub(1, Ordering::Relaxed);
            drop(state);
            if let Some(claim) = claim {
                self.note_through(identity, &*claim.mailbox);
            }
        }
    }

    fn find(&self, identity: &Identity) -> Option<(Epoch, Arc<dyn Mailbox>)> {
        let state = self.shard(identity).state();
        state.claims.get(identity).map(|claim| (claim.epoch, Arc::clone(&claim.mailbox)))
    }

    fn active_since(&self, time: Timestamp) -> Vec<(Identity, Activity)> {
        let mut active = Vec::new();
        for shard in &self.shards {
            let state = shard.state();
            let all = state.claims.iter().map(|(identity, claim)| (identity, claim.mailbox.activity()));
            active.extend(all.filter(|(_, a)| a.last >= Some(time)).map(|(id, a)| (id.clone(), a)));
        }
        active
    }

    fn connected(&self) -> usize {
        self.connected.load(Ordering::Relaxed)
    }

    fn reachable(&self, identity: &Identity) {
        self.shard(identity).reachable.notify_waiters();
    }

    async fn inputs_ready(&self, identity: &Identity) {
        let find = || self.find(identity).filter(|(_, mailbox)| mailbox.takes_inputs()).map(drop);
        self.wait_for(identity, find).await;
    }

    fn changed(&self, identity: &Identity) {
        let mut behind = Vec::new();
        if identity.module.is_none() || identity.is_gateway() {
            behind.extend(self.through().get(&identity.device).into_iter().flatten().cloned());
        }
        let mailboxes: Vec<_> = {
            let state = self.shard(identity).state();
            // A device without module sorts before its modules.
            let family = state.claims.range(identity.clone()..);
            family
                .take_while(|(other, _)| {
                    other.device == identity.device && (identity.module.is_none() || *other == identity)
                })
                .map(|(_, claim)| Arc::clone(&claim.mailbox))
                .collect()
        };
        mailboxes.iter().for_each(|mailbox| mailbox.changed());
        for (_, mailbox) in behind.iter().filter_map(|identity| self.find(identity)) {
            mailbox.changed();
        }
    }

    fn all_changed(&self) {
        self.shards.iter().flat_map(Shard::mailboxes).for_each(|mailbox| mailbox.changed());
    }

    fn close_all(&self, why: &Refusal) {
        self.shards.iter().flat_map(Shard::mailboxes).for_each(|mailbox| mailbox.close(why.clone()));
    }

    async fn call(&self, identity: &Identity, call: MethodCall) -> Result<MethodAnswer, Refusal> {
        let mailbox = self.wait_reachable(identity, &call).await?;
        let (registered, answer) = self.register(identity)?;
        let response_timeout = call.response_timeout;
        let request = registered.request.as_str().into();
        mailbox.deliver(Delivery::Method { request, call }).map_err(|_| not_online())?;
        tokio::select! {
            biased;
            answer = answer => answer.map_err(|_| not_online()),
            () = self.clock.sleep(response_timeout) => Err(Refusal::new(
                ErrorCode::GatewayTimeout,
                "timed out waiting for the response from the device",
            )),
        }
    }

    fn answer(&self, identity: &Identity, request: &str, answer: MethodAnswer) {
        let mut state = self.shard(identity).state();
        // rule HUB-02: the first answer counts, and only its own identity can give it.
        if state.methods.get(request).is_some_and(|pending| pending.identity == *identity)
            && let Some(pending) = state.methods.remove(request)
        {
            // The caller may have gone; then nobody waits.
            let _ = pending.answer.send(answer);
        }
    }
}
