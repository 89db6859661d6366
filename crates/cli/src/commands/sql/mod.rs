//! `ironbrook sql`: Stream Analytics queries, checked, explained, run and tested without a hub, run as jobs in a hub, or stored for a
//! module.

mod check;
mod definition;
mod format;
mod input;
mod job;
mod output;
mod publish;
mod run;
mod test;

use super::Global;
use anyhow::Context as _;
use clap::{Subcommand, ValueEnum};
use ironbrook_analytics::script::Functions;
use ironbrook_analytics::{Compatibility, Level, Options};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Options of `ironbrook sql`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a query over files or standard input: JSON, CSV, Avro, also compressed. Rows go to standard output or files, Parquet too.
    Run(Box<run::Args>),
    /// Say whether a query can run, and what is wrong with it where it cannot.
    Validate(check::Args),
    /// Print what a query does, step by step.
    Explain(check::Args),
    /// Run tests of queries: files, or all `.json` files of folders.
    Test(test::Args),
    /// Make and watch jobs that run in a hub.
    Job(Box<job::Args>),
    /// Store a query as a package for the Stream Analytics module, and print the module twin that names it.
    Publish(publish::Args),
}

/// What a query is compiled with.
#[derive(Debug, clap::Args)]
struct Language {
    /// Offer only what jobs beside machines have in the original; names of fields are in lower case then.
    #[arg(long, conflicts_with = "job")]
    limited: bool,
    /// Compatibility level.
    #[arg(long, value_enum, default_value_t = Compat::V1_2, value_name = "LEVEL", conflicts_with = "job")]
    compat: Compat,
    /// A function in JavaScript that the query calls as udf.NAME or uda.NAME. May be given several times.
    #[arg(long, value_name = "NAME=FILE")]
    function: Vec<Named>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Compat {
    #[value(name = "1.0")]
    V1_0,
    #[value(name = "1.1")]
    V1_1,
    #[value(name = "1.2")]
    V1_2,
}

impl Language {
    /// The level as jobs spell it.
    fn level(&self) -> &'static str {
        match self.compat {
            Compat::V1_0 => "1.0",
            Compat::V1_1 => "1.1",
            Compat::V1_2 => "1.2",
        }
    }

    fn options(&self, reference: Vec<String>) -> anyhow::Result<Options> {
        let mut functions = Functions::default();
        for (name, script) in self.functions()? {
            functions.add_script(&name, &script).with_context(|| format!("--function {name}"))?;
        }
        Ok(Options {
            level: if self.limited { Level::default() } else { Level::Extended },
            compatibility: match self.compat {
                Compat::V1_0 => Compatibility::V1_0,
                Compat::V1_1 => Compatibility::V1_1,
                Compat::V1_2 => Compatibility::V1_2,
            },
            reference,
            functions,
        })
    }

    /// The scripts of functions, by name.
    fn functions(&self) -> anyhow::Result<BTreeMap<String, String>> {
        self.function.iter().map(|named| Ok((named.name.clone(), text(&named.file)?))).collect()
    }
}

/// The command has failed and has said all about it.
#[derive(Debug, thiserror::Error)]
#[error("see above")]
pub struct Told;

/// Runs the command.
pub async fn run(args: Args, global: &Global) -> anyhow::Result<()> {
    match args.command {
        Command::Run(args) => blocking(run::run, (*args, global.output)).await,
        Command::Validate(args) => check::validate(&args),
        Command::Explain(args) => check::explain(&args),
        Command::Test(args) => blocking(test::run, args).await,
        Command::Job(args) => job::run(*args, global).await,
        Command::Publish(args) => publish::run(args).await,
    }
}

/// Files are read and queries run on a thread of their own.
async fn blocking<T: Send + 'static>(command: fn(T) -> anyhow::Result<()>, args: T) -> anyhow::Result<()> {
    tokio::task::spawn_blocking(move || command(args)).await?
}

/// The text of a file; `-` is standard input.
fn text(file: &Path) -> anyhow::Result<String> {
    match file.as_os_str().as_encoded_bytes() {
        b"-" => std::io::read_to_string(std::io::stdin()).context("standard input"),
        _ => std::fs::read_to_string(file).with_context(|| file.display().to_string()),
    }
}

/// `NAME=FILE`.
#[derive(Debug, Clone)]
struct Named {
    name: String,
    file: PathBuf,
}

impl std::str::FromStr for Named {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('=') {
            Some((name, file)) if !name.is_empty() && !file.is_empty() => {
                Ok(Self { name: name.to_owned(), file: file.into() })
            }
            _ => Err("it is written NAME=FILE"),
        }
    }
}
