//! MQTT against the peers: one pinned server core, one pinned generator, 256 B payloads, medians of several runs.
//!
//! Start with [`scenario`] for what is measured and what is aimed at, then [`server`] for how each server is run. The generator and
//! `sink`, the yardstick, are in `benches/loadgen`; its README defines the scenarios.

mod devices;
mod figures;
mod scenario;
mod server;
mod verdict;

use super::build;
use crate::{command, paths, tools};
use anyhow::{Context as _, Result, bail};
use figures::Figures;
use scenario::{SCENARIOS, Scenario};
use server::{Kind, Server};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Servers run on the first CPU and the generator on the second, so that rates are those of one core.
const SERVER_CPU: &str = "0";
const GENERATOR_CPU: &str = "1";
/// Runs of each scenario and server, of which the medians are shown.
const REPETITIONS: usize = 5;
/// Seconds of a run.
const SECONDS: &str = "3";
/// A build of the generator from nothing.
const BUILD_LIMIT: Duration = Duration::from_secs(1800);

/// What the command line asks for.
struct Options {
    only: Vec<String>,
    servers: Vec<String>,
    repetitions: usize,
    seconds: String,
    /// What to measure in place of a new build.
    binary: Option<PathBuf>,
}

impl Options {
    fn read(words: &[String]) -> Result<Self> {
        let mut options = Self {
            only: Vec::new(),
            servers: Vec::new(),
            repetitions: REPETITIONS,
            seconds: SECONDS.to_owned(),
            binary: None,
        };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let value = words.next().with_context(|| format!("{word} needs a value"))?;
            let list = || value.split(',').map(str::to_owned).collect();
            match word.as_str() {
                "--only" => options.only = list(),
                "--servers" => options.servers = list(),
                "--reps" => {
                    options.repetitions = value.parse::<usize>().context("--reps takes a number")?.max(1)
                }
                "--secs" => {
                    options.seconds = value.parse::<f64>().context("--secs takes a number")?.to_string()
                }
                "--binary" => options.binary = Some(fs::canonicalize(value).with_context(|| value.clone())?),
                _ => bail!("`bench mqtt` has --only, --servers, --reps, --secs and --binary, not {word}"),
            }
        }
        let unknown = |given: &[String], known: &[&str]| {
            given
                .iter()
                .find(|name| !known.contains(&name.as_str()))
                .map_or(Ok(()), |name| bail!("`{name}` is none of {}", known.join(", ")))
        };
        unknown(&options.only, &SCENARIOS.iter().map(|scenario| scenario.name).collect::<Vec<_>>())?;
        unknown(&options.servers, &Kind::ALL.map(Kind::name))?;
        Ok(options)
    }

    fn wants(&self, scenario: &Scenario) -> bool {
        self.only.is_empty() || self.only.iter().any(|name| name == scenario.name)
    }

    fn wants_server(&self, kind: Kind) -> bool {
        self.servers.is_empty() || self.servers.iter().any(|name| name == kind.name())
    }
}

/// What servers need, made once.
struct Tools {
    ironbrook: PathBuf,
    loadgen: PathBuf,
    sink: PathBuf,
    rumqttd: PathBuf,
    certificate: PathBuf,
    key: PathBuf,
    /// Devices of the hub, and what the generator says to be one.
    seed: PathBuf,
    credentials: PathBuf,
}

/// The medians of one server in one scenario.
struct Row {
    server: Kind,
    figures: Figures,
}

