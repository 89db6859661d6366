//! `sql publish`: a query as a package in the storage account.

use super::Named;
use super::format::Formats;
use crate::commands::blobs::store;
use crate::commands::connection::Where;
use anyhow::{Context as _, bail};
use ironbrook_analytics::script::Functions;
use ironbrook_analytics::{Level, Options, Query};
use ironbrook_hub::seams::{Clock as _, SystemClock};
use ironbrook_modules::stream_analytics::{Package, ReferenceSettings};
use object_store::path::Path as BlobPath;
use serde_json::json;
use std::path::PathBuf;
use std::time::Duration;

/// The container packages go to; `dev` makes it.
const CONTAINER: &str = "edge-jobs";
/// How long the URL in the module twin is good, as the original's: three years.
const URL_DAYS: u64 = 3 * 365;
/// Image of the module that runs a package.
const IMAGE: &str = "mcr.microsoft.com/azure-stream-analytics/azureiotedge:1.0.14-linux-amd64";

/// Options of `sql publish`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    at: Where,
    /// The job's name, usually also the module's.
    #[arg(long, value_name = "NAME")]
    name: String,
    /// Container of the storage account; it must exist.
    #[arg(long, default_value = CONTAINER, value_name = "CONTAINER")]
    container: String,
    /// Days the package's URL is good.
    #[arg(long, default_value_t = URL_DAYS, value_name = "N")]
    days: u64,
    /// Reference data of an input: a file of the machine that the module runs on, JSON, CSV or Avro by its ending. May be given several
    /// times.
    #[arg(long, value_name = "NAME=PATH")]
    reference: Vec<Named>,
    /// A function in JavaScript that the query calls as udf.NAME or uda.NAME. May be given several times.
    #[arg(long, value_name = "NAME=FILE")]
    function: Vec<Named>,
    /// The query; `-` is standard input.
    file: PathBuf,
}

/// Stores the package.
#[allow(clippy::print_stdout, clippy::print_stderr, reason = "what the command is asked for")]
pub(super) async fn run(args: Args) -> anyhow::Result<()> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if args.name.is_empty() || !args.name.chars().all(plain) {
        bail!("--name: letters, digits, hyphens and underscores only; it is part of the package's address");
    }
    let query = super::text(&args.file)?;
    let etag = uuid::Uuid::new_v4().to_string();
    let mut package = Package::new(&args.name, &etag, &query);
    for Named { name, file } in &args.function {
        package.functions.insert(name.clone(), super::text(file)?);
    }
    for Named { name, file } in &args.reference {
        let (format, _) = Formats::default().input(name, file, None)?;
        let path = file.to_str().filter(|_| file.is_absolute());
        let path = path.with_context(|| {
            format!("--reference {name}: a path from the root of the machine's file system")
        })?;
        let settings =
            ReferenceSettings { path: path.to_owned(), version: String::new(), format: format.into() };
        package.reference.insert(name.clone(), settings);
    }
    check(&package, &args)?;
    let path = BlobPath::from(format!("EdgeJobs/{etag}/{}.json", args.name));
    let target = args.at.blobs()?;
    let url = store::publish(
        &target,
        &args.container,
        &path,
        package.to_json(),
        Duration::from_secs(args.days.saturating_mul(24 * 3600)),
    )
    .await?;
    let twin = json!({ "properties.desired": {
        "ASAJobInfo": url,
        "ASAJobResourceId": format!("/subscriptions/local/resourceGroups/local/providers/Microsoft.StreamAnalytics/streamingjobs/{}", args.name),
        "ASAJobEtag": etag,
        "PublishTimeStamp": SystemClock.now().to_string(),
    }});
    println!("{}", serde_json::to_string_pretty(&json!({ &args.name: twin }))?);
    eprintln!(
        "stored {path} in {}; in the deployment give module {} the image {IMAGE}",
        args.container, args.name
    );
    Ok(())
}

/// Refuses a query that cannot run, and tells of one that only this product's module can run.
#[allow(clippy::print_stderr, reason = "what people should know of their query")]
fn check(package: &Package, args: &Args) -> anyhow::Result<()> {
    let file = args.file.display();
    let mut functions = Functions::default();
    for (name, script) in &package.functions {
        functions.add_script(name, script).with_context(|| format!("--function {name}"))?;
    }
    let compile = |level| {
        let (functions, reference) = (functions.clone(), package.reference.keys().cloned().collect());
        Query::compile(&package.query, &Options { level, functions, reference, ..Options::default() })
    };
    let Err(errors) = compile(Level::Edge) else { return Ok(()) };
    if compile(Level::Extended).is_ok() {
        for error in errors.iter() {
            eprintln!("{file}: only ironbrook's module runs this: {error}");
        }
        return Ok(());
    }
    for error in errors.iter() {
        eprintln!("{file}: {error}");
    }
    bail!("{file} is no query that can run; nothing was stored")
}
