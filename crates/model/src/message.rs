//! A message: system properties, application properties, body. Keys, values and body are shared slices.

use crate::SystemProperty;
use bytes::Bytes;
use bytestring::ByteString;
use smallvec::SmallVec;

/// Where an event came from; the name is what `iothub-message-source` carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, serde::Serialize, serde::Deserialize)]
#[repr(u8)]
pub enum MessageSource {
    /// Telemetry of a device or module.
    #[default]
    DeviceMessages = 0,
    /// A twin was changed.
    TwinChangeEvents = 1,
    /// An identity was created or deleted.
    DeviceLifecycleEvents = 2,
    /// A device connected or disconnected.
    DeviceConnectionStateEvents = 3,
    /// A job went on at a device.
    DeviceJobLifecycleEvents = 4,
    /// The properties of a device with a plug-and-play model changed.
    DigitalTwinChangeEvents = 5,
}

impl MessageSource {
    /// All sources, in the order of their stored numbers.
    pub const ALL: [Self; 6] = [
        Self::DeviceMessages,
        Self::TwinChangeEvents,
        Self::DeviceLifecycleEvents,
        Self::DeviceConnectionStateEvents,
        Self::DeviceJobLifecycleEvents,
        Self::DigitalTwinChangeEvents,
    ];

    /// The value of `iothub-message-source`.
    pub fn wire_name(self) -> &'static str {
        match self {
            Self::DeviceMessages => "Telemetry",
            Self::TwinChangeEvents => "twinChangeEvents",
            Self::DeviceLifecycleEvents => "deviceLifecycleEvents",
            Self::DeviceConnectionStateEvents => "deviceConnectionStateEvents",
            Self::DeviceJobLifecycleEvents => "deviceJobLifecycleEvents",
            Self::DigitalTwinChangeEvents => "digitalTwinChangeEvents",
        }
    }

    /// The name in routes: `DeviceMessages` and its kin.
    pub fn route_name(self) -> &'static str {
        match self {
            Self::DeviceMessages => "DeviceMessages",
            Self::TwinChangeEvents => "TwinChangeEvents",
            Self::DeviceLifecycleEvents => "DeviceLifecycleEvents",
            Self::DeviceConnectionStateEvents => "DeviceConnectionStateEvents",
            Self::DeviceJobLifecycleEvents => "DeviceJobLifecycleEvents",
            Self::DigitalTwinChangeEvents => "DigitalTwinChangeEvents",
        }
    }

    /// The source of a name in routes, in any case.
    pub fn from_route_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|source| source.route_name().eq_ignore_ascii_case(name))
    }

    /// The stable number in stored records.
    pub fn number(self) -> u8 {
        self as u8
    }

    /// The source of a stored number.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }
}

/// System properties of a message: few, so a short list beats a map.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SystemProperties(SmallVec<[(SystemProperty, ByteString); 4]>);

impl SystemProperties {
    /// The value of a property.
    pub fn get(&self, property: SystemProperty) -> Option<&ByteString> {
        self.0.iter().find(|(p, _)| *p == property).map(|(_, v)| v)
    }

    /// Sets a property, replacing an earlier value.
    pub fn set(&mut self, property: SystemProperty, value: impl Into<ByteString>) {
        let value = value.into();
        match self.0.iter_mut().find(|(p, _)| *p == property) {
            Some((_, old)) => *old = value,
            None => self.0.push((property, value)),
        }
    }

    /// Removes a property.
    pub fn remove(&mut self, property: SystemProperty) {
        self.0.retain(|(p, _)| *p != property);
    }

    /// All properties in the order they were set.
    pub fn iter(&self) -> impl Iterator<Item = (SystemProperty, &ByteString)> {
        self.0.iter().map(|(p, v)| (*p, v))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Application properties: names and string values, order kept, names unique.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Properties(SmallVec<[(ByteString, ByteString); 4]>);

impl Properties {
    /// The value of a property, exact name.
    pub fn get(&self, name: &str) -> Option<&ByteString> {
        self.0.iter().find(|(n, _)| &**n == name).map(|(_, v)| v)
    }

    /// Sets a property, replacing an earlier value.
    pub fn set(&mut self, name: impl Into<ByteString>, value: impl Into<ByteString>) {
        let (name, value) = (name.into(), value.into());
        match self.0.iter_mut().find(|(n, _)| *n == name) {
            Some((_, old)) => *old = value,
            None => self.0.push((name, value)),
        }
    }

    /// All properties in the order they were set.
    pub fn iter(&self) -> impl Iterator<Item = (&ByteString, &ByteString)> {
        self.0.iter().map(|(n, v)| (n, v))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// A message in either direction. Cloning shares the bytes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Message {
    /// Properties the platform defines.
    pub system: SystemProperties,
    /// Properties the user made up.
    pub properties: Properties,
    /// The body; its meaning is told by content type and encoding, if at all.
    pub body: Bytes,
}

impl Message {
    /// A message with a body and nothing else.
    #[inline]
    pub fn new(body: impl Into<Bytes>) -> Self {
        // Field by field: a whole one made first would be copied, and it is large.
        Self { system: SystemProperties::default(), properties: Properties::default(), body: body.into() }
    }

    /// Its size as quotas count it: body, system property values, application property names and values, in bytes.
    pub fn metered_len(&self) -> usize {
        self.body.len()
            + self.system.iter().map(|(_, v)| v.len()).sum::<usize>()
            + self.properties.iter().map(|(n, v)| n.len() + v.len()).sum::<usize>()
    }

    /// Whether the body may be read as JSON: content type `application/json` and encoding utf-8, utf-16 or utf-32.
    pub fn has_json_body(&self) -> bool {
        let is = |p, wanted: &[&str]| {
            self.system.get(p).is_some_and(|v| wanted.iter().any(|w| v.trim().eq_ignore_ascii_case(w)))
        };
        // A `; charset=` tail is not part of the documented rule.
        is(SystemProperty::ContentType, &["application/json"])
            && is(SystemProperty::ContentEncoding, &["utf-8", "utf-16", "utf-32"])
    }
}
