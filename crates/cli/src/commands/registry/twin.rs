//! `ironbrook device-twin`: twins of devices and modules.

use super::{Target, client, json, show};
use crate::commands::Global;
use crate::commands::connection::Where;
use anyhow::bail;
use clap::Subcommand;
use http::Method;
use ironbrook_client::Identity;
use ironbrook_model::percent_encode;
use serde_json::{Map, Value};

/// Options of `ironbrook device-twin`.
#[derive(Debug, clap::Args)]
// Where the hub is may be said before or after the verb.
#[command(mut_args(|arg| arg.global(true)))]
pub struct Args {
    #[command(flatten)]
    at: Where,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show a twin.
    Show(Target),
    /// Merge into tags and desired properties; null removes.
    Update(Change),
    /// Replace tags and desired properties; what is left out is cleared.
    Replace(Change),
}

#[derive(Debug, clap::Args)]
struct Change {
    #[command(flatten)]
    target: Target,
    /// Tags, JSON or @file.
    #[arg(long, value_name = "JSON", value_parser = json)]
    tags: Option<Value>,
    /// Desired properties, JSON or @file.
    #[arg(long, value_name = "JSON", value_parser = json)]
    desired: Option<Value>,
    /// Only if the twin has this etag.
    #[arg(long, short, value_name = "ETAG")]
    etag: Option<String>,
}

/// Runs the command.
pub async fn run(args: Args, global: &Global) -> anyhow::Result<()> {
    let client = client(&args.at)?;
    let (method, change) = match args.command {
        Command::Show(target) => {
            show(global, &client.twin(&target.identity()).await?);
            return Ok(());
        }
        Command::Update(change) => (Method::PATCH, change),
        Command::Replace(change) => (Method::PUT, change),
    };
    if change.tags.is_none() && change.desired.is_none() {
        bail!("say what to change, with --tags or --desired");
    }
    let mut body = Map::new();
    body.extend(change.tags.map(|tags| ("tags".to_owned(), tags)));
    let desired = change.desired.map(|desired| serde_json::json!({ "desired": desired }));
    body.extend(desired.map(|sections| ("properties".to_owned(), sections)));
    let etag = change.etag.map(|etag| format!("\"{}\"", etag.trim_matches('"')));
    let path = path(&change.target.identity());
    show(global, &client.request(method, &path, Some(&Value::Object(body)), etag.as_deref()).await?);
    Ok(())
}

fn path(identity: &Identity) -> String {
    let device = percent_encode(identity.device.as_str());
    match &identity.module {
        None => format!("/twins/{device}"),
        Some(module) => format!("/twins/{device}/modules/{}", percent_encode(module.as_str())),
    }
}
