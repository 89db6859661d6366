//! The sensor as a whole: its own client, TLS, MQTT, and a hub that follows a script.
#![allow(clippy::unwrap_used, reason = "a test")]

use bytes::BytesMut;
use ironbrook_client::{DeviceClient, Trust};
use ironbrook_hub::seams::SystemClock;
use ironbrook_modules::temperature_sensor::{Settings, SimulatedTemperatureSensor};
use ironbrook_wire::mqtt::v4::{self, ConnAck, ConnectReturnCode, Packet, Publish, QoS, SubAck, SubAckCode};
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use rustls::pki_types::PrivateKeyDer;
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

const MODULE: &str = "devices/d1/modules/sensor";
/// Longer than any loaded machine needs.
const PATIENCE: Duration = Duration::from_secs(120);

async fn within<T>(what: &str, work: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, work).await {
        Ok(done) => done,
        Err(_) => panic!("waited {PATIENCE:?} in vain for {what}"),
    }
}

/// Where the scripted hub listens.
struct Door {
    listener: TcpListener,
    acceptor: TlsAcceptor,
    ca: String,
}

impl Door {
    async fn open() -> Self {
        let made = rcgen::generate_simple_self_signed(["hub.test".to_owned()]).unwrap();
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        Self { listener, acceptor: TlsAcceptor::from(Arc::new(config)), ca: made.cert.pem() }
    }

    fn address(&self) -> SocketAddr {
        self.listener.local_addr().unwrap()
    }

    /// Takes a connection, and every subscription and the reading of the twin that it begins with.
    async fn welcome(&self, desired: &Value) -> Hub {
        let (tcp, _) = within("a connection", self.listener.accept()).await.unwrap();
        let stream = self.acceptor.accept(tcp).await.unwrap();
        let mut hub =
            Hub { stream, buffer: BytesMut::new(), telemetry: VecDeque::new(), others: VecDeque::new() };
        let Packet::Connect(connect) = hub.packet().await else { panic!("no CONNECT") };
        assert_eq!(&*connect.client_id, "d1/sensor");
        hub.send(Packet::ConnAck(ConnAck { session_present: false, code: ConnectReturnCode::Accepted }))
            .await;
        let (mut subscriptions, mut is_read) = (0, false);
        while subscriptions < 4 || !is_read {
            match hub.packet().await {
                Packet::Subscribe(subscribe) => {
                    subscriptions += 1;
                    let codes = vec![SubAckCode::Granted(QoS::AtLeastOnce)];
                    hub.send(Packet::SubAck(SubAck { packet_id: subscribe.packet_id, codes })).await;
                }
                Packet::Publish(publish) if publish.topic.starts_with("$iothub/twin/GET/") => {
                    let (_, rid) = publish.topic.rsplit_once('=').unwrap();
                    let twin = json!({ "desired": desired, "reported": {} }).to_string();
                    hub.say(&format!("$iothub/twin/res/200/?$rid={rid}"), &twin, None).await;
                    is_read = true;
                }
                other => hub.keep(other),
            }
        }
        hub
    }
}

/// The other end of one connection.
struct Hub {
    stream: TlsStream<TcpStream>,
    buffer: BytesMut,
    telemetry: VecDeque<Publish>,
    others: VecDeque<Packet>,
}

impl Hub {
    async fn packet(&mut self) -> Packet {
        within("a packet", async {
            loop {
                match v4::decode(&mut self.buffer, 1 << 20).unwrap() {
                    Some(Packet::PingReq) => self.stream.write_all(&[0xd0, 0]).await.unwrap(),
                    Some(packet) => return packet,
                    None => {
                        let read = self.stream.read_buf(&mut self.buffer).await.unwrap_or(0);
                        assert!(read > 0, "the module has left");
                    }
                }
            }
        })
        .await
    }

    fn keep(&mut self, packet: Packet) {
        match packet {
            Packet::Publish(publish) if publish.topic.starts_with(MODULE) => {
                self.telemetry.push_back(publish)
            }
            other => self.others.push_back(other),
        }
    }

