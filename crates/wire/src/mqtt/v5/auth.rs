//! AUTH (section 3.15).

use super::property::{self, AuthData, Properties, properties};
use super::write::Sink;
use super::{ReasonCode, Unencodable, Violation};
use crate::mqtt::basic::PacketType;
use crate::mqtt::reader::Reader;
use bytestring::ByteString;

/// AUTH: a step of an enhanced authentication.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Auth {
    /// Which step.
    pub reason: ReasonCode,
    /// Properties.
    pub properties: AuthProperties,
}

properties! {
    /// Properties of AUTH.
    AuthProperties of Auth {
        /// Name of the method. It is there wherever any property is, and wherever the reason is not
        /// [`ReasonCode::Success`].
        authentication_method: Option<ByteString> = AuthenticationMethod,
        /// What the method exchanges.
        authentication_data: Option<AuthData> = AuthenticationData,
        /// The reason in words, for people.
        reason_string: Option<ByteString> = ReasonString,
    }
}

impl Auth {
    /// Section 3.15.2.1 lets a success without properties have no byte at all, although section 3.15.2.2.2 always wants the
    /// method: a success without properties is taken in any form, any other packet has to name it.
    pub(super) fn read(reader: &mut Reader) -> Result<Self, Violation> {
        if reader.is_empty() {
            return Ok(Self { reason: ReasonCode::Success, properties: AuthProperties::default() });
        }
        let reason = ReasonCode::read(PacketType::Auth, reader)?;
        let properties: AuthProperties = property::read(reader)?;
        // rule MQTT-35
        let bare = reason == ReasonCode::Success && properties.is_none();
        if properties.authentication_method.is_none() && !bare {
            return Err(Violation::NoAuthMethod);
        }
        Ok(Self { reason, properties })
    }

    pub(super) fn write(&self, out: &mut impl Sink) -> Result<(), Unencodable> {
        if self.reason == ReasonCode::Success && self.properties.is_none() {
            return Ok(());
        }
        if self.properties.authentication_method.is_none() {
            return Err(Unencodable::NoAuthMethod);
        }
        self.reason.write(PacketType::Auth, out)?;
        property::write(&self.properties, out)
    }
}
