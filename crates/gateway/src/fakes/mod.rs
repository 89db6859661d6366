//! Small stand-ins for the seams below the hub, for this crate's tests.

pub(crate) mod errors;
mod inbox;
mod log;
pub(crate) mod provisioning;

pub(crate) use inbox::FakeInbox;
pub(crate) use log::FakeLog;

use crate::{Metrics, Services};
use async_trait::async_trait;
use bytes::Bytes;
use ironbrook_hub::fabric::InProcess;
use ironbrook_hub::router::Route;
use ironbrook_hub::seams::{Clock, DesiredChange, Identities, Seams, SystemClock, Twins};
use ironbrook_hub::{Config, Hub, Limits, Router};
use ironbrook_log::{Checkpoints, Error, Offset, PartitionId};
use ironbrook_model::{
    AuthenticationType, DeviceId, ErrorCode, Identity, IdentityRecord, IdentityStatus, MessageSource, Parent,
    Permissions, Refusal, SharedAccessKey, SharedAccessPolicy, SymmetricKeys, Timestamp,
};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::Instant;

/// Nothing in these tests takes so long, however busy the machine, nor on a paused clock; past it a test fails instead of
/// hanging.
const PATIENCE: Duration = Duration::from_secs(300);

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

/// Waits until every task waits. For tests on a paused clock, which moves on only then.
pub(crate) async fn idle() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

/// The host name that the hub of the tests answers to.
pub(crate) const HOST: &str = "localhost";
/// The key of every identity and policy of the tests.
pub(crate) const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

/// The time of day, which stands still and jumps where the runtime's clock does.
struct RuntimeClock {
    began: Timestamp,
    since: Instant,
}

impl RuntimeClock {
    fn new() -> Self {
        Self { began: SystemClock.now(), since: Instant::now() }
    }
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

/// A hub on stand-ins, with handles to them.
pub(crate) struct World {
    pub(crate) hub: Hub,
    pub(crate) log: Arc<FakeLog>,
    pub(crate) inbox: Arc<FakeInbox>,
    pub(crate) twins: Arc<FakeTwins>,
}

impl World {
    /// A hub that knows devices and modules by the given names (`d1`, `d1/m1`). Device `gateway` is one, and `leaf` behind it.
    pub(crate) fn new(identities: &[&str]) -> Self {
        let log = Arc::new(FakeLog::default());
        let inbox = Arc::new(FakeInbox::default());
        let twins = Arc::new(FakeTwins::default());
        let clock: Arc<dyn Clock> = Arc::new(RuntimeClock::new());
        let seams = Seams {
            identities: Arc::new(FakeIdentities::new(identities)),
            twins: twins.clone(),
            inbox: inbox.clone(),
            log: log.clone(),
            checkpoints: Arc::new(NoCheckpoints),
            fabric: Arc::new(InProcess::new(clock.clone(), 10)),
            clock,
        };
        let config = Config { name: "test".into(), hosts: vec![HOST.into()], limits: Limits::azure() };
        let routes = [Route {
            name: "all".into(),
            source: MessageSource::DeviceMessages,
            condition: "true".into(),
            endpoints: vec!["events".into()],
            ..Route::default()
        }];
        let router = Router::new(&routes, true, &HashMap::new(), &Limits::azure()).unwrap();
        let hub = Hub::new(config, seams, router, ironbrook_hub::Metrics::default());
        Self { hub, log, inbox, twins }
    }

    /// The expiry of a token that is refused in two to three seconds, when its five minutes' grace are over.
    pub(crate) fn soon(&self) -> Timestamp {
        Timestamp::from_secs(self.hub.seams().clock.now().as_secs() - 297)
    }

