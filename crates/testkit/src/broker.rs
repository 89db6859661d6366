//! Ordinary topics beside a whole hub, on the same storage, with a bridge to its devices.

use ironbrook_cloud::assembly::Cloud;
use ironbrook_cloud::topics::{Bridges, Config, DeviceBridge, Error, OrdinaryTopics};
use ironbrook_gateway::{Topics, TopicsSettings};
use ironbrook_hub::seams::{Storage, SystemClock};
use ironbrook_log::{Keys, SegmentLog, SyncPolicy};
use ironbrook_pubsub::acl::Acl;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// The topics whose messages are telemetry of devices.
pub const BRIDGED: &str = "plant/{device}/telemetry";

/// A running broker, open to everybody.
pub(crate) struct Broker {
    pub(crate) door: Arc<Topics>,
    pub(crate) log: Arc<SegmentLog>,
    stop: CancellationToken,
    running: JoinHandle<Result<(), Error>>,
}

impl Broker {
    pub(crate) async fn start(
        storage: Arc<dyn Storage>,
        cloud: &Cloud,
        metrics: &mut prometheus_client::registry::Registry,
    ) -> Result<Self, Error> {
        let config = Config {
            broker: ironbrook_pubsub::Config::default(),
            acl: Acl::open(),
            door: TopicsSettings::default(),
            sys_interval: None,
            sync: SyncPolicy::default(),
            keys: Keys::default(),
        };
        let bridge = DeviceBridge {
            name: "plant".to_owned(),
            telemetry: Some(BRIDGED.parse().expect("it names a device")),
            reported: None,
            commands: None,
            desired: None,
            devices: Vec::new(),
            content_type: Some("application/json".to_owned()),
        };
        let bridges = Bridges { devices: vec![bridge], ..Bridges::default() };
        let topics = OrdinaryTopics::open(storage, Arc::new(SystemClock), config, None, metrics).await?;
        let topics = topics.with_bridges(bridges, cloud.hub().clone(), metrics).await?;
        let (door, log, stop) = (topics.door(), topics.log().clone(), CancellationToken::new());
        let running = tokio::spawn(topics.run(stop.clone()));
        Ok(Self { door, log, stop, running })
    }

    /// Ends it. Panics where that takes longer.
    pub(crate) async fn stop(self, within: Duration) {
        self.stop.cancel();
        // On dead storage it ends with an error; that it ends is what counts.
        drop(tokio::time::timeout(within, self.running).await.expect("the broker ends").unwrap());
    }
}
