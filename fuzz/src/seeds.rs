//! Writes what the fuzzers begin with: `seeds FOLDER` makes a folder for each target. The packets are made by the generators of
//! the codec's own tests and written by its encoders; always the same ones.

use bytes::BytesMut;
use ironbrook_fuzz::mqtt::{generate_v4, generate_v5};
use ironbrook_fuzz::streams;
use ironbrook_model::{SharedAccessKey, Timestamp};
use ironbrook_wire::amqp::{
    ClientSasl, Config, Connection, Event, LinkOptions, Message, Outgoing, SaslCode, Value,
};
use ironbrook_wire::mqtt::{v4, v5};
use proptest::strategy::{Strategy, ValueTree as _};
use proptest::test_runner::TestRunner;
use std::fs;
use std::io;
use std::path::Path;

/// Packets of each version.
const PACKETS: usize = 300;

fn main() -> io::Result<()> {
    let folder = std::env::args_os().nth(1).ok_or_else(|| io::Error::other("give a folder: seeds FOLDER"))?;
    let folder = Path::new(&folder);
    write(
        &folder.join("mqtt_v4"),
        packets(generate_v4::packet(), |packet, out| v4::encode(packet, out).is_ok()),
    )?;
    write(
        &folder.join("mqtt_v5"),
        packets(generate_v5::packet(), |packet, out| v5::encode(packet, out).is_ok()),
    )?;
    write(&folder.join("amqp"), amqp())?;
    write(&folder.join("door"), door())?;
    write(&folder.join("request"), parts(include_str!("../seeds/requests.txt"), "---\n"))?;
    write(&folder.join("twins"), parts(include_str!("../seeds/twins.txt"), "\n\n"))?;
    write(&folder.join("log_recovery"), scripts())?;
    write(&folder.join("topics"), parts(include_str!("../seeds/topics.txt"), "\n\n"))?;
    write(&folder.join("queries"), parts(include_str!("../seeds/queries.txt"), "\n\n"))?;
    write(&folder.join("events"), streams::payloads())?;
    write(&folder.join("formats"), streams::formats())?;
    write(&folder.join("checkpoints"), streams::checkpoints())?;
    write(&folder.join("jobs"), parts(include_str!("../seeds/jobs.txt"), "\n\n"))?;
    write(&folder.join("texts"), texts())
}

fn write(folder: &Path, seeds: Vec<Vec<u8>>) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    for (number, seed) in seeds.iter().enumerate() {
        fs::write(folder.join(format!("seed-{number:04}")), seed)?;
    }
    Ok(())
}

fn packets<T>(any: impl Strategy<Value = T>, encode: impl Fn(&T, &mut BytesMut) -> bool) -> Vec<Vec<u8>> {
    let mut runner = TestRunner::deterministic();
    let mut all = Vec::new();
    while all.len() < PACKETS {
        let packet = any.new_tree(&mut runner).expect("the generators refuse nothing").current();
        let mut bytes = BytesMut::new();
        if encode(&packet, &mut bytes) {
            all.push(bytes.to_vec());
        }
    }
    // Streams too: several packets, and a part of one.
    let streams: Vec<Vec<u8>> = all.chunks(5).map(|some| some.concat()).collect();
    let parts: Vec<Vec<u8>> = all.iter().step_by(9).map(|bytes| bytes[..bytes.len() / 2].to_vec()).collect();
    all.into_iter().chain(streams).chain(parts).collect()
}

/// Both sides of a conversation in which a client puts a token.
fn conversation(sasl: ClientSasl, token: &str) -> (Vec<u8>, Vec<u8>) {
    let mut client = Connection::client(Config::default(), sasl);
    let mut server = Connection::server(Config::default(), &["ANONYMOUS", "PLAIN"]);
    let mut put = Message::value(token);
    put.properties.message_id = Some(Value::from(1_u64));
    put.properties.reply_to = Some("cbs".into());
    put.set_property("operation", "put-token");
    put.set_property("type", "servicebus.windows.net:sastoken");
    put.set_property("name", "localhost/devices/d");
    let mut tokens = None;
    let (mut up, mut down) = (Vec::new(), Vec::new());
    let mut session = None;
    for _ in 0..8 {
        let out = client.output().split();
        up.extend_from_slice(&out);
        server.input().extend_from_slice(&out);
        while let Ok(Some(event)) = server.poll() {
            match event {
                Event::Sasl(_) => server.sasl_outcome(SaslCode::Ok),
                Event::AttachRequested(link, _) => server.accept(link, 10),
                _ => {}
            }
        }
        let out = server.output().split();
        down.extend_from_slice(&out);
        client.input().extend_from_slice(&out);
        while let Ok(Some(event)) = client.poll() {
            if matches!(event, Event::Opened(_)) && session.is_none() {
                session = client.begin().ok();
                if let Some(session) = session {
                    let address = "hub/ConsumerGroups/$Default/Partitions/0";
                    let _ = client.attach(session, LinkOptions::receiver("reader", address));
                    tokens = client.attach(session, LinkOptions::sender("token", "$cbs")).ok();
                }
            }
        }
        if let Some(link) = tokens.filter(|link| client.sendable(*link) > 0) {
            let tag = bytes::Bytes::from_static(b"1");
            let sent = Outgoing { tag, format: 0, settled: false, payload: put.to_bytes() };
            let _ = client.send(link, sent);
            tokens = None;
        }
    }
    (up, down)
}

