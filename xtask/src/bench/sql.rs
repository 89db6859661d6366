//! Stream queries against the peers: one pinned core each, JSON decoded from the same files, ratios in one run.
//!
//! The engine's side is the example `measure` of `analytics`; Flink and DataFusion run the same query from `benches/sql`, and
//! `benches/json` reads the same bytes with the two fastest JSON libraries and does nothing else.

use super::BUILD_LIMIT;
use crate::{command, paths, tools};
use anyhow::{Context as _, Result, bail};
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// All that is measured runs on this one.
const CPU: &str = "1";
const EVENTS: &str = "2000000";
/// Of several runs the median counts.
const RUNS: usize = 3;

const RESET: &str = "SELECT 'reset' AS command INTO alert FROM temperature TIMESTAMP BY timeCreated \
                     GROUP BY TumblingWindow(second, 30) HAVING AVG(machine.temperature) > 25";
const HOPPING: &str = "SELECT deviceId, COUNT(*) AS n, AVG(temperature) AS mean INTO o \
                       FROM temperature TIMESTAMP BY timeCreated GROUP BY deviceId, HoppingWindow(second, 60, 10)";
/// One event in sixteen passes.
const FILTER: &str =
    "SELECT * INTO o FROM temperature TIMESTAMP BY timeCreated WHERE machine.temperature >= 30";
const EACH: &str = "SELECT machine.temperature AS t INTO o FROM temperature TIMESTAMP BY timeCreated";

/// What is kept for each of a million keys: an average, and all that the aim of 200 bytes is about.
const AVERAGE: &str = "AVG(t) AS v";
const ALL_COMMON: &str = "COUNT(t) AS n, SUM(t) AS s, AVG(t) AS a, MIN(t) AS l, MAX(t) AS g";

/// What a program printed: names and numbers in turn.
type Figures = HashMap<String, f64>;

/// One line of the table.
struct Row {
    what: &'static str,
    rate: f64,
    against: String,
    aim: &'static str,
    reached: bool,
    floor: bool,
}

