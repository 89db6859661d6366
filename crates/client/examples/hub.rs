//! Measures a running hub: twin patches over the service API, reported properties over MQTT, the round trip of a method, and
//! queries by tag. `cargo xtask bench hub` runs it with the ready line of `ironbrook dev` in the environment.

#![allow(clippy::print_stdout, reason = "an example talks to its user")]

use bytes::Bytes;
use futures_util::future::try_join_all;
use http::header::{AUTHORIZATION, HOST};
use http::{Method, Request};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use ironbrook_client::DeviceClient;
use ironbrook_model::{ConnectionString, SharedAccessKey, Timestamp};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Devices whose twins are patched.
const DEVICES: usize = 1000;
/// Connections of the service, and devices that report, at the same time.
const CONNECTIONS: usize = 64;
/// Patches that a device has under way.
const IN_FLIGHT: usize = 8;
/// How long each rate is measured.
const FOR: Duration = Duration::from_secs(8);
/// Calls of a method.
const CALLS: usize = 2000;
/// Twins under the queries, and values of the tag: each has a hundred twins.
const TWINS: usize = 100_000;
const SITES: usize = TWINS / 100;
/// Queries of which the slowest is told.
const QUERIES: usize = 200;
/// Changes in one request.
const BULK: usize = 100;
/// When tokens end: long after.
const EXPIRY: Timestamp = Timestamp::from_secs(4_000_000_000);

/// Where the hub is and who asks.
struct Hub {
    host: String,
    key: SharedAccessKey,
    policy: String,
    https: SocketAddr,
    mqtt: SocketAddr,
    ca: String,
    tls: TlsConnector,
}

impl Hub {
    fn new(ready: &Value) -> Result<Self> {
        let text = |value: &Value| value.as_str().map(str::to_owned).ok_or("the ready line lacks something");
        let parts = ConnectionString::parse(&text(&ready["hub_connection_string"])?)?;
        let ca = text(&ready["ca_file"])?;
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(&ca)? {
            roots.add(certificate?)?;
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self {
            host: parts.require("HostName")?.to_owned(),
            key: SharedAccessKey::from_base64(parts.require("SharedAccessKey")?)
                .ok_or("the key is no base64")?,
            policy: parts.require("SharedAccessKeyName")?.to_owned(),
            https: text(&ready["listeners"]["https"][0])?.parse()?,
            mqtt: text(&ready["listeners"]["mqtt"][0])?.parse()?,
            ca,
            tls: TlsConnector::from(Arc::new(config)),
        })
    }

    async fn service(&self) -> Result<Service> {
        let stream = TcpStream::connect(self.https).await?;
        stream.set_nodelay(true)?;
        let stream = self.tls.connect(ServerName::try_from(self.host.clone())?, stream).await?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let token = self.key.sign(&self.host, EXPIRY, Some(&self.policy));
        Ok(Service { sender, host: self.host.clone(), token })
    }

    async fn device(&self, service: &mut Service, id: &str) -> Result<DeviceClient> {
        let identity = service.call(Method::GET, &format!("/devices/{id}"), None).await?;
        let key = identity["authentication"]["symmetricKey"]["primaryKey"].as_str().ok_or("no key")?;
        let text = format!("HostName={};DeviceId={id};SharedAccessKey={key}", self.host);
        let builder = DeviceClient::builder(&text)?.ca_file(&self.ca)?.address(self.mqtt);
        Ok(builder.start()?)
    }
}

/// A connection of the service API that stays open.
struct Service {
    sender: SendRequest<Full<Bytes>>,
    host: String,
    token: String,
}

impl Service {
    async fn call(&mut self, method: Method, path: &str, body: Option<Value>) -> Result<Value> {
        let body = body.map(|body| body.to_string()).unwrap_or_default();
        let request = Request::builder()
            .method(method)
            .uri(format!("{path}?api-version=2021-04-12"))
            .header(HOST, &self.host)
            .header(AUTHORIZATION, &self.token)
            .body(Full::new(Bytes::from(body)))?;
        self.sender.ready().await?;
        let answer = self.sender.send_request(request).await?;
        let status = answer.status();
        let body = answer.into_body().collect().await?.to_bytes();
        if !status.is_success() {
            return Err(format!("{path}: {status}: {}", String::from_utf8_lossy(&body)).into());
        }
        Ok(if body.is_empty() { Value::Null } else { serde_json::from_slice(&body)? })
    }
}

fn name(n: usize) -> String {
    format!("bench-{n:06}")
}

/// Makes devices with a tag, many requests at the same time.
async fn make(hub: &Hub, from: usize, to: usize) -> Result<()> {
    let next = AtomicU64::new(from as u64);
    let work = (0..CONNECTIONS).map(|_| async {
        let mut service = hub.service().await?;
        loop {
            let begin = usize::try_from(next.fetch_add(BULK as u64, Ordering::Relaxed))?;
            if begin >= to {
                return Ok::<_, Box<dyn std::error::Error + Send + Sync>>(());
            }
            let item = |n: usize| {
                let tags = json!({"site": format!("site-{}", n % SITES), "line": n % 7});
                json!({"id": name(n), "importMode": "create", "tags": tags})
            };
            let items: Vec<Value> = (begin..(begin + BULK).min(to)).map(item).collect();
            service.call(Method::POST, "/devices", Some(Value::Array(items))).await?;
        }
    });
    try_join_all(work).await.map(drop)
}

