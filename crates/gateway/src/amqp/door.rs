//! One connection: its loop, and who gets what happens.

use super::device::{DeviceState, Then};
use super::failure;
use super::io::{Io, Moved};
use super::link::{Key, Kind, Link};
use super::provisioning::Asked;
use super::request::Answer;
use super::service::Report;
use super::telemetry::Taken;
use super::token::Tokens;
use crate::provisioning::{self, Registrant};
use crate::{Peer, Protocol, RegistrationAnswer, ServiceSink, ServiceSource, Services};
use bytes::{Bytes, BytesMut};
use bytestring::ByteString;
use futures_util::FutureExt as _;
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use ironbrook_hub::auth::refusals;
use ironbrook_hub::seams::{Clock as _, SystemClock};
use ironbrook_hub::{Credential, Delivery, Outcome, Session};
use ironbrook_model::{ErrorCode, Identity, Permissions, Refusal, SasToken, Timestamp};
use ironbrook_wire::amqp::{
    self, AmqpError, CommandError, Config, Connection, Event, LinkId, Outgoing, SaslCode, SaslRequest,
};
use prometheus_client::metrics::counter::Counter;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

/// rule AMQP-02: without MSSBCBS the C SDK and uamqp cannot connect.
const MECHANISMS: &[&str] = &["MSSBCBS", "PLAIN", "ANONYMOUS", "EXTERNAL"];
/// From the first byte to `open`.
const OPEN_TIME: Duration = Duration::from_secs(60);
/// From the first byte to a credential that holds.
const CREDENTIAL_TIME: Duration = Duration::from_secs(120);
/// A peer that takes nothing for so long is cut.
const WRITE_TIME: Duration = Duration::from_secs(60);
/// What is left for acknowledgements when the server shuts down.
const LEAVE_TIME: Duration = Duration::from_secs(5);
/// What is left for farewells after that.
const FAREWELL_TIME: Duration = Duration::from_secs(2);
/// Output above this stops everything that makes more of it.
const OUT_HIGH: usize = 512 * 1024;
/// Bytes of deliveries that are taken and not yet answered; above it nothing is read.
const IN_FLIGHT_MAX: usize = 4 * 1024 * 1024;
/// Bytes that were read and cannot be looked at yet, while credentials are checked; a whole frame is less.
const UNPARSED_MAX: usize = 128 * 1024;
/// Work under way; above it nothing is read.
const JOBS_MAX: usize = 4096;
/// Finished jobs and reports handled before output is written.
const GATHER: usize = 64;
/// Reports of service links that wait for the connection.
const REPORTS: usize = 16;
/// Longest host name (RFC 1035).
const HOST_LEN_MAX: usize = 255;
/// What a message's wrapping may add to the longest telemetry.
const WRAPPING: usize = 128 * 1024;

/// The end of something that was begun.
pub(super) enum Done {
    /// SASL PLAIN was checked.
    Plain(Result<(SasToken, Permissions), Refusal>),
    /// A put-token was checked.
    Token(SasToken, Answer, Result<Permissions, Refusal>),
    /// Nothing is to be done about it.
    Nothing,
    Connected(Key, Result<Session, Refusal>),
    /// A session has something for its device.
    Delivery(Key, Delivery),
    Performed(Key, Then, Result<Outcome, Refusal>),
    /// Telemetry is on disk, or not.
    Durable(Vec<Taken>, Result<(), Refusal>),
    /// Telemetry may be offered again.
    Room(Key, Result<(), Refusal>),
    Source(LinkId, Result<Box<dyn ServiceSource>, Refusal>),
    Sink(LinkId, Result<Box<dyn ServiceSink>, Refusal>),
    /// What a link asks for is at another address.
    Elsewhere(LinkId, Result<String, Refusal>),
    Management(Answer, Result<amqp::Message, Refusal>),
    /// SASL PLAIN of a device that wants to be provisioned was checked.
    Registrant(Result<Arc<Registrant>, Refusal>),
    /// A request of the provisioning service is done.
    Registration(Asked, Result<RegistrationAnswer, Refusal>),
}

/// One connection.
pub(super) struct Door {
    pub(super) conn: Connection,
    pub(super) services: Arc<Services>,
    pub(super) peer: Peer,
    pub(super) tokens: Tokens,
    pub(super) links: HashMap<LinkId, Link>,
    pub(super) devices: HashMap<Key, DeviceState>,
    pub(super) keys: HashMap<Identity, Key>,
    pub(super) next_key: u32,
    pub(super) jobs: FuturesUnordered<BoxFuture<'static, Done>>,
    pub(super) reports: mpsc::Sender<Report>,
    /// Devices that telemetry was taken of since the last flush.
    pub(super) touched: Vec<Key>,
    pub(super) in_flight: usize,
    /// A credential was accepted.
    pub(super) proven: bool,
    /// The device that wants to be provisioned, where it logged in with SASL PLAIN.
    pub(super) registrant: Option<Arc<Registrant>>,
    opened: bool,
    /// The host the client says it connected to.
    pub(super) host: Option<ByteString>,
    /// When the tokens that keep service links open are to be looked at.
    pub(super) service_end: Option<Instant>,
    next_tag: u64,
    pub(super) received: Counter,
    pub(super) sent: Counter,
}

