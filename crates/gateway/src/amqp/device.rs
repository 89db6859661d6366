//! A device or module on a connection, and everything of it but telemetry: messages to it, twin, methods.

use super::address::Node;
use super::door::{Done, Door};
use super::failure;
use super::link::{Key, Kind};
use super::telemetry::{Stalled, Taken};
use super::{convert, twin};
use bytestring::ByteString;
use futures_util::FutureExt as _;
use ironbrook_hub::{
    Delivery, LockToken, LockedMessage, MethodAnswer, MethodCall, Operation, Outcome, Session, Settlement,
    Subscription,
};
use ironbrook_model::{ErrorCode, Identity, Refusal};
use ironbrook_wire::amqp::{self, DeliveryState, LinkId, Message, Value};
use serde_json::value::RawValue;
use std::collections::VecDeque;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Method calls whose answers are waited for; beyond it the oldest is forgotten, which then times out.
const CALLS_MAX: usize = 256;

/// What a client wants of a link of a device.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wish {
    pub(super) node: Node,
    pub(super) from_client: bool,
    /// Deliveries are to be settled when sent: at most once.
    pub(super) settled: bool,
}

pub(super) enum DeviceState {
    Connecting { identity: Identity, waiting: Vec<(LinkId, Wish)> },
    Live(Box<Device>),
}

pub(super) struct Device {
    /// As the link's address spells it, which is how it is found again.
    identity: Identity,
    pub(super) session: Arc<Session>,
    /// Ends the waiting for deliveries.
    gone: CancellationToken,
    links: usize,
    /// Operations run one after the other, as the device sent them.
    operations: VecDeque<(Operation, Then)>,
    busy: bool,
    pub(super) taken: Vec<Taken>,
    pub(super) stalled: VecDeque<Stalled>,
    commands: Option<To>,
    inputs: Option<To>,
    twin: Option<LinkId>,
    methods: Option<LinkId>,
    unsettled: Vec<(LinkId, LockToken)>,
    calls: VecDeque<(Uuid, ByteString)>,
}

/// A link that locked messages go out on.
#[derive(Debug, Clone, Copy)]
struct To {
    link: LinkId,
    /// The session was told that the device takes them; only after the first credit, so that nothing is locked in vain.
    subscribed: bool,
    /// Nothing will be heard of them.
    settled: bool,
}

/// What follows an operation.
pub(super) enum Then {
    Nothing,
    /// Answer a twin request.
    Twin {
        request: LinkId,
        len: usize,
        correlation_id: Option<Value>,
    },
    /// Answer a device that wants to hear that its disposition is known.
    Settled {
        link: LinkId,
        id: u32,
        state: DeliveryState,
    },
}

impl Door {
    pub(super) fn start_device(&mut self, key: Key, identity: Identity, session: Session) -> Device {
        let device = Device {
            identity,
            session: Arc::new(session),
            gone: CancellationToken::new(),
            links: 0,
            operations: VecDeque::new(),
            busy: false,
            taken: Vec::new(),
            stalled: VecDeque::new(),
            commands: None,
            inputs: None,
            twin: None,
            methods: None,
            unsettled: Vec::new(),
            calls: VecDeque::new(),
        };
        self.wait_for_delivery(key, Arc::clone(&device.session), device.gone.clone());
        device
    }

    fn wait_for_delivery(&mut self, key: Key, session: Arc<Session>, gone: CancellationToken) {
        self.jobs.push(
            async move {
                tokio::select! {
                    delivery = session.next() => Done::Delivery(key, delivery),
                    () = gone.cancelled() => Done::Nothing,
                }
            }
            .boxed(),
        );
    }

    fn device_mut(&mut self, key: Key) -> Option<&mut Device> {
        match self.devices.get_mut(&key) {
            Some(DeviceState::Live(device)) => Some(device),
            _ => None,
        }
    }

