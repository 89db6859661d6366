//! The endpoint `$upstream`: sends what is routed to the hub, in the name of who sent it.

use super::links::{Away, Links};
use crate::hub::route::UPSTREAM;
use crate::hub::scope::Scope;
use crate::hub::settled::{Fate, Settled};
use async_trait::async_trait;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use ironbrook_client::{DeviceClient, Error};
use ironbrook_hub::seams::{Batching, Endpoint, Routed, Sent};
use ironbrook_log::PartitionId;
use ironbrook_model::{DeviceId, Identity, Message, MessageSource, ModuleId, SystemProperty};
use std::time::Duration;

/// A batch; small, since all of it lies in memory until the hub has it.
const BATCHING: Batching = Batching { max_messages: 256, max_bytes: 512 * 1024, max_delay: Duration::ZERO };
/// Longest wait for the hub within one attempt; then time to live is looked at.
const WAIT: Duration = Duration::from_secs(20);
/// The pause between attempts: the waiting is done above.
const PAUSE: Duration = Duration::from_millis(200);
/// The pause where the hub refuses a sender it knows.
const REFUSED_PAUSE: Duration = Duration::from_secs(1);

/// The endpoint `$upstream`.
pub struct Upstream {
    links: Links,
    scope: Scope,
    own: Identity,
    settled: Settled,
}

/// Why a sender's messages stopped.
enum Stop {
    Later(Duration, String),
    /// All its messages are refused.
    Reject(String),
}

impl Upstream {
    /// Sends by these connections; `own` is `$edgeHub`, which also sends what has no sender.
    pub fn new(links: Links, scope: Scope, own: Identity) -> Self {
        Self { links, scope, own, settled: Settled::default() }
    }

    /// The messages of a batch by sender, each in order, but for those settled before.
    fn by_sender(&self, partition: PartitionId, batch: &[Routed]) -> Vec<(Identity, Vec<usize>)> {
        let mut senders: Vec<(Identity, Vec<usize>)> = Vec::new();
        for index in self.settled.open(partition, batch) {
            let sender = self.sender(&batch[index]);
            match senders.iter_mut().find(|(other, _)| *other == sender) {
                Some((_, indices)) => indices.push(index),
                None => senders.push((sender, vec![index])),
            }
        }
        senders
    }

    /// Who sends it: telemetry by its sender, events about a twin by `$edgeHub`.
    fn sender(&self, routed: &Routed) -> Identity {
        if routed.source != MessageSource::DeviceMessages {
            return self.own.clone();
        }
        identity_of(&routed.message).unwrap_or_else(|| self.own.clone())
    }

    async fn send_of(
        &self,
        partition: PartitionId,
        batch: &[Routed],
        sender: &Identity,
        indices: &[usize],
    ) -> Result<(), Stop> {
        let lease = match self.links.lease(sender, WAIT).await {
            Ok(lease) => lease,
            // Deleted, disabled, or moved to another device. They would hold up those of all others.
            Err(Away::Refused(why)) if !self.scope.admits(sender) && *sender != self.own => {
                return Err(Stop::Reject(format!("the hub takes nothing from {sender} any more: {why}")));
            }
            Err(error @ Away::Refused(_)) => return Err(Stop::Later(REFUSED_PAUSE, error.to_string())),
            Err(error) => return Err(Stop::Later(PAUSE, error.to_string())),
        };
        self.send_by(&lease, partition, batch, indices).await
    }

    /// Hands all messages over, many under way at once, and takes the answers in.
    async fn send_by(
        &self,
        client: &DeviceClient,
        partition: PartitionId,
        batch: &[Routed],
        indices: &[usize],
    ) -> Result<(), Stop> {
        let mut receipts = FuturesUnordered::new();
        let note = |index: usize, result: Result<(), Error>| -> Result<(), Stop> {
            let fate = match result {
                Ok(()) => Fate::Done,
                Err(Error::TooLarge { len, limit }) => {
                    Fate::Rejected(format!("{len} bytes, and the hub takes {limit}"))
                }
                Err(error) => return Err(Stop::Later(PAUSE, error.to_string())),
            };
            self.settled.note(partition, batch[index].offset, fate);
            Ok(())
        };
        let mut result = Ok(());
        for index in indices {
            match client.enqueue(outgoing(&batch[*index])).await {
                Ok(receipt) => receipts.push(async move { (*index, receipt.await) }),
                Err(error) => {
                    result = note(*index, Err(error));
                    if result.is_err() {
                        // Nothing later may overtake it.
                        break;
                    }
                }
            }
        }
        // To the end, also after a failure: what the hub has must not be sent again.
        while let Some((index, receipt)) = receipts.next().await {
            result = result.and(note(index, receipt));
        }
        result
    }
}

#[async_trait]
impl Endpoint for Upstream {
    fn name(&self) -> &str {
        UPSTREAM
    }

    fn batching(&self) -> Batching {
        BATCHING
    }

    async fn send(&self, partition: PartitionId, batch: &[Routed]) -> Sent {
        let senders = self.by_sender(partition, batch);
        let mut sending: FuturesUnordered<_> = senders
            .iter()
            .map(|(sender, indices)| async move {
                (indices, self.send_of(partition, batch, sender, indices).await)
            })
            .collect();
        let mut later: Option<(Duration, String)> = None;
        while let Some((indices, result)) = sending.next().await {
            match result {
                Ok(()) => {}
                Err(Stop::Reject(why)) => {
                    for index in indices {
                        self.settled.note(partition, batch[*index].offset, Fate::Rejected(why.clone()));
                    }
                }
                Err(Stop::Later(pause, why)) => {
                    let shortest = later.take().filter(|(other, _)| *other <= pause);
                    later = Some(shortest.unwrap_or((pause, why)));
                }
            }
        }
        self.settled.tell(partition, batch, || {
            let (pause, why) = later.unwrap_or_else(|| (PAUSE, "not all of it was sent".to_owned()));
            Sent::RetryAfter(pause, why)
        })
    }
}

/// The sender the core stamped on a message.
pub(crate) fn identity_of(message: &Message) -> Option<Identity> {
    let device = message.system.get(SystemProperty::ConnectionDeviceId)?;
    let module = message.system.get(SystemProperty::ConnectionModuleId);
    Some(Identity {
        device: DeviceId::new(device.clone()).ok()?,
        module: module.map(|module| ModuleId::new(module.clone())).transpose().ok()?,
    })
}

/// The message as the hub gets it.
fn outgoing(routed: &Routed) -> Message {
    let mut message = routed.message.clone();
    // rule EDGEHUB-04: the hub stamps the sender from the connection; all else is passed on as it came, the output too.
    let mut own =
        vec![SystemProperty::InputName, SystemProperty::To, SystemProperty::Ack, SystemProperty::Expiry];
    own.extend(message.system.iter().map(|(property, _)| property).filter(|property| property.is_stamped()));
    own.into_iter().for_each(|property| message.system.remove(property));
    message
}
