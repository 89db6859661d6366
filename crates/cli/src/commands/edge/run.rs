//! `ironbrook edge run`: an edge device in a process of its own.

use crate::commands::{Global, OutputFormat};
use crate::config::Config;
use crate::dev::data_dir::DataDir;
use crate::edge_device::{EdgeDevice, Upstream};
use crate::signals::Signals;
use anyhow::{Context as _, bail};
use ironbrook_client::Trust;
use ironbrook_log::Files;
use ironbrook_model::ConnectionString;
use serde_json::json;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Options of `ironbrook edge run`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Connection string of the edge device, which has capability iotEdge in its hub.
    #[arg(long, env = "IRONBROOK_EDGE_CONNECTION_STRING", hide_env_values = true, value_name = "TEXT")]
    connection_string: String,
    /// PEM file with the hub's authority; else the system's authorities are trusted.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Where everything is kept.
    #[arg(long, value_name = "FOLDER", default_value = "ironbrook-edge-data")]
    data_dir: PathBuf,
    /// The configuration; `ironbrook.toml` if there is one. Its sections `edge` and, of `log`, when it
    /// syncs and its keys, are read.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The name or address under which modules and devices reach this machine.
    #[arg(long, value_name = "HOST")]
    gateway_host: Option<String>,
}

/// Runs the command until Ctrl-C or SIGTERM.
pub async fn run(args: Args, global: &Global) -> anyhow::Result<()> {
    let Config { edge: mut config, log, .. } = Config::load(args.config.as_deref())?;
    if let Some(host) = args.gateway_host {
        config.gateway_host = host;
    }
    let parts = ConnectionString::parse(&args.connection_string)
        .context("--connection-string is not that of a device")?;
    let device = parts.require("DeviceId").context("--connection-string is not that of a device")?.to_owned();
    let mut stop = Signals::listen()?;
    let data = DataDir::open(&args.data_dir)?;
    let storage = Arc::new(Files::open(data.path()).with_context(|| data.path().display().to_string())?);
    let trust = match &args.ca {
        Some(path) => Trust::file(path)?,
        None => Trust::System,
    };
    let upstream = Upstream {
        connection_string: args.connection_string,
        trust,
        trust_file: args.ca,
        mqtt: None,
        https: None,
    };
    let device_edge = EdgeDevice::open(&config, &log, upstream, storage, data.path()).await?;
    announce(&device, &device_edge, &data, global)?;
    let cancel = CancellationToken::new();
    let mut running = tokio::spawn(device_edge.run(cancel.clone()));
    tokio::select! {
        signal = stop.next() => tracing::info!(signal, "stopping: modules, then the edge hub"),
        // It never ends by itself but for a poisoned log.
        ended = &mut running => return ended?,
    }
    cancel.cancel();
    tokio::select! {
        ended = &mut running => ended??,
        signal = stop.next() => bail!("{signal} a second time: stopped at once; what was acknowledged is on disk"),
    }
    tracing::info!("stopped");
    Ok(())
}

#[allow(clippy::print_stdout, reason = "what the command is asked for")]
fn announce(device: &str, edge: &EdgeDevice, data: &DataDir, global: &Global) -> anyhow::Result<()> {
    let folder = data.path().display().to_string();
    match global.output {
        OutputFormat::Json => {
            let ready = json!({
                "device": device, "listeners": edge.listeners, "pid": std::process::id(), "data_dir": folder,
            });
            println!("{ready}");
        }
        OutputFormat::Table => {
            println!("\nironbrook edge device {device} is up\n");
            for (purpose, addresses) in &edge.listeners {
                println!("  {purpose:<22} {}", addresses.join("  "));
            }
            println!("  {:<22} {folder}", "data");
            for note in &edge.notes {
                println!("  {:<22} {note}", "note");
            }
            println!("\n  ironbrook edge list --data-dir {folder}\n\nCtrl-C stops.");
        }
    }
    std::io::stdout().flush()?;
    Ok(())
}
