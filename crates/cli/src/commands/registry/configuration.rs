//! `ironbrook configuration`: deployments at scale and automatic configurations of devices and modules.

use super::{client, json, list, read, show};
use crate::commands::Global;
use crate::commands::connection::Where;
use clap::Subcommand;
use http::Method;
use ironbrook_model::percent_encode;
use serde_json::{Map, Value, json as value};
use std::path::PathBuf;

/// Configurations listed.
const TOP: usize = 100;

/// Options of `ironbrook configuration`.
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
    /// Make a configuration.
    Create(Create),
    /// Show a configuration with the results of its metrics.
    Show(Id),
    /// List configurations.
    List,
    /// Change a configuration; its content stays.
    Update(Update),
    /// Delete a configuration.
    Delete(Id),
}

#[derive(Debug, clap::Args)]
struct Id {
    /// The configuration.
    #[arg(long, short, value_name = "ID")]
    config_id: String,
}

impl Id {
    fn path(&self) -> String {
        format!("/configurations/{}", percent_encode(&self.config_id))
    }
}

#[derive(Debug, clap::Args)]
struct Create {
    #[command(flatten)]
    id: Id,
    /// `modulesContent` (a deployment manifest), `deviceContent` or `moduleContent`; JSON file, bare or in `content`.
    #[arg(long, visible_alias = "ct", value_name = "FILE")]
    content: PathBuf,
    #[command(flatten)]
    settings: Settings,
}

#[derive(Debug, clap::Args)]
struct Update {
    #[command(flatten)]
    id: Id,
    #[command(flatten)]
    settings: Settings,
}

#[derive(Debug, clap::Args)]
struct Settings {
    /// Which twins it is for: `*`, or a condition such as "tags.site = 'north'".
    #[arg(long, visible_alias = "tc", value_name = "CONDITION")]
    target_condition: Option<String>,
    /// The higher prevails.
    #[arg(long, visible_alias = "pri", value_name = "N")]
    priority: Option<u32>,
    /// Labels, JSON or @file.
    #[arg(long, visible_alias = "lab", value_name = "JSON", value_parser = json)]
    labels: Option<Value>,
    /// Custom metrics by name, JSON or @file: {"name": "SELECT …"}.
    #[arg(long, short, value_name = "JSON", value_parser = json)]
    metrics: Option<Value>,
}

impl Settings {
    fn put(self, body: &mut Value) {
        for (name, given) in [
            ("targetCondition", self.target_condition.map(Value::from)),
            ("priority", self.priority.map(Value::from)),
            ("labels", self.labels),
            ("metrics", self.metrics.map(|queries| value!({ "queries": queries }))),
        ] {
            if let Some(given) = given {
                body[name] = given;
            }
        }
    }
}

/// Runs the command.
pub async fn run(args: Args, global: &Global) -> anyhow::Result<()> {
    let client = client(&args.at)?;
    match args.command {
        Command::Create(create) => {
            let mut content = read(&create.content)?;
            if let Some(inner) = content.get_mut("content").filter(|inner| inner.is_object()) {
                content = inner.take();
            }
            let mut body = value!({ "id": create.id.config_id, "schemaVersion": "1.0", "content": content });
            create.settings.put(&mut body);
            show(global, &client.request(Method::PUT, &create.id.path(), Some(&body), None).await?);
        }
        Command::Show(id) => show(global, &client.request(Method::GET, &id.path(), None, None).await?),
        Command::List => {
            let answer = client.configurations(TOP).await?;
            let columns = [
                ("ID", "id"),
                ("PRIORITY", "priority"),
                ("TARGET CONDITION", "targetCondition"),
                ("TARGETED", "systemMetrics.results.targetedCount"),
                ("APPLIED", "systemMetrics.results.appliedCount"),
                ("CREATED", "createdTimeUtc"),
            ];
            list(global, &answer, &columns);
        }
        Command::Update(update) => {
            let mut body = client.request(Method::GET, &update.id.path(), None, None).await?;
            let etag = format!("\"{}\"", body["etag"].as_str().unwrap_or("*"));
            if let Some(metrics) = body["metrics"].as_object_mut() {
                metrics.retain(|name, _| name == "queries");
            }
            body["systemMetrics"] = Value::Object(Map::new());
            update.settings.put(&mut body);
            show(global, &client.request(Method::PUT, &update.id.path(), Some(&body), Some(&etag)).await?);
        }
        Command::Delete(id) => {
            client.request(Method::DELETE, &id.path(), None, Some("\"*\"")).await?;
        }
    }
    Ok(())
}
