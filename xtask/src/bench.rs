//! `cargo xtask bench`: measurements by name.

mod edge;
mod hub;
mod mqtt;
mod sql;

use crate::{command, paths};
use anyhow::{Context as _, Result, bail};
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

struct Bench {
    name: &'static str,
    what: &'static str,
    /// Gets the options.
    run: fn(&[String]) -> Result<()>,
}

const BENCHES: &[Bench] = &[
    Bench {
        name: "rest",
        what: "time to ready at the second start, and memory after ten seconds at rest",
        run: |options| no_options(options).and_then(|()| rest()),
    },
    Bench {
        name: "edge",
        what: "an edge device with sensor and stream query: time to the first message, memory, CPU",
        run: |options| no_options(options).and_then(|()| edge::run()),
    },
    Bench {
        name: "hub",
        what: "registry: twin patches, methods, queries over 100,000 twins; 10,000 devices over TLS and their return",
        run: hub::run,
    },
    Bench {
        name: "mqtt",
        what: "MQTT against mosquitto, rumqttd and the least durable server: rates, CPU per message, memory",
        run: mqtt::run,
    },
    Bench {
        name: "sql",
        what: "stream queries against Flink, DataFusion and JSON libraries: rates, latency, memory of keys",
        run: |options| no_options(options).and_then(|()| sql::run()),
    },
    Bench {
        name: "topics",
        what: "ordinary topics: a million subscriptions, a hundred thousand retained messages: time and memory",
        run: |options| no_options(options).and_then(|()| topics()),
    },
];

/// A release build from nothing.
const BUILD_LIMIT: Duration = Duration::from_secs(3600);
/// Memory is read after this time without clients besides the simulated sensor.
const REST: Duration = Duration::from_secs(10);

/// Runs the named benches, or all. What follows the names and begins with a hyphen is for them.
pub fn run(arguments: &[String]) -> Result<()> {
    let end = arguments.iter().position(|word| word.starts_with('-')).unwrap_or(arguments.len());
    let (names, options) = arguments.split_at(end);
    let known = || BENCHES.iter().map(|bench| bench.name).collect::<Vec<_>>();
    if let Some(unknown) = names.iter().find(|name| !known().contains(&name.as_str())) {
        bail!("no bench `{unknown}`; there are: {}", known().join(", "));
    }
    for bench in
        BENCHES.iter().filter(|bench| names.is_empty() || names.iter().any(|name| name == bench.name))
    {
        println!("==== {}: {}", bench.name, bench.what);
        (bench.run)(options)?;
    }
    Ok(())
}

fn no_options(options: &[String]) -> Result<()> {
    match options.first() {
        None => Ok(()),
        Some(option) => bail!("this bench has no option {option}"),
    }
}

/// Builds the binary as it is released.
fn build() -> Result<()> {
    let build = &mut command::cargo();
    command::run(build.args(["build", "--release", "--package", "ironbrook-cli"]), BUILD_LIMIT)
}

fn topics() -> Result<()> {
    let bench = &mut command::cargo();
    command::run(
        bench.args(["run", "--release", "--quiet", "--package", "ironbrook-pubsub", "--example", "topics"]),
        BUILD_LIMIT,
    )
}

fn rest() -> Result<()> {
    build()?;
    let binary = paths::binary("release")?;
    let folder = paths::cache()?.join(format!("bench-rest-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    let start = || {
        let mut hub = command::isolated(&binary);
        hub.args(["dev", "--output", "json", "--data-dir"]).arg(folder.join("data"));
        Program::start(&mut hub, &folder.join("bench.log"))
    };
    let mut hub = start()?;
    let first = hub.ready_after;
    hub.stop()?;
    hub = start()?;
    std::thread::sleep(REST);
    let (pss, rss) = memory(hub.pid)?;
    hub.stop()?;
    fs::remove_dir_all(&folder)?;
    println!("first start to ready   {:>8.0} ms", first.as_secs_f64() * 1000.0);
    println!("second start to ready  {:>8.0} ms", hub.ready_after.as_secs_f64() * 1000.0);
    println!("PSS after {} s at rest {:>8.1} MB", REST.as_secs(), pss as f64 / 1024.0);
    println!("RSS after {} s at rest {:>8.1} MB", REST.as_secs(), rss as f64 / 1024.0);
    Ok(())
}

/// A running program that has said in a line of JSON that it is ready; killed if it is dropped.
struct Program {
    child: Child,
    pid: u32,
    ready_after: Duration,
}

impl Program {
    fn start(command: &mut Command, log: &Path) -> Result<Self> {
        Ok(Self::start_with_line(command, log)?.0)
    }

    /// Also what the line says.
    fn start_with_line(command: &mut Command, log: &Path) -> Result<(Self, serde_json::Value)> {
        let begin = Instant::now();
        let mut child = command.stdout(Stdio::piped()).stderr(fs::File::create(log)?).spawn()?;
        let stdout = child.stdout.take().context("no standard output")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        let ready_after = begin.elapsed();
        let ready: serde_json::Value = serde_json::from_str(&line)
            .with_context(|| format!("not ready: {}", fs::read_to_string(log).unwrap_or_default()))?;
        let pid = ready["pid"].as_u64().and_then(|pid| pid.try_into().ok());
        Ok((Self { child, pid: pid.context("the ready line has no pid")?, ready_after }, ready))
    }

    /// As Ctrl-C does: drains and stops.
    fn stop(&mut self) -> Result<()> {
        command::output(Command::new("kill").args(["-INT", &self.pid.to_string()]))?;
        let status = self.child.wait()?;
        if !status.success() {
            bail!("the program ended with {status}");
        }
        Ok(())
    }

    /// As a crash does.
    fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // An already ended process is no error here.
        let _ = self.child.kill();
    }
}

/// Proportional and resident set size in kB.
fn memory(pid: u32) -> Result<(u64, u64)> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|rest| rest.split_whitespace().next()?.parse().ok())
            .context("smaps_rollup has no such line")
    };
    Ok((field("Pss:")?, field("Rss:")?))
}
