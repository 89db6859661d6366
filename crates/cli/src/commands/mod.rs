//! The command line: one file per command.

pub mod blobs;
pub mod c2d;
pub mod certificate;
pub mod config;
pub mod connection;
pub mod contexts;
pub mod device;
mod device_key;
pub mod edge;
pub mod log;
pub mod messages;
pub mod module;
pub mod mqtt;
pub mod plot;
pub mod refusals;
pub mod registry;
pub mod route;
pub mod sas_token;
pub mod sql;
pub mod why;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// A self-hosted Industrial IoT platform, compatible with Azure IoT Hub, Azure IoT Edge and Azure Stream Analytics.
#[derive(Debug, Parser)]
#[command(name = "ironbrook", version, propagate_version = true, max_term_width = 110)]
pub struct Cli {
    /// Options of every command.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Options of every command.
#[derive(Debug, Clone, Args)]
pub struct Global {
    /// How data is printed to stdout.
    #[arg(long, global = true, value_enum, default_value_t = OutputFormat::Table)]
    pub output: OutputFormat,
    /// What is logged to stderr, e.g. `info`, `debug`, `ironbrook_gateway=debug,warn`.
    #[arg(long, global = true, env = "IRONBROOK_LOG", value_name = "FILTER")]
    pub log: Option<String>,
    /// Log one JSON object per line.
    #[arg(long, global = true)]
    pub log_json: bool,
    /// Threads that serve connections; where not given, one for each CPU the process may use.
    #[arg(long, global = true, env = "IRONBROOK_WORKERS", value_name = "N", value_parser = workers())]
    pub workers: Option<u16>,
}

/// More threads than the largest machines have CPUs are a slip of the pen.
const WORKERS_MAX: i64 = 1024;

fn workers() -> clap::builder::RangedI64ValueParser<u16> {
    clap::value_parser!(u16).range(1..=WORKERS_MAX)
}

/// How data is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OutputFormat {
    /// For people.
    #[value(alias = "text")]
    Table,
    /// For programs: one JSON value per line.
    Json,
}

/// Rows of text in columns, each as wide as its widest cell.
pub fn columns<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let line = |row: &[String; N]| {
        let cells = row.iter().enumerate().map(|(column, cell)| format!("{cell:<0$}", width(column)));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a whole hub on this machine: registry, doors, storage account, a simulated sensor and a web page.
    Dev(Box<crate::dev::Args>),
    /// Run an edge device, set its modules, list them.
    Edge(edge::Args),
    /// Stream Analytics queries.
    Sql(sql::Args),
    /// Run a built-in module, as the edge runtime starts it.
    Module(module::Args),
    /// Make, show, change and delete devices of a hub.
    DeviceIdentity(Box<registry::identity::DeviceArgs>),
    /// Make, show, change and delete modules of devices.
    ModuleIdentity(Box<registry::identity::ModuleArgs>),
    /// Show and change twins of devices and modules.
    #[command(visible_alias = "module-twin")]
    DeviceTwin(registry::twin::Args),
    /// Deployments at scale and automatic configurations of devices and modules.
    Configuration(registry::configuration::Args),
    /// Change twins of, and call methods on, many devices.
    Job(registry::job::Args),
    /// Ask for twins and jobs in the query language of hubs.
    Query(registry::query::Args),
    /// Call a direct method of a device or module.
    #[command(visible_alias = "invoke-module-method")]
    InvokeDeviceMethod(registry::method::Args),
    /// Bring identities with their keys and twins in, as an Azure hub exports them.
    Import(registry::transfer::ImportArgs),
    /// Write all identities with their keys and twins out.
    Export(registry::transfer::ExportArgs),
    /// Register and verify authorities whose certificates prove devices.
    Certificate(certificate::Args),
    /// Tell why devices and modules were not let in.
    Refusals(refusals::Args),
    /// Run a simulated device.
    Device(device::Args),
    /// Read telemetry from the events endpoint.
    Messages(messages::Args),
    /// Print telemetry as it comes: `messages monitor` under the name it has with other tools.
    MonitorEvents(messages::MonitorArgs),
    /// Send messages to devices, take them in a device's place, purge them.
    C2dMessage(c2d::Args),
    /// Sign a token for the hub, or for a device with its own key.
    GenerateSasToken(sas_token::Args),
    /// Remember hubs under names.
    Context(contexts::Args),
    /// Print a script that completes commands and options in a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// List and download blobs of the storage account.
    Blobs(blobs::Args),
    /// Publish, subscribe and measure on ordinary topics of any MQTT server.
    Mqtt(mqtt::Args),
    /// Which routes a message takes and why, the routes of a hub, and how their endpoints do.
    Route(route::Args),
    /// What became of a message: routes, endpoints, attempts, and where it is.
    Why(why::Args),
    /// Look at the files of a message log: what is in it, and whether all of it is sound.
    Log(log::Args),
    /// Draw temperatures over time as PNG or SVG.
    Plot(plot::Args),
    /// Print or check the configuration.
    Config(config::Args),
}

/// Prints what a shell needs to complete commands.
pub fn complete(shell: clap_complete::Shell) {
    use clap::CommandFactory as _;
    clap_complete::generate(shell, &mut Cli::command(), "ironbrook", &mut std::io::stdout());
}
