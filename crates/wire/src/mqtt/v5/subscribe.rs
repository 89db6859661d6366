//! SUBSCRIBE and SUBACK (sections 3.8 and 3.9).

use super::property::{self, SubscriptionId, properties};
use super::write::Sink;
use super::{AckProperties, FILTERS_MAX, PacketId, QoS, ReasonCode, Unencodable, Violation};
use crate::mqtt::basic::PacketType;
use crate::mqtt::reader::Reader;
use bytestring::ByteString;

/// SUBSCRIBE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscribe {
    /// Answered with the same.
    pub packet_id: PacketId,
    /// Properties.
    pub properties: SubscribeProperties,
    /// At least one.
    pub filters: Vec<SubscribeFilter>,
}

properties! {
    /// Properties of SUBSCRIBE.
    SubscribeProperties of Subscribe {
        /// A number that comes back with the messages of all these filters.
        subscription_identifier: Option<SubscriptionId> = SubscriptionIdentifier,
    }
}

/// A wish of a SUBSCRIBE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubscribeFilter {
    /// Not empty.
    pub filter: ByteString,
    /// Highest quality wanted.
    pub qos: QoS,
    /// Whether messages of this very client are left out; not with a shared subscription.
    pub no_local: bool,
    /// Whether messages keep the retain flag they were published with.
    pub retain_as_published: bool,
    /// When retained messages are sent.
    pub retain_handling: RetainHandling,
}

/// When retained messages are sent to a new subscription.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum RetainHandling {
    /// At every SUBSCRIBE.
    #[default]
    Send = 0,
    /// Only if the subscription is new.
    SendIfNew = 1,
    /// Never.
    DoNotSend = 2,
}

/// SUBACK.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubAck {
    /// Of the SUBSCRIBE.
    pub packet_id: PacketId,
    /// Properties.
    pub properties: AckProperties,
    /// One per filter, in order; at least one.
    pub reasons: Vec<ReasonCode>,
}

impl Subscribe {
    pub(super) fn read(reader: &mut Reader) -> Result<Self, Violation> {
        let packet_id = reader.packet_id()?;
        let properties = property::read(reader)?;
        let mut filters = Vec::new();
        while !reader.is_empty() {
            if filters.len() == FILTERS_MAX {
                return Err(Violation::TooManyFilters);
            }
            filters.push(SubscribeFilter::read(reader)?);
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
        self.filters.iter().try_for_each(|wish| {
            out.put_topic(&wish.filter)?;
            out.put_u8(wish.options());
            Ok(())
        })
    }
}

impl SubscribeFilter {
    /// A wish without options.
    pub fn new(filter: impl Into<ByteString>, qos: QoS) -> Self {
        let retain_handling = RetainHandling::default();
        Self { filter: filter.into(), qos, no_local: false, retain_as_published: false, retain_handling }
    }

    fn read(reader: &mut Reader) -> Result<Self, Violation> {
        let filter = reader.string()?;
        if filter.is_empty() {
            return Err(Violation::EmptyTopic);
        }
        let options = reader.u8()?;
        if options & 0b1100_0000 != 0 {
            return Err(Violation::SubscriptionOptions);
        }
        let qos = QoS::from_number(options & 3).ok_or(Violation::RequestedQoS)?;
        let retain_handling = match (options >> 4) & 3 {
            0 => RetainHandling::Send,
            1 => RetainHandling::SendIfNew,
            2 => RetainHandling::DoNotSend,
            _ => return Err(Violation::RetainHandling),
        };
        let (no_local, retain_as_published) = (options & 0b100 != 0, options & 0b1000 != 0);
        Ok(Self { filter, qos, no_local, retain_as_published, retain_handling })
    }

    fn options(&self) -> u8 {
        self.qos as u8
            | (u8::from(self.no_local) << 2)
            | (u8::from(self.retain_as_published) << 3)
            | ((self.retain_handling as u8) << 4)
    }
}

impl SubAck {
    pub(super) fn read(reader: &mut Reader) -> Result<Self, Violation> {
        let packet_id = reader.packet_id()?;
        let properties = AckProperties::read_of(PacketType::SubAck, reader)?;
        Ok(Self { packet_id, properties, reasons: read_reasons(PacketType::SubAck, reader)? })
    }

    pub(super) fn write(&self, out: &mut impl Sink) -> Result<(), Unencodable> {
        out.put_u16(self.packet_id.get());
        property::write(&self.properties, out)?;
        write_reasons(PacketType::SubAck, &self.reasons, out)
    }
}

/// One reason code per filter, to the end of the packet.
pub(super) fn read_reasons(
    packet_type: PacketType,
    reader: &mut Reader,
) -> Result<Vec<ReasonCode>, Violation> {
    if reader.is_empty() {
        return Err(Violation::NoReasonCode);
    }
    if reader.len() > FILTERS_MAX {
        return Err(Violation::TooManyFilters);
    }
    let mut reasons = Vec::with_capacity(reader.len());
    while !reader.is_empty() {
        reasons.push(ReasonCode::read(packet_type, reader)?);
    }
    Ok(reasons)
}

pub(super) fn write_reasons(
    packet_type: PacketType,
    reasons: &[ReasonCode],
    out: &mut impl Sink,
) -> Result<(), Unencodable> {
    if reasons.is_empty() {
        return Err(Unencodable::NoReasonCode);
    }
    reasons.iter().try_for_each(|reason| reason.write(packet_type, out))
}