async fn twin_patches(hub: &Hub) -> Result<()> {
    let (done, begin) = (AtomicU64::new(0), Instant::now());
    let work = (0..CONNECTIONS).map(|worker| {
        let done = &done;
        async move {
            let mut service = hub.service().await?;
            let mut n = worker;
            while begin.elapsed() < FOR {
                let patch = json!({"properties": {"desired": {"setpoint": n, "mode": "auto"}}});
                service.call(Method::PATCH, &format!("/twins/{}", name(n % DEVICES)), Some(patch)).await?;
                done.fetch_add(1, Ordering::Relaxed);
                n += CONNECTIONS;
            }
            Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
        }
    });
    try_join_all(work).await?;
    tell("twin patches over the service API", done.load(Ordering::Relaxed), begin);
    Ok(())
}

async fn reported(hub: &Hub) -> Result<()> {
    let mut service = hub.service().await?;
    let mut clients = Vec::new();
    for n in 0..CONNECTIONS {
        let client = hub.device(&mut service, &name(n)).await?;
        client.report(&json!({"warm": true})).await?;
        clients.push(client);
    }
    let (done, begin) = (AtomicU64::new(0), Instant::now());
    let work = clients.iter().flat_map(|client| (0..IN_FLIGHT).map(move |_| client)).map(|client| {
        let done = &done;
        async move {
            while begin.elapsed() < FOR {
                let n = done.fetch_add(1, Ordering::Relaxed);
                client.report(&json!({"temperature": n, "state": "running"})).await?;
            }
            Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
        }
    });
    try_join_all(work).await?;
    tell("reported properties over MQTT", done.load(Ordering::Relaxed), begin);
    for client in clients {
        client.close().await?;
    }
    Ok(())
}

async fn methods(hub: &Hub) -> Result<()> {
    let mut service = hub.service().await?;
    let client = hub.device(&mut service, &name(0)).await?;
    let mut calls = client.methods().await?;
    let answers = tokio::spawn(async move {
        while let Some(call) = calls.next().await {
            if call.respond(200, &json!({"ok": true})).await.is_err() {
                return;
            }
        }
    });
    let body = json!({"methodName": "ping", "payload": {"a": 1}, "responseTimeoutInSeconds": 30, "connectTimeoutInSeconds": 30});
    let mut times = Vec::with_capacity(CALLS);
    for _ in 0..CALLS {
        let begin = Instant::now();
        service.call(Method::POST, &format!("/twins/{}/methods", name(0)), Some(body.clone())).await?;
        times.push(begin.elapsed());
    }
    times.sort();
    let at = |part: usize| times[times.len() * part / 100].as_secs_f64() * 1000.0;
    println!("method round trip                 p50 {:>7.3} ms   p99 {:>7.3} ms", at(50), at(99));
    answers.abort();
    client.close().await?;
    Ok(())
}

async fn queries(hub: &Hub) -> Result<()> {
    let begin = Instant::now();
    make(hub, DEVICES, TWINS).await?;
    tell("devices made in bulk", (TWINS - DEVICES) as u64, begin);
    let mut service = hub.service().await?;
    for (what, query) in [
        ("by tag, a page of 100", "SELECT * FROM devices WHERE tags.site = 'site-#'"),
        ("by two tags", "SELECT deviceId FROM devices WHERE tags.line = 3 AND tags.site = 'site-#'"),
        ("count by tag", "SELECT COUNT() AS n FROM devices WHERE tags.line = 3"),
        ("by id", "SELECT * FROM devices WHERE deviceId = 'bench-00000#'"),
    ] {
        let mut times = Vec::with_capacity(QUERIES);
        for n in 0..QUERIES {
            let text = query.replace('#', &(n % 10).to_string());
            let begin = Instant::now();
            service.call(Method::POST, "/devices/query", Some(json!({"query": text}))).await?;
            times.push(begin.elapsed());
        }
        times.sort();
        let ms = |time: Duration| time.as_secs_f64() * 1000.0;
        println!(
            "query {what:<27} p50 {:>7.3} ms   max {:>7.3} ms",
            ms(times[QUERIES / 2]),
            ms(times[QUERIES - 1])
        );
    }
    let begin = Instant::now();
    let text = "SELECT COUNT() AS n FROM devices WHERE properties.desired.setpoint > 10";
    service.call(Method::POST, "/devices/query", Some(json!({"query": text}))).await?;
    println!("query that looks at every twin        {:>7.0} ms", begin.elapsed().as_secs_f64() * 1000.0);
    Ok(())
}

fn tell(what: &str, count: u64, begin: Instant) {
    println!("{what:<38} {:>7.0} /s", count as f64 / begin.elapsed().as_secs_f64());
}

#[tokio::main]
async fn main() -> Result<()> {
    let ready: Value = serde_json::from_str(&std::env::var("IRONBROOK_READY")?)?;
    let hub = Hub::new(&ready)?;
    make(&hub, 0, DEVICES).await?;
    twin_patches(&hub).await?;
    reported(&hub).await?;
    methods(&hub).await?;
    queries(&hub).await
}
