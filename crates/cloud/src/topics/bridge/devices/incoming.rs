//! From topics to the hub: telemetry and reported properties.

use super::outgoing::Outgoing;
use super::{DeviceBridge, connect};
use crate::topics::bridge::local::{Local, Needs};
use crate::topics::bridge::template::Template;
use crate::topics::bridge::{Error, Figures, Ground, convert};
use ironbrook_hub::{Hub, Operation, Session};
use ironbrook_log::Ticket;
use ironbrook_model::{DeviceId, ErrorCode, Refusal, Timestamp};
use ironbrook_pubsub::{OutgoingPublish, QoS, Reason, RetainHandling, Subscription, SubscriptionOptions};
use std::collections::HashMap;
use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

/// Messages under way from the broker.
const WINDOW: u16 = 1024;
/// Messages that share one wait for the disk.
const BATCH: usize = 256;
/// How long it is taken for granted that a device exists and is enabled, or is not.
const LOOK_AGAIN: Duration = Duration::from_secs(10);
/// Devices whose sessions are kept open.
const DEVICES_MAX: usize = 10_000;

/// What the hub said of a device, and when.
struct Known {
    at: Timestamp,
    session: Result<Session, Refusal>,
}

/// See the head of the file.
pub(super) struct Incoming {
    bridge: Arc<DeviceBridge>,
    ground: Ground,
    hub: Hub,
    figures: Figures,
    local: Local,
    known: HashMap<DeviceId, Known>,
}

/// What a message is.
enum Kind {
    Telemetry(DeviceId),
    Reported(DeviceId),
    /// No device's, or of an earlier configuration.
    Other,
}

impl Incoming {
    pub(super) async fn open(
        bridge: Arc<DeviceBridge>,
        ground: Ground,
        hub: Hub,
        figures: Figures,
    ) -> Result<Self, Error> {
        let local = Local::open(&ground, &needs(&bridge)).await?;
        Ok(Self { bridge, ground, hub, figures, local, known: HashMap::new() })
    }

    /// Takes messages in, for ever.
    pub(super) async fn run(&mut self, outgoing: &mut Outgoing) -> Result<(), Error> {
        let mut tickets = Vec::new();
        let mut ids = Vec::new();
        loop {
            let mut next = Some(self.local.next().await?);
            while let Some(publish) = next {
                self.take(&publish, outgoing, &mut tickets).await?;
                ids.push(publish.packet_id);
                next = if ids.len() < BATCH { self.local.try_next()? } else { None };
            }
            self.settle(&mut tickets, &mut ids).await?;
        }
    }

    /// Lets go of messages once they are in the log.
    async fn settle(
        &mut self,
        tickets: &mut Vec<Ticket>,
        ids: &mut Vec<Option<NonZeroU16>>,
    ) -> Result<(), Error> {
        for ticket in tickets.drain(..) {
            self.hub.durable(ticket).await.map_err(|refusal| not_now(&refusal))?;
        }
        for id in ids.drain(..) {
            self.local.done(id);
        }
        Ok(())
    }

    async fn take(
        &mut self,
        publish: &OutgoingPublish,
        outgoing: &mut Outgoing,
        tickets: &mut Vec<Ticket>,
    ) -> Result<(), Error> {
        let outcome = match self.kind(&publish.message.topic) {
            Kind::Telemetry(device) => {
                outgoing.serve(&device);
                self.telemetry(&device, publish).await.map(|ticket| tickets.extend(ticket))
            }
            Kind::Reported(device) => {
                outgoing.serve(&device);
                self.reported(&device, publish).await
            }
            Kind::Other => return Ok(()),
        };
        match outcome {
            Ok(()) => _ = self.figures.passed_in.inc(),
            // It stays with the session, and comes again.
            Err(refusal) if refusal.code.is_transient() => return Err(not_now(&refusal)),
            Err(refusal) => {
                self.figures.refused.inc();
                tracing::debug!(bridge = self.bridge.name, topic = %publish.message.topic, code = %refusal.code,
                    reason = %refusal.message, "the hub refuses a message of a bridge");
            }
        }
        Ok(())
    }

    fn kind(&self, topic: &str) -> Kind {
        let of = |template: &Option<Template>| template.as_ref()?.device_of(topic);
        if let Some(device) = of(&self.bridge.telemetry) {
            Kind::Telemetry(device)
        } else if let Some(device) = of(&self.bridge.reported) {
            Kind::Reported(device)
        } else {
            Kind::Other
        }
    }

    async fn telemetry(
        &mut self,
        device: &DeviceId,
        publish: &OutgoingPublish,
    ) -> Result<Option<Ticket>, Refusal> {
        let message = convert::to_telemetry(publish, self.bridge.content_type.as_deref());
        let hub = self.hub.clone();
        let session = self.session(device).await?;
        loop {
            match hub.telemetry(session, &message) {
                Err(refusal) if refusal.code == ErrorCode::ServerBusy => hub.room(session).await?,
                other => return other,
            }
        }
    }

    async fn reported(&mut self, device: &DeviceId, publish: &OutgoingPublish) -> Result<(), Refusal> {
        let patch = publish.message.payload.clone();
        let hub = self.hub.clone();
        let session = self.session(device).await?;
        hub.perform(session, Operation::PatchReported(patch)).await.map(drop)
    }

    /// The session of a device, checked anew from time to time: without a claim nobody tells that it was disabled.
    async fn session(&mut self, device: &DeviceId) -> Result<&Session, Refusal> {
        let now = self.ground.clock.now();
        let fresh = |known: &Known| now.since(known.at) < LOOK_AGAIN;
        if !self.known.get(device).is_some_and(fresh) {
            if self.known.len() >= DEVICES_MAX {
                self.known.retain(|_, known| fresh(known));
            }
            if self.known.len() >= DEVICES_MAX {
                self.known.clear();
            }
            let session = connect(&self.hub, &self.bridge, device, false).await;
            self.known.insert(device.clone(), Known { at: now, session });
        }
        match self.known.get(device) {
            Some(Known { session: Ok(session), .. }) => Ok(session),
            Some(Known { session: Err(refusal), .. }) => Err(refusal.clone()),
            None => Err(Refusal::new(ErrorCode::ServerBusy, "the session of a device is gone")),
        }
    }
}

/// The session that a bridge takes messages from. A full queue holds publishers back: whoever got a PUBACK for telemetry finds it
/// in the log, however fast it publishes and whatever holds the hub up.
pub(in crate::topics::bridge) fn needs(bridge: &DeviceBridge) -> Needs {
    let templates = [&bridge.telemetry, &bridge.reported].into_iter().flatten();
    let options = SubscriptionOptions {
        qos: QoS::AtLeastOnce,
        // What was retained before the bridge came is no news.
        retain_handling: RetainHandling::DoNotSend,
        ..SubscriptionOptions::default()
    };
    let subscriptions =
        templates.map(|template| Subscription { filter: template.filter().into(), options }).collect();
    Needs { name: bridge.name.clone(), window: WINDOW, holds_back: true, subscriptions }
}

/// The hub takes nothing at the moment: the bridge begins again after a while.
fn not_now(refusal: &Refusal) -> Error {
    tracing::warn!(code = %refusal.code, reason = %refusal.message, "the hub takes nothing of a bridge now");
    Error::Broker(Reason::ServerUnavailable)
}
