//! `ironbrook query`: twins and jobs by the query language.

use super::{client, list, show};
use crate::commands::connection::Where;
use crate::commands::{Global, OutputFormat};

/// Items asked for at a time.
const PAGE: usize = 1000;

/// Options of `ironbrook query`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    at: Where,
    /// At most so many items.
    #[arg(long, value_name = "N")]
    top: Option<usize>,
    /// `SELECT … FROM devices, devices.modules or devices.jobs WHERE …`
    #[arg(value_name = "QUERY")]
    query: String,
}

/// Runs the command.
pub async fn run(args: Args, global: &Global) -> anyhow::Result<()> {
    let client = client(&args.at)?;
    let (most, mut given, mut next) = (args.top.unwrap_or(usize::MAX), 0, None);
    while given < most {
        let (page, more) = client.query_page(&args.query, next, PAGE.min(most - given)).await?;
        given += page.len();
        match global.output {
            // Page by page: an answer may be long.
            OutputFormat::Json => list(global, &page, &[]),
            OutputFormat::Table => page.iter().for_each(|item| show(global, item)),
        }
        next = more;
        if next.is_none() {
            break;
        }
    }
    Ok(())
}
