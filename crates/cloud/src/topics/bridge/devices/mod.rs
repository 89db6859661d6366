//! The bridge between ordinary topics and the devices of the hub.
//!
//! What comes on a topic of a template is telemetry, or a patch of reported properties, of the device that the topic names: the
//! whole way, with limits, stamps, routes and log. The bridge acts as the device with a credential of its own kind, which the
//! hub's authentication checks and logs; who may publish on which topic, and so speak for which device, is for the rules of the
//! broker. What the hub sends to the device goes out on topics of other templates, while the device has no connection of its own.
//!
//! Telemetry waits in the bridge's session, on disk, until it is in the hub's log. What the hub refuses is counted and left out.

mod incoming;
mod outgoing;

pub(super) use self::incoming::needs;
use super::template::Template;
use super::{Error, Figures, Ground};
use ironbrook_hub::{BridgeName, ConnectRequest, Credential, Hub, Session};
use ironbrook_model::{DeviceId, Identity, Refusal};
use std::sync::Arc;

/// A bridge to devices of the hub.
#[derive(Debug, Clone)]
pub struct DeviceBridge {
    /// Its name, in logs, figures and sessions. Unique among all bridges.
    pub name: String,
    /// Topics whose messages are telemetry.
    pub telemetry: Option<Template>,
    /// Topics whose messages are patches of the reported properties.
    pub reported: Option<Template>,
    /// Topics that cloud-to-device messages go out on.
    pub commands: Option<Template>,
    /// Topics that the desired properties are retained on.
    pub desired: Option<Template>,
    /// Devices that are served from the start; others are from their first message on.
    pub devices: Vec<DeviceId>,
    /// Content type of telemetry that says none, and is UTF-8 then.
    pub content_type: Option<String>,
}

impl DeviceBridge {
    /// What is wrong with it, if anything: a topic that goes out must not be one that comes in.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub fn check(&self) -> Result<(), String> {
        let Self { telemetry, reported, commands, desired, .. } = self;
        let outgoing: Vec<_> = [commands, desired].into_iter().flatten().collect();
        for one in [telemetry, reported].into_iter().flatten() {
            if let Some(other) = outgoing.iter().find(|other| one.overlaps(other)) {
                return Err(format!(
                    "{one} and {other} are for the same topics, messages would go in circles"
                ));
            }
        }
        match (telemetry, reported) {
            (Some(one), Some(other)) if one.overlaps(other) => {
                Err(format!("{one} and {other} are for the same topics"))
            }
            (None, None) if outgoing.is_empty() => Err("it has no template".to_owned()),
            _ => Ok(()),
        }
    }

    /// Whether anything goes out.
    fn sends(&self) -> bool {
        self.commands.is_some() || self.desired.is_some()
    }
}

/// Acts as a device.
async fn connect(
    hub: &Hub,
    bridge: &DeviceBridge,
    device: &DeviceId,
    lasting: bool,
) -> Result<Session, Refusal> {
    let request = ConnectRequest {
        identity: Identity::device(device.clone()),
        credential: Credential::Bridge(BridgeName::new(bridge.name.clone())),
        model_id: None,
        clean_session: true,
        lasting,
    };
    hub.connect(request).await
}

/// Works until cancelled.
pub(super) async fn run(
    bridge: Arc<DeviceBridge>,
    ground: Ground,
    hub: Hub,
    figures: Figures,
) -> Result<(), Error> {
    let mut outgoing = outgoing::Outgoing::new(bridge.clone(), ground.clone(), hub.clone(), figures.clone());
    bridge.devices.iter().for_each(|device| outgoing.serve(device));
    let mut incoming = incoming::Incoming::open(bridge, ground.clone(), hub, figures).await?;
    tokio::select! {
        outcome = incoming.run(&mut outgoing) => outcome,
        () = ground.cancel.cancelled() => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_that_go_out_never_come_in_again() {
        let bridge = |telemetry: &str, commands: &str| DeviceBridge {
            name: "b".to_owned(),
            telemetry: Some(telemetry.parse().unwrap()),
            reported: None,
            commands: Some(commands.parse().unwrap()),
            desired: None,
            devices: Vec::new(),
            content_type: None,
        };
        bridge("a/{device}/up", "a/{device}/down").check().unwrap();
        let circle = bridge("a/{device}", "{device}/b").check().unwrap_err();
        assert!(circle.contains("circles"), "{circle}");
        let none = DeviceBridge { telemetry: None, commands: None, ..bridge("a/{device}", "b/{device}") };
        assert!(none.check().is_err());
    }
}
