//! Ordinary MQTT topics beside the hub: a broker with a journal of its own in the data folder, its timers and its figures.
//!
//! Start with [`OrdinaryTopics::open`]. The door is [`OrdinaryTopics::door`]; listeners are the caller's.

mod bridge;
mod figures;

pub use bridge::{
    Bridges, DeviceBridge, Error as BridgeError, Mapping, RemoteBridge, Template, TemplateError,
};

use bridge::BridgeFigures;
use figures::Figures;
use futures_util::FutureExt as _;
use futures_util::future::FusedFuture as _;
use ironbrook_gateway::{Topics, TopicsSettings};
use ironbrook_hub::Hub;
use ironbrook_hub::seams::Clock;
use ironbrook_log::{
    Config as LogConfig, Keys, Log, PartitionId, Retention, SegmentLog, Storage, SyncPolicy,
};
use ironbrook_pubsub::acl::Acl;
use ironbrook_pubsub::{Broker, OpenError, Publish, QoS, Reason, Wakes};
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// The journal's folder in the data folder.
pub(crate) const FOLDER: &str = "topics";
/// Bytes of a segment of the journal.
const SEGMENT_BYTES: u64 = 16 << 20;
/// How often the broker's timers are looked at: delays of wills and ends of sessions come late by that at most.
const TICK: Duration = Duration::from_millis(250);
/// Longest wait for the end of bridges.
const BRIDGES_END: Duration = Duration::from_secs(5);
/// Longest wait for the disk at the end.
const LAST_SYNC: Duration = Duration::from_secs(5);
/// Where the broker's figures are published.
const SYS: &str = "$SYS/broker/";

