//! The ironbrook command: subcommands, configuration, logging, signals. Nothing that could live in a library lives here.
//!
//! Data goes to stdout, everything else to stderr. Exit codes: 0 done, 1 failed, 2 wrong usage or configuration.

mod commands;
mod config;
mod dev;
mod logging;

use clap::Parser as _;
use commands::{Cli, Command};
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = Cli::parse();
    logging::init(&cli.global);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error.into()),
    };
    let result = runtime.block_on(async move {
        match cli.command {
            Command::Dev(args) => dev::run(args, &cli.global).await,
            Command::Device(args) => commands::device::run(args, &cli.global).await,
            Command::Messages(args) => commands::messages::run(args, &cli.global).await,
            Command::Blobs(args) => commands::blobs::run(args, &cli.global).await,
            Command::Plot(args) => commands::plot::run(args, &cli.global).await,
            Command::Config(args) => commands::config::run(args, &cli.global),
        }
    });
    // A blocking read of the terminal must not keep the process alive.
    runtime.shutdown_background();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

#[allow(clippy::print_stderr, reason = "the last word of a command")]
fn fail(error: &anyhow::Error) -> ExitCode {
    // An error may or may not name its cause in its own text: what was said once is not said again.
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    eprintln!("error: {text}");
    let usage = error.chain().any(|cause| cause.is::<config::Error>());
    ExitCode::from(if usage { 2 } else { 1 })
}
