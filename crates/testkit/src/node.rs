//! A whole hub in this process: registry, log, storage account, doors on a loopback port, on storage of the test's choice.

use crate::broker::Broker;
use axum::body::Body;
use axum::http::Request;
use http_body_util::BodyExt as _;
use ironbrook_client::{Builder, DeviceClient, Trust, topics};
use ironbrook_cloud::assembly::{
    self, Cloud, Encoding, LogConfig, Profile, StorageEndpointConfig, StorageTarget,
};
use ironbrook_cloud::registry::{IfMatch, Registry, SeedFile, StoredAuthentication, TwinChange, Wish};
use ironbrook_cloud::storage::account::{Account, Entry, ListBlobs, Share};
use ironbrook_gateway::authority::Authority;
use ironbrook_gateway::{Gateway, Listener, Services, Tls};
use ironbrook_hub::seams::{Clock as _, Routed, Storage, SystemClock};
use ironbrook_hub::{Hub, Route, record};
use ironbrook_log::{Offset, PartitionId, QueueId, SegmentLog};
use ironbrook_model::{DeviceId, Identity, MessageSource};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

/// The container telemetry is stored in.
pub const CONTAINER: &str = "telemetry";
/// How long a stop may take before it counts as hanging.
const STOP_TIME: Duration = Duration::from_secs(30);

/// Where a hub is, so that another can take its place: address and authority.
pub struct Place {
    /// Where it listens; port 0 lets the system choose.
    pub address: SocketAddr,
    /// Who signs its certificate.
    pub authority: Authority,
}

impl Default for Place {
    /// Any loopback port, a new authority.
    fn default() -> Self {
        Self {
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            authority: Authority::generate("test authority", SystemClock.now()).unwrap(),
        }
    }
}

/// A hub on `storage` that does not run: its calls work, but nobody listens and nothing is sent on by itself.
pub async fn open_cloud(storage: Arc<dyn Storage>, devices: &[&str]) -> Result<Cloud, assembly::Error> {
    let seed = SeedFile::parse(&seed_of(devices))?;
    let mut metrics = prometheus_client::registry::Registry::default();
    Cloud::open(storage, Arc::new(SystemClock), config(), Some(&seed), &mut metrics).await
}

/// A running hub.
pub struct Node {
    hub: Hub,
    registry: Registry,
    log: Arc<SegmentLog>,
    account: Account,
    broker: Option<Broker>,
    http: axum::Router,
    address: SocketAddr,
    ca_pem: String,
    devices: BTreeMap<String, String>,
    stop_doors: CancellationToken,
    stop_hub: CancellationToken,
    doors: JoinHandle<()>,
    cloud: JoinHandle<Result<(), assembly::Error>>,
}

impl Node {
    /// Starts a hub on `storage`, with these devices; what is there already stays.
    pub async fn start(storage: Arc<dyn Storage>, devices: &[&str]) -> Result<Self, assembly::Error> {
        Self::start_at(storage, &seed_of(devices), &Place::default()).await
    }

    /// Starts a hub on `storage` with what a seed file says, at a place where one may have been before.
    pub async fn start_at(
        storage: Arc<dyn Storage>,
        seed: &str,
        place: &Place,
    ) -> Result<Self, assembly::Error> {
        let seed = SeedFile::parse(seed)?;
        let mut metrics = prometheus_client::registry::Registry::default();
        let cloud = Cloud::open(storage, Arc::new(SystemClock), config(), Some(&seed), &mut metrics).await?;
        Self::serve(cloud, None, place, metrics).await
    }

    /// The same with ordinary topics on its port, and a bridge from [`BRIDGED`](crate::BRIDGED) to these devices.
    /// The error is a text, as hub and topics have different ones.
    pub async fn start_with_topics(storage: Arc<dyn Storage>, devices: &[&str]) -> Result<Self, String> {
        let text = |error: &dyn std::fmt::Display| error.to_string();
        let mut metrics = prometheus_client::registry::Registry::default();
        let seed = SeedFile::parse(&seed_of(devices)).map_err(|error| text(&error))?;
        let clock = Arc::new(SystemClock);
        let cloud = Cloud::open(storage.clone(), clock, config(), Some(&seed), &mut metrics).await;
        let cloud = cloud.map_err(|error| text(&error))?;
        let broker = Broker::start(storage, &cloud, &mut metrics).await.map_err(|error| text(&error))?;
        Self::serve(cloud, Some(broker), &Place::default(), metrics).await.map_err(|error| text(&error))
    }

