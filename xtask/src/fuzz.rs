//! Running the fuzz targets, one after the other, each for a while.

use crate::{command, paths, tools};
use anyhow::{Context as _, Result, bail};
use std::fs;
use std::process::Command;
use std::time::Duration;

/// Seconds for each target, if the variable does not say otherwise.
const SECONDS: u64 = 600;
const SECONDS_VARIABLE: &str = "IRONBROOK_FUZZ_SECONDS";
/// The build of all targets, and what a target may take beyond its time.
const BUILD: Duration = Duration::from_secs(60 * 60);
const BEYOND: Duration = Duration::from_secs(10 * 60);
/// An input that takes longer, in seconds, or more memory, in MiB, is a finding.
const SLOW_INPUT: u64 = 25;
const MEMORY: u64 = 2048;
const TOOLCHAIN: &str = "+nightly";

/// Builds all targets and runs them. The first finding ends its target and names the file with the input.
pub fn run() -> Result<()> {
    let seconds = seconds()?;
    // Not the cargo that runs this task: only rustup's own knows other toolchains.
    if !command::succeeds(Command::new("cargo").args([TOOLCHAIN, "--version"])) {
        bail!("fuzzing needs a nightly compiler: rustup toolchain install nightly --profile minimal");
    }
    if !command::succeeds(Command::new("c++").arg("--version")) {
        bail!("fuzzing needs a C++ compiler: apt-get install g++");
    }
    let tool = tools::cargo_fuzz()?;
    let folder = paths::root().join("fuzz");
    let seeds = ["run", "--quiet", "--bin", "seeds", "--", "corpus"];
    command::run(command::cargo().args(seeds).current_dir(&folder), BUILD)?;
    let fuzz = |arguments: &[&str]| {
        let mut fuzz = Command::new(&tool);
        fuzz.args(["fuzz"]).args(arguments).current_dir(&folder).env("RUSTUP_TOOLCHAIN", "nightly");
        // What runs this task sets them for its own toolchain.
        for variable in ["CARGO", "RUSTC", "RUSTDOC", "RUSTFLAGS"] {
            fuzz.env_remove(variable);
        }
        fuzz
    };
    command::run(&mut fuzz(&["build"]), BUILD)?;
    let mut failed = Vec::new();
    for target in targets()? {
        let time = format!("-max_total_time={seconds}");
        let (slow, memory) = (format!("-timeout={SLOW_INPUT}"), format!("-rss_limit_mb={MEMORY}"));
        // The log ends its thread while leaks are looked for, which then looks like one.
        let fixed = ["-detect_leaks=0", "-verbosity=0", "-print_final_stats=1"];
        let arguments = [&["run", &target, "--", &time, &slow, &memory][..], &fixed].concat();
        if let Err(error) = command::run(&mut fuzz(&arguments), Duration::from_secs(seconds) + BEYOND) {
            println!("{target}: {error:#}");
            failed.push(target);
        }
    }
    if !failed.is_empty() {
        bail!("findings of {}: their inputs are in fuzz/artifacts", failed.join(", "));
    }
    Ok(())
}

fn seconds() -> Result<u64> {
    match std::env::var(SECONDS_VARIABLE) {
        Ok(text) => {
            text.parse().with_context(|| format!("{SECONDS_VARIABLE} is a number of seconds, not {text}"))
        }
        Err(_) => Ok(SECONDS),
    }
}

/// The names of all targets.
fn targets() -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(paths::root().join("fuzz/fuzz_targets"))? {
        names.extend(entry?.path().file_stem().map(|name| name.to_string_lossy().into_owned()));
    }
    names.sort();
    Ok(names)
}
