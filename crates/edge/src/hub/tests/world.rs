//! A hub, an edge hub and their clients in one process. Both hubs can go away and come back.

use super::full::{Disk, Full};
use crate::hub::upstream::LinksConfig;
use crate::hub::{Access, Config, EdgeHub, Error, Handle};
use ironbrook_client::{
    Builder, DeviceClient, DeviceRegistryClient, Message, SystemProperty, Transport, Trust,
};
use ironbrook_gateway::authority::Authority;
use ironbrook_gateway::{Gateway, Listener, Services, Tls};
use ironbrook_hub::seams::{Clock as _, Routed, SystemClock};
use ironbrook_hub::{ConnectRequest, Credential, Hub, Session};
use ironbrook_log::Memory;
use ironbrook_model::{ConnectionString, DeviceId, Identity, ModuleId, SasToken, SharedAccessKey};
use ironbrook_testkit::{Node, Place};
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// The seed of the hub above.
const SEED: &str = r#"{"devices": [{"deviceId": "edge-1", "iotEdge": true}]}"#;
/// Patience with a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// Waits for a condition that is looked at again and again.
pub(super) async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let found = async {
        let mut tick = tokio::time::interval(Duration::from_millis(5));
        loop {
            tick.tick().await;
            if let Some(found) = look().await {
                return found;
            }
        }
    };
    tokio::time::timeout(PATIENCE, found).await.unwrap_or_else(|_| panic!("never: {what}"))
}

/// A running edge hub with its doors.
struct Edge {
    hub: Hub,
    handle: Handle,
    address: SocketAddr,
    stop_doors: CancellationToken,
    stop: CancellationToken,
    doors: JoinHandle<()>,
    running: JoinHandle<Result<(), Error>>,
    metrics: Registry,
}

pub(super) struct World {
    place: Place,
    storage: Memory,
    node: Option<Node>,
    device: String,
    key: SharedAccessKey,
    edge_storage: Memory,
    edge_full: Full,
    edge_authority: Authority,
    edge: Option<Edge>,
}

impl World {
    /// Both are there, and the edge hub is connected.
    pub(super) async fn new() -> Self {
        let storage = Memory::new();
        let mut place = Place::default();
        let node = Node::start_at(Arc::new(storage.clone()), SEED, &place).await.unwrap();
        place.address = node.address();
        let device = node.connection_string("edge-1").to_owned();
        let mut world = Self {
            place,
            storage,
            node: Some(node),
            device,
            key: SharedAccessKey::generate(),
            edge_storage: Memory::new(),
            edge_full: Full::default(),
            edge_authority: Authority::generate("edge authority", SystemClock.now()).unwrap(),
            edge: None,
        };
        world.make_module("$edgeHub").await;
        world.start_edge().await;
        world.online().await;
        world
    }

    pub(super) fn node(&self) -> &Node {
        self.node.as_ref().expect("the hub is there")
    }

    fn edge(&self) -> &Edge {
        self.edge.as_ref().expect("the edge hub is there")
    }

    pub(super) fn handle(&self) -> &Handle {
        &self.edge().handle
    }

