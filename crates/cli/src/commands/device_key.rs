//! A device's connection string, where a command is to act in its place.

use super::connection::{Target, Where};
use anyhow::{Context as _, bail};
use ironbrook_client::{DeviceId, Identity, ModuleId};
use ironbrook_model::ConnectionString;
use serde_json::Value;

/// The device's own connection string where that is what was given, else one with its key from the registry.
pub async fn target(at: &Where, device: &str) -> anyhow::Result<Target> {
    identity_target(at, device, None).await
}

/// The same for a module of a device.
pub async fn identity_target(at: &Where, device: &str, module: Option<&str>) -> anyhow::Result<Target> {
    let target = at.service()?;
    let parts = ConnectionString::parse(&target.connection_string)?;
    if let Some(own) = parts.get("DeviceId") {
        if own != device || parts.get("ModuleId") != module {
            bail!("the connection string is of {own:?}; give one of a policy that may read the registry");
        }
        return Ok(target);
    }
    let id = DeviceId::new(device).context("--device-id")?;
    let (identity, resource) = match module {
        Some(module) => {
            let module_id = ModuleId::new(module).context("--module-id")?;
            (Identity::module(id, module_id), format!("DeviceId={device};ModuleId={module}"))
        }
        None => (Identity::device(id), format!("DeviceId={device}")),
    };
    let record = at.service_client()?.identity(&identity).await.context("its key cannot be read")?;
    let key = record.pointer("/authentication/symmetricKey/primaryKey").and_then(Value::as_str);
    let Some(key) = key.filter(|key| !key.is_empty()) else {
        bail!("{identity} has no symmetric key; it proves itself with a certificate");
    };
    let host = parts.require("HostName")?;
    Ok(Target { connection_string: format!("HostName={host};{resource};SharedAccessKey={key}"), ..target })
}