pub fn run(words: &[String]) -> Result<()> {
    let options = Options::read(words)?;
    let binary = match &options.binary {
        Some(binary) => binary.clone(),
        None => build().and_then(|()| paths::binary("release"))?,
    };
    let folder = paths::cache()?.join(format!("bench-mqtt-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    let measured =
        Tools::prepare(&options, &folder, binary).and_then(|tools| measure(&options, &tools, &folder));
    fs::remove_dir_all(&folder)?;
    let measured = measured?;
    println!("\nmedians of {} runs of {} s", options.repetitions, options.seconds);
    figures::print(&measured);
    println!();
    verdict::print(&measured);
    Ok(())
}

impl Tools {
    fn prepare(options: &Options, folder: &Path, ironbrook: PathBuf) -> Result<Self> {
        tools::system_packages(tools::NETWORK)?;
        if options.wants_server(Kind::Mosquitto) {
            tools::system_packages(tools::MOSQUITTO)?;
        }
        let rumqttd = if options.wants_server(Kind::Rumqttd) { tools::rumqttd()? } else { PathBuf::new() };
        let generator = generator()?;
        let (certificate, key) = (folder.join("certificate.pem"), folder.join("key.pem"));
        // The kind of key that the hub's own authority issues.
        let mut openssl = Command::new("openssl");
        openssl.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]);
        openssl
            .args(["-subj", "/CN=localhost", "-days", "2", "-out"])
            .arg(&certificate)
            .arg("-keyout")
            .arg(&key);
        command::output(openssl.stderr(std::process::Stdio::null()))?;
        let (seed, credentials) = (folder.join("seed.json"), folder.join("credentials.tsv"));
        fs::write(&seed, devices::seed())?;
        fs::write(&credentials, devices::credentials()?)?;
        let (loadgen, sink) = (generator.join("loadgen"), generator.join("sink"));
        Ok(Self { ironbrook, loadgen, sink, rumqttd, certificate, key, seed, credentials })
    }
}

/// Builds the generator; the folder its programs are in.
fn generator() -> Result<PathBuf> {
    let metadata = paths::metadata()?;
    let target = metadata["target_directory"].as_str().context("cargo metadata names no target folder")?;
    let target = Path::new(target).join("benches");
    let mut cargo = command::cargo();
    cargo.current_dir(paths::root().join("benches/loadgen")).args(["build", "--release", "--locked"]);
    command::run(cargo.env("CARGO_TARGET_DIR", &target), BUILD_LIMIT)?;
    Ok(target.join("release"))
}

fn measure(options: &Options, tools: &Tools, folder: &Path) -> Result<Vec<(&'static Scenario, Vec<Row>)>> {
    let mut measured = Vec::new();
    for scenario in SCENARIOS.iter().filter(|scenario| options.wants(scenario)) {
        println!("==== {}: {}", scenario.name, scenario.what);
        let mut rows = Vec::new();
        for kind in Kind::ALL.into_iter().filter(|kind| options.wants_server(*kind)) {
            if !scenario.servers.contains(&kind) {
                if kind == Kind::Ironbrook {
                    println!("{:<10} not yet", kind.name());
                }
                continue;
            }
            match measure_one(options, tools, folder, scenario, kind) {
                Ok(figures) => rows.push(Row { server: kind, figures }),
                // The others are worth their rows all the same.
                Err(error) => println!("{:<10} failed: {error:#}", kind.name()),
            }
        }
        measured.push((scenario, rows));
    }
    Ok(measured)
}

/// The runs of one server, started anew with an empty folder; where memory is the point, before each run.
fn measure_one(
    options: &Options,
    tools: &Tools,
    folder: &Path,
    scenario: &Scenario,
    kind: Kind,
) -> Result<Figures> {
    let folder = folder.join("server");
    let start = || {
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        fs::create_dir_all(&folder)?;
        Server::start(kind, tools, &folder, scenario)
    };
    let mut runs = Vec::new();
    let mut server = start()?;
    for number in 0..options.repetitions {
        if number > 0 && scenario.starts_anew {
            drop(server);
            server = start()?;
        }
        let run = generate(options, tools, scenario, &server)?;
        println!("{:<10} {}", kind.name(), run.line());
        runs.push(run);
    }
    drop(server);
    fs::remove_dir_all(&folder)?;
    Ok(Figures::median(&runs))
}

/// One run of the generator.
fn generate(options: &Options, tools: &Tools, scenario: &Scenario, server: &Server) -> Result<Figures> {
    let mut loadgen = Command::new(&tools.loadgen);
    loadgen.args(["--header", "--tsv", "--pin", GENERATOR_CPU, "--secs", &options.seconds]);
    loadgen.args(["--addr", &server.address.to_string(), "--pid", &server.pid().to_string()]);
    loadgen.args(scenario.options);
    if scenario.tls {
        loadgen.arg("--tls");
    }
    // The yardstick gets the same bytes as the hub.
    if matches!(server.kind, Kind::Ironbrook | Kind::Sink) && !scenario.has_subscribers {
        loadgen.arg("--creds").arg(&tools.credentials);
    }
    Figures::read(&command::output(&mut loadgen)?, server.peak_memory())
}
