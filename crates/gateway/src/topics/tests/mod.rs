//! The door over memory: what it does with packets of both versions, byte by byte where wanted.
//!
//! [`World`] is a broker, on a journal whose disk the test moves or on none; [`Client3`] and [`Client5`] speak packets, and
//! [`Raw`], which both are made of, bytes.

mod client;
mod order;
mod scram;
mod v3;
mod v5;

use crate::fakes::{FakeLog, eventually, idle, within};
use crate::topics::{Topics, TopicsSettings, serve};
use crate::{Metrics, Peer, Services};
use async_trait::async_trait;
pub(super) use client::{Client3, Client5, Raw};
use ironbrook_hub::seams::{Clock, SystemClock};
use ironbrook_log::{Log, PartitionId};
use ironbrook_model::Timestamp;
use ironbrook_pubsub::acl::{Access, Acl, Rule};
use ironbrook_pubsub::{Broker, Config};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// The time of day, which stands still and jumps where the runtime's clock does.
struct RuntimeClock {
    began: Timestamp,
    since: Instant,
}

#[async_trait]
impl Clock for RuntimeClock {
    fn now(&self) -> Timestamp {
        self.began.plus(self.since.elapsed())
    }

    async fn sleep_until(&self, deadline: Timestamp) {
        tokio::time::sleep(deadline.since(self.now())).await;
    }
}

/// A broker and its door.
pub(super) struct World {
    pub(super) broker: Broker,
    pub(super) log: Arc<FakeLog>,
    pub(super) clock: Arc<dyn Clock>,
    services: Arc<Services>,
}

/// What a world is made of.
pub(super) struct Plan {
    pub(super) config: Config,
    pub(super) acl: Acl,
    pub(super) settings: TopicsSettings,
    /// Whether sessions and retained messages are written down, to [`World::log`].
    pub(super) journal: bool,
    /// Whether the listener leads to the hub as well, which knows the device `d1`.
    pub(super) hub: bool,
    /// Whether the door knows the identities of that hub.
    pub(super) identities: bool,
}

impl Default for Plan {
    fn default() -> Self {
        let plan = Self {
            config: Config::default(),
            acl: Acl::open(),
            settings: TopicsSettings::default(),
            journal: true,
            hub: false,
            identities: false,
        };
        // `#` is for no name that begins with `$`.
        let hidden = |access| Rule::new(None, true, access, "$x/#").unwrap();
        Self { acl: plan.acl.clone().rule(hidden(Access::Publish)).rule(hidden(Access::Subscribe)), ..plan }
    }
}

impl World {
    /// Everybody may do everything, and the disk is done at once.
    pub(super) async fn new() -> Self {
        Self::of(Plan::default()).await
    }

    pub(super) async fn of(plan: Plan) -> Self {
        let Plan { config, acl, settings, journal, hub, identities } = plan;
        let log = Arc::new(FakeLog::default());
        let clock: Arc<dyn Clock> =
            Arc::new(RuntimeClock { began: SystemClock.now(), since: Instant::now() });
        let journal = journal.then(|| (log.clone() as Arc<dyn Log>, PartitionId(0)));
        let broker = Broker::open(config, acl, journal, clock.now()).await.unwrap();
        let known = (hub || identities).then(|| crate::fakes::World::new(&["d1"]).hub);
        let hub = known.clone().filter(|_| hub);
        let topics = Topics::new(broker.clone(), clock.clone(), settings, known.filter(|_| identities));
        let services = Services {
            hub,
            topics: Some(Arc::new(topics)),
            http: axum::Router::new(),
            amqp: None,
            provisioning: None,
            websocket: true,
            metrics: Metrics::default(),
        };
        Self { broker, log, clock, services: Arc::new(services) }
    }

    /// A connection on which nothing was said yet.
    pub(super) fn open(&self) -> Raw {
        self.open_with(64 * 1024)
    }

    /// The same, with room for so many bytes on the way in each direction.
    pub(super) fn open_with(&self, bytes: usize) -> Raw {
        let (stream, server) = tokio::io::duplex(bytes);
        let cancel = CancellationToken::new();
        let peer = Peer { addr: "127.0.0.1:1".parse().unwrap(), certificates: Vec::new(), tls: true };
        let deadline = Instant::now() + Duration::from_secs(60);
        tokio::spawn(serve(server, self.services.clone(), peer, deadline, cancel.clone()));
        Raw::new(stream, cancel)
    }

    /// Serves what a listener takes in.
    pub(super) async fn serve_tcp(&self, listener: tokio::net::TcpListener) {
        loop {
            let (stream, addr) = listener.accept().await.unwrap();
            let peer = Peer { addr, certificates: Vec::new(), tls: false };
            let deadline = Instant::now() + Duration::from_secs(60);
            tokio::spawn(serve(stream, self.services.clone(), peer, deadline, CancellationToken::new()));
        }
    }

    /// A 3.1.1 client with a clean session that was let in.
    pub(super) async fn client3(&self, id: &str) -> Client3 {
        Client3::connected(self.open(), &Client3::hello(id)).await
    }

    /// A 5.0 client with a clean start that was let in.
    pub(super) async fn client5(&self, id: &str) -> Client5 {
        Client5::connected(self.open(), &Client5::hello(id)).await
    }

    /// Lets time pass, with the broker's timers at the end. For tests on a paused clock.
    pub(super) async fn pass(&self, time: Duration) {
        tokio::time::sleep(time).await;
        self.broker.tick(self.clock.now());
    }
}
