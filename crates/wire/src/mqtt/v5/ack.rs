//! PUBACK, PUBREC, PUBREL and PUBCOMP (sections 3.4 to 3.7), which look alike.

use super::property::{self, Properties, properties};
use super::write::Sink;
use super::{PacketId, ReasonCode, Unencodable, Violation};
use crate::mqtt::basic::PacketType;
use crate::mqtt::reader::Reader;
use bytestring::ByteString;

/// A step in the delivery of a message of quality 1 or 2.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ack {
    /// Of the message.
    pub packet_id: PacketId,
    /// How it went.
    pub reason: ReasonCode,
    /// Properties.
    pub properties: AckProperties,
}

properties! {
    /// Properties of PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK and UNSUBACK.
    AckProperties of PubAck {
        /// The reason in words, for people.
        reason_string: Option<ByteString> = ReasonString,
    }
}

impl Ack {
    /// A step without properties.
    pub fn new(packet_id: PacketId, reason: ReasonCode) -> Self {
        Self { packet_id, reason, properties: AckProperties::default() }
    }

    /// The step that went well.
    pub fn success(packet_id: PacketId) -> Self {
        Self::new(packet_id, ReasonCode::Success)
    }

    /// Reason and properties may be left out, so that the shortest packet is that of MQTT 3.1.1.
    pub(super) fn read(packet_type: PacketType, reader: &mut Reader) -> Result<Self, Violation> {
        let packet_id = reader.packet_id()?;
        if reader.is_empty() {
            return Ok(Self::success(packet_id));
        }
        let reason = ReasonCode::read(packet_type, reader)?;
        if reader.is_empty() {
            return Ok(Self::new(packet_id, reason));
        }
        Ok(Self { packet_id, reason, properties: AckProperties::read_of(packet_type, reader)? })
    }

    pub(super) fn write(&self, packet_type: PacketType, out: &mut impl Sink) -> Result<(), Unencodable> {
        out.put_u16(self.packet_id.get());
        let none = self.properties.is_none();
        if !none || self.reason != ReasonCode::Success {
            self.reason.write(packet_type, out)?;
        }
        if none { Ok(()) } else { property::write(&self.properties, out) }
    }
}

impl AckProperties {
    /// Reads them as those of this packet, which errors then name.
    pub(super) fn read_of(packet_type: PacketType, reader: &mut Reader) -> Result<Self, Violation> {
        property::read(reader).map_err(|violation| match violation {
            Violation::PropertyForbidden { id, .. } => {
                Violation::PropertyForbidden { owner: packet_type, id }
            }
            other => other,
        })
    }
}