    pub(super) fn open_device_link(&mut self, key: Key, link: LinkId, wish: Wish) {
        let Some(device) = self.device_mut(key) else { return };
        let is_module = device.identity.module.is_some();
        let (kind, window) = match Self::kind_of(key, wish, is_module) {
            Ok(found) => found,
            Err(refusal) => {
                let resource = device.identity.resource();
                self.refuse(link, &resource, &refusal);
                return self.drop_if_unused(key);
            }
        };
        device.links += 1;
        let to = To { link, subscribed: false, settled: wish.settled };
        // The newest link of a kind wins.
        let (older, subscription) = match kind {
            Kind::Commands(_) => (device.commands.replace(to).map(|t| t.link), None),
            Kind::Inputs(_) => (device.inputs.replace(to).map(|t| t.link), None),
            Kind::TwinAnswers(_) => (device.twin.replace(link), None),
            Kind::MethodCalls(_) => (device.methods.replace(link), Some(Subscription::Methods)),
            _ => (None, None),
        };
        if let Some(older) = older {
            let text = "a newer link for the same address took over";
            self.close_link(older, &Refusal::new(ErrorCode::LinkCreationConflict, text));
        }
        if let Some(subscription) = subscription {
            self.operate(key, Operation::Subscribe(subscription), Then::Nothing);
        }
        self.accept(link, kind, window);
        self.on_credit(link);
    }

    pub(super) fn on_credit(&mut self, link: LinkId) {
        let Some(found) = self.links.get(&link) else { return };
        match found.kind {
            Kind::Commands(key) | Kind::Inputs(key) if self.conn.sendable(link) > 0 => {
                let Some(device) = self.device_mut(key) else { return };
                let first = |to: &mut Option<To>| {
                    let to = to.as_mut().filter(|to| to.link == link && !to.subscribed);
                    to.map(|to| to.subscribed = true).is_some()
                };
                let subscription = if first(&mut device.commands) {
                    Subscription::CloudToDevice { persistent: false }
                } else if first(&mut device.inputs) {
                    Subscription::Inputs
                } else {
                    return;
                };
                self.operate(key, Operation::Subscribe(subscription), Then::Nothing);
            }
            Kind::Source(_) => self.give_permits(link),
            _ => {}
        }
    }

    /// Queues an operation of a device.
    fn operate(&mut self, key: Key, operation: Operation, then: Then) {
        let Some(device) = self.device_mut(key) else { return };
        device.operations.push_back((operation, then));
        self.next_operation(key);
    }

    fn next_operation(&mut self, key: Key) {
        let Some(hub) = self.services.hub.clone() else { return };
        let Some(device) = self.device_mut(key).filter(|d| !d.busy) else { return };
        let Some((operation, then)) = device.operations.pop_front() else { return };
        device.busy = true;
        let session = Arc::clone(&device.session);
        // A task of its own, because an operation must run to its end even if the connection does not.
        let task = tokio::spawn(async move { hub.perform(&session, operation).await });
        self.jobs.push(
            async move {
                let result = task.await.unwrap_or_else(|error| {
                    tracing::error!(%error, "an operation failed unexpectedly");
                    Err(Refusal::new(ErrorCode::ServerError, "the operation failed unexpectedly"))
                });
                Done::Performed(key, then, result)
            }
            .boxed(),
        );
    }

    pub(super) fn on_performed(&mut self, key: Key, then: Then, result: Result<Outcome, Refusal>) {
        if let Err(refusal) = &result {
            tracing::debug!(peer = %self.peer.addr, code = %refusal.code, reason = %refusal.message,
                "operation of a device refused");
        }
        match then {
            Then::Nothing => {}
            Then::Twin { request, len, correlation_id } => {
                let answer = twin::answer(correlation_id, &result, self.now());
                if let Some(link) = self.device_mut(key).and_then(|d| d.twin) {
                    self.send(link, &answer);
                }
                self.answered(request, len);
            }
            Then::Settled { link, id, state } => {
                let state = match &result {
                    Ok(_) => state,
                    Err(refusal) => DeliveryState::Rejected(Some(failure::error(refusal, self.now()))),
                };
                self.conn.settle_sent(link, id, state);
            }
        }
        if let Some(device) = self.device_mut(key) {
            device.busy = false;
        }
        self.next_operation(key);
    }

    pub(super) fn on_device_delivery(&mut self, key: Key, delivery: Delivery) {
        let Some(device) = self.device_mut(key) else { return };
        let (session, gone) = (Arc::clone(&device.session), device.gone.clone());
        match delivery {
            Delivery::Closed(why) => return self.close_device(key, &why),
            Delivery::CloudToDevice(locked) => {
                let to = device.commands;
                self.send_locked(key, to, &locked, None);
            }
            Delivery::Input { input, message } => {
                let to = device.inputs;
                self.send_locked(key, to, &message, Some(&input));
            }
            Delivery::Method { request, call } => self.send_call(key, request, &call),
            Delivery::DesiredProperties { patch, .. } => {
                if let Some(link) = device.twin {
                    self.send(link, &twin::notification(patch));
                }
            }
        }
        self.wait_for_delivery(key, session, gone);
    }

