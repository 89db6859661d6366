//! Properties (section 2.2.2): their identifiers, their kinds of values, and blocks of them.

use super::user::Gathered;
use super::write::{Count, Sink};
use super::{PROPERTIES_LEN_MAX, QoS, SUBSCRIPTION_IDS_MAX, Unencodable, UserProperties, Violation};
use crate::mqtt::basic::{PacketType, REMAINING_LEN_MAX};
use crate::mqtt::reader::Reader;
use bytes::Bytes;
use bytestring::ByteString;
use std::fmt;
use std::num::{NonZeroU16, NonZeroU32};

macro_rules! property_ids {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $text:literal;)*) => {
        /// The identifier of a property.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        #[allow(missing_docs)] // the names are those of the standard's table 2-4
        pub enum PropertyId {
            $($(#[$doc])* $name = $number,)*
        }

        impl PropertyId {
            /// All of them, by number.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            const fn from_number(number: usize) -> Option<Self> {
                match number {
                    $($number => Some(Self::$name),)*
                    _ => None,
                }
            }

            const fn text(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

property_ids! {
    PayloadFormatIndicator = 0x01, "payload format indicator";
    MessageExpiryInterval = 0x02, "message expiry interval";
    ContentType = 0x03, "content type";
    ResponseTopic = 0x08, "response topic";
    CorrelationData = 0x09, "correlation data";
    SubscriptionIdentifier = 0x0b, "subscription identifier";
    SessionExpiryInterval = 0x11, "session expiry interval";
    AssignedClientIdentifier = 0x12, "assigned client identifier";
    ServerKeepAlive = 0x13, "server keep alive";
    AuthenticationMethod = 0x15, "authentication method";
    AuthenticationData = 0x16, "authentication data";
    RequestProblemInformation = 0x17, "request problem information";
    WillDelayInterval = 0x18, "will delay interval";
    RequestResponseInformation = 0x19, "request response information";
    ResponseInformation = 0x1a, "response information";
    ServerReference = 0x1c, "server reference";
    ReasonString = 0x1f, "reason string";
    ReceiveMaximum = 0x21, "receive maximum";
    TopicAliasMaximum = 0x22, "topic alias maximum";
    TopicAlias = 0x23, "topic alias";
    MaximumQoS = 0x24, "maximum QoS";
    RetainAvailable = 0x25, "retain available";
    UserProperty = 0x26, "user property";
    MaximumPacketSize = 0x27, "maximum packet size";
    WildcardSubscriptionAvailable = 0x28, "wildcard subscription available";
    SubscriptionIdentifierAvailable = 0x29, "subscription identifier available";
    SharedSubscriptionAvailable = 0x2a, "shared subscription available";
}

impl PropertyId {
    /// The number on the wire.
    pub const fn number(self) -> u8 {
        self as u8
    }
}

impl fmt::Display for PropertyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({:#04x})", self.text(), self.number())
    }
}

/// The number of a subscription, chosen by its client: 1 to 268 435 455.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubscriptionId(NonZeroU32);

impl SubscriptionId {
    /// `None` outside the range.
    pub const fn new(number: u32) -> Option<Self> {
        match NonZeroU32::new(number) {
            Some(id) if number as usize <= REMAINING_LEN_MAX => Some(Self(id)),
            _ => None,
        }
    }

    /// The number.
    pub const fn get(self) -> u32 {
        self.0.get()
    }
}

/// What an authentication method exchanges; `Debug` hides it, since it may be a secret.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct AuthData(pub Bytes);

impl fmt::Debug for AuthData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<hidden>")
    }
}

/// A kind of value.
pub(super) trait Value: Sized {
    fn read(id: PropertyId, reader: &mut Reader) -> Result<Self, Violation>;
    fn write(&self, out: &mut impl Sink) -> Result<(), Unencodable>;
}

impl Value for bool {
    fn read(id: PropertyId, reader: &mut Reader) -> Result<Self, Violation> {
        match reader.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Violation::PropertyValue(id)),
        }
    }

    fn write(&self, out: &mut impl Sink) -> Result<(), Unencodable> {
        out.put_u8(u8::from(*self));
        Ok(())
    }
}

