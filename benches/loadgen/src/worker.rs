//! An event loop with some of the connections. One epoll instance, pre-encoded packets, one write per batch.

use crate::arguments::Arguments;
use crate::connection::{Connection, Io, Kind, State};
use crate::histogram::Histogram;
use crate::packet::{self, TIME_AT, kind};
use crate::system::{self, Happened, Poll, Socket};
use rustls::{ClientConfig, ClientConnection};
use std::collections::VecDeque;
use std::net::SocketAddrV4;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};

/// Bytes of publishes per write, where no number of packets is asked for.
const WRITE_LEN: usize = 64 * 1024;
/// Room for one read.
const READ_LEN: usize = 256 * 1024;

/// What all event loops do at a time; stored as a number.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Phase {
    /// Connect.
    Connect,
    /// Publish.
    Run,
    /// Publish no more; wait for all answers.
    Drain,
    /// Only be there.
    Hold,
    /// End.
    Stop,
}

/// What event loops and the one who measures share.
#[derive(Default)]
#[allow(missing_docs, reason = "counters named for what they count")]
pub struct Shared {
    phase: AtomicU8,
    pub ready: AtomicU64,
    pub failed: AtomicU64,
    pub lost: AtomicU64,
    pub sent: AtomicU64,
    pub acknowledged: AtomicU64,
    pub delivered: AtomicU64,
    pub ponged: AtomicU64,
    /// Messages sent before this time do not count for latencies; 0: none counts yet.
    pub measured_from: AtomicU64,
    /// When the last answer came.
    pub last_answer: AtomicU64,
}

impl Shared {
    /// Has all event loops do something.
    pub fn set(&self, phase: Phase) {
        self.phase.store(phase as u8, Relaxed);
    }

    fn is_in(&self, phase: Phase) -> bool {
        self.phase.load(Relaxed) == phase as u8
    }
}

/// An event loop.
pub struct Worker {
    arguments: Arguments,
    shared: Arc<Shared>,
    server: SocketAddrV4,
    tls: Option<Arc<ClientConfig>>,
    poll: Poll,
    connections: Vec<Connection>,
    publishers: Vec<usize>,
    /// Publishers whose window is open.
    queue: VecDeque<usize>,
    next_to_connect: usize,
    connecting: usize,
    /// Open loop: messages that may be sent by now, as of when, and whose turn it is.
    credit: (f64, u64),
    turn: usize,
    buffer: Vec<u8>,
    /// PUBLISH to PUBACK.
    pub acknowledgements: Histogram,
    /// PUBLISH to its arrival at a subscriber.
    pub deliveries: Histogram,
}

impl Worker {
    /// An event loop with these connections.
    pub fn new(
        arguments: Arguments,
        shared: Arc<Shared>,
        server: SocketAddrV4,
        tls: Option<Arc<ClientConfig>>,
        connections: Vec<Connection>,
    ) -> Self {
        let is_publisher = |index: &usize| connections[*index].kind == Kind::Publisher;
        let publishers = (0..connections.len()).filter(is_publisher).collect();
        Self {
            arguments,
            shared,
            server,
            tls,
            poll: Poll::default(),
            connections,
            publishers,
            queue: VecDeque::new(),
            next_to_connect: 0,
            connecting: 0,
            credit: (0.0, system::now()),
            turn: 0,
            buffer: vec![0; READ_LEN],
            acknowledgements: Histogram::default(),
            deliveries: Histogram::default(),
        }
    }

    /// Works until it is told to stop.
    pub fn run(&mut self) {
        while !self.shared.is_in(Phase::Stop) {
            while self.next_to_connect < self.connections.len() && self.connecting < self.arguments.connecting
            {
                self.open(self.next_to_connect);
                self.next_to_connect += 1;
            }
            let wait = if self.shared.is_in(Phase::Run) {
                if self.arguments.rate > 0.0 { self.publish_by_rate() } else { self.publish_by_window() }
            } else if self.shared.is_in(Phase::Drain) {
                self.ping();
                1
            } else if self.shared.is_in(Phase::Connect) {
                self.credit = (0.0, system::now());
                i32::from(self.next_to_connect >= self.connections.len())
            } else {
                20
            };
            for index in 0..self.poll.wait(wait) {
                self.on(self.poll.happened(index));
            }
        }
    }

    fn open(&mut self, index: usize) {
        let Some(socket) = Socket::connect(self.server, self.connections[index].number) else {
            return self.fail(index);
        };
        let connection = &mut self.connections[index];
        connection.state = State::Connecting;
        connection.wants_write = true;
        if let (Some(config), Ok(name)) = (&self.tls, "localhost".try_into()) {
            connection.tls = ClientConnection::new(config.clone(), name).ok().map(Box::new);
        }
        self.connecting += 1;
        self.poll.add(&socket, index as u64, true);
        connection.socket = Some(socket);
    }