    async fn serve(
        cloud: Cloud,
        broker: Option<Broker>,
        place: &Place,
        mut metrics: prometheus_client::registry::Registry,
    ) -> Result<Self, assembly::Error> {
        let mut strings = BTreeMap::new();
        for (identity, stored) in cloud.registry().list_devices(1000).await? {
            let StoredAuthentication::Sas { primary, .. } = stored.authentication else { continue };
            let text =
                format!("HostName=localhost;DeviceId={identity};SharedAccessKey={}", primary.to_base64());
            strings.insert(identity.to_string(), text);
        }
        let names = ["localhost".to_owned()];
        let certificate =
            place.authority.issue(&names, SystemClock.now(), Duration::from_secs(86_400)).unwrap();
        let tls = ironbrook_gateway::tls::server_config(certificate.chain, certificate.key).unwrap();
        let services = Services {
            hub: Some(cloud.hub().clone()),
            topics: broker.as_ref().map(|broker| broker.door.clone()),
            http: cloud.http(),
            amqp: Some(cloud.amqp()),
            provisioning: Some(cloud.provisioning()),
            websocket: true,
            metrics: ironbrook_gateway::Metrics::new(&mut metrics),
        };
        let listener = Listener {
            addr: place.address,
            // Without it as well, for clients that tests write themselves.
            tls: Tls::Either(Arc::new(arc_swap::ArcSwap::from_pointee(tls))),
            services: Arc::new(services),
        };
        let gateway = Gateway::bind(vec![listener]).unwrap();
        let (stop_doors, stop_hub) = (CancellationToken::new(), CancellationToken::new());
        Ok(Self {
            hub: cloud.hub().clone(),
            registry: cloud.registry().clone(),
            log: cloud.log().clone(),
            account: cloud.account().clone(),
            broker,
            http: cloud.http(),
            address: gateway.addresses()[0],
            ca_pem: place.authority.certificate_pem().to_owned(),
            devices: strings,
            doors: tokio::spawn(gateway.run(stop_doors.clone())),
            cloud: tokio::spawn(cloud.run(stop_hub.clone())),
            stop_doors,
            stop_hub,
        })
    }

    /// The core.
    pub fn hub(&self) -> &Hub {
        &self.hub
    }

    /// Identities and twins.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Merges into an identity's desired properties.
    pub async fn patch_desired(&self, identity: &Identity, desired: serde_json::Value) {
        let serde_json::Value::Object(desired) = desired else { panic!("desired properties are an object") };
        let change = TwinChange::Patch { tags: None, desired: Some(desired) };
        self.registry.change_twin(identity.clone(), change, IfMatch::Any).await.unwrap();
    }

    /// Makes a device behind a gateway device: `body` as the service API takes it, without the scope.
    pub async fn put_behind(&self, gateway: &DeviceId, mut body: serde_json::Value) {
        let gateway = self.registry.get(Identity::device(gateway.clone())).await.unwrap();
        body["parentScopes"] = vec![gateway.device_scope.unwrap()].into();
        let device = DeviceId::new(body["deviceId"].as_str().unwrap().to_owned()).unwrap();
        let wish: Wish = serde_json::from_value(body).unwrap();
        self.registry.create(Identity::device(device), wish).await.unwrap();
    }

    /// An identity's twin as services see it.
    pub async fn twin(&self, identity: &Identity) -> serde_json::Value {
        self.registry.twin_view(identity.clone()).await.unwrap()
    }

    /// Where it listens, for all protocols.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What its clients must trust.
    pub fn trust(&self) -> Trust {
        Trust::Pem(self.ca_pem.clone().into_bytes())
    }

    /// The connection string of one of its devices.
    pub fn connection_string(&self, id: &str) -> &str {
        &self.devices[id]
    }

    /// A client of one of its devices, ready to connect.
    pub fn device(&self, id: &str) -> Builder {
        DeviceClient::builder(&self.devices[id]).unwrap().trust(self.trust()).address(self.address)
    }

    /// The service API.
    pub fn http(&self) -> axum::Router {
        self.http.clone()
    }

    /// The storage account.
    pub fn account(&self) -> &Account {
        &self.account
    }

    /// The address of ordinary topics, for clients that trust [`trust`](Self::trust) and dial [`address`](Self::address).
    pub fn topics(&self, client_id: &str) -> topics::Builder {
        let builder = topics::Client::builder("mqtts://localhost").unwrap();
        builder.trust(self.trust()).address(self.address).client_id(client_id)
    }

