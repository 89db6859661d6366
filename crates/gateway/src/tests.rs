//! Whole listeners on loopback: encryption, telling protocols apart, WebSocket, HTTP, stopping.

use crate::authority::Authority;
use crate::fakes::{HOST, World, token, within};
use crate::gateway::DRAIN_TIME;
use crate::{Gateway, Listener, Peer, Services, Tls, tls};
use arc_swap::ArcSwap;
use axum::Extension;
use axum::routing::get;
use futures_util::{SinkExt as _, StreamExt as _};
use ironbrook_hub::Settlement;
use ironbrook_hub::seams::{Clock as _, SystemClock};
use ironbrook_model::{Message, SystemProperty};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_tungstenite::tungstenite::Message as Frame;
use tokio_util::sync::CancellationToken;

/// CONNECT of `d1`, the password to be appended.
fn connect_packet() -> Vec<u8> {
    let username = format!("{HOST}/d1/?api-version=2021-04-12");
    let password = token("d1", Duration::from_secs(3600));
    let mut body = b"\0\x04MQTT\x04\xc2\0\x3c".to_vec();
    for field in ["d1", &username, &password] {
        body.extend_from_slice(&(field.len() as u16).to_be_bytes());
        body.extend_from_slice(field.as_bytes());
    }
    let mut packet = vec![0x10, (body.len() & 0x7f) as u8 | 0x80, (body.len() >> 7) as u8];
    packet.extend_from_slice(&body);
    packet
}

const CONNACK: [u8; 4] = [0x20, 2, 0, 0];
const PINGREQ: [u8; 2] = [0xc0, 0];

struct Site {
    world: World,
    authority: Authority,
    addr: SocketAddr,
    cancel: CancellationToken,
    served: JoinHandle<()>,
}

fn certificate(authority: &Authority) -> Arc<ArcSwap<ServerConfig>> {
    let names = [HOST.to_owned(), "127.0.0.1".to_owned()];
    let issued = authority.issue(&names, SystemClock.now(), Duration::from_secs(3600)).unwrap();
    Arc::new(ArcSwap::from_pointee(tls::server_config(issued.chain, issued.key).unwrap()))
}

impl Site {
    fn open(tls: impl FnOnce(Arc<ArcSwap<ServerConfig>>) -> Tls) -> Self {
        Self::open_with(tls, 100)
    }

    fn open_with(tls: impl FnOnce(Arc<ArcSwap<ServerConfig>>) -> Tls, max_connections: usize) -> Self {
        let world = World::new(&["d1", "d1/m1"]);
        let authority = Authority::generate("test authority", SystemClock.now()).unwrap();
        let hello = get(|Extension(peer): Extension<Peer>| async move {
            format!("tls={} certificates={}", peer.tls, peer.certificates.len())
        });
        let services = Services {
            hub: Some(world.hub.clone()),
            topics: None,
            http: axum::Router::new().route("/hello", hello),
            amqp: None,
            provisioning: None,
            websocket: true,
            metrics: crate::Metrics::default(),
        };
        let listener = Listener {
            addr: "127.0.0.1:0".parse().unwrap(),
            tls: tls(certificate(&authority)),
            services: Arc::new(services),
        };
        let gateway = Gateway::bind(vec![listener]).unwrap().with_max_connections(max_connections);
        let addr = gateway.addresses()[0];
        let cancel = CancellationToken::new();
        let served = tokio::spawn(gateway.run(cancel.clone()));
        Self { world, authority, addr, cancel, served }
    }

    async fn tcp(&self) -> TcpStream {
        TcpStream::connect(self.addr).await.unwrap()
    }

    /// A TLS stream of a client that trusts the authority and has a certificate of its own to show.
    async fn tls(&self, alpn: &[&str]) -> tokio_rustls::client::TlsStream<TcpStream> {
        let own =
            self.authority.issue(&["d1".to_owned()], SystemClock.now(), Duration::from_secs(60)).unwrap();
        let mut roots = RootCertStore::empty();
        let ca = CertificateDer::from_pem_slice(self.authority.certificate_pem().as_bytes()).unwrap();
        roots.add(ca).unwrap();
        let mut config =
            client_config().with_root_certificates(roots).with_client_auth_cert(own.chain, own.key).unwrap();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        let name = ServerName::try_from(HOST).unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, self.tcp().await).await.unwrap()
    }
}

fn client_config() -> rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap()
}

async fn mqtt_works(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    stream.write_all(&connect_packet()).await.unwrap();
    let mut answer = [0; 4];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer, CONNACK);
}

/// Sends one request and returns head and body of the answer.
async fn http(mut stream: impl AsyncRead + AsyncWrite + Unpin, head: &str, body: &str) -> (String, String) {
    let len = body.len();
    let request =
        format!("{head}\r\nHost: {HOST}\r\nConnection: close\r\nContent-Length: {len}\r\n\r\n{body}");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_ascii_lowercase(), body.to_owned())
}

async fn hello(stream: impl AsyncRead + AsyncWrite + Unpin) -> String {
    http(stream, "GET /hello HTTP/1.1", "").await.1
}

