//! The steps of `cargo xtask test`, in order, and the summary.

use crate::{command, fuzz, paths, tidy, tools};
use anyhow::{Context as _, Result};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// What a step may want to know.
struct Context {
    slow: bool,
    /// How long each of its commands may take; past it, it hangs and is ended.
    limit: Duration,
}

struct Step {
    name: &'static str,
    what: &'static str,
    limit: Limit,
    run: fn(&Context) -> Result<()>,
}

/// Minutes a command of a step may take, in a quick and in a slow run. Generous: a machine may be busy, and nothing built yet.
struct Limit {
    quick: u64,
    slow: u64,
}

const CHECK: Limit = Limit { quick: 10, slow: 10 };
const LINT: Limit = Limit { quick: 25, slow: 25 };
const BUILD_AND_TEST: Limit = Limit { quick: 30, slow: 240 };
const TEST: Limit = Limit { quick: 15, slow: 240 };
/// For a look at what tests have written.
const CHECK_LIMIT: Duration = Duration::from_secs(60);
/// For the program that client tests run.
const BUILD: Duration = Duration::from_secs(30 * 60);

/// Quick ones first: a wrong comma should not cost a build.
const STEPS: &[Step] = &[
    Step { name: "format", what: "rustfmt finds nothing to change", limit: CHECK, run: format },
    Step { name: "tidy", what: "the rules of the tree", limit: CHECK, run: |_| tidy::run() },
    Step {
        name: "deny",
        what: "licences, banned crates and sources of dependencies",
        limit: CHECK,
        run: deny,
    },
    Step { name: "clippy", what: "no warning in any target", limit: LINT, run: clippy },
    Step { name: "rust", what: "unit, property and integration tests", limit: BUILD_AND_TEST, run: rust },
    Step {
        name: "device",
        what: "the Pico W program: pure parts in MicroPython, its network against the hub",
        limit: TEST,
        run: device,
    },
    Step { name: "python", what: "stock Python clients against the hub", limit: TEST, run: python },
    Step { name: "topics", what: "real MQTT clients on ordinary topics", limit: TEST, run: topics },
    Step { name: "cli", what: "the commands, as a user calls them", limit: TEST, run: cli },
    Step {
        name: "crash",
        what: "kill -9 under load loses nothing that was acknowledged",
        limit: TEST,
        run: crash,
    },
    Step {
        name: "edge",
        what: "an edge device from outside: the tutorial, stock modules, crashes, a hub that is away",
        limit: TEST,
        run: edge,
    },
    Step { name: "node", what: "stock Node clients against the hub", limit: TEST, run: node },
    Step { name: "notebook", what: "the notebook, executed against routed data", limit: TEST, run: notebook },
    Step { name: "portal", what: "the web page in a browser", limit: TEST, run: portal },
];

/// Those that only a slow run has, or one that names them.
const SLOW_STEPS: &[Step] = &[Step {
    name: "fuzz",
    what: "every parser and codec against bytes nobody thought of",
    limit: TEST,
    run: |_| fuzz::run(),
}];

/// Names for `--only`.
pub fn names() -> Vec<&'static str> {
    STEPS.iter().chain(SLOW_STEPS).map(|step| step.name).collect()
}

/// Runs the steps, all of them even after one has failed; true if none did.
pub fn run(slow: bool, only: &[String]) -> Result<bool> {
    let mut results = Vec::new();
    let is_named = |step: &&Step| only.iter().any(|name| name == step.name);
    let always = STEPS.iter().filter(|step| only.is_empty() || is_named(step));
    let sometimes = SLOW_STEPS.iter().filter(|step| (slow && only.is_empty()) || is_named(step));
    for step in always.chain(sometimes) {
        println!("\n==== {}: {}", step.name, step.what);
        let start = Instant::now();
        let minutes = if slow { step.limit.slow } else { step.limit.quick };
        let context = Context { slow, limit: Duration::from_secs(minutes * 60) };
        let result = (step.run)(&context);
        if let Err(error) = &result {
            println!("==== {} FAILED: {error:#}", step.name);
        }
        results.push((step.name, result, start.elapsed()));
    }
    Ok(summary(&results))
}

fn summary(results: &[(&str, Result<()>, Duration)]) -> bool {
    println!("\n==== summary");
    for (name, result, took) in results {
        match result {
            Ok(()) => println!("passed  {name:<10} {:>7.1} s", took.as_secs_f64()),
            Err(error) => println!("FAILED  {name:<10} {:>7.1} s  {error:#}", took.as_secs_f64()),
        }
    }
    let failed = results.iter().filter(|(_, result, _)| result.is_err()).count();
    println!("{} passed, {failed} failed", results.len() - failed);
    failed == 0
}

fn format(context: &Context) -> Result<()> {
    command::run(command::cargo().args(["fmt", "--all", "--check"]), context.limit)
}

fn deny(context: &Context) -> Result<()> {
    command::run(
        Command::new(tools::cargo_deny()?)
            .args(["--log-level", "error", "check", "--hide-inclusion-graph", "licenses", "bans", "sources"])
            .current_dir(paths::root()),
        context.limit,
    )
}

fn clippy(context: &Context) -> Result<()> {
    let arguments = ["clippy", "--quiet", "--workspace", "--all-targets", "--", "-D", "warnings"];
    command::run(command::cargo().args(arguments), context.limit)
}

