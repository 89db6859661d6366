//! The standards' statements at the door, one by one: bytes in, bytes out, for MQTT 3.1.1 and 5.0.
//!
//! `docs/mqtt-conformance.md` says which test shows which statement. Packets are written and read by this module's own few lines
//! ([`packet`]), not by the codec under test. Where both versions say the same a test runs for both.

mod client;
mod connect;
mod delivery;
mod end;
mod filters;
mod flow;
mod packet;
mod properties;
mod publish;
mod retain;
mod session;
mod shared;
mod subscribe;
mod will;

use crate::fakes::within;
use crate::topics::{Topics, TopicsSettings, serve};
use crate::{Metrics, Peer, Services};
use async_trait::async_trait;
use client::{Client, Wire};
use ironbrook_hub::seams::Clock;
use ironbrook_log::{Log, PartitionId};
use ironbrook_model::Timestamp;
use ironbrook_pubsub::acl::{Access, Acl, Rule};
use ironbrook_pubsub::{Broker, Config};
use packet::{Connect, Packet, V, text};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

const BOTH: [V; 2] = [V::V4, V::V5];

/// A time of day that moves with the runtime's clock, paused or not.
struct RuntimeClock(Instant);

#[async_trait]
impl Clock for RuntimeClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(1_000_000).plus(self.0.elapsed())
    }

    async fn sleep_until(&self, deadline: Timestamp) {
        tokio::time::sleep(deadline.since(self.now())).await;
    }
}

/// A door to a broker in memory.
struct Door {
    services: Arc<Services>,
    cancel: CancellationToken,
}

impl Door {
    async fn open() -> Self {
        Self::with(Config::default(), Acl::open(), TopicsSettings::default()).await
    }

    async fn with(config: Config, acl: Acl, settings: TopicsSettings) -> Self {
        Self::on(None, config, acl, settings).await
    }

    /// The same with the broker's journal.
    async fn on(journal: Option<Arc<dyn Log>>, config: Config, acl: Acl, settings: TopicsSettings) -> Self {
        let clock: Arc<dyn Clock> = Arc::new(RuntimeClock(Instant::now()));
        let journal = journal.map(|log| (log, PartitionId(0)));
        let broker = Broker::open(config, acl, journal, clock.now()).await.unwrap();
        let topics = Topics::new(broker.clone(), clock.clone(), settings, None);
        let services = Services {
            hub: None,
            topics: Some(Arc::new(topics)),
            http: axum::Router::new(),
            amqp: None,
            provisioning: None,
            websocket: true,
            metrics: Metrics::default(),
        };
        let cancel = CancellationToken::new();
        let stop = cancel.clone();
        // What the assembly does.
        let ticking = async move {
            loop {
                broker.tick(clock.now());
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        };
        tokio::spawn(async move { stop.run_until_cancelled(ticking).await });
        Self { services: Arc::new(services), cancel }
    }

    /// A stream on which nothing was said yet.
    fn wire(&self) -> Wire {
        let (stream, server) = tokio::io::duplex(1 << 20);
        let peer = Peer { addr: "127.0.0.1:1".parse().unwrap(), certificates: Vec::new(), tls: true };
        let deadline = Instant::now() + Duration::from_secs(60);
        tokio::spawn(serve(server, self.services.clone(), peer, deadline, self.cancel.child_token()));
        Wire::new(stream)
    }

    /// A client of a clean session.
    async fn client(&self, v: V, id: &str) -> Client {
        self.connected(&Connect::new(v, id)).await.0
    }

    /// A client, and whether its session was there.
    async fn connected(&self, connect: &Connect) -> (Client, bool) {
        let mut wire = self.wire();
        wire.send(connect.bytes()).await;
        let ack = wire.packet().await;
        assert_eq!((ack.first, ack.body[1]), (0x20, 0), "refused: {ack:?}");
        (Client::new(wire, connect.v), ack.body[0] == 1)
    }

    /// What a CONNECT is answered before the connection is closed.
    async fn refused(&self, bytes: impl AsRef<[u8]>) -> Vec<Packet> {
        let mut wire = self.wire();
        wire.send(bytes).await;
        wire.rest().await
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

/// Rules that allow everything but what begins with `denied/`.
fn guarded() -> Acl {
    let rule = |allow, access, filter| Rule::new(None, allow, access, filter).unwrap();
    let mut acl = Acl::new().allow_anonymous();
    for access in [Access::Publish, Access::Subscribe] {
        acl = acl.rule(rule(false, access, "denied/#")).rule(rule(true, access, "#"));
    }
    acl
}
