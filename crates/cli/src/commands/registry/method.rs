//! `ironbrook invoke-device-method`: direct methods of devices and modules.

use super::{Target, client, json, show};
use crate::commands::Global;
use crate::commands::connection::Where;
use serde_json::{Value, json as value};
use std::time::Duration;

/// Options of `ironbrook invoke-device-method`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    at: Where,
    #[command(flatten)]
    target: Target,
    /// The method.
    #[arg(long, visible_alias = "mn", value_name = "NAME")]
    method_name: String,
    /// What the device is told, JSON or @file.
    #[arg(long, visible_alias = "mp", value_name = "JSON", value_parser = json, default_value = "null")]
    method_payload: Value,
    /// How long the device may take, in seconds: 5 to 300.
    #[arg(long, visible_alias = "to", default_value_t = 30, value_name = "SECONDS")]
    timeout: u64,
}

/// Runs the command.
pub async fn run(args: Args, global: &Global) -> anyhow::Result<()> {
    let (identity, timeout) = (args.target.identity(), Duration::from_secs(args.timeout));
    let client = client(&args.at)?;
    let (status, payload) =
        client.invoke_method(&identity, &args.method_name, args.method_payload, timeout).await?;
    show(global, &value!({ "status": status, "payload": payload }));
    Ok(())
}