    fn fail(&mut self, index: usize) {
        let connection = &mut self.connections[index];
        match std::mem::replace(&mut connection.state, State::Dead) {
            State::Dead => return,
            State::Ready => _ = self.shared.lost.fetch_add(1, Relaxed),
            State::New => _ = self.shared.failed.fetch_add(1, Relaxed),
            State::Connecting | State::Entering | State::Subscribing => {
                self.connecting -= 1;
                self.shared.failed.fetch_add(1, Relaxed);
            }
        }
        connection.socket = None;
        connection.tls = None;
    }

    fn flush(&mut self, index: usize) -> Io {
        let connection = &mut self.connections[index];
        let io = connection.flush();
        if io == Io::Closed {
            self.fail(index);
            return io;
        }
        let blocked = io == Io::Blocked;
        if connection.wants_write != blocked
            && let Some(socket) = &connection.socket
        {
            connection.wants_write = blocked;
            self.poll.change(socket, index as u64, blocked);
        }
        io
    }

    fn on(&mut self, happened: Happened) {
        let index = happened.token as usize;
        let connection = &mut self.connections[index];
        if connection.state == State::Dead {
            return;
        }
        if connection.state == State::Connecting && happened.writable {
            if connection.socket.as_ref().is_none_or(Socket::has_failed) {
                return self.fail(index);
            }
            connection.state = State::Entering;
            connection.out.append(&mut connection.connect);
        }
        if happened.writable && connection.wants_write {
            match self.flush(index) {
                Io::Closed => return,
                Io::Done => self.enqueue(index),
                Io::Blocked => {}
            }
        }
        if happened.readable {
            self.read(index);
        }
    }

    fn enqueue(&mut self, index: usize) {
        let connection = &mut self.connections[index];
        if !connection.queued && connection.kind == Kind::Publisher && connection.state == State::Ready {
            connection.queued = true;
            self.queue.push_back(index);
        }
    }

    fn may_publish(&self, index: usize) -> bool {
        let Connection { state, wants_write, in_flight, .. } = self.connections[index];
        state == State::Ready
            && !wants_write
            && (self.arguments.qos == 0 || in_flight < self.arguments.window)
    }

    fn publish(&mut self, index: usize, most: usize) -> usize {
        let connection = &mut self.connections[index];
        let batch = match self.arguments.batch {
            0 => (WRITE_LEN / connection.publish.bytes.len()).max(1),
            batch => batch,
        };
        let count = connection.put_publishes(batch.min(most), self.arguments.window, system::now());
        self.shared.sent.fetch_add(count as u64, Relaxed);
        self.flush(index);
        count
    }

    /// Messages that may be sent with a closed loop over the subscribers.
    fn room(&self) -> usize {
        if self.arguments.closed == 0 {
            return usize::MAX;
        }
        let delivered = self.shared.delivered.load(Relaxed) / self.arguments.subs.max(1) as u64;
        (self.arguments.closed + delivered).saturating_sub(self.shared.sent.load(Relaxed)) as usize
    }

    /// Sends what the rate allows by now; returns how many milliseconds to wait.
    fn publish_by_rate(&mut self) -> i32 {
        let rate = self.arguments.rate / self.arguments.threads as f64;
        let (credit, since) = self.credit;
        let now = system::now();
        let credit = (credit + rate * (now - since) as f64 / 1e9).min(rate.max(1.0));
        self.credit = (credit, now);
        let mut left = (credit as usize).min(self.room());
        let mut tries = 0;
        while left > 0 && tries < self.publishers.len() {
            let index = self.publishers[self.turn % self.publishers.len()];
            self.turn += 1;
            tries += 1;
            if self.may_publish(index) {
                let count = self.publish(index, 1);
                self.credit.0 -= count as f64;
                left -= count;
                tries = 0;
            }
        }
        1
    }

    /// Sends what the windows allow; returns how many milliseconds to wait.
    fn publish_by_window(&mut self) -> i32 {
        let mut left = self.room();
        for _ in 0..self.queue.len() {
            if left == 0 {
                return 1;
            }
            let Some(index) = self.queue.pop_front() else { break };
            self.connections[index].queued = false;
            if !self.may_publish(index) {
                continue;
            }
            left -= self.publish(index, left).min(left);
            if self.may_publish(index) {
                self.enqueue(index);
            }
        }
        if !self.queue.is_empty() && left > 0 { 0 } else { 20 }
    }

