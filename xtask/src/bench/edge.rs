//! An edge device with sensor and stream query: how soon it speaks, and what it weighs.
//!
//! The hub is a process of its own from a copy of the binary, so that no page of the edge device is shared with it.

use super::{Program, REST, build, memory};
use crate::{command, paths, process_tree};
use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Set in the process that measures. Hub and edge device need the standard ports at two addresses of one machine.
const INSIDE: &str = "IRONBROOK_BENCH_INSIDE";
const LIMIT: Duration = Duration::from_secs(600);
const DEVICE: &str = "edge-1";
/// Good for nothing but a hub that lives as long as the measurement.
const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const SENSOR: &str = "SimulatedTemperatureSensor";
const FIRST_MESSAGE: Duration = Duration::from_secs(60);
/// Pauses of the sensor, of the tutorial and for 100 messages a second.
const SLOW: &str = "00:00:05";
const FAST: &str = "00:00:00.01";
const LOAD: Duration = Duration::from_secs(20);
/// Clock ticks of `/proc/PID/stat` a second, on every Linux of today.
const TICKS: f64 = 100.0;

pub fn run() -> Result<()> {
    if std::env::var_os(INSIDE).is_some() {
        return measure();
    }
    build()?;
    // By the name it was called: a build takes long enough for its file to be replaced, and then the running one has no path.
    let this = std::env::args_os().next().context("this program has no name")?;
    let mut inside = command::isolated(PathBuf::from(this));
    command::run(inside.args(["bench", "edge"]).env(INSIDE, "1"), LIMIT)
}

