//! The device side of the protocol without any input or output: packets in, packets out, promises kept.
//!
//! One [`Session`] lives as long as the client; connections come and go below it.

use super::Control;
use super::desired::Desired;
use super::received::{ConnectionNumber, Line, MethodCall, ReceivedMessage};
use super::request::{Asker, Requests};
use super::subscription::{Feed, Subscriptions};
use super::topic::{self, Incoming, Topics};
use super::twin::DesiredUpdate;
use super::window::{Outgoing, Window};
use crate::error::{Error, Result};
use bytes::{Bytes, BytesMut};
use ironbrook_model::{Identity, Message};
use ironbrook_wire::mqtt::v4::{self, Packet, PacketId, Publish, QoS};
use serde_json::Value;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// How often a user who takes messages slowly is looked after.
const ROOM_CHECK: Duration = Duration::from_millis(200);

/// Where a session hands over what the hub sends.
#[derive(Debug)]
pub(crate) struct Outlets {
    pub messages: mpsc::Sender<ReceivedMessage>,
    pub methods: mpsc::Sender<MethodCall>,
    pub desired: mpsc::Sender<DesiredUpdate>,
    /// Handed to messages and calls, so that they can answer.
    pub control: mpsc::WeakSender<Control>,
}

#[derive(Debug)]
pub(crate) struct Session {
    topics: Topics,
    pub window: Window,
    subscriptions: Subscriptions,
    requests: Requests,
    pub desired: Desired,
    messages: mpsc::Sender<ReceivedMessage>,
    methods: mpsc::Sender<MethodCall>,
    control: mpsc::WeakSender<Control>,
    connection: ConnectionNumber,
    /// Tells holders of messages which connection this is.
    line: Line,
    /// When to look whether messages that found no room can be fetched again.
    missed: Option<Instant>,
    last_id: PacketId,
}

impl Session {
    pub(crate) fn new(identity: &Identity, window: usize, outlets: Outlets) -> Self {
        let topics = Topics::new(identity);
        Self {
            subscriptions: Subscriptions::new(&topics),
            topics,
            window: Window::new(window),
            requests: Requests::default(),
            desired: Desired::new(outlets.desired),
            messages: outlets.messages,
            methods: outlets.methods,
            control: outlets.control,
            connection: ConnectionNumber(0),
            line: Line::default(),
            missed: None,
            last_id: PacketId::MAX,
        }
    }

    /// A connection was accepted: everything unfinished goes out again, telemetry first and in its order.
    pub(crate) fn connected(&mut self, out: &mut BytesMut) {
        self.next_connection();
        self.window.resend(out);
        self.subscribe(out);
    }

    fn next_connection(&mut self) {
        self.connection.0 += 1;
        self.line.set(self.connection);
        self.missed = None;
    }

    /// The connection is gone.
    pub(crate) fn disconnected(&mut self) {
        self.next_connection();
        self.subscriptions.disconnected();
        self.requests.disconnected();
        self.desired.disconnected();
    }

    /// Nothing will ever be connected again: everybody who waits is told why.
    pub(crate) fn fail(&mut self, error: &Error) {
        self.window.fail(error);
        self.subscriptions.fail(error);
        self.requests.fail(error);
    }

    /// Sends telemetry; the caller has looked whether the window has room.
    pub(crate) fn send(&mut self, message: Outgoing, out: &mut BytesMut) {
        let id = self.next_id();
        self.window.send(id, message, out);
    }

