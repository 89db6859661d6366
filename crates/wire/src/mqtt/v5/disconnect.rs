//! DISCONNECT (section 3.14).

use super::property::{self, Properties, properties};
use super::write::Sink;
use super::{ReasonCode, Unencodable, Violation};
use crate::mqtt::basic::PacketType;
use crate::mqtt::reader::Reader;
use bytestring::ByteString;

/// DISCONNECT: the last packet, from either side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disconnect {
    /// Why.
    pub reason: ReasonCode,
    /// Properties.
    pub properties: DisconnectProperties,
}

properties! {
    /// Properties of DISCONNECT.
    DisconnectProperties of Disconnect {
        /// Seconds the session outlives the connection; absent is as agreed. Only from clients.
        session_expiry_interval: Option<u32> = SessionExpiryInterval,
        /// The reason in words, for people.
        reason_string: Option<ByteString> = ReasonString,
        /// Another server to use. Only from servers.
        server_reference: Option<ByteString> = ServerReference,
    }
}

impl Disconnect {
    /// An end without properties.
    pub fn new(reason: ReasonCode) -> Self {
        Self { reason, properties: DisconnectProperties::default() }
    }

    /// Reason and properties may be left out, so that the shortest packet is that of MQTT 3.1.1.
    pub(super) fn read(reader: &mut Reader) -> Result<Self, Violation> {
        if reader.is_empty() {
            return Ok(Self::new(ReasonCode::NORMAL_DISCONNECTION));
        }
        let reason = ReasonCode::read(PacketType::Disconnect, reader)?;
        if reader.is_empty() {
            return Ok(Self::new(reason));
        }
        Ok(Self { reason, properties: property::read(reader)? })
    }

    pub(super) fn write(&self, out: &mut impl Sink) -> Result<(), Unencodable> {
        let none = self.properties.is_none();
        if !none || self.reason != ReasonCode::NORMAL_DISCONNECTION {
            self.reason.write(PacketType::Disconnect, out)?;
        }
        if none { Ok(()) } else { property::write(&self.properties, out) }
    }
}
