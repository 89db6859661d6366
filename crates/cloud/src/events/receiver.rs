//! A receiver of events: follows one partition's events queue, without polling.

use super::Shared;
use super::annotations::event;
use super::owners::Claim;
use super::selector::Start;
use async_trait::async_trait;
use bytes::Bytes;
use ironbrook_gateway::{Attach, ServiceSource};
use ironbrook_hub::{Settlement, record};
use ironbrook_log::{Error as LogError, Offset, PartitionId, QueueId};
use ironbrook_model::{ErrorCode, Refusal};
use ironbrook_wire::amqp::Message;
use std::sync::Arc;

/// Bytes read from the log for one round.
const READ_BYTES: usize = 1 << 20;
/// The owner level of a receiver.
const EPOCH: &str = "com.microsoft:epoch";
/// The wish for the partition's end with each event.
const RUNTIME_METRIC: &str = "com.microsoft:enable-receiver-runtime-metric";

/// A receiver of events.
pub(super) struct Receiver {
    shared: Arc<Shared>,
    claim: Claim,
    partition: PartitionId,
    next: Offset,
    with_runtime_metric: bool,
    deliveries: u64,
}

impl Receiver {
    /// Finds the place to start and claims the partition.
    pub(super) async fn open(
        shared: Arc<Shared>,
        group: &str,
        partition: PartitionId,
        attach: &Attach,
    ) -> Result<Self, Refusal> {
        let log = &shared.hub.seams().log;
        if partition.0 >= log.partitions() {
            return Err(super::not_found(format!(
                "there is no partition {}; there are {}",
                partition.0,
                log.partitions()
            )));
        }
        let next = match Start::of(attach)? {
            Start::At(place) => log.seek(partition, place).await.map_err(refusal)?,
            Start::From(offset) => offset,
        };
        let level = attach.properties.iter().find(|(name, _)| name == EPOCH).and_then(|(_, v)| v.as_i64());
        let claim = shared.owners.claim(group, partition, level)?;
        let with_runtime_metric = attach.desired_capabilities.iter().any(|c| c == RUNTIME_METRIC);
        Ok(Self { claim, partition, next, with_runtime_metric, deliveries: 0, shared })
    }

    fn annotate_end(&self, message: &mut Message) {
        let bounds = self.shared.hub.seams().log.bounds(self.partition);
        let (offset, time) = bounds.last_event.unwrap_or_default();
        let last = i64::try_from(bounds.end_event_sequence).unwrap_or(i64::MAX) - 1;
        message.delivery_annotations = vec![
            ("last_enqueued_sequence_number".into(), last.into()),
            ("last_enqueued_offset".into(), offset.0.to_string().into()),
            ("last_enqueued_time_utc".into(), time.into()),
            ("runtime_info_retrieval_time_utc".into(), self.shared.hub.seams().clock.now().into()),
        ];
    }

    async fn read(&mut self, max: usize) -> Result<Vec<(Bytes, Message)>, Refusal> {
        let log = self.shared.hub.seams().log.clone();
        loop {
            let batch = log
                .read(self.partition, QueueId::EVENTS, self.next, max, READ_BYTES)
                .await
                .map_err(refusal)?;
            let mut events = Vec::with_capacity(batch.records.len());
            for record in &batch.records {
                match record::decode(record) {
                    Ok(routed) => events.push(routed),
                    // One record we cannot read must not hide the others for ever.
                    Err(error) => {
                        tracing::error!(partition = self.partition.0, offset = record.offset.0, %error, "event left out")
                    }
                }
            }
            if let Some(enricher) = &self.shared.config.enricher {
                enricher.apply(&mut events).await?;
            }
            // No await from here on.
            let mut out = Vec::with_capacity(events.len());
            for routed in &events {
                let mut message = event(routed);
                if self.with_runtime_metric {
                    self.annotate_end(&mut message);
                }
                self.deliveries += 1;
                out.push((Bytes::copy_from_slice(&self.deliveries.to_be_bytes()), message));
            }
            let progressed = batch.next > self.next;
            self.next = batch.next;
            if !out.is_empty() {
                return Ok(out);
            }
            if !progressed {
                log.tail(self.partition, self.next).await.map_err(refusal)?;
            }
        }
    }
}

#[async_trait]
impl ServiceSource for Receiver {
    async fn next(&mut self, max: usize) -> Result<Vec<(Bytes, Message)>, Refusal> {
        // Reading moves `self.next` only together with returning what was read, with no await between: cancel-safe.
        let displaced = self.claim.displaced.clone();
        tokio::select! {
            biased;
            () = displaced.cancelled() => Err(Claim::why_displaced()),
            read = self.read(max.max(1)) => read,
        }
    }

    async fn settle(&mut self, _tag: &[u8], _settlement: Settlement) -> Result<(), Refusal> {
        Ok(())
    }

    fn presettled(&self) -> bool {
        true
    }
}

fn refusal(error: LogError) -> Refusal {
    let code = match error {
        LogError::Partition(_) => ErrorCode::PartitionNotFound,
        LogError::Full | LogError::Closed => ErrorCode::ServiceUnavailable,
        _ => ErrorCode::ServerError,
    };
    Refusal::new(code, error.to_string())
}