    fn send_locked(&mut self, key: Key, to: Option<To>, locked: &LockedMessage, input: Option<&ByteString>) {
        let release = |settlement| Operation::Settle { lock: locked.lock, settlement };
        let Some(to) = to else {
            return self.operate(key, release(Settlement::Release), Then::Nothing);
        };
        let (tag, message) = convert::locked(locked, input);
        if !self.send_tagged(to.link, tag, to.settled, &message) {
            return self.operate(key, release(Settlement::Release), Then::Nothing);
        }
        if to.settled {
            self.operate(key, release(Settlement::Complete), Then::Nothing);
        } else if let Some(device) = self.device_mut(key) {
            device.unsettled.push((to.link, locked.lock));
        }
    }

    pub(super) fn on_disposition(
        &mut self,
        id: LinkId,
        number: u32,
        tag: &[u8],
        state: Option<DeliveryState>,
        settled: bool,
    ) {
        let Some(link) = self.links.get(&id) else { return };
        let key = match link.kind {
            Kind::Commands(key) | Kind::Inputs(key) => key,
            Kind::Source(_) => return self.on_source_settled(id, number, tag, state, settled),
            _ if settled => return,
            _ => return self.conn.settle_sent(id, number, state.unwrap_or(DeliveryState::Accepted)),
        };
        let Ok(guid) = <[u8; 16]>::try_from(tag) else { return };
        let lock = LockToken(Uuid::from_bytes_le(guid));
        let Some(device) = self.device_mut(key) else { return };
        device.unsettled.retain(|(_, other)| *other != lock);
        let operation = Operation::Settle { lock, settlement: settlement(state.as_ref()) };
        let then = if settled {
            Then::Nothing
        } else {
            // rule AMQP-13: a receiver that settles second is told what became of its disposition.
            Then::Settled { link: id, id: number, state: state.unwrap_or(DeliveryState::Accepted) }
        };
        self.operate(key, operation, then);
    }

    pub(super) fn on_twin_request(&mut self, key: Key, delivery: &amqp::Delivery) {
        let len = delivery.payload.len();
        let Some(message) = self.accept_request(delivery) else { return };
        let correlation_id =
            message.properties.correlation_id.clone().or(message.properties.message_id.clone());
        let then = Then::Twin { request: delivery.link, len, correlation_id };
        match twin::request(&message) {
            Ok(operation) => self.operate(key, operation, then),
            Err(refusal) => self.on_refused_twin(key, then, refusal),
        }
    }

    fn on_refused_twin(&mut self, key: Key, then: Then, refusal: Refusal) {
        let Then::Twin { request, len, correlation_id } = then else { return };
        let answer = twin::answer(correlation_id, &Err(refusal), self.now());
        if let Some(link) = self.device_mut(key).and_then(|d| d.twin) {
            self.send(link, &answer);
        }
        self.answered(request, len);
    }

    /// Reads a request and accepts its delivery: what becomes of it is told in an answer. `None` where it is no message.
    pub(super) fn accept_request(&mut self, delivery: &amqp::Delivery) -> Option<Message> {
        let read = Message::decode(&delivery.payload);
        if !delivery.settled {
            let state = match &read {
                Ok(_) => DeliveryState::Accepted,
                Err(error) => DeliveryState::Rejected(Some(amqp::AmqpError::new(
                    "amqp:decode-error",
                    error.to_string(),
                ))),
            };
            self.conn.settle(delivery.link, delivery.id, delivery.id, state);
        }
        if read.is_err() {
            self.answered(delivery.link, delivery.payload.len());
        }
        read.ok()
    }

    fn send_call(&mut self, key: Key, request: ByteString, call: &MethodCall) {
        let Some(device) = self.device_mut(key) else { return };
        let Some(link) = device.methods else { return };
        // rule AMQP-14: the correlation id of a method is a uuid; .NET and Node parse it as a GUID.
        let id = Uuid::new_v4();
        if device.calls.len() >= CALLS_MAX {
            device.calls.pop_front();
        }
        device.calls.push_back((id, request));
        let mut message = Message::data(call.payload.get().to_owned());
        message.properties.correlation_id = Some(Value::Uuid(id));
        message.set_property("IoThub-methodname", call.name.clone());
        self.send(link, &message);
    }