/// Of the maximum quality, which is 2 where it is absent and never written as such.
impl Value for QoS {
    fn read(id: PropertyId, reader: &mut Reader) -> Result<Self, Violation> {
        match QoS::from_number(reader.u8()?) {
            Some(qos) if qos != QoS::ExactlyOnce => Ok(qos),
            _ => Err(Violation::PropertyValue(id)),
        }
    }

    fn write(&self, out: &mut impl Sink) -> Result<(), Unencodable> {
        if *self == QoS::ExactlyOnce {
            return Err(Unencodable::PropertyValue(PropertyId::MaximumQoS));
        }
        out.put_u8(*self as u8);
        Ok(())
    }
}

impl Value for u16 {
    fn read(_: PropertyId, reader: &mut Reader) -> Result<Self, Violation> {
        Ok(reader.u16()?)
    }

    fn write(&self, out: &mut impl Sink) -> Result<(), Unencodable> {
        out.put_u16(*self);
        Ok(())
    }
}

impl Value for NonZeroU16 {
    fn read(id: PropertyId, reader: &mut Reader) -> Result<Self, Violation> {
        Self::new(reader.u16()?).ok_or(Violation::PropertyValue(id))
    }

    fn write(&self, out: &mut impl Sink) -> Result<(), Unencodable> {
        self.get().write(out)
    }
}

impl Value for u32 {
    fn read(_: PropertyId, reader: &mut Reader) -> Result<Self, Violation> {
        Ok(reader.u32()?)
    }

    fn write(&self, out: &mut impl Sink) -> Result<(), Unencodable> {
        out.put_u32(*self);
        Ok(())
    }
}

impl Value for NonZeroU32 {
    fn read(id: PropertyId, reader: &mut Reader) -> Result<Self, Violation> {
        Self::new(reader.u32()?).ok_or(Violation::PropertyValue(id))
    }

    fn write(&self, out: &mut impl Sink) -> Result<(), Unencodable> {
        self.get().write(out)
    }
}

impl Value for SubscriptionId {
    fn read(id: PropertyId, reader: &mut Reader) -> Result<Self, Violation> {
        let number = reader.variable_byte_integer()?;
        u32::try_from(number).ok().and_then(Self::new).ok_or(Violation::PropertyValue(id))
    }

    fn write(&self, out: &mut impl Sink) -> Result<(), Unencodable> {
        out.put_variable_byte_integer(self.get() as usize)
    }
}

impl Value for ByteString {
    fn read(_: PropertyId, reader: &mut Reader) -> Result<Self, Violation> {
        Ok(reader.string()?)
    }

    fn write(&self, out: &mut impl Sink) -> Result<(), Unencodable> {
        out.put_string(self)
    }
}

impl Value for Bytes {
    fn read(_: PropertyId, reader: &mut Reader) -> Result<Self, Violation> {
        Ok(reader.binary()?)
    }

    fn write(&self, out: &mut impl Sink) -> Result<(), Unencodable> {
        out.put_binary(self)
    }
}

impl Value for AuthData {
    fn read(_: PropertyId, reader: &mut Reader) -> Result<Self, Violation> {
        Ok(Self(reader.binary()?))
    }

    fn write(&self, out: &mut impl Sink) -> Result<(), Unencodable> {
        out.put_binary(&self.0)
    }
}

/// A place for the values of one property: of at most one, or of many.
pub(super) trait Slot {
    fn read(&mut self, id: PropertyId, reader: &mut Reader) -> Result<(), Violation>;
    fn write(&self, id: PropertyId, out: &mut impl Sink) -> Result<(), Unencodable>;
}

impl<T: Value> Slot for Option<T> {
    fn read(&mut self, id: PropertyId, reader: &mut Reader) -> Result<(), Violation> {
        if self.is_some() {
            return Err(Violation::PropertyRepeated(id));
        }
        *self = Some(T::read(id, reader)?);
        Ok(())
    }

    fn write(&self, id: PropertyId, out: &mut impl Sink) -> Result<(), Unencodable> {
        if let Some(value) = self {
            out.put_u8(id.number());
            value.write(out)?;
        }
        Ok(())
    }
}

impl Slot for Vec<SubscriptionId> {
    fn read(&mut self, id: PropertyId, reader: &mut Reader) -> Result<(), Violation> {
        if self.len() == SUBSCRIPTION_IDS_MAX {
            return Err(Violation::TooManySubscriptionIds);
        }
        self.push(SubscriptionId::read(id, reader)?);
        Ok(())
    }

