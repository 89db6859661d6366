//! Who sent a stored message.

use ironbrook_hub::seams::Routed;
use ironbrook_model::{DeviceId, Identity, ModuleId, SystemProperty as P};

/// The identity the hub stamped on a message; `None` where there is none, or one that is not valid any more.
pub(crate) fn of(routed: &Routed) -> Option<Identity> {
    let system = &routed.message.system;
    let device = DeviceId::new(system.get(P::ConnectionDeviceId)?.to_string()).ok()?;
    Some(match system.get(P::ConnectionModuleId) {
        None => Identity::device(device),
        Some(module) => Identity::module(device, ModuleId::new(module.to_string()).ok()?),
    })
}