    pub(super) fn on_method_answer(&mut self, key: Key, delivery: &amqp::Delivery) {
        let Some(message) = self.accept_request(delivery) else { return };
        self.answered(delivery.link, delivery.payload.len());
        let id = match &message.properties.correlation_id {
            Some(Value::Uuid(id)) => Some(*id),
            Some(other) => other.as_str().and_then(|text| Uuid::parse_str(text).ok()),
            None => None,
        };
        let Some(device) = self.device_mut(key) else { return };
        let known = id.and_then(|id| device.calls.iter().position(|(other, _)| *other == id));
        // Late and unknown answers are dropped.
        let Some((_, request)) = known.and_then(|at| device.calls.remove(at)) else { return };
        let status = message.application_property("IoThub-status").and_then(Value::as_i64);
        let status = status.and_then(|n| i32::try_from(n).ok()).unwrap_or(500);
        let Some(payload) = json(&message) else {
            tracing::warn!(peer = %self.peer.addr, code = %ErrorCode::ArgumentInvalid,
                reason = "the answer to a direct method is not JSON", "method answer dropped");
            return;
        };
        let answer = MethodAnswer { status, payload };
        self.operate(key, Operation::AnswerMethod { request, answer }, Then::Nothing);
    }

    /// The session is over: all links of the device are detached with the reason.
    fn close_device(&mut self, key: Key, why: &Refusal) {
        let links: Vec<_> =
            self.links.iter().filter(|(_, l)| l.key() == Some(key)).map(|(id, _)| *id).collect();
        for link in links {
            self.close_link(link, why);
        }
        self.drop_if_unused(key);
    }

    /// A link of a device is gone: what was subscribed for it ends, what was locked for it is given back.
    pub(super) fn forget_device_link(&mut self, key: Key, link: LinkId) {
        let Some(device) = self.device_mut(key) else { return };
        device.links = device.links.saturating_sub(1);
        let mut operations = Vec::new();
        let mut end = |subscription| operations.push(Operation::Unsubscribe(subscription));
        if device.commands.take_if(|to| to.link == link).is_some_and(|to| to.subscribed) {
            end(Subscription::CloudToDevice { persistent: false });
        }
        if device.inputs.take_if(|to| to.link == link).is_some_and(|to| to.subscribed) {
            end(Subscription::Inputs);
        }
        if device.twin.take_if(|twin| *twin == link).is_some() {
            end(Subscription::DesiredProperties);
        }
        if device.methods.take_if(|methods| *methods == link).is_some() {
            end(Subscription::Methods);
        }
        for (_, lock) in device.unsettled.extract_if(.., |(of, _)| *of == link) {
            operations.push(Operation::Settle { lock, settlement: Settlement::Release });
        }
        if device.links > 0 {
            for operation in operations {
                self.operate(key, operation, Then::Nothing);
            }
        }
        // Without links the session goes, and gives all back by itself.
        self.drop_if_unused(key);
    }

    fn drop_if_unused(&mut self, key: Key) {
        if self.device_mut(key).is_none_or(|d| d.links > 0) {
            return;
        }
        if let Some(DeviceState::Live(mut device)) = self.devices.remove(&key) {
            self.keys.remove(&device.identity);
            device.gone.cancel();
            self.drop_telemetry(&mut device);
        }
    }

    /// A token came: sessions it covers go on with it.
    pub(super) fn renew_devices(&mut self, token: &ironbrook_model::SasToken) {
        let Some(hub) = self.services.hub.clone() else { return };
        for state in self.devices.values() {
            let DeviceState::Live(device) = state else { continue };
            let identity = device.session.identity();
            if token.check_scope(hub.auth().hosts(), &identity.resource()).is_err() {
                continue;
            }
            let (hub, session) = (hub.clone(), Arc::clone(&device.session));
            let credential = ironbrook_hub::Credential::Sas(token.clone());
            self.jobs.push(
                async move {
                    // Refused ones are logged where they are checked, and change nothing.
                    let _ = hub.renew(&session, credential).await;
                    Done::Nothing
                }
                .boxed(),
            );
        }
    }
}

/// What a device's disposition means.
pub(super) fn settlement(state: Option<&DeliveryState>) -> Settlement {
    match state {
        Some(DeliveryState::Accepted) => Settlement::Complete,
        Some(DeliveryState::Rejected(_)) => Settlement::Reject,
        Some(DeliveryState::Released | DeliveryState::Modified { .. }) => Settlement::Abandon,
        _ => Settlement::Release,
    }
}

/// The body as a JSON value, `null` where it is empty.
fn json(message: &Message) -> Option<Box<RawValue>> {
    let body = message.body_bytes();
    let text = std::str::from_utf8(&body).ok()?.trim();
    RawValue::from_string(if text.is_empty() { "null".to_owned() } else { text.to_owned() }).ok()
}
