//! `ironbrook job`: jobs over many devices.

use super::{client, json, list, show};
use crate::commands::Global;
use crate::commands::connection::Where;
use anyhow::bail;
use clap::{Subcommand, ValueEnum};
use http::Method;
use ironbrook_model::percent_encode;
use serde_json::{Value, json as value};

/// Jobs listed where the caller does not say, and records shown.
const TOP: usize = 100;

/// Options of `ironbrook job`.
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
    /// Make a job.
    Create(Box<Create>),
    /// Show a job.
    Show(Id),
    /// List jobs.
    List {
        /// Only of this type.
        #[arg(long, visible_alias = "jt", value_enum)]
        job_type: Option<Kind>,
        /// Only in this status: scheduled, queued, running, completed, failed, cancelled.
        #[arg(long, visible_alias = "js", value_name = "STATUS")]
        job_status: Option<String>,
    },
    /// List what a job did to its devices.
    Devices(Id),
    /// Cancel a job.
    Cancel(Id),
}

#[derive(Debug, clap::Args)]
struct Id {
    /// The job.
    #[arg(long, visible_alias = "jid", value_name = "ID")]
    job_id: String,
}

impl Id {
    fn path(&self) -> String {
        format!("/jobs/v2/{}", percent_encode(&self.job_id))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// Call a method.
    #[value(name = "scheduleDeviceMethod", alias = "schedule-device-method")]
    Method,
    /// Change twins.
    #[value(name = "scheduleUpdateTwin", alias = "schedule-update-twin")]
    Twin,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Method => "scheduleDeviceMethod",
            Self::Twin => "scheduleUpdateTwin",
        }
    }
}

#[derive(Debug, clap::Args)]
struct Create {
    #[command(flatten)]
    id: Id,
    /// What it does.
    #[arg(long, visible_alias = "jt", value_enum)]
    job_type: Kind,
    /// Which devices: `*`, or a condition such as "tags.site = 'north'".
    #[arg(long, short, value_name = "CONDITION")]
    query_condition: String,
    /// When, ISO 8601; at once where left out.
    #[arg(long, visible_alias = "start", value_name = "TIME")]
    start_time: Option<String>,
    /// How long it may take, in seconds.
    #[arg(long, default_value_t = 3600, value_name = "SECONDS")]
    ttl: u64,
    /// What is merged into twins, JSON or @file: {"tags": {}, "properties": {"desired": {}}}.
    #[arg(long, visible_alias = "patch", value_name = "JSON", value_parser = json)]
    twin_patch: Option<Value>,
    /// The method.
    #[arg(long, visible_alias = "mn", value_name = "NAME")]
    method_name: Option<String>,
    /// What devices are told, JSON or @file.
    #[arg(long, visible_alias = "mp", value_name = "JSON", value_parser = json)]
    method_payload: Option<Value>,
    /// How long a device may take to answer, in seconds: 5 to 300.
    #[arg(long, visible_alias = "mrt", default_value_t = 30, value_name = "SECONDS")]
    method_response_timeout: u64,
}

impl Create {
    fn body(&self) -> anyhow::Result<Value> {
        let mut body = value!({
            "jobId": self.id.job_id,
            "type": self.job_type.name(),
            "queryCondition": self.query_condition,
            "startTime": self.start_time,
            "maxExecutionTimeInSeconds": self.ttl,
        });
        match (self.job_type, &self.twin_patch, &self.method_name) {
            (Kind::Twin, Some(patch), _) => body["updateTwin"] = patch.clone(),
            (Kind::Method, _, Some(name)) => {
                body["cloudToDeviceMethod"] = value!({
                    "methodName": name,
                    "payload": self.method_payload,
                    "responseTimeoutInSeconds": self.method_response_timeout,
                });
            }
            (Kind::Twin, None, _) => bail!("--twin-patch is missing"),
            (Kind::Method, _, None) => bail!("--method-name is missing"),
        }
        Ok(body)
    }
}

/// Runs the command.
pub async fn run(args: Args, global: &Global) -> anyhow::Result<()> {
    let client = client(&args.at)?;
    match args.command {
        Command::Create(create) => {
            let body = create.body()?;
            show(global, &client.request(Method::PUT, &create.id.path(), Some(&body), None).await?);
        }
        Command::Show(id) => show(global, &client.request(Method::GET, &id.path(), None, None).await?),
        Command::List { job_type, job_status } => {
            let kind = job_type.map(Kind::name);
            let columns = [
                ("JOB ID", "jobId"),
                ("TYPE", "type"),
                ("STATUS", "status"),
                ("DEVICES", "deviceJobStatistics.deviceCount"),
                ("SUCCEEDED", "deviceJobStatistics.succeededCount"),
                ("FAILED", "deviceJobStatistics.failedCount"),
                ("START", "startTime"),
            ];
            list(global, &client.jobs(kind, job_status.as_deref(), TOP).await?, &columns);
        }
        Command::Devices(id) => {
            let id = id.job_id.replace('\\', "\\\\").replace('\'', "\\'");
            let query = format!("SELECT * FROM devices.jobs WHERE devices.jobs.jobId = '{id}'");
            let (records, _) = client.query_page(&query, None, 1000).await?;
            let columns = [
                ("DEVICE ID", "deviceId"),
                ("STATUS", "status"),
                ("ANSWER", "outcome.deviceMethodResponse"),
                ("ERROR", "error.code"),
                ("END", "endTimeUtc"),
            ];
            list(global, &records, &columns);
        }
        Command::Cancel(id) => {
            let path = format!("{}/cancel", id.path());
            show(global, &client.request(Method::POST, &path, None, None).await?);
        }
    }
    Ok(())
}
