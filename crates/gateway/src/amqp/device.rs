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
    Delivery, LockToken, LockedMessage, Operation, Outcome, Session, Settlement, Subscription,
};
use ironbrook_model::{ErrorCode, Identity, Refusal};
use ironbrook_wire::amqp::{CommandError, DeliveryState, LinkId, Value};
use std::collections::VecDeque;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

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
    pub(super) twin: Option<LinkId>,
    pub(super) methods: Option<LinkId>,
    unsettled: Vec<(LinkId, LockToken)>,
    /// Method calls that wait for an answer: correlation id and the hub's own id.
    pub(super) calls: VecDeque<(Uuid, ByteString)>,
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

    pub(super) fn device_mut(&mut self, key: Key) -> Option<&mut Device> {
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
                self.refuse(link, &refusal);
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
    pub(super) fn operate(&mut self, key: Key, operation: Operation, then: Then) {
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
        match self.send_tagged(to.link, tag, to.settled, &message) {
            Ok(()) => {}
            // It would come again for ever.
            Err(CommandError::TooLarge) => {
                tracing::warn!(peer = %self.peer.addr, "a message is larger than its receiver takes and is rejected");
                return self.operate(key, release(Settlement::Reject), Then::Nothing);
            }
            Err(_) => return self.operate(key, release(Settlement::Release), Then::Nothing),
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
            let is_covered = match device.session.through() {
                Some(gateway) => ironbrook_hub::auth::gateways(token).contains(gateway),
                None => token.check_scope(hub.auth().hosts(), &identity.resource()).is_ok(),
            };
            if !is_covered {
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
