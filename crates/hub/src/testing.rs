//! A hub on fakes in memory, for the tests of this crate. The log is the real one, on storage in memory.

pub(crate) mod certificates;
mod fakes;
mod logging;

pub(crate) use fakes::{FakeIdentities, FakeInbox, FakeTwins, ManualClock};
pub(crate) use logging::log_lines;

use crate::fabric::InProcess;
use crate::router::Route;
use crate::seams::Seams;
use crate::{Config, ConnectRequest, Credential, Delivery, Hub, Limits, Metrics, Router, Session};
use ironbrook_log::{FileCheckpoints, Memory, Offset, PartitionId, QueueId, SegmentLog};
use ironbrook_model::{
    AuthenticationType, DeviceId, ErrorCode, Identity, IdentityRecord, IdentityStatus, MessageSource,
    ModuleId, SasToken, SharedAccessKey, SymmetricKeys, Timestamp,
};
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// When every test begins.
pub(crate) const START: Timestamp = Timestamp::from_secs(1_700_000_000);
/// The queue of endpoint `cold`.
pub(crate) const COLD: QueueId = QueueId(1);

pub(crate) struct Bench {
    pub(crate) hub: Hub,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) identities: Arc<FakeIdentities>,
    pub(crate) twins: Arc<FakeTwins>,
    pub(crate) inbox: Arc<FakeInbox>,
    pub(crate) metrics: Metrics,
}

pub(crate) fn device(id: &str) -> Identity {
    Identity::device(DeviceId::new(id.to_owned()).unwrap())
}

pub(crate) fn module(device: &str, id: &str) -> Identity {
    Identity::module(DeviceId::new(device.to_owned()).unwrap(), ModuleId::new(id.to_owned()).unwrap())
}

/// The key of an identity or policy of this name.
pub(crate) fn key(name: &str) -> SharedAccessKey {
    SharedAccessKey::from_bytes(format!("key of {name}").as_bytes())
}

/// A record with keys.
pub(crate) fn record(identity: &Identity) -> IdentityRecord {
    let name = identity.to_string();
    IdentityRecord {
        identity: identity.clone(),
        generation_id: "1".to_owned(),
        status: IdentityStatus::Enabled,
        authentication: AuthenticationType::Sas(SymmetricKeys {
            primary: key(&name),
            secondary: key("secondary"),
        }),
        is_gateway: false,
        parents: Vec::new(),
        status_updated: None,
    }
}

/// A token of an identity's own key, good for an hour.
pub(crate) fn token(identity: &Identity) -> SasToken {
    let resource = format!("hub.test/{}", identity.resource());
    signed(&resource, START.plus(Duration::from_secs(3600)), None, &key(&identity.to_string()))
}

pub(crate) fn signed(
    resource: &str,
    expires: Timestamp,
    policy: Option<&str>,
    key: &SharedAccessKey,
) -> SasToken {
    SasToken::parse(&key.sign(resource, expires, policy)).unwrap()
}

pub(crate) fn request(identity: &Identity) -> ConnectRequest {
    ConnectRequest {
        identity: identity.clone(),
        credential: Credential::Sas(token(identity)),
        model_id: None,
        clean_session: true,
        lasting: true,
    }
}

impl Bench {
    /// Devices `d1`, `d2` and module `d1/m1`; the fallback route, and what has property `cold` to endpoint `cold`.
    pub(crate) fn new() -> Self {
        Self::with_limits(Limits::azure())
    }

    pub(crate) fn with_limits(limits: Limits) -> Self {
        let config = ironbrook_log::Config { partitions: 2, ..Default::default() };
        let log = SegmentLog::open(Arc::new(Memory::new()), Path::new("log"), config).unwrap();
        Self::with(limits, Arc::new(log))
    }

