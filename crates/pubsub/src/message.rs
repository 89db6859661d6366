//! The nouns: what is published, subscribed and left as a will.

use crate::journal::Stored;
use bytes::Bytes;
use bytestring::ByteString;
use ironbrook_model::Timestamp;
use std::num::{NonZeroU16, NonZeroU32};
use std::time::Duration;

/// How hard a delivery is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum QoS {
    /// Once or never.
    #[default]
    AtMostOnce = 0,
    /// Once or several times.
    AtLeastOnce = 1,
    /// Once.
    ExactlyOnce = 2,
}

impl QoS {
    /// The QoS of a number from 0 to 2.
    pub fn from_level(level: u8) -> Option<Self> {
        match level {
            0 => Some(Self::AtMostOnce),
            1 => Some(Self::AtLeastOnce),
            2 => Some(Self::ExactlyOnce),
            _ => None,
        }
    }

    /// Its number.
    pub fn level(self) -> u8 {
        self as u8
    }
}

/// The version of MQTT a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// 3.1.1
    V3,
    /// 5.0
    V5,
}

/// Properties of a publish that go to subscribers as they are.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Properties {
    /// Payload format indicator: true for UTF-8 text.
    pub is_text: Option<bool>,
    /// Seconds until the message expires, from its receipt.
    pub expiry: Option<u32>,
    /// Content type.
    pub content_type: Option<ByteString>,
    /// Where an answer should go.
    pub response_topic: Option<ByteString>,
    /// What an answer should carry.
    pub correlation_data: Option<Bytes>,
    /// User properties in order; the codec bounds their count.
    pub user: Vec<(ByteString, ByteString)>,
}

/// A PUBLISH as it came in. Texts and payload may be slices of the frame; a door that reads into large buffers should hand in
/// copies of small payloads, as a queued message keeps its whole buffer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Publish {
    /// The name; empty where an alias stands for it.
    pub topic: ByteString,
    /// The alias, 5.0 only.
    pub alias: Option<u16>,
    /// Opaque.
    pub payload: Bytes,
    /// As sent by the publisher.
    pub qos: QoS,
    /// Whether the message is to be kept for later subscribers.
    pub retain: bool,
    /// Present exactly with QoS 1 and 2.
    pub packet_id: Option<NonZeroU16>,
    /// 5.0 only; `None` for none.
    pub properties: Option<Box<Properties>>,
}

/// What becomes of retained messages when a subscription is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RetainHandling {
    /// They are sent.
    #[default]
    Send,
    /// They are sent if the subscription is new.
    SendIfNew,
    /// They are not sent.
    DoNotSend,
}

/// How a subscription is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SubscriptionOptions {
    /// The highest QoS wanted.
    pub qos: QoS,
    /// The client's own messages are not sent to it.
    pub no_local: bool,
    /// The retain flag is passed on as published.
    pub retain_as_published: bool,
    /// See there.
    pub retain_handling: RetainHandling,
    /// Comes back with each message; at most 268,435,455.
    pub id: Option<NonZeroU32>,
}

/// One filter of a SUBSCRIBE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    /// The filter as sent, unchecked.
    pub filter: ByteString,
    /// How it is served. A 3.1.1 client sets the QoS alone.
    pub options: SubscriptionOptions,
}

/// What is published when a client goes without saying so.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Will {
    /// The name.
    pub topic: ByteString,
    /// The payload.
    pub payload: Bytes,
    /// Its QoS.
    pub qos: QoS,
    /// Whether it is kept.
    pub retain: bool,
    /// Seconds between the loss of the connection and its publishing.
    pub delay: u32,
    /// Its properties.
    pub properties: Option<Box<Properties>>,
}

/// A message in the broker: made once, shared by all who are to get it.
#[derive(Debug)]
pub struct Message {
    /// The name.
    pub topic: ByteString,
    /// Opaque.
    pub payload: Bytes,
    /// As published.
    pub qos: QoS,
    /// As published.
    pub retain: bool,
    /// As published, but for the expiry, which counts down: see [`expires`](Self::expires).
    pub properties: Option<Box<Properties>>,
    /// When it expires.
    pub expires: Option<Timestamp>,
    /// Its place in the journal, if it has one.
    pub(crate) stored: Option<Stored>,
}

impl Message {
    pub(crate) fn new(publish: Publish, now: Timestamp) -> Self {
        let expiry = publish.properties.as_ref().and_then(|properties| properties.expiry);
        Self {
            topic: publish.topic,
            payload: publish.payload,
            qos: publish.qos,
            retain: publish.retain,
            properties: publish.properties,
            expires: expiry.map(|seconds| now.plus(Duration::from_secs(seconds.into()))),
            stored: None,
        }
    }

    /// About how much memory it takes.
    pub fn size(&self) -> usize {
        let properties = self.properties.as_ref().map_or(0, |properties| {
            let user: usize = properties.user.iter().map(|(key, value)| key.len() + value.len() + 64).sum();
            let text = |text: &Option<ByteString>| text.as_ref().map_or(0, |text| text.len());
            user + text(&properties.content_type)
                + text(&properties.response_topic)
                + properties.correlation_data.as_ref().map_or(0, Bytes::len)
        });
        size_of::<Self>() + self.topic.len() + self.payload.len() + properties
    }

    /// Whether it has expired.
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }

    /// Gives it texts and payload of its own, so that it keeps no frame alive for as long as it is stored.
    pub(crate) fn detach(&mut self) {
        self.topic = ByteString::from(&*self.topic);
        self.payload = Bytes::copy_from_slice(&self.payload);
        if let Some(properties) = self.properties.as_deref_mut() {
            let own = |text: &mut ByteString| *text = ByteString::from(&**text);
            properties.content_type.iter_mut().for_each(own);
            properties.response_topic.iter_mut().for_each(own);
            properties.user.iter_mut().for_each(|(key, value)| {
                own(key);
                own(value);
            });
            if let Some(data) = &mut properties.correlation_data {
                *data = Bytes::copy_from_slice(data);
            }
        }
    }
}