fn measure() -> Result<()> {
    let folder = paths::cache()?.join(format!("bench-edge-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    let bench = Bench::new(folder.clone())?;
    let (first, mut edge) = bench.first_message()?;
    edge.stop()?;
    let (second, mut edge) = bench.first_message()?;
    sleep(REST);
    let rest = Weight::of(&edge)?;
    bench.set_modules(FAST)?;
    let (rate, load, cpu) = bench.load(&edge)?;
    edge.stop()?;
    drop(bench);
    fs::remove_dir_all(&folder)?;
    println!("first start to first message upstream  {:>6.0} ms", first.as_secs_f64() * 1000.0);
    println!("second start to first message upstream {:>6.0} ms", second.as_secs_f64() * 1000.0);
    println!("(aims: 2000 ms; 40 MB for the whole tree)");
    println!("PSS in MB                      at rest  at {rate:.0} msg/s");
    for (name, mb) in &rest.0 {
        println!("  {name:<28} {mb:>7.1}  {:>7.1}", load.get(name));
    }
    println!("  {:<28} {:>7.1}  {:>7.1}", "whole tree", rest.sum(), load.sum());
    println!("CPU of the tree at {rate:.0} msg/s      {:>6.1} % of one core", cpu * 100.0);
    Ok(())
}

/// A hub with a registered edge device, and someone who reads what arrives.
struct Bench {
    folder: PathBuf,
    /// The edge device's binary.
    binary: PathBuf,
    arrivals: Receiver<(Instant, Value)>,
    monitor: Child,
    _hub: Program,
}

impl Bench {
    fn new(folder: PathBuf) -> Result<Self> {
        let binary = paths::binary("release")?;
        let hub_binary = folder.join("ironbrook-hub");
        fs::copy(&binary, &hub_binary)?;
        let seed = folder.join("seed.json");
        let device = json!({ "deviceId": DEVICE, "iotEdge": true, "primaryKey": KEY });
        fs::write(&seed, json!({ "devices": [device] }).to_string())?;
        let mut command = Command::new(&hub_binary);
        command.args(["dev", "--no-edge", "--no-thermistor", "--output", "json", "--seed"]);
        command.arg(seed).arg("--data-dir").arg(folder.join("hub"));
        let hub = Program::start(&mut command, &folder.join("hub.log"))?;
        let (monitor, arrivals) = monitor(&hub_binary, &folder.join("hub"))?;
        let bench = Self { folder, binary, arrivals, monitor, _hub: hub };
        bench.set_modules(SLOW)?;
        Ok(bench)
    }

    /// The tutorial's deployment with a pause of the sensor.
    fn set_modules(&self, delay: &str) -> Result<()> {
        let tutorial = paths::root().join("crates/cli/src/dev/deployment.json");
        let mut deployment: Value = serde_json::from_str(&fs::read_to_string(&tutorial)?)?;
        let modules = &mut deployment["modulesContent"];
        modules["$edgeAgent"]["properties.desired"]["modules"][SENSOR]["env"]["MessageDelay"] =
            json!({ "value": delay });
        // The interval in the twin would win over the variable.
        modules[SENSOR] = json!({ "properties.desired": { "SendData": true } });
        let file = self.folder.join("deployment.json");
        fs::write(&file, deployment.to_string())?;
        let mut command = Command::new(&self.binary);
        command.args(["edge", "set-modules", "--device", DEVICE, "--data-dir"]).arg(self.folder.join("hub"));
        command::output(command.arg(file)).map(drop)
    }

    /// Starts the edge device and waits for the first message of its sensor.
    fn first_message(&self) -> Result<(Duration, Program)> {
        while self.arrivals.try_recv().is_ok() {}
        let begin = Instant::now();
        let mut command = Command::new(&self.binary);
        command.args(["edge", "run", "--output", "json", "--ca"]).arg(self.folder.join("hub/ca/ca.pem"));
        command.arg("--data-dir").arg(self.folder.join("edge"));
        let connection_string = format!("HostName=localhost;DeviceId={DEVICE};SharedAccessKey={KEY}");
        command.env("IRONBROOK_EDGE_CONNECTION_STRING", connection_string);
        let edge = Program::start(&mut command, &self.folder.join("edge.log"))?;
        let first = self.next(begin + FIRST_MESSAGE)?.context("no message came upstream")?;
        Ok((first - begin, edge))
    }

    /// When the next message of the sensor comes, if before `deadline`.
    fn next(&self, deadline: Instant) -> Result<Option<Instant>> {
        loop {
            match self.arrivals.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok((at, message)) if message["module"] == SENSOR => return Ok(Some(at)),
                Ok(_) => {}
                Err(mpsc::RecvTimeoutError::Timeout) => return Ok(None),
                Err(mpsc::RecvTimeoutError::Disconnected) => bail!("`messages monitor` ended"),
            }
        }
    }

    /// Messages a second that come upstream, the weight meanwhile, and how much of a core is used.
    fn load(&self, edge: &Program) -> Result<(f64, Weight, f64)> {
        // The sensor has its new pause when messages come close together.
        let mut last = Instant::now();
        loop {
            let at = self.next(last + FIRST_MESSAGE)?.context("the sensor fell silent")?;
            if at - last < Duration::from_millis(100) {
                break;
            }
            last = at;
        }
        sleep(REST);
        while self.arrivals.try_recv().is_ok() {}
        let (begin, before) = (Instant::now(), cpu(edge)?);
        let mut count = 0;
        while self.next(begin + LOAD)?.is_some() {
            count += 1;
        }
        let took = begin.elapsed().as_secs_f64();
        Ok((f64::from(count) / took, Weight::of(edge)?, (cpu(edge)? - before) / took))
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        // An already ended process is no error here.
        let _ = self.monitor.kill();
        let _ = self.monitor.wait();
    }
}

/// Follows the events endpoint.
fn monitor(binary: &Path, data_dir: &Path) -> Result<(Child, Receiver<(Instant, Value)>)> {
    let mut command = Command::new(binary);
    command.args(["messages", "monitor", "--output", "json", "--data-dir"]).arg(data_dir);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
    let lines = BufReader::new(child.stdout.take().context("no standard output")?).lines();
    let (arrived, arrivals) = mpsc::channel();
    std::thread::spawn(move || {
        for line in lines.map_while(Result::ok) {
            let message = serde_json::from_str(&line).unwrap_or_default();
            if arrived.send((Instant::now(), message)).is_err() {
                return;
            }
        }
    });
    Ok((child, arrivals))
}

/// Proportional set size in MB, by process.
struct Weight(Vec<(String, f64)>);

impl Weight {
    fn of(edge: &Program) -> Result<Self> {
        let weigh = |pid: u32| Ok((name(pid)?, memory(pid)?.0 as f64 / 1024.0));
        process_tree::members(edge.pid).into_iter().map(weigh).collect::<Result<_>>().map(Self)
    }

    fn get(&self, name: &str) -> f64 {
        self.0.iter().find(|(other, _)| other == name).map_or(0.0, |(_, mb)| *mb)
    }

    fn sum(&self) -> f64 {
        self.0.iter().map(|(_, mb)| mb).sum()
    }
}

/// The first arguments of a process.
fn name(pid: u32) -> Result<String> {
    let line = fs::read_to_string(format!("/proc/{pid}/cmdline"))?;
    Ok(line.split('\0').skip(1).take(2).collect::<Vec<_>>().join(" "))
}

/// Seconds that the living processes of the tree have computed.
fn cpu(edge: &Program) -> Result<f64> {
    let ticks = |pid: u32| -> Result<f64> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let fields = stat.rsplit_once(')').context("stat has no name")?.1;
        let field = |index: usize| fields.split_ascii_whitespace().nth(index)?.parse::<f64>().ok();
        Ok((field(11).context("utime")? + field(12).context("stime")?) / TICKS)
    };
    process_tree::members(edge.pid).into_iter().map(ticks).sum()
}
