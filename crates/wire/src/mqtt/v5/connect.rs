//! CONNECT (section 3.1).

use super::property::{self, AuthData, properties};
use super::write::Sink;
use super::{QoS, Unencodable, Violation};
use crate::mqtt::reader::Reader;
use bytes::Bytes;
use bytestring::ByteString;
use std::fmt;
use std::num::{NonZeroU16, NonZeroU32};

/// CONNECT. `Debug` hides the password.
#[derive(Clone, PartialEq, Eq)]
pub struct Connect {
    /// May be empty; then the server chooses and says what.
    pub client_id: ByteString,
    /// Longest silence of the client, seconds; 0 turns it off.
    pub keep_alive: u16,
    /// Whether an earlier session is forgotten.
    pub clean_start: bool,
    /// What to publish if the client vanishes.
    pub will: Option<Will>,
    /// User name.
    pub username: Option<ByteString>,
    /// Password; here also without a user name.
    pub password: Option<Bytes>,
    /// Properties.
    pub properties: ConnectProperties,
}

properties! {
    /// Properties of CONNECT: what the client asks for and what it takes.
    ConnectProperties of Connect {
        /// Seconds the session outlives the connection; absent is 0, 0xFFFFFFFF is for ever.
        session_expiry_interval: Option<u32> = SessionExpiryInterval,
        /// Most messages of quality 1 and 2 that may be unacknowledged on the way to the client; absent is 65 535.
        receive_maximum: Option<NonZeroU16> = ReceiveMaximum,
        /// Longest packet the client takes, bytes; absent is no limit.
        maximum_packet_size: Option<NonZeroU32> = MaximumPacketSize,
        /// Highest topic alias the client takes; absent is 0.
        topic_alias_maximum: Option<u16> = TopicAliasMaximum,
        /// Whether CONNACK may have response information; absent is no.
        request_response_information: Option<bool> = RequestResponseInformation,
        /// Whether reason strings and user properties may come on any packet; absent is yes.
        request_problem_information: Option<bool> = RequestProblemInformation,
        /// Name of an enhanced authentication.
        authentication_method: Option<ByteString> = AuthenticationMethod,
        /// Its first data; never without a method.
        authentication_data: Option<AuthData> = AuthenticationData,
    }
}

/// The message that is published when a client vanishes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Will {
    /// Where.
    pub topic: ByteString,
    /// What.
    pub payload: Bytes,
    /// How.
    pub qos: QoS,
    /// Whether it is to be retained.
    pub retain: bool,
    /// Properties.
    pub properties: WillProperties,
}

properties! {
    /// Properties of a will.
    WillProperties of Connect {
        /// Seconds after the loss of the connection; absent is 0.
        will_delay_interval: Option<u32> = WillDelayInterval,
        /// Whether the payload is UTF-8; absent is no.
        payload_format_indicator: Option<bool> = PayloadFormatIndicator,
        /// Seconds the message lives once it is published; absent is for ever.
        message_expiry_interval: Option<u32> = MessageExpiryInterval,
        /// What the payload is, as the application says it.
        content_type: Option<ByteString> = ContentType,
        /// Topic name for an answer.
        response_topic: Option<ByteString> = ResponseTopic,
        /// What the answer is to repeat.
        correlation_data: Option<Bytes> = CorrelationData,
    }
}

impl fmt::Debug for Connect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connect")
            .field("client_id", &self.client_id)
            .field("keep_alive", &self.keep_alive)
            .field("clean_start", &self.clean_start)
            .field("will", &self.will)
            .field("username", &self.username)
            .field("password", &self.password.as_ref().map(|_| "<hidden>"))
            .field("properties", &self.properties)
            .finish()
    }
}

/// Bits of the connect flags.
mod flag {
    pub(super) const RESERVED: u8 = 1;
    pub(super) const CLEAN_START: u8 = 1 << 1;
    pub(super) const WILL: u8 = 1 << 2;
    pub(super) const WILL_QOS_SHIFT: u8 = 3;
    pub(super) const WILL_RETAIN: u8 = 1 << 5;
    pub(super) const PASSWORD: u8 = 1 << 6;
    pub(super) const USERNAME: u8 = 1 << 7;
}

