//! Ten thousand devices over TLS from several processes: what each costs the hub, and how soon all are back after a restart.

use super::hub;
use crate::bench::{Program, REST, memory};
use crate::command;
use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

const DEVICES: usize = 10_000;
/// A process has 20 000 open files here; several are more like a fleet.
const PROCESSES: usize = 4;
/// Good for nothing but a hub that lives as long as the measurement.
const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
/// All must be connected in this time.
const LIMIT: Duration = Duration::from_secs(180);
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// Bytes that a device may cost, and seconds until all are back.
const AIM_BYTES: f64 = 25_000.0;
const AIM_SECONDS: f64 = 60.0;

/// How the hub is ended before it is started again.
#[derive(Clone, Copy)]
enum End {
    Killed,
    Stopped,
}

pub fn measure(binary: &Path, example: &Path, folder: &Path) -> Result<()> {
    let bench = Bench::new(binary, folder)?;
    // What the devices cost that are only registered, and what it took to register them, is not a connection's.
    let (mut hub, ready) = bench.start()?;
    sleep(REST);
    let before = Memory::of(&hub)?;
    let begin = Instant::now();
    let mut crowd = Crowd::start(example, &ready)?;
    let first = crowd.wait(0, begin)?;
    sleep(REST);
    let with = Memory::of(&hub)?;
    bench.check()?;
    println!("devices connected over TLS               {DEVICES} from {PROCESSES} processes");
    println!("  the hub's memory without them          {:>8.1} MB", before.now_mb());
    println!("  with them, {} s at rest                {:>8.1} MB", REST.as_secs(), with.now_mb());
    println!("  while they connected, at most          {:>8.1} MB", with.most_mb());
    let each = (with.now - before.now) / DEVICES as f64;
    println!("  a device                               {:>8.2} kB (aim: {})", each / 1e3, AIM_BYTES / 1e3);
    first.print("connected for the first time");
    for (round, end) in [(1, End::Killed), (2, End::Stopped)] {
        let begin = Instant::now();
        match end {
            End::Killed => hub.kill()?,
            End::Stopped => hub.stop()?,
        }
        let down = begin.elapsed();
        hub = bench.start()?.0;
        let ready = begin.elapsed();
        let storm = crowd.wait(round, begin)?;
        storm.print(match end {
            End::Killed => "all back after the hub was killed and started",
            End::Stopped => "all back after the hub was stopped and started",
        });
        println!(
            "    ended after {:.1} s, ready again after {:.1} s (aim for all: {AIM_SECONDS} s)",
            down.as_secs_f64(),
            ready.as_secs_f64()
        );
        sleep(REST);
        let after = Memory::of(&hub)?;
        bench.check()?;
        println!("    the hub's memory then {:.1} MB, at most {:.1} MB", after.now_mb(), after.most_mb());
    }
    drop(crowd);
    hub.stop()
}

/// A hub with registered devices.
struct Bench {
    binary: PathBuf,
    data: PathBuf,
    log: PathBuf,
}

impl Bench {
    fn new(binary: &Path, folder: &Path) -> Result<Self> {
        let device = |number: usize| json!({ "deviceId": format!("device-{number}"), "primaryKey": KEY });
        let seed = folder.join("seed.json");
        fs::write(&seed, json!({ "devices": (0..DEVICES).map(device).collect::<Vec<_>>() }).to_string())?;
        let bench =
            Self { binary: binary.to_owned(), data: folder.join("crowd"), log: folder.join("crowd.log") };
        let mut first = hub(&bench.binary, &bench.data);
        Program::start(first.arg("--seed").arg(seed), &bench.log)?.stop()?;
        Ok(bench)
    }

    fn start(&self) -> Result<(Program, Value)> {
        Program::start_with_line(&mut hub(&self.binary, &self.data), &self.log)
    }

    /// What the hub itself says of who is connected.
    fn check(&self) -> Result<()> {
        let query = "SELECT COUNT() AS n FROM devices WHERE connectionState = 'Connected'";
        let mut command = Command::new(&self.binary);
        command.args(["query", query, "--output", "json", "--data-dir"]).arg(&self.data);
        let said: Value = serde_json::from_str(&command::output(&mut command)?)?;
        let rows = said.as_array().and_then(|rows| rows.first()).unwrap_or(&said);
        ensure!(rows["n"] == DEVICES, "the hub knows of other connections: {said}");
        Ok(())
    }
}