pub fn run() -> Result<()> {
    let folder = paths::cache()?.join(format!("bench-sql-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    let measured = Bench::new(folder.clone()).and_then(|bench| bench.measure());
    fs::remove_dir_all(&folder)?;
    measured
}

struct Bench {
    measure: PathBuf,
    json: PathBuf,
    datafusion: PathBuf,
    flink: PathBuf,
    sensor: PathBuf,
    keys: PathBuf,
}

impl Bench {
    fn new(folder: PathBuf) -> Result<Self> {
        tools::system_packages(tools::NETWORK)?;
        tools::system_packages(tools::JAVA)?;
        let mut build = command::cargo();
        build.args(["build", "--release", "--package", "ironbrook-analytics", "--example", "measure"]);
        command::run(&mut build, BUILD_LIMIT)?;
        let metadata = paths::metadata()?;
        let target =
            metadata["target_directory"].as_str().context("cargo metadata names no target folder")?;
        let target = Path::new(target);
        let others = target.join("benches");
        let mut json = command::cargo();
        json.current_dir(paths::root().join("benches/json")).args(["build", "--release", "--locked"]);
        command::run(json.env("CARGO_TARGET_DIR", &others), BUILD_LIMIT)?;
        let bench = Self {
            measure: target.join("release/examples/measure"),
            json: others.join("release/json"),
            datafusion: tools::python(&["benches/sql/datafusion.txt"])?,
            flink: tools::python(&["benches/sql/flink.txt"])?,
            sensor: folder.join("sensor.json"),
            keys: folder.join("keys.json"),
        };
        for (kind, file) in [("sensor", &bench.sensor), ("keys", &bench.keys)] {
            command::output(Command::new(&bench.measure).args(["events", kind, EVENTS]).arg(file))?;
        }
        Ok(bench)
    }

    fn measure(&self) -> Result<()> {
        let reset = self.ours(&self.sensor, RESET, "0")?;
        let tolerant = self.ours(&self.sensor, RESET, "5")?;
        let hopping = self.ours(&self.keys, HOPPING, "0")?;
        let filter = self.ours(&self.sensor, FILTER, "0")?;
        let datafusion = self.peer(&self.datafusion, "benches/sql/datafusion_query.py")?;
        let flink = self.peer(&self.flink, "benches/sql/flink_query.py")?;
        let json = |library| pinned(&self.json).args([library]).arg(&self.sensor).figures("seconds");
        let (simd, sonic) = (rate(json("simd-json")?)?, rate(json("sonic-rs")?)?);
        let fastest = simd.max(sonic);
        let rows = [
            Row::new("reset query", reset, "2 M/s", 2e6).against("DataFusion", datafusion, "1.4", 1.4),
            Row::new("  5 s out of order", tolerant, "", 0.0).against("Flink", flink, "", 0.0),
            Row::new("hopping, 10,000 keys", hopping, "1 M/s", 1e6),
            Row::new("filter, SELECT *", filter, "", 0.0).against("fastest JSON", fastest, "0.6", 0.6),
        ];
        println!("{EVENTS} events of 140 bytes, core {CPU}, medians of {RUNS} runs");
        println!("simd-json {:.2} M/s, sonic-rs {:.2} M/s alone", simd / 1e6, sonic / 1e6);
        rows.iter().for_each(Row::print);
        let latency = pinned(&self.measure).args(["latency", EACH]).figures("p99")?;
        println!(
            "event to row at 10,000 events/s: p50 {} µs, p99 {} µs, worst {} µs (aim: p99 1000 µs)",
            latency["p50"], latency["p99"], latency["worst"]
        );
        for aggregates in [AVERAGE, ALL_COMMON] {
            command::run(pinned(&self.measure).args(["keys", "1000000", aggregates]), BUILD_LIMIT)?;
        }
        Ok(())
    }

    fn ours(&self, file: &Path, query: &str, tolerance: &str) -> Result<f64> {
        let run = || pinned(&self.measure).arg("run").arg(file).args([query, tolerance]).figures("seconds");
        median(run)
    }

    fn peer(&self, python: &Path, script: &str) -> Result<f64> {
        let run = || pinned(python).arg(paths::root().join(script)).arg(&self.sensor).figures("seconds");
        median(run)
    }
}

impl Row {
    fn new(what: &'static str, rate: f64, aim: &'static str, least: f64) -> Self {
        let (reached, floor) = (rate >= least, rate >= 0.7 * least);
        Self { what, rate, against: String::new(), aim, reached, floor }
    }

    fn against(mut self, peer: &str, rate: f64, aim: &str, least: f64) -> Self {
        let ratio = self.rate / rate;
        self.against = format!("{ratio:.2} x {peer} ({:.2} M/s)", rate / 1e6);
        if !aim.is_empty() {
            self.against += &format!(", aim {aim} x");
        }
        self.reached &= ratio >= least;
        self.floor &= ratio >= 0.7 * least;
        self
    }

    fn print(&self) {
        let verdict = match (self.reached, self.floor) {
            (true, _) => "reached",
            (false, true) => "above floor",
            (false, false) => "BELOW FLOOR",
        };
        println!(
            "{:<22} {:>6.2} M/s  {:<48} {:<6} {verdict}",
            self.what,
            self.rate / 1e6,
            self.against,
            self.aim
        );
    }
}

fn pinned(program: &Path) -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", CPU]).arg(program);
    command
}

trait Measured {
    fn figures(&mut self, needed: &str) -> Result<Figures>;
}

impl Measured for Command {
    /// The figures in the last line of what it prints.
    fn figures(&mut self, needed: &str) -> Result<Figures> {
        let text = command::output(self)?;
        let words: Vec<_> = text.lines().last().unwrap_or_default().split_whitespace().collect();
        let pair = |pair: &[&str]| Some((pair.first()?.to_string(), pair.get(1)?.parse().ok()?));
        let figures: Figures = words.chunks(2).filter_map(pair).collect();
        if !figures.contains_key(needed) {
            bail!("no figure {needed} in: {text}");
        }
        Ok(figures)
    }
}

fn rate(figures: Figures) -> Result<f64> {
    Ok(EVENTS.parse::<f64>()? / figures["seconds"].max(f64::MIN_POSITIVE))
}

fn median(mut run: impl FnMut() -> Result<Figures>) -> Result<f64> {
    let mut rates = (0..RUNS).map(|_| rate(run()?)).collect::<Result<Vec<_>>>()?;
    rates.sort_unstable_by(f64::total_cmp);
    Ok(rates[RUNS / 2])
}
