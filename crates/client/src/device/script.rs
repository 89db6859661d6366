//! A scripted hub on in-memory streams, for tests on paused time.

use super::*;
use crate::error::Error;
use crate::transport::{BoxStream, Dial};
use bytes::BytesMut;
use ironbrook_wire::mqtt::v4::{
    self, ConnAck, Connect, ConnectReturnCode, Packet, Publish, QoS, SubAck, SubAckCode,
};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::sync::mpsc;

pub(super) const STRING: &str =
    "HostName=hub.test;DeviceId=d1;SharedAccessKey=AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

/// On the paused clock of these tests: longer than any of them goes on, and over at once where all wait in vain.
const PATIENCE: Duration = Duration::from_secs(86_400);

/// What `work` gives; fails where that hangs.
async fn within<T>(what: &str, work: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, work).await {
        Ok(done) => done,
        Err(_) => panic!("waited {PATIENCE:?} in vain for {what}"),
    }
}

/// Dials a [`Hub`]; fails while there is none to take the connection.
pub(crate) struct Network(pub(crate) mpsc::Sender<DuplexStream>);

impl Dial for Network {
    fn dial(&self) -> Pin<Box<dyn Future<Output = crate::Result<BoxStream>> + Send + '_>> {
        Box::pin(async {
            let (ours, theirs) = tokio::io::duplex(64 * 1024);
            self.0
                .try_send(theirs)
                .map_err(|_| Error::network("dialling", std::io::ErrorKind::ConnectionRefused.into()))?;
            Ok(Box::new(ours) as BoxStream)
        })
    }
}

/// The other end of one connection.
pub(super) struct Hub {
    stream: DuplexStream,
    buffer: BytesMut,
}

impl Hub {
    /// Takes the next connection and answers its CONNECT.
    pub(super) async fn accept(
        dials: &mut mpsc::Receiver<DuplexStream>,
        code: ConnectReturnCode,
    ) -> (Self, Box<Connect>) {
        let stream = within("a connection", dials.recv()).await.unwrap();
        let mut hub = Self { stream, buffer: BytesMut::new() };
        let Some(Packet::Connect(connect)) = hub.receive().await else { panic!("no CONNECT") };
        hub.send(Packet::ConnAck(ConnAck { session_present: false, code })).await;
        (hub, connect)
    }

    pub(super) async fn welcome(dials: &mut mpsc::Receiver<DuplexStream>) -> Self {
        Self::accept(dials, ConnectReturnCode::Accepted).await.0
    }

    /// The next packet but pings, which are answered; `None` at the end of the stream.
    pub(super) async fn receive(&mut self) -> Option<Packet> {
        within("a packet", self.next()).await
    }

    pub(super) async fn next(&mut self) -> Option<Packet> {
        loop {
            match v4::decode(&mut self.buffer, 1 << 20).unwrap() {
                Some(Packet::PingReq) => {
                    // The client may have said goodbye right behind its ping.
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

    pub(super) async fn publish(&mut self) -> Publish {
        match self.receive().await {
            Some(Packet::Publish(publish)) => publish,
            other => panic!("no PUBLISH but {other:?}"),
        }
    }

    /// Grants the next SUBSCRIBE; gives its filter.
    pub(super) async fn grant(&mut self) -> String {
        self.answer_subscribe(SubAckCode::Granted(QoS::AtLeastOnce)).await
    }

    /// Answers the next SUBSCRIBE; gives its filter.
    pub(super) async fn answer_subscribe(&mut self, code: SubAckCode) -> String {
        let Some(Packet::Subscribe(subscribe)) = self.receive().await else { panic!("no SUBSCRIBE") };
        let codes = vec![code];
        self.send(Packet::SubAck(SubAck { packet_id: subscribe.packet_id, codes })).await;
        subscribe.filters[0].filter.to_string()
    }

    pub(super) async fn send(&mut self, packet: Packet) {
        let mut out = BytesMut::new();
        v4::encode(&packet, &mut out).unwrap();
        self.stream.write_all(&out).await.unwrap();
    }

    pub(super) async fn say(&mut self, topic: &str, body: &str, packet_id: Option<u16>) {
        let packet_id = packet_id.map(|id| id.try_into().unwrap());
        let qos = if packet_id.is_some() { QoS::AtLeastOnce } else { QoS::AtMostOnce };
        let (topic, payload) = (topic.into(), body.to_owned().into());
        self.send(Packet::Publish(Publish { dup: false, qos, retain: false, topic, packet_id, payload }))
            .await;
    }
}

/// A started client and the connections it dials.
pub(super) fn start(build: impl FnOnce(Builder) -> Builder) -> (DeviceClient, mpsc::Receiver<DuplexStream>) {
    run(build(DeviceClient::builder(STRING).unwrap()))
}

/// A started client of any builder.
pub(super) fn run(builder: Builder) -> (DeviceClient, mpsc::Receiver<DuplexStream>) {
    let (dialled, dials) = mpsc::channel(1);
    let (client, driver) = builder.build_on(Arc::new(Network(dialled))).unwrap();
    tokio::spawn(driver.run(tokio_util::sync::CancellationToken::new()));
    (client, dials)
}

/// Runs something beside the script.
pub(super) fn beside<T: Send + 'static>(
    work: impl Future<Output = T> + Send + 'static,
) -> tokio::task::JoinHandle<T> {
    tokio::spawn(work)
}
