//! One connection to the hub, for one identity.

use super::links::Inner;
use crate::feed::subscribed;
use async_trait::async_trait;
use ironbrook_client::{ConnectionState, DesiredUpdate, DeviceClient, Error, MethodCall, ReceivedMessage};
use ironbrook_model::Identity;
use rand::Rng as _;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// When the hub comes back, connections follow each other in this time for each of them, in random order.
const SPREAD: Duration = Duration::from_millis(10);
/// How long a refused identity waits before it is tried again, at first and at most.
const REFUSED_FIRST: Duration = Duration::from_secs(2);
const REFUSED_LONGEST: Duration = Duration::from_secs(120);
/// Direct methods of one identity that are under way.
const METHODS_MAX: usize = 10;
/// How long a connection may take to say goodbye.
const GOODBYE: Duration = Duration::from_secs(5);

/// What a connection is for besides sending.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Wants {
    /// Direct methods.
    pub(crate) methods: bool,
    /// Changes of the desired properties.
    pub(crate) desired: bool,
    /// Messages of the hub to a device.
    pub(crate) commands: bool,
}

impl Wants {
    pub(super) fn any(self) -> bool {
        self.methods || self.desired || self.commands
    }

    /// Adds others; whether that changed anything.
    pub(super) fn add(&mut self, more: Self) -> bool {
        let before = *self;
        self.methods |= more.methods;
        self.desired |= more.desired;
        self.commands |= more.commands;
        *self != before
    }
}

/// What a connection is doing.
#[derive(Debug, Clone)]
pub(super) enum State {
    /// Not connected, and why.
    Away(String),
    /// Connected.
    Ready(DeviceClient),
    /// The hub refuses the identity.
    Refused(String),
}

/// Takes what the hub sends.
#[async_trait]
pub(crate) trait Down: Send + Sync + 'static {
    /// The connection stands; called before anything comes through it.
    fn connected(&self, identity: &Identity);

    /// The hub refuses the identity.
    fn refused(&self, identity: &Identity);

    /// The desired properties changed, or are told as a whole.
    async fn desired(&self, identity: &Identity, update: DesiredUpdate);

    /// Answers a direct method.
    async fn method(&self, identity: &Identity, call: MethodCall);

    /// Takes a message over; waits while there is no room.
    async fn command(&self, identity: &Identity, message: ReceivedMessage);
}

/// How a connection ended.
enum End {
    Stopped,
    /// The hub is away: it is dropped, and made anew when the hub is there.
    GateShut,
    Failed(Error),
}

/// Keeps the connection until stopped.
pub(super) async fn run(
    links: Arc<Inner>,
    identity: Identity,
    state: watch::Sender<State>,
    wants: watch::Receiver<Wants>,
    stop: CancellationToken,
) {
    let link = Link { is_own: links.is_own(&identity), links, identity, state, wants };
    tokio::select! {
        biased;
        () = stop.cancelled() => {}
        () = link.keep(&stop) => {}
    }
    if link.is_own {
        link.links.gate.send_replace(false);
    }
}

struct Link {
    links: Arc<Inner>,
    identity: Identity,
    is_own: bool,
    state: watch::Sender<State>,
    wants: watch::Receiver<Wants>,
}

impl Link {
    async fn keep(&self, stop: &CancellationToken) {
        let mut refused = REFUSED_FIRST;
        loop {
            self.wait_for_gate().await;
            let end = self.once(stop).await;
            if matches!(&*self.state.borrow(), State::Ready(_)) {
                refused = REFUSED_FIRST;
            }
            match end {
                End::Stopped => return,
                End::GateShut => self.set(State::Away("the hub is away".to_owned())),
                End::Failed(error) => {
                    tracing::warn!(identity = %self.identity, %error, again_s = refused.as_secs(), "refused by the hub");
                    self.set(State::Refused(error.to_string()));
                    if let Some(down) = self.links.down() {
                        down.refused(&self.identity);
                    }
                    self.links.clock.sleep(refused).await;
                    refused = (refused * 2).min(REFUSED_LONGEST);
                }
            }
        }
    }

    async fn wait_for_gate(&self) {
        if self.is_own {
            return;
        }
        let mut gate = self.links.gate.subscribe();
        if *gate.borrow_and_update() {
            return;
        }
        // The sender lives in `links`.
        let _ = gate.wait_for(|open| *open).await;
        let most = SPREAD.saturating_mul(u32::try_from(self.links.count()).unwrap_or(u32::MAX));
        let pause = most.mul_f64(rand::rng().random_range(0.0..=1.0));
        self.links.clock.sleep(pause).await;
    }

