//! What the hub's registry does in a second, against a real hub on loopback with everything on the disk.

use super::{BUILD_LIMIT, Program, build};
use crate::{command, paths};
use anyhow::{Context as _, Result};
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

/// Set in the process that measures: the hub has the standard ports of a network namespace of its own.
const INSIDE: &str = "IRONBROOK_BENCH_INSIDE";
const LIMIT: Duration = Duration::from_secs(900);
const EXAMPLE: [&str; 6] = ["--release", "--quiet", "--package", "ironbrook-client", "--example", "hub"];

pub fn run() -> Result<()> {
    if std::env::var_os(INSIDE).is_some() {
        return measure();
    }
    build()?;
    command::run(command::cargo().arg("build").args(EXAMPLE), BUILD_LIMIT)?;
    // By the name it was called: a build takes long enough for its file to be replaced, and then the running one has no path.
    let this = std::env::args_os().next().context("this program has no name")?;
    let mut inside = command::isolated(PathBuf::from(this));
    command::run(inside.args(["bench", "hub"]).env(INSIDE, "1"), LIMIT)
}

fn measure() -> Result<()> {
    let folder = paths::cache()?.join(format!("bench-hub-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    let mut hub = std::process::Command::new(paths::binary("release")?);
    hub.args(["dev", "--no-thermistor", "--no-edge", "--output", "json", "--data-dir"])
        .arg(folder.join("data"));
    let (mut hub, ready) = Program::start_with_line(&mut hub, &folder.join("bench.log"))?;
    let mut example = command::cargo();
    let measured =
        command::run(example.arg("run").args(EXAMPLE).env("IRONBROOK_READY", ready.to_string()), LIMIT);
    hub.stop()?;
    fs::remove_dir_all(&folder)?;
    measured
}
