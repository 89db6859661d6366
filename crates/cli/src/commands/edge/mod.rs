//! `ironbrook edge`: an edge device of its own, and what one asks of edge devices.

mod list;
mod run;
mod set_modules;

use super::Global;
use clap::Subcommand;

/// Options of `ironbrook edge`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run an edge device: agent, hub, security daemon and the modules of its deployment. Runs until Ctrl-C.
    Run(Box<run::Args>),
    /// Set the modules, routes and module twins of one edge device from a deployment manifest.
    SetModules(set_modules::Args),
    /// List the modules of the edge device of a data folder on this machine.
    List(list::At),
    /// Print the last lines a module wrote.
    Logs(list::LogsArgs),
    /// Stop a module and start it again.
    Restart(list::RestartArgs),
}

/// Runs the command.
pub async fn run(args: Args, global: &Global) -> anyhow::Result<()> {
    match args.command {
        Command::Run(args) => run::run(*args, global).await,
        Command::SetModules(args) => set_modules::run(args).await,
        Command::List(at) => list::list(&at, global).await,
        Command::Logs(args) => list::logs(args).await,
        Command::Restart(args) => list::restart(args).await,
    }
}