/// Why ordinary topics cannot be served, or not any longer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The broker did not open.
    #[error("ordinary topics: {0}")]
    Open(#[from] OpenError),
    /// The journal did not open.
    #[error("ordinary topics: the journal in topics/ of the data folder: {0}")]
    Log(#[from] ironbrook_log::Error),
    /// The folder could not be made.
    #[error("ordinary topics: the folder topics/ of the data folder: {0}")]
    Storage(#[from] std::io::Error),
    /// The session of a bridge did not open.
    #[error("ordinary topics: the session of a bridge: {0}")]
    Bridge(#[from] BridgeError),
    /// The journal failed while it ran; only a restart helps.
    #[error("ordinary topics: the journal failed, restart when the disk is well ({0})")]
    Journal(Reason),
    /// The process is ending.
    #[error("stopped while starting")]
    Stopped,
}

/// Settings of ordinary topics.
#[derive(Debug, Clone)]
pub struct Config {
    /// Settings and bounds of the broker.
    pub broker: ironbrook_pubsub::Config,
    /// Users and rules.
    pub acl: Acl,
    /// Settings of the door.
    pub door: TopicsSettings,
    /// How often figures are published below `$SYS/broker/`; never where absent.
    pub sys_interval: Option<Duration>,
    /// When the journal is synced, and so messages are acknowledged.
    pub sync: SyncPolicy,
    /// Keys for encryption of the journal at rest; nothing is encrypted without.
    pub keys: Keys,
}

/// A broker of ordinary topics with everything around it but the listeners.
pub struct OrdinaryTopics {
    door: Arc<Topics>,
    broker: Broker,
    log: Arc<SegmentLog>,
    clock: Arc<dyn Clock>,
    sys_interval: Option<Duration>,
    bridged: Option<(Bridges, Hub, BridgeFigures)>,
}

impl OrdinaryTopics {
    /// Opens the broker and recovers what is kept. `hub` knows the identities that may come in, where the settings allow it.
    pub async fn open(
        storage: Arc<dyn Storage>,
        clock: Arc<dyn Clock>,
        config: Config,
        hub: Option<Hub>,
        metrics: &mut prometheus_client::registry::Registry,
    ) -> Result<Self, Error> {
        let Config { broker, acl, door, sys_interval, sync, keys } = config;
        let open_log = move || {
            storage.create_folder(Path::new(FOLDER))?;
            let retention = Retention { max_age: None, max_bytes: None };
            let config = LogConfig {
                partitions: 1,
                segment_bytes: SEGMENT_BYTES,
                retention,
                sync,
                keys,
                ..LogConfig::default()
            };
            let log = SegmentLog::open(storage.clone(), Path::new(FOLDER), config)?;
            storage.sync_folder(Path::new(""))?;
            Ok::<_, Error>(Arc::new(log))
        };
        let log = tokio::task::spawn_blocking(open_log).await.map_err(|_| Error::Stopped)??;
        let journal = (log.clone() as Arc<dyn Log>, PartitionId(0));
        let broker = Broker::open(broker, acl, Some(journal), clock.now()).await?;
        Figures::register(broker.clone(), metrics);
        let door = Arc::new(Topics::new(broker.clone(), clock.clone(), door, hub));
        Ok(Self { door, broker, log, clock, sys_interval, bridged: None })
    }

    /// Bridges to the devices of this hub, to other brokers, and certificates of Sparkplug B, for as long as this runs. Their
    /// sessions are on disk when it returns: listeners may open then.
    pub async fn with_bridges(
        self,
        bridges: Bridges,
        hub: Hub,
        metrics: &mut prometheus_client::registry::Registry,
    ) -> Result<Self, Error> {
        bridges.open_sessions(self.broker.clone(), self.clock.clone()).await?;
        Ok(Self { bridged: Some((bridges, hub, BridgeFigures::register(metrics))), ..self })
    }

    /// The door, for [`Services::topics`](ironbrook_gateway::Services::topics).
    pub fn door(&self) -> Arc<Topics> {
        self.door.clone()
    }

    /// The journal's log, to ask how it does.
    pub fn log(&self) -> &Arc<SegmentLog> {
        &self.log
    }

    /// Works until cancelled, then brings what is gathered to disk. The doors must have let go of their connections before. An
    /// error means that the journal failed: only a restart helps.
    pub async fn run(self, cancel: CancellationToken) -> Result<(), Error> {
        let Self { broker, log, clock, sys_interval, bridged, .. } = self;
        let stop_bridges = cancel.child_token();
        let bridging = async {
            if let Some((bridges, hub, figures)) = bridged {
                bridges.run(broker.clone(), clock.clone(), hub, figures, stop_bridges.clone()).await;
            }
        };
        let mut bridging = std::pin::pin!(bridging.fuse());
        let result = {
            let followed = broker.clone().run(cancel);
            let timers = tick(&broker, &*clock);
            let figures = publish_figures(&broker, &*clock, sys_interval);
            let bridged = async {
                (&mut bridging).await;
                std::future::pending::<()>().await;
            };
            tokio::select! {
                followed = followed => followed.map_err(Error::Journal),
                () = timers => Ok(()),
                () = figures => Ok(()),
                () = bridged => Ok(()),
            }
        };
        stop_bridges.cancel();
        // They let go of their sessions before the journal is closed.
        if !bridging.is_terminated() && tokio::time::timeout(BRIDGES_END, bridging).await.is_err() {
            tracing::warn!("a bridge did not end in time");
        }
        // On a full disk it would never be; what it leaves was not acknowledged.
        match tokio::time::timeout(LAST_SYNC, broker.synced()).await {
            Ok(Ok(())) => {}
            Ok(Err(reason)) => {
                tracing::warn!(%reason, "the last records of ordinary topics may not be on disk")
            }
            Err(_) => tracing::warn!("the disk is full: the last records of ordinary topics are not on it"),
        }
        log.close().await;
        result
    }
}

/// Has the broker look at its timers, for ever.
async fn tick(broker: &Broker, clock: &dyn Clock) {
    loop {
        let now = clock.now();
        let next = broker.tick(now).map_or(TICK, |next| next.since(now));
        clock.sleep(next.min(TICK)).await;
    }
}

/// Publishes figures that changed, retained, for ever.
async fn publish_figures(broker: &Broker, clock: &dyn Clock, interval: Option<Duration>) {
    let Some(interval) = interval else { return std::future::pending().await };
    let mut told = HashMap::new();
    publish(broker, clock, "version", concat!("ironbrook ", env!("CARGO_PKG_VERSION")).to_owned());
    loop {
        for (name, value) in broker.snapshot().topics() {
            // Unchanged ones are retained already, and cost nothing that way.
            if told.insert(name, value) != Some(value) {
                publish(broker, clock, name, value.to_string());
            }
        }
        clock.sleep(interval).await;
    }
}

fn publish(broker: &Broker, clock: &dyn Clock, name: &str, value: String) {
    let publish = Publish {
        topic: format!("{SYS}{name}").into(),
        payload: value.into(),
        qos: QoS::AtMostOnce,
        retain: true,
        ..Publish::default()
    };
    if let Err(reason) = broker.publish(publish, clock.now(), &mut Wakes::new()) {
        tracing::debug!(%reason, name, "a figure of the broker is not published");
    }
}
