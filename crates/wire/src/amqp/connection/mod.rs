//! The connection engine: bytes in, events out; commands in, bytes out. No sockets, no clock, both roles.
//!
//! A user owns a [`Connection`], and in a loop: reads bytes into [`input`](Connection::input), calls
//! [`poll`](Connection::poll) until it gives `None`, writes [`output`](Connection::output) away, and every
//! [`tick_interval`](Connection::tick_interval) calls [`tick`](Connection::tick). Frames are parsed one by one as `poll` is
//! called, so a peer can never make the engine hold more than one frame's events.

mod commands;
mod config;
mod event;
mod handshake;
mod incoming;
mod link;
mod session;
#[cfg(test)]
mod tests;
mod writer;

pub use commands::LinkOptions;
pub use config::{ClientSasl, Config};
pub use event::{CommandError, Delivery, Event, LinkId, SaslRequest, SessionId, Violation};
pub use link::Outgoing;

use super::{AmqpError, FRAME_SIZE_MIN, Frame, FrameKind, Performative};
use bytes::BytesMut;
use handshake::Phase;
use session::Session;
use std::collections::{HashMap, VecDeque};
use std::time::Duration;
use writer::Writer;

/// How many times per the peer's idle timeout the clock ticks; a heartbeat goes out within two ticks of silence.
const TICKS_PER_TIMEOUT: u32 = 4;
/// The shortest time between ticks, whatever a peer asks for.
const TICK_MIN: Duration = Duration::from_millis(250);
/// The longest.
const TICK_MAX: Duration = Duration::from_secs(30);

/// One end of an AMQP 1.0 connection.
pub struct Connection {
    config: Config,
    is_client: bool,
    client_sasl: ClientSasl,
    mechanisms: &'static [&'static str],
    phase: Phase,
    input: BytesMut,
    writer: Writer,
    events: VecDeque<Event>,
    open_sent: bool,
    open_received: bool,
    close_sent: bool,
    /// The longest frame we may send.
    max_frame_out: usize,
    remote_channel_max: u16,
    remote_idle: Option<Duration>,
    sessions: Vec<Option<Session>>,
    /// The peer's channel → ours.
    channels: HashMap<u16, u16>,
    next_session_serial: u32,
    /// Bytes in partial deliveries.
    partial: usize,
    heard: bool,
    silent_ticks: u32,
}

impl Connection {
    fn new(config: Config, phase: Phase, is_client: bool) -> Self {
        Self {
            config,
            is_client,
            client_sasl: ClientSasl::None,
            mechanisms: &[],
            phase,
            input: BytesMut::new(),
            writer: Writer::default(),
            events: VecDeque::new(),
            open_sent: false,
            open_received: false,
            close_sent: false,
            max_frame_out: FRAME_SIZE_MIN,
            remote_channel_max: u16::MAX,
            remote_idle: None,
            sessions: Vec::new(),
            channels: HashMap::new(),
            next_session_serial: 0,
            partial: 0,
            heard: false,
            silent_ticks: 0,
        }
    }

