//! A connection after CONNACK: one loop that reads much, parses all of it, and answers once.

use super::address::{self, Address, Addresses, Wish};
use super::io::{Event, Io};
use super::operations::{Operations, Reply, Request};
use super::outgoing::Outgoing;
use super::unacknowledged::Unacknowledged;
use super::{End, bag};
use crate::{Metrics, Protocol, http};
use bytes::Bytes;
use bytestring::ByteString;
use futures_util::future::BoxFuture;
use ironbrook_hub::{
    Delivery, Hub, LockToken, LockedMessage, MethodAnswer, Session, Settlement, Subscription,
};
use ironbrook_log::Ticket;
use ironbrook_model::{ErrorCode, Message, MqttAction, Refusal};
use ironbrook_wire::mqtt::v4::{Packet, PacketId, Publish, QoS, SubAck, SubAckCode, Subscribe, Unsubscribe};
use prometheus_client::metrics::counter::Counter;
use serde_json::value::RawValue;
use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, ReusableBoxFuture};

/// Output waiting to be written at which nothing more is read or delivered.
const OUTPUT_MAX: usize = 64 * 1024;
/// How long a client may take nothing while output waits.
const STUCK_TIME: Duration = Duration::from_secs(30);
/// How long acknowledgements are waited for at a stop.
const DRAIN_TIME: Duration = Duration::from_secs(5);

/// Telemetry that the hub had no room for.
struct Stalled {
    message: Message,
    id: Option<PacketId>,
    room: BoxFuture<'static, Result<(), Refusal>>,
}

pub(super) struct Connection<S> {
    io: Io<S>,
    hub: Hub,
    session: Arc<Session>,
    addresses: Addresses,
    clean_session: bool,
    operations: Operations,
    unacknowledged: Unacknowledged,
    /// What is waited for on disk, and the wait.
    awaited: Option<Ticket>,
    durable: ReusableBoxFuture<'static, Result<(), Refusal>>,
    stalled: Option<Stalled>,
    outgoing: Outgoing,
    cloud_to_device_qos: QoS,
    inputs_qos: QoS,
    takes_twin_answers: bool,
    received: Counter,
    sent: Counter,
    silence: Duration,
    heard: Instant,
    /// Since when output waits without any of it going out.
    stuck: Option<Instant>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    pub(super) fn new(
        io: Io<S>,
        hub: Hub,
        session: Session,
        addresses: Addresses,
        clean_session: bool,
        silence: Duration,
        metrics: &Metrics,
    ) -> Self {
        let session = Arc::new(session);
        Self {
            io,
            operations: Operations::new(hub.clone(), session.clone()),
            hub,
            session,
            addresses,
            clean_session,
            unacknowledged: Unacknowledged::default(),
            awaited: None,
            durable: ReusableBoxFuture::new(std::future::pending()),
            stalled: None,
            outgoing: Outgoing::default(),
            // rule MQTT-18: a stored subscription delivers before any SUBSCRIBE, at least once.
            cloud_to_device_qos: QoS::AtLeastOnce,
            inputs_qos: QoS::AtLeastOnce,
            takes_twin_answers: false,
            received: metrics.received(Protocol::mqtt),
            sent: metrics.sent(Protocol::mqtt),
            silence,
            heard: Instant::now(),
            stuck: None,
        }
    }

