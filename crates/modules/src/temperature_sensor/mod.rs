//! The simulated temperature sensor of the tutorials, compatible with the stock module of that name: a machine that grows hot until a
//! `reset` comes.
//!
//! Telemetry on output `temperatureOutput`: `{"machine":{"temperature","pressure"},"ambient":{"temperature","humidity"},
//! "timeCreated"}`. Input `control` takes `{"command":"reset"}`, or an array of such; the direct method `reset` does the same. Desired
//! properties: `SendData`, `SendInterval`. Settings come from environment variables, see [`Settings`].
//!
//! Start with [`run_from_environment`], or with [`SimulatedTemperatureSensor`] for a connection of one's own. The formulas are in
//! [`model`], the forms of commands in [`control`].

mod console;
pub mod control;
pub mod model;
mod sensor;
pub mod settings;
mod telemetry;
#[cfg(test)]
mod testing;

pub use settings::Settings;
pub use telemetry::Telemetry;

use console::Console;
use ironbrook_client::{Builder, ConnectionState, DeviceClient, RetryPolicy};
use ironbrook_hub::seams::{Clock, SystemClock};
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use sensor::Sensor;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

/// The output that readings leave by.
pub const OUTPUT: &str = "temperatureOutput";
/// The input that commands come to.
pub const INPUT: &str = "control";

/// Longest wait for the desired properties before the first reading.
const TWIN_WAIT: Duration = Duration::from_secs(30);
/// Attempts to find the way into the hub, before the module ends and is started again.
const ATTEMPTS: u32 = 6;
/// The first wait between them; it doubles.
const ATTEMPT_WAIT: Duration = Duration::from_secs(2);
/// How long to wait between attempts to connect: the other side is on this machine or near, and often just being started.
const RETRY: RetryPolicy = RetryPolicy { first: Duration::from_millis(100), longest: Duration::from_secs(5) };

