//! How each server is run: pinned, on ports of its own, with a fresh folder.

use super::scenario::Scenario;
use super::{GENERATOR_CPU, SERVER_CPU, Tools};
use crate::bench::Program;
use anyhow::{Context as _, Result, bail};
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a server may take to listen.
const START: Duration = Duration::from_secs(30);
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// Where Debian puts what only root usually runs.
const SBIN: &str = "/usr/sbin/mosquitto";

/// A server that is measured.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// The yardstick: the least server that syncs before it acknowledges.
    Sink,
    Mosquitto,
    Rumqttd,
    Ironbrook,
}

impl Kind {
    pub const ALL: [Self; 4] = [Self::Sink, Self::Mosquitto, Self::Rumqttd, Self::Ironbrook];

    pub fn name(self) -> &'static str {
        match self {
            Self::Sink => "sink",
            Self::Mosquitto => "mosquitto",
            Self::Rumqttd => "rumqttd",
            Self::Ironbrook => "ironbrook",
        }
    }
}

/// A running server, killed when dropped.
pub struct Server {
    pub kind: Kind,
    pub address: SocketAddr,
    process: Process,
}

enum Process {
    Plain(Child),
    /// It says itself when it is ready, and where it listens.
    Hub(Program),
}

impl Server {
    /// Starts it with everything it writes in `folder`, and waits until it listens. Ordinary topics have a port of their own
    /// only in the hub.
    pub fn start(kind: Kind, tools: &Tools, folder: &Path, scenario: &Scenario) -> Result<Self> {
        if kind == Kind::Ironbrook {
            return hub(tools, folder, scenario);
        }
        let tls = scenario.tls;
        let address = free_address()?;
        let mut command = match kind {
            Kind::Mosquitto => mosquitto(tools, folder, tls, address)?,
            Kind::Rumqttd => rumqttd(tools, folder, tls, address)?,
            Kind::Sink | Kind::Ironbrook => sink(tools, folder, tls, address),
        };
        let log = fs::File::create(folder.join("log"))?;
        let child = command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()?;
        let mut server = Self { kind, address, process: Process::Plain(child) };
        server.wait(&folder.join("log"))?;
        Ok(server)
    }

    pub fn pid(&self) -> u32 {
        match &self.process {
            Process::Plain(child) => child.id(),
            Process::Hub(program) => program.pid,
        }
    }

    /// The most memory it has had, in MB.
    pub fn peak_memory(&self) -> f64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kb = line.and_then(|rest| rest.split_whitespace().next()?.parse::<f64>().ok());
        kb.unwrap_or(f64::NAN) / 1024.0
    }

    fn wait(&mut self, log: &Path) -> Result<()> {
        let begin = Instant::now();
        while TcpStream::connect(self.address).is_err() {
            let ended = match &mut self.process {
                Process::Plain(child) => child.try_wait()?.is_some(),
                Process::Hub(_) => false,
            };
            if ended || begin.elapsed() > START {
                bail!("it does not listen: {}", fs::read_to_string(log).unwrap_or_default());
            }
            std::thread::sleep(LOOK_AGAIN);
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // An already ended process is no error here.
        let (Process::Plain(child) | Process::Hub(Program { child, .. })) = &mut self.process;
        let _ = child.kill();
        let _ = child.wait();
    }
}

fn pinned(program: impl AsRef<Path>) -> Command {
    on_cpus(SERVER_CPU, program)
}

fn on_cpus(cpus: &str, program: impl AsRef<Path>) -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", cpus]).arg(program.as_ref());
    command
}

fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

fn sink(tools: &Tools, folder: &Path, tls: bool, address: SocketAddr) -> Command {
    let mut command = pinned(&tools.sink);
    command.args(["--addr", &address.to_string(), "--wal"]).arg(folder.join("wal"));
    if tls {
        command.arg("--tls").arg(&tools.certificate).arg(&tools.key);
    }
    command
}

