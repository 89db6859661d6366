//! `ironbrook log`: looking at the files of a message log. Nothing is changed, so it may be done while the log is in use.

mod find;
mod inspect;
mod verify;

use super::Global;
use anyhow::Context as _;
use clap::Subcommand;
use ironbrook_log::Keys;
use std::io;
use std::path::PathBuf;

/// Options of `ironbrook log`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print partitions, segments and records.
    ///
    /// Of a log in use, what became durable a moment ago may be missing.
    Inspect(inspect::Args),
    /// Read everything and check every checksum; fails where something is damaged.
    ///
    /// Of a log in use, the end of a partition's last segment may show as torn: it is just being written.
    Verify(verify::Args),
}

/// Which log.
#[derive(Debug, Clone, clap::Args)]
struct Which {
    /// A data folder, a log in it, or a partition of that. All logs below are taken: the hub's, the edge device's, a journal.
    path: PathBuf,
    /// Only this partition; may be given several times.
    #[arg(long, value_name = "N")]
    partition: Vec<u16>,
    /// The file with the keys of an encrypted log. Without it everything but headers and bodies is looked at.
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
}

impl Which {
    fn keys(&self) -> anyhow::Result<Keys> {
        Ok(self.key_file.as_deref().map_or_else(|| Ok(Keys::default()), Keys::from_file)?)
    }

    fn takes(&self, partition: u16) -> bool {
        self.partition.is_empty() || self.partition.contains(&partition)
    }
}

/// Runs the command.
pub async fn run(args: Args, global: &Global) -> anyhow::Result<()> {
    let output = global.output;
    let work = move || match args.command {
        Command::Inspect(args) => inspect::run(&args, output),
        Command::Verify(args) => verify::run(&args, output),
    };
    tokio::task::spawn_blocking(work).await.context("reading the log")?
}

/// Whether a reader of our output is gone, which ends the work without a word.
fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::BrokenPipe
}
