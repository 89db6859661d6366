//! All connections to the hub: opened when needed, closed when idle, and none tried while the hub is away but one.

use super::link::{self, Down, State, Wants};
use ironbrook_client::{Builder, DeviceClient, RetryPolicy};
use ironbrook_hub::seams::Clock;
use ironbrook_model::{Identity, Timestamp};
use std::collections::HashMap;
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How often idle connections are looked for.
const SWEEP_EVERY: Duration = Duration::from_secs(60);
/// How long `$edgeHub` waits between attempts while the hub is away: it alone tries.
const PROBE: RetryPolicy = RetryPolicy { first: Duration::from_millis(200), longest: Duration::from_secs(5) };

/// Bounds of the connections to the hub.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinksConfig {
    /// Connections at most, besides that of `$edgeHub`.
    pub max: usize,
    /// One that nobody used for so long is closed.
    pub idle: Duration,
}

impl Default for LinksConfig {
    /// 100 connections, closed after ten idle minutes.
    fn default() -> Self {
        Self { max: 100, idle: Duration::from_secs(600) }
    }
}

/// Why there is no connection now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Away {
    /// The hub cannot be reached, or not yet.
    #[error("the hub is away: {0}")]
    Hub(String),
    /// The hub is there and refuses this identity.
    #[error("the hub refuses the identity: {0}")]
    Refused(String),
    /// All connections are in use.
    #[error("all {0} connections to the hub are in use; raise the limit")]
    Full(usize),
}

/// The connections to the hub. Cheap to clone.
#[derive(Clone)]
pub struct Links(Arc<Inner>);

pub(super) struct Inner {
    own: Identity,
    config: LinksConfig,
    pub(super) clock: Arc<dyn Clock>,
    builder: OnceLock<Builder>,
    /// Weak: it holds these connections itself.
    down: OnceLock<Weak<dyn Down>>,
    /// Whether the connection of `$edgeHub` stands: while it does not, no other is tried.
    pub(super) gate: watch::Sender<bool>,
    links: Mutex<HashMap<Identity, Entry>>,
    tracker: TaskTracker,
    cancel: CancellationToken,
}

struct Entry {
    state: watch::Receiver<State>,
    wants: watch::Sender<Wants>,
    stop: CancellationToken,
    used: Timestamp,
    leases: usize,
    /// Whether the client is connected here.
    session: bool,
}

impl Entry {
    fn is_used(&self) -> bool {
        self.session || self.leases > 0
    }

