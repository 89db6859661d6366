//! The edge device of `dev`: registered, given the tutorial's deployment at first, and started beside the hub.

use super::data_dir::DataDir;
use super::ready::Ready;
use crate::config::Config;
use crate::edge_device::{EdgeDevice, Upstream};
use anyhow::Context as _;
use ironbrook_client::Trust;
use ironbrook_cloud::registry::{ConfigurationContent, Registry, Wish};
use ironbrook_log::Storage;
use ironbrook_model::{DeviceId, ErrorCode, Identity, ModuleId};
use std::net::SocketAddr;
use std::sync::Arc;

/// A temperature sensor, a stream query over it, and an alert that resets the machine. The sensor never falls silent.
const DEPLOYMENT: &str = include_str!("deployment.json");
const AGENT: &str = "$edgeAgent";

/// Registers the device if it is not there, and deploys to it if nothing was ever deployed.
pub async fn ensure_device(registry: &Registry, config: &Config) -> anyhow::Result<()> {
    if !config.edge.enabled {
        return Ok(());
    }
    let name = config.edge.device.as_str();
    let device = DeviceId::new(name).with_context(|| format!("edge.device {name:?}"))?;
    let wish: Wish = serde_json::from_value(serde_json::json!({ "capabilities": { "iotEdge": true } }))?;
    match registry.create(Identity::device(device.clone()), wish).await {
        Ok(_) => {}
        Err(refusal) if refusal.code == ErrorCode::DeviceAlreadyExists => {}
        Err(refusal) => return Err(refusal.into()),
    }
    let agent = Identity::module(device.clone(), ModuleId::new(AGENT)?);
    let twin = registry.twin_view(agent).await.with_context(|| {
        format!("{name} is no edge device; create it with capabilities.iotEdge, or set edge.enabled = false")
    })?;
    if twin["properties"]["desired"]["schemaVersion"].is_null() {
        let content = ConfigurationContent::read(serde_json::from_str(DEPLOYMENT)?)?;
        registry.apply_configuration(device, content).await?;
    }
    Ok(())
}

/// Opens the device, with the credentials it has in the hub; `None` where it is not wanted or has no key.
pub async fn open(
    config: &Config,
    ready: &Ready,
    https: SocketAddr,
    storage: Arc<dyn Storage>,
    data: &DataDir,
) -> anyhow::Result<Option<EdgeDevice>> {
    let connection_string = ready.device_connection_strings.get(&config.edge.device);
    let Some(connection_string) = connection_string.filter(|_| config.edge.enabled) else {
        return Ok(None);
    };
    let upstream = Upstream {
        connection_string: connection_string.clone(),
        trust: Trust::file(&ready.ca_file)?,
        trust_file: Some(ready.ca_file.clone()),
        mqtt: Some(config.listen.mqtt),
        https: Some(https),
    };
    EdgeDevice::open(&config.edge, &config.log, upstream, storage, data.path()).await.map(Some)
}
