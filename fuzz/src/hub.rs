//! A whole hub: its doors by the bytes of a client that nobody knows yet, its calls by requests of its owner.
//!
//! A panic anywhere in it ends the fuzzer, and so does a door that neither answers nor ends.

use bytes::Bytes;
use ironbrook_cloud::assembly::{Cloud, Config, LogConfig, Profile};
use ironbrook_cloud::registry::SeedFile;
use ironbrook_cloud::storage::account::Share;
use ironbrook_gateway::{Gateway, Listener, Metrics, Services, Tls};
use ironbrook_hub::seams::SystemClock;
use ironbrook_log::Memory;
use ironbrook_model::Timestamp;
use std::cell::RefCell;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

/// What the seeds are signed for; see [`door`].
const SEED: &str = r#"{"devices": [{"deviceId": "d", "primaryKey": "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=",
    "secondaryKey": "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc="}, {"deviceId": "edge", "iotEdge": true}]}"#;
const CONTAINER: &str = "box";
/// Inputs after which the hub is made anew, so that what they left does not add up.
const INPUTS_PER_HUB: u32 = 2000;
/// A door that takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(15);
/// Answers longer than this to one input are a flood.
const OUTPUT_MAX: u64 = 4 << 20;
/// Longest body of a request's answer.
const BODY_MAX: usize = 16 << 20;

struct World {
    runtime: Runtime,
    address: SocketAddr,
    service: axum::Router,
    account: axum::Router,
    /// What the owner shows.
    token: String,
    /// What lets do everything in the container.
    signature: String,
    stop: CancellationToken,
    inputs: u32,
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl World {
    fn new() -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
        let stop = CancellationToken::new();
        let opened = runtime.block_on(Self::open(stop.clone()));
        let (address, cloud, signature, token) = opened;
        let (service, account) = (cloud.http(), cloud.account().router());
        runtime.spawn(cloud.run(stop.clone()));
        Self { runtime, address, service, account, token, signature, stop, inputs: 0 }
    }

    async fn open(stop: CancellationToken) -> (SocketAddr, Cloud, String, String) {
        let config = Config {
            hub_name: "hub".to_owned(),
            hosts: vec!["localhost".to_owned()],
            profile: Profile::Native,
            partitions: 1,
            routes: Vec::new(),
            fallback_route: true,
            storage_endpoints: Vec::new(),
            consumer_groups: Vec::new(),
            log: LogConfig {
                segment_bytes: 1 << 20,
                retention: Duration::from_secs(60),
                retention_bytes: 1 << 20,
                ..LogConfig::default()
            },
            account_name: "account".to_owned(),
            routing: Default::default(),
            throttles: Default::default(),
            file_upload: None,
            streaming: Default::default(),
        };
        let seed = SeedFile::parse(SEED).expect("it is well formed");
        let mut metrics = prometheus_client::registry::Registry::default();
        let storage = Arc::new(Memory::forgetful());
        let cloud = Cloud::open(storage, Arc::new(SystemClock), config, Some(&seed), &mut metrics).await;
        let cloud = cloud.expect("storage in memory");
        cloud.account().ensure_container(CONTAINER).await.expect("storage in memory");
        let services = Services {
            hub: Some(cloud.hub().clone()),
            topics: None,
            http: cloud.http(),
            amqp: Some(cloud.amqp()),
            provisioning: Some(cloud.provisioning()),
            websocket: true,
            metrics: Metrics::new(&mut metrics),
        };
        let addr = SocketAddr::from(([127, 0, 0, 1], 0));
        let listener = Listener { addr, tls: Tls::Off, services: Arc::new(services) };
        let gateway = Gateway::bind(vec![listener]).expect("a loopback port");
        let address = gateway.addresses()[0];
        tokio::spawn(gateway.run(stop));
        let later = Timestamp::from_secs(4_000_000_000);
        let share =
            Share { container: CONTAINER.into(), blob: None, permissions: "racwdl".into(), expires: later };
        let url = cloud.account().sas_url("http://account", &share);
        let signature = url.split_once('?').map(|(_, query)| query.to_owned()).unwrap_or_default();
        let policies = cloud.registry().policies();
        let owner = policies.iter().find(|policy| policy.name == "iothubowner").expect("every hub has it");
        let token = owner.primary_key.sign("localhost", later, Some(&owner.name));
        (address, cloud, signature, token)
    }
}

thread_local! {
    static WORLD: RefCell<Option<World>> = const { RefCell::new(None) };
}

fn with(work: impl FnOnce(&World)) {
    WORLD.with_borrow_mut(|place| {
        if place.as_ref().is_some_and(|world| world.inputs >= INPUTS_PER_HUB) {
            *place = None;
        }
        let world = place.get_or_insert_with(World::new);
        world.inputs += 1;
        work(world);
    });
}

/// Any bytes, as a client sends them before anybody knows it: MQTT, AMQP with SASL and CBS, HTTP and WebSocket, whatever the first
/// ones say. The door answers or does not, and ends.
pub fn door(data: &[u8]) {
    with(|world| {
        let talk = async {
            let mut stream = TcpStream::connect(world.address).await.expect("the port is open");
            // The door may have had enough before the end.
            let _ = stream.write_all(data).await;
            let _ = stream.shutdown().await;
            let mut answer = Vec::new();
            let _ = (&mut stream).take(OUTPUT_MAX + 1).read_to_end(&mut answer).await;
            assert!((answer.len() as u64) <= OUTPUT_MAX, "a flood");
        };
        let ended = world.runtime.block_on(async { tokio::time::timeout(PATIENCE, talk).await });
        ended.expect("the door ends the connection when the client did");
    });
}

/// A request of the hub's owner: a line `METHOD PATH`, lines of headers, an empty line, a body. With a path in `/account/` it is for
/// the storage account. Whatever it is, it is answered, and never by an error of the server.
pub fn request(data: &[u8]) {
    let (head, body) = match data.windows(2).position(|pair| pair == b"\n\n") {
        Some(at) => (&data[..at], &data[at + 2..]),
        None => (data, &[][..]),
    };
    let Ok(head) = std::str::from_utf8(head) else { return };
    let mut lines = head.split('\n');
    let Some((method, path)) = lines.next().and_then(|line| line.split_once(' ')) else { return };
    with(|world| {
        let is_blob = path.starts_with("/account/");
        let joint = if path.contains('?') { '&' } else { '?' };
        let uri = if is_blob { format!("{path}{joint}{}", world.signature) } else { path.to_owned() };
        let mut request = http::Request::builder().method(method).uri(uri);
        for (name, value) in lines.filter_map(|line| line.split_once(": ")) {
            request = request.header(name, value);
        }
        request = request.header("content-length", body.len());
        if !is_blob {
            request = request.header("authorization", &world.token);
        }
        let Ok(request) = request.body(axum::body::Body::from(Bytes::copy_from_slice(body))) else { return };
        let router = if is_blob { &world.account } else { &world.service };
        let answer = async {
            let response = router.clone().oneshot(request).await.expect("a router answers");
            let status = response.status();
            let body = axum::body::to_bytes(response.into_body(), BODY_MAX).await;
            (status, body)
        };
        let answered = world.runtime.block_on(async { tokio::time::timeout(PATIENCE, answer).await });
        let (status, _) = answered.expect("an answer in time");
        assert_ne!(status, http::StatusCode::INTERNAL_SERVER_ERROR, "an error of the server");
    });
}
