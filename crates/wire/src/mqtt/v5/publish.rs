//! PUBLISH (section 3.3).

use super::property::{self, SubscriptionId, properties};
use super::write::Sink;
use super::{PacketId, QoS, Unencodable, Violation};
use crate::mqtt::reader::Reader;
use bytes::Bytes;
use bytestring::ByteString;
use std::num::NonZeroU16;

/// PUBLISH.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publish {
    /// Whether it may have been sent before; never with quality 0.
    pub dup: bool,
    /// Quality.
    pub qos: QoS,
    /// Whether it is to be retained, or was.
    pub retain: bool,
    /// Where; empty only if a topic alias stands for it.
    pub topic: ByteString,
    /// Present exactly with quality 1 and 2.
    pub packet_id: Option<PacketId>,
    /// Properties.
    pub properties: PublishProperties,
    /// What.
    pub payload: Bytes,
}

properties! {
    /// Properties of PUBLISH.
    PublishProperties of Publish {
        /// Whether the payload is UTF-8; absent is no. The codec does not check it.
        payload_format_indicator: Option<bool> = PayloadFormatIndicator,
        /// Seconds the message has still to live; absent is for ever.
        message_expiry_interval: Option<u32> = MessageExpiryInterval,
        /// A number for the topic, on this connection and in this direction.
        topic_alias: Option<NonZeroU16> = TopicAlias,
        /// Topic name for an answer.
        response_topic: Option<ByteString> = ResponseTopic,
        /// What the answer is to repeat.
        correlation_data: Option<Bytes> = CorrelationData,
        /// The numbers of the subscriptions that it matches; only from servers.
        subscription_identifiers: Vec<SubscriptionId> = SubscriptionIdentifier,
        /// What the payload is, as the application says it.
        content_type: Option<ByteString> = ContentType,
    }
}

impl Publish {
    pub(super) fn read(reader: &mut Reader, flags: u8) -> Result<Self, Violation> {
        let qos = QoS::from_number((flags >> 1) & 3).ok_or(Violation::QoS)?;
        let dup = flags & 0b1000 != 0;
        if dup && qos == QoS::AtMostOnce {
            return Err(Violation::DupWithoutQoS);
        }
        let topic = reader.string()?;
        let packet_id = if qos == QoS::AtMostOnce { None } else { Some(reader.packet_id()?) };
        let properties: PublishProperties = property::read(reader)?;
        if topic.is_empty() && properties.topic_alias.is_none() {
            return Err(Violation::EmptyTopic);
        }
        Ok(Self { dup, qos, retain: flags & 1 != 0, topic, packet_id, properties, payload: reader.rest() })
    }

    /// Its parts.
    pub fn as_parts(&self) -> PublishRef<'_> {
        let Self { dup, qos, retain, topic, packet_id, properties, payload } = self;
        PublishRef {
            dup: *dup,
            qos: *qos,
            retain: *retain,
            topic,
            packet_id: *packet_id,
            properties,
            payload,
        }
    }
}

/// A PUBLISH whose parts lie elsewhere, for [`encode_publish`](super::encode_publish): a broker sends the same ones to many.
#[derive(Debug, Clone, Copy)]
pub struct PublishRef<'a> {
    /// See [`Publish`].
    pub dup: bool,
    /// See there.
    pub qos: QoS,
    /// See there.
    pub retain: bool,
    /// See there.
    pub topic: &'a str,
    /// See there.
    pub packet_id: Option<PacketId>,
    /// See there.
    pub properties: &'a PublishProperties,
    /// See there.
    pub payload: &'a [u8],
}

impl PublishRef<'_> {
    /// The low four bits of the first byte.
    pub(super) fn flags(&self) -> u8 {
        (u8::from(self.dup) << 3) | ((self.qos as u8) << 1) | u8::from(self.retain)
    }

    pub(super) fn write(&self, out: &mut impl Sink) -> Result<(), Unencodable> {
        if self.packet_id.is_some() == (self.qos == QoS::AtMostOnce) {
            return Err(Unencodable::PacketId);
        }
        if self.dup && self.qos == QoS::AtMostOnce {
            return Err(Unencodable::DupWithoutQoS);
        }
        if self.topic.is_empty() && self.properties.topic_alias.is_none() {
            return Err(Unencodable::EmptyTopic);
        }
        out.put_string(self.topic)?;
        if let Some(id) = self.packet_id {
            out.put_u16(id.get());
        }
        property::write(self.properties, out)?;
        out.put(self.payload);
        Ok(())
    }
}
