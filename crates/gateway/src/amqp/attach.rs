//! What a link is for, decided when it is attached, and what goes with it when it is detached.

use super::address::{Address, Node};
use super::device::{DeviceState, Wish};
use super::door::{Done, Door};
use super::failure;
use super::link::{Key, Kind, Link};
use crate::{Attach as ServiceAttach, Protocol};
use futures_util::FutureExt as _;
use ironbrook_hub::auth::refusals;
use ironbrook_hub::{ConnectRequest, Credential, Hub, Session};
use ironbrook_model::{Cause, ErrorCode, Identity, Permissions, Refusal};
use ironbrook_wire::amqp::{AmqpError, Attach, LinkId, Role, SenderSettleMode, Value};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Requests on `$cbs`, `$management`, twins and methods that may wait for their answers.
pub(super) const REQUEST_WINDOW: u32 = 100;

/// The expiry of tokens is looked at as often as this at least.
const EXPIRY_STEP: Duration = Duration::from_secs(60);

/// Where AMQP with TLS is; clients take no other.
const AMQPS_PORT: i32 = 5671;

/// The longest request on `$cbs` and `$management`, in bytes.
const REQUEST_MAX: u64 = 64 * 1024;

impl Door {
    pub(super) fn on_attach(&mut self, link: LinkId, attach: &Attach) {
        // The peer's role: a sender's address is where it sends to. .NET puts the device id into the other end.
        let from_client = attach.role == Role::Sender;
        let (theirs, ours) = (
            attach.source.as_ref().and_then(|s| s.address.as_ref()),
            attach.target.as_ref().and_then(|t| t.address.as_ref()),
        );
        let (address, other) = if from_client { (ours, theirs) } else { (theirs, ours) };
        let text = address.map(|a| &**a).unwrap_or_default();
        let settled = attach.snd_settle_mode == SenderSettleMode::Settled;
        let answers_at = if from_client { None } else { other.map(|a| (&**a).into()) };
        self.links.insert(link, Link::new(text, answers_at, settled));
        match Address::parse(text) {
            Some(Address::Cbs) if from_client => self.accept(link, Kind::TokenRequests, REQUEST_WINDOW),
            Some(Address::Cbs) => self.accept(link, Kind::TokenAnswers, 0),
            Some(Address::Management) if self.services.amqp.is_some() => {
                if from_client {
                    self.accept(link, Kind::ManagementRequests, REQUEST_WINDOW);
                } else {
                    self.accept(link, Kind::ManagementAnswers, 0);
                }
            }
            Some(Address::Device(identities, node)) => {
                let wish = Wish { node, from_client, settled };
                self.attach_device(link, &identities, wish, attach);
            }
            Some(Address::Registration(scope, id)) => self.attach_registration(link, scope, id, from_client),
            Some(Address::Service(address)) if self.services.amqp.is_some() => {
                self.attach_service(link, address, from_client, attach);
            }
            _ => self.refuse(link, &no_such_address()),
        }
    }

    /// Agrees to a link; `window` deliveries may come on it.
    pub(super) fn accept(&mut self, id: LinkId, kind: Kind, window: u32) {
        let Some(link) = self.links.get_mut(&id) else { return };
        link.kind = kind;
        link.window = window;
        let small = matches!(link.kind, Kind::TokenRequests | Kind::ManagementRequests);
        let presettled = matches!(&link.kind, Kind::Source(source) if source.presettled);
        self.conn.accept_with(id, window, |attach| {
            if presettled {
                // rule AMQP-18: azure-eventhub asks for unsettled events and never settles one; settled they do not pile up.
                attach.snd_settle_mode = SenderSettleMode::Settled;
            }
            if small {
                // Anybody may send these, before any credential.
                attach.max_message_size = Some(REQUEST_MAX);
            }
        });
    }

    /// Refuses a link with the reason.
    pub(super) fn refuse(&mut self, link: LinkId, why: &Refusal) {
        if let Some(link) = self.links.get(&link) {
            tracing::warn!(peer = %self.peer.addr, code = %why.code, address = &*link.address,
                reason = %why.message, "link refused");
        }
        self.refuse_quietly(link, why);
    }

    /// Refuses a link for a reason that is logged already.
    pub(super) fn refuse_quietly(&mut self, link: LinkId, why: &Refusal) {
        self.links.remove(&link);
        self.services.metrics.refused(Protocol::amqp, why.code);
        self.conn.refuse(link, failure::error(why, self.now()));
    }

