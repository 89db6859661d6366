//! Gateways: devices whose own module speaks to the hub for other modules of theirs and for devices behind them.

use super::{Auth, check_key, not_found, unauthorized};
use ironbrook_model::{
    AuthenticationType, DeviceId, ErrorCode, Identity, IdentityStatus, ModuleId, Parent, Refusal, SasToken,
    SymmetricKeys, Timestamp, percent_decode,
};

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
    /// with their modules, that name it as parent.
    pub(super) async fn acting(
        &self,
        identity: &Identity,
        token: &SasToken,
        now: Timestamp,
    ) -> Result<Option<DeviceId>, Refusal> {
        if token.check_scope(&self.hosts, &identity.resource()).is_ok() {
            return Ok(None);
        }
        for device in gateways(token) {
            let gateway = Identity::gateway(device);
            if token.check_scope(&self.hosts, &gateway.resource()).is_ok()
                && self.is_behind(identity, &gateway.device).await?
            {
                self.check_gateway(&gateway, token, now).await?;
                return Ok(Some(gateway.device));
            }
        }
        Ok(None)
    }

    async fn is_behind(&self, identity: &Identity, gateway: &DeviceId) -> Result<bool, Refusal> {
        if identity.device == *gateway {
            return Ok(identity.module.is_some());
        }
        let device = Identity::device(identity.device.clone());
        let Some(record) = self.identities.find(&device).await? else { return Ok(false) };
        let Some(found) = self.identities.find(&Identity::device(gateway.clone())).await? else {
            return Ok(false);
        };
        // Whoever made a gateway of the same name anew was not trusted with what is behind the old one.
        let is_it =
            |parent: &Parent| parent.device == *gateway && parent.generation_id == found.generation_id;
        Ok(record.parents.iter().any(is_it))
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
            return Err(unauthorized(format!("module {gateway} has no keys; set them first")));
        };
        check_key(token, now, [primary, secondary])?;
        let device = Identity::device(gateway.device.clone());
        let record = self.identities.find(&device).await?.ok_or_else(|| not_found(&device))?;
        if !record.is_gateway {
            return Err(unauthorized(format!(
                "device {device} is not registered as a gateway and may not speak for others"
            )));
        }
        // rule AUTH-12: nobody gets in through a disabled gateway.
        if [&module, &record].iter().any(|record| record.status == IdentityStatus::Disabled) {
            return Err(Refusal::new(
                ErrorCode::DeviceDisabled,
                format!("the gateway {device} is disabled; enable it in the registry"),
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