/// Both ends of a conversation, and messages.
fn amqp() -> Vec<Vec<u8>> {
    let (up, down) = conversation(ClientSasl::Anonymous, "SharedAccessSignature sr=x");
    let mut message = Message::data(&b"body"[..]);
    message.properties.message_id = Some(Value::from(7_u64));
    message.properties.reply_to = Some("cbs".into());
    message.set_property("name", "sb://localhost/hub");
    message.annotate("x-opt-offset", 12_i64);
    let value = Message::value("SharedAccessSignature sr=x");
    vec![up, down, message.to_bytes().to_vec(), value.to_bytes().to_vec()]
}

/// Scripts for a log: some records, then one kind of damage each.
fn scripts() -> Vec<Vec<u8>> {
    let life: Vec<u8> =
        (0..20_u8).flat_map(|number| [number.wrapping_mul(37) % 0xF0, number * 9]).chain([0xFF]).collect();
    let lives = [vec![8], life.clone(), life].concat();
    (0..7_u8)
        .flat_map(|kind| {
            (0..12_u8).map(move |place| vec![kind, 0, place, place % 4, place * 21, place, 0, 40, 1, 90])
        })
        .map(|change| [lives.clone(), change].concat())
        .collect()
}

fn parts(text: &str, between: &str) -> Vec<Vec<u8>> {
    text.split(between).map(|part| part.trim_end_matches('\n').as_bytes().to_vec()).collect()
}

/// The key of the hub's devices, see `ironbrook_fuzz::hub`.
fn key() -> SharedAccessKey {
    SharedAccessKey::from_bytes(&[7; 32])
}

/// What clients say without waiting for answers.
fn door() -> Vec<Vec<u8>> {
    let later = Timestamp::from_secs(4_000_000_000);
    let token = key().sign("localhost/devices/d", later, None);
    let connect = v4::Connect {
        client_id: "d".into(),
        keep_alive: 60,
        clean_session: false,
        will: None,
        username: Some("localhost/d/?api-version=2021-04-12&DeviceClientType=x".into()),
        password: Some(token.clone().into_bytes().into()),
    };
    let publish = |topic: &str, payload: &'static str| {
        let id = ironbrook_wire::mqtt::PacketId::new(7);
        v4::Packet::Publish(v4::Publish {
            dup: false,
            qos: ironbrook_wire::mqtt::QoS::AtLeastOnce,
            retain: false,
            topic: topic.into(),
            packet_id: id,
            payload: payload.into(),
        })
    };
    let topics = [
        "devices/d/messages/events/a=b&%24.mid=1&%24.ct=application%2Fjson&%24.ce=utf-8&c",
        "$iothub/twin/PATCH/properties/reported/?$rid=1",
        "$iothub/twin/GET/?$rid=2",
        "$iothub/methods/res/200/?$rid=3",
    ];
    let mut all = Vec::new();
    for topic in topics {
        let mut bytes = BytesMut::new();
        let hello = v4::Packet::Connect(Box::new(connect.clone()));
        for packet in [hello, publish(topic, r#"{"a": {"b": null, "c": [1, 2.5]}}"#)] {
            v4::encode(&packet, &mut bytes).expect("it is well formed");
        }
        all.push(bytes.to_vec());
    }
    let requests = parts(include_str!("../seeds/http.txt"), "---\n");
    let line_ends = |text: Vec<u8>| String::from_utf8_lossy(&text).replace('\n', "\r\n").into_bytes();
    all.extend(requests.into_iter().map(|text| [line_ends(text), b"\r\n\r\n".to_vec()].concat()));
    let plain = ClientSasl::Plain { user: "d@sas.root.localhost".into(), password: token.as_str().into() };
    for sasl in [ClientSasl::Anonymous, plain] {
        let (up, _) = conversation(sasl, &token);
        all.push(up);
    }
    all
}

fn texts() -> Vec<Vec<u8>> {
    let key = SharedAccessKey::from_bytes(&[7; 32]);
    let token = key.sign("localhost/devices/d1", Timestamp::from_secs(2_000_000_000), None);
    let policy = key.sign("localhost", Timestamp::from_secs(2_000_000_000), Some("iothubowner"));
    let connection = format!("HostName=localhost;DeviceId=d1;SharedAccessKey={}", key.to_base64());
    [
        token,
        policy,
        connection,
        "2026-01-01T12:00:07.123Z".into(),
        "Thu, 01 Jan 2026 12:00:07 GMT".into(),
        "device-1:._%".into(),
    ]
    .map(String::into_bytes)
    .to_vec()
}
