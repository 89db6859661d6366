//! The course of a measurement: connect all, publish for a while, wait for all answers, tell.

use crate::arguments::Arguments;
use crate::connection::{self, Connection, Kind};
use crate::histogram::Histogram;
use crate::process::{self, Cpu};
use crate::report::{self, Figures};
use crate::worker::{Phase, Shared, Worker};
use crate::{die, packet, system, tls};
use std::net::{SocketAddr, SocketAddrV4, ToSocketAddrs as _};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::thread::{JoinHandle, sleep};
use std::time::{Duration, Instant};

/// No connection for so long: no more will come.
const STALLED: Duration = Duration::from_secs(15);
/// After the last connection, before memory is read.
const SETTLE: Duration = Duration::from_millis(300);
/// No delivery for so long: those that lack are lost.
const SILENCE: Duration = Duration::from_millis(700);
const LOOK_AGAIN: Duration = Duration::from_micros(500);

/// The program `loadgen`.
pub fn main() {
    let arguments = Arguments::parse(std::env::args().skip(1));
    if arguments.header {
        println!("{}", report::header());
    }
    if arguments.pubs + arguments.subs + arguments.idle == 0 {
        if !arguments.header {
            die("nothing to do: give --pubs, --subs or --idle");
        }
        return;
    }
    system::raise_open_files();
    if let Some(cpu) = arguments.pin {
        system::pin(cpu);
    }
    let figures = Measurement::new(&arguments).run();
    if arguments.tsv {
        println!("{}", report::row(&arguments.name, &figures));
    } else {
        print!("{}", report::list(&arguments.name, &figures));
    }
}

struct Measurement<'a> {
    arguments: &'a Arguments,
    shared: Arc<Shared>,
}

/// What connecting cost.
struct Connected {
    seconds: f64,
    cpu: Cpu,
    /// Growth of memory in bytes.
    memory: f64,
}

/// What the measured time brought.
#[derive(Default)]
struct Loaded {
    seconds: f64,
    server: Cpu,
    generator: Cpu,
    sent: u64,
    acknowledged: u64,
    delivered: u64,
    written: u64,
}

impl<'a> Measurement<'a> {
    fn new(arguments: &'a Arguments) -> Self {
        Self { arguments, shared: Arc::default() }
    }

    fn run(&self) -> Figures {
        let pids = &self.arguments.pids;
        let (memory, cpu) = (process::resident(pids), Cpu::of_all(pids));
        let begin = Instant::now();
        let workers = self.start();
        self.wait_for_connections();
        let seconds = begin.elapsed().as_secs_f64();
        let cpu = Cpu::of_all(pids).since(cpu);
        sleep(SETTLE);
        let grown = process::resident(pids) as f64 - memory as f64;
        let connected = Connected { seconds, cpu, memory: grown };
        let loaded = if self.arguments.pubs > 0 { self.load() } else { Loaded::default() };
        let mut memory = process::resident(pids);
        if self.arguments.hold > 0.0 {
            self.shared.set(Phase::Hold);
            sleep(Duration::from_secs_f64(self.arguments.hold));
            memory = memory.max(process::resident(pids));
        }
        self.shared.set(Phase::Stop);
        let (mut acknowledgements, mut deliveries) = (Histogram::default(), Histogram::default());
        for worker in workers {
            let Ok(worker) = worker.join() else { die("an event loop panicked") };
            acknowledgements.merge(&worker.acknowledgements);
            deliveries.merge(&worker.deliveries);
        }
        self.figures(&connected, &loaded, memory, &acknowledgements, &deliveries)
    }

    /// Prepares all connections and starts the event loops, which begin to connect.
    fn start(&self) -> Vec<JoinHandle<Worker>> {
        let arguments = self.arguments;
        let tls = arguments.tls.then(|| tls::client(&arguments.tls_version, arguments.resume));
        let server = address(&arguments.addr);
        let share = self.connections();
        let workers = share.into_iter().map(|connections| {
            let shared = self.shared.clone();
            let mut worker = Worker::new(arguments.clone(), shared, server, tls.clone(), connections);
            std::thread::spawn(move || {
                worker.run();
                worker
            })
        });
        workers.collect()
    }

    /// The connections of each event loop, subscribers first.
    fn connections(&self) -> Vec<Vec<Connection>> {
        let arguments = self.arguments;
        let credentials = arguments.creds.as_deref().map(connection::credentials);
        let payload = packet::payload(arguments.payload);
        let mut share: Vec<Vec<Connection>> = (0..arguments.threads).map(|_| Vec::new()).collect();
        let mut number = 0;
        let kinds = [
            (Kind::Subscriber, arguments.subs),
            (Kind::Publisher, arguments.pubs),
            (Kind::Idle, arguments.idle),
        ];
        for (kind, count) in kinds {
            for id in 0..count {
                let line = if kind == Kind::Idle { arguments.pubs + id } else { id };
                let own = match &credentials {
                    Some(lines) if kind != Kind::Subscriber => {
                        lines.get(line).unwrap_or_else(|| die("--creds has too few lines")).as_slice()
                    }
                    _ => &[],
                };
                let connection = Connection::new(arguments, kind, id, number, own, &payload);
                share[number as usize % arguments.threads].push(connection);
                number += 1;
            }
        }
        share
    }

