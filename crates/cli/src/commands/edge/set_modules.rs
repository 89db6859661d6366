//! `ironbrook edge set-modules`: checks a deployment manifest and applies it to one device.

use crate::commands::connection::Where;
use anyhow::{Context as _, bail};
use ironbrook_client::{DeviceId, ServiceClient};
use ironbrook_edge::manifest::Manifest;
use std::path::PathBuf;

/// Options of `ironbrook edge set-modules`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    at: Where,
    /// The edge device.
    #[arg(long, value_name = "ID")]
    device: String,
    /// Only check the file.
    #[arg(long)]
    check: bool,
    /// The deployment manifest, JSON; `-` is standard input.
    file: PathBuf,
}

/// Runs the command.
#[allow(clippy::print_stderr, reason = "what was done, for people")]
pub async fn run(args: Args) -> anyhow::Result<()> {
    let text = match args.file.as_os_str().as_encoded_bytes() {
        b"-" => std::io::read_to_string(std::io::stdin()).context("standard input")?,
        _ => std::fs::read_to_string(&args.file).with_context(|| args.file.display().to_string())?,
    };
    let manifest = Manifest::parse(&text).with_context(|| args.file.display().to_string())?;
    let findings = manifest.validate();
    for finding in &findings {
        eprintln!("{}: {finding}", args.file.display());
    }
    if !findings.is_empty() {
        bail!("{} is no deployment that can be applied; nothing was changed", args.file.display());
    }
    if args.check {
        eprintln!("{}: nothing to complain about", args.file.display());
        return Ok(());
    }
    let device = DeviceId::new(args.device.as_str()).context("--device")?;
    let target = args.at.service()?;
    let mut builder = ServiceClient::builder(&target.connection_string)?;
    if let Some(ca) = &target.ca {
        builder = builder.ca_file(ca)?;
    }
    if let Some(address) = target.address {
        builder = builder.address(address);
    }
    builder.build()?.apply_configuration(&device, &manifest.content()).await?;
    eprintln!("{device}: modules set; `ironbrook edge list` shows what becomes of it");
    Ok(())
}
