//! The handle of the core.

use crate::auth::Auth;
use crate::operation::{Delivery, MethodAnswer, MethodCall, Operation, Outcome};
use crate::seams::Seams;
use crate::{Limits, Metrics, Router};
use ironbrook_log::Ticket;
use ironbrook_model::{Identity, Message, MessageSource, Refusal, SasToken, Timestamp};

/// What a hub is.
#[derive(Debug, Clone)]
pub struct Config {
    /// Its short name, used in storage names, as Event Hubs entity and in events.
    pub name: String,
    /// All host names it answers to, as tokens may name them.
    pub hosts: Vec<String>,
    /// What it takes at most.
    pub limits: Limits,
}

/// How a peer proves who it is.
#[derive(Debug, Clone)]
pub enum Credential {
    /// A SAS token.
    Sas(SasToken),
    /// A TLS client certificate, already proven to be held by the peer, DER, leaf first.
    Certificate(Vec<bytes::Bytes>),
}

/// A wish to act as an identity.
#[derive(Debug, Clone)]
pub struct ConnectRequest {
    /// As whom.
    pub identity: Identity,
    /// With what proof.
    pub credential: Credential,
    /// The plug-and-play model id announced, if any.
    pub model_id: Option<String>,
    /// MQTT clean session 1: nothing is pushed before a subscription.
    pub clean_session: bool,
    /// True for a lasting connection, which claims the identity; false for a single HTTP request, which does not.
    pub lasting: bool,
}

/// The core. Cheap to clone.
#[derive(Clone)]
pub struct Hub {
    _private: (),
}

/// An authenticated identity's stay. Dropping it gives the claim up and releases its locks.
pub struct Session {
    _private: (),
}

impl Session {
    /// Who.
    pub fn identity(&self) -> &Identity {
        unimplemented!()
    }

    /// When the credential ends; `None` for certificates. The session closes itself then, with a [`Delivery::Closed`].
    pub fn expires(&self) -> Option<Timestamp> {
        unimplemented!()
    }

    /// The next thing for the device; pulls from the inbox only while subscribed and within the window of 10 unsettled
    /// messages. After [`Delivery::Closed`] it waits for ever. Cancel-safe.
    pub async fn next(&self) -> Delivery {
        unimplemented!()
    }

    /// Replaces the credential of the same identity (AMQP put-token refresh) without a new session.
    pub fn renew(&self, _credential_expires: Option<Timestamp>) {
        unimplemented!()
    }
}

impl Hub {
    /// Puts a hub together. Must be called within a tokio runtime.
    pub fn new(_config: Config, _seams: Seams, _router: Router, _metrics: Metrics) -> Self {
        unimplemented!()
    }

    /// What it takes at most.
    pub fn limits(&self) -> &Limits {
        unimplemented!()
    }

    /// The routes, to replace them.
    pub fn router(&self) -> &Router {
        unimplemented!()
    }

    /// Closes all sessions and waits until their locks are released.
    pub async fn close(&self) {
        unimplemented!()
    }

    /// Authentication, for doors and the service API.
    pub fn auth(&self) -> &Auth {
        unimplemented!()
    }

    /// The seams it was built on.
    pub fn seams(&self) -> &Seams {
        unimplemented!()
    }

    /// Checks identity and credential, claims the identity, and opens a session.
    pub async fn connect(&self, _request: ConnectRequest) -> Result<Session, Refusal> {
        unimplemented!()
    }

    /// Takes telemetry in: limits, system properties, routes, log. Not durable yet; `None` if no queue wanted it (dropped and
    /// counted), in which case it may be acknowledged at once. No await, no lock across it: doors call this for each
    /// message of a read and then wait once with [`durable`](Self::durable) for the last ticket: a session's tickets are all
    /// in one partition and in order, so the last one covers all. `Err` with 503005 or 429 codes means back-pressure: wait for
    /// [`room`](Self::room) and offer the same message again.
    pub fn telemetry(&self, _session: &Session, _message: &Message) -> Result<Option<Ticket>, Refusal> {
        unimplemented!()
    }

    /// Waits until a ticket's record and all before it in its partition are on disk. Cancel-safe.
    pub async fn durable(&self, _ticket: Ticket) -> Result<(), Refusal> {
        unimplemented!()
    }

    /// Waits until telemetry of the session may be accepted again.
    pub async fn room(&self, _session: &Session) -> Result<(), Refusal> {
        unimplemented!()
    }

    /// Does one operation to the end. Not cancel-safe: run it to the end.
    pub async fn perform(&self, _session: &Session, _operation: Operation) -> Result<Outcome, Refusal> {
        unimplemented!()
    }

    /// Calls a direct method on a device, for the service API.
    pub async fn invoke_method(
        &self,
        _target: &Identity,
        _call: MethodCall,
    ) -> Result<MethodAnswer, Refusal> {
        unimplemented!()
    }

    /// Publishes an event that is not telemetry (twin change, lifecycle, connection state) to the routes.
    pub fn publish(
        &self,
        _source: MessageSource,
        _about: &Identity,
        _message: &Message,
    ) -> Result<Option<Ticket>, Refusal> {
        unimplemented!()
    }

    /// Whether an identity has a lasting connection.
    pub fn is_connected(&self, _identity: &Identity) -> bool {
        unimplemented!()
    }
}