fn rust(context: &Context) -> Result<()> {
    let mut test = command::cargo();
    test.args(["test", "--quiet", "--workspace"]);
    if context.slow {
        test.env("IRONBROOK_SLOW", "1");
    }
    command::run(&mut test, context.limit)
}

/// Builds the binary that the client tests run.
fn binary() -> Result<PathBuf> {
    command::run(command::cargo().args(["build", "--quiet", "--package", "ironbrook-cli"]), BUILD)?;
    paths::binary("debug")
}

/// pytest on some folders of `tests/`, in a network namespace of its own.
fn pytest(context: &Context, requirements: &[&str], folders: &[&str]) -> Result<()> {
    pytest_to(context, requirements, folders, None)
}

/// The same, with a file for what the tests show of compatibility.
fn pytest_to(
    context: &Context,
    requirements: &[&str],
    folders: &[&str],
    results: Option<&Path>,
) -> Result<()> {
    tools::system_packages(tools::NETWORK)?;
    let python = tools::python(requirements)?;
    let umqtt = tools::umqtt()?;
    let binary = binary()?;
    let mut test = command::isolated(python);
    test.args(["-m", "pytest", "-p", "no:cacheprovider"]).args(folders);
    test.current_dir(paths::root().join("tests"))
        .env("IRONBROOK_BIN", binary)
        .env("UMQTT_PATH", umqtt)
        .env("PYTHONDONTWRITEBYTECODE", "1");
    if context.slow {
        test.arg("--slow");
    }
    if let Some(results) = results {
        test.env(RESULTS, results);
    }
    command::run(&mut test, context.limit)
}

/// Where tests write what came of the cells of `docs/compatibility.md`.
const RESULTS: &str = "IRONBROOK_RESULTS";

/// Runs the tests of a step, with a file for what they show; `docs/compatibility.md` must say the same.
fn compatibility(step: &str, run: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let results = paths::target()?.join(format!("compatibility-{step}.jsonl"));
    std::fs::write(&results, "").with_context(|| results.display().to_string())?;
    run(&results)?;
    let mut check = Command::new("python3");
    check.arg(paths::root().join("tests/support/compatibility.py")).arg(step).arg(&results);
    command::run(&mut check, CHECK_LIMIT)
}

/// `node --test` on one folder of `tests/`, with a hub running beside it.
fn node_test(context: &Context, folder: &str, results: Option<&Path>) -> Result<()> {
    tools::system_packages(tools::NETWORK)?;
    let folder = tools::npm(folder)?;
    let binary = binary()?;
    let mut test = command::isolated("python3");
    test.arg(paths::root().join("tests/support/with_dev.py")).args([
        "node",
        "--test",
        // One file after the other: one of them restarts the hub.
        "--test-concurrency=1",
        // A client that a failed test left open keeps nobody waiting.
        "--test-force-exit",
        "--test-reporter=spec",
        "--test-reporter-destination=stdout",
    ]);
    if let Some(results) = results {
        test.arg("--test-reporter=./results.mjs");
        test.arg(format!("--test-reporter-destination={}", results.display()));
    }
    test.current_dir(folder).env("IRONBROOK_BIN", binary).env("PYTHONDONTWRITEBYTECODE", "1");
    command::run(&mut test, context.limit)
}

const PYTHON_CLIENTS: &str = "tests/clients/python/requirements.txt";
const NODE_CLIENTS: &str = "tests/clients/node";
const TOPICS_CLIENTS: &str = "tests/clients/topics";

fn device(context: &Context) -> Result<()> {
    let folder = tools::npm("tests/device")?;
    let pure = &mut Command::new("node");
    command::run(pure.args(["--test", "--test-reporter=spec"]).current_dir(folder), context.limit)?;
    pytest(context, &[PYTHON_CLIENTS], &["device"])
}

fn python(context: &Context) -> Result<()> {
    compatibility("python", |results| {
        pytest_to(context, &[PYTHON_CLIENTS], &["clients/python"], Some(results))
    })
}

fn topics(context: &Context) -> Result<()> {
    tools::system_packages(tools::MQTT_CLIENTS)?;
    tools::npm(TOPICS_CLIENTS)?;
    pytest(context, &["tests/clients/topics/requirements.txt"], &["clients/topics"])
}

fn cli(context: &Context) -> Result<()> {
    tools::system_packages(tools::MOSQUITTO)?;
    pytest(context, &[PYTHON_CLIENTS, "tests/cli/requirements.txt"], &["cli"])
}

fn crash(context: &Context) -> Result<()> {
    pytest(context, &[PYTHON_CLIENTS], &["crash"])
}

fn edge(context: &Context) -> Result<()> {
    // For the modules that are written in JavaScript.
    tools::npm(NODE_CLIENTS)?;
    pytest(context, &[PYTHON_CLIENTS], &["edge"])
}

fn node(context: &Context) -> Result<()> {
    compatibility("node", |results| node_test(context, NODE_CLIENTS, Some(results)))
}

fn notebook(context: &Context) -> Result<()> {
    let requirements = [PYTHON_CLIENTS, "notebooks/requirements.txt", "tests/notebooks/requirements.txt"];
    pytest(context, &requirements, &["notebooks"])
}

fn portal(context: &Context) -> Result<()> {
    tools::system_packages(tools::BROWSER)?;
    node_test(context, "tests/portal", None)
}