    async fn send(&mut self, packet: Packet) {
        let mut out = BytesMut::new();
        v4::encode(&packet, &mut out).unwrap();
        self.stream.write_all(&out).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    async fn say(&mut self, topic: &str, body: &str, packet_id: Option<u16>) {
        let packet_id = packet_id.map(|id| id.try_into().unwrap());
        let qos = if packet_id.is_some() { QoS::AtLeastOnce } else { QoS::AtMostOnce };
        let (topic, payload) = (topic.into(), body.to_owned().into());
        self.send(Packet::Publish(Publish { dup: false, qos, retain: false, topic, packet_id, payload }))
            .await;
    }

    /// The next reading: its number and temperature. It is acknowledged unless it is only looked at.
    async fn reading(&mut self, acknowledge: bool) -> (u64, f64) {
        while self.telemetry.is_empty() {
            let packet = self.packet().await;
            self.keep(packet);
        }
        let publish = self.telemetry.pop_front().unwrap();
        if acknowledge {
            self.send(Packet::PubAck(publish.packet_id.unwrap())).await;
        }
        let bag = publish.topic.strip_prefix(&*format!("{MODULE}/messages/events/")).unwrap();
        assert!(bag.contains("%24.on=temperatureOutput"), "{bag}");
        assert!(bag.contains("%24.ct=application%2Fjson&%24.ce=utf-8"), "{bag}");
        let number = bag.split('&').find_map(|pair| pair.strip_prefix("sequenceNumber=")).unwrap();
        let body: Value = serde_json::from_slice(&publish.payload).unwrap();
        (number.parse().unwrap(), body["machine"]["temperature"].as_f64().unwrap())
    }

    /// The next packet that is no telemetry; telemetry before it is acknowledged.
    async fn other(&mut self) -> Packet {
        loop {
            if let Some(packet) = self.others.pop_front() {
                return packet;
            }
            match self.packet().await {
                Packet::Publish(publish) if publish.topic.starts_with(MODULE) => {
                    self.send(Packet::PubAck(publish.packet_id.unwrap())).await;
                }
                other => return other,
            }
        }
    }

    /// Reads on until the temperature is above `wanted`.
    async fn climb(&mut self, wanted: f64) {
        while self.reading(true).await.1 < wanted {}
    }

    /// Reads on until the temperature is near its lowest again.
    async fn fall(&mut self) {
        while self.reading(true).await.1 > 25.0 {}
    }
}

fn settings(count: Option<u64>) -> Settings {
    Settings { delay: Duration::from_millis(1), count, ..Settings::default() }
}

fn start(
    door: &Door,
    settings: Settings,
) -> (CancellationToken, tokio::task::JoinHandle<Result<(), ironbrook_modules::temperature_sensor::Error>>) {
    let text = "HostName=hub.test;DeviceId=d1;ModuleId=sensor;SharedAccessKey=a2V5";
    let client = DeviceClient::builder(text)
        .unwrap()
        .trust(Trust::Pem(door.ca.clone().into_bytes()))
        .address(door.address())
        .start()
        .unwrap();
    let rng = StdRng::seed_from_u64(7);
    let sensor = SimulatedTemperatureSensor::new(
        client,
        settings,
        Box::new(std::io::sink()),
        rng,
        Arc::new(SystemClock),
    );
    let cancel = CancellationToken::new();
    (cancel.clone(), tokio::spawn(sensor.run(cancel)))
}

#[tokio::test]
async fn it_climbs_resets_follows_its_twin_and_leaves_when_asked() {
    let door = Door::open().await;
    let (cancel, running) = start(&door, settings(None));
    let mut hub = door.welcome(&json!({ "SendData": true, "$version": 1 })).await;
    assert_eq!(hub.reading(true).await.0, 1);
    hub.climb(60.0).await;
    hub.say(&format!("{MODULE}/inputs/control/%24.cdid=d1"), r#"[{"command":"reset"}]"#, Some(1)).await;
    hub.fall().await;
    assert_eq!(hub.other().await, Packet::PubAck(1.try_into().unwrap()));
    // What nobody can read is taken away too, or it would come for ever.
    for (id, path, body) in [(2, "control/", "x"), (3, "elsewhere/", "{}")] {
        hub.say(&format!("{MODULE}/inputs/{path}"), body, Some(id)).await;
        assert_eq!(hub.other().await, Packet::PubAck(id.try_into().unwrap()));
    }
    hub.climb(60.0).await;
    hub.say("$iothub/methods/POST/reset/?$rid=9", "null", None).await;
    hub.fall().await;
    let Packet::Publish(answer) = hub.other().await else { panic!("no answer") };
    assert_eq!(answer.topic, "$iothub/methods/res/200/?$rid=9");

    // Until now nothing was reported.
    let patch = r#"{"SendInterval":3600,"$version":2}"#;
    hub.say("$iothub/twin/PATCH/properties/desired/?$version=2", patch, None).await;
    let Packet::Publish(report) = hub.other().await else { panic!("no report") };
    assert!(report.topic.starts_with("$iothub/twin/PATCH/properties/reported/"), "{}", report.topic);
    let reported: Value = serde_json::from_slice(&report.payload).unwrap();
    assert_eq!(reported, json!({ "SendData": true, "SendInterval": 3600 }));
    cancel.cancel();
    assert_eq!(hub.other().await, Packet::Disconnect);
    within("the end", running).await.unwrap().unwrap();
}

#[tokio::test]
async fn it_stays_after_the_last_message_and_nothing_is_lost_with_a_connection() {
    const COUNT: u64 = 400;
    let door = Door::open().await;
    let (cancel, running) = start(&door, settings(Some(COUNT)));
    let desired = json!({ "$version": 1 });
    let mut seen = Vec::new();
    let mut hub = door.welcome(&desired).await;
    for _ in 0..50 {
        seen.push(hub.reading(true).await.0);
    }
    for _ in 0..10 {
        hub.reading(false).await;
    }
    drop(hub);
    let mut hub = door.welcome(&desired).await;
    while seen.last() != Some(&COUNT) {
        let number = hub.reading(true).await.0;
        // The last acknowledgements may have been lost with the connection.
        if seen.last().is_none_or(|last| number > *last) {
            seen.push(number);
        }
    }
    assert_eq!(seen, (1..=COUNT).collect::<Vec<_>>());
    hub.say(&format!("{MODULE}/inputs/control/"), "{}", Some(5)).await;
    assert_eq!(hub.other().await, Packet::PubAck(5.try_into().unwrap()));
    assert!(!running.is_finished());
    cancel.cancel();
    assert_eq!(hub.other().await, Packet::Disconnect);
    within("the end", running).await.unwrap().unwrap();
}
