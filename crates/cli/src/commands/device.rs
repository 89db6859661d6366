//! `ironbrook device`: simulated devices.

use super::Global;
use super::connection::Where;
use anyhow::Context as _;
use clap::{Subcommand, ValueEnum};
use ironbrook_client::{DeviceClient, RetryPolicy};
use ironbrook_modules::thermistor::adc::{Resolution, Simulation};
use ironbrook_modules::thermistor::physics::{Circuit, Fault, Model};
use ironbrook_modules::thermistor::{Config, Thermistor};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Options of `ironbrook device`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// An NTC thermistor behind an ADC, sending what the Pico W program sends. Runs until Ctrl-C.
    Thermistor(Box<ThermistorArgs>),
}

#[derive(Debug, clap::Args)]
struct ThermistorArgs {
    #[command(flatten)]
    at: Where,
    /// Which device of the data folder to be; not needed if there is only one.
    #[arg(long, value_name = "ID")]
    device: Option<String>,
    /// Time between readings, e.g. 1s, 200ms, 5m.
    #[arg(long, default_value = "1s", value_parser = duration, value_name = "TIME")]
    interval: Duration,
    /// Stop after so many readings are stored.
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// Break the wire after so many readings.
    #[arg(long, value_name = "N", conflicts_with = "short_after")]
    broken_wire_after: Option<u64>,
    /// Short the wires after so many readings.
    #[arg(long, value_name = "N")]
    short_after: Option<u64>,
    /// Mean temperature of the simulated room, °C.
    #[arg(long, default_value_t = 21.5, value_name = "CELSIUS", allow_negative_numbers = true)]
    celsius: f64,
    /// How far the temperature swings to either side within ten minutes, °C.
    #[arg(long, default_value_t = 1.5, value_name = "CELSIUS")]
    swing: f64,
    /// Standard deviation of the drift, °C.
    #[arg(long, default_value_t = 0.3, value_name = "CELSIUS")]
    drift: f64,
    /// Standard deviation of the noise at the ADC, in steps of 16 bits.
    #[arg(long, default_value_t = 12.0, value_name = "STEPS")]
    noise: f64,
    /// Resolution of the ADC.
    #[arg(long, value_enum, default_value_t = Bits::Twelve)]
    bits: Bits,
    /// Equation from resistance to temperature.
    #[arg(long, value_enum, default_value_t = Equation::Beta)]
    equation: Equation,
    /// Makes the run repeatable; else each run differs.
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Go on trying when the hub refuses the device.
    #[arg(long)]
    retry_unauthorized: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Bits {
    #[value(name = "12")]
    Twelve,
    #[value(name = "16")]
    Sixteen,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Equation {
    Beta,
    SteinhartHart,
}

/// Runs the command.
pub async fn run(args: Args, _global: &Global) -> anyhow::Result<()> {
    match args.command {
        Command::Thermistor(args) => thermistor(*args).await,
    }
}

async fn thermistor(args: ThermistorArgs) -> anyhow::Result<()> {
    let target = args.at.device(args.device.as_deref())?;
    let mut builder = DeviceClient::builder(&target.connection_string)?
        .client_type("ironbrook-thermistor")
        .retry(RetryPolicy::default())
        .retry_unauthorized(args.retry_unauthorized);
    if let Some(ca) = &target.ca {
        builder = builder.ca_file(ca)?;
    }
    if let Some(address) = target.address {
        builder = builder.address(address);
    }
    let client = builder.start()?;
    tracing::info!(device = %client.identity(), interval_ms = args.interval.as_millis() as u64, "thermistor started");
    let cancel = CancellationToken::new();
    let stop = cancel.clone();
    let signal = tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            stop.cancel();
        }
    });
    let outcome = Thermistor::new(client, config(&args)).run(cancel).await;
    signal.abort();
    outcome.context("the thermistor stopped")
}

fn config(args: &ThermistorArgs) -> Config {
    let fault_after = match (args.broken_wire_after, args.short_after) {
        (Some(after), _) => Some((after, Fault::Open)),
        (None, Some(after)) => Some((after, Fault::Short)),
        (None, None) => None,
    };
    let model = match args.equation {
        Equation::Beta => Model::BETA,
        Equation::SteinhartHart => Model::STEINHART_HART,
    };
    let simulation = Simulation {
        celsius: args.celsius,
        swing: args.swing,
        drift: args.drift,
        noise: args.noise,
        resolution: match args.bits {
            Bits::Twelve => Resolution::Bits12,
            Bits::Sixteen => Resolution::Bits16,
        },
        seed: args.seed.unwrap_or_else(rand::random),
    };
    let circuit = Circuit { model, ..Circuit::default() };
    Config { interval: args.interval, count: args.count, circuit, simulation, fault_after }
}

/// Reads `1s`, `200ms`, `5m`; a number alone is seconds.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let seconds = match text.parse::<f64>() {
        Ok(seconds) => seconds,
        Err(_) => {
            let span: jiff::SignedDuration =
                text.parse().map_err(|e| format!("{e}; write it as 1s, 200ms or 5m"))?;
            span.as_secs_f64()
        }
    };
    if !(0.001..=86_400.0).contains(&seconds) {
        return Err("must be from 1ms to one day".to_owned());
    }
    Ok(Duration::from_secs_f64(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_written_as_people_do() {
        for (text, millis) in [("1s", 1000), ("200ms", 200), ("5m", 300_000), ("0.5", 500), ("2", 2000)] {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for bad in ["", "0", "-1s", "NaN", "inf", "9999h", "soon"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }
}