    fn attach_device(&mut self, link: LinkId, identities: &[Identity], wish: Wish, attach: &Attach) {
        let Some(hub) = self.services.hub.clone() else {
            return self.refuse(link, &no_such_address());
        };
        let known = identities.iter().find_map(|i| self.keys.get(i)).copied();
        if let Some(key) = known {
            match self.devices.get_mut(&key) {
                Some(DeviceState::Connecting { waiting, .. }) => waiting.push((link, wish)),
                Some(DeviceState::Live(_)) => self.open_device_link(key, link, wish),
                None => {}
            }
            return;
        }
        let hosts = hub.auth().hosts();
        let certificate = (!self.peer.certificates.is_empty())
            .then(|| Credential::Certificate(self.peer.certificates.clone()));
        let candidates: Vec<_> = identities
            .iter()
            .filter_map(|identity| {
                let token = self.tokens.covering(identity, hosts).cloned().map(Credential::Sas);
                Some((identity.clone(), token.or_else(|| certificate.clone())?))
            })
            .collect();
        let origin = self.peer.origin("amqp");
        let Some((first, _)) = candidates.first() else {
            if let Some(identity) = identities.first().cloned() {
                let noted = async move {
                    refusals::from(origin, hub.auth().refused(&identity, &no_credential())).await;
                    Done::Nothing
                };
                self.jobs.push(noted.boxed());
            }
            return self.refuse(link, &no_credential());
        };
        let key = Key(self.next_key);
        self.next_key = self.next_key.wrapping_add(1);
        self.keys.insert(first.clone(), key);
        let state = DeviceState::Connecting { identity: first.clone(), waiting: vec![(link, wish)] };
        self.devices.insert(key, state);
        let model_id = property(attach, "com.microsoft:model-id");
        let connecting = async move {
            Done::Connected(key, refusals::from(origin, connect(&hub, candidates, model_id)).await)
        };
        self.jobs.push(connecting.boxed());
    }

    fn attach_service(&mut self, link: LinkId, address: String, from_client: bool, attach: &Attach) {
        let Some(service) = self.services.amqp.clone() else { return };
        if self.tokens.is_empty() {
            return self.refuse(link, &no_credential());
        }
        let filters = attach.source.as_ref().map(|s| s.filter.as_slice()).unwrap_or_default();
        let pair = |(name, value): &(bytestring::ByteString, Value)| (name.to_string(), value.clone());
        let request = ServiceAttach {
            address,
            tokens: self.tokens.all(),
            filters: filters.iter().map(pair).collect(),
            properties: attach.properties.iter().map(pair).collect(),
            desired_capabilities: attach.desired_capabilities.iter().map(ToString::to_string).collect(),
        };
        let opening = async move {
            match service.elsewhere(&request).await {
                Ok(Some(path)) => Done::Elsewhere(link, Ok(path)),
                Err(refusal) => Done::Elsewhere(link, Err(refusal)),
                Ok(None) if from_client => Done::Sink(link, service.attach_sink(request).await),
                Ok(None) => Done::Source(link, service.attach_source(request).await),
            }
        };
        self.jobs.push(opening.boxed());
    }

    /// rule AMQP-22: a client is sent to another address with `amqp:link:redirect`, whose info names host, port and address.
    pub(super) fn on_elsewhere(&mut self, link: LinkId, result: Result<String, Refusal>) {
        let path = match result {
            Ok(path) => path,
            Err(refusal) => return self.refuse_service(link, &refusal),
        };
        let known = || self.services.hub.as_ref().and_then(|hub| hub.auth().hosts().first().cloned());
        let host = self.host.as_deref().map(str::to_owned).or_else(known).unwrap_or_default();
        tracing::debug!(peer = %self.peer.addr, path, "link redirected");
        let address = format!("amqps://{host}:{AMQPS_PORT}/{path}");
        let mut error = AmqpError::new("amqp:link:redirect", format!("events are read from {path}"));
        error.info = [
            ("hostname", Value::from(host.as_str())),
            ("network-host", Value::from(host.as_str())),
            ("port", Value::Int(AMQPS_PORT)),
            ("address", Value::from(address.as_str())),
        ]
        .map(|(name, value)| (name.into(), value))
        .into();
        self.links.remove(&link);
        self.conn.refuse(link, error);
    }

