//! The handle of the core.

use crate::auth::Auth;
use crate::burst::Burst;
use crate::input::{self, InputOutcome};
use crate::operation::{MethodAnswer, MethodCall, Operation, Outcome};
use crate::orphans::Orphans;
use crate::seams::{DesiredChange, Fabric, Routed, Seams};
use crate::session::Session;
use crate::throttle::Throttles;
use crate::{Limits, Metrics, Router, connection_state, mailbox, method, perform, telemetry};
use ironbrook_log::{PartitionId, Ticket};
use ironbrook_model::{ErrorCode, Identity, Message, MessageSource, Refusal, SasToken};
use std::sync::Arc;
use tokio::runtime::Handle;
use tokio_util::task::TaskTracker;

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
    /// A bridge of this very process speaks for the identity, by the operator's configuration. No peer can show it.
    Bridge(BridgeName),
}

/// The name of a bridge, for logs and for the properties of what it brings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BridgeName(std::borrow::Cow<'static, str>);

impl BridgeName {
    /// A bridge of this name.
    pub fn new(name: impl Into<std::borrow::Cow<'static, str>>) -> Self {
        Self(name.into())
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
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

/// What all handles and sessions of a hub share.
pub(crate) struct Core {
    pub(crate) auth: Auth,
    pub(crate) seams: Seams,
    pub(crate) router: Router,
    pub(crate) limits: Limits,
    pub(crate) throttles: Throttles,
    pub(crate) metrics: Metrics,
    pub(crate) orphans: Orphans,
    /// Tasks that outlive their session: locks being released.
    pub(crate) tasks: TaskTracker,
    pub(crate) runtime: Handle,
}

/// The core. Cheap to clone.
#[derive(Clone)]
pub struct Hub {
    core: Arc<Core>,
}

impl Hub {
    /// Puts a hub together. Must be called within a tokio runtime.
    pub fn new(config: Config, seams: Seams, router: Router, metrics: Metrics) -> Self {
        listen(&seams);
        router.attach(&seams.twins);
        let auth =
            Auth::new(config.name, &config.hosts, Arc::clone(&seams.identities), Arc::clone(&seams.clock));
        let (tasks, runtime) = (TaskTracker::new(), Handle::current());
        let (limits, orphans) = (config.limits, Orphans::default());
        let throttles = Throttles::new(&limits, Arc::clone(&seams.clock));
        let core = Core { auth, seams, router, limits, throttles, metrics, orphans, tasks, runtime };
        Self { core: Arc::new(core) }
    }

    /// What it takes at most.
    pub fn limits(&self) -> &Limits {
        &self.core.limits
    }

    /// What it takes in a while, for doors and the service API.
    pub fn throttles(&self) -> &Throttles {
        &self.core.throttles
    }

    /// The routes, to replace them.
    pub fn router(&self) -> &Router {
        &self.core.router
    }

    /// The counters.
    pub fn metrics(&self) -> &Metrics {
        &self.core.metrics
    }

    /// Authentication, for doors and the service API.
    pub fn auth(&self) -> &Auth {
        &self.core.auth
    }

    /// The seams it was built on.
    pub fn seams(&self) -> &Seams {
        &self.core.seams
    }

    /// Checks identity and credential, claims the identity, and opens a session.
    pub async fn connect(&self, request: ConnectRequest) -> Result<Session, Refusal> {
        let session = Session::open(Arc::clone(&self.core), request).await;
        match &session {
            Ok(_) => self.core.metrics.connects.inc(),
            Err(_) => self.core.metrics.connects_refused.inc(),
        };
        session
    }

    /// Checks a new credential of a session's identity and puts it in the old one's place (AMQP put-token refresh).
    /// A refused one changes nothing.
    pub async fn renew(&self, session: &Session, credential: Credential) -> Result<(), Refusal> {
        let checked = self.core.auth.device(session.identity(), &credential).await?;
        if checked.through.as_ref() != session.through() {
            return Err(Refusal::new(
                ErrorCode::IotHubUnauthorized,
                "the new token is of another owner than the connection's; connect again with it",
            ));
        }
        session.replace_credential(credential, checked.refused_from);
        Ok(())
    }

    /// Takes telemetry in: limits, system properties, routes, log. Not durable yet; `None` if no queue wanted it (dropped and
    /// counted), in which case it may be acknowledged at once. No await, no lock across it: doors call this for each
    /// message of a read and then wait once with [`durable`](Self::durable) for the last ticket: a session's tickets are all
    /// in one partition and in order, so the last one covers all. `Err` with 503005 or 429 codes means back-pressure: wait for
    /// [`room`](Self::room) and offer the same message again.
    pub fn telemetry(&self, session: &Session, message: &Message) -> Result<Option<Ticket>, Refusal> {
        telemetry::accept(&self.core, session, message)
    }

    /// Begins to take telemetry of a session that arrived together, see [`Burst`].
    pub fn burst<'a>(&'a self, session: &'a Session) -> Burst<'a> {
        Burst::begin(&self.core, session)
    }

    /// Takes an MQTT will in as telemetry of a session that may be over already: superseded, or ended by its token.
    pub fn will(&self, session: &Session, message: &Message) -> Result<Option<Ticket>, Refusal> {
        telemetry::accept_will(&self.core, session, message)
    }

    /// Waits until a ticket's record and all before it in its partition are on disk. Cancel-safe.
    pub async fn durable(&self, ticket: Ticket) -> Result<(), Refusal> {
        self.core.seams.log.durable(ticket).await.map_err(telemetry::log_refusal)
    }

    /// Waits until telemetry of the session may be accepted again.
    pub async fn room(&self, session: &Session) -> Result<(), Refusal> {
        self.core.router.load_twin(MessageSource::DeviceMessages, session.identity()).await?;
        self.core.throttles.room(session.rate()).await;
        self.core.seams.log.room(session.partition()).await.map_err(telemetry::log_refusal)
    }

    /// Does one operation to the end. Not cancel-safe: run it to the end.
    pub async fn perform(&self, session: &Session, operation: Operation) -> Result<Outcome, Refusal> {
        perform::perform(self, &self.core, session, operation).await
    }

    /// Calls a direct method on a device, for the service API. 400004 for values out of range, 404001 or 404010 for an unknown
    /// identity, 404103 not online, 403800 too many unanswered, 504101 no answer in time.
    pub async fn invoke_method(&self, target: &Identity, call: MethodCall) -> Result<MethodAnswer, Refusal> {
        method::invoke(&self.core, target, call).await
    }

    /// Hands messages to an input of a module, in order, and waits until each is settled; no more than
    /// [`INPUTS_UNSETTLED_MAX`](crate::input::INPUTS_UNSETTLED_MAX) of a session are unsettled at a time.
    ///
    /// Where one is given back, or the module settles none for [`Limits::input_ack_timeout`], nothing more of this call is
    /// delivered; what the module has already may still be settled within that time, and is then reported as such. Cancel-safe:
    /// dropped, it takes back what is out, and what was settled until then is not told.
    pub async fn deliver_inputs(&self, to: &Identity, input: &str, messages: &[Routed]) -> InputOutcome {
        input::deliver(&self.core, to, input, messages).await
    }

    /// Waits until a module is connected and takes inputs. Cancel-safe.
    pub async fn inputs_ready(&self, to: &Identity) {
        self.core.seams.fabric.inputs_ready(to).await;
    }

    /// Publishes an event that is not telemetry (twin change, lifecycle, connection state, job) to the routes.
    ///
    /// 503005 is back-pressure: wait for [`event_room`](Self::event_room) and offer the same event again.
    pub fn publish(
        &self,
        source: MessageSource,
        about: &Identity,
        message: &Message,
    ) -> Result<Option<Ticket>, Refusal> {
        telemetry::publish(&self.core, source, about, message)
    }

    /// Waits until an event about an identity may be published.
    pub async fn event_room(&self, source: MessageSource, about: &Identity) -> Result<(), Refusal> {
        self.core.router.load_twin(source, about).await?;
        let log = &self.core.seams.log;
        log.room(telemetry::partition_of(about, log.partitions())).await.map_err(telemetry::log_refusal)
    }

    /// The partition of the log that a device and its modules write to.
    pub fn partition_of(&self, identity: &Identity) -> PartitionId {
        telemetry::partition_of(identity, self.core.seams.log.partitions())
    }

    /// Whether an identity has a lasting connection.
    pub fn is_connected(&self, identity: &Identity) -> bool {
        self.core.seams.fabric.find(identity).is_some()
    }

    /// Closes all sessions and waits until their locks are released. Doors must let go of their sessions for that.
    pub async fn close(&self) {
        self.core.seams.fabric.close_all(&connection_state::shutting_down());
        self.core.tasks.close();
        self.core.tasks.wait().await;
    }
}

/// Passes news of twins and identities on to sessions.
fn listen(seams: &Seams) {
    let fabric = Arc::clone(&seams.fabric);
    seams.identities.listen(Box::new(move |identity| fabric.changed(identity)));
    let fabric = Arc::clone(&seams.fabric);
    seams.identities.listen_authorities(Box::new(move || fabric.all_changed()));
    let fabric = Arc::clone(&seams.fabric);
    seams.twins.listen(Box::new(move |change| notify(&*fabric, change)));
}

fn notify(fabric: &dyn Fabric, change: &DesiredChange) {
    let Some((_, mailbox)) = fabric.find(&change.identity) else { return };
    if !mailbox.takes_desired() {
        return;
    }
    let delivery =
        crate::Delivery::DesiredProperties { version: change.version, patch: change.patch.clone() };
    if mailbox.deliver(delivery).is_err() {
        // A gap would leave the device with a wrong twin for ever; after reconnecting it reads the whole.
        tracing::warn!(code = %ErrorCode::DeviceThrottlingLimitExceeded, identity = %change.identity,
            reason = "it does not read its desired properties", "closing a session");
        mailbox.close(mailbox::too_far_behind());
    }
}