    /// Waits until a log says that its storage failed: poisoned by a failed sync, or pushing back after a failed write.
    pub async fn failed(&self) {
        let mut pause = tokio::time::interval(Duration::from_millis(2));
        while self.is_well() {
            pause.tick().await;
        }
    }

    /// Whether the logs take messages.
    pub fn is_well(&self) -> bool {
        self.log.health().is_ok() && self.broker.as_ref().is_none_or(|broker| broker.log.health().is_ok())
    }

    /// Stops doors and hub. Panics where that hangs, even on dead storage.
    pub async fn stop(self) {
        let Self { stop_doors, stop_hub, doors, cloud, broker, .. } = self;
        stop_doors.cancel();
        tokio::time::timeout(STOP_TIME, doors).await.expect("the doors close").unwrap();
        if let Some(broker) = broker {
            broker.stop(STOP_TIME).await;
        }
        stop_hub.cancel();
        // On dead storage it may end with an error; that it ends is what counts.
        drop(tokio::time::timeout(STOP_TIME, cloud).await.expect("the hub ends").unwrap());
    }

    /// All events of all partitions, in order within each.
    pub async fn events(&self) -> Vec<Routed> {
        let log = &self.hub.seams().log;
        let mut events = Vec::new();
        for partition in (0..log.partitions()).map(PartitionId) {
            let mut from = Offset(0);
            loop {
                let batch = log.read(partition, QueueId::EVENTS, from, 1000, 1 << 20).await.unwrap();
                events.extend(batch.records.iter().map(|r| record::decode(r).unwrap()));
                if batch.next == from {
                    break;
                }
                from = batch.next;
            }
        }
        events
    }

    /// The lines of all JSON blobs, in order of their names, read as any client reads them.
    pub async fn stored_lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        let mut from = None;
        loop {
            let what = ListBlobs { from: from.take(), ..ListBlobs::default() };
            let page = self.account.list_blobs(CONTAINER, what).await.unwrap();
            for entry in page.entries {
                let Entry::Blob(name, _) = entry else { continue };
                lines.extend(self.blob(&name).await.lines().map(str::to_owned));
            }
            from = page.next;
            if from.is_none() {
                return lines;
            }
        }
    }

    async fn blob(&self, name: &str) -> String {
        let share = Share {
            container: CONTAINER.to_owned(),
            blob: Some(name.to_owned()),
            permissions: "r".to_owned(),
            expires: SystemClock.now().plus(Duration::from_secs(60)),
        };
        let request = Request::get(self.account.sas_url("http://test", &share))
            .header("x-ms-version", "2024-08-04")
            .body(Body::empty())
            .unwrap();
        let response = self.account.router().oneshot(request).await.unwrap();
        assert_eq!(response.status(), 200, "{name}");
        String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
    }
}

fn seed_of(devices: &[&str]) -> String {
    let list: Vec<String> = devices.iter().map(|id| format!(r#"{{"deviceId": "{id}"}}"#)).collect();
    format!(r#"{{"devices": [{}]}}"#, list.join(","))
}

fn config() -> assembly::Config {
    let route = |name: &str, endpoint: &str| Route {
        name: name.to_owned(),
        source: MessageSource::DeviceMessages,
        condition: "true".to_owned(),
        endpoints: vec![endpoint.to_owned()],
        ..Route::default()
    };
    assembly::Config {
        hub_name: "test".to_owned(),
        hosts: vec!["localhost".to_owned()],
        profile: Profile::Native,
        partitions: 2,
        routes: vec![route("events", "events"), route("stored", CONTAINER)],
        throttles: assembly::Throttles::default(),
        fallback_route: true,
        routing: Default::default(),
        storage_endpoints: vec![StorageEndpointConfig {
            name: CONTAINER.to_owned(),
            container: CONTAINER.to_owned(),
            encoding: Encoding::Json,
            file_name_format: "{iothub}/{partition}/{YYYY}/{MM}/{DD}/{HH}/{mm}".to_owned(),
            batch_frequency: Duration::from_millis(50),
            max_chunk_bytes: 1 << 20,
            target: StorageTarget::BuiltIn,
        }],
        consumer_groups: Vec::new(),
        log: LogConfig {
            segment_bytes: 64 << 10,
            retention: Duration::from_secs(86_400),
            retention_bytes: 1 << 30,
            ..LogConfig::default()
        },
        account_name: "test".to_owned(),
        file_upload: None,
        streaming: Default::default(),
    }
}