    /// A hub whose only route, of every source, leads to `cold`.
    pub(crate) fn with_twin_route(condition: &str) -> Self {
        let bench = Self::new();
        let routes = MessageSource::ALL.map(|source| Route {
            name: source.route_name().to_owned(),
            source,
            condition: condition.to_owned(),
            endpoints: vec!["cold".to_owned()],
            ..Route::default()
        });
        let queues = HashMap::from([("cold".to_owned(), COLD)]);
        let router = Router::with_twins(&routes, false, &queues, &Limits::azure()).unwrap();
        let config =
            Config { name: "hub".to_owned(), hosts: vec!["Hub.Test".to_owned()], limits: Limits::azure() };
        let hub = Hub::new(config, bench.hub.seams().clone(), router, bench.metrics.clone());
        Self { hub, ..bench }
    }

    pub(crate) fn with_log(log: Arc<SegmentLog>) -> Self {
        Self::with(Limits::azure(), log)
    }

    fn with(limits: Limits, log: Arc<SegmentLog>) -> Self {
        logging::listen();
        let clock = Arc::new(ManualClock::new(START));
        let identities = Arc::new(FakeIdentities::default());
        for identity in [device("d1"), device("d2"), module("d1", "m1")] {
            identities.put(record(&identity));
        }
        let (twins, inbox) = (Arc::new(FakeTwins::default()), Arc::new(FakeInbox::default()));
        let storage = Arc::new(Memory::new());
        let seams = Seams {
            identities: identities.clone(),
            twins: twins.clone(),
            inbox: inbox.clone(),
            log,
            checkpoints: Arc::new(FileCheckpoints::open(storage, Path::new("checkpoints")).unwrap()),
            fabric: Arc::new(InProcess::new(clock.clone(), limits.methods_in_flight)),
            clock: clock.clone(),
        };
        let routes = [Route {
            name: "cold".to_owned(),
            source: MessageSource::DeviceMessages,
            condition: "cold = 'yes'".to_owned(),
            endpoints: vec!["cold".to_owned()],
            ..Route::default()
        }];
        let queues = HashMap::from([("cold".to_owned(), COLD)]);
        let router = Router::new(&routes, true, &queues, &limits).unwrap();
        let config = Config { name: "hub".to_owned(), hosts: vec!["Hub.Test".to_owned()], limits };
        let metrics = Metrics::default();
        let hub = Hub::new(config, seams, router, metrics.clone());
        Self { hub, clock, identities, twins, inbox, metrics }
    }

    pub(crate) async fn connect(&self, id: &str) -> Session {
        self.hub.connect(request(&device(id))).await.unwrap()
    }

    /// All messages of a queue, over all partitions.
    pub(crate) async fn stored(&self, queue: QueueId) -> Vec<crate::seams::Routed> {
        let log = &self.hub.seams().log;
        let mut all = Vec::new();
        for partition in (0..log.partitions()).map(PartitionId) {
            let read = log.read(partition, queue, Offset(0), 1000, 1 << 20).await.unwrap();
            all.extend(read.records.iter().map(|record| crate::record::decode(record).unwrap()));
        }
        all
    }
}

/// The reason a session ends with, which must be the next thing it tells.
pub(crate) async fn closed(session: &Session) -> ErrorCode {
    match told(session).await {
        Delivery::Closed(why) => why.code,
        other => panic!("not closed: {other:?}"),
    }
}

/// The next thing a session tells.
pub(crate) async fn told(session: &Session) -> Delivery {
    within("a delivery", session.next()).await
}

/// Nothing in these tests takes so long, however busy the machine; past it a test fails instead of hanging.
const PATIENCE: Duration = Duration::from_secs(120);

/// What `work` gives; fails where that hangs.
pub(crate) async fn within<T>(what: &str, work: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, work).await {
        Ok(done) => done,
        Err(_) => panic!("waited {PATIENCE:?} in vain for {what}"),
    }
}

/// Waits until something that nobody announces is so.
pub(crate) async fn eventually(what: &str, is_so: impl Fn() -> bool) {
    let looking = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    within(what, looking).await;
}
