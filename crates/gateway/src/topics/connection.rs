//! A connection after CONNACK: one loop that reads much, parses all of it, and answers once.

mod incoming;
mod outgoing;

use super::answers::Answers;
use super::enhanced::Proven;
use super::login::Login;
use super::speech::{Speech, Unwritten};
use super::{Topics, convert, farewell};
use crate::packet_io::{Event, Io};
use crate::{Peer, Protocol, Services};
use bytestring::ByteString;
use futures_util::future::BoxFuture;
use incoming::Request;
use ironbrook_hub::seams::Clock;
use ironbrook_model::Timestamp;
use ironbrook_pubsub::{Broker, Reason, SessionHandle, Wakes};
use ironbrook_wire::mqtt::PacketType;
use ironbrook_wire::mqtt::v5::ReasonCode;
use prometheus_client::metrics::counter::Counter;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, Sleep};
use tokio_util::sync::{CancellationToken, ReusableBoxFuture};

/// Output waiting to be written at which no more messages are added to it.
const OUTPUT_MAX: usize = 64 * 1024;
/// Output waiting to be written at which nothing more is read. Above the other bound, so that a client that is slow to take its
/// messages can still acknowledge them.
const OUTPUT_BLOCKS: usize = 2 * OUTPUT_MAX;
/// How long a client may take nothing while output waits.
const STUCK_TIME: Duration = Duration::from_secs(30);
/// How long acknowledgements are waited for at a stop.
const DRAIN_TIME: Duration = Duration::from_secs(5);
/// A client that said nothing for so long is not one of those that make the load.
const QUIET_TIME: Duration = Duration::from_millis(20);
/// What the first byte of a PUBLISH is, but for its flags.
const PUBLISH: u8 = 0x30;
/// How long the timer sleeps where nothing is due.
const IDLE_TIME: Duration = Duration::from_secs(24 * 60 * 60);

/// Why a connection ends.
#[derive(Debug)]
enum End {
    /// The client said DISCONNECT.
    Disconnected { with_will: bool, expiry: Option<u32> },
    /// The stream ended or failed.
    Lost(Option<std::io::Error>),
    /// Nothing was heard for so long.
    Silent(Duration),
    /// The client takes nothing.
    Stuck,
    /// The client broke a rule.
    Fault { code: ReasonCode, text: String },
    /// The broker ends it.
    Broker(Reason),
    /// What the client proved itself with is over.
    Expired,
    /// The process stops.
    Shutdown,
}

impl From<std::io::Error> for End {
    fn from(error: std::io::Error) -> Self {
        Self::Lost(Some(error))
    }
}

impl From<Unwritten> for End {
    fn from(error: Unwritten) -> Self {
        let text = format!("an answer cannot be written: {error}");
        Self::Fault { code: ReasonCode::PacketTooLarge, text }
    }
}

/// What waits until the journal has room.
struct Stalled {
    /// What to do then; nothing where messages could not be taken out.
    request: Option<Request>,
    room: BoxFuture<'static, Result<(), Reason>>,
}

pub(super) struct Connection<S> {
    io: Io<S>,
    speech: Speech,
    broker: Broker,
    clock: Arc<dyn Clock>,
    session: SessionHandle,
    answers: Answers,
    /// Whether the disk is waited for, and the wait.
    awaited: bool,
    durable: ReusableBoxFuture<'static, Result<(), Reason>>,
    stalled: Option<Stalled>,
    /// PUBACKs that left since the broker was last told.
    freed: u16,
    received: Counter,
    sent: Counter,
    silence: Option<Duration>,
    heard: Instant,
    /// Since when output waits without any of it going out.
    stuck: Option<Instant>,
    until: Option<Timestamp>,
    proven: Option<Box<Proven>>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    pub(super) fn new(
        io: Io<S>,
        topics: &Topics,
        login: Login,
        session: SessionHandle,
        services: &Services,
    ) -> Self {
        Self {
            io,
            speech: login.speech,
            broker: topics.broker.clone(),
            clock: topics.clock.clone(),
            session,
            answers: Answers::default(),
            awaited: false,
            durable: ReusableBoxFuture::new(std::future::pending()),
            stalled: None,
            freed: 0,
            received: services.metrics.received(Protocol::mqtt),
            sent: services.metrics.sent(Protocol::mqtt),
            silence: login.silence,
            heard: Instant::now(),
            stuck: None,
            until: login.until,
            proven: login.proven.map(|(proven, _)| Box::new(proven)),
        }
    }

