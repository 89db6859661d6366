//! `ironbrook blobs`: listing and downloading what was routed to storage.

mod pull;
pub(super) mod store;

use super::connection::Where;
use super::{Global, OutputFormat};
use anyhow::Context as _;
use clap::Subcommand;
use futures_util::TryStreamExt as _;
use serde_json::json;
use std::io::Write as _;
use std::path::PathBuf;

/// The container `ironbrook dev` routes telemetry to as JSON.
pub(super) const DEFAULT_CONTAINER: &str = "telemetry-json";

/// Options of `ironbrook blobs`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the blobs of a container.
    List(ListArgs),
    /// Download the blobs of a container. Run again it downloads only what is new or changed.
    Pull(PullArgs),
}

#[derive(Debug, clap::Args)]
struct ListArgs {
    #[command(flatten)]
    at: Where,
    #[command(flatten)]
    which: Which,
}

#[derive(Debug, clap::Args)]
struct PullArgs {
    #[command(flatten)]
    at: Where,
    #[command(flatten)]
    which: Which,
    /// Folder to download to; blob names become paths below it.
    dest: PathBuf,
}

/// Which blobs.
#[derive(Debug, clap::Args)]
struct Which {
    /// Container.
    #[arg(long, default_value = DEFAULT_CONTAINER, value_name = "NAME")]
    container: String,
    /// Only blobs below this path, e.g. hub/00/2026.
    #[arg(long, value_name = "PATH")]
    prefix: Option<String>,
}

/// Runs the command.
pub async fn run(args: Args, global: &Global) -> anyhow::Result<()> {
    match args.command {
        Command::List(args) => list(args, global.output).await,
        Command::Pull(args) => pull(args, global.output).await,
    }
}

async fn list(args: ListArgs, output: OutputFormat) -> anyhow::Result<()> {
    let store = store::open(&args.at.blobs()?, &args.which.container)?;
    let mut blobs = store.list(store::prefix(args.which.prefix.as_deref())?.as_ref());
    let mut stdout = std::io::stdout();
    if output == OutputFormat::Table {
        writeln!(stdout, "{:>12}  {:<20}  NAME", "BYTES", "MODIFIED (UTC)")?;
    }
    while let Some(blob) = blobs.try_next().await.with_context(|| failed(&args.which.container))? {
        let modified = blob.last_modified.format("%Y-%m-%dT%H:%M:%SZ").to_string();
        let (name, size) = (blob.location.to_string(), blob.size);
        let line = match output {
            OutputFormat::Json => {
                json!({ "name": name, "size": size, "last_modified": modified, "etag": blob.e_tag })
                    .to_string()
            }
            OutputFormat::Table => format!("{size:>12}  {modified:<20}  {name}"),
        };
        match writeln!(stdout, "{line}") {
            Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => return Ok(()),
            other => other?,
        }
    }
    Ok(())
}

async fn pull(args: PullArgs, output: OutputFormat) -> anyhow::Result<()> {
    let store = store::open(&args.at.blobs()?, &args.which.container)?;
    let prefix = store::prefix(args.which.prefix.as_deref())?;
    let blobs: Vec<_> =
        store.list(prefix.as_ref()).try_collect().await.with_context(|| failed(&args.which.container))?;
    let done = pull::pull(store, blobs, &args.dest).await?;
    let mut stdout = std::io::stdout();
    match output {
        OutputFormat::Json => writeln!(
            stdout,
            "{}",
            json!({ "downloaded": done.downloaded, "unchanged": done.unchanged, "bytes": done.bytes, "dest": args.dest })
        )?,
        OutputFormat::Table => writeln!(
            stdout,
            "{} blobs downloaded ({} bytes), {} unchanged, in {}",
            done.downloaded,
            done.bytes,
            done.unchanged,
            args.dest.display()
        )?,
    }
    Ok(())
}

fn failed(container: &str) -> String {
    format!("the container {container} cannot be listed")
}