    /// What of a metric is told now: labels besides those that all have, and value.
    pub(super) fn metric(&self, name: &str) -> Vec<(String, u64)> {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.edge().metrics).unwrap();
        let lines = text.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix('{'));
        lines
            .map(|line| {
                let (labels, value) = line.rsplit_once("} ").unwrap();
                let own = labels.strip_prefix(r#"iothub="localhost",edge_device="edge-1""#).expect(labels);
                (own.trim_start_matches(',').to_owned(), value.parse().unwrap())
            })
            .collect()
    }

    /// The routes of the HTTPS door.
    pub(super) fn http(&self) -> axum::Router {
        crate::hub::http::router(self.edge_hub().clone())
    }

    pub(super) fn edge_hub(&self) -> &Hub {
        &self.edge().hub
    }

    pub(super) fn id(module: &str) -> Identity {
        Identity::module(DeviceId::new("edge-1").unwrap(), ModuleId::new(module.to_owned()).unwrap())
    }

    fn transport(&self) -> Transport {
        let trust = Trust::Pem(self.place.authority.certificate_pem().as_bytes().to_vec());
        Transport::new(trust).address(self.place.address)
    }

    /// The registry, with the device's own credential.
    fn registry(&self) -> DeviceRegistryClient {
        let key = ConnectionString::parse(&self.device).unwrap().require_key("SharedAccessKey").unwrap();
        let device = Identity::device(DeviceId::new("edge-1").unwrap());
        DeviceRegistryClient::with_key("localhost", device, key).transport(self.transport()).build().unwrap()
    }

    pub(super) async fn delete_module(&self, module: &str) {
        self.registry().delete_module(&ModuleId::new(module.to_owned()).unwrap()).await.unwrap();
    }

    /// Makes a module at the hub, with the key that all modules here have.
    pub(super) async fn make_module(&self, module: &str) {
        let keys = json!({"primaryKey": self.key.to_base64(), "secondaryKey": self.key.to_base64()});
        let body = json!({"moduleId": module, "deviceId": "edge-1", "managedBy": "iotedge",
            "authentication": {"type": "sas", "symmetricKey": keys}});
        let exists = (module.starts_with('$')).then_some("*");
        let id = ModuleId::new(module.to_owned()).unwrap();
        self.registry().put_module(&id, &body, exists).await.unwrap();
    }

    pub(super) async fn start_edge(&mut self) {
        let mut metrics = Registry::default();
        let mut config = Config::new(DeviceId::new("edge-1").unwrap(), "localhost");
        config.gateway_hosts = vec!["gateway.test".to_owned()];
        config.links = LinksConfig { max: 8, idle: Duration::from_secs(600) };
        let disk = Disk { memory: self.edge_storage.clone(), full: self.edge_full.clone() };
        let edge = EdgeHub::open(Arc::new(disk), Arc::new(SystemClock), config, &mut metrics).await.unwrap();
        let own = Self::id("$edgeHub");
        let registry = DeviceRegistryClient::with_key("localhost", own.clone(), self.key.clone());
        edge.handle().connect(Access {
            connection: Builder::with_key("localhost", own, self.key.clone()).transport(self.transport()),
            registry: registry.transport(self.transport()).build().unwrap(),
        });
        let certificate = self
            .edge_authority
            .issue(&["localhost".to_owned()], SystemClock.now(), Duration::from_secs(86_400))
            .unwrap();
        let tls = ironbrook_gateway::tls::server_config(certificate.chain, certificate.key).unwrap();
        let services = Services {
            hub: Some(edge.hub().clone()),
            topics: None,
            http: edge.http(),
            amqp: None,
            provisioning: None,
            websocket: true,
            metrics: ironbrook_gateway::Metrics::new(&mut metrics),
        };
        let listener = Listener {
            addr: SocketAddr::from(([127, 0, 0, 1], 0)),
            tls: Tls::On(Arc::new(arc_swap::ArcSwap::from_pointee(tls))),
            services: Arc::new(services),
        };
        let gateway = Gateway::bind(vec![listener]).unwrap();
        let (stop_doors, stop) = (CancellationToken::new(), CancellationToken::new());
        self.edge = Some(Edge {
            metrics,
            hub: edge.hub().clone(),
            handle: edge.handle(),
            address: gateway.addresses()[0],
            doors: tokio::spawn(gateway.run(stop_doors.clone())),
            running: tokio::spawn(edge.run(stop.clone())),
            stop_doors,
            stop,
        });
    }

    /// The power of the edge device goes off after so many disk operations more.
    pub(super) fn power_off_after(&self, operations: u64) {
        self.edge_storage.power_off_after(operations);
    }

    /// Stops the edge hub; with a power cut, what was not synced is lost.
    pub(super) async fn stop_edge(&mut self, power_cut: bool) {
        let after = power_cut.then(|| self.edge_storage.power_cut(1));
        self.end_edge(after).await;
    }

    /// Stops what runs on without power, and finds the disk as the cut left it.
    pub(super) async fn stop_edge_after_cut(&mut self, seed: u64) {
        let after = self.edge_storage.power_cut(seed);
        self.end_edge(Some(after)).await;
    }

    async fn end_edge(&mut self, after: Option<Memory>) {
        let Some(edge) = self.edge.take() else { return };
        edge.stop_doors.cancel();
        tokio::time::timeout(PATIENCE, edge.doors).await.expect("the doors close").unwrap();
        edge.stop.cancel();
        let ended = tokio::time::timeout(PATIENCE, edge.running).await.expect("the edge hub ends").unwrap();
        match after {
            Some(after) => self.edge_storage = after,
            None => ended.unwrap(),
        }
    }

    /// From now on there is no room on the edge hub's disk, or there is again.
    pub(super) fn disk_full(&self, is_full: bool) {
        self.edge_full.set(is_full);
    }

    pub(super) async fn stop_hub(&mut self) {
        if let Some(node) = self.node.take() {
            node.stop().await;
        }
    }

    pub(super) async fn start_hub(&mut self) {
        let node = Node::start_at(Arc::new(self.storage.clone()), SEED, &self.place).await.unwrap();
        self.node = Some(node);
    }

    pub(super) async fn online(&self) {
        let mut online = self.handle().online();
        tokio::time::timeout(PATIENCE, online.wait_for(|online| *online)).await.expect("connected").unwrap();
    }

    pub(super) async fn offline(&self) {
        let mut online = self.handle().online();
        tokio::time::timeout(PATIENCE, online.wait_for(|online| !*online)).await.expect("away").unwrap();
    }

    /// A module's client of the edge hub, connected.
    pub(super) async fn module(&self, module: &str) -> DeviceClient {
        self.client(Self::id(module)).await
    }

    /// Makes a device behind this one, with the key that all here have.
    pub(super) async fn put_leaf(&self, device: &str) {
        let key = self.key.to_base64();
        let keys = json!({"primaryKey": key, "secondaryKey": key});
        let body = json!({"deviceId": device, "authentication": {"type": "sas", "symmetricKey": keys}});
        self.node().put_behind(&DeviceId::new("edge-1").unwrap(), body).await;
    }

    /// A client of a device behind this one, connected to the edge hub.
    pub(super) async fn leaf(&self, device: &str) -> DeviceClient {
        let identity = Identity::device(DeviceId::new(device.to_owned()).unwrap());
        self.client(identity).await
    }

    async fn client(&self, identity: Identity) -> DeviceClient {
        let trust = Trust::Pem(self.edge_authority.certificate_pem().as_bytes().to_vec());
        let transport = Transport::new(trust).address(self.edge().address);
        let builder = Builder::with_key("localhost", identity, self.key.clone());
        builder.transport(transport).connect().await.unwrap()
    }

    /// A module's session at the edge hub, as a door that can do all that AMQP can has it.
    pub(super) async fn session(&self, module: &str) -> Session {
        let request = ConnectRequest {
            identity: Self::id(module),
            credential: Credential::Sas(SasToken::parse(&self.token(module)).unwrap()),
            model_id: None,
            clean_session: true,
            lasting: true,
        };
        self.edge_hub().connect(request).await.unwrap()
    }

    /// The token of a module.
    pub(super) fn token(&self, module: &str) -> String {
        let expires = SystemClock.now().plus(Duration::from_secs(3600));
        self.key.sign(&format!("localhost/{}", Self::id(module).resource()), expires, None)
    }

    /// Sets the routes, and waits until they are in force.
    pub(super) async fn set_routes(&self, routes: Value) {
        let desired = json!({"schemaVersion": "1.1", "routes": routes,
            "storeAndForwardConfiguration": {"timeToLiveSecs": 7200}});
        self.node().patch_desired(&Self::id("$edgeHub"), desired).await;
        let own = Self::id("$edgeHub");
        until("the routes are in force", async || {
            let properties = &self.node().twin(&own).await["properties"];
            let (wanted, told) =
                (&properties["desired"]["$version"], &properties["reported"]["lastDesiredVersion"]);
            (wanted == told).then_some(())
        })
        .await;
    }

    /// The bodies of a module's messages that have arrived at the hub, in order.
    pub(super) async fn arrived(&self, module: &str) -> Vec<String> {
        let of = |routed: &Routed| {
            let sender = routed.message.system.get(SystemProperty::ConnectionModuleId);
            sender.is_some_and(|sender| &**sender == module)
        };
        let events = self.node().events().await;
        let bodies = events.iter().filter(|routed| of(routed));
        bodies.map(|routed| String::from_utf8(routed.message.body.to_vec()).unwrap()).collect()
    }
}

/// A message with a body, by an output.
pub(super) fn message(body: impl std::fmt::Display, output: &str) -> Message {
    let mut message = Message::new(body.to_string());
    message.system.set(SystemProperty::OutputName, output.to_owned());
    message
}