    pub(super) fn on_connected(&mut self, key: Key, result: Result<Session, Refusal>) {
        let Some(DeviceState::Connecting { identity, waiting }) = self.devices.remove(&key) else { return };
        match result {
            // All who waited may have gone.
            Ok(_) if !waiting.iter().any(|(link, _)| self.links.contains_key(link)) => {
                self.keys.remove(&identity);
            }
            Ok(session) => {
                self.proven = true;
                let device = Box::new(self.start_device(key, identity, session));
                self.devices.insert(key, DeviceState::Live(device));
                for (link, wish) in waiting {
                    if self.links.contains_key(&link) {
                        self.open_device_link(key, link, wish);
                    }
                }
            }
            Err(refusal) => {
                self.keys.remove(&identity);
                for (link, _) in waiting {
                    // Where the credential is checked, the refusal is logged.
                    self.refuse_quietly(link, &refusal);
                }
            }
        }
    }

    /// A link is gone: so is what hung on it.
    pub(super) fn forget(&mut self, id: LinkId) {
        let Some(link) = self.links.remove(&id) else { return };
        if let Some(key) = link.key() {
            self.forget_device_link(key, id);
        }
    }

    /// Links of the service side live as long as a token on the connection that gives the right they need.
    pub(super) fn expire_service_links(&mut self) {
        let now = self.now();
        let until = self.tokens.valid_until(Permissions::SERVICE_CONNECT).filter(|until| now <= *until);
        // In steps, so that a clock that is set is noticed.
        self.service_end = until
            .map(|until| Instant::now() + (until.since(now) + Duration::from_millis(1)).min(EXPIRY_STEP));
        if until.is_some() {
            return;
        }
        let expired: Vec<_> = self
            .links
            .iter()
            .filter(|(_, link)| matches!(link.kind, Kind::Source(_) | Kind::Sink(_)))
            .map(|(id, _)| *id)
            .collect();
        let text = "the token of the link expired; send a new one to $cbs before that";
        for link in expired {
            tracing::info!(peer = %self.peer.addr, code = %ErrorCode::IotHubUnauthorized, "link closed: its token expired");
            self.close_link(link, &Refusal::new(ErrorCode::IotHubUnauthorized, text));
        }
    }
}

/// Opens a session for the first candidate that exists.
async fn connect(
    hub: &Hub,
    candidates: Vec<(Identity, Credential)>,
    model_id: Option<String>,
) -> Result<Session, Refusal> {
    let last = candidates.len().saturating_sub(1);
    for (n, (identity, credential)) in candidates.into_iter().enumerate() {
        if n < last && hub.seams().identities.find(&identity).await?.is_none() {
            continue;
        }
        let request = ConnectRequest { identity, credential, model_id, clean_session: true, lasting: true };
        return hub.connect(request).await;
    }
    Err(no_credential())
}

fn property(attach: &Attach, name: &str) -> Option<String> {
    let (_, value) = attach.properties.iter().find(|(key, _)| &**key == name)?;
    value.as_str().map(str::to_owned)
}

fn no_such_address() -> Refusal {
    Refusal::new(
        ErrorCode::AmqpAddressNotFound,
        "there is no such address; see the documentation for link addresses",
    )
}

fn no_credential() -> Refusal {
    Refusal::new(
        ErrorCode::IotHubUnauthorized,
        "no credential for this address: send a token that covers it to $cbs first, or present a client certificate",
    )
    .because(Cause::NoCredential)
}

impl Door {
    /// What a device's link is for, or why it cannot be.
    pub(super) fn kind_of(key: Key, wish: Wish, is_module: bool) -> Result<(Kind, u32), Refusal> {
        let request = REQUEST_WINDOW;
        Ok(match (wish.node, wish.from_client) {
            (Node::Events, true) => (Kind::Telemetry(key), super::telemetry::WINDOW),
            (Node::Events, false) if is_module => (Kind::Inputs(key), 0),
            (Node::DeviceBound, false) => (Kind::Commands(key), 0),
            (Node::Twin, true) => (Kind::TwinRequests(key), request),
            (Node::Twin, false) => (Kind::TwinAnswers(key), 0),
            (Node::Methods, true) => (Kind::MethodAnswers(key), request),
            (Node::Methods, false) => (Kind::MethodCalls(key), 0),
            (Node::Events, false) | (Node::DeviceBound, true) => {
                let text = "a device sends to messages/events and receives from messages/deviceBound";
                return Err(Refusal::new(ErrorCode::OperationNotAllowedInCurrentState, text));
            }
        })
    }

    pub(super) fn session_of(&self, key: Key) -> Option<Arc<Session>> {
        match self.devices.get(&key) {
            Some(DeviceState::Live(device)) => Some(Arc::clone(&device.session)),
            _ => None,
        }
    }
}
