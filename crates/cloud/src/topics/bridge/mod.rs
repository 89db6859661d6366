//! Bridges of ordinary topics: to the devices of the hub, and to other MQTT brokers; and the certificates of Sparkplug B.
//!
//! Each bridge is a client of the broker inside this process, with a persistent session where something has to be passed on:
//! what a publisher got a PUBACK for is on disk and owed to the bridge, and is forgotten only when the other side has it. The
//! rules of publishers are the guard of who may speak for whom; the bridge itself is the broker's own side.
//!
//! [`local`] is that client, [`devices`] the bridge to the hub, [`remote`] that to other brokers, [`sparkplug`] keeps births.

mod convert;
mod devices;
mod local;
mod remote;
mod sparkplug;
mod template;
#[cfg(test)]
mod tests;

pub use devices::DeviceBridge;
pub use remote::{Mapping, RemoteBridge};
pub use template::{Template, TemplateError};

use ironbrook_hub::Hub;
use ironbrook_hub::seams::Clock;
use ironbrook_pubsub::{Broker, Publish, Reason, Wakes};
use local::Local;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// The pause before a bridge that failed begins again.
const AGAIN: Duration = Duration::from_secs(5);
/// How long the first opening of a session may wait for the disk.
const FIRST_OPEN: Duration = Duration::from_secs(5);

/// What is bridged.
#[derive(Debug, Clone, Default)]
pub struct Bridges {
    /// To devices of the hub.
    pub devices: Vec<DeviceBridge>,
    /// To other brokers.
    pub remotes: Vec<RemoteBridge>,
    /// Whether births of Sparkplug B are kept as certificates.
    pub sparkplug: bool,
}

/// The name of a bridge, as a label.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Label {
    bridge: String,
}

/// Figures by bridge.
#[derive(Debug, Clone, Default)]
pub(super) struct BridgeFigures {
    connected: Family<Label, Gauge>,
    passed_in: Family<Label, Counter>,
    passed_out: Family<Label, Counter>,
    refused: Family<Label, Counter>,
}

impl BridgeFigures {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let figures = Self::default();
        let Self { connected, passed_in, passed_out, refused } = &figures;
        registry.register(
            "topics_bridge_connected",
            "Whether a bridge to another broker is connected",
            connected.clone(),
        );
        registry.register(
            "topics_bridge_messages_in",
            "Messages a bridge took from its other side",
            passed_in.clone(),
        );
        registry.register(
            "topics_bridge_messages_out",
            "Messages a bridge passed on to its other side",
            passed_out.clone(),
        );
        registry.register(
            "topics_bridge_messages_refused",
            "Messages that the side they were for refused",
            refused.clone(),
        );
        figures
    }

    fn of(&self, bridge: &str) -> Figures {
        let label = Label { bridge: bridge.to_owned() };
        Figures {
            connected: self.connected.get_or_create_owned(&label),
            passed_in: self.passed_in.get_or_create_owned(&label),
            passed_out: self.passed_out.get_or_create_owned(&label),
            refused: self.refused.get_or_create_owned(&label),
        }
    }
}

/// The figures of one bridge.
#[derive(Debug, Clone)]
struct Figures {
    connected: Gauge,
    passed_in: Counter,
    passed_out: Counter,
    refused: Counter,
}

/// Why a bridge stopped.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The broker of this process ended the session.
    #[error("the broker: {0}")]
    Broker(#[from] Reason),
    /// The client of the other broker.
    #[error("the other broker: {0}")]
    Client(#[from] ironbrook_client::topics::Error),
    /// There is no room for the session.
    #[error("the disk is full: free some space, and start again")]
    Full,
    /// The client's task is gone.
    #[error("the connection's task ended")]
    Ended,
}

/// What all bridges stand on.
#[derive(Clone)]
struct Ground {
    broker: Broker,
    clock: Arc<dyn Clock>,
    cancel: CancellationToken,
}

impl Ground {
    /// Publishes for the broker's own side, and waits for the disk; gives how many sessions get it.
    async fn publish(&self, publish: Publish) -> Result<usize, Reason> {
        loop {
            let mut wakes = Wakes::new();
            let published = self.broker.publish(publish.clone(), self.clock.now(), &mut wakes);
            drop(wakes);
            match published {
                Ok((receivers, mark)) => {
                    if let Some(mark) = mark {
                        self.broker.durable(mark).await?;
                    }
                    return Ok(receivers);
                }
                Err(Reason::ServerBusy) => self.broker.room().await?,
                Err(reason) => return Err(reason),
            }
        }
    }

    /// Runs a bridge until cancelled, and begins again where it fails.
    async fn keep<F: Future<Output = Result<(), Error>>>(self, name: String, work: impl Fn(Self) -> F) {
        loop {
            let outcome = work(self.clone()).await;
            if self.cancel.is_cancelled() {
                return;
            }
            if let Err(error) = outcome {
                tracing::warn!(bridge = name, %error, retry_ms = AGAIN.as_millis() as u64, "a bridge stopped");
            }
            tokio::select! {
                () = self.clock.sleep(AGAIN) => {}
                () = self.cancel.cancelled() => return,
            }
        }
    }
}

impl Bridges {
    /// Opens the session of each, so that it is there before the first client: what that publishes waits in it.
    pub(super) async fn open_sessions(&self, broker: Broker, clock: Arc<dyn Clock>) -> Result<(), Error> {
        let ground = Ground { broker, clock, cancel: CancellationToken::new() };
        let devices = self.devices.iter().map(devices::needs);
        let remotes = self.remotes.iter().map(remote::needs);
        for needs in devices.chain(remotes).chain(self.sparkplug.then(sparkplug::needs)) {
            // It waits for room, which only somebody who deletes something makes.
            let opened = tokio::time::timeout(FIRST_OPEN, Local::open(&ground, &needs)).await;
            opened.map_err(|_| Error::Full)??;
        }
        Ok(())
    }

    /// Runs all of them until cancelled.
    pub(super) async fn run(
        self,
        broker: Broker,
        clock: Arc<dyn Clock>,
        hub: Hub,
        figures: BridgeFigures,
        cancel: CancellationToken,
    ) {
        let ground = Ground { broker, clock, cancel };
        let mut tasks = JoinSet::new();
        for bridge in self.devices {
            let (hub, figures) = (hub.clone(), figures.of(&bridge.name));
            let (name, bridge) = (bridge.name.clone(), Arc::new(bridge));
            tasks.spawn(ground.clone().keep(name, move |ground| {
                devices::run(bridge.clone(), ground, hub.clone(), figures.clone())
            }));
        }
        for bridge in self.remotes {
            let figures = figures.of(&bridge.name);
            let (name, bridge) = (bridge.name.clone(), Arc::new(bridge));
            let keep =
                ground.clone().keep(name, move |ground| remote::run(bridge.clone(), ground, figures.clone()));
            tasks.spawn(keep);
        }
        if self.sparkplug {
            tasks.spawn(ground.keep(sparkplug::NAME.to_owned(), sparkplug::run));
        }
        while tasks.join_next().await.is_some() {}
    }
}