    /// Serves to the end.
    pub(super) async fn serve(mut self, client_id: &ByteString, peer: &Peer, cancel: &CancellationToken) {
        let end = self.run(cancel).await;
        let Self { mut io, session, speech, clock, .. } = self;
        log(&end, client_id, peer);
        // [MQTT-3.1.2-8], [MQTT-3.1.2-10], [MQTT-3.14.4-3] of 5.0: only a client that says so leaves no will.
        let (with_will, expiry) = match end {
            End::Disconnected { with_will, expiry } => (with_will, expiry),
            _ => (true, None),
        };
        let left = session.disconnect(with_will, expiry, clock.now());
        let (code, text) = match (left, &end) {
            (Err(reason), _) => {
                (convert::reason_code(reason, PacketType::Disconnect), Some(reason.to_string()))
            }
            (Ok(()), End::Disconnected { .. }) => {
                let _ = tokio::time::timeout(DRAIN_TIME, io.shutdown()).await;
                return;
            }
            (Ok(()), End::Lost(_) | End::Stuck) => return,
            (Ok(()), End::Silent(_)) => (ReasonCode::KeepAliveTimeout, None),
            (Ok(()), End::Fault { code, text }) => (*code, Some(text.clone())),
            (Ok(()), End::Broker(reason)) => {
                (convert::reason_code(*reason, PacketType::Disconnect), Some(reason.to_string()))
            }
            (Ok(()), End::Expired) => (ReasonCode::NotAuthorized, Some(describe(&end))),
            (Ok(()), End::Shutdown) => (ReasonCode::ServerShuttingDown, None),
        };
        let code = if code.is_allowed_in(PacketType::Disconnect) { code } else { ReasonCode::ProtocolError };
        if io.put_with(|out| speech.disconnect(code, text, out)).is_ok() {
            farewell(io).await;
        }
    }

    /// Serves until the connection has to end, and says why.
    async fn run(&mut self, cancel: &CancellationToken) -> End {
        let cancelled = cancel.cancelled();
        tokio::pin!(cancelled);
        let timer = tokio::time::sleep_until(self.next_look());
        tokio::pin!(timer);
        loop {
            if let Err(end) = self.advance() {
                return end;
            }
            let may_read = !self.is_blocked();
            self.watch_output(timer.as_mut());
            let step = tokio::select! {
                biased;
                () = &mut cancelled => return self.drain().await,
                result = poll_fn(|cx| self.durable.poll(cx)), if self.awaited => self.on_durable(result),
                result = room(&mut self.stalled), if self.stalled.is_some() => self.on_room(result),
                () = self.session.rung() => Ok(()),
                event = self.io.drive(may_read) => {
                    let was_quiet = self.heard.elapsed() > QUIET_TIME;
                    let step = self.on_event(event);
                    if was_quiet && self.is_at_publish() {
                        tokio::task::yield_now().await;
                    }
                    step
                }
                () = &mut timer => self.on_timer(timer.as_mut()),
            };
            if let Err(end) = step {
                return end;
            }
        }
    }

    /// Whether a PUBLISH is next. Of sockets that became readable together the runtime serves the last one first; but who
    /// subscribed a moment before a publish expects it. So a first PUBLISH steps back once, for what was there before it.
    fn is_at_publish(&self) -> bool {
        self.io.first_byte().is_some_and(|byte| byte & 0xf0 == PUBLISH)
    }

    /// Answers what may be, parses what was read, takes out messages, and starts to wait for the disk.
    fn advance(&mut self) -> Result<(), End> {
        let now = self.clock.now();
        self.answer()?;
        let mut wakes = Wakes::new();
        let parsed = self.parse(now, &mut wakes);
        wakes.flush();
        parsed?;
        self.answer()?;
        self.deliver(now)?;
        self.await_disk();
        Ok(())
    }

    /// Begins to wait for the disk where an answer needs that.
    fn await_disk(&mut self) {
        if !self.awaited
            && let Some(mark) = self.answers.awaited()
        {
            let broker = self.broker.clone();
            self.durable.set(async move { broker.durable(mark).await });
            self.awaited = true;
        }
    }

    /// Whether nothing more may be taken from the client for now.
    fn is_blocked(&self) -> bool {
        self.stalled.is_some() || self.answers.is_full() || self.io.pending() >= OUTPUT_BLOCKS
    }