    fn write(&self, id: PropertyId, out: &mut impl Sink) -> Result<(), Unencodable> {
        self.iter().try_for_each(|number| {
            out.put_u8(id.number());
            number.write(out)
        })
    }
}

/// The properties of one kind of packet. Written by [`properties!`].
pub(super) trait Properties: Default {
    /// The packet, in errors.
    const OWNER: PacketType;

    /// Reads the value of a property other than a user property.
    fn read_value(&mut self, id: PropertyId, reader: &mut Reader) -> Result<(), Violation>;
    fn user(&mut self) -> &mut UserProperties;
    /// Writes all, without the length in front.
    fn write_values(&self, out: &mut impl Sink) -> Result<(), Unencodable>;

    /// Whether there is none.
    fn is_none(&self) -> bool {
        let mut count = Count::default();
        self.write_values(&mut count).is_ok() && count.0 == 0
    }
}

/// Reads a block of properties with the length in front.
pub(super) fn read<P: Properties>(reader: &mut Reader) -> Result<P, Violation> {
    let len = reader.variable_byte_integer()?;
    let mut properties = P::default();
    if len == 0 {
        return Ok(properties);
    }
    if len > PROPERTIES_LEN_MAX {
        return Err(Violation::PropertiesTooLarge(len));
    }
    let block = reader.take(len)?;
    let mut rest = Reader::new(block.clone());
    let mut user = Gathered::default();
    while !rest.is_empty() {
        let start = len - rest.len();
        let number = rest.variable_byte_integer()?;
        let id = PropertyId::from_number(number).ok_or(Violation::PropertyUnknown(number))?;
        if id == PropertyId::UserProperty {
            rest.string()?;
            rest.string()?;
            if !user.push(&block, start..len - rest.len()) {
                return Err(Violation::TooManyUserProperties);
            }
        } else {
            properties.read_value(id, &mut rest)?;
        }
    }
    *properties.user() = user.finish(&block);
    Ok(properties)
}

/// Writes a block of properties with the length in front.
pub(super) fn write(properties: &impl Properties, out: &mut impl Sink) -> Result<(), Unencodable> {
    let mut count = Count::default();
    properties.write_values(&mut count)?;
    out.put_variable_byte_integer(count.0)?;
    properties.write_values(out)
}

/// Defines the properties of a packet: a struct of them all and how it is read and written.
macro_rules! properties {
    (
        $(#[$doc:meta])*
        $name:ident of $owner:ident {
            $($(#[$field_doc:meta])* $field:ident: $type:ty = $id:ident,)*
        }
    ) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Default, PartialEq, Eq)]
        pub struct $name {
            $($(#[$field_doc])* pub $field: $type,)*
            /// Pairs of the application's own.
            pub user: $crate::mqtt::v5::UserProperties,
        }

        impl $crate::mqtt::v5::property::Properties for $name {
            const OWNER: $crate::mqtt::basic::PacketType = $crate::mqtt::basic::PacketType::$owner;

            fn read_value(
                &mut self,
                id: $crate::mqtt::v5::PropertyId,
                _reader: &mut $crate::mqtt::reader::Reader,
            ) -> Result<(), $crate::mqtt::v5::Violation> {
                match id {
                    $($crate::mqtt::v5::PropertyId::$id => {
                        $crate::mqtt::v5::property::Slot::read(&mut self.$field, id, _reader)
                    })*
                    _ => Err($crate::mqtt::v5::Violation::PropertyForbidden { owner: Self::OWNER, id }),
                }
            }

            fn user(&mut self) -> &mut $crate::mqtt::v5::UserProperties {
                &mut self.user
            }

            fn write_values(
                &self,
                out: &mut impl $crate::mqtt::v5::write::Sink,
            ) -> Result<(), $crate::mqtt::v5::Unencodable> {
                $($crate::mqtt::v5::property::Slot::write(
                    &self.$field,
                    $crate::mqtt::v5::PropertyId::$id,
                    out,
                )?;)*
                self.user.write(out);
                Ok(())
            }
        }
    };
}
pub(super) use properties;
