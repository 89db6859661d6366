//! `cargo xtask bench`: measurements by name.

use crate::{command, paths};
use anyhow::{Context as _, Result, bail};
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

struct Bench {
    name: &'static str,
    what: &'static str,
    run: fn() -> Result<()>,
}

const BENCHES: &[Bench] = &[Bench {
    name: "rest",
    what: "time to ready at the second start, and memory after ten seconds at rest",
    run: rest,
}];

/// A release build from nothing.
const BUILD_LIMIT: Duration = Duration::from_secs(3600);
/// Memory is read after this time without clients besides the simulated sensor.
const REST: Duration = Duration::from_secs(10);

/// Runs the named benches, or all.
pub fn run(names: &[String]) -> Result<()> {
    let known = || BENCHES.iter().map(|bench| bench.name).collect::<Vec<_>>();
    if let Some(unknown) = names.iter().find(|name| !known().contains(&name.as_str())) {
        bail!("no bench `{unknown}`; there are: {}", known().join(", "));
    }
    for bench in
        BENCHES.iter().filter(|bench| names.is_empty() || names.iter().any(|name| name == bench.name))
    {
        println!("==== {}: {}", bench.name, bench.what);
        (bench.run)()?;
    }
    Ok(())
}

fn rest() -> Result<()> {
    let build = &mut command::cargo();
    command::run(build.args(["build", "--release", "--package", "ironbrook-cli"]), BUILD_LIMIT)?;
    let binary = paths::binary("release")?;
    let folder = paths::cache()?.join(format!("bench-rest-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    let (first, mut hub) = start(&binary, &folder)?;
    hub.stop()?;
    let (second, mut hub) = start(&binary, &folder)?;
    std::thread::sleep(REST);
    let (pss, rss) = memory(hub.pid)?;
    hub.stop()?;
    fs::remove_dir_all(&folder)?;
    println!("first start to ready   {:>8.0} ms", first.as_secs_f64() * 1000.0);
    println!("second start to ready  {:>8.0} ms", second.as_secs_f64() * 1000.0);
    println!("PSS after {} s at rest {:>8.1} MB", REST.as_secs(), pss as f64 / 1024.0);
    println!("RSS after {} s at rest {:>8.1} MB", REST.as_secs(), rss as f64 / 1024.0);
    Ok(())
}

/// A running hub; killed if it is dropped.
struct Hub {
    child: Child,
    pid: u64,
}

impl Hub {
    /// As Ctrl-C does: drains and stops.
    fn stop(&mut self) -> Result<()> {
        command::output(Command::new("kill").args(["-INT", &self.pid.to_string()]))?;
        let status = self.child.wait()?;
        if !status.success() {
            bail!("`ironbrook dev` ended with {status}");
        }
        Ok(())
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        // An already ended process is no error here.
        let _ = self.child.kill();
    }
}

fn start(binary: &Path, folder: &Path) -> Result<(Duration, Hub)> {
    let log: PathBuf = folder.join("bench.log");
    let begin = Instant::now();
    let mut child = command::isolated(binary)
        .args(["dev", "--output", "json", "--data-dir"])
        .arg(folder.join("data"))
        .stdout(Stdio::piped())
        .stderr(fs::File::create(&log)?)
        .spawn()?;
    let stdout = child.stdout.take().context("no standard output")?;
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line)?;
    let took = begin.elapsed();
    let ready: serde_json::Value = serde_json::from_str(&line)
        .with_context(|| format!("not ready: {}", fs::read_to_string(&log).unwrap_or_default()))?;
    let pid = ready["pid"].as_u64().context("the ready line has no pid")?;
    Ok((took, Hub { child, pid }))
}

/// Proportional and resident set size in kB.
fn memory(pid: u64) -> Result<(u64, u64)> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|rest| rest.split_whitespace().next()?.parse().ok())
            .context("smaps_rollup has no such line")
    };
    Ok((field("Pss:")?, field("Rss:")?))
}
