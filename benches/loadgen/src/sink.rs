//! The least work a server can do for the same bytes: it finds packet borders, returns canned answers, discards.
//!
//! With `--wal` it appends each publish to a file, and its PUBACKs leave only after an fdatasync per turn of the event loop: the least
//! server that syncs before it acknowledges. It accepts anything: for measurements on loopback only.

use crate::packet::{self, kind};
use crate::system::{self, Poll, Socket};
use crate::{die, tls};
use rustls::{ServerConfig, ServerConnection};
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::net::TcpListener;
use std::os::fd::AsRawFd as _;
use std::sync::Arc;

const USAGE: &str = "sink --addr 127.0.0.1:PORT [--threads N] [--wal FILE [--nosync]] [--tls CERT KEY]";
const READ_LEN: usize = 256 * 1024;
/// Connections accepted per turn.
const ACCEPTS: usize = 64;
/// The token of the listener.
const LISTENER: u64 = u64::MAX;

/// The program `sink`.
pub fn main() {
    let mut words = std::env::args().skip(1);
    let (mut address, mut threads, mut wal, mut sync, mut tls) =
        ("127.0.0.1:1899".to_owned(), 1, None, true, None);
    while let Some(option) = words.next() {
        let mut value = || words.next().unwrap_or_else(|| die(&format!("{option} needs a value\n{USAGE}")));
        match option.as_str() {
            "--addr" => address = value(),
            "--threads" => threads = value().parse().unwrap_or_else(|_| die(USAGE)),
            "--wal" => wal = Some(value()),
            "--nosync" => sync = false,
            "--tls" => tls = Some(tls::server(&value(), &value())),
            _ => die(USAGE),
        }
    }
    system::raise_open_files();
    // The standard library's backlog is 128; the kernel's own limit is asked for by listening again.
    let listener = TcpListener::bind(&address).unwrap_or_else(|error| die(&format!("{address}: {error}")));
    system::listen_more(listener.as_raw_fd());
    if listener.set_nonblocking(true).is_err() {
        die("the listener cannot be made non-blocking");
    }
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let wal = wal.as_ref().map(|path| open(&format!("{path}.{thread}"), sync));
            let sink = Sink::new(listener.as_raw_fd(), tls.clone(), wal);
            scope.spawn(move || sink.run());
        }
    });
}

/// The file of one event loop.
struct Wal {
    file: File,
    sync: bool,
    buffer: Vec<u8>,
}

fn open(path: &str, sync: bool) -> Wal {
    let file = File::create(path).unwrap_or_else(|error| die(&format!("{path}: {error}")));
    Wal { file, sync, buffer: Vec::new() }
}

impl Wal {
    /// Group commit: whatever one turn gathered.
    fn commit(&mut self) {
        if self.buffer.is_empty() {
            return;
        }
        let written = self.file.write_all(&self.buffer);
        let synced = if self.sync { written.and_then(|()| self.file.sync_data()) } else { written };
        if let Err(error) = synced {
            die(&format!("the file of --wal: {error}"));
        }
        self.buffer.clear();
    }
}

struct Client {
    socket: Socket,
    /// The beginning of a packet whose rest has not come.
    part: Vec<u8>,
    out: Vec<u8>,
    tls: Option<Box<ServerConnection>>,
    /// Its answers wait for the file.
    waits: bool,
}

struct Sink {
    listener: i32,
    tls: Option<Arc<ServerConfig>>,
    wal: Option<Wal>,
    poll: Poll,
    clients: Vec<Option<Client>>,
    free: Vec<usize>,
    waiting: Vec<usize>,
    buffer: Vec<u8>,
}

impl Sink {
    fn new(listener: i32, tls: Option<Arc<ServerConfig>>, wal: Option<Wal>) -> Self {
        let poll = Poll::default();
        poll.add_listener(listener, LISTENER);
        let (clients, free, waiting) = (Vec::new(), Vec::new(), Vec::new());
        Self { listener, tls, wal, poll, clients, free, waiting, buffer: vec![0; READ_LEN] }
    }

    fn run(mut self) {
        loop {
            for index in 0..self.poll.wait(-1) {
                match self.poll.happened(index).token {
                    LISTENER => self.accept(),
                    token => self.serve(token as usize),
                }
            }
            if let Some(wal) = &mut self.wal {
                wal.commit();
            }
            for index in self.waiting.drain(..) {
                if let Some(client) = &mut self.clients[index] {
                    client.waits = false;
                    client.answer();
                }
            }
        }
    }

