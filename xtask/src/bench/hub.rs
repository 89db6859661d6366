//! What the hub's registry does in a second, what a connected device costs, and how soon all are back after a restart; against a real
//! hub on loopback with everything on the disk.

mod crowd;

use super::{BUILD_LIMIT, Program, build};
use crate::{command, paths};
use anyhow::{Context as _, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Set in the process that measures: the hub has the standard ports of a network namespace of its own.
const INSIDE: &str = "IRONBROOK_BENCH_INSIDE";
const LIMIT: Duration = Duration::from_secs(900);
const EXAMPLES: [&str; 8] =
    ["--release", "--quiet", "--package", "ironbrook-client", "--example", "hub", "--example", "crowd"];

/// What the command line asks for.
struct Options {
    registry: bool,
    crowd: bool,
    /// What to measure in place of a new build.
    binary: Option<PathBuf>,
}

impl Options {
    fn read(words: &[String]) -> Result<Self> {
        let mut options = Self { registry: true, crowd: true, binary: None };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let value = words.next().with_context(|| format!("{word} needs a value"))?;
            match (word.as_str(), value.as_str()) {
                ("--only", "registry") => options.crowd = false,
                ("--only", "crowd") => options.registry = false,
                ("--only", other) => bail!("`{other}` is none of registry, crowd"),
                ("--binary", path) => {
                    options.binary = Some(fs::canonicalize(path).with_context(|| path.to_owned())?);
                }
                _ => bail!("`bench hub` has --only and --binary, not {word}"),
            }
        }
        Ok(options)
    }
}

pub fn run(words: &[String]) -> Result<()> {
    let options = Options::read(words)?;
    if std::env::var_os(INSIDE).is_some() {
        return measure(&options);
    }
    if options.binary.is_none() {
        build()?;
    }
    command::run(command::cargo().arg("build").args(EXAMPLES), BUILD_LIMIT)?;
    // By the name it was called: a build takes long enough for its file to be replaced, and then the running one has no path.
    let this = std::env::args_os().next().context("this program has no name")?;
    let mut inside = command::isolated(PathBuf::from(this));
    command::run(inside.args(["bench", "hub"]).args(words).env(INSIDE, "1"), LIMIT)
}

fn measure(options: &Options) -> Result<()> {
    let folder = paths::cache()?.join(format!("bench-hub-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    let measured = measure_in(options, &folder);
    fs::remove_dir_all(&folder)?;
    measured
}

fn measure_in(options: &Options, folder: &Path) -> Result<()> {
    let target = paths::target()?.join("release");
    let binary = options.binary.clone().unwrap_or_else(|| target.join("ironbrook"));
    if options.registry {
        registry(&binary, &target.join("examples/hub"), folder)?;
    }
    if options.crowd {
        crowd::measure(&binary, &target.join("examples/crowd"), folder)?;
    }
    Ok(())
}

/// The hub alone, as a user starts it.
fn hub(binary: &Path, data: &Path) -> Command {
    let mut hub = Command::new(binary);
    hub.args(["dev", "--no-thermistor", "--no-edge", "--output", "json", "--data-dir"]).arg(data);
    hub
}

fn registry(binary: &Path, example: &Path, folder: &Path) -> Result<()> {
    let mut hub = hub(binary, &folder.join("registry"));
    let (mut hub, ready) = Program::start_with_line(&mut hub, &folder.join("registry.log"))?;
    let measured = command::run(Command::new(example).env("IRONBROOK_READY", ready.to_string()), LIMIT);
    hub.stop()?;
    measured
}