    /// Serves until the connection has to end, and says why.
    pub(super) async fn run(&mut self, cancel: &CancellationToken) -> End {
        let session = self.session.clone();
        let delivery = session.next();
        tokio::pin!(delivery);
        let cancelled = cancel.cancelled();
        tokio::pin!(cancelled);
        let timer = tokio::time::sleep_until(self.heard + self.silence);
        tokio::pin!(timer);
        loop {
            if let Err(end) = self.advance() {
                return end;
            }
            let may_read = !self.is_blocked();
            let may_deliver = self.io.pending() < OUTPUT_MAX && !self.outgoing.is_full();
            self.watch_output(timer.as_mut());
            let step = tokio::select! {
                biased;
                () = &mut cancelled => return self.drain().await,
                result = poll_fn(|cx| self.durable.poll(cx)), if self.awaited.is_some() => self.on_durable(result),
                result = room(&mut self.stalled), if self.stalled.is_some() => self.on_room(result),
                reply = self.operations.next() => self.on_reply(reply),
                next = &mut delivery, if may_deliver => {
                    delivery.set(session.next());
                    self.deliver(next)
                }
                event = self.io.drive(may_read) => self.on_event(event),
                () = &mut timer => self.on_timer(timer.as_mut()),
            };
            if let Err(end) = step {
                return end;
            }
        }
    }

    /// Acknowledges what may be, parses what was read, and starts to wait for the disk.
    fn advance(&mut self) -> Result<(), End> {
        self.acknowledge()?;
        while !self.is_blocked()
            && let Some(packet) = self.io.packet()?
        {
            self.on_packet(packet)?;
        }
        self.acknowledge()?;
        if self.awaited.is_none()
            && let Some(ticket) = self.unacknowledged.awaited()
        {
            let hub = self.hub.clone();
            self.durable.set(async move { hub.durable(ticket).await });
            self.awaited = Some(ticket);
        }
        Ok(())
    }

    fn acknowledge(&mut self) -> Result<(), End> {
        while let Some(id) = self.unacknowledged.pop() {
            self.io.put(&Packet::PubAck(id))?;
        }
        Ok(())
    }

    /// Whether nothing more may be taken from the client for now.
    fn is_blocked(&self) -> bool {
        self.stalled.is_some()
            || self.unacknowledged.is_full()
            || self.operations.is_full()
            || self.io.pending() >= OUTPUT_MAX
    }

    fn on_event(&mut self, event: std::io::Result<Event>) -> Result<(), End> {
        match event? {
            Event::Read(0) => return Err(End::Lost(None)),
            Event::Read(_) => self.heard = Instant::now(),
            Event::Wrote => self.stuck = None,
        }
        // rule MQTT-19: a message of quality 0 is complete when it was written.
        while let Some(lock) = self.outgoing.written(self.io.flushed()) {
            self.settle(lock, Settlement::Complete);
        }
        Ok(())
    }

    fn on_durable(&mut self, result: Result<(), Refusal>) -> Result<(), End> {
        let ticket = self.awaited.take();
        result.map_err(End::Refused)?;
        if let Some(ticket) = ticket {
            self.unacknowledged.became_durable(ticket);
        }
        Ok(())
    }

    fn on_room(&mut self, result: Result<(), Refusal>) -> Result<(), End> {
        result.map_err(End::Refused)?;
        match self.stalled.take() {
            Some(stalled) => self.offer(stalled.message, stalled.id),
            None => Ok(()),
        }
    }

    fn on_timer(&mut self, timer: std::pin::Pin<&mut tokio::time::Sleep>) -> Result<(), End> {
        let now = Instant::now();
        if self.is_blocked() {
            // Nothing was read, so the client's silence is ours.
            self.heard = now;
        }
        if now >= self.heard + self.silence {
            return Err(End::Silent(self.silence));
        }
        if self.stuck.is_some_and(|since| now >= since + STUCK_TIME) {
            return Err(End::Stuck);
        }
        let next = self.heard + self.silence;
        timer.reset(self.stuck.map_or(next, |since| next.min(since + STUCK_TIME)));
        Ok(())
    }

    /// Notices when output begins to wait, and has the timer look at it.
    fn watch_output(&mut self, timer: std::pin::Pin<&mut tokio::time::Sleep>) {
        if self.io.is_flushed() {
            self.stuck = None;
        } else if self.stuck.is_none() {
            let now = Instant::now();
            self.stuck = Some(now);
            if timer.deadline() > now + STUCK_TIME {
                timer.reset(now + STUCK_TIME);
            }
        }
    }

