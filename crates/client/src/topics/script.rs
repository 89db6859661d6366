//! A scripted server on in-memory streams, for tests on paused time.

use super::builder::{Builder, Version};
use super::{Client, Messages, QoS, ReasonCode};
use crate::device::script::Network;
use bytes::{Bytes, BytesMut};
use ironbrook_wire::mqtt::v5::{
    self, Ack, AckProperties, ConnAck, ConnAckProperties, Connect, Packet, Publish, PublishProperties,
    SubAck, Subscribe,
};
use ironbrook_wire::mqtt::{PacketId, v4};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// On the paused clock of these tests: longer than any of them goes on, and over at once where all wait in vain.
const PATIENCE: Duration = Duration::from_secs(86_400);

pub(super) fn id(number: u16) -> PacketId {
    PacketId::new(number).unwrap()
}

/// A client that runs, and the connections it dials.
pub(super) fn start(
    build: impl FnOnce(Builder) -> Builder,
) -> (Client, Messages, mpsc::Receiver<DuplexStream>) {
    let (dialled, dials) = mpsc::channel(1);
    let builder = build(Client::builder("mqtt://u@server.test").unwrap().client_id("c"));
    let (client, messages, driver) = builder.build_on(Arc::new(Network(dialled))).unwrap();
    tokio::spawn(driver.run(CancellationToken::new()));
    (client, messages, dials)
}

/// What `work` gives; fails where that hangs.
pub(super) async fn within<T>(what: &str, work: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, work).await {
        Ok(done) => done,
        Err(_) => panic!("waited {PATIENCE:?} in vain for {what}"),
    }
}

/// The other end of one connection of MQTT 5.0.
pub(super) struct Server {
    pub stream: DuplexStream,
    buffer: BytesMut,
    pub pings: usize,
}

impl Server {
    /// Takes the next connection and answers its CONNECT.
    pub(super) async fn accept(
        dials: &mut mpsc::Receiver<DuplexStream>,
        ack: ConnAck,
    ) -> (Self, Box<Connect>) {
        let stream = within("a connection", dials.recv()).await.unwrap();
        let mut server = Self { stream, buffer: BytesMut::new(), pings: 0 };
        let Packet::Connect(connect) = server.receive().await else { panic!("no CONNECT") };
        server.send(Packet::ConnAck(Box::new(ack))).await;
        (server, connect)
    }

    /// Welcomes a client, to a session it has or has not.
    pub(super) async fn welcome(dials: &mut mpsc::Receiver<DuplexStream>, session_present: bool) -> Self {
        Self::accept(dials, welcome(session_present)).await.0
    }

    /// The next packet but pings, which are answered.
    pub(super) async fn receive(&mut self) -> Packet {
        within("a packet", self.next()).await.expect("the client goes on")
    }

    /// As [`receive`](Self::receive); `None` at the end of the stream.
    pub(super) async fn next(&mut self) -> Option<Packet> {
        loop {
            match v5::decode(&mut self.buffer, 1 << 20).unwrap() {
                Some(Packet::PingReq) => {
                    self.pings += 1;
                    let _ = self.stream.write_all(&[0xd0, 0]).await;
                }
                Some(packet) => return Some(packet),
                None => {
                    if self.stream.read_buf(&mut self.buffer).await.ok()? == 0 {
                        return None;
                    }
                }
            }
        }
    }

    pub(super) async fn send(&mut self, packet: Packet) {
        let mut out = BytesMut::new();
        v5::encode(&packet, &mut out).unwrap();
        self.stream.write_all(&out).await.unwrap();
    }

    pub(super) async fn publish(&mut self) -> Publish {
        match self.receive().await {
            Packet::Publish(publish) => publish,
            other => panic!("no PUBLISH but {other:?}"),
        }
    }

    /// Answers the next SUBSCRIBE as it wishes.
    pub(super) async fn grant(&mut self) -> Subscribe {
        let Packet::Subscribe(subscribe) = self.receive().await else { panic!("no SUBSCRIBE") };
        let granted = |qos: QoS| ReasonCode::from_number(qos as u8).unwrap();
        self.send(Packet::SubAck(SubAck {
            packet_id: subscribe.packet_id,
            properties: AckProperties::default(),
            reasons: subscribe.filters.iter().map(|wish| granted(wish.qos)).collect(),
        }))
        .await;
        subscribe
    }

    pub(super) async fn ack(&mut self, packet_id: Option<PacketId>) {
        self.send(Packet::PubAck(Ack::success(packet_id.unwrap()))).await;
    }

    /// Sends a message, with a packet identifier unless that is 0.
    pub(super) async fn say(&mut self, topic: &str, qos: QoS, packet_id: u16) {
        self.send(Packet::Publish(message(topic, qos, packet_id))).await;
    }
}

pub(super) fn welcome(session_present: bool) -> ConnAck {
    ConnAck { session_present, reason: ReasonCode::Success, properties: ConnAckProperties::default() }
}

pub(super) fn message(topic: &str, qos: QoS, packet_id: u16) -> Publish {
    Publish {
        dup: false,
        qos,
        retain: false,
        topic: topic.into(),
        packet_id: PacketId::new(packet_id),
        properties: PublishProperties::default(),
        payload: Bytes::from_static(b"x"),
    }
}

/// The other end of one connection of MQTT 3.1.1.
pub(super) struct OldServer {
    stream: DuplexStream,
    buffer: BytesMut,
}

impl OldServer {
    pub(super) async fn welcome(dials: &mut mpsc::Receiver<DuplexStream>) -> (Self, Box<v4::Connect>) {
        let stream = within("a connection", dials.recv()).await.unwrap();
        let mut server = Self { stream, buffer: BytesMut::new() };
        let v4::Packet::Connect(connect) = server.receive().await else { panic!("no CONNECT") };
        let code = v4::ConnectReturnCode::Accepted;
        server.send(v4::Packet::ConnAck(v4::ConnAck { session_present: false, code })).await;
        (server, connect)
    }

    pub(super) async fn receive(&mut self) -> v4::Packet {
        within("a packet", async {
            loop {
                if let Some(packet) = v4::decode(&mut self.buffer, 1 << 20).unwrap() {
                    return packet;
                }
                assert_ne!(self.stream.read_buf(&mut self.buffer).await.unwrap(), 0, "the client goes on");
            }
        })
        .await
    }

    pub(super) async fn send(&mut self, packet: v4::Packet) {
        let mut out = BytesMut::new();
        v4::encode(&packet, &mut out).unwrap();
        self.stream.write_all(&out).await.unwrap();
    }
}

/// The builder's version, for tests of the old one.
pub(super) fn old(builder: Builder) -> Builder {
    builder.version(Version::V4)
}
