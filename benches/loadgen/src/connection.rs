//! A client connection: what it has still to say, and the writing of it.

use crate::arguments::Arguments;
use crate::die;
use crate::packet::{self, Login, Publish};
use crate::system::Socket;
use rustls::ClientConnection;
use std::io::{self, Read as _, Write as _};

/// What a client does.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Publishes.
    Publisher,
    /// Subscribes and takes.
    Subscriber,
    /// Is there.
    Idle,
}

/// How far it has come.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Not begun.
    New,
    /// Waits for TCP.
    Connecting,
    /// Waits for CONNACK.
    Entering,
    /// Waits for SUBACK.
    Subscribing,
    /// In use.
    Ready,
    /// Gone.
    Dead,
}

/// How a write or read ended.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Io {
    /// Nothing is left.
    Done,
    /// The socket takes no more for now.
    Blocked,
    /// The connection is over.
    Closed,
}

/// A client connection.
pub struct Connection {
    /// The socket, once it is begun.
    pub socket: Option<Socket>,
    /// What it does.
    pub kind: Kind,
    /// How far it has come.
    pub state: State,
    /// CONNECT, until it is sent.
    pub connect: Vec<u8>,
    /// SUBSCRIBE, until it is sent.
    pub subscribe: Vec<u8>,
    /// What it publishes again and again.
    pub publish: Publish,
    /// What waits to be written.
    pub out: Vec<u8>,
    written: usize,
    /// The beginning of a packet whose rest has not come.
    pub part: Vec<u8>,
    /// TLS, if asked for.
    pub tls: Option<Box<ClientConnection>>,
    /// Publishes not yet acknowledged.
    pub in_flight: usize,
    /// The packet id of the next publish.
    pub next_id: u16,
    /// When each packet id was sent.
    pub sent_at: Vec<u64>,
    /// Whether it waits to be writable.
    pub wants_write: bool,
    /// Whether it stands in the queue of those that may publish.
    pub queued: bool,
    /// Whether its last PINGREQ is sent.
    pub pinged: bool,
    /// Its number among all connections.
    pub number: u32,
}

impl Connection {
    /// Prepares the connection with this number within its kind. `credentials` are client id, user name, password and topic, as many
    /// as there are.
    pub fn new(
        arguments: &Arguments,
        kind: Kind,
        id: usize,
        number: u32,
        credentials: &[String],
        payload: &[u8],
    ) -> Self {
        let name = match kind {
            Kind::Publisher => "pub",
            Kind::Subscriber => "sub",
            Kind::Idle => "idle",
        };
        let fill = |template: &str| template.replace("{id}", &id.to_string()).replace("{kind}", name);
        let text =
            |index: usize, template: &str| credentials.get(index).cloned().unwrap_or_else(|| fill(template));
        let login = Login {
            id: &text(0, &arguments.client_id),
            user: &text(1, &arguments.user),
            password: &text(2, &arguments.pass),
            clean: arguments.clean,
            keep_alive: arguments.keep_alive,
        };
        let publishes = kind == Kind::Publisher;
        let publish = if publishes {
            Publish::new(&text(3, &arguments.topic), arguments.qos, payload)
        } else {
            Publish { bytes: Vec::new(), id_at: 0, time_at: 0 }
        };
        let subscribe = match kind {
            Kind::Subscriber => packet::subscribe(&fill(&arguments.filter), arguments.sub_qos),
            Kind::Publisher | Kind::Idle => Vec::new(),
        };
        Self {
            socket: None,
            kind,
            state: State::New,
            connect: packet::connect(&login),
            subscribe,
            publish,
            out: Vec::new(),
            written: 0,
            part: Vec::new(),
            tls: None,
            in_flight: 0,
            next_id: 1,
            sent_at: vec![0; if publishes && arguments.qos > 0 { arguments.window } else { 0 }],
            wants_write: false,
            queued: false,
            pinged: false,
            number,
        }
    }

