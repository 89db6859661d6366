//! The calling end: the engine of `wire` on an in-memory stream.

use crate::amqp::serve;
use crate::{Peer, Services};
use bytes::Bytes;
use ironbrook_wire::amqp::{
    ClientSasl, Config, Connection, DeliveryState, Event, Frame, FrameKind, LinkId, LinkOptions, Message,
    Outgoing, Performative, SessionId, Value,
};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// Nothing in these tests takes so long; past it a test fails instead of hanging.
const PATIENCE: Duration = Duration::from_secs(60);

pub(super) struct Client {
    pub(super) conn: Connection,
    stream: DuplexStream,
    events: VecDeque<Event>,
    pub(super) cancel: CancellationToken,
    next_tag: u8,
}

impl Client {
    /// A connection up to where bytes can go; whoever waits for an event drives it.
    pub(super) fn dial(services: &Arc<Services>, sasl: ClientSasl) -> Self {
        let (stream, far) = tokio::io::duplex(64 * 1024);
        let peer = Peer { addr: ([127, 0, 0, 1], 1).into(), certificates: Vec::new(), tls: false };
        let cancel = CancellationToken::new();
        tokio::spawn(serve(far, Arc::clone(services), peer, cancel.clone()));
        let config = Config { hostname: Some("hub.test".into()), ..Config::default() };
        let conn = Connection::client(config, sasl);
        Self { conn, stream, events: VecDeque::new(), cancel, next_tag: 0 }
    }

    /// An open connection with a session.
    pub(super) async fn open(services: &Arc<Services>) -> (Self, SessionId) {
        let mut client = Self::dial(services, ClientSasl::Anonymous);
        client.until(|e| matches!(e, Event::Opened(_)).then_some(())).await;
        let session = client.conn.begin().unwrap();
        (client, session)
    }

    /// An open connection with a session and an accepted token.
    pub(super) async fn with_token(services: &Arc<Services>, token: &str) -> (Self, SessionId) {
        let (mut client, session) = Self::open(services).await;
        let answer = client.put_token(session, token, Value::from(7_u64)).await;
        assert_eq!(answer.application_property("status-code"), Some(&Value::Int(200)), "{answer:?}");
        (client, session)
    }

    /// Exchanges bytes once. `None` at the end of the stream.
    async fn turn(&mut self) -> Option<()> {
        let out = self.conn.output().split();
        self.stream.write_all(&out).await.ok()?;
        while let Some(event) = self.conn.poll().unwrap() {
            self.events.push_back(event);
        }
        if !self.events.is_empty() || !self.conn.output().is_empty() {
            return Some(());
        }
        let n = self.stream.read_buf(self.conn.input()).await.ok()?;
        (n > 0).then_some(())
    }

    /// The first event, now or later, that `pick` makes something of; others before it are lost.
    pub(super) async fn until<T>(&mut self, mut pick: impl FnMut(&Event) -> Option<T>) -> T {
        timeout(PATIENCE, async {
            loop {
                while let Some(event) = self.events.pop_front() {
                    if let Some(found) = pick(&event) {
                        return found;
                    }
                }
                self.turn().await.expect("the stream ended before the event came");
            }
        })
        .await
        .expect("the event came in time")
    }

    /// Writes what waits, without reading.
    pub(super) async fn flush(&mut self) {
        let out = self.conn.output().split();
        self.stream.write_all(&out).await.unwrap();
    }

    /// Writes a frame of the test's own making on the first session's channel.
    pub(super) fn put(&mut self, performative: &Performative) {
        Frame::encode(self.conn.output(), FrameKind::Amqp, 0, |out| performative.encode(out));
    }