impl Door {
    pub(super) fn new(services: Arc<Services>, peer: Peer) -> (Self, mpsc::Receiver<Report>) {
        let telemetry = services.hub.as_ref().map_or(256 * 1024, |hub| hub.limits().telemetry_bytes);
        let config = Config { max_message_size: (telemetry + WRAPPING) as u64, ..Config::default() };
        let (reports, inbox) = mpsc::channel(REPORTS);
        let door = Self {
            conn: Connection::server(config, MECHANISMS),
            received: services.metrics.received(Protocol::amqp),
            sent: services.metrics.sent(Protocol::amqp),
            services,
            peer,
            tokens: Tokens::default(),
            links: HashMap::new(),
            devices: HashMap::new(),
            keys: HashMap::new(),
            next_key: 0,
            jobs: FuturesUnordered::new(),
            reports,
            touched: Vec::new(),
            in_flight: 0,
            proven: false,
            registrant: None,
            opened: false,
            host: None,
            service_end: None,
            next_tag: 0,
        };
        (door, inbox)
    }

    /// Serves the connection to its end.
    pub(super) async fn run<S: AsyncRead + AsyncWrite + Unpin + Send>(
        mut self,
        stream: S,
        mut reports: mpsc::Receiver<Report>,
        cancel: CancellationToken,
    ) {
        let mut io = Io::new(stream);
        let (mut input, mut output) = (BytesMut::new(), BytesMut::new());
        let started = Instant::now();
        let (mut moved_at, mut leave_by, mut said_farewell) = (started, None, false);
        let mut next_tick = started + self.conn.tick_interval();
        loop {
            self.advance();
            if !said_farewell && leave_by.is_some_and(|by| self.in_flight == 0 || Instant::now() >= by) {
                // What was taken is acknowledged first.
                said_farewell = true;
                leave_by = Some(Instant::now() + FAREWELL_TIME);
                self.conn.close(Some(AmqpError::new("amqp:connection:forced", "the server shuts down")));
            }
            output.unsplit(self.conn.output().split());
            let over = self.conn.is_closed();
            let too_late = said_farewell && leave_by.is_some_and(|by| Instant::now() >= by);
            if too_late || (over && output.is_empty() && io.is_flushed()) {
                break;
            }
            // The peer's open may have asked for shorter ones.
            next_tick = next_tick.min(Instant::now() + self.conn.tick_interval());
            let expiry = self.service_end.filter(|at| leave_by.is_none() && *at < next_tick);
            let wake = leave_by.or(expiry).unwrap_or(next_tick);
            let calm = !over && output.len() < OUT_HIGH;
            let hungry = calm
                && self.in_flight < IN_FLIGHT_MAX
                && self.jobs.len() < JOBS_MAX
                && self.conn.input().len() < UNPARSED_MAX
                && (leave_by.is_none() || said_farewell);
            tokio::select! {
                () = cancel.cancelled(), if leave_by.is_none() => leave_by = Some(Instant::now() + LEAVE_TIME),
                moved = io.drive(hungry.then_some(&mut input), &mut output) => match moved {
                    Ok(Moved::Read) => self.conn.input().unsplit(std::mem::take(&mut input)),
                    Ok(Moved::Wrote) => moved_at = Instant::now(),
                    Ok(Moved::End) | Err(_) => break,
                },
                Some(done) = self.jobs.next(), if calm => self.finish_all(done),
                Some(report) = reports.recv(), if calm => {
                    self.on_report(report);
                    for _ in 0..GATHER {
                        let Ok(report) = reports.try_recv() else { break };
                        self.on_report(report);
                    }
                }
                () = sleep_until(wake), if expiry.is_some() => self.expire_service_links(),
                () = sleep_until(wake), if expiry.is_none() => {
                    next_tick = Instant::now() + self.conn.tick_interval();
                    if !output.is_empty() && moved_at.elapsed() > WRITE_TIME {
                        tracing::debug!(peer = %self.peer.addr, "client takes no data and is cut");
                        break;
                    }
                    if !hungry {
                        // It may well have spoken: we did not listen.
                        self.conn.excuse_silence();
                    }
                    if leave_by.is_none() {
                        self.on_tick(started.elapsed());
                    }
                }
            }
            if output.is_empty() {
                moved_at = Instant::now();
            }
        }
        let _ = timeout(FAREWELL_TIME, io.shutdown()).await;
    }

