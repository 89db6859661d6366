//! A connection after CONNACK: one loop that reads much, parses all of it, and answers once.

mod incoming;
mod outgoing;

use super::End;
use super::address::Addresses;
use super::io::{Event, Io};
use super::operations::{Operations, Request};
use super::outgoing::Outgoing;
use super::unacknowledged::Unacknowledged;
use crate::{Metrics, Protocol};
use futures_util::future::BoxFuture;
use ironbrook_hub::{Hub, LockToken, Session, Settlement};
use ironbrook_log::Ticket;
use ironbrook_model::{Message, Refusal};
use ironbrook_wire::mqtt::v4::{Packet, PacketId, QoS};
use prometheus_client::metrics::counter::Counter;
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
        // rule MQTT-30: a client with clean session 0 may have subscribed in a session before, and does not again (Python).
        let takes_twin_answers = session.kept_twin_answers();
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
            takes_twin_answers,
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

    fn settle(&mut self, lock: LockToken, settlement: Settlement) {
        self.operations.push(Request::Settle { lock, settlement });
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
            match self.hub.will(&self.session, &will) {
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

/// Waits for room for what is stalled.
async fn room(stalled: &mut Option<Stalled>) -> Result<(), Refusal> {
    match stalled {
        Some(stalled) => stalled.room.as_mut().await,
        None => std::future::pending().await,
    }
}
