//! Tasks of the repository: `cargo xtask test`, `cargo xtask tidy`, `cargo xtask bench`.
//!
//! `test` is the whole of the checks: it installs what they need (system packages, a Python environment, npm packages,
//! cargo-deny) into the user's cache folder and runs every step of the table in `steps.rs`. Start there.
//! It is not a build system: cargo builds, pytest and node run the client tests.

mod bench;
mod command;
mod fuzz;
mod paths;
mod process_tree;
mod steps;
mod tidy;
mod tools;

use anyhow::{Result, bail};
use std::process::ExitCode;

const USAGE: &str = "\
cargo xtask test [--slow] [--only STEP]...   all checks, or only the named ones; --slow adds the long ones
                                             and fuzzing, IRONBROOK_FUZZ_SECONDS (600) for each target
cargo xtask tidy                             only the rules of the tree
cargo xtask bench [NAME]... [OPTION]...      measurements, all of them without a name;
                                             mqtt: --only b1,t1  --servers sink,ironbrook  --reps N  --secs S  --binary FILE";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match dispatch(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(arguments: &[String]) -> Result<bool> {
    match arguments.first().map(String::as_str) {
        Some("test") => {
            let (slow, only) = test_options(&arguments[1..])?;
            steps::run(slow, &only)
        }
        Some("tidy") => tidy::run().map(|()| true),
        Some("bench") => bench::run(&arguments[1..]).map(|()| true),
        None | Some("help" | "--help" | "-h") => {
            println!("{USAGE}\n\nsteps of test: {}", steps::names().join(", "));
            Ok(true)
        }
        Some(other) => bail!("no task `{other}`\n{USAGE}"),
    }
}

fn test_options(arguments: &[String]) -> Result<(bool, Vec<String>)> {
    let (mut slow, mut only) = (false, Vec::new());
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        match argument.as_str() {
            "--slow" => slow = true,
            "--only" => match rest.next() {
                Some(name) if steps::names().contains(&name.as_str()) => only.push(name.clone()),
                _ => bail!("--only takes one of: {}", steps::names().join(", ")),
            },
            other => bail!("no option `{other}`\n{USAGE}"),
        }
    }
    Ok((slow, only))
}
