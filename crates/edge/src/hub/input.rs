//! The endpoint `BrokeredEndpoint("/modules/{module}/inputs/{input}")`: an input of a module here.

use super::settled::{Fate, Settled};
use async_trait::async_trait;
use ironbrook_hub::seams::{Batching, Endpoint, Routed, Sent};
use ironbrook_hub::{Hub, InputStop, Settlement};
use ironbrook_log::PartitionId;
use ironbrook_model::Identity;
use std::time::Duration;

/// A batch: as many messages as a session may have unsettled.
const BATCHING: Batching = Batching {
    max_messages: ironbrook_hub::input::INPUTS_UNSETTLED_MAX,
    max_bytes: 512 * 1024,
    max_delay: Duration::ZERO,
};
/// Longest wait for the module within one attempt; then time to live is looked at.
const WAIT: Duration = Duration::from_secs(20);
/// The pause between attempts: the waiting is done above.
const PAUSE: Duration = Duration::from_millis(50);

/// An input of a module.
pub struct ModuleInput {
    hub: Hub,
    name: String,
    module: Identity,
    input: String,
    settled: Settled,
}

impl ModuleInput {
    /// For an input of a module; `name` is the endpoint's.
    pub fn new(hub: Hub, name: String, module: Identity, input: String) -> Self {
        Self { hub, name, module, input, settled: Settled::default() }
    }

    async fn deliver(&self, partition: PartitionId, batch: &[Routed]) -> Option<String> {
        tokio::select! {
            biased;
            () = self.hub.inputs_ready(&self.module) => {}
            () = self.hub.seams().clock.sleep(WAIT) => {
                return Some(format!("module {} is not connected, or takes no inputs", self.module));
            }
        }
        let open = self.settled.open(partition, batch);
        let messages: Vec<Routed> = open.iter().map(|index| batch[*index].clone()).collect();
        let outcome = self.hub.deliver_inputs(&self.module, &self.input, &messages).await;
        for (routed, settlement) in messages.iter().zip(&outcome.settled) {
            let fate = match settlement {
                Some(Settlement::Complete) => Fate::Done,
                Some(_) => Fate::Rejected("the module rejected it".to_owned()),
                None => continue,
            };
            self.settled.note(partition, routed.offset, fate);
        }
        // rule EDGEHUB-05: what a module gives back is dropped, as the original does; what it never answered comes again.
        if let Some(InputStop::Abandoned(index)) = outcome.stopped
            && let Some(routed) = messages.get(index)
        {
            let fate = Fate::Rejected("the module gave it back".to_owned());
            self.settled.note(partition, routed.offset, fate);
        }
        outcome.stopped.map(|stop| stop.to_string())
    }
}

#[async_trait]
impl Endpoint for ModuleInput {
    fn name(&self) -> &str {
        &self.name
    }

    fn batching(&self) -> Batching {
        BATCHING
    }

    async fn send(&self, partition: PartitionId, batch: &[Routed]) -> Sent {
        let why = self.deliver(partition, batch).await;
        self.settled.tell(partition, batch, || {
            Sent::RetryAfter(PAUSE, why.unwrap_or_else(|| "not all of it was delivered".to_owned()))
        })
    }
}