    fn on_event(&mut self, event: std::io::Result<Event>) -> Result<(), End> {
        match event? {
            Event::Read(0) => return Err(End::Lost(None)),
            Event::Read(_) => self.heard = Instant::now(),
            Event::Wrote => self.stuck = None,
        }
        Ok(())
    }

    fn on_durable(&mut self, result: Result<(), Reason>) -> Result<(), End> {
        self.awaited = false;
        result.map_err(End::Broker)
    }

    /// Does again what the journal had no room for.
    fn on_room(&mut self, result: Result<(), Reason>) -> Result<(), End> {
        result.map_err(End::Broker)?;
        match self.stalled.take().and_then(|stalled| stalled.request) {
            Some(request) => self.perform(request, self.clock.now(), &mut Wakes::new()),
            None => Ok(()),
        }
    }

    fn stall(&mut self, request: Option<Request>) {
        let broker = self.broker.clone();
        self.stalled = Some(Stalled { request, room: Box::pin(async move { broker.room().await }) });
    }

    /// When the timer has to look at the connection next.
    fn next_look(&self) -> Instant {
        let now = Instant::now();
        let until = self.until.map(|until| now + until.since(self.clock.now()).min(IDLE_TIME));
        let silent = self.silence.map(|silence| self.heard + silence);
        let stuck = self.stuck.map(|since| since + STUCK_TIME);
        [until, silent, stuck].into_iter().flatten().min().unwrap_or(now + IDLE_TIME)
    }

    fn on_timer(&mut self, timer: Pin<&mut Sleep>) -> Result<(), End> {
        let now = Instant::now();
        if self.is_blocked() {
            // Nothing was read, so the client's silence is ours.
            self.heard = now;
        }
        if let Some(silence) = self.silence.filter(|silence| now >= self.heard + *silence) {
            return Err(End::Silent(silence));
        }
        if self.stuck.is_some_and(|since| now >= since + STUCK_TIME) {
            return Err(End::Stuck);
        }
        if self.until.is_some_and(|until| self.clock.now() >= until) {
            return Err(End::Expired);
        }
        timer.reset(self.next_look());
        Ok(())
    }

    /// Notices when output begins to wait, and has the timer look at it.
    fn watch_output(&mut self, timer: Pin<&mut Sleep>) {
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

    /// Takes nothing more, but acknowledges what was taken.
    async fn drain(&mut self) -> End {
        let deadline = Instant::now() + DRAIN_TIME;
        while !self.answers.is_empty() || !self.io.is_flushed() {
            let step = tokio::select! {
                result = poll_fn(|cx| self.durable.poll(cx)), if self.awaited => self.on_durable(result),
                event = self.io.drive(false) => self.on_event(event),
                () = tokio::time::sleep_until(deadline) => break,
            };
            if step.and_then(|()| self.answer()).is_err() {
                break;
            }
            self.await_disk();
        }
        End::Shutdown
    }
}

/// Waits for room for what is stalled.
async fn room(stalled: &mut Option<Stalled>) -> Result<(), Reason> {
    match stalled {
        Some(stalled) => stalled.room.as_mut().await,
        None => std::future::pending().await,
    }
}

fn log(end: &End, client_id: &ByteString, peer: &Peer) {
    match end {
        End::Disconnected { .. } | End::Lost(_) | End::Shutdown | End::Broker(Reason::SessionTakenOver) => {
            tracing::debug!(%client_id, peer = %peer.addr, reason = %describe(end), "disconnected");
        }
        _ => tracing::warn!(%client_id, peer = %peer.addr, reason = %describe(end), "client disconnected"),
    }
}

fn describe(end: &End) -> String {
    match end {
        End::Disconnected { .. } => "the client said goodbye".to_owned(),
        End::Lost(None) => "the connection was closed without DISCONNECT".to_owned(),
        End::Lost(Some(error)) => format!("the connection failed: {error}"),
        End::Silent(silence) => {
            format!("nothing was heard for {silence:?}, which is one and a half keep-alive intervals")
        }
        End::Stuck => "it takes nothing of what is sent to it".to_owned(),
        End::Fault { text, .. } => text.clone(),
        End::Broker(reason) => reason.to_string(),
        End::Expired => "the token it connected with is expired; connect with a new one".to_owned(),
        End::Shutdown => "the broker stops".to_owned(),
    }
}