/// Without the limits that would drop or throttle.
fn mosquitto(tools: &Tools, folder: &Path, tls: bool, address: SocketAddr) -> Result<Command> {
    let mut text = format!(
        "listener {} {}\nallow_anonymous true\nuser root\npersistence false\nlog_type error\nset_tcp_nodelay true\n\
         max_inflight_messages 0\nmax_queued_messages 0\n",
        address.port(),
        address.ip()
    );
    if tls {
        text += &format!("certfile {}\nkeyfile {}\n", tools.certificate.display(), tools.key.display());
    }
    let file = folder.join("mosquitto.conf");
    fs::write(&file, text)?;
    let mut command = pinned(if Path::new(SBIN).exists() { SBIN } else { "mosquitto" });
    command.arg("-c").arg(file);
    Ok(command)
}

fn rumqttd(tools: &Tools, folder: &Path, tls: bool, address: SocketAddr) -> Result<Command> {
    let mut text = format!(
        "id = 0\n[router]\nid = 0\nmax_connections = 20000\nmax_outgoing_packet_count = 200\n\
         max_segment_size = 104857600\nmax_segment_count = 10\n\
         [v4.1]\nname = 'v4-1'\nlisten = '{address}'\nnext_connection_delay_ms = 0\n\
         [v4.1.connections]\nconnection_timeout_ms = 60000\nmax_payload_size = 1048576\nmax_inflight_count = 1000\n\
         dynamic_filters = true\n"
    );
    if tls {
        let (certificate, key) = (tools.certificate.display(), tools.key.display());
        text += &format!("[v4.1.tls]\ncertpath = '{certificate}'\nkeypath = '{key}'\n");
    }
    let file = folder.join("rumqttd.toml");
    fs::write(&file, text)?;
    let mut command = pinned(&tools.rumqttd);
    command.arg("--quiet").arg("-c").arg(file);
    Ok(command)
}

/// A configuration that has the log encrypted, with a key that is good for nothing else.
fn encryption(folder: &Path) -> Result<PathBuf> {
    let (key, config) = (folder.join("log.key"), folder.join("ironbrook.toml"));
    fs::write(&key, "5a".repeat(32))?;
    fs::write(&config, format!("[log]\nencryption_key_file = '{}'\n", key.display()))?;
    Ok(config)
}

/// The hub alone, as a user starts it, but for its ports.
fn hub(tools: &Tools, folder: &Path, scenario: &Scenario) -> Result<Server> {
    let cpus = match scenario.workers {
        1 => SERVER_CPU.to_owned(),
        _ => format!("{SERVER_CPU},{GENERATOR_CPU}"),
    };
    let mut command = on_cpus(&cpus, &tools.ironbrook);
    command.args(["dev", "--workers", &scenario.workers.to_string()]);
    command.args(["--no-edge", "--no-thermistor", "--profile", "native", "--output", "json"]);
    command.args(["--mqtt-plain", "127.0.0.1:0", "--seed"]).arg(&tools.seed);
    if scenario.ordinary_topics {
        command.args(["--mqtt-topics", "127.0.0.1:0", "--mqtt-anonymous"]);
    }
    if scenario.encrypted {
        command.arg("--config").arg(encryption(folder)?);
    }
    command.arg("--data-dir").arg(folder.join("data")).current_dir(folder);
    for port in ["MQTT", "HTTPS", "HTTPS_FALLBACK", "AMQP", "AMQP_PLAIN", "PORTAL", "BLOB"] {
        command.env(format!("IRONBROOK__LISTEN__{port}"), "127.0.0.1:0");
    }
    let (program, ready) = Program::start_with_line(&mut command, &folder.join("log"))?;
    let listener = match (scenario.ordinary_topics, scenario.tls) {
        (true, _) => "mqtt_topics",
        (false, true) => "mqtt",
        (false, false) => "mqtt_plain",
    };
    let address = ready["listeners"][listener][0].as_str();
    let address = address.context("the ready line names no MQTT listener")?.parse()?;
    Ok(Server { kind: Kind::Ironbrook, address, process: Process::Hub(program) })
}