#[tokio::test]
async fn one_port_serves_mqtt_and_http_and_both_inside_tls() {
    // [MQTT-4.2.0-1], [MQTT-7.1.1-1]
    let site = Site::open(Tls::Either);
    mqtt_works(site.tcp().await).await;
    mqtt_works(site.tls(&[]).await).await;
    assert_eq!(hello(site.tcp().await).await, "tls=false certificates=0");
    assert_eq!(hello(site.tls(&["http/1.1"]).await).await, "tls=true certificates=2");
}

// TLS-01
#[tokio::test]
async fn tls_01_only_clients_that_are_no_browsers_are_asked_for_a_certificate() {
    let site = Site::open(Tls::On);
    // The leaf and the authority above it.
    for (alpn, certificates, answered) in [
        (&[][..], 2, None),
        (&["unknown"], 2, None),
        // libcurl's and Python's HTTP clients of the device SDKs.
        (&["http/1.1"], 2, Some(&b"http/1.1"[..])),
        (&["h2", "http/1.1"], 0, Some(&b"http/1.1"[..])),
        (&["h2"], 0, None),
    ] {
        let stream = site.tls(alpn).await;
        assert_eq!(stream.get_ref().1.alpn_protocol(), answered, "{alpn:?}");
        assert_eq!(hello(stream).await, format!("tls=true certificates={certificates}"), "{alpn:?}");
    }
}

#[tokio::test]
async fn a_client_that_does_not_trust_us_disturbs_nobody() {
    let site = Site::open(Tls::On);
    let config = client_config().with_root_certificates(RootCertStore::empty()).with_no_client_auth();
    let name = ServerName::try_from(HOST).unwrap();
    let refused = TlsConnector::from(Arc::new(config)).connect(name, site.tcp().await).await;
    assert!(refused.is_err());
    mqtt_works(site.tls(&[]).await).await;
}

#[tokio::test]
async fn tls_to_a_plain_port_and_garbage_are_hung_up_on() {
    let site = Site::open(|_| Tls::Off);
    for garbage in [&b"\x16\x03\x01\0\x05hello"[..], b"\0\0\0\0", b"hello"] {
        let mut stream = site.tcp().await;
        stream.write_all(garbage).await.unwrap();
        // Closed or reset: the system chooses, by whether it threw bytes away.
        assert!(matches!(stream.read(&mut [0; 16]).await, Ok(0) | Err(_)));
    }
    mqtt_works(site.tcp().await).await;
}

#[tokio::test]
async fn mqtt_works_through_a_websocket() {
    let site = Site::open(Tls::On);
    let request = http::Request::get(format!("wss://{HOST}/$iothub/websocket"))
        .header("host", HOST)
        .header("upgrade", "websocket")
        .header("connection", "upgrade")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
        .header("sec-websocket-protocol", "MQTT")
        .body(())
        .unwrap();
    let stream = site.tls(&[]).await;
    let (mut frames, response) = tokio_tungstenite::client_async(request, stream).await.unwrap();
    assert_eq!(response.headers()["sec-websocket-protocol"], "MQTT");
    let packet = connect_packet();
    // A packet may be spread over frames.
    for piece in packet.chunks(50) {
        frames.send(Frame::Binary(piece.to_vec().into())).await.unwrap();
    }
    assert_eq!(frames.next().await.unwrap().unwrap().into_data(), &CONNACK[..]);
}

#[tokio::test]
async fn a_certificate_is_replaced_for_new_connections() {
    let mut current = None;
    let site = Site::open(|config| {
        current = Some(config.clone());
        Tls::On(config)
    });
    assert_eq!(hello(site.tls(&["http/1.1"]).await).await, "tls=true certificates=2");
    let before = site.tls(&[]).await.get_ref().1.peer_certificates().unwrap()[0].clone();
    current.unwrap().store(certificate(&site.authority).load_full());
    for alpn in [&[][..], &["http/1.1"], &["h2", "http/1.1"]] {
        let stream = site.tls(alpn).await;
        assert_ne!(stream.get_ref().1.peer_certificates().unwrap()[0], before);
    }
}

fn authorization() -> String {
    format!("Authorization: {}", token("d1", Duration::from_secs(3600)))
}

#[tokio::test]
async fn telemetry_by_http_is_durable_when_answered() {
    let site = Site::open(|_| Tls::Off);
    let auth = authorization();
    let head = format!(
        "POST /devices/d1/messages/events?api-version=2021-04-12 HTTP/1.1\r\n{auth}\r\niothub-app-a: b"
    );
    let (answer, _) = http(site.tcp().await, &head, "21.5").await;
    assert!(answer.starts_with("http/1.1 204"), "{answer}");
    let head = format!(
        "POST /devices/d1/messages/events HTTP/1.1\r\n{auth}\r\nContent-Type: application/vnd.microsoft.iothub.json"
    );
    let batch = r#"[{"body":"MQ=="},{"body":"Mg==","properties":{"iothub-messageid":"m2"}}]"#;
    let (answer, _) = http(site.tcp().await, &head, batch).await;
    assert!(answer.starts_with("http/1.1 204"), "{answer}");
    let messages = site.world.log.messages();
    let bodies: Vec<_> = messages.iter().map(|m| &m.body[..]).collect();
    assert_eq!(bodies, [&b"21.5"[..], b"1", b"2"]);
    assert_eq!(messages[0].properties.get("a").unwrap(), "b");
    assert_eq!(messages[2].system.get(SystemProperty::MessageId).unwrap(), "m2");
}

