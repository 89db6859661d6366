//! Notices of files that devices uploaded, as stock service SDKs read them.

use super::Shared;
use async_trait::async_trait;
use bytes::Bytes;
use ironbrook_gateway::ServiceSource;
use ironbrook_hub::{LockToken, Settlement};
use ironbrook_model::{ErrorCode, Refusal};
use ironbrook_wire::amqp::Message;
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

/// How long a notice waits for its reader (Azure docs "Configure IoT Hub file uploads": 60 s by default).
const LOCK: Duration = Duration::from_secs(60);
const CONTENT_TYPE: &str = "application/vnd.microsoft.iothub.filenotification.json";

/// A receiver of notices.
pub(super) struct Receiver {
    shared: Arc<Shared>,
}

impl Receiver {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }
}

#[async_trait]
impl ServiceSource for Receiver {
    async fn next(&mut self, _max: usize) -> Result<Vec<(Bytes, Message)>, Refusal> {
        let (lock, enqueued, notices) = self.shared.registry.lock_file_notification(LOCK).await;
        // rule FILE-04: one JSON object in a message.
        let body = serde_json::to_vec(&notices.first())
            .map_err(|_| Refusal::new(ErrorCode::ServerError, "the notice cannot be written as JSON"))?;
        let mut message = Message::data(body);
        message.properties.content_type = Some(CONTENT_TYPE.into());
        message.properties.user_id =
            Some(Bytes::copy_from_slice(self.shared.hub.auth().hub_name().as_bytes()));
        message.annotate("iothub-enqueuedtime", enqueued);
        Ok(vec![(Bytes::copy_from_slice(&lock.0.to_bytes_le()), message)])
    }

    async fn settle(&mut self, tag: &[u8], settlement: Settlement) -> Result<(), Refusal> {
        let tag: [u8; 16] = tag
            .try_into()
            .map_err(|_| Refusal::new(ErrorCode::ArgumentInvalid, "a delivery tag has 16 bytes"))?;
        self.shared.registry.settle_file_notification(LockToken(Uuid::from_bytes_le(tag)), settlement).await
    }

    fn presettled(&self) -> bool {
        false
    }
}