    fn on_packet(&mut self, packet: Packet) -> Result<(), End> {
        match packet {
            Packet::Publish(publish) => self.on_publish(publish),
            Packet::PubAck(id) => {
                // rule MQTT-20: PUBACK completes a cloud-to-device message; MQTT can neither reject nor abandon one.
                if let Some(lock) = self.outgoing.acknowledge(id) {
                    self.settle(lock, Settlement::Complete);
                }
                Ok(())
            }
            Packet::Subscribe(subscribe) => self.on_subscribe(&subscribe),
            Packet::Unsubscribe(unsubscribe) => self.on_unsubscribe(&unsubscribe),
            Packet::PingReq => Ok(self.io.put(&Packet::PingResp)?),
            Packet::Disconnect => Err(End::Disconnected),
            // rule MQTT-21: a second CONNECT ends the connection, as does a packet only a server sends.
            Packet::Connect(_) => Err(End::Unexpected("a second CONNECT")),
            Packet::PubRec(_) | Packet::PubRel(_) | Packet::PubComp(_) => {
                Err(End::Unexpected("a packet of QoS 2, which the hub does not have"))
            }
            Packet::ConnAck(_) | Packet::SubAck(_) | Packet::UnsubAck(_) | Packet::PingResp => {
                Err(End::Unexpected("a packet that only servers send"))
            }
        }
    }

    fn on_publish(&mut self, publish: Publish) -> Result<(), End> {
        // rule MQTT-22: a message of quality 2 ends the connection.
        if publish.qos == QoS::ExactlyOnce {
            return Err(End::Unexpected("a message with QoS 2, use QoS 1"));
        }
        let address = self.addresses.of_publish(&publish.topic).map_err(End::Refused)?;
        let request = match address {
            Address::Telemetry { bag } => {
                let mut message = Message::new(publish.payload);
                bag::read(&bag, &mut message).map_err(End::Refused)?;
                if publish.retain {
                    // rule MQTT-23: nothing is retained; the wish becomes a property.
                    message.properties.set("mqtt-retain", "true");
                }
                return self.offer(message, publish.packet_id);
            }
            Address::GetTwin { rid } => Request::GetTwin { rid },
            Address::PatchReported { rid } => Request::PatchReported { rid, patch: publish.payload },
            Address::MethodAnswer { status, rid } => {
                let payload = self.method_payload(&publish.payload);
                Request::AnswerMethod { rid, answer: MethodAnswer { status, payload } }
            }
        };
        self.operations.push(request);
        if let Some(id) = publish.packet_id {
            self.unacknowledged.push(id, None);
        }
        Ok(())
    }

    /// Gives telemetry to the hub, or keeps it until there is room.
    fn offer(&mut self, message: Message, id: Option<PacketId>) -> Result<(), End> {
        match self.hub.telemetry(&self.session, &message) {
            Ok(ticket) => {
                self.received.inc();
                if let Some(id) = id {
                    self.unacknowledged.push(id, ticket);
                }
                Ok(())
            }
            Err(refusal) if is_back_pressure(&refusal) => {
                let (hub, session) = (self.hub.clone(), self.session.clone());
                let room = Box::pin(async move { hub.room(&session).await });
                self.stalled = Some(Stalled { message, id, room });
                Ok(())
            }
            Err(refusal) => Err(End::Refused(refusal)),
        }
    }

    /// An empty answer is `null`, as is one that is not JSON: the caller is better served with the status alone than with nothing.
    fn method_payload(&self, payload: &Bytes) -> Box<RawValue> {
        let text = std::str::from_utf8(payload).unwrap_or("");
        if let Ok(value) = RawValue::from_string(text.to_owned()) {
            return value;
        }
        if !payload.iter().all(u8::is_ascii_whitespace) {
            tracing::warn!(identity = %self.session.identity(), "the payload of a method answer is not JSON; null is passed on");
        }
        RawValue::NULL.to_owned()
    }

