//! A value of any AMQP type.

use bytes::Bytes;
use bytestring::ByteString;
use ironbrook_model::Timestamp;
use uuid::Uuid;

/// A value of any AMQP 1.0 type (specification part 1, section 1.6). Strings, symbols and binaries share the bytes they were read from.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Value {
    /// Nothing.
    #[default]
    Null,
    /// `boolean`.
    Bool(bool),
    /// `ubyte`.
    Ubyte(u8),
    /// `ushort`.
    Ushort(u16),
    /// `uint`.
    Uint(u32),
    /// `ulong`.
    Ulong(u64),
    /// `byte`.
    Byte(i8),
    /// `short`.
    Short(i16),
    /// `int`.
    Int(i32),
    /// `long`.
    Long(i64),
    /// `float`.
    Float(f32),
    /// `double`.
    Double(f64),
    /// `decimal32`, as it stands on the wire.
    Decimal32([u8; 4]),
    /// `decimal64`, as it stands on the wire.
    Decimal64([u8; 8]),
    /// `decimal128`, as it stands on the wire.
    Decimal128([u8; 16]),
    /// `char`.
    Char(char),
    /// `timestamp`.
    Timestamp(Timestamp),
    /// `uuid`.
    Uuid(Uuid),
    /// `binary`.
    Binary(Bytes),
    /// `string`.
    String(ByteString),
    /// `symbol`.
    Symbol(ByteString),
    /// `list`.
    List(Vec<Value>),
    /// `map`, order kept.
    Map(Vec<(Value, Value)>),
    /// `array`: all elements of the same type; written as a list where they are not.
    Array(Vec<Value>),
    /// A descriptor and what it describes.
    Described(Box<(Value, Value)>),
}

impl Value {
    /// A symbol.
    pub fn symbol(text: impl Into<ByteString>) -> Self {
        Self::Symbol(text.into())
    }

    /// A string.
    pub fn string(text: impl Into<ByteString>) -> Self {
        Self::String(text.into())
    }

    /// A described value.
    pub fn described(descriptor: Value, value: Value) -> Self {
        Self::Described(Box::new((descriptor, value)))
    }

    /// Whether it is null.
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// The text of a string or symbol.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) | Self::Symbol(text) => Some(text),
            _ => None,
        }
    }

    /// The text of a string or symbol, shared.
    pub fn to_text(&self) -> Option<ByteString> {
        match self {
            Self::String(text) | Self::Symbol(text) => Some(text.clone()),
            _ => None,
        }
    }

    /// The bytes of a binary.
    pub fn as_binary(&self) -> Option<&Bytes> {
        match self {
            Self::Binary(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// The number of any integer type that fits.
    pub fn as_i64(&self) -> Option<i64> {
        match *self {
            Self::Ubyte(n) => Some(n.into()),
            Self::Ushort(n) => Some(n.into()),
            Self::Uint(n) => Some(n.into()),
            Self::Ulong(n) => i64::try_from(n).ok(),
            Self::Byte(n) => Some(n.into()),
            Self::Short(n) => Some(n.into()),
            Self::Int(n) => Some(n.into()),
            Self::Long(n) => Some(n),
            _ => None,
        }
    }

    /// The number of any integer type that is not negative.
    pub fn as_u64(&self) -> Option<u64> {
        match *self {
            Self::Ulong(n) => Some(n),
            _ => self.as_i64().and_then(|n| u64::try_from(n).ok()),
        }
    }

    /// The boolean.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(b) => Some(*b),
            _ => None,
        }
    }

    /// The timestamp.
    pub fn as_timestamp(&self) -> Option<Timestamp> {
        match self {
            Self::Timestamp(t) => Some(*t),
            _ => None,
        }
    }

    /// The elements of a list or array.
    pub fn as_list(&self) -> Option<&[Value]> {
        match self {
            Self::List(items) | Self::Array(items) => Some(items),
            _ => None,
        }
    }

    /// The value of a map under a key given as text (string or symbol).
    pub fn get(&self, key: &str) -> Option<&Value> {
        match self {
            Self::Map(entries) => entries.iter().find(|(k, _)| k.as_str() == Some(key)).map(|(_, v)| v),
            _ => None,
        }
    }

    /// The value without its descriptor, or itself.
    pub fn undescribed(&self) -> &Value {
        match self {
            Self::Described(parts) => parts.1.undescribed(),
            other => other,
        }
    }
}

macro_rules! from {
    ($($kind:ident($inner:ty)),*) => {
        $(impl From<$inner> for Value {
            fn from(value: $inner) -> Self {
                Self::$kind(value)
            }
        })*
    };
}
from!(
    Bool(bool),
    Ubyte(u8),
    Ushort(u16),
    Uint(u32),
    Ulong(u64),
    Int(i32),
    Long(i64),
    Timestamp(Timestamp),
    Uuid(Uuid),
    Binary(Bytes),
    String(ByteString)
);

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::String(text.into())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::String(text.into())
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}
