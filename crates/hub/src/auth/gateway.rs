//! Gateways: devices whose own module speaks to the hub for other modules of theirs and for devices behind them.

use super::{Auth, check_key, not_found, unauthorized};
use ironbrook_model::{
    AuthenticationType, Cause, DeviceId, ErrorCode, Identity, IdentityStatus, ModuleId, Refusal, SasToken,
    SymmetricKeys, Timestamp, percent_decode,
};

/// Gateways on the way from a device to the one that speaks for it; the documented limit of nested layers.
const LAYERS_MAX: usize = 5;
/// Gateways of one layer that are looked at.
const PARENTS_MAX: usize = 32;

/// The gateway devices that a token may speak for others for: it is signed for the gateway module of one, with that module's
/// own key. More than one only where an id can be read in two ways. Nothing is checked here.
pub fn gateways(token: &SasToken) -> Vec<DeviceId> {
    if token.policy().is_some() {
        return Vec::new();
    }
    let mut segments = token.resource().split('/').skip(1);
    let parts = (segments.next(), segments.next(), segments.next(), segments.next(), segments.next());
    let (Some("devices"), Some(device), Some("modules"), Some(module), None) = parts else {
        return Vec::new();
    };
    // .NET encodes an id by itself and then again as part of the whole.
    let decoded = percent_decode(module);
    if module != ModuleId::GATEWAY && decoded.as_deref() != Some(ModuleId::GATEWAY) {
        return Vec::new();
    }
    let mut readings: Vec<_> = [Some(device.into()), percent_decode(device)]
        .into_iter()
        .flatten()
        .filter_map(|id| DeviceId::new(id.into_owned()).ok())
        .collect();
    readings.dedup();
    readings
}

impl Auth {
    /// Checks whether a token is one of a gateway that may speak for the identity. `None` where it is none of that kind, an
    /// error where it does not hold.
    ///
    /// rule AUTH-11: the token of a gateway device's own module also proves the other modules of the device, and the devices,
    /// with their modules, that name it as parent. rule AUTH-22: and those that name such a device, and so on.
    ///
    /// Gives the gateways on the way, the nearest to the identity first, the one whose token it is last.
    pub(super) async fn acting(
        &self,
        identity: &Identity,
        token: &SasToken,
        now: Timestamp,
    ) -> Result<Option<Vec<DeviceId>>, Refusal> {
        if token.check_scope(&self.hosts, &identity.resource()).is_ok() {
            return Ok(None);
        }
        for device in gateways(token) {
            let gateway = Identity::gateway(device);
            if token.check_scope(&self.hosts, &gateway.resource()).is_ok()
                && let Some(way) = self.way_to(identity, &gateway.device).await?
            {
                self.check_gateway(&gateway, token, now).await?;
                self.check_between(&way).await?;
                return Ok(Some(way));
            }
        }
        Ok(None)
    }

    /// The gateways from an identity up to one, that one last; `None` where the identity is not behind it.
    async fn way_to(
        &self,
        identity: &Identity,
        gateway: &DeviceId,
    ) -> Result<Option<Vec<DeviceId>>, Refusal> {
        if identity.device == *gateway {
            return Ok(identity.module.is_some().then(|| vec![gateway.clone()]));
        }
        // Layer by layer upwards, so that the shortest way is found and a circle ends.
        let mut layer = vec![(identity.device.clone(), Vec::new())];
        for _ in 0..LAYERS_MAX {
            let mut above = Vec::new();
            for (device, way) in layer {
                let device = Identity::device(device);
                let Some(record) = self.identities.find(&device).await? else { continue };
                for parent in &record.parents {
                    let found = self.identities.find(&Identity::device(parent.device.clone())).await?;
                    // Whoever made a gateway of the same name anew was not trusted with what is behind the old one.
                    let Some(found) = found.filter(|found| found.generation_id == parent.generation_id)
                    else {
                        continue;
                    };
                    let way: Vec<_> = way.iter().cloned().chain([parent.device.clone()]).collect();
                    if parent.device == *gateway {
                        return Ok(Some(way));
                    }
                    let is_new = !above.iter().any(|(device, _)| *device == parent.device);
                    if found.is_gateway && is_new && above.len() < PARENTS_MAX {
                        above.push((parent.device.clone(), way));
                    }
                }
            }
            layer = above;
        }
        Ok(None)
    }

    /// rule AUTH-12: nobody gets in through a disabled gateway, wherever on the way it is.
    async fn check_between(&self, way: &[DeviceId]) -> Result<(), Refusal> {
        for device in &way[..way.len().saturating_sub(1)] {
            let device = Identity::device(device.clone());
            let record = self.identities.find(&device).await?.ok_or_else(|| not_found(&device))?;
            if record.status == IdentityStatus::Disabled {
                let text = format!("the gateway {device} on the way is disabled; enable it in the registry");
                return Err(Refusal::new(ErrorCode::DeviceDisabled, text).because(Cause::Disabled));
            }
        }
        Ok(())
    }

    /// Key first: only who has it is told what else is wrong.
    async fn check_gateway(
        &self,
        gateway: &Identity,
        token: &SasToken,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        let module = self.identities.find(gateway).await?.ok_or_else(|| not_found(gateway))?;
        let AuthenticationType::Sas(SymmetricKeys { primary, secondary }) = &module.authentication else {
            let text = format!("module {gateway} has no keys; set them first");
            return Err(unauthorized(Cause::OtherCredential, text));
        };
        check_key(token, now, [primary, secondary])?;
        let device = Identity::device(gateway.device.clone());
        let record = self.identities.find(&device).await?.ok_or_else(|| not_found(&device))?;
        if !record.is_gateway {
            let text = format!("device {device} is not registered as a gateway and may not speak for others");
            return Err(unauthorized(Cause::NoRight, text));
        }
        // rule AUTH-12: nobody gets in through a disabled gateway.
        if [&module, &record].iter().any(|record| record.status == IdentityStatus::Disabled) {
            return Err(Refusal::new(
                ErrorCode::DeviceDisabled,
                format!("the gateway {device} is disabled; enable it in the registry"),
            )
            .because(Cause::Disabled));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