    fn on_subscribe(&mut self, subscribe: &Subscribe) -> Result<(), End> {
        let mut add = Vec::new();
        let mut codes = Vec::with_capacity(subscribe.filters.len());
        for filter in &subscribe.filters {
            // rule MQTT-24: quality 2 is granted as 1.
            let granted = filter.qos.min(QoS::AtLeastOnce);
            for wish in self.addresses.of_filter(&filter.filter).map_err(End::Refused)? {
                match wish {
                    Wish::TwinAnswers => self.takes_twin_answers = true,
                    Wish::CloudToDevice => self.cloud_to_device_qos = granted,
                    Wish::Inputs => self.inputs_qos = granted,
                    Wish::DesiredProperties | Wish::Methods => {}
                }
                add.extend(self.subscription(*wish));
            }
            codes.push(SubAckCode::Granted(granted));
        }
        let answer = SubAck { packet_id: subscribe.packet_id, codes };
        self.operations.push(Request::Subscribe { add, answer });
        Ok(())
    }

    fn on_unsubscribe(&mut self, unsubscribe: &Unsubscribe) -> Result<(), End> {
        let mut remove = Vec::new();
        for filter in &unsubscribe.filters {
            // A filter that nobody subscribed to is answered all the same [MQTT-3.10.4-5].
            for wish in self.addresses.of_filter(filter).unwrap_or_default() {
                if *wish == Wish::TwinAnswers {
                    self.takes_twin_answers = false;
                }
                remove.extend(self.subscription(*wish));
            }
        }
        self.operations.push(Request::Unsubscribe { remove, answer: unsubscribe.packet_id });
        Ok(())
    }

    fn subscription(&self, wish: Wish) -> Option<Subscription> {
        match wish {
            Wish::TwinAnswers => None,
            // rule MQTT-25: with clean session 0 this one subscription outlives the connection.
            Wish::CloudToDevice => Some(Subscription::CloudToDevice { persistent: !self.clean_session }),
            Wish::Inputs => Some(Subscription::Inputs),
            Wish::DesiredProperties => Some(Subscription::DesiredProperties),
            Wish::Methods => Some(Subscription::Methods),
        }
    }

    fn settle(&mut self, lock: LockToken, settlement: Settlement) {
        self.operations.push(Request::Settle { lock, settlement });
    }

    fn on_reply(&mut self, reply: Reply) -> Result<(), End> {
        match reply {
            Reply::Subscribed(answer) => Ok(self.io.put(&Packet::SubAck(answer))?),
            Reply::Unsubscribed(id) => Ok(self.io.put(&Packet::UnsubAck(id))?),
            Reply::Twin { rid, result: Ok(twin) } => self.answer_twin(200, &rid, None, twin),
            Reply::Reported { rid, result: Ok(version) } => {
                self.answer_twin(204, &rid, Some(version), Bytes::new())
            }
            Reply::Twin { rid, result: Err(refusal) } | Reply::Reported { rid, result: Err(refusal) } => {
                if refusal.code.mqtt_action(false) == MqttAction::Close {
                    return Err(End::Refused(refusal));
                }
                let body = http::error_json(&refusal, self.hub.seams().clock.now());
                self.answer_twin(refusal.code.http_status(), &rid, None, body.into())
            }
            Reply::Done => Ok(()),
            Reply::Failed(refusal) => Err(End::Refused(refusal)),
        }
    }

    /// rule MQTT-26: twin answers go only to clients that subscribed to them.
    fn answer_twin(&mut self, status: u16, rid: &str, version: Option<u64>, body: Bytes) -> Result<(), End> {
        if !self.takes_twin_answers {
            return Ok(());
        }
        self.send(address::twin_answer(status, rid, version), body)
    }