/// Why the sensor ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A variable that cannot be used.
    #[error("the environment variable {name} cannot be used: {reason}")]
    Setting {
        /// Its name.
        name: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// The client cannot be made, or failed for good.
    #[error(transparent)]
    Client(#[from] ironbrook_client::Error),
}

/// Runs the sensor as the environment of the process says, until `cancel`. Lines for people go to `lines`.
pub async fn run_from_environment(
    lines: Box<dyn Write + Send>,
    cancel: CancellationToken,
) -> Result<(), Error> {
    let settings = Settings::from_variables(variables())?;
    let console = Console::new(lines);
    console.line(format_args!("SimulatedTemperatureSensor starts"));
    let builder = tokio::select! {
        () = cancel.cancelled() => return Ok(()),
        builder = find_way(&console) => builder?,
    };
    // A module is often started before the hub has heard of it, so a refusal is no reason to end.
    let client = builder.retry(RETRY).retry_unauthorized(true).start()?;
    let clock = Arc::new(SystemClock);
    let sensor = Sensor::new(settings, console, clock);
    SimulatedTemperatureSensor { client, sensor, rng: StdRng::from_os_rng() }.run(cancel).await
}

/// The variables whose names and values are text.
fn variables() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

/// Asks for what is needed to connect, some times if it fails in passing.
async fn find_way(console: &Console) -> Result<Builder, Error> {
    let mut wait = ATTEMPT_WAIT;
    for _ in 1..ATTEMPTS {
        match Builder::from_environment().await {
            Err(error) if error.is_transient() => {
                console
                    .line(format_args!("Connecting failed, next attempt in {} s: {error}", wait.as_secs()));
            }
            other => return Ok(other?),
        }
        tokio::time::sleep(wait).await;
        wait *= 2;
    }
    Ok(Builder::from_environment().await?)
}

/// The sensor. It owns nothing of the connection: any [`DeviceClient`] of a module will do.
pub struct SimulatedTemperatureSensor {
    client: DeviceClient,
    sensor: Sensor,
    rng: StdRng,
}

impl SimulatedTemperatureSensor {
    /// A sensor that sends through `client` and writes lines for people to `lines`.
    pub fn new(
        client: DeviceClient,
        settings: Settings,
        lines: Box<dyn Write + Send>,
        rng: StdRng,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self { client, sensor: Sensor::new(settings, Console::new(lines), clock), rng }
    }

    /// Measures, sends and obeys until `cancel` or until the client fails for good. After the last message of a limited number it
    /// stays and still obeys. Closes the client at the end.
    pub async fn run(self, cancel: CancellationToken) -> Result<(), Error> {
        let Self { client, sensor, rng } = self;
        sensor.introduce();
        let is_known = Notify::new();
        let work = async {
            tokio::try_join!(
                telemetry(&client, &sensor, rng, &is_known),
                obey(&client, &sensor),
                follow_twin(&client, &sensor, &is_known),
                answer(&client, &sensor),
                tell_connection(&client, &sensor),
            )
        };
        let outcome = tokio::select! {
            () = cancel.cancelled() => Ok(()),
            done = work => done.map(drop),
        };
        if let Err(error) = client.close().await
            && outcome.is_ok()
        {
            tracing::warn!(%error, "the last messages may be lost");
        }
        Ok(outcome?)
    }
}

type Outcome = Result<(), ironbrook_client::Error>;

/// Sends readings in order. Those that are not acknowledged are kept by the client, which takes no more than some.
async fn telemetry(client: &DeviceClient, sensor: &Sensor, rng: StdRng, is_known: &Notify) -> Outcome {
    // Whether to send at all stands in the twin.
    let _ = tokio::time::timeout(TWIN_WAIT, is_known.notified()).await;
    let (out, mut readings) = mpsc::channel(1);
    let send = async {
        let (mut last, mut count) = (None, 0_u64);
        while let Some(message) = readings.recv().await {
            last = Some(client.enqueue_output(OUTPUT, message).await?);
            count += 1;
        }
        // Acknowledgements come in order, so the last one stands for all.
        if let Some(receipt) = last {
            receipt.await?;
        }
        sensor.console.line(format_args!("Done sending {count} messages"));
        Ok(())
    };
    tokio::join!(sensor.measure(rng, out), send).1
}

/// Obeys messages, and takes those away that came to an input nobody knows.
async fn obey(client: &DeviceClient, sensor: &Sensor) -> Outcome {
    let mut messages = client.messages().await?;
    while let Some(received) = messages.next().await {
        match received.input.as_deref() {
            Some(input) if input.eq_ignore_ascii_case(INPUT) => sensor.obey(&received.message.body),
            other => tracing::debug!(input = other, "message on an unknown input"),
        }
        match received.complete().await {
            // It comes again, and to obey twice does no harm.
            Ok(()) | Err(ironbrook_client::Error::LockLost | ironbrook_client::Error::Closed) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Follows the desired properties and reports what holds; what they are at the start is not reported.
async fn follow_twin(client: &DeviceClient, sensor: &Sensor, is_known: &Notify) -> Outcome {
    let mut updates = client.desired_updates().await?;
    if let Some(first) = updates.next().await {
        sensor.apply(&first.properties);
    }
    is_known.notify_one();
    while let Some(update) = updates.next().await {
        sensor.apply(&update.properties);
        match client.report(&sensor.report()).await {
            Ok(_) => {}
            Err(error @ ironbrook_client::Error::Refused { .. }) => {
                tracing::warn!(%error, "reported properties refused");
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

async fn answer(client: &DeviceClient, sensor: &Sensor) -> Outcome {
    client.serve_methods(|name, _| std::future::ready(sensor.method(&name))).await
}

/// Tells of the connection, and ends with the client.
async fn tell_connection(client: &DeviceClient, sensor: &Sensor) -> Outcome {
    let mut state = client.state();
    loop {
        match &*state.borrow_and_update() {
            ConnectionState::Connecting => {}
            ConnectionState::Connected => sensor.console.line(format_args!("Connected")),
            ConnectionState::Waiting { error, retry_in } => {
                let seconds = retry_in.as_secs_f64();
                sensor.console.line(format_args!("Not connected, next attempt in {seconds:.1} s: {error}"));
            }
            ConnectionState::Closed(Some(error)) => return Err(error.clone()),
            ConnectionState::Closed(None) => return Ok(()),
        }
        if state.changed().await.is_err() {
            return Ok(());
        }
    }
}