    /// One client's life.
    async fn once(&self, stop: &CancellationToken) -> End {
        let built = match self.links.builder(&self.identity) {
            Some(builder) => builder.build(),
            None => Err(Error::Configuration("$edgeHub has no identity at the hub yet".to_owned())),
        };
        let (client, driver) = match built {
            Ok(built) => built,
            Err(error) => return End::Failed(error),
        };
        // Not a child of `stop`: the goodbye below is its graceful end.
        let leave = CancellationToken::new();
        let running = tokio::spawn(driver.run(leave.clone()));
        let _cut = leave.clone().drop_guard();
        let mut feeds = JoinSet::new();
        let end = tokio::select! {
            biased;
            () = stop.cancelled() => End::Stopped,
            end = self.watch(&client, &mut feeds) => end,
        };
        feeds.shutdown().await;
        leave.cancel();
        if matches!(end, End::Stopped) {
            let _ = tokio::time::timeout(GOODBYE, running).await;
        }
        end
    }

    /// Follows a client's state until it is of no use any more.
    async fn watch(&self, client: &DeviceClient, feeds: &mut JoinSet<()>) -> End {
        let (mut state, mut gate, mut wants) =
            (client.state(), self.links.gate.subscribe(), self.wants.clone());
        let mut served = Wants::default();
        loop {
            let now = state.borrow_and_update().clone();
            let is_open = *gate.borrow_and_update();
            match now {
                ConnectionState::Connected => self.connected(client),
                ConnectionState::Closed(None) => return End::Stopped,
                ConnectionState::Closed(Some(error)) => return End::Failed(error),
                ConnectionState::Connecting | ConnectionState::Waiting { .. } => {
                    if let ConnectionState::Waiting { error, .. } = &now {
                        self.away(error.to_string());
                    }
                    if !self.is_own && !is_open {
                        return End::GateShut;
                    }
                }
            }
            let wanted = *wants.borrow_and_update();
            self.serve(client, wanted, &mut served, feeds);
            let changed = tokio::select! {
                changed = state.changed() => changed,
                changed = gate.changed() => changed,
                changed = wants.changed() => changed,
            };
            if changed.is_err() {
                return End::Stopped;
            }
        }
    }

    fn connected(&self, client: &DeviceClient) {
        if matches!(&*self.state.borrow(), State::Ready(_)) {
            return;
        }
        if self.is_own {
            tracing::info!("connected to the hub");
            self.links.gate.send_replace(true);
        }
        if let Some(down) = self.links.down() {
            down.connected(&self.identity);
        }
        self.set(State::Ready(client.clone()));
    }

    fn away(&self, why: String) {
        if self.is_own && self.links.gate.send_replace(false) {
            tracing::warn!(why, "the hub is away; messages are kept until it is back");
        }
        self.set(State::Away(why));
    }

    fn set(&self, state: State) {
        self.state.send_replace(state);
    }

    /// Begins to serve what is wanted and not yet served.
    fn serve(&self, client: &DeviceClient, wanted: Wants, served: &mut Wants, feeds: &mut JoinSet<()>) {
        let Some(down) = self.links.down() else { return };
        let parts = || (client.clone(), self.identity.clone(), Arc::clone(&down));
        if wanted.methods && !served.methods {
            let (client, identity, down) = parts();
            feeds.spawn(serve_methods(client, identity, down));
        }
        if wanted.desired && !served.desired {
            let (client, identity, down) = parts();
            feeds.spawn(serve_desired(client, identity, down));
        }
        if wanted.commands && !served.commands {
            let (client, identity, down) = parts();
            feeds.spawn(serve_commands(client, identity, down));
        }
        served.add(wanted);
    }
}

async fn serve_methods(client: DeviceClient, identity: Identity, down: Arc<dyn Down>) {
    let subscribe = || client.methods();
    let Some(mut calls) = subscribed("direct methods", subscribe).await else { return };
    // The client counts with its feeds alone from here on.
    drop(client);
    let (room, mut running) = (Arc::new(Semaphore::new(METHODS_MAX)), JoinSet::new());
    while let Some(call) = calls.next().await {
        while running.try_join_next().is_some() {}
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else { break };
        let (identity, down) = (identity.clone(), Arc::clone(&down));
        running.spawn(async move {
            down.method(&identity, call).await;
            drop(permit);
        });
    }
}

async fn serve_desired(client: DeviceClient, identity: Identity, down: Arc<dyn Down>) {
    let subscribe = || client.desired_updates();
    let Some(mut updates) = subscribed("desired properties", subscribe).await else { return };
    drop(client);
    while let Some(update) = updates.next().await {
        down.desired(&identity, update).await;
    }
}

async fn serve_commands(client: DeviceClient, identity: Identity, down: Arc<dyn Down>) {
    let subscribe = || client.messages();
    let Some(mut messages) = subscribed("messages", subscribe).await else { return };
    drop(client);
    while let Some(message) = messages.next().await {
        down.command(&identity, message).await;
    }
}
