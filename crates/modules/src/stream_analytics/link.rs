//! What the module needs of its connection, so that tests can stand in for a hub.

use ironbrook_client::{
    ConnectionState, DesiredUpdate, DesiredUpdates, DeviceClient, Error, Message, Messages, ReceivedMessage,
    Result,
};
use serde_json::{Map, Value};
use std::future::Future;
use std::pin::Pin;
use tokio::sync::{Mutex, watch};

/// A module's connection to its hub. It mends itself; what fails here has failed for good.
pub trait Link: Send + Sync + 'static {
    /// A message that came and can be completed.
    type Received: Received;
    /// Resolves when the hub has taken a message over.
    type Receipt: Future<Output = Result<()>> + Send;

    /// What the connection is doing.
    fn state(&self) -> watch::Receiver<ConnectionState>;

    /// The next change of the desired properties, first the whole of them; `None` at the end. Cancel-safe.
    fn desired(&self) -> impl Future<Output = Result<Option<DesiredUpdate>>> + Send;

    /// The next message to an input; `None` at the end. Cancel-safe. Nothing comes before the first call.
    fn message(&self) -> impl Future<Output = Result<Option<Self::Received>>> + Send;

    /// Hands a message over; it leaves by `output`.
    fn send(&self, output: &str, message: Message) -> impl Future<Output = Result<Self::Receipt>> + Send;

    /// The reported properties as the hub has them.
    fn reported(&self) -> impl Future<Output = Result<Map<String, Value>>> + Send;

    /// Merges an object into the reported properties.
    fn report(&self, patch: &Value) -> impl Future<Output = Result<()>> + Send;
}

/// A message to an input.
pub trait Received: Send + 'static {
    /// The input, if it came to one.
    fn input(&self) -> Option<&str>;

    /// What was sent.
    fn message(&self) -> &Message;

    /// Whether it came over the connection of this moment; if not, it comes again.
    fn is_current(&self) -> bool;

    /// Tells the hub that the message may be forgotten.
    fn complete(self) -> impl Future<Output = Result<()>> + Send;
}

/// The link over a client.
pub(super) struct ClientLink {
    client: DeviceClient,
    desired: Mutex<Feed<DesiredUpdates>>,
    messages: Mutex<Feed<Messages>>,
}

/// A feed that is subscribed to when it is first wanted.
enum Feed<T> {
    Unwanted,
    /// Kept between calls, since who waits may stop and come back.
    Opening(Pin<Box<dyn Future<Output = Result<T>> + Send>>),
    Open(T),
}

impl<T> Feed<T> {
    async fn open<F>(&mut self, subscribe: impl FnOnce() -> F) -> Result<&mut T>
    where
        F: Future<Output = Result<T>> + Send + 'static,
    {
        if matches!(self, Self::Unwanted) {
            *self = Self::Opening(Box::pin(subscribe()));
        }
        if let Self::Opening(opening) = self {
            match opening.await {
                Ok(feed) => *self = Self::Open(feed),
                Err(error) => {
                    *self = Self::Unwanted;
                    return Err(error);
                }
            }
        }
        match self {
            Self::Open(feed) => Ok(feed),
            _ => Err(Error::Closed),
        }
    }
}

impl ClientLink {
    pub(super) fn new(client: DeviceClient) -> Self {
        let (desired, messages) = (Mutex::new(Feed::Unwanted), Mutex::new(Feed::Unwanted));
        Self { client, desired, messages }
    }

    pub(super) fn client(&self) -> &DeviceClient {
        &self.client
    }
}

impl Link for ClientLink {
    type Received = ReceivedMessage;
    type Receipt = ironbrook_client::Receipt;

    fn state(&self) -> watch::Receiver<ConnectionState> {
        self.client.state()
    }

    async fn desired(&self) -> Result<Option<DesiredUpdate>> {
        let client = self.client.clone();
        let mut feed = self.desired.lock().await;
        Ok(feed.open(|| async move { client.desired_updates().await }).await?.next().await)
    }

    async fn message(&self) -> Result<Option<ReceivedMessage>> {
        let client = self.client.clone();
        let mut feed = self.messages.lock().await;
        Ok(feed.open(|| async move { client.messages().await }).await?.next().await)
    }

    async fn send(&self, output: &str, message: Message) -> Result<ironbrook_client::Receipt> {
        self.client.enqueue_output(output, message).await
    }

    async fn reported(&self) -> Result<Map<String, Value>> {
        Ok(self.client.twin().await?.reported)
    }

    async fn report(&self, patch: &Value) -> Result<()> {
        self.client.report(patch).await.map(drop)
    }
}

impl Received for ReceivedMessage {
    fn input(&self) -> Option<&str> {
        self.input.as_deref()
    }

    fn message(&self) -> &Message {
        &self.message
    }

    fn is_current(&self) -> bool {
        ReceivedMessage::is_current(self)
    }

    async fn complete(self) -> Result<()> {
        match ReceivedMessage::complete(self).await {
            // It comes again, and is recognised then.
            Err(Error::LockLost) => Ok(()),
            other => other,
        }
    }
}
