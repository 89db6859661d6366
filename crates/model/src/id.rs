//! Device and module identities.
//!
//! Rule (Azure docs, "Understand the identity registry"): 1 to 128 ASCII characters out of letters, digits and
//! `- : . + % _ # * ? ! ( ) , = @ ; $ '`, case-sensitive.

use bytestring::ByteString;
use std::fmt;

/// The characters an id may hold besides ASCII letters and digits.
const ID_PUNCTUATION: &[u8] = b"-:.+%_#*?!(),=@;$'";
/// Longest id in characters.
const ID_LEN_MAX: usize = 128;

/// A text that is not a valid device or module id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Empty or longer than 128 characters.
    #[error("an id has 1 to 128 characters, this one has {0}")]
    Length(usize),
    /// A character outside the permitted set.
    #[error(
        "character {0:?} may not stand in an id; allowed are ASCII letters, digits and - : . + % _ # * ? ! ( ) , = @ ; $ '"
    )]
    Character(char),
}

fn check(text: &str) -> Result<(), IdError> {
    if text.is_empty() || text.len() > ID_LEN_MAX {
        return Err(IdError::Length(text.chars().count()));
    }
    match text
        .chars()
        .find(|c| !(c.is_ascii_alphanumeric() || (c.is_ascii() && ID_PUNCTUATION.contains(&(*c as u8)))))
    {
        Some(bad) => Err(IdError::Character(bad)),
        None => Ok(()),
    }
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(ByteString);

        impl $name {
            /// Checks and wraps an id; cheap to clone afterwards.
            pub fn new(text: impl Into<ByteString>) -> Result<Self, IdError> {
                let text = text.into();
                check(&text)?;
                Ok(Self(text))
            }

            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// The id as a shared string.
            pub fn to_shared(&self) -> ByteString {
                self.0.clone()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }

        impl std::str::FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                Self::new(text)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.serialize_str(&self.0)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let text = String::deserialize(d)?;
                Self::new(text).map_err(serde::de::Error::custom)
            }
        }
    };
}

id!(
    /// The id of a device.
    DeviceId
);
id!(
    /// The id of a module; unique within its device.
    ModuleId
);

impl ModuleId {
    /// The module of a gateway device that speaks to the hub for other modules of the device and for devices behind it.
    pub const GATEWAY: &'static str = "$edgeHub"; // tidy: wire word

    /// Whether it is [`GATEWAY`](Self::GATEWAY).
    pub fn is_gateway(&self) -> bool {
        self.as_str() == Self::GATEWAY
    }
}

/// Who speaks or is spoken to: a device, or a module of a device.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct Identity {
    /// The device.
    pub device: DeviceId,
    /// The module, where the identity is a module.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub module: Option<ModuleId>,
}

impl Identity {
    /// The identity of a device itself.
    pub fn device(device: DeviceId) -> Self {
        Self { device, module: None }
    }

    /// The identity of a module.
    pub fn module(device: DeviceId, module: ModuleId) -> Self {
        Self { device, module: Some(module) }
    }

    /// The identity of the module that speaks for others behind a gateway device.
    pub fn gateway(device: DeviceId) -> Self {
        Self::module(device, ModuleId(ByteString::from_static(ModuleId::GATEWAY)))
    }

    /// Whether it is the module that speaks for others.
    pub fn is_gateway(&self) -> bool {
        self.module.as_ref().is_some_and(ModuleId::is_gateway)
    }

    /// The resource of this identity below the hub, as SAS scopes spell it: `devices/d` or `devices/d/modules/m`.
    pub fn resource(&self) -> String {
        match &self.module {
            None => format!("devices/{}", self.device),
            Some(module) => format!("devices/{}/modules/{module}", self.device),
        }
    }
}

impl fmt::Display for Identity {
    /// `device` or `device/module`, the form of an MQTT client id.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.module {
            None => write!(f, "{}", self.device),
            Some(module) => write!(f, "{}/{module}", self.device),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_every_documented_character() {
        DeviceId::new("aZ09-:.+%_#*?!(),=@;$'").unwrap();
    }

    #[test]
    fn the_gateway_module_is_a_valid_id() {
        let gateway = Identity::gateway(DeviceId::new("g").unwrap());
        assert_eq!(gateway.module, Some(ModuleId::new(ModuleId::GATEWAY).unwrap()));
        assert!(gateway.is_gateway() && !Identity::device(DeviceId::new("g").unwrap()).is_gateway());
    }

    #[test]
    fn refuses_slash_empty_long_and_non_ascii() {
        assert_eq!(DeviceId::new("a/b"), Err(IdError::Character('/')));
        assert_eq!(DeviceId::new(""), Err(IdError::Length(0)));
        assert_eq!(DeviceId::new("x".repeat(129)), Err(IdError::Length(129)));
        assert_eq!(DeviceId::new("grün"), Err(IdError::Character('ü')));
    }
}
