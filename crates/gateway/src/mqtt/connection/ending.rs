//! How a connection ends.

use super::Connection;
use crate::mqtt::login::Will;
use crate::mqtt::{End, bag};
use ironbrook_model::Message;
use std::future::poll_fn;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

/// How long acknowledgements are waited for at a stop.
const DRAIN_TIME: Duration = Duration::from_secs(5);

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// Takes nothing more, but acknowledges what was taken.
    pub(in crate::mqtt) async fn drain(&mut self) -> End {
        let deadline = Instant::now() + DRAIN_TIME;
        while !self.intake.unacknowledged.is_empty() || !self.io.is_flushed() {
            let step = tokio::select! {
                result = poll_fn(|cx| self.intake.poll_durable(cx)) => result.map_err(End::Refused),
                event = self.io.drive(false) => self.on_event(event),
                () = tokio::time::sleep_until(deadline) => break,
            };
            if step.and_then(|()| self.acknowledge()).is_err() {
                break;
            }
            if self.intake.unacknowledged.is_empty() && self.io.is_flushed() {
                break;
            }
        }
        End::Shutdown
    }

    /// Ends: sends the will where one is due, finishes what was begun, closes the stream.
    pub(in crate::mqtt) async fn close(mut self, will_is_due: bool) {
        if will_is_due && let Some(will) = self.will.take().and_then(|will| message_of(*will)) {
            match self.hub.will(&self.session, &will) {
                Ok(Some(ticket)) => drop(self.hub.durable(ticket).await),
                Ok(None) => {}
                Err(refusal) => {
                    tracing::debug!(identity = %self.session.identity(), code = refusal.code.number(),
                    reason = %refusal.message, "will not sent")
                }
            }
        }
        let _ = tokio::time::timeout(DRAIN_TIME, self.io.shutdown()).await;
        self.operations.finish().await;
    }
}

/// The telemetry that a will becomes.
fn message_of((bag, payload): Will) -> Option<Message> {
    let mut message = Message::new(payload);
    bag::read(&bag, &mut message).ok()?;
    message.properties.set("iothub-MessageType", "Will");
    Some(message)
}
