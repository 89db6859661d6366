//! An event hub, or another IoT hub that takes the messages as those of one of its devices. Over AMQP.

use super::backoff::Backoff;
use super::{Error, Gather};
use async_trait::async_trait;
use ironbrook_client::{EventsSender, OutgoingEvent, Transport};
use ironbrook_hub::seams::{Batching, Endpoint, Routed, Sent};
use ironbrook_log::PartitionId;
use ironbrook_model::SystemProperty as P;

/// Where events go. `Debug` hides the connection string, which holds a key.
#[derive(Clone)]
pub struct Config {
    /// `Endpoint=sb://…;SharedAccessKeyName=…;SharedAccessKey=…;EntityPath=…` of an event hub, or
    /// `HostName=…;DeviceId=…;SharedAccessKey=…` of a device of another hub.
    pub connection_string: String,
    /// Whom to believe and where to dial.
    pub transport: Transport,
    /// How it gathers.
    pub gather: Gather,
}

impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Config").field("gather", &self.gather).finish_non_exhaustive()
    }
}

/// An endpoint that sends events.
#[derive(Debug)]
pub struct EventHub {
    name: String,
    gather: Gather,
    sender: EventsSender,
    backoff: Backoff,
}

impl EventHub {
    /// Reads the settings; nothing is connected yet.
    pub fn open(name: &str, config: Config) -> Result<Self, Error> {
        let sender = EventsSender::builder(&config.connection_string)?.transport(config.transport).build()?;
        Ok(Self { name: name.to_owned(), gather: config.gather, sender, backoff: Backoff::default() })
    }
}

fn event(routed: &Routed) -> OutgoingEvent {
    // The device, not the module: a device keeps its order with its modules, as in the hub itself.
    let device = routed.message.system.get(P::ConnectionDeviceId);
    OutgoingEvent {
        message: routed.message.clone(),
        partition_key: device.map(ToString::to_string),
        enqueued: routed.enqueued,
        source: routed.source.wire_name(),
    }
}

#[async_trait]
impl Endpoint for EventHub {
    fn name(&self) -> &str {
        &self.name
    }

    fn batching(&self) -> Batching {
        self.gather.batching()
    }

    async fn send(&self, partition: PartitionId, batch: &[Routed]) -> Sent {
        let events: Vec<_> = batch.iter().map(event).collect();
        match self.sender.send(&events).await {
            Ok(outcomes) => {
                self.backoff.worked(partition);
                let refused = outcomes.into_iter().enumerate();
                let refused: Vec<_> =
                    refused.filter_map(|(index, outcome)| Some((index, outcome.err()?))).collect();
                if refused.is_empty() { Sent::Done } else { Sent::Reject(refused) }
            }
            Err(error) => Sent::RetryAfter(self.backoff.failed(partition), error.to_string()),
        }
    }
}
