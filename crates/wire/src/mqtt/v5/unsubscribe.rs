//! UNSUBSCRIBE and UNSUBACK (sections 3.10 and 3.11).

use super::property::{self, properties};
use super::subscribe::{read_reasons, write_reasons};
use super::write::Sink;
use super::{AckProperties, FILTERS_MAX, PacketId, ReasonCode, Unencodable, Violation};
use crate::mqtt::basic::PacketType;
use crate::mqtt::reader::Reader;
use bytestring::ByteString;

/// UNSUBSCRIBE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsubscribe {
    /// Answered with the same.
    pub packet_id: PacketId,
    /// Properties.
    pub properties: UnsubscribeProperties,
    /// At least one; none is empty.
    pub filters: Vec<ByteString>,
}

properties! {
    /// Properties of UNSUBSCRIBE.
    UnsubscribeProperties of Unsubscribe {}
}

/// UNSUBACK.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnsubAck {
    /// Of the UNSUBSCRIBE.
    pub packet_id: PacketId,
    /// Properties.
    pub properties: AckProperties,
    /// One per filter, in order; at least one.
    pub reasons: Vec<ReasonCode>,
}

impl Unsubscribe {
    pub(super) fn read(reader: &mut Reader) -> Result<Self, Violation> {
        let packet_id = reader.packet_id()?;
        let properties = property::read(reader)?;
        let mut filters = Vec::new();
        while !reader.is_empty() {
            if filters.len() == FILTERS_MAX {
                return Err(Violation::TooManyFilters);
            }
            let filter = reader.string()?;
            if filter.is_empty() {
                return Err(Violation::EmptyTopic);
            }
            filters.push(filter);
        }
        if filters.is_empty() {
            Err(Violation::NoFilter)
        } else {
            Ok(Self { packet_id, properties, filters })
        }
    }

    pub(super) fn write(&self, out: &mut impl Sink) -> Result<(), Unencodable> {
        if self.filters.is_empty() {
            return Err(Unencodable::NoFilter);
        }
        out.put_u16(self.packet_id.get());
        property::write(&self.properties, out)?;
        self.filters.iter().try_for_each(|filter| out.put_topic(filter))
    }
}

impl UnsubAck {
    pub(super) fn read(reader: &mut Reader) -> Result<Self, Violation> {
        let packet_id = reader.packet_id()?;
        let properties = AckProperties::read_of(PacketType::UnsubAck, reader)?;
        Ok(Self { packet_id, properties, reasons: read_reasons(PacketType::UnsubAck, reader)? })
    }

    pub(super) fn write(&self, out: &mut impl Sink) -> Result<(), Unencodable> {
        out.put_u16(self.packet_id.get());
        property::write(&self.properties, out)?;
        write_reasons(PacketType::UnsubAck, &self.reasons, out)
    }
}
