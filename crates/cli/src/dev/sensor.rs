//! The simulated thermistor of `dev`: a device like any other, through the real door.

use super::ready::Ready;
use crate::config::{Config, Thermistor as Settings};
use anyhow::Context as _;
use ironbrook_client::DeviceClient;
use ironbrook_cloud::registry::{Registry, Wish};
use ironbrook_model::{DeviceId, ErrorCode, Identity};
use ironbrook_modules::thermistor::{self, Thermistor};
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Registers the thermistor's device if it is not there.
pub async fn ensure_device(registry: &Registry, settings: &Settings) -> anyhow::Result<()> {
    let device = DeviceId::new(settings.device.as_str())
        .with_context(|| format!("thermistor.device {:?}", settings.device))?;
    match registry.create(Identity::device(device), Wish::default()).await {
        Ok(_) => Ok(()),
        Err(refusal) if refusal.code == ErrorCode::DeviceAlreadyExists => Ok(()),
        Err(refusal) => Err(refusal.into()),
    }
}

/// Starts it, if it is wanted and its device has a key.
pub fn start(
    config: &Config,
    ready: &Ready,
    cancel: &CancellationToken,
    tasks: &TaskTracker,
) -> anyhow::Result<()> {
    let Some(connection_string) = ready.device_connection_strings.get(&config.thermistor.device) else {
        return Ok(());
    };
    if !config.thermistor.enabled {
        return Ok(());
    }
    let client = DeviceClient::builder(connection_string)?
        .ca_file(&ready.ca_file)?
        .address(config.listen.mqtt)
        .client_type("ironbrook-thermistor")
        .start()?;
    let interval = Duration::from_millis(config.thermistor.interval_ms.max(1));
    let sensor = Thermistor::new(client, thermistor::Config { interval, ..thermistor::Config::default() });
    let cancel = cancel.clone();
    tasks.spawn(async move {
        if let Err(error) = sensor.run(cancel).await {
            tracing::error!(%error, "the simulated thermistor stopped");
        }
    });
    Ok(())
}
