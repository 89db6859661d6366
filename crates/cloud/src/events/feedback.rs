//! Feedback about messages to devices, as stock service SDKs read it.

use async_trait::async_trait;
use bytes::Bytes;
use ironbrook_gateway::ServiceSource;
use ironbrook_hub::{Hub, LockToken, Settlement};
use ironbrook_model::{ErrorCode, Refusal};
use ironbrook_wire::amqp::Message;
use std::time::Duration;
use uuid::Uuid;

/// How long a batch waits for its reader (Azure docs, "Message feedback": 60 s).
const LOCK: Duration = Duration::from_secs(60);
const CONTENT_TYPE: &str = "application/vnd.microsoft.iothub.feedback.json";

/// A receiver of feedback.
pub(super) struct Receiver {
    hub: Hub,
}

impl Receiver {
    pub(super) fn new(hub: Hub) -> Self {
        Self { hub }
    }
}

#[async_trait]
impl ServiceSource for Receiver {
    async fn next(&mut self, _max: usize) -> Result<Vec<(Bytes, Message)>, Refusal> {
        let feedback = self.hub.seams().inbox.lock_feedback(LOCK).await?;
        let body = serde_json::to_vec(&feedback.records)
            .map_err(|_| Refusal::new(ErrorCode::ServerError, "feedback cannot be written as JSON"))?;
        let mut message = Message::data(body);
        message.properties.content_type = Some(CONTENT_TYPE.into());
        message.properties.user_id = Some(Bytes::copy_from_slice(self.hub.auth().hub_name().as_bytes()));
        message.annotate("iothub-enqueuedtime", feedback.enqueued);
        // .NET reads the tag as a GUID of 16 bytes in its own order.
        Ok(vec![(Bytes::copy_from_slice(&feedback.lock.0.to_bytes_le()), message)])
    }

    async fn settle(&mut self, tag: &[u8], settlement: Settlement) -> Result<(), Refusal> {
        let tag: [u8; 16] = tag
            .try_into()
            .map_err(|_| Refusal::new(ErrorCode::ArgumentInvalid, "a delivery tag has 16 bytes"))?;
        self.hub.seams().inbox.settle_feedback(LockToken(Uuid::from_bytes_le(tag)), settlement).await
    }

    fn presettled(&self) -> bool {
        false
    }
}
