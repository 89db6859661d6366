use super::*;
use ironbrook_gateway::{Gateway, Listener, Services, Tls};
use ironbrook_hub::seams::SystemClock;
use ironbrook_log::{Files, Memory};
use ironbrook_testkit::{Node, Place};
use serde_json::{Value, json};
use std::path::Path;
use tokio::task::JoinHandle;

/// Patience with a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

#[test]
fn a_port_in_the_host_name_is_split_off() {
    assert_eq!(split_port("localhost"), ("localhost", None));
    assert_eq!(split_port("localhost:18883"), ("localhost", Some(18883)));
    assert_eq!(split_port("[::1]"), ("[::1]", None));
}

#[test]
fn keys_are_not_shown() {
    let shown = format!(
        "{:?}",
        config("HostName=h;DeviceId=d;SharedAccessKey=Y2FuYXJ5", Trust::System, Path::new("/x"))
    );
    assert!(!shown.contains("Y2Fu"), "{shown}");
}

fn config(connection_string: &str, trust: Trust, data_dir: &Path) -> Config {
    Config {
        connection_string: connection_string.to_owned(),
        trust,
        mqtt_address: None,
        https_address: None,
        gateway_host: "localhost".to_owned(),
        names: Vec::new(),
        extra_trust: None,
        data_dir: data_dir.to_owned(),
        runtime_dir: Some(data_dir.to_owned()),
        program: "/nonexistent/ironbrook".into(),
        builtin: Vec::new(),
        images: Vec::new(),
        agent_image: "ironbrook/azureiotedge-agent:1".to_owned(),
        links: LinksConfig::default(),
        sync: SyncPolicy::default(),
        keys: Keys::default(),
    }
}

struct Running {
    handle: hub::Handle,
    trust: Trust,
    address: SocketAddr,
    stop_doors: CancellationToken,
    stop: CancellationToken,
    doors: JoinHandle<()>,
    edge: JoinHandle<Result<(), Error>>,
}

async fn start(node_address: SocketAddr, trust: Trust, string: &str, folder: &Path) -> Running {
    let mut config = config(string, trust, folder);
    config.mqtt_address = Some(node_address);
    config.https_address = Some(node_address);
    let storage = Arc::new(Files::open(folder).unwrap());
    let mut metrics = prometheus_client::registry::Registry::default();
    let edge = Edge::open(config, storage, Arc::new(SystemClock), &mut metrics).await.unwrap();
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
        tls: Tls::On(edge.tls()),
        services: Arc::new(services),
    };
    let gateway = Gateway::bind(vec![listener]).unwrap();
    let (stop_doors, stop) = (CancellationToken::new(), CancellationToken::new());
    Running {
        handle: edge.handle(),
        trust: Trust::Pem(edge.daemon().trust_bundle_pem().as_bytes().to_vec()),
        address: gateway.addresses()[0],
        doors: tokio::spawn(gateway.run(stop_doors.clone())),
        edge: tokio::spawn(edge.run(stop.clone())),
        stop_doors,
        stop,
    }
}

impl Running {
    async fn stop(self) {
        self.stop_doors.cancel();
        tokio::time::timeout(PATIENCE, self.doors).await.expect("the doors close").unwrap();
        self.stop.cancel();
        tokio::time::timeout(PATIENCE, self.edge).await.expect("the edge device ends").unwrap().unwrap();
    }
}

async fn until(what: &str, mut look: impl AsyncFnMut() -> bool) {
    let found = async {
        let mut tick = tokio::time::interval(Duration::from_millis(10));
        while !look().await {
            tick.tick().await;
        }
    };
    tokio::time::timeout(PATIENCE, found).await.unwrap_or_else(|_| panic!("never: {what}"));
}

fn module(name: &str) -> Identity {
    Identity::module(DeviceId::new("edge-1").unwrap(), ModuleId::new(name.to_owned()).unwrap())
}

async fn status(node: &Node, name: &str) -> Value {
    node.twin(&module(name)).await["properties"]["reported"]["lastDesiredStatus"]["code"].take()
}

fn system(image: &str) -> Value {
    json!({"type": "docker", "status": "running", "restartPolicy": "always",
        "settings": {"image": format!("test.example/{image}:1.5"), "createOptions": "{}"}})
}

/// From an empty folder to a deployment in force, and again without the hub.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edge_device_gets_its_deployment_and_starts_again_without_the_hub() {
    let seed = r#"{"devices": [{"deviceId": "edge-1", "iotEdge": true}]}"#;
    let node = Node::start_at(Arc::new(Memory::new()), seed, &Place::default()).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let string = node.connection_string("edge-1").to_owned();
    let edge = start(node.address(), node.trust(), &string, folder.path()).await;
    assert!(!*edge.handle.configured().borrow());
    let agent = json!({"schemaVersion": "1.1", "modules": {},
        "runtime": {"type": "docker", "settings": {}},
        "systemModules": {"edgeAgent": system("azureiotedge-agent"), "edgeHub": system("azureiotedge-hub")}});
    node.patch_desired(&module("$edgeAgent"), agent).await;
    let hub = json!({"schemaVersion": "1.1", "storeAndForwardConfiguration": {"timeToLiveSecs": 7200},
        "routes": {"up": "FROM /messages/* INTO $upstream"}});
    node.patch_desired(&module("$edgeHub"), hub).await;
    until("both parts are in force", async || {
        status(&node, "$edgeAgent").await == 200 && status(&node, "$edgeHub").await == 200
    })
    .await;
    let reported = node.twin(&module("$edgeAgent")).await["properties"]["reported"].take();
    assert_eq!(reported["systemModules"]["edgeHub"]["runtimeStatus"], "running");
    assert!(edge.handle.is_online() && *edge.handle.configured().borrow());

    edge.stop().await;
    let address = node.address();
    let trust = node.trust();
    node.stop().await;
    let edge = start(address, trust, &string, folder.path()).await;
    assert!(*edge.handle.configured().borrow(), "the routes of the last run are kept");
    until("the endpoint waits for the hub", async || {
        edge.handle.endpoints().iter().any(|endpoint| endpoint.name == "iothub")
    })
    .await;
    assert!(!edge.handle.is_online());
    // The server's certificate is of the authority that modules are told to trust.
    let key = SharedAccessKey::from_bytes(b"wrong");
    let client = Builder::with_key("localhost", module("m"), key);
    let client = client.transport(Transport::new(edge.trust.clone()).address(edge.address));
    assert!(matches!(client.connect().await, Err(ironbrook_client::Error::Unauthorized(_))));
    edge.stop().await;
}