    /// Does what the user wishes; `out` is `None` while there is no connection.
    pub(crate) fn control(&mut self, wish: Control, out: Option<&mut BytesMut>) {
        match wish {
            Control::Subscribe(feed, reply) => {
                if feed == Feed::Desired {
                    // The properties are read in full once both are on.
                    self.subscriptions.want(Feed::TwinAnswers, None);
                }
                self.subscriptions.want(feed, Some(reply));
            }
            Control::TwinGet(reply) => self.request(Asker::Get(reply), Bytes::new()),
            Control::TwinPatch(body, reply) => self.request(Asker::Patch(reply), body),
            Control::Answer { connection, rid, status, body } => {
                if let (true, Some(out)) = (connection == self.connection, out) {
                    publish_plain(topic::method_answer(status, &rid), body, out);
                }
                return;
            }
            Control::Complete { connection, packet_id } => {
                if let (true, Some(out)) = (connection == self.connection, out) {
                    let _ = v4::encode(&Packet::PubAck(packet_id), out);
                }
                return;
            }
            // The driver's matter.
            Control::Close(_) => return,
        }
        if let Some(out) = out {
            self.subscribe(out);
            self.send_requests(out);
        }
    }

    /// Handles a packet from the hub. An error ends the connection.
    pub(crate) fn packet(&mut self, packet: Packet, out: &mut BytesMut) -> Result<()> {
        match packet {
            Packet::PubAck(id) => self.window.acknowledge(id),
            Packet::SubAck(ack) => {
                let on = self.subscriptions.answered(ack.packet_id, ack.codes.first().copied());
                if matches!(on, Some(Feed::Desired | Feed::TwinAnswers))
                    && self.subscriptions.is_on(Feed::Desired)
                    && self.subscriptions.is_on(Feed::TwinAnswers)
                {
                    self.read_desired(out);
                }
                self.send_requests(out);
            }
            Packet::Publish(publish) => self.publish(publish, out)?,
            Packet::PingResp | Packet::UnsubAck(_) => {}
            Packet::ConnAck(_) => return Err(Error::Protocol("a second CONNACK".to_owned())),
            other => return Err(Error::Protocol(format!("a server does not send {}", name(&other)))),
        }
        Ok(())
    }

    /// Reads the desired properties in full.
    pub(crate) fn read_desired(&mut self, out: &mut BytesMut) {
        self.desired.begin_reading();
        self.requests.add(Asker::Refresh, Bytes::new());
        self.send_requests(out);
    }

    fn publish(&mut self, publish: Publish, out: &mut BytesMut) -> Result<()> {
        if publish.qos == QoS::ExactlyOnce {
            return Err(Error::Protocol("a message of QoS 2, which the hub does not have".to_owned()));
        }
        match self.topics.incoming(&publish.topic) {
            Incoming::Message { input, bag } => {
                let mut message = Message::new(publish.payload);
                topic::read_bag(bag, &mut message);
                self.deliver(message, input.map(str::to_owned), publish.packet_id, publish.dup);
                // Acknowledged when the user completes it; may come before anything was subscribed (rule CLIENT-04).
                return Ok(());
            }
            Incoming::TwinAnswer { status, rid, version } => {
                if let Some(read) = self.requests.answered(rid, status, version, &publish.payload) {
                    self.desired.read(read);
                }
            }
            Incoming::Desired { version } => match DesiredUpdate::parse(&publish.payload, version) {
                Some(update) => self.desired.changed(update),
                None => tracing::warn!("a change of desired properties is not a JSON object"),
            },
            Incoming::Method { name, rid } => self.method(name, rid, &publish.payload, out),
            Incoming::Unknown => tracing::debug!(topic = &*publish.topic, "message on an unknown topic"),
        }
        if let Some(id) = publish.packet_id {
            let _ = v4::encode(&Packet::PubAck(id), out);
        }
        Ok(())
    }