    fn accept(&mut self) {
        for _ in 0..ACCEPTS {
            let Some(socket) = Socket::accept(self.listener) else { return };
            let tls = self.tls.as_ref().and_then(|config| ServerConnection::new(config.clone()).ok());
            let index = self.free.pop().unwrap_or_else(|| {
                self.clients.push(None);
                self.clients.len() - 1
            });
            self.poll.add(&socket, index as u64, false);
            let (part, out) = (Vec::new(), Vec::new());
            self.clients[index] = Some(Client { socket, part, out, tls: tls.map(Box::new), waits: false });
        }
    }

    fn serve(&mut self, index: usize) {
        let Some(client) = &mut self.clients[index] else { return };
        let have = client.part.len();
        if self.buffer.len() < have + READ_LEN / 2 {
            self.buffer.resize(have + READ_LEN, 0);
        }
        self.buffer[..have].copy_from_slice(&client.part);
        client.part.clear();
        let Some(len) = client.read(&mut self.buffer[have..]) else {
            self.clients[index] = None;
            self.free.push(index);
            return;
        };
        let bytes = &self.buffer[..have + len];
        let used = answer(bytes, &mut client.out, self.wal.as_mut().map(|wal| &mut wal.buffer));
        client.part.extend_from_slice(&bytes[used..]);
        if self.wal.is_none() {
            client.answer();
        } else if !client.waits {
            client.waits = true;
            self.waiting.push(index);
        }
    }
}

impl Client {
    /// Reads once; `None` if the connection is over.
    fn read(&mut self, into: &mut [u8]) -> Option<usize> {
        let Some(tls) = &mut self.tls else {
            return match (&self.socket).read(into) {
                Ok(0) => None,
                Ok(len) => Some(len),
                Err(error) => (error.kind() == io::ErrorKind::WouldBlock).then_some(0),
            };
        };
        match tls.read_tls(&mut &self.socket) {
            Ok(0) => return None,
            Ok(_) => tls.process_new_packets().map(drop).ok()?,
            Err(error) => return (error.kind() == io::ErrorKind::WouldBlock).then_some(0),
        }
        let mut len = 0;
        while len < into.len() {
            match tls.reader().read(&mut into[len..]) {
                Ok(0) | Err(_) => break,
                Ok(more) => len += more,
            }
        }
        Some(len)
    }

    /// Sends the answers; they are small, so where the socket is full it waits.
    fn answer(&mut self) {
        let mut socket = &self.socket;
        if let Some(tls) = &mut self.tls {
            if !tls.is_handshaking() && tls.writer().write_all(&self.out).is_ok() {
                self.out.clear();
            }
            while tls.wants_write() && tls.write_tls(&mut socket).is_ok() {}
            return;
        }
        let mut written = 0;
        while written < self.out.len() {
            match socket.write(&self.out[written..]) {
                Ok(len) => written += len,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.socket.wait_writable(),
                Err(_) => break,
            }
        }
        self.out.clear();
    }
}

/// Answers whole packets and returns their length; publishes go into `wal` as they are.
fn answer(bytes: &[u8], out: &mut Vec<u8>, mut wal: Option<&mut Vec<u8>>) -> usize {
    let mut at = 0;
    while let Some(range) = packet::body(bytes, at) {
        let (first, body) = (bytes[at], &bytes[range.clone()]);
        match first >> 4 {
            kind::PUBLISH => {
                if let Some(wal) = wal.as_deref_mut() {
                    wal.extend_from_slice(&bytes[at..range.end]);
                }
                let id = body.first_chunk::<2>().map(|len| 2 + usize::from(u16::from_be_bytes(*len)));
                if let Some(id) = id.and_then(|id_at| body.get(id_at..id_at + 2))
                    && first & 6 != 0
                {
                    out.extend_from_slice(&[kind::PUBACK << 4, 2, id[0], id[1]]);
                }
            }
            kind::CONNECT => out.extend_from_slice(&[kind::CONNACK << 4, 2, 0, 0]),
            kind::SUBSCRIBE => {
                if let [high, low, .., qos] = body {
                    out.extend_from_slice(&[kind::SUBACK << 4, 3, *high, *low, *qos]);
                }
            }
            kind::PINGREQ => out.extend_from_slice(&[kind::PINGRESP << 4, 0]),
            _ => {}
        }
        at = range.end;
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_those_of_whole_packets() {
        let publish = packet::Publish::new("t", 1, &packet::payload(40)).bytes;
        let mut bytes = packet::subscribe("t", 1);
        bytes.extend_from_slice(&publish);
        bytes.extend_from_slice(&publish[..5]);
        let (mut out, mut wal) = (Vec::new(), Vec::new());
        let used = answer(&bytes, &mut out, Some(&mut wal));
        assert_eq!(used, bytes.len() - 5);
        assert_eq!(out, [0x90, 3, 0, 1, 1, 0x40, 2, 0, 1]);
        assert_eq!(wal, publish);
    }
}