    /// Handles all that was read.
    fn advance(&mut self) {
        loop {
            match self.conn.poll() {
                Ok(Some(event)) => self.on_event(event),
                Ok(None) => break,
                Err(violation) => {
                    tracing::warn!(peer = %self.peer.addr, reason = %violation, "client cut: it breaks the protocol");
                    break;
                }
            }
        }
        self.flush_telemetry();
    }

    fn on_event(&mut self, event: Event) {
        match event {
            Event::Sasl(request) => self.on_sasl(&request),
            Event::Opened(open) => {
                self.opened = true;
                self.host = open.hostname.filter(|host| !host.is_empty() && host.len() <= HOST_LEN_MAX);
            }
            Event::AttachRequested(link, attach) => self.on_attach(link, &attach),
            Event::Detached(link, error) => {
                if let Some(error) = error {
                    tracing::debug!(peer = %self.peer.addr, %error, "link detached with an error");
                }
                self.forget(link);
            }
            Event::Credit(link) => self.on_credit(link),
            Event::Delivery(delivery) => self.on_delivery(delivery),
            Event::Disposition { link, id, tag, state, settled } => {
                self.on_disposition(link, id, &tag, state, settled);
            }
            Event::Closed(Some(error)) => {
                tracing::debug!(peer = %self.peer.addr, %error, "client closed with an error");
            }
            // Sessions tell their links one by one; the rest needs nothing.
            _ => {}
        }
    }

    /// SASL proves something only with PLAIN and EXTERNAL; after the others tokens come by CBS.
    fn on_sasl(&mut self, request: &SaslRequest) {
        match &*request.mechanism {
            "MSSBCBS" | "ANONYMOUS" => self.conn.sasl_outcome(SaslCode::Ok),
            "EXTERNAL" if !self.peer.certificates.is_empty() => self.conn.sasl_outcome(SaslCode::Ok),
            "PLAIN" if request.plain().is_some_and(|(user, _)| provisioning::of_address(user).is_some()) => {
                let found = request.plain().and_then(|(user, password)| {
                    let (scope, id) = provisioning::of_address(user)?;
                    Some((scope, id, SasToken::parse(password).ok()?))
                });
                match found {
                    Some((scope, id, token)) => self.on_plain_registrant(scope, id, Credential::Sas(token)),
                    None => self.refuse_sasl("the password is not a SAS token"),
                }
            }
            "PLAIN" => {
                let token = request.plain().and_then(|(_, password)| SasToken::parse(password).ok());
                let Some(token) = token else {
                    return self.refuse_sasl("the password is not a SAS token");
                };
                let (services, origin) = (Arc::clone(&self.services), self.peer.origin("amqp"));
                self.jobs.push(
                    async move {
                        let checked = refusals::from(origin, super::token::check(&services, &token)).await;
                        Done::Plain(checked.map(|rights| (token, rights)))
                    }
                    .boxed(),
                );
            }
            _ => self.refuse_sasl("no client certificate was presented"),
        }
    }

    fn refuse_sasl(&mut self, reason: &str) {
        let code = ErrorCode::IotHubUnauthorized;
        tracing::warn!(peer = %self.peer.addr, %code, reason, "client refused");
        self.services.metrics.refused(Protocol::amqp, code);
        self.conn.sasl_outcome(SaslCode::Auth);
    }

    fn on_delivery(&mut self, delivery: amqp::Delivery) {
        let Some(link) = self.links.get_mut(&delivery.link) else { return };
        link.outstanding += 1;
        self.in_flight += delivery.payload.len();
        match &link.kind {
            Kind::Telemetry(key) => {
                let key = *key;
                self.take_telemetry(key, delivery);
            }
            Kind::TwinRequests(key) => {
                let key = *key;
                self.on_twin_request(key, &delivery);
            }
            Kind::MethodAnswers(key) => {
                let key = *key;
                self.on_method_answer(key, &delivery);
            }
            Kind::TokenRequests => self.on_token(&delivery),
            Kind::ManagementRequests => self.on_management(&delivery),
            Kind::RegistrationRequests(registrant) => {
                let registrant = Arc::clone(registrant);
                self.on_registration(registrant, &delivery);
            }
            Kind::Sink(_) => self.on_sink(delivery),
            // The engine lets nothing through on links that we send on.
            _ => self.answered(delivery.link, delivery.payload.len()),
        }
    }