impl Connect {
    pub(super) fn read(reader: &mut Reader) -> Result<Self, Violation> {
        let name = reader.binary()?;
        let level = reader.u8()?;
        match (&name[..], level) {
            (b"MQTT", 5) => {}
            (b"MQTT" | b"MQIsdp", level) => return Err(Violation::ProtocolLevel(level)),
            _ => return Err(Violation::ProtocolName),
        }
        let flags = reader.u8()?;
        if flags & flag::RESERVED != 0 {
            return Err(Violation::ConnectFlagReserved);
        }
        let will_flags = will_flags(flags)?;
        let keep_alive = reader.u16()?;
        let properties: ConnectProperties = property::read(reader)?;
        if properties.authentication_data.is_some() && properties.authentication_method.is_none() {
            return Err(Violation::NoAuthMethod);
        }
        let client_id = reader.string()?;
        let will = match will_flags {
            Some((qos, retain)) => Some(Will::read(reader, qos, retain)?),
            None => None,
        };
        let username = if flags & flag::USERNAME != 0 { Some(reader.string()?) } else { None };
        let password = if flags & flag::PASSWORD != 0 { Some(reader.binary()?) } else { None };
        let clean_start = flags & flag::CLEAN_START != 0;
        Ok(Self { client_id, keep_alive, clean_start, will, username, password, properties })
    }

    pub(super) fn write(&self, out: &mut impl Sink) -> Result<(), Unencodable> {
        if self.properties.authentication_data.is_some() && self.properties.authentication_method.is_none() {
            return Err(Unencodable::NoAuthMethod);
        }
        out.put_binary(b"MQTT")?;
        out.put_u8(5);
        out.put_u8(self.flags());
        out.put_u16(self.keep_alive);
        property::write(&self.properties, out)?;
        out.put_string(&self.client_id)?;
        if let Some(will) = &self.will {
            property::write(&will.properties, out)?;
            out.put_topic(&will.topic)?;
            out.put_binary(&will.payload)?;
        }
        if let Some(username) = &self.username {
            out.put_string(username)?;
        }
        if let Some(password) = &self.password {
            out.put_binary(password)?;
        }
        Ok(())
    }

    fn flags(&self) -> u8 {
        let bit = |set: bool, bit: u8| if set { bit } else { 0 };
        let will = self.will.as_ref().map_or(0, |will| {
            flag::WILL | ((will.qos as u8) << flag::WILL_QOS_SHIFT) | bit(will.retain, flag::WILL_RETAIN)
        });
        will | bit(self.clean_start, flag::CLEAN_START)
            | bit(self.username.is_some(), flag::USERNAME)
            | bit(self.password.is_some(), flag::PASSWORD)
    }
}

impl ConnectProperties {
    /// Whether reason strings and user properties may come on packets other than PUBLISH, CONNACK and DISCONNECT.
    pub fn wants_problem_information(&self) -> bool {
        self.request_problem_information.unwrap_or(true)
    }
}

/// Quality and retain flag of the will, if there is one.
fn will_flags(flags: u8) -> Result<Option<(QoS, bool)>, Violation> {
    let qos = QoS::from_number((flags >> flag::WILL_QOS_SHIFT) & 3).ok_or(Violation::WillFlags)?;
    let retain = flags & flag::WILL_RETAIN != 0;
    if flags & flag::WILL != 0 {
        Ok(Some((qos, retain)))
    } else if qos != QoS::AtMostOnce || retain {
        Err(Violation::WillFlags)
    } else {
        Ok(None)
    }
}

impl Will {
    fn read(reader: &mut Reader, qos: QoS, retain: bool) -> Result<Self, Violation> {
        let properties = property::read(reader)?;
        let topic = reader.string()?;
        if topic.is_empty() {
            return Err(Violation::EmptyTopic);
        }
        Ok(Self { topic, payload: reader.binary()?, qos, retain, properties })
    }
}