    /// What a listener with this hub leads to.
    pub(crate) fn services(&self) -> Arc<Services> {
        Arc::new(Services {
            hub: Some(self.hub.clone()),
            topics: None,
            http: axum::Router::new(),
            amqp: None,
            provisioning: Some(Arc::new(provisioning::FakeProvisioning)),
            websocket: true,
            metrics: Metrics::default(),
        })
    }
}

pub(crate) fn identity(name: &str) -> Identity {
    match name.split_once('/') {
        None => Identity::device(DeviceId::new(name.to_owned()).unwrap()),
        Some((device, module)) => {
            Identity::module(DeviceId::new(device.to_owned()).unwrap(), module.parse().unwrap())
        }
    }
}

/// A token of an identity, valid for the given while from now.
pub(crate) fn token(name: &str, lives: Duration) -> String {
    let resource = format!("{HOST}/{}", identity(name).resource());
    let key = SharedAccessKey::from_base64(KEY).unwrap();
    key.sign(&resource, SystemClock.now().plus(lives), None)
}

struct FakeIdentities(HashMap<Identity, Arc<IdentityRecord>>);

impl FakeIdentities {
    fn new(names: &[&str]) -> Self {
        let key = SharedAccessKey::from_base64(KEY).unwrap();
        let gateway = Parent { device: DeviceId::new("gateway").unwrap(), generation_id: "1".into() };
        let record = |name: &&str| {
            let identity = identity(name);
            let record = IdentityRecord {
                identity: identity.clone(),
                generation_id: "1".into(),
                status: IdentityStatus::Enabled,
                authentication: AuthenticationType::Sas(SymmetricKeys {
                    primary: key.clone(),
                    secondary: key.clone(),
                }),
                is_gateway: *name == "gateway",
                parents: if *name == "leaf" { vec![gateway.clone()] } else { Vec::new() },
                status_updated: None,
            };
            (identity, Arc::new(record))
        };
        Self(names.iter().map(record).collect())
    }
}

#[async_trait]
impl Identities for FakeIdentities {
    async fn find(&self, identity: &Identity) -> Result<Option<Arc<IdentityRecord>>, Refusal> {
        Ok(self.0.get(identity).cloned())
    }

    async fn policy(&self, name: &str) -> Result<Option<Arc<SharedAccessPolicy>>, Refusal> {
        let permissions = match name {
            "service" => Permissions::SERVICE_CONNECT,
            "device" => Permissions::DEVICE_CONNECT,
            _ => return Ok(None),
        };
        let key = SharedAccessKey::from_base64(KEY).unwrap();
        let (primary_key, secondary_key) = (key.clone(), key);
        Ok(Some(Arc::new(SharedAccessPolicy { name: name.into(), primary_key, secondary_key, permissions })))
    }

    fn listen(&self, _changed: Box<dyn Fn(&Identity) + Send + Sync>) {}
}

type Listener = Box<dyn Fn(&DesiredChange) + Send + Sync>;

/// Twins that remember the patches in the order they were applied.
#[derive(Default)]
pub(crate) struct FakeTwins {
    patches: Mutex<Vec<Bytes>>,
    listeners: Mutex<Vec<Listener>>,
}

impl FakeTwins {
    pub(crate) fn change_desired(&self, change: &DesiredChange) {
        for listener in &*self.listeners.lock().unwrap() {
            listener(change);
        }
    }
}

#[async_trait]
impl Twins for FakeTwins {
    async fn device_view(&self, _identity: &Identity) -> Result<Bytes, Refusal> {
        let version = self.patches.lock().unwrap().len();
        Ok(format!("{{\"desired\":{{\"$version\":1}},\"reported\":{{\"$version\":{version}}}}}").into())
    }

    async fn patch_reported(&self, _identity: &Identity, patch: &[u8]) -> Result<u64, Refusal> {
        // Gives others a turn, so that an order kept by chance alone would not be.
        tokio::task::yield_now().await;
        if !patch.starts_with(b"{") {
            return Err(Refusal::new(ErrorCode::ArgumentInvalid, "the patch is not a JSON object"));
        }
        let mut patches = self.patches.lock().unwrap();
        patches.push(Bytes::copy_from_slice(patch));
        Ok(patches.len() as u64)
    }

    async fn service_view(&self, _identity: &Identity) -> Result<Arc<serde_json::Value>, Refusal> {
        Ok(Arc::new(serde_json::Value::Null))
    }

    fn listen(&self, changed: Box<dyn Fn(&DesiredChange) + Send + Sync>) {
        self.listeners.lock().unwrap().push(changed);
    }
}

struct NoCheckpoints;

#[async_trait]
impl Checkpoints for NoCheckpoints {
    async fn load(&self, _: &str, _: PartitionId) -> Result<Option<Offset>, Error> {
        Ok(None)
    }

    async fn store(&self, _: &str, _: PartitionId, _: Offset) -> Result<(), Error> {
        Ok(())
    }

    async fn lowest(&self, _: &[&str], _: PartitionId) -> Result<Option<Offset>, Error> {
        Ok(None)
    }
}