/// Resident memory in bytes.
struct Memory {
    now: f64,
    most: f64,
}

impl Memory {
    fn of(hub: &Program) -> Result<Self> {
        let status = fs::read_to_string(format!("/proc/{}/status", hub.pid))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let most: f64 =
            line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).context("VmHWM")?;
        Ok(Self { now: memory(hub.pid)?.1 as f64 * 1024.0, most: most * 1024.0 })
    }

    fn now_mb(&self) -> f64 {
        self.now / 1e6
    }

    fn most_mb(&self) -> f64 {
        self.most / 1e6
    }
}

/// The processes that hold the devices; ended when dropped.
struct Crowd {
    parts: Vec<Part>,
    /// Attempts that failed until the last wait.
    failed: BTreeMap<String, u64>,
}

struct Part {
    child: Child,
    ask: ChildStdin,
    answers: BufReader<ChildStdout>,
}

/// How a crowd came to be connected.
struct Arrival {
    took: Duration,
    /// Attempts that failed meanwhile, by cause.
    failed: BTreeMap<String, u64>,
}

impl Crowd {
    fn start(example: &Path, ready: &Value) -> Result<Self> {
        let connection = ready["hub_connection_string"].as_str().unwrap_or_default();
        let host = connection.split(';').find_map(|part| part.strip_prefix("HostName="));
        let hub = json!({
            "host": host.context("the ready line names no host")?,
            "address": ready["listeners"]["mqtt"][0],
            "ca": ready["ca_file"],
            "key": KEY,
        });
        let share = DEVICES / PROCESSES;
        let parts = (0..PROCESSES).map(|process| Part::start(example, process * share, share, &hub));
        Ok(Self { parts: parts.collect::<Result<_>>()?, failed: BTreeMap::new() })
    }

    /// Waits until all are connected that lost `rounds` hubs since the beginning.
    fn wait(&mut self, rounds: u64, begin: Instant) -> Result<Arrival> {
        loop {
            let told = self.parts.iter_mut().map(Part::tell).collect::<Result<Vec<_>>>()?;
            let sum = |name: &str| told.iter().filter_map(|told| told[name].as_u64()).sum::<u64>();
            ensure!(sum("ended") == 0, "clients try no more: {told:?}");
            if sum("connected") == DEVICES as u64 && sum("lost") >= rounds * DEVICES as u64 {
                let took = begin.elapsed();
                let mut failed = BTreeMap::new();
                for (cause, count) in told.iter().filter_map(|told| told["failed"].as_object()).flatten() {
                    *failed.entry(cause.clone()).or_default() += count.as_u64().unwrap_or_default();
                }
                let before = std::mem::replace(&mut self.failed, failed.clone());
                for (cause, count) in &mut failed {
                    *count -= before.get(cause).copied().unwrap_or_default();
                }
                failed.retain(|_, count| *count > 0);
                return Ok(Arrival { took, failed });
            }
            if begin.elapsed() > LIMIT {
                bail!("not all are connected after {LIMIT:?}: {told:?}");
            }
            sleep(LOOK_AGAIN);
        }
    }
}

impl Arrival {
    fn print(&self, what: &str) {
        let all: u64 = self.failed.values().sum();
        let causes: Vec<_> = self.failed.iter().map(|(cause, count)| format!("{count} {cause}")).collect();
        let causes = if causes.is_empty() { String::new() } else { format!(": {}", causes.join(", ")) };
        println!("  {what:<38} {:>8.1} s, {all} attempts failed{causes}", self.took.as_secs_f64());
    }
}

impl Part {
    fn start(example: &Path, from: usize, count: usize, hub: &Value) -> Result<Self> {
        let mut command = Command::new(example);
        command.args([from, from + count].map(|number| number.to_string()));
        command.env("IRONBROOK_CROWD", hub.to_string()).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn()?;
        let ask = child.stdin.take().context("no standard input")?;
        let answers = BufReader::new(child.stdout.take().context("no standard output")?);
        Ok(Self { child, ask, answers })
    }

    fn tell(&mut self) -> Result<Value> {
        self.ask.write_all(b"\n")?;
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        serde_json::from_str(&line).context("a part of the crowd ended")
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // An already ended process is no error here.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