#[tokio::test]
async fn http_05_requests_that_do_not_hold_are_refused_with_their_code() {
    let site = Site::open(|_| Tls::Off);
    let auth = authorization();
    let half = "x".repeat(140 * 1024);
    let two =
        format!(r#"[{{"body":"{half}","base64Encoded":false}},{{"body":"{half}","base64Encoded":false}}]"#);
    let batch = format!("{auth}\r\nContent-Type: application/vnd.microsoft.iothub.json");
    let large = "x".repeat(256 * 1024 + 1);
    for (path, headers, body, status, code) in [
        ("/devices/d1/messages/events", "X: y", "x", 401, "iothubunauthorized"),
        ("/devices/d2/messages/events", auth.as_str(), "x", 401, "iothubunauthorized"),
        ("/devices/d1/messages/events", auth.as_str(), large.as_str(), 413, "messagetoolarge"),
        ("/devices/d1/messages/events", batch.as_str(), two.as_str(), 413, "messagetoolarge"),
        ("/devices/d1/messages/events", batch.as_str(), "{}", 400, "argumentinvalid"),
    ] {
        let head = format!("POST {path} HTTP/1.1\r\n{headers}");
        let (answer, _) = http(site.tcp().await, &head, body).await;
        assert!(answer.starts_with(&format!("http/1.1 {status}")), "{path} {answer}");
        assert!(answer.contains(&format!("iothub-errorcode: {code}")), "{path} {answer}");
    }
    assert_eq!(site.world.log.len(), 0);
}

#[tokio::test]
async fn http_02_http_04_messages_are_received_and_settled() {
    let site = Site::open(|_| Tls::Off);
    let auth = authorization();
    let receive = format!("GET /devices/d1/messages/devicebound HTTP/1.1\r\n{auth}");
    let (answer, _) = http(site.tcp().await, &receive, "").await;
    assert!(answer.starts_with("http/1.1 204"), "{answer}");
    let mut message = Message::new("hello");
    message.system.set(SystemProperty::MessageId, "m1");
    for (method, tail, settlement) in [
        ("POST", "/abandon", Settlement::Abandon),
        ("DELETE", "?api-version=2020-03-13&reject", Settlement::Reject),
        ("DELETE", "", Settlement::Complete),
    ] {
        site.world.inbox.put(message.clone());
        let (head, body) = http(site.tcp().await, &receive, "").await;
        assert!(head.starts_with("http/1.1 200") && head.contains("iothub-messageid: m1"), "{head}");
        assert_eq!(body, "hello");
        let lock = head.split("etag: \"").nth(1).unwrap().split('"').next().unwrap();
        let settle = format!("{method} /devices/d1/messages/devicebound/{lock}{tail} HTTP/1.1\r\n{auth}");
        let (answer, _) = http(site.tcp().await, &settle, "").await;
        assert!(answer.starts_with("http/1.1 204"), "{answer}");
        assert_eq!(site.world.inbox.settled().last().unwrap().1, settlement);
        let (answer, _) = http(site.tcp().await, &settle, "").await;
        assert!(answer.starts_with("http/1.1 412"), "{answer}");
    }
}

#[tokio::test]
async fn connections_are_bounded() {
    let site = Site::open_with(|_| Tls::Off, 1);
    let mut first = site.tcp().await;
    let mut second = site.tcp().await;
    second.write_all(&connect_packet()).await.unwrap();
    // The first one is served all the while, so the second could be.
    mqtt_works(&mut first).await;
    for _ in 0..20 {
        first.write_all(&PINGREQ).await.unwrap();
        first.read_exact(&mut [0; PINGREQ.len()]).await.unwrap();
    }
    let early = second.try_read(&mut [0]).map_err(|error| error.kind());
    assert_eq!(early, Err(ErrorKind::WouldBlock), "served above the bound");
    drop(first);
    assert_eq!(within("an answer", second.read_u8()).await.unwrap(), CONNACK[0]);
}

#[tokio::test]
async fn a_stop_ends_all_connections() {
    let site = Site::open(Tls::Either);
    let mut mqtt = site.tcp().await;
    mqtt.write_all(&connect_packet()).await.unwrap();
    mqtt.read_exact(&mut [0; 4]).await.unwrap();
    let mut http = site.tcp().await;
    http.write_all(b"GET /hello HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
    http.read_u8().await.unwrap();
    let silent = site.tcp().await;
    site.cancel.cancel();
    tokio::time::timeout(DRAIN_TIME, site.served).await.unwrap().unwrap();
    assert_eq!(within("the end", mqtt.read(&mut [0; 16])).await.unwrap(), 0);
    drop(silent);
}