    /// The first frame that `pick` makes something of, past the engine, which is of no use afterwards.
    pub(super) async fn until_frame<T>(&mut self, mut pick: impl FnMut(Performative) -> Option<T>) -> T {
        timeout(PATIENCE, async {
            loop {
                while let Some(frame) = Frame::decode(self.conn.input(), 1 << 20).unwrap() {
                    if let Ok((performative, _)) = Performative::decode(&frame.body)
                        && let Some(found) = pick(performative)
                    {
                        return found;
                    }
                }
                assert!(self.stream.read_buf(self.conn.input()).await.unwrap() > 0, "the stream ended");
            }
        })
        .await
        .expect("the frame came in time")
    }

    /// Whether the server ends the stream, whatever it says before.
    pub(super) async fn ends(&mut self) -> bool {
        let end = async {
            loop {
                let out = self.conn.output().split();
                let _ = self.stream.write_all(&out).await;
                if !matches!(self.stream.read_buf(self.conn.input()).await, Ok(n) if n > 0) {
                    return;
                }
                while let Ok(Some(_)) = self.conn.poll() {}
            }
        };
        timeout(PATIENCE, end).await.is_ok()
    }

    pub(super) async fn attach(&mut self, session: SessionId, options: LinkOptions) -> LinkId {
        let link = self.conn.attach(session, options).unwrap();
        self.until(|e| matches!(e, Event::Attached(l, _) if *l == link).then_some(())).await;
        link
    }

    pub(super) async fn sender(&mut self, session: SessionId, address: &str) -> LinkId {
        self.attach(session, LinkOptions::sender(format!("to {address}"), address)).await
    }

    pub(super) async fn receiver(&mut self, session: SessionId, address: &str, credit: u32) -> LinkId {
        let mut options = LinkOptions::receiver(format!("from {address}"), address);
        options.credit = credit;
        self.attach(session, options).await
    }

    /// The condition a link was refused with.
    pub(super) async fn refusal(&mut self, session: SessionId, options: LinkOptions) -> String {
        let link = self.conn.attach(session, options).unwrap();
        self.detached(link).await
    }

    /// The condition a link was detached with.
    pub(super) async fn detached(&mut self, link: LinkId) -> String {
        self.until(|e| match e {
            Event::Detached(l, Some(error)) if *l == link => Some(error.condition.to_string()),
            _ => None,
        })
        .await
    }

    pub(super) fn send(&mut self, link: LinkId, message: &Message) -> u8 {
        self.send_bytes(link, 0, message.to_bytes())
    }

    pub(super) fn send_bytes(&mut self, link: LinkId, format: u32, payload: Bytes) -> u8 {
        self.next_tag += 1;
        let tag = Bytes::copy_from_slice(&[self.next_tag]);
        self.conn.send(link, Outgoing { tag, format, settled: false, payload }).unwrap();
        self.next_tag
    }

    /// What became of a delivery.
    pub(super) async fn outcome(&mut self, sent: u8) -> DeliveryState {
        self.until(|e| match e {
            Event::Disposition { tag, state: Some(state), .. } if tag[..] == [sent] => Some(state.clone()),
            _ => None,
        })
        .await
    }

    /// The next message on a link, with its number and tag; not settled.
    pub(super) async fn take(&mut self, link: LinkId) -> (u32, Bytes, Message) {
        self.until(|e| match e {
            Event::Delivery(d) if d.link == link => {
                Some((d.id, d.tag.clone(), Message::decode(&d.payload).unwrap()))
            }
            _ => None,
        })
        .await
    }

    /// Puts a token and gives the answer.
    pub(super) async fn put_token(&mut self, session: SessionId, token: &str, id: Value) -> Message {
        let answers = self.receiver(session, "$cbs", 10).await;
        let requests = self.sender(session, "$cbs").await;
        let mut put = Message::value(token);
        put.properties.message_id = Some(id);
        put.properties.reply_to = Some("cbs".into());
        put.set_property("operation", "put-token");
        put.set_property("type", "servicebus.windows.net:sastoken");
        put.set_property("name", "localhost/devices/d1");
        self.send(requests, &put);
        let (_, _, answer) = self.take(answers).await;
        self.conn.detach(answers, None);
        self.conn.detach(requests, None);
        answer
    }
}