    fn wait_for_connections(&self) {
        let total = (self.arguments.pubs + self.arguments.subs + self.arguments.idle) as u64;
        let mut last = (0, Instant::now());
        loop {
            let (ready, failed) = (self.shared.ready.load(Relaxed), self.shared.failed.load(Relaxed));
            if ready + failed >= total {
                return;
            }
            if ready + failed != last.0 {
                last = (ready + failed, Instant::now());
            } else if last.1.elapsed() > STALLED {
                eprintln!("loadgen: connecting stalled at {ready} of {total} ({failed} failed)");
                return;
            }
            sleep(LOOK_AGAIN);
        }
    }

    /// Publishes; the time includes the wait for all answers.
    fn load(&self) -> Loaded {
        let (arguments, shared) = (self.arguments, &*self.shared);
        let counts = || {
            let Shared { sent, acknowledged, delivered, .. } = shared;
            (sent.load(Relaxed), acknowledged.load(Relaxed), delivered.load(Relaxed))
        };
        shared.set(Phase::Run);
        sleep(Duration::from_secs_f64(arguments.warm));
        let begin = system::now();
        shared.measured_from.store(begin, Relaxed);
        let before = counts();
        let written = process::written(&arguments.pids);
        let (server, generator) = (Cpu::of_all(&arguments.pids), Cpu::of(std::process::id()));
        sleep(Duration::from_secs_f64(arguments.secs));
        shared.set(Phase::Drain);
        self.wait_for_answers();
        let end = shared.last_answer.load(Relaxed).max(begin + 1);
        let after = counts();
        Loaded {
            seconds: (end - begin) as f64 / 1e9,
            server: Cpu::of_all(&arguments.pids).since(server),
            generator: Cpu::of(std::process::id()).since(generator),
            sent: after.0 - before.0,
            acknowledged: after.1 - before.1,
            delivered: after.2 - before.2,
            written: process::written(&arguments.pids) - written,
        }
    }

    /// Until every publisher's PINGREQ, sent last, has come back and deliveries have ceased.
    fn wait_for_answers(&self) {
        let (arguments, shared) = (self.arguments, &*self.shared);
        let begin = Instant::now();
        let mut last = (0, Instant::now());
        loop {
            let gone = shared.lost.load(Relaxed) + shared.failed.load(Relaxed);
            let living = (arguments.pubs as u64).saturating_sub(gone);
            let delivered = shared.delivered.load(Relaxed);
            if delivered != last.0 {
                last = (delivered, Instant::now());
            }
            let wanted = shared.sent.load(Relaxed) * arguments.subs as u64;
            let all = delivered >= wanted || last.1.elapsed() > SILENCE;
            if (all && shared.ponged.load(Relaxed) >= living)
                || begin.elapsed().as_secs_f64() > arguments.drain_max
            {
                return;
            }
            sleep(LOOK_AGAIN);
        }
    }

    fn figures(
        &self,
        connected: &Connected,
        loaded: &Loaded,
        memory: u64,
        acknowledgements: &Histogram,
        deliveries: &Histogram,
    ) -> Figures {
        let ready = self.shared.ready.load(Relaxed) as f64;
        let per_second = |count: u64| count as f64 / loaded.seconds;
        // Where a message fans out, deliveries are the work.
        let messages = loaded.sent.max(loaded.delivered) as f64;
        let known = |figure: f64| if self.arguments.pids.is_empty() { f64::NAN } else { figure };
        [
            per_second(loaded.sent),
            per_second(loaded.acknowledged),
            per_second(loaded.delivered),
            known(loaded.server.sum() * 1e6 / messages),
            known(loaded.server.user / loaded.server.sum() * 100.0),
            known(loaded.server.sum() / loaded.seconds * 100.0),
            loaded.generator.sum() / loaded.seconds * 100.0,
            acknowledgements.quantile(0.5),
            acknowledgements.quantile(0.99),
            deliveries.quantile(0.5),
            deliveries.quantile(0.99),
            known(memory as f64 / (1024.0 * 1024.0)),
            known(loaded.written as f64 / messages),
            ready,
            ready / connected.seconds,
            known(connected.cpu.sum() * 1e6 / ready),
            known(connected.memory / ready),
            self.shared.lost.load(Relaxed) as f64,
        ]
    }
}

fn address(text: &str) -> SocketAddrV4 {
    let found = text.to_socket_addrs().ok().and_then(|all| all.into_iter().find(SocketAddr::is_ipv4));
    match found {
        Some(SocketAddr::V4(address)) => address,
        _ => die(&format!("{text} is no IPv4 address with port")),
    }
}