    /// Whether it shows a client to the hub that has gone.
    fn is_left(&self) -> bool {
        !self.is_used() && self.wants.borrow().any()
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// A connection that stays open while this lives.
pub struct Lease {
    client: DeviceClient,
    _use: Use,
}

impl Deref for Lease {
    type Target = DeviceClient;

    fn deref(&self) -> &DeviceClient {
        &self.client
    }
}

/// Keeps a connection from being closed as idle.
struct Use {
    links: Links,
    identity: Identity,
}

impl Drop for Use {
    fn drop(&mut self) {
        let now = self.links.0.clock.now();
        let mut links = self.links.0.links();
        let Some(entry) = links.get_mut(&self.identity) else { return };
        entry.leases = entry.leases.saturating_sub(1);
        entry.used = now;
        if entry.is_left() {
            links.remove(&self.identity);
        }
    }
}

impl Inner {
    fn links(&self) -> MutexGuard<'_, HashMap<Identity, Entry>> {
        // No code under this lock can leave the map half changed.
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_own(&self, identity: &Identity) -> bool {
        *identity == self.own
    }

    pub(super) fn count(&self) -> usize {
        self.links().len()
    }

    /// The settings of a connection; `None` until the credential is known.
    pub(super) fn builder(&self, identity: &Identity) -> Option<Builder> {
        let builder = self.builder.get()?.clone();
        Some(match self.is_own(identity) {
            true => builder.retry(PROBE).retry_unauthorized(true),
            false => builder.acting_for(identity.clone()),
        })
    }

    pub(super) fn down(&self) -> Option<Arc<dyn Down>> {
        self.down.get()?.upgrade()
    }
}

impl Links {
    /// For this device's `$edgeHub`. Nothing is dialled before [`start`](Self::start).
    pub fn new(own: Identity, config: LinksConfig, clock: Arc<dyn Clock>) -> Self {
        Self(Arc::new(Inner {
            own,
            config,
            clock,
            builder: OnceLock::new(),
            down: OnceLock::new(),
            gate: watch::Sender::new(false),
            links: Mutex::default(),
            tracker: TaskTracker::new(),
            cancel: CancellationToken::new(),
        }))
    }

    /// Tells who takes what comes down, for as long as it lives; the first counts.
    pub(crate) fn set_down(&self, down: Weak<dyn Down>) {
        let _ = self.0.down.set(down);
    }

    /// Begins to connect, with the settings and the credential of `$edgeHub`; the first counts.
    pub fn start(&self, builder: Builder) {
        if self.0.builder.set(builder).is_ok() {
            let wants = Wants { methods: true, desired: true, commands: false };
            self.open(&self.0.own.clone(), |entry| {
                entry.wants.send_replace(wants);
                entry.session = true;
            })
            .unwrap_or_default();
        }
    }

    /// Whether the hub is there.
    pub fn is_online(&self) -> bool {
        *self.0.gate.borrow()
    }

    /// Whether the hub is there, now and later.
    pub fn online(&self) -> watch::Receiver<bool> {
        self.0.gate.subscribe()
    }

    /// The connection of an identity, opened where there is none. Waits for it at most so long. Cancel-safe.
    pub async fn lease(&self, identity: &Identity, wait: Duration) -> Result<Lease, Away> {
        let mut state = self.open(identity, |entry| {
            entry.leases += 1;
            entry.state.clone()
        })?;
        let held = Use { links: self.clone(), identity: identity.clone() };
        let ready = async {
            loop {
                match &*state.borrow_and_update() {
                    State::Ready(client) => return Ok(client.clone()),
                    State::Refused(why) => return Err(Away::Refused(why.clone())),
                    State::Away(_) => {}
                }
                if state.changed().await.is_err() {
                    return Err(Away::Hub("the connection was closed".to_owned()));
                }
            }
        };
        let client = tokio::select! {
            biased;
            client = ready => client?,
            () = self.0.clock.sleep(wait) => return Err(self.why_away(identity)),
        };
        Ok(Lease { client, _use: held })
    }

    #[cfg(test)]
    pub(super) fn open_ones(&self) -> Vec<Identity> {
        let mut open: Vec<Identity> = self.0.links().keys().cloned().collect();
        open.sort();
        open
    }

    fn why_away(&self, identity: &Identity) -> Away {
        let why = |identity: &Identity| match self
            .0
            .links()
            .get(identity)
            .map(|entry| entry.state.borrow().clone())
        {
            Some(State::Away(why)) => why,
            _ => "no answer in time".to_owned(),
        };
        // While the gate is shut, the reason is that of the one who tries.
        Away::Hub(if self.is_online() { why(identity) } else { why(&self.0.own) })
    }

    /// Tells that a client is connected here and what it takes, or that it is gone.
    pub(crate) fn session(&self, identity: &Identity, wants: Option<Wants>) {
        if self.0.is_own(identity) {
            return;
        }
        match wants {
            Some(wants) => {
                let opened = self.open(identity, |entry| {
                    entry.session = true;
                    // What was asked for once stays: a connection cannot take a subscription back.
                    entry.wants.send_if_modified(|old| old.add(wants));
                });
                if let Err(error) = opened {
                    tracing::warn!(%identity, %error, "a client is not shown to the hub");
                }
            }
            // rule EDGEHUB-03: the hub sees a client go; what waits to be sent opens the connection again.
            None => {
                let mut links = self.0.links();
                let Some(entry) = links.get_mut(identity) else { return };
                entry.session = false;
                // What is being sent is sent to its end first.
                if entry.is_left() {
                    links.remove(identity);
                }
            }
        }
    }

    /// Adds to what a connected client takes.
    pub(crate) fn want_commands(&self, identity: &Identity) {
        if let Some(entry) = self.0.links().get(identity) {
            entry
                .wants
                .send_if_modified(|old| old.any() && old.add(Wants { commands: true, ..Wants::default() }));
        }
    }

    fn open<T>(&self, identity: &Identity, with: impl FnOnce(&mut Entry) -> T) -> Result<T, Away> {
        let now = self.0.clock.now();
        let mut links = self.0.links();
        if !links.contains_key(identity) {
            let max = self.0.config.max;
            // One more for `$edgeHub` itself.
            if links.len() > max && !self.0.is_own(identity) {
                let idle = links.iter().filter(|(_, entry)| !entry.is_used());
                let oldest = idle.min_by_key(|(_, entry)| entry.used).map(|(identity, _)| identity.clone());
                let oldest = oldest.ok_or(Away::Full(max))?;
                links.remove(&oldest);
            }
            links.insert(identity.clone(), self.spawn(identity, now));
        }
        let Some(entry) = links.get_mut(identity) else { return Err(Away::Full(self.0.config.max)) };
        entry.used = now;
        Ok(with(entry))
    }

    fn spawn(&self, identity: &Identity, now: Timestamp) -> Entry {
        let (state_sender, state) = watch::channel(State::Away("not connected yet".to_owned()));
        let (wants, wanted) = watch::channel(Wants::default());
        let stop = self.0.cancel.child_token();
        let run = link::run(Arc::clone(&self.0), identity.clone(), state_sender, wanted, stop.clone());
        self.0.tracker.spawn(run);
        Entry { state, wants, stop, used: now, leases: 0, session: false }
    }

    /// Closes idle connections until cancelled, then all of them, waiting for what is under way.
    pub async fn run(self, cancel: CancellationToken) {
        loop {
            tokio::select! {
                () = cancel.cancelled() => break,
                () = self.0.clock.sleep(SWEEP_EVERY) => self.sweep(),
            }
        }
        self.0.cancel.cancel();
        self.0.links().clear();
        self.0.tracker.close();
        self.0.tracker.wait().await;
    }

    fn sweep(&self) {
        let (now, idle) = (self.0.clock.now(), self.0.config.idle);
        self.0.links().retain(|_, entry| entry.is_used() || now.since(entry.used) < idle);
    }
}
