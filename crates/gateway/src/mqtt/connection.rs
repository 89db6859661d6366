//! A connection after CONNACK: one loop that reads much, parses all of it, and answers once.

mod ending;
mod incoming;
mod outgoing;

use super::End;
use super::address::Addresses;
use super::bell::Bell;
use super::intake::Intake;
use super::io::{Event, Io};
use super::login::{Login, Will};
use super::operations::{Operations, Request};
use super::outgoing::Outgoing;
use super::served::{Served, Wakers};
use crate::{Metrics, Protocol};
use ironbrook_hub::{ConnectRequest, Hub, LockToken, Session, Settlement};
use ironbrook_model::Identity;
use ironbrook_wire::mqtt::v4::{Packet, QoS};
use prometheus_client::metrics::counter::Counter;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, Sleep};
use tokio_util::sync::CancellationToken;

/// Output waiting to be written at which nothing more is read or delivered.
const OUTPUT_MAX: usize = 64 * 1024;
/// How long a client may take nothing while output waits.
const STUCK_TIME: Duration = Duration::from_secs(30);

pub(super) struct Connection<S> {
    io: Io<S>,
    hub: Hub,
    session: Arc<Session>,
    addresses: Addresses,
    intake: Intake,
    will: Option<Box<Will>>,
    clean_session: bool,
    operations: Operations,
    /// Rings where more than the traffic has to be looked at.
    bell: Arc<Bell>,
    /// There is no room for deliveries.
    held_back: bool,
    outgoing: Outgoing,
    cloud_to_device_qos: QoS,
    inputs_qos: QoS,
    takes_twin_answers: bool,
    sent: Counter,
    silence: Duration,
    heard: Instant,
    /// Since when output waits without any of it going out.
    stuck: Option<Instant>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    pub(super) fn new(io: Io<S>, hub: Hub, session: Session, login: Login, metrics: &Metrics) -> Self {
        // What else is in the request, the credential above all, is not needed any more.
        let Login { request: ConnectRequest { clean_session, .. }, addresses, will, silence } = login;
        // rule MQTT-30: a client with clean session 0 may have subscribed in a session before, and does not again (Python).
        let takes_twin_answers = session.kept_twin_answers();
        let (session, bell) = (Arc::new(session), Bell::new());
        Self {
            io,
            operations: Operations::new(hub.clone(), session.clone()),
            intake: Intake::new(hub.clone(), session.clone(), bell.clone(), metrics.received(Protocol::mqtt)),
            hub,
            session,
            addresses,
            will: will.map(Box::new),
            clean_session,
            bell,
            held_back: false,
            outgoing: Outgoing::default(),
            // rule MQTT-18: a stored subscription delivers before any SUBSCRIBE, at least once.
            cloud_to_device_qos: QoS::AtLeastOnce,
            inputs_qos: QoS::AtLeastOnce,
            takes_twin_answers,
            sent: metrics.sent(Protocol::mqtt),
            silence,
            heard: Instant::now(),
            stuck: None,
        }
    }

    /// Whose it is.
    pub(super) fn identity(&self) -> &Identity {
        self.session.identity()
    }

    /// Acknowledges what is on disk by now, in place of the task, and waits on with `disk`. False where the task has to look: there
    /// is more to do, or not all could be written.
    pub(super) fn acknowledge_at_once(&mut self, task: &mut Context<'_>, disk: &Waker) -> bool {
        if self.is_blocked() || !self.io.is_flushed() {
            return false;
        }
        let disk = &mut Context::from_waker(disk);
        while let Poll::Ready(result) = self.intake.poll_durable(disk) {
            // What failed once fails again when the task does it, and ends the connection there.
            if result.is_err() || self.acknowledge().is_err() {
                return false;
            }
        }
        self.io.poll_output(task).is_ok() && self.io.is_flushed()
    }

    /// Does all that the socket and the disk allow.
    fn poll_traffic(&mut self, wakers: &mut Wakers<'_, '_>) -> Poll<End> {
        loop {
            match self.poll_traffic_once(wakers) {
                Ok(Poll::Ready(())) => {}
                Ok(Poll::Pending) => return Poll::Pending,
                Err(end) => return Poll::Ready(end),
            }
        }
    }

    /// Ready where there may be more to do at once.
    fn poll_traffic_once(&mut self, wakers: &mut Wakers<'_, '_>) -> Result<Poll<()>, End> {
        self.advance()?;
        self.take_durable(&mut Context::from_waker(wakers.disk))?;
        let may_read = !self.is_blocked();
        let (intake, mut taken) = (&mut self.intake, Ok(()));
        let polled = self.io.poll_drive_past(wakers.task, may_read, |bytes, packet_max| {
            let (len, result) = intake.take_row(bytes, packet_max);
            taken = result;
            len
        });
        taken.map_err(End::Refused)?;
        let Poll::Ready(event) = polled else { return Ok(Poll::Pending) };
        let has_only_written = matches!(event, Ok(Event::Wrote));
        self.on_event(event)?;
        // Having written, it found nothing to read either; only where it did not look there may be something.
        Ok(if has_only_written && may_read { Poll::Pending } else { Poll::Ready(()) })
    }

