//! A simulated temperature sensor: an NTC thermistor behind an ADC, sending what the Pico W of `device/pico-w` sends.
//!
//! Telemetry: `{"temperature": 21.53, "resistance": 11687, "adc": 35316, "sequence": 7, "timeCreated": "…Z"}`, or
//! `{"fault": "open"|"short", …}` with the application property `fault`. The interval is changed by a message
//! `{"interval": seconds}` and by the desired property `interval`, and reported back. Methods: `getStatus`, `setFault`.
//!
//! Start with [`Thermistor`]. [`physics`] has the formulas, [`adc`] the simulation.

pub mod adc;
pub mod physics;
mod settings;
mod telemetry;

pub use telemetry::Telemetry;

use adc::{Simulation, VirtualAdc};
use ironbrook_client::{DeviceClient, Error, ReceivedMessage};
use ironbrook_model::Timestamp;
use physics::{Circuit, Fault};
use serde_json::json;
use settings::Settings;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::mpsc::{self, error::TrySendError};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

/// Readings kept while the hub cannot be reached; the newest are dropped beyond.
const UNSENT_MAX: usize = 120;

/// How a sensor behaves.
#[derive(Debug, Clone)]
pub struct Config {
    /// Time between readings.
    pub interval: Duration,
    /// Ends after so many readings; `None` goes on for ever.
    pub count: Option<u64>,
    /// The circuit.
    pub circuit: Circuit,
    /// The room and the converter.
    pub simulation: Simulation,
    /// A fault that begins after so many readings.
    pub fault_after: Option<(u64, Fault)>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(1),
            count: None,
            circuit: Circuit::default(),
            simulation: Simulation::default(),
            fault_after: None,
        }
    }
}

/// The sensor. It owns nothing of the connection: any [`DeviceClient`] will do.
#[derive(Debug)]
pub struct Thermistor {
    client: DeviceClient,
    config: Config,
    settings: Settings,
}

impl Thermistor {
    /// A sensor that sends through `client`.
    pub fn new(client: DeviceClient, config: Config) -> Self {
        let settings = Settings::new(config.interval.max(Duration::from_millis(1)));
        Self { client, config, settings }
    }

    /// Measures and sends until `cancel`, until `count` readings are stored, or until the client fails for good.
    /// Closes the client at the end.
    pub async fn run(self, cancel: CancellationToken) -> Result<(), Error> {
        let (readings, unsent) = mpsc::channel(UNSENT_MAX);
        // The feeds wait for a connection and must not keep the sensor from measuring meanwhile.
        let outcome = tokio::select! {
            () = cancel.cancelled() => Ok(()),
            done = async { tokio::join!(self.measure(readings), self.send(unsent)).1 } => done,
            Err(error) = async { tokio::try_join!(self.obey(), self.follow_twin(), self.answer()) } => Err(error),
        };
        let closed = self.client.close().await;
        outcome.and(closed)
    }

    /// Takes readings on time.
    async fn measure(&self, readings: mpsc::Sender<Telemetry>) {
        let mut adc = VirtualAdc::new(self.config.simulation.clone(), self.config.circuit);
        let mut interval = self.settings.interval();
        let mut last = Instant::now();
        let mut sequence = 0;
        while self.config.count.is_none_or(|count| sequence < count) {
            let now = Instant::now();
            sequence += 1;
            if let Some((_, fault)) = self.config.fault_after.filter(|(after, _)| sequence == after + 1) {
                self.settings.set_fault(Some(fault));
            }
            let value = adc.read((now - last).as_secs_f64(), self.settings.fault());
            let telemetry = Telemetry::new(value, self.config.circuit.reading(value), sequence, clock());
            self.settings.measured(telemetry.clone());
            match readings.try_send(telemetry) {
                Ok(()) => {}
                Err(TrySendError::Full(_)) => {
                    tracing::warn!(sequence, "reading dropped, too many wait for the hub")
                }
                Err(TrySendError::Closed(_)) => return,
            }
            last = now;
            loop {
                let due = last + *interval.borrow_and_update();
                tokio::select! {
                    () = sleep_until(due) => break,
                    // A shorter interval holds at once, not after the old one has run out.
                    Ok(()) = interval.changed() => {}
                }
            }
        }
    }

    /// Sends readings in order; ends when the last one is stored.
    async fn send(&self, mut readings: mpsc::Receiver<Telemetry>) -> Result<(), Error> {
        let mut last = None;
        while let Some(telemetry) = readings.recv().await {
            tracing::debug!(sequence = telemetry.sequence, temperature = telemetry.temperature, "reading");
            last = Some(self.client.enqueue(telemetry.message()).await?);
        }
        // Acknowledgements come in order, so the last one stands for all.
        match last {
            Some(receipt) => receipt.await,
            None => Ok(()),
        }
    }

    /// Does what messages from the hub say.
    async fn obey(&self) -> Result<(), Error> {
        let mut messages = self.client.messages().await?;
        while let Some(received) = messages.next().await {
            self.obey_message(&received);
            match received.complete().await {
                // The hub will deliver it again, and obeying twice does no harm.
                Ok(()) | Err(Error::LockLost) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn obey_message(&self, received: &ReceivedMessage) {
        match serde_json::from_slice(&received.message.body).ok().and_then(|wish| self.settings.apply(&wish))
        {
            Some(Ok(seconds)) => tracing::info!(seconds, "interval changed by a message"),
            Some(Err(reason)) => tracing::warn!(reason, "message ignored"),
            None => tracing::warn!("message ignored, it is not {{\"interval\": seconds}}"),
        }
    }

    /// Follows the desired properties and reports what holds.
    async fn follow_twin(&self) -> Result<(), Error> {
        let mut updates = self.client.desired_updates().await?;
        while let Some(update) = updates.next().await {
            if let Some(Err(reason)) = self.settings.apply(&update.properties) {
                tracing::warn!(reason, version = update.version, "desired property ignored");
            }
            match self.client.report(&json!({ "interval": self.settings.interval_seconds() })).await {
                Ok(_) => {}
                Err(error @ Error::Refused { .. }) => tracing::warn!(%error, "reported properties refused"),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn answer(&self) -> Result<(), Error> {
        self.client
            .serve_methods(|name, payload| std::future::ready(self.settings.method(&name, &payload)))
            .await
    }
}

fn clock() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
