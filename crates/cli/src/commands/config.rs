//! `ironbrook config`: print or check.

use super::Global;
use crate::config::Config;
use clap::Subcommand;
use std::path::PathBuf;

/// Print or check the configuration.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
    /// The file; `ironbrook.toml` if there is one.
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Print the configuration in force, with every default.
    Print,
    /// Say whether file and environment can be used.
    Check,
}

/// Runs the command.
#[allow(clippy::print_stdout, reason = "the command's data")]
pub fn run(args: Args, _global: &Global) -> anyhow::Result<()> {
    let config = Config::load(args.config.as_deref())?;
    match args.what {
        What::Print => print!("{}", config.to_toml()?),
        What::Check => println!("the configuration is good"),
    }
    Ok(())
}
