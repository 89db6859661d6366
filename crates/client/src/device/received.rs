//! Messages and method calls that the hub sends, and how they are answered.

use super::Control;
use crate::error::{Error, Result};
use bytes::Bytes;
use ironbrook_model::Message;
use ironbrook_wire::mqtt::v4::PacketId;
use serde::Serialize;
use serde_json::Value;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use tokio::sync::mpsc;

/// What came over which connection; answers to another one are of no use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ConnectionNumber(pub u64);

/// The connection of this moment, for those who hold something of an earlier one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Line(Arc<AtomicU64>);

impl Line {
    pub(crate) fn set(&self, connection: ConnectionNumber) {
        self.0.store(connection.0, Ordering::Relaxed);
    }

    fn is(&self, connection: ConnectionNumber) -> bool {
        self.0.load(Ordering::Relaxed) == connection.0
    }
}

/// A message from the hub: to the device (C2D), or to an input of the module.
///
/// Dropped without [`complete`](Self::complete) it stays with the hub, which delivers it again on the next connection. The hub
/// has only some of them under way at once (ten C2D messages), so complete each. MQTT has no way to reject or abandon one.
#[derive(Debug)]
pub struct ReceivedMessage {
    /// The message.
    pub message: Message,
    /// The module's input it came to; `None` for messages to a device.
    pub input: Option<String>,
    /// Whether the hub may have delivered it before.
    pub redelivered: bool,
    pub(crate) packet_id: Option<PacketId>,
    pub(crate) connection: ConnectionNumber,
    pub(crate) line: Line,
    pub(crate) control: mpsc::WeakSender<Control>,
}

impl ReceivedMessage {
    /// Whether it came over the connection of this moment. If not, it cannot be completed any more, and comes again.
    pub fn is_current(&self) -> bool {
        self.line.is(self.connection)
    }

    /// Tells the hub that the message was handled and may be forgotten. Messages may be completed in any order.
    ///
    /// Returns when the word is on its way, without waiting for the connection: should that break before the hub has heard it,
    /// the message comes again, as after [`Error::LockLost`], which says that the connection it came over is gone already.
    pub async fn complete(self) -> Result<()> {
        let Some(packet_id) = self.packet_id else { return Ok(()) };
        let control = self.control.upgrade().ok_or(Error::Closed)?;
        if !self.line.is(self.connection) {
            return Err(Error::LockLost);
        }
        let wish = Control::Complete { connection: self.connection, packet_id };
        control.send(wish).await.map_err(|_| Error::Closed)
    }
}

/// A call of a direct method; answer it with [`respond`](Self::respond), or the caller waits in vain.
#[derive(Debug)]
pub struct MethodCall {
    /// The method's name.
    pub name: String,
    /// The payload, `null` if there was none.
    pub payload: Value,
    pub(crate) rid: String,
    pub(crate) connection: ConnectionNumber,
    pub(crate) control: mpsc::WeakSender<Control>,
}

impl MethodCall {
    /// Answers the call with a status of the device's choosing (200 is usual for success) and any JSON.
    pub async fn respond(self, status: i32, payload: &(impl Serialize + ?Sized)) -> Result<()> {
        let body = serde_json::to_vec(payload)
            .map_err(|e| Error::Configuration(format!("the method's answer is not JSON: {e}")))?;
        let control = self.control.upgrade().ok_or(Error::Closed)?;
        let (rid, connection) = (self.rid, self.connection);
        let answer = Control::Answer { connection, rid, status, body: Bytes::from(body) };
        control.send(answer).await.map_err(|_| Error::Closed)
    }
}

macro_rules! feed {
    ($(#[$doc:meta])* $name:ident of $item:ty) => {
        $(#[$doc])*
        ///
        /// Also a [`Stream`](futures_util::Stream). Ends when the client is closed or has failed for good.
        #[derive(Debug)]
        pub struct $name(pub(crate) mpsc::Receiver<$item>);

        impl $name {
            /// Waits for the next one; `None` when the client is closed. Cancel-safe.
            pub async fn next(&mut self) -> Option<$item> {
                self.0.recv().await
            }
        }

        impl futures_util::Stream for $name {
            type Item = $item;
            fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<$item>> {
                self.0.poll_recv(cx)
            }
        }
    };
}

feed!(
    /// Messages from the hub, in order.
    Messages of ReceivedMessage
);
feed!(
    /// Calls of direct methods.
    MethodCalls of MethodCall
);
feed!(
    /// Changes to the desired properties. The first item is the whole section.
    DesiredUpdates of super::twin::DesiredUpdate
);
