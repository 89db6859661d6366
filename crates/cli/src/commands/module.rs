//! `ironbrook module`: the built-in modules, as the edge runtime starts them. Each is a process of its own and finds its hub by the
//! stock environment variables.

use anyhow::Context as _;
use clap::Subcommand;
use ironbrook_modules::{stream_analytics, temperature_sensor};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Options of `ironbrook module`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    module: Module,
}

#[derive(Debug, Subcommand)]
enum Module {
    /// The simulated temperature sensor, for image azureiotedge-simulated-temperature-sensor.
    TemperatureSensor,
    /// Stream Analytics, for image azure-stream-analytics/azureiotedge.
    StreamAnalytics,
}

/// Runs the module until SIGTERM or Ctrl-C.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let cancel = CancellationToken::new();
    let stop = cancel.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        stop.cancel();
    });
    let lines = Box::new(std::io::stdout());
    match args.module {
        Module::TemperatureSensor => temperature_sensor::run_from_environment(lines, cancel)
            .await
            .context("SimulatedTemperatureSensor"),
        Module::StreamAnalytics => {
            stream_analytics::run_from_environment(lines, cancel).await.context("Stream Analytics")
        }
    }
}
