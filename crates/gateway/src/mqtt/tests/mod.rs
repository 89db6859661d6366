//! The door over an in-memory stream, on a real hub with stand-ins below it.

mod conduct;
mod deliveries;
mod errors;
mod gateways;
mod inputs;
mod provisioning;
mod served;
mod telemetry;
mod twin;

use super::*;
use crate::fakes::{HOST, World, token, within};
use bytes::{Bytes, BytesMut};
use ironbrook_model::Message;
use ironbrook_wire::mqtt::v4::{
    PacketId, Publish, QoS, SubAck, SubAckCode, Subscribe, SubscribeFilter, Will, decode, encode,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

/// A client on the other end of the stream.
struct Client {
    stream: DuplexStream,
    input: BytesMut,
    cancel: CancellationToken,
}

impl Client {
    /// A client that has said nothing yet.
    fn open(world: &World) -> Self {
        let (stream, server) = tokio::io::duplex(64 * 1024);
        let cancel = CancellationToken::new();
        let peer = Peer { addr: "127.0.0.1:1".parse().unwrap(), certificates: Vec::new(), tls: true };
        let deadline = Instant::now() + Duration::from_secs(60);
        tokio::spawn(serve(server, world.services(), peer, deadline, cancel.clone()));
        Self { stream, input: BytesMut::new(), cancel }
    }

    /// A client that was let in.
    async fn connected(world: &World, name: &str) -> Self {
        let mut client = Self::open(world);
        client.send(Packet::Connect(Box::new(hello(name)))).await;
        client.expect(accepted()).await;
        client
    }

    async fn send(&mut self, packet: Packet) {
        let mut bytes = BytesMut::new();
        encode(&packet, &mut bytes).unwrap();
        self.stream.write_all(&bytes).await.unwrap();
    }

    /// The next packet; `None` at the end of the stream.
    async fn next(&mut self) -> Option<Packet> {
        loop {
            if let Some(packet) = decode(&mut self.input, 1 << 20).unwrap() {
                return Some(packet);
            }
            if within("a packet", self.stream.read_buf(&mut self.input)).await.unwrap() == 0 {
                return None;
            }
        }
    }

    async fn expect(&mut self, packet: Packet) {
        assert_eq!(self.next().await, Some(packet));
    }

    async fn expect_end(&mut self) {
        assert_eq!(self.next().await, None);
    }

    /// Whatever the server said so far is read; it has nothing more to say.
    async fn expect_quiet(&mut self) {
        self.send(Packet::PingReq).await;
        self.expect(Packet::PingResp).await;
    }

    async fn subscribe(&mut self, filters: &[(&str, QoS)]) -> Vec<SubAckCode> {
        let filters =
            filters.iter().map(|(filter, qos)| SubscribeFilter { filter: (*filter).into(), qos: *qos });
        let packet_id = id(77);
        self.send(Packet::Subscribe(Subscribe { packet_id, filters: filters.collect() })).await;
        match self.next().await {
            Some(Packet::SubAck(SubAck { packet_id: got, codes })) if got == packet_id => codes,
            other => panic!("{other:?} instead of a SUBACK"),
        }
    }
}

fn id(n: u16) -> PacketId {
    PacketId::new(n).unwrap()
}

fn accepted() -> Packet {
    Packet::ConnAck(ConnAck { session_present: false, code: ConnectReturnCode::Accepted })
}

fn hello(name: &str) -> Connect {
    Connect {
        client_id: name.into(),
        keep_alive: 60,
        clean_session: false,
        will: None,
        username: Some(format!("{HOST}/{name}/?api-version=2021-04-12").into()),
        password: Some(token(name, Duration::from_secs(3600)).into()),
    }
}

fn message(topic: &str, payload: &str, packet_id: Option<u16>) -> Packet {
    let qos = if packet_id.is_some() { QoS::AtLeastOnce } else { QoS::AtMostOnce };
    Packet::Publish(Publish {
        dup: false,
        qos,
        retain: false,
        topic: topic.into(),
        packet_id: packet_id.map(id),
        payload: Bytes::copy_from_slice(payload.as_bytes()),
    })
}
