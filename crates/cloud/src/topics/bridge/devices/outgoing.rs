//! From the hub to topics: cloud-to-device messages and desired properties.

use super::{DeviceBridge, connect};
use crate::topics::bridge::{Figures, Ground, convert};
use bytes::Bytes;
use ironbrook_hub::Subscription as HubSubscription;
use ironbrook_hub::{Delivery, Hub, LockedMessage, Operation, Outcome, Session, Settlement};
use ironbrook_model::{DeviceId, Identity, Refusal};
use ironbrook_pubsub::{Publish, QoS, Reason};
use serde_json::value::RawValue;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;

/// Devices that are served.
const DEVICES_MAX: usize = 10_000;
/// The pause before a device is looked after again that has a connection of its own, is not there, or whose messages nobody takes.
const AGAIN: Duration = Duration::from_secs(5);

/// See the head of the file. Dropping it ends its tasks.
pub(super) struct Outgoing {
    shared: Arc<Shared>,
    served: HashSet<DeviceId>,
    tasks: JoinSet<()>,
}

struct Shared {
    bridge: Arc<DeviceBridge>,
    ground: Ground,
    hub: Hub,
    figures: Figures,
}

impl Outgoing {
    pub(super) fn new(bridge: Arc<DeviceBridge>, ground: Ground, hub: Hub, figures: Figures) -> Self {
        let shared = Arc::new(Shared { bridge, ground, hub, figures });
        Self { shared, served: HashSet::new(), tasks: JoinSet::new() }
    }

    /// Serves a device from now on.
    pub(super) fn serve(&mut self, device: &DeviceId) {
        if !self.shared.bridge.sends() || self.served.contains(device) {
            return;
        }
        if self.served.len() >= DEVICES_MAX {
            tracing::debug!(bridge = self.shared.bridge.name, %device, max = DEVICES_MAX,
                "too many devices: nothing is sent to this one");
            return;
        }
        self.served.insert(device.clone());
        let (shared, device) = (self.shared.clone(), device.clone());
        self.tasks.spawn(async move { shared.keep(device).await });
    }
}

impl Shared {
    /// Serves a device for ever.
    async fn keep(&self, device: DeviceId) {
        let identity = Identity::device(device.clone());
        loop {
            // The device itself comes first: nobody fights with it for its identity.
            if !self.hub.is_connected(&identity)
                && let Err(refusal) = self.serve(&device).await
            {
                tracing::debug!(bridge = self.bridge.name, %device, code = %refusal.code, reason = %refusal.message,
                    "a device is not served now");
            }
            self.ground.clock.sleep(AGAIN).await;
        }
    }

    /// Serves a device until its session is over.
    async fn serve(&self, device: &DeviceId) -> Result<(), Refusal> {
        let session = connect(&self.hub, &self.bridge, device, true).await?;
        let subscribe = |what| self.hub.perform(&session, Operation::Subscribe(what));
        if self.bridge.commands.is_some() {
            subscribe(HubSubscription::CloudToDevice { persistent: false }).await?;
        }
        if self.bridge.desired.is_some() {
            subscribe(HubSubscription::DesiredProperties).await?;
            self.tell_desired(&session, device).await?;
        }
        loop {
            match session.next().await {
                Delivery::CloudToDevice(message) => self.command(&session, device, &message).await?,
                // The whole is told each time: a retained message stands for itself.
                Delivery::DesiredProperties { .. } => self.tell_desired(&session, device).await?,
                Delivery::Closed(refusal) => return Err(refusal),
                Delivery::Input { .. } | Delivery::Method { .. } => {}
            }
        }
    }

    /// Passes a message on, and completes it when the broker has it: on disk where a subscriber with a persistent session gets
    /// it. While nobody is subscribed it stays with the hub.
    async fn command(
        &self,
        session: &Session,
        device: &DeviceId,
        locked: &LockedMessage,
    ) -> Result<(), Refusal> {
        let topic = self.bridge.commands.as_ref().and_then(|template| template.topic_of(device));
        let Some(topic) = topic else { return Ok(()) };
        let settlement = match self.ground.publish(convert::from_command(&locked.message, topic)).await {
            Ok(receivers) if receivers > 0 => {
                self.figures.passed_out.inc();
                Settlement::Complete
            }
            Err(reason @ (Reason::TopicNameInvalid | Reason::PacketTooLarge)) => {
                self.figures.refused.inc();
                tracing::warn!(bridge = self.bridge.name, %device, %reason, "the broker refuses a message of the hub");
                Settlement::Reject
            }
            Ok(_) | Err(_) => Settlement::Release,
        };
        self.hub.perform(session, Operation::Settle { lock: locked.lock, settlement }).await?;
        if settlement == Settlement::Release {
            self.ground.clock.sleep(AGAIN).await;
        }
        Ok(())
    }

    async fn tell_desired(&self, session: &Session, device: &DeviceId) -> Result<(), Refusal> {
        let topic = self.bridge.desired.as_ref().and_then(|template| template.topic_of(device));
        let Some(topic) = topic else { return Ok(()) };
        let Outcome::Twin(twin) = self.hub.perform(session, Operation::GetTwin).await? else { return Ok(()) };
        let Some(payload) = desired_of(&twin) else { return Ok(()) };
        let qos = QoS::AtLeastOnce;
        let publish = Publish { topic: topic.into(), payload, qos, retain: true, ..Publish::default() };
        match self.ground.publish(publish).await {
            Ok(_) => _ = self.figures.passed_out.inc(),
            Err(reason) => {
                self.figures.refused.inc();
                tracing::warn!(bridge = self.bridge.name, %device, %reason, "desired properties are not retained");
            }
        }
        Ok(())
    }
}

/// The desired section of a twin, as it stands.
fn desired_of(twin: &[u8]) -> Option<Bytes> {
    #[derive(serde::Deserialize)]
    struct Twin<'a> {
        #[serde(borrow)]
        desired: &'a RawValue,
    }
    let twin: Twin<'_> = serde_json::from_slice(twin).ok()?;
    Some(Bytes::copy_from_slice(twin.desired.get().as_bytes()))
}
