//! `sql job`: streaming jobs of a hub.

mod azure;
mod create;
mod input;
mod output;

use crate::commands::connection::Where;
use crate::commands::registry::{client, list, show};
use crate::commands::{Global, OutputFormat};
use clap::Subcommand;
use http::Method;
use ironbrook_model::percent_encode;
use serde_json::{Value, json};

/// Options of `sql job`.
#[derive(Debug, clap::Args)]
// Where the hub is may be said before or after the verb.
#[command(mut_args(|arg| arg.global(true)))]
pub(super) struct Args {
    #[command(flatten)]
    at: Where,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a job, or change one in place: windows that are the same in both queries keep what they hold.
    Create(Box<create::Create>),
    /// Let a job work.
    Start {
        /// The job.
        name: String,
        /// Begin with what comes from now on, and throw away what the job has.
        #[arg(long, conflicts_with = "from")]
        now: bool,
        /// Begin with what came in at this time, ISO 8601, and throw away what the job has.
        #[arg(long, value_name = "TIME")]
        from: Option<String>,
    },
    /// End a job's work; it goes on from there when it is started again.
    Stop {
        /// The job.
        name: String,
    },
    /// List jobs.
    List,
    /// Show a job: what it is and how it does.
    Show {
        /// The job.
        name: String,
    },
    /// Remove a job with what it has.
    Delete {
        /// The job.
        name: String,
    },
}

/// Runs the command.
pub(super) async fn run(args: Args, global: &Global) -> anyhow::Result<()> {
    // A query that cannot run is told of before any hub is asked.
    let definition = match &args.command {
        Command::Create(create) => Some(create.definition()?),
        _ => None,
    };
    let client = client(&args.at)?;
    let ask = async |method, path: &str, body: Option<Value>| {
        client.request(method, path, body.as_ref(), None).await
    };
    match args.command {
        Command::Create(create) => {
            let at = path(&create.name);
            let mut job = ask(Method::PUT, &at, definition).await?;
            if create.start {
                job = ask(Method::POST, &format!("{at}/start"), Some(json!({}))).await?;
            }
            show(global, &job);
        }
        Command::Start { name, now, from } => {
            let how = match (now, from) {
                (true, _) => json!({ "outputStartMode": "JobStartTime" }),
                (false, Some(from)) => json!({ "outputStartMode": "CustomTime", "outputStartTime": from }),
                (false, None) => json!({}),
            };
            show(global, &ask(Method::POST, &format!("{}/start", path(&name)), Some(how)).await?);
        }
        Command::Stop { name } => {
            show(global, &ask(Method::POST, &format!("{}/stop", path(&name)), Some(json!({}))).await?);
        }
        Command::List => {
            let all = ask(Method::GET, "/streamingjobs", None).await?;
            let columns = [
                ("NAME", "name"),
                ("STATE", "state"),
                ("EVENTS", "inputEvents"),
                ("DATA ERRORS", "dataErrors"),
                ("BACKLOG", "backloggedEvents"),
                ("DELAY S", "watermarkDelaySeconds"),
                ("ERROR", "error"),
            ];
            list(global, all["value"].as_array().map_or(&[][..], Vec::as_slice), &columns);
        }
        Command::Show { name } => {
            let job = ask(Method::GET, &path(&name), None).await?;
            show(global, &job);
            if global.output == OutputFormat::Table {
                query(&job);
            }
        }
        Command::Delete { name } => drop(ask(Method::DELETE, &path(&name), None).await?),
    }
    Ok(())
}

/// The query as it was written: in JSON it is one long line.
#[allow(clippy::print_stdout, reason = "what the command is asked for")]
fn query(job: &Value) {
    if let Some(text) = job["definition"]["query"].as_str() {
        println!("\n{}", text.trim_end());
    }
}

fn path(name: &str) -> String {
    format!("/streamingjobs/{}", percent_encode(name))
}
