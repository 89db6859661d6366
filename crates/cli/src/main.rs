//! The ironbrook command: subcommands, configuration, logging, signals. Nothing that could live in a library lives here.
//!
//! Data goes to stdout, everything else to stderr. Exit codes: 0 done, 1 failed, 2 wrong usage, configuration or
//! seed file, 3 a time of the caller's was over (`mqtt sub --timeout`).

mod commands;
mod config;
mod dev;
mod edge_device;
mod logging;
mod signals;

use clap::Parser as _;
use commands::{Cli, Command};
use ironbrook_edge::runtime::process::{EXEC_COMMAND, exec_bound};
use std::ffi::OsString;
use std::process::ExitCode;

/// What a shell returns where a program cannot be run.
const CANNOT_RUN: u8 = 127;

fn main() -> ExitCode {
    // Before anything else: these arguments are another program's, not ours to read.
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_some_and(|first| first == EXEC_COMMAND) {
        return become_module(arguments);
    }
    let cli = Cli::parse();
    logging::init(&cli.global);
    let mut runtime = match cli.command {
        // Small programs, and many may run at once.
        Command::Module(_) => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    if let Some(workers) = cli.global.workers {
        runtime.worker_threads(usize::from(workers));
    }
    let runtime = match runtime.enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error.into()),
    };
    let result = runtime.block_on(async move {
        match cli.command {
            Command::Dev(args) => dev::run(args, &cli.global).await,
            Command::Edge(args) => commands::edge::run(args, &cli.global).await,
            Command::Sql(args) => commands::sql::run(args, &cli.global).await,
            Command::Module(args) => commands::module::run(args).await,
            Command::DeviceIdentity(args) => commands::registry::identity::device(*args, &cli.global).await,
            Command::ModuleIdentity(args) => commands::registry::identity::module(*args, &cli.global).await,
            Command::DeviceTwin(args) => commands::registry::twin::run(args, &cli.global).await,
            Command::Configuration(args) => commands::registry::configuration::run(args, &cli.global).await,
            Command::Job(args) => commands::registry::job::run(args, &cli.global).await,
            Command::Query(args) => commands::registry::query::run(args, &cli.global).await,
            Command::InvokeDeviceMethod(args) => commands::registry::method::run(args, &cli.global).await,
            Command::Import(args) => commands::registry::transfer::import(args, &cli.global).await,
            Command::Export(args) => commands::registry::transfer::export(args, &cli.global).await,
            Command::Certificate(args) => commands::certificate::run(args, &cli.global).await,
            Command::Refusals(args) => commands::refusals::run(args, &cli.global).await,
            Command::Device(args) => commands::device::run(args, &cli.global).await,
            Command::Messages(args) => commands::messages::run(args, &cli.global).await,
            Command::MonitorEvents(args) => commands::messages::monitor(args, cli.global.output).await,
            Command::C2dMessage(args) => commands::c2d::run(args, &cli.global).await,
            Command::GenerateSasToken(args) => commands::sas_token::run(args, &cli.global).await,
            Command::Context(args) => commands::contexts::run(args, &cli.global),
            Command::Completions { shell } => {
                commands::complete(shell);
                Ok(())
            }
            Command::Blobs(args) => commands::blobs::run(args, &cli.global).await,
            Command::Mqtt(args) => commands::mqtt::run(args, &cli.global).await,
            Command::Log(args) => commands::log::run(args, &cli.global).await,
            Command::Route(args) => commands::route::run(args, &cli.global).await,
            Command::Why(args) => commands::why::run(args, &cli.global).await,
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

/// Becomes a module that cannot outlive the edge runtime, or watches over modules.
#[allow(clippy::print_stderr, reason = "goes to the module's log")]
fn become_module(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    match exec_bound(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(CANNOT_RUN)
        }
    }
}

#[allow(clippy::print_stderr, reason = "the last word of a command")]
fn fail(error: &anyhow::Error) -> ExitCode {
    if error.is::<commands::sql::Told>() {
        return ExitCode::FAILURE;
    }
    // An error may or may not name its cause in its own text: what was said once is not said again.
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    eprintln!("error: {text}");
    ExitCode::from(exit_code(error))
}

fn exit_code(error: &anyhow::Error) -> u8 {
    if error.chain().any(|cause| cause.is::<commands::mqtt::TimedOut>()) {
        return 3;
    }
    if is_usage(error) { 2 } else { 1 }
}

/// Whether the caller's own text is wrong, so that trying again cannot help.
fn is_usage(error: &anyhow::Error) -> bool {
    use ironbrook_client::topics;
    use ironbrook_cloud::{assembly, registry};
    let asked =
        |error: &topics::Error| matches!(error, topics::Error::Url(_) | topics::Error::Configuration(_));
    let prepared = |error: &assembly::Error| {
        matches!(
            error,
            assembly::Error::Seed(_) | assembly::Error::SeedRoute { .. } | assembly::Error::Route(_)
        )
    };
    error.chain().any(|cause| {
        cause.is::<config::Error>()
            || cause.is::<ironbrook_log::KeyFileError>()
            || cause.is::<registry::SeedError>()
            || cause.downcast_ref::<topics::Error>().is_some_and(asked)
            || cause.downcast_ref::<assembly::Error>().is_some_and(prepared)
    })
}
