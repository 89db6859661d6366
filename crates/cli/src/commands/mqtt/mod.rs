//! `ironbrook mqtt`: publishing, subscribing and measuring on ordinary topics of any MQTT server.

mod bench;
mod connect;
mod passwd;
mod publish;
mod subscribe;

use super::Global;
use clap::Subcommand;

/// Told with each command's `--help`.
const EXIT_CODES: &str = "Exit codes: 0 done; 1 failed: no connection, refused, a message lost; 2 wrong usage; 3 the time of \
                          --timeout was over before everything had come.";

/// Options of `ironbrook mqtt`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Publish a message, a file, or each line of standard input.
    #[command(after_help = EXIT_CODES)]
    Pub(Box<publish::Args>),
    /// Print messages as they come, until Ctrl-C.
    #[command(after_help = EXIT_CODES)]
    Sub(Box<subscribe::Args>),
    /// Measure how many messages a server takes and passes on, and how long that takes.
    #[command(after_help = EXIT_CODES)]
    Bench(Box<bench::Args>),
    /// Make the hash of a password for `topics.users` of the configuration; the password is one line of standard input.
    Passwd,
}

/// The time of `--timeout` was over. Has an exit code of its own, so that a script can tell silence from failure.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct TimedOut(String);

/// Runs the command.
pub async fn run(args: Args, global: &Global) -> anyhow::Result<()> {
    match args.command {
        Command::Pub(args) => publish::run(*args).await,
        Command::Sub(args) => subscribe::run(*args, global.output).await,
        Command::Bench(args) => bench::run(*args, global.output).await,
        Command::Passwd => passwd::run(),
    }
}