    /// The serving end. `mechanisms` are offered where the client starts with SASL; a client may also start without.
    pub fn server(config: Config, mechanisms: &'static [&'static str]) -> Self {
        Self { mechanisms, ..Self::new(config, Phase::FirstHeader, false) }
    }

    /// The calling end; its first bytes are in the output at once.
    pub fn client(config: Config, sasl: ClientSasl) -> Self {
        let plain = matches!(sasl, ClientSasl::None);
        let phase = if plain { Phase::AmqpHeader } else { Phase::SaslHeader };
        let mut connection = Self { client_sasl: sasl, ..Self::new(config, phase, true) };
        let header = if plain { handshake::AMQP_HEADER } else { handshake::SASL_HEADER };
        connection.writer.header(header);
        connection
    }

    /// Where bytes from the peer are appended.
    pub fn input(&mut self) -> &mut BytesMut {
        &mut self.input
    }

    /// What is to be written to the peer; take bytes off its front as they are written.
    pub fn output(&mut self) -> &mut BytesMut {
        &mut self.writer.out
    }

    /// Whether the connection is over; nothing more is read, but the output may hold a farewell.
    pub fn is_closed(&self) -> bool {
        self.phase == Phase::Closed
    }

    /// The next thing that happened; `None` until more bytes come.
    ///
    /// # Errors
    /// A violation of the protocol or of a limit. The peer is told in the output; write that and drop the connection.
    pub fn poll(&mut self) -> Result<Option<Event>, Violation> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Ok(Some(event));
            }
            let progress = self.step().inspect_err(|violation| self.fail(violation))?;
            if !progress && self.events.is_empty() {
                return Ok(None);
            }
        }
    }

    /// Handles the next piece of input; false if more bytes are needed.
    fn step(&mut self) -> Result<bool, Violation> {
        if self.phase == Phase::Closed {
            self.input.clear();
            return Ok(false);
        }
        if self.phase != Phase::Open {
            return self.handshake();
        }
        // Before the peer knows our limit it may not send more than the least one.
        let max = if self.open_sent { self.config.max_frame_size as usize } else { FRAME_SIZE_MIN.max(4096) };
        let Some(frame) = Frame::decode(&mut self.input, max)? else { return Ok(false) };
        self.heard = true;
        if frame.kind != FrameKind::Amqp {
            return Err(Violation::State("a SASL frame after authentication ended"));
        }
        if !frame.body.is_empty() {
            self.on_frame(&frame)?;
        }
        Ok(true)
    }

    /// Tells the peer why and stops.
    fn fail(&mut self, violation: &Violation) {
        if self.phase == Phase::Open && !self.close_sent {
            if !self.open_sent {
                self.write_open();
            }
            let error = AmqpError::new(violation.condition(), violation.to_string());
            self.writer.frame(0, &Performative::Close(Some(error)));
        }
        self.phase = Phase::Closed;
        self.events.clear();
    }

    /// How often [`tick`](Self::tick) is to be called.
    pub fn tick_interval(&self) -> Duration {
        let ours = self.config.idle_timeout;
        let shorter = self.remote_idle.map_or(ours, |theirs| theirs.min(ours));
        (shorter / TICKS_PER_TIMEOUT).clamp(TICK_MIN, TICK_MAX)
    }

    /// Time passed: sends a heartbeat where we were silent, and finds out whether the peer was.
    ///
    /// # Errors
    /// The peer was silent for longer than it may be.
    pub fn tick(&mut self) -> Result<(), Violation> {
        if self.phase != Phase::Open || !self.open_received {
            return Ok(());
        }
        if !std::mem::take(&mut self.writer.spoke) && !self.close_sent {
            self.writer.heartbeat();
            self.writer.spoke = false;
        }
        if std::mem::take(&mut self.heard) {
            self.silent_ticks = 0;
            return Ok(());
        }
        self.silent_ticks += 1;
        if self.tick_interval() * self.silent_ticks > self.config.idle_timeout {
            self.fail(&Violation::Idle);
            return Err(Violation::Idle);
        }
        Ok(())
    }

    /// The peer's silence until now does not count: we did not listen.
    pub fn excuse_silence(&mut self) {
        self.heard = true;
    }

    /// Stops at once; only what is in the output is still to be written.
    pub fn abort(&mut self) {
        self.phase = Phase::Closed;
        self.events.clear();
    }

    fn session_mut(&mut self, id: SessionId) -> Option<&mut Session> {
        self.sessions.get_mut(usize::from(id.channel))?.as_mut().filter(|s| s.id.serial == id.serial)
    }

    fn session(&self, id: SessionId) -> Option<&Session> {
        self.sessions.get(usize::from(id.channel))?.as_ref().filter(|s| s.id.serial == id.serial)
    }

    /// Puts a new session on the lowest free channel.
    fn add_session(&mut self) -> Option<SessionId> {
        let free = self.sessions.iter().position(Option::is_none).unwrap_or(self.sessions.len());
        let channel = u16::try_from(free).ok()?;
        if channel >= self.config.max_sessions || channel > self.remote_channel_max {
            return None;
        }
        self.next_session_serial = self.next_session_serial.wrapping_add(1);
        let id = SessionId { channel, serial: self.next_session_serial };
        if free == self.sessions.len() {
            self.sessions.push(None);
        }
        self.sessions[free] = Some(Session::new(id, self.config.max_unsettled));
        Some(id)
    }
}