    /// A delivery is answered: makes room for the next.
    pub(super) fn answered(&mut self, id: LinkId, len: usize) {
        self.in_flight = self.in_flight.saturating_sub(len);
        let Some(link) = self.links.get_mut(&id) else { return };
        link.outstanding = link.outstanding.saturating_sub(1);
        let taken = self.conn.credit(id) + link.outstanding;
        if taken <= link.window / 2 {
            self.conn.set_credit(id, link.window - link.outstanding);
        }
    }

    fn finish_all(&mut self, first: Done) {
        self.finish(first);
        for _ in 0..GATHER {
            let Some(Some(done)) = self.jobs.next().now_or_never() else { return };
            self.finish(done);
        }
    }

    fn finish(&mut self, done: Done) {
        match done {
            Done::Nothing => {}
            Done::Plain(result) => self.on_plain(result),
            Done::Token(token, answer, result) => self.on_token_checked(token, &answer, result),
            Done::Connected(key, result) => self.on_connected(key, result),
            Done::Delivery(key, delivery) => self.on_device_delivery(key, delivery),
            Done::Performed(key, then, result) => self.on_performed(key, then, result),
            Done::Durable(taken, result) => self.on_durable(&taken, result),
            Done::Room(key, result) => self.on_room(key, result),
            Done::Source(link, result) => self.on_source(link, result),
            Done::Sink(link, result) => self.on_sink_open(link, result),
            Done::Elsewhere(link, result) => self.on_elsewhere(link, result),
            Done::Management(answer, result) => self.on_management_answer(&answer, result),
            Done::Registrant(result) => self.on_registrant(result),
            Done::Registration(asked, result) => self.on_registration_done(asked, result),
        }
    }

    fn on_plain(&mut self, result: Result<(SasToken, Permissions), Refusal>) {
        match result.and_then(|(token, rights)| self.tokens.insert(token, rights, self.now())) {
            Ok(()) => {
                self.proven = true;
                self.expire_service_links();
                self.conn.sasl_outcome(SaslCode::Ok);
            }
            Err(refusal) => {
                tracing::debug!(peer = %self.peer.addr, code = %refusal.code, "SASL PLAIN refused");
                self.services.metrics.refused(Protocol::amqp, refusal.code);
                self.conn.sasl_outcome(SaslCode::Auth);
            }
        }
    }

    fn on_tick(&mut self, age: Duration) {
        // An engine that gives up has said why in its output.
        if let Err(violation) = self.conn.tick() {
            tracing::debug!(peer = %self.peer.addr, reason = %violation, "client cut");
        }
        if !self.opened && age > OPEN_TIME {
            self.conn.abort();
        }
        if !self.proven && age > CREDENTIAL_TIME {
            tracing::warn!(peer = %self.peer.addr, code = %ErrorCode::IotHubUnauthorized,
                reason = "no credential came in time", "client cut");
            let text = "no credential came in time; send put-token to $cbs, or present a client certificate";
            self.conn.close(Some(AmqpError::new("amqp:unauthorized-access", text)));
            self.conn.abort();
        }
        self.expire_service_links();
    }

    /// The time of day as the hub has it.
    pub(super) fn now(&self) -> Timestamp {
        match &self.services.hub {
            Some(hub) => hub.seams().clock.now(),
            None => SystemClock.now(),
        }
    }

    /// Sends a message under a tag of its own; lost only where the link is.
    pub(super) fn send(&mut self, link: LinkId, message: &amqp::Message) {
        self.next_tag += 1;
        let tag = Bytes::copy_from_slice(&self.next_tag.to_be_bytes());
        // Told where it fails.
        let _ = self.send_tagged(link, tag, true, message);
    }

    /// Sends a message; an error where the link does not take it, or not any more.
    pub(super) fn send_tagged(
        &mut self,
        link: LinkId,
        tag: Bytes,
        settled: bool,
        message: &amqp::Message,
    ) -> Result<(), CommandError> {
        let outgoing = Outgoing { tag, format: 0, settled, payload: message.to_bytes() };
        let result = self.conn.send(link, outgoing);
        match &result {
            Ok(()) => _ = self.sent.inc(),
            Err(CommandError::Full) => {
                let text = "more messages wait for credit than are kept; grant credit";
                self.close_link(link, &Refusal::new(ErrorCode::ServerBusy, text));
            }
            Err(error) => tracing::debug!(peer = %self.peer.addr, %error, "message not sent"),
        }
        result
    }

    /// Detaches a link with the reason.
    pub(super) fn close_link(&mut self, link: LinkId, why: &Refusal) {
        self.conn.detach(link, Some(failure::error(why, self.now())));
        self.forget(link);
    }
}
