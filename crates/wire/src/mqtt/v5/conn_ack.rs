//! CONNACK (section 3.2).

use super::property::{self, AuthData, properties};
use super::write::Sink;
use super::{QoS, ReasonCode, Unencodable, Violation};
use crate::mqtt::basic::PacketType;
use crate::mqtt::reader::Reader;
use bytestring::ByteString;
use std::num::{NonZeroU16, NonZeroU32};

/// CONNACK.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnAck {
    /// Whether the server kept a session; only with [`ReasonCode::Success`].
    pub session_present: bool,
    /// The answer.
    pub reason: ReasonCode,
    /// Properties.
    pub properties: ConnAckProperties,
}

properties! {
    /// Properties of CONNACK: what the server grants and what it takes.
    ConnAckProperties of ConnAck {
        /// Seconds the session outlives the connection; absent is what the client asked for.
        session_expiry_interval: Option<u32> = SessionExpiryInterval,
        /// Most messages of quality 1 and 2 that may be unacknowledged on the way to the server; absent is 65 535.
        receive_maximum: Option<NonZeroU16> = ReceiveMaximum,
        /// Highest quality the server takes, 0 or 1; absent is 2.
        maximum_qos: Option<QoS> = MaximumQoS,
        /// Whether the server retains messages; absent is yes.
        retain_available: Option<bool> = RetainAvailable,
        /// Longest packet the server takes, bytes; absent is no limit.
        maximum_packet_size: Option<NonZeroU32> = MaximumPacketSize,
        /// The client id the server chose, where the client gave none.
        assigned_client_identifier: Option<ByteString> = AssignedClientIdentifier,
        /// Highest topic alias the server takes; absent is 0.
        topic_alias_maximum: Option<u16> = TopicAliasMaximum,
        /// The reason in words, for people.
        reason_string: Option<ByteString> = ReasonString,
        /// Whether filters may have wildcards; absent is yes.
        wildcard_subscription_available: Option<bool> = WildcardSubscriptionAvailable,
        /// Whether subscriptions may have identifiers; absent is yes.
        subscription_identifiers_available: Option<bool> = SubscriptionIdentifierAvailable,
        /// Whether subscriptions may be shared; absent is yes.
        shared_subscription_available: Option<bool> = SharedSubscriptionAvailable,
        /// Longest silence of the client, seconds, in place of what it asked for.
        server_keep_alive: Option<u16> = ServerKeepAlive,
        /// What response topics may be made of.
        response_information: Option<ByteString> = ResponseInformation,
        /// Another server to use.
        server_reference: Option<ByteString> = ServerReference,
        /// Name of the enhanced authentication.
        authentication_method: Option<ByteString> = AuthenticationMethod,
        /// Its last data.
        authentication_data: Option<AuthData> = AuthenticationData,
    }
}

impl ConnAck {
    /// A refusal without properties.
    pub fn refusal(reason: ReasonCode) -> Self {
        Self { session_present: false, reason, properties: ConnAckProperties::default() }
    }

    pub(super) fn read(reader: &mut Reader) -> Result<Self, Violation> {
        let flags = reader.u8()?;
        let reason = ReasonCode::read(PacketType::ConnAck, reader)?;
        if flags > 1 || (flags == 1 && reason != ReasonCode::Success) {
            return Err(Violation::ConnAckFlags);
        }
        Ok(Self { session_present: flags == 1, reason, properties: property::read(reader)? })
    }

    pub(super) fn write(&self, out: &mut impl Sink) -> Result<(), Unencodable> {
        if self.session_present && self.reason != ReasonCode::Success {
            return Err(Unencodable::SessionPresent);
        }
        out.put_u8(u8::from(self.session_present));
        self.reason.write(PacketType::ConnAck, out)?;
        property::write(&self.properties, out)
    }
}
