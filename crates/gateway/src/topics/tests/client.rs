//! Clients that say exactly what a test wants.

use super::within;
use bytes::{Bytes, BytesMut};
use ironbrook_wire::mqtt::{PacketId, QoS, v4, v5};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio_util::sync::CancellationToken;

/// A packet identifier.
pub(in crate::topics) fn id(n: u16) -> PacketId {
    PacketId::new(n).unwrap()
}

/// A connection as bytes.
pub(in crate::topics) struct Raw {
    stream: DuplexStream,
    input: BytesMut,
    /// Stops the server's side.
    pub(in crate::topics) cancel: CancellationToken,
}

impl Raw {
    pub(in crate::topics) fn new(stream: DuplexStream, cancel: CancellationToken) -> Self {
        Self { stream, input: BytesMut::new(), cancel }
    }

    /// Sends bytes, which need not be a packet.
    pub(in crate::topics) async fn send(&mut self, bytes: &[u8]) {
        within("room for what is sent", self.stream.write_all(bytes)).await.unwrap();
    }

    /// Sends bytes that the server may refuse to read to their end.
    pub(in crate::topics) async fn try_send(&mut self, bytes: &[u8]) {
        let _ = within("room for what is sent", self.stream.write_all(bytes)).await;
    }

    /// The next packet; `None` at the end of the stream.
    async fn next<T>(&mut self, decode: impl Fn(&mut BytesMut) -> Option<T>) -> Option<T> {
        loop {
            if let Some(packet) = decode(&mut self.input) {
                return Some(packet);
            }
            if within("a packet", self.stream.read_buf(&mut self.input)).await.unwrap_or(0) == 0 {
                return None;
            }
        }
    }

    /// The next packet of MQTT 3.1.1.
    pub(in crate::topics) async fn next3(&mut self) -> Option<v4::Packet> {
        self.next(|input| v4::decode(input, usize::MAX).unwrap()).await
    }

    /// The next packet of MQTT 5.0.
    pub(in crate::topics) async fn next5(&mut self) -> Option<v5::Packet> {
        self.next(|input| v5::decode(input, usize::MAX).unwrap()).await
    }

    /// Everything to the end of the stream.
    pub(in crate::topics) async fn rest(&mut self) -> Vec<u8> {
        let _ = within("the end", self.stream.read_buf(&mut self.input)).await;
        while within("the end", self.stream.read_buf(&mut self.input)).await.unwrap_or(0) > 0 {}
        self.input.split().to_vec()
    }
}

/// A client of MQTT 3.1.1.
pub(in crate::topics) struct Client3 {
    pub(in crate::topics) raw: Raw,
}

impl Client3 {
    /// A CONNECT that asks for nothing special.
    pub(in crate::topics) fn hello(client_id: &str) -> v4::Connect {
        v4::Connect {
            client_id: client_id.to_owned().into(),
            keep_alive: 0,
            clean_session: true,
            will: None,
            username: None,
            password: None,
        }
    }

    /// The client, and whether it found its session.
    pub(in crate::topics) async fn enter(raw: Raw, connect: &v4::Connect) -> (Self, bool) {
        let mut client = Self { raw };
        client.send(v4::Packet::Connect(Box::new(connect.clone()))).await;
        match client.next().await {
            Some(v4::Packet::ConnAck(ack)) if ack.code == v4::ConnectReturnCode::Accepted => {
                (client, ack.session_present)
            }
            other => panic!("{other:?} instead of a CONNACK"),
        }
    }

    pub(in crate::topics) async fn connected(raw: Raw, connect: &v4::Connect) -> Self {
        Self::enter(raw, connect).await.0
    }

    pub(in crate::topics) async fn send(&mut self, packet: v4::Packet) {
        let mut bytes = BytesMut::new();
        v4::encode(&packet, &mut bytes).unwrap();
        self.raw.send(&bytes).await;
    }

    pub(in crate::topics) async fn next(&mut self) -> Option<v4::Packet> {
        self.raw.next3().await
    }

    pub(in crate::topics) async fn expect(&mut self, packet: v4::Packet) {
        assert_eq!(self.next().await, Some(packet));
    }

    pub(in crate::topics) async fn expect_end(&mut self) {
        assert_eq!(self.next().await, None);
    }

    /// Whatever the server had to say was read.
    pub(in crate::topics) async fn expect_quiet(&mut self) {
        self.send(v4::Packet::PingReq).await;
        self.expect(v4::Packet::PingResp).await;
    }

    pub(in crate::topics) async fn subscribe(&mut self, filters: &[(&str, QoS)]) -> Vec<v4::SubAckCode> {
        let filters = filters
            .iter()
            .map(|(filter, qos)| v4::SubscribeFilter { filter: (*filter).to_owned().into(), qos: *qos });
        let packet_id = id(7777);
        self.send(v4::Packet::Subscribe(v4::Subscribe { packet_id, filters: filters.collect() })).await;
        match self.next().await {
            Some(v4::Packet::SubAck(ack)) if ack.packet_id == packet_id => ack.codes,
            other => panic!("{other:?} instead of a SUBACK"),
        }
    }

    /// A message; with an identifier exactly where the quality wants one.
    pub(in crate::topics) fn message(topic: &str, payload: &str, qos: QoS, packet_id: u16) -> v4::Publish {
        v4::Publish {
            dup: false,
            qos,
            retain: false,
            topic: topic.to_owned().into(),
            packet_id: (qos != QoS::AtMostOnce).then(|| id(packet_id)),
            payload: Bytes::copy_from_slice(payload.as_bytes()),
        }
    }