    fn deliver(
        &mut self,
        message: Message,
        input: Option<String>,
        packet_id: Option<PacketId>,
        redelivered: bool,
    ) {
        if self.missed.is_some() {
            // Messages come in order: after one that found no room, none is taken.
            return;
        }
        let (connection, line, control) = (self.connection, self.line.clone(), self.control.clone());
        let received = ReceivedMessage { message, input, redelivered, packet_id, connection, line, control };
        match self.messages.try_send(received) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(_)) => {
                tracing::warn!("messages are taken too slowly; the next ones stay with the hub for now");
                self.missed = Some(Instant::now() + ROOM_CHECK);
            }
            Err(mpsc::error::TrySendError::Closed(_)) => {
                tracing::debug!("nobody takes messages any more, one stays with the hub");
            }
        }
    }

    /// When to ask [`must_come_back`](Self::must_come_back), if at all.
    pub(crate) fn come_back_check(&self) -> Option<Instant> {
        self.missed
    }

    /// Whether a new connection should be made now, on which the hub delivers again what found no room on this one: when the user
    /// has taken all there was. The socket is served meanwhile, as answers may be awaited by the very user who is slow.
    pub(crate) fn must_come_back(&mut self) -> bool {
        let due = self.missed.is_some_and(|at| at <= Instant::now());
        if due && self.messages.capacity() < self.messages.max_capacity() {
            self.missed = Some(Instant::now() + ROOM_CHECK);
            return false;
        }
        due
    }

    fn method(&self, name: &str, rid: &str, payload: &[u8], out: &mut BytesMut) {
        let refuse = |status, out: &mut BytesMut| {
            publish_plain(topic::method_answer(status, rid), Bytes::from_static(b"null"), out);
        };
        let payload = match payload {
            [] => Value::Null,
            payload => match serde_json::from_slice(payload) {
                Ok(payload) => payload,
                Err(_) => return refuse(400, out),
            },
        };
        let (connection, control) = (self.connection, self.control.clone());
        let (name, rid_owned) = (name.to_owned(), rid.to_owned());
        match self.methods.try_send(MethodCall { name, payload, rid: rid_owned, connection, control }) {
            Ok(()) => {}
            // 503: too many calls wait; 501: nobody will ever take one.
            Err(mpsc::error::TrySendError::Full(_)) => refuse(503, out),
            Err(mpsc::error::TrySendError::Closed(_)) => refuse(501, out),
        }
    }

    fn request(&mut self, asker: Asker, body: Bytes) {
        self.subscriptions.want(Feed::TwinAnswers, None);
        self.requests.add(asker, body);
    }

    fn send_requests(&mut self, out: &mut BytesMut) {
        if self.subscriptions.is_on(Feed::TwinAnswers) && self.requests.has_unsent() {
            self.requests.send(out);
        }
    }

    fn subscribe(&mut self, out: &mut BytesMut) {
        let (mut last, window) = (self.last_id, &self.window);
        // At most four ids are asked for in a row, so those just given cannot come round again.
        let next = || {
            last = following(last, |id| window.uses(id));
            last
        };
        self.subscriptions.ask(next, out);
        self.last_id = last;
    }

    fn next_id(&mut self) -> PacketId {
        self.last_id = following(self.last_id, |id| self.window.uses(id) || self.subscriptions.uses(id));
        self.last_id
    }
}

/// The next free packet id. There always is one: the window is far smaller than the 65 535 ids.
fn following(last: PacketId, used: impl Fn(PacketId) -> bool) -> PacketId {
    let mut id = last;
    loop {
        id = id.checked_add(1).unwrap_or(PacketId::MIN);
        if !used(id) || id == last {
            return id;
        }
    }
}

fn publish_plain(topic: String, payload: Bytes, out: &mut BytesMut) {
    let publish = Publish {
        dup: false,
        qos: QoS::AtMostOnce,
        retain: false,
        topic: topic.into(),
        packet_id: None,
        payload,
    };
    if let Err(error) = v4::encode(&Packet::Publish(publish), out) {
        tracing::warn!(%error, "an answer cannot be sent");
    }
}

fn name(packet: &Packet) -> &'static str {
    match packet {
        Packet::Connect(_) => "CONNECT",
        Packet::Subscribe(_) => "SUBSCRIBE",
        Packet::Unsubscribe(_) => "UNSUBSCRIBE",
        Packet::PingReq => "PINGREQ",
        Packet::Disconnect => "DISCONNECT",
        Packet::PubRec(_) | Packet::PubRel(_) | Packet::PubComp(_) => "packets of QoS 2",
        _ => "this packet",
    }
}