    /// A PINGREQ behind the last publish of each connection that has all its acknowledgements.
    fn ping(&mut self) {
        for at in 0..self.publishers.len() {
            let index = self.publishers[at];
            let connection = &mut self.connections[index];
            let done = connection.out.is_empty() && connection.in_flight == 0;
            if connection.state == State::Ready && !connection.pinged && done {
                connection.pinged = true;
                connection.out.extend_from_slice(&[kind::PINGREQ << 4, 0]);
                self.flush(index);
            }
        }
    }

    fn read(&mut self, index: usize) {
        loop {
            let mut buffer = std::mem::take(&mut self.buffer);
            let connection = &mut self.connections[index];
            let have = connection.part.len();
            if buffer.len() < have + READ_LEN / 4 {
                buffer.resize(have + READ_LEN, 0);
            }
            buffer[..have].copy_from_slice(&connection.part);
            connection.part.clear();
            let (len, io) = connection.read(&mut buffer[have..]);
            let used = self.parse(index, &buffer[..have + len]);
            let connection = &mut self.connections[index];
            connection.part.extend_from_slice(&buffer[used..have + len]);
            let (has_output, is_dead) = (connection.has_output(), connection.state == State::Dead);
            self.buffer = buffer;
            if io == Io::Closed {
                self.fail(index);
            }
            if is_dead || io == Io::Closed || (has_output && self.flush(index) == Io::Closed) {
                return;
            }
            if io == Io::Blocked {
                return;
            }
        }
    }

    /// Returns how many bytes were whole packets.
    fn parse(&mut self, index: usize, bytes: &[u8]) -> usize {
        let (mut at, mut acknowledged, mut delivered) = (0, 0, 0);
        let now = system::now();
        let from = self.shared.measured_from.load(Relaxed);
        let counts = |sent: u64| from > 0 && sent >= from;
        while let Some(range) = packet::body(bytes, at) {
            let (first, body) = (bytes[at], &bytes[range.clone()]);
            at = range.end;
            let connection = &mut self.connections[index];
            match first >> 4 {
                kind::PUBACK if body.len() >= 2 => {
                    let id = usize::from(u16::from_be_bytes([body[0], body[1]]));
                    if let Some(sent) = connection.sent_at.get(id.wrapping_sub(1)).filter(|at| counts(**at)) {
                        self.acknowledgements.add(now.saturating_sub(*sent));
                    }
                    connection.in_flight = connection.in_flight.saturating_sub(1);
                    acknowledged += 1;
                }
                kind::PUBLISH => {
                    let payload = take_delivery(first, body, &mut connection.out);
                    if let Some(sent) = payload.get(TIME_AT..TIME_AT + 16).map(packet::time)
                        && counts(sent)
                    {
                        self.deliveries.add(now.saturating_sub(sent));
                    }
                    delivered += 1;
                }
                kind::CONNACK if body.get(1) == Some(&0) && connection.kind == Kind::Subscriber => {
                    connection.state = State::Subscribing;
                    connection.out.append(&mut connection.subscribe);
                }
                kind::CONNACK if body.get(1) == Some(&0) => self.ready(index),
                kind::SUBACK if body.get(2).is_some_and(|code| *code <= 2) => self.ready(index),
                kind::CONNACK | kind::SUBACK => {
                    eprintln!("loadgen: connection or subscription refused: {body:?}");
                    self.fail(index);
                    return bytes.len();
                }
                kind::PINGRESP => {
                    self.shared.ponged.fetch_add(1, Relaxed);
                    self.shared.last_answer.store(now, Relaxed);
                }
                _ => {}
            }
        }
        if acknowledged > 0 {
            self.shared.acknowledged.fetch_add(acknowledged, Relaxed);
            self.enqueue(index);
        }
        if delivered > 0 {
            self.shared.delivered.fetch_add(delivered, Relaxed);
        }
        if acknowledged + delivered > 0 {
            self.shared.last_answer.store(now, Relaxed);
        }
        at
    }

    fn ready(&mut self, index: usize) {
        self.connections[index].state = State::Ready;
        self.connecting -= 1;
        self.shared.ready.fetch_add(1, Relaxed);
        self.enqueue(index);
    }
}

/// The payload of a delivered PUBLISH; its PUBACK, if it wants one, is put into the output.
fn take_delivery<'a>(first: u8, body: &'a [u8], out: &mut Vec<u8>) -> &'a [u8] {
    let Some((len, rest)) = body.split_first_chunk::<2>() else { return &[] };
    let rest = rest.get(usize::from(u16::from_be_bytes(*len))..).unwrap_or_default();
    if first & 6 == 0 {
        return rest;
    }
    let Some((id, payload)) = rest.split_first_chunk::<2>() else { return &[] };
    out.extend_from_slice(&[kind::PUBACK << 4, 2, id[0], id[1]]);
    payload
}
