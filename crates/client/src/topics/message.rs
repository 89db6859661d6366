//! Messages and subscriptions.

use super::flow::{Flow, Token};
use super::{QoS, RetainHandling, SubscriptionId, UserProperties};
use bytes::Bytes;
use bytestring::ByteString;
use std::sync::Arc;
use tokio::sync::mpsc;

/// A message on an ordinary topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Where.
    pub topic: ByteString,
    /// What; opaque.
    pub payload: Bytes,
    /// How hard its delivery is tried.
    pub qos: QoS,
    /// To be published: whether the server keeps it for later subscribers. Received: whether it was kept for this one.
    pub retain: bool,
    /// Properties; only MQTT 5.0 has any.
    pub properties: Properties,
}

/// What goes with a message in MQTT 5.0.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Properties {
    /// Whether the payload is UTF-8 text (payload format indicator); `None` where nothing is said.
    pub is_text: Option<bool>,
    /// Seconds the message has still to live.
    pub expiry: Option<u32>,
    /// What the payload is, e.g. `application/json`.
    pub content_type: Option<ByteString>,
    /// Where an answer should go.
    pub response_topic: Option<ByteString>,
    /// What an answer should carry.
    pub correlation_data: Option<Bytes>,
    /// Pairs of the application's own, in order.
    pub user: UserProperties,
}

impl Message {
    /// A message of QoS 0 that is not retained.
    pub fn new(topic: impl Into<ByteString>, payload: impl Into<Bytes>) -> Self {
        let (topic, payload) = (topic.into(), payload.into());
        Self { topic, payload, qos: QoS::AtMostOnce, retain: false, properties: Properties::default() }
    }

    /// With this QoS.
    pub fn qos(self, qos: QoS) -> Self {
        Self { qos, ..self }
    }

    /// Retained, or not.
    pub fn retain(self, retain: bool) -> Self {
        Self { retain, ..self }
    }

    /// With these properties.
    pub fn properties(self, properties: Properties) -> Self {
        Self { properties, ..self }
    }

    /// Bytes it takes, about.
    pub(super) fn size(&self) -> usize {
        self.topic.len() + self.payload.len() + self.properties.user.wire_len()
    }
}

/// A wish for messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    /// The topic filter; `$share/{group}/{filter}` shares the messages out among the group.
    pub filter: ByteString,
    /// The highest QoS wanted.
    pub qos: QoS,
    /// The client's own messages are not sent to it. Only MQTT 5.0, as all that follows.
    pub no_local: bool,
    /// Messages keep the retain flag they were published with.
    pub retain_as_published: bool,
    /// What becomes of retained messages.
    pub retain_handling: RetainHandling,
    /// Comes back with each message of this subscription.
    pub id: Option<SubscriptionId>,
}

impl Subscription {
    /// A wish without options.
    pub fn new(filter: impl Into<ByteString>, qos: QoS) -> Self {
        Self {
            filter: filter.into(),
            qos,
            no_local: false,
            retain_as_published: false,
            retain_handling: RetainHandling::default(),
            id: None,
        }
    }

    /// Whether it can be said in MQTT 5.0 only.
    pub(super) fn needs_v5(&self) -> bool {
        *self != Self::new(self.filter.clone(), self.qos)
    }
}

/// A message from the server.
///
/// Messages of QoS 1 and 2 are acknowledged when they are taken from [`Messages`], or, with
/// [`acknowledge_by_hand`](super::Builder::acknowledge_by_hand), by [`acknowledge`](Self::acknowledge).
#[derive(Debug)]
pub struct Received {
    /// The message.
    pub message: Message,
    /// Whether the server may have sent it before.
    pub duplicate: bool,
    /// The ids of the subscriptions it came by, where they have any.
    pub subscriptions: Vec<SubscriptionId>,
    pub(super) token: Option<Token>,
    pub(super) flow: Arc<Flow>,
}

impl Received {
    /// Tells the server that the message was handled and may be forgotten. Acknowledgements go out in the order in which the
    /// messages came, whatever the order of these calls. If the connection the message came over is gone, a message of QoS 1
    /// comes again all the same.
    pub fn acknowledge(mut self) {
        self.acknowledge_now();
    }

    fn acknowledge_now(&mut self) {
        if let Some(token) = self.token.take() {
            self.flow.acknowledge(token);
        }
    }
}

/// The messages of all subscriptions of a client, in the order they came.
///
/// Take them as they come: while many wait, nothing more is read from the connection, neither messages nor the answers to
/// what the client publishes. A task that waits for receipts should therefore not be the one that takes messages. Dropping
/// this discards what comes; where messages are acknowledged by hand, the server keeps those of QoS 1 and 2, and a client that
/// stays connected is sent no more of them when it holds as many as it may.
#[derive(Debug)]
pub struct Messages {
    pub(super) feed: mpsc::Receiver<Received>,
    pub(super) flow: Arc<Flow>,
    pub(super) by_hand: bool,
}

impl Messages {
    /// The next message; `None` when the client is closed. Cancel-safe.
    pub async fn next(&mut self) -> Option<Received> {
        let received = self.feed.recv().await?;
        Some(self.took(received))
    }

    /// A message that is here already.
    pub fn try_next(&mut self) -> Option<Received> {
        let received = self.feed.try_recv().ok()?;
        Some(self.took(received))
    }

    fn took(&self, mut received: Received) -> Received {
        self.flow.taken(received.message.size());
        if !self.by_hand {
            received.acknowledge_now();
        }
        received
    }
}

impl Drop for Messages {
    fn drop(&mut self) {
        self.feed.close();
        self.flow.left();
    }
}
