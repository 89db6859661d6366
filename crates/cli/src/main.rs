//! The ironbrook command: subcommands, configuration, logging, signals. Nothing that could live in a library lives here.
//!
//! Data goes to stdout, everything else to stderr. Exit codes: 0 done, 1 failed, 2 wrong usage, configuration or
//! seed file.

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
    ExitCode::from(if is_usage(error) { 2 } else { 1 })
}

/// Whether the caller's own text is wrong, so that trying again cannot help.
fn is_usage(error: &anyhow::Error) -> bool {
    use ironbrook_cloud::{assembly, registry};
    let prepared = |error: &assembly::Error| {
        matches!(
            error,
            assembly::Error::Seed(_) | assembly::Error::SeedRoute { .. } | assembly::Error::Route(_)
        )
    };
    error.chain().any(|cause| {
        cause.is::<config::Error>()
            || cause.is::<registry::SeedError>()
            || cause.downcast_ref::<assembly::Error>().is_some_and(prepared)
    })
}