    /// Acknowledges all that is durable by now, so that it leaves in one write.
    fn take_durable(&mut self, cx: &mut Context<'_>) -> Result<(), End> {
        while let Poll::Ready(result) = self.intake.poll_durable(cx) {
            result.map_err(End::Refused)?;
            self.advance()?;
        }
        Ok(())
    }

    /// What comes neither from the socket nor from the disk.
    fn poll_aside(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), End>> {
        if let Poll::Ready(result) = self.intake.poll_room(cx) {
            return Poll::Ready(result.map_err(End::Refused));
        }
        self.operations.poll_next(cx).map(|reply| self.on_reply(reply))
    }

    /// Holds deliveries back while there is no room for them, and has them looked at as soon as there is.
    fn watch_room(&mut self) {
        let held_back = self.io.pending() >= OUTPUT_MAX || self.outgoing.is_full();
        if self.held_back && !held_back {
            self.bell.ring();
        }
        self.held_back = held_back;
    }

    /// Acknowledges what may be and parses what was read.
    fn advance(&mut self) -> Result<(), End> {
        self.acknowledge()?;
        while !self.is_blocked()
            && let Some(packet) = self.io.packet()?
        {
            self.on_packet(packet)?;
            self.take_row()?;
        }
        self.acknowledge()
    }

    fn acknowledge(&mut self) -> Result<(), End> {
        while let Some(id) = self.intake.unacknowledged.pop() {
            self.io.put(&Packet::PubAck(id))?;
        }
        Ok(())
    }

    /// Whether nothing more may be taken from the client for now.
    fn is_blocked(&self) -> bool {
        self.intake.is_blocked() || self.operations.is_full() || self.io.pending() >= OUTPUT_MAX
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

    fn on_timer(&mut self, timer: Pin<&mut Sleep>) -> Result<(), End> {
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
    fn watch_output(&mut self, timer: Pin<&mut Sleep>) {
        if self.io.is_flushed() {
            self.stuck = None;
        } else if self.stuck.is_none() {
            let now = Instant::now();
            self.stuck = Some(now);
            if timer.deadline() > now + STUCK_TIME {
                timer.reset(now + STUCK_TIME);
                self.bell.ring();
            }
        }
    }

    fn settle(&mut self, lock: LockToken, settlement: Settlement) {
        self.request(Request::Settle { lock, settlement });
    }

    fn request(&mut self, request: Request) {
        self.operations.push(request);
        self.bell.ring();
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Served<S> {
    /// Serves until the connection has to end, and says why; until it is cancelled, and says nothing.
    pub(super) async fn run(&self, cancel: &CancellationToken) -> Option<End> {
        let begin = |connection: &Connection<S>| {
            let Connection { session, bell, heard, silence, .. } = connection;
            (session.clone(), bell.clone(), *heard + *silence)
        };
        let (session, bell, silent_at) = self.look(begin)?;
        // Boxed, because they are large and seldom looked at: so what each wake of the task touches lies close together.
        let mut delivery = Box::pin(session.next());
        let mut cancelled = Box::pin(cancel.cancelled());
        let mut timer = Box::pin(tokio::time::sleep_until(silent_at));
        let waker = Waker::from(bell.clone());
        let end = self.poll(|connection, wakers| {
            if wakers.is_new {
                bell.set_task(wakers.task.waker());
            }
            loop {
                if let Poll::Ready(end) = connection.poll_traffic(wakers) {
                    return Poll::Ready(Some(end));
                }
                connection.watch_output(timer.as_mut());
                connection.watch_room();
                if !bell.take() {
                    return Poll::Pending;
                }
                // Who rang used it up. Whoever rings from now on is noticed at the next look above.
                bell.set_task(wakers.task.waker());
                let aside = &mut Context::from_waker(&waker);
                if cancelled.as_mut().poll(aside).is_ready() {
                    return Poll::Ready(None);
                }
                let mut step = connection.poll_aside(aside);
                if step.is_pending() && !connection.held_back {
                    step = delivery.as_mut().poll(aside).map(|next| {
                        delivery.set(session.next());
                        connection.deliver(next)
                    });
                }
                if step.is_pending() {
                    step = timer.as_mut().poll(aside).map(|()| connection.on_timer(timer.as_mut()));
                }
                match step {
                    Poll::Ready(Ok(())) => bell.ring(),
                    Poll::Ready(Err(end)) => return Poll::Ready(Some(end)),
                    Poll::Pending => {}
                }
            }
        });
        end.await.flatten()
    }
}