    fn deliver(&mut self, delivery: Delivery) -> Result<(), End> {
        match delivery {
            Delivery::CloudToDevice(message) => {
                let topic = self.addresses.cloud_to_device().to_owned();
                self.send_locked(topic, &message, self.cloud_to_device_qos)
            }
            Delivery::Input { input, message } => match self.addresses.input(&input) {
                Some(topic) => self.send_locked(topic, &message, self.inputs_qos),
                None => Ok(()),
            },
            Delivery::Method { request, call } => {
                let payload = Bytes::from(Box::<str>::from(call.payload).into_boxed_bytes());
                self.send(address::method(&call.name, &request), payload)
            }
            Delivery::DesiredProperties { version, patch } => self.send(address::desired(version), patch),
            Delivery::Closed(refusal) => Err(End::Closed(refusal)),
        }
    }

    /// Sends with quality 0.
    fn send(&mut self, topic: ByteString, payload: Bytes) -> Result<(), End> {
        let publish =
            Publish { dup: false, qos: QoS::AtMostOnce, retain: false, topic, packet_id: None, payload };
        Ok(self.io.put(&Packet::Publish(publish))?)
    }

    fn send_locked(&mut self, mut topic: String, locked: &LockedMessage, qos: QoS) -> Result<(), End> {
        bag::write(&locked.message, self.addresses.default_to(), &mut topic);
        let packet_id = (qos != QoS::AtMostOnce).then(|| self.outgoing.next_id());
        let publish = Publish {
            dup: false,
            qos,
            retain: false,
            topic: topic.into(),
            packet_id,
            payload: locked.message.body.clone(),
        };
        if let Err(error) = self.io.put(&Packet::Publish(publish)) {
            // It would come again for ever: a topic longer than 65 535 bytes never fits.
            tracing::warn!(identity = %self.session.identity(), %error, "a message cannot be sent by MQTT and is rejected");
            self.settle(locked.lock, Settlement::Reject);
            return Ok(());
        }
        self.sent.inc();
        match packet_id {
            Some(id) => self.outgoing.await_acknowledgement(id, locked.lock),
            None => self.outgoing.await_write(self.io.queued(), locked.lock),
        }
        Ok(())
    }

    /// Takes nothing more, but acknowledges what was taken.
    async fn drain(&mut self) -> End {
        let deadline = Instant::now() + DRAIN_TIME;
        while self.awaited.is_some() || !self.io.is_flushed() {
            let step = tokio::select! {
                result = poll_fn(|cx| self.durable.poll(cx)), if self.awaited.is_some() => self.on_durable(result),
                event = self.io.drive(false) => self.on_event(event),
                () = tokio::time::sleep_until(deadline) => break,
            };
            if step.and_then(|()| self.acknowledge()).is_err() {
                break;
            }
            if self.unacknowledged.is_empty() && self.io.is_flushed() {
                break;
            }
        }
        End::Shutdown
    }

    /// Ends: sends the will where one is due, finishes what was begun, closes the stream.
    pub(super) async fn close(mut self, will: Option<Message>) {
        if let Some(will) = will {
            match self.hub.telemetry(&self.session, &will) {
                Ok(Some(ticket)) => drop(self.hub.durable(ticket).await),
                Ok(None) => {}
                Err(refusal) => {
                    tracing::debug!(identity = %self.session.identity(), code = refusal.code.number(),
                    reason = %refusal.message, "will not sent")
                }
            }
        }
        let _ = tokio::time::timeout(DRAIN_TIME, self.io.shutdown()).await;
        self.operations.finish().await;
    }
}

/// Whether the same message may be taken later.
fn is_back_pressure(refusal: &Refusal) -> bool {
    refusal.code == ErrorCode::ServerBusy || refusal.code.http_status() == 429
}

/// Waits for room for what is stalled.
async fn room(stalled: &mut Option<Stalled>) -> Result<(), Refusal> {
    match stalled {
        Some(stalled) => stalled.room.as_mut().await,
        None => std::future::pending().await,
    }
}