    /// Publishes, and waits for the whole handshake.
    pub(in crate::topics) async fn publish(&mut self, publish: v4::Publish) {
        let (qos, packet_id) = (publish.qos, publish.packet_id);
        self.send(v4::Packet::Publish(publish)).await;
        match (qos, packet_id) {
            (QoS::AtLeastOnce, Some(id)) => self.expect(v4::Packet::PubAck(id)).await,
            (QoS::ExactlyOnce, Some(id)) => {
                self.expect(v4::Packet::PubRec(id)).await;
                self.send(v4::Packet::PubRel(id)).await;
                self.expect(v4::Packet::PubComp(id)).await;
            }
            _ => {}
        }
    }

    /// The next message.
    pub(in crate::topics) async fn message_in(&mut self) -> v4::Publish {
        match self.next().await {
            Some(v4::Packet::Publish(publish)) => publish,
            other => panic!("{other:?} instead of a PUBLISH"),
        }
    }
}

/// A client of MQTT 5.0.
pub(in crate::topics) struct Client5 {
    pub(in crate::topics) raw: Raw,
}

impl Client5 {
    /// A CONNECT that asks for nothing special.
    pub(in crate::topics) fn hello(client_id: &str) -> v5::Connect {
        v5::Connect {
            client_id: client_id.to_owned().into(),
            keep_alive: 0,
            clean_start: true,
            will: None,
            username: None,
            password: None,
            properties: v5::ConnectProperties::default(),
        }
    }

    /// The client and its CONNACK, whatever that says.
    pub(in crate::topics) async fn enter(raw: Raw, connect: &v5::Connect) -> (Self, v5::ConnAck) {
        let mut client = Self { raw };
        client.send(v5::Packet::Connect(Box::new(connect.clone()))).await;
        match client.next().await {
            Some(v5::Packet::ConnAck(ack)) => (client, *ack),
            other => panic!("{other:?} instead of a CONNACK"),
        }
    }

    pub(in crate::topics) async fn connected(raw: Raw, connect: &v5::Connect) -> Self {
        let (client, ack) = Self::enter(raw, connect).await;
        assert_eq!(ack.reason, v5::ReasonCode::Success, "{ack:?}");
        client
    }

    pub(in crate::topics) async fn send(&mut self, packet: v5::Packet) {
        let mut bytes = BytesMut::new();
        v5::encode(&packet, &mut bytes).unwrap();
        self.raw.send(&bytes).await;
    }

    pub(in crate::topics) async fn next(&mut self) -> Option<v5::Packet> {
        self.raw.next5().await
    }

    /// A DISCONNECT with this reason, and the end.
    pub(in crate::topics) async fn expect_end(&mut self, reason: v5::ReasonCode) {
        match self.next().await {
            Some(v5::Packet::Disconnect(end)) => assert_eq!(end.reason, reason, "{end:?}"),
            other => panic!("{other:?} instead of a DISCONNECT with {reason}"),
        }
        assert_eq!(self.next().await, None);
    }

    /// Whatever the server had to say was read.
    pub(in crate::topics) async fn expect_quiet(&mut self) {
        self.send(v5::Packet::PingReq).await;
        assert_eq!(self.next().await, Some(v5::Packet::PingResp));
    }

    pub(in crate::topics) async fn subscribe_with(
        &mut self,
        filters: Vec<v5::SubscribeFilter>,
        subscription: Option<u32>,
    ) -> Vec<v5::ReasonCode> {
        let packet_id = id(7777);
        let properties = v5::SubscribeProperties {
            subscription_identifier: subscription.and_then(v5::SubscriptionId::new),
            ..v5::SubscribeProperties::default()
        };
        self.send(v5::Packet::Subscribe(v5::Subscribe { packet_id, properties, filters })).await;
        match self.next().await {
            Some(v5::Packet::SubAck(ack)) if ack.packet_id == packet_id => ack.reasons,
            other => panic!("{other:?} instead of a SUBACK"),
        }
    }

    pub(in crate::topics) async fn subscribe(&mut self, filter: &str, qos: QoS) -> Vec<v5::ReasonCode> {
        self.subscribe_with(vec![v5::SubscribeFilter::new(filter.to_owned(), qos)], None).await
    }

    /// A message; with an identifier exactly where the quality wants one.
    pub(in crate::topics) fn message(topic: &str, payload: &str, qos: QoS, packet_id: u16) -> v5::Publish {
        v5::Publish {
            dup: false,
            qos,
            retain: false,
            topic: topic.to_owned().into(),
            packet_id: (qos != QoS::AtMostOnce).then(|| id(packet_id)),
            properties: v5::PublishProperties::default(),
            payload: Bytes::copy_from_slice(payload.as_bytes()),
        }
    }

    /// Publishes with quality 0 or 1, and gives the PUBACK's reason.
    pub(in crate::topics) async fn publish(&mut self, publish: v5::Publish) -> v5::ReasonCode {
        let packet_id = publish.packet_id;
        self.send(v5::Packet::Publish(publish)).await;
        let Some(packet_id) = packet_id else { return v5::ReasonCode::Success };
        match self.next().await {
            Some(v5::Packet::PubAck(ack)) if ack.packet_id == packet_id => ack.reason,
            other => panic!("{other:?} instead of a PUBACK"),
        }
    }

    /// The next message.
    pub(in crate::topics) async fn message_in(&mut self) -> v5::Publish {
        match self.next().await {
            Some(v5::Packet::Publish(publish)) => publish,
            other => panic!("{other:?} instead of a PUBLISH"),
        }
    }
}