    /// Whether something waits to be written.
    pub fn has_output(&self) -> bool {
        !self.out.is_empty() || self.tls.as_ref().is_some_and(|tls| tls.wants_write())
    }

    /// Writes what there is.
    pub fn flush(&mut self) -> Io {
        let Some(socket) = &self.socket else { return Io::Closed };
        let result = match &mut self.tls {
            Some(tls) => flush_tls(tls, socket, &self.out, &mut self.written),
            None => write_all(socket, &self.out, &mut self.written),
        };
        if self.written >= self.out.len() {
            self.out.clear();
            self.written = 0;
        }
        match result {
            Ok(()) => Io::Done,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Io::Blocked,
            Err(_) => Io::Closed,
        }
    }

    /// Reads once into `into`: how many bytes came, and whether there may be more ([`Io::Done`]) or not ([`Io::Blocked`]).
    pub fn read(&mut self, into: &mut [u8]) -> (usize, Io) {
        let Some(mut socket) = self.socket.as_ref() else { return (0, Io::Closed) };
        let Some(tls) = &mut self.tls else {
            return match socket.read(into) {
                Ok(0) => (0, Io::Closed),
                Ok(len) => (len, if len == into.len() { Io::Done } else { Io::Blocked }),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => (0, Io::Blocked),
                Err(_) => (0, Io::Closed),
            };
        };
        match tls.read_tls(&mut socket) {
            Ok(0) => return (0, Io::Closed),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return (0, Io::Blocked),
            Err(_) => return (0, Io::Closed),
        }
        let end = if tls.process_new_packets().is_ok() { Io::Done } else { Io::Closed };
        let mut len = 0;
        while len < into.len() {
            match tls.reader().read(&mut into[len..]) {
                Ok(0) | Err(_) => break,
                Ok(more) => len += more,
            }
        }
        (len, end)
    }

    /// Puts up to `count` publishes into the output, as far as the window lets them, and says how many.
    pub fn put_publishes(&mut self, count: usize, window: usize, now: u64) -> usize {
        let acknowledged = !self.sent_at.is_empty();
        let count = if acknowledged { count.min(window - self.in_flight) } else { count.min(window) };
        for _ in 0..count {
            let at = self.out.len();
            self.out.extend_from_slice(&self.publish.bytes);
            packet::put_time(&mut self.out[at + self.publish.time_at..], now);
            if acknowledged {
                let id = self.next_id;
                self.next_id = if usize::from(id) == window { 1 } else { id + 1 };
                let id_at = at + self.publish.id_at;
                self.out[id_at..id_at + 2].copy_from_slice(&id.to_be_bytes());
                self.sent_at[usize::from(id) - 1] = now;
                self.in_flight += 1;
            }
        }
        count
    }
}

/// Reads the credentials file: client id, user name, password, topic by tabs; later ones may be missing.
pub fn credentials(path: &str) -> Vec<Vec<String>> {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| die(&format!("{path}: {error}")));
    let lines = text.lines().filter(|line| !line.is_empty());
    lines.map(|line| line.split('\t').map(str::to_owned).collect()).collect()
}

fn write_all(mut socket: &Socket, bytes: &[u8], written: &mut usize) -> io::Result<()> {
    while *written < bytes.len() {
        *written += socket.write(&bytes[*written..])?;
    }
    Ok(())
}

fn flush_tls(
    tls: &mut ClientConnection,
    mut socket: &Socket,
    bytes: &[u8],
    written: &mut usize,
) -> io::Result<()> {
    loop {
        if !tls.is_handshaking() && *written < bytes.len() {
            *written += tls.writer().write(&bytes[*written..]).unwrap_or(0);
        }
        while tls.wants_write() {
            if tls.write_tls(&mut socket)? == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
        }
        if tls.is_handshaking() || *written >= bytes.len() {
            return Ok(());
        }
    }
}
