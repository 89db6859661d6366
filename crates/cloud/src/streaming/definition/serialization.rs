//! How the payloads of an input are written, with the members and names that the resource of the service has.
//! Source: Azure REST reference, "Inputs", `serialization` and `compression`.

use super::{DefinitionError, wrong};
use ironbrook_analytics::format::{self, Delimiter, InputFormat, InputSerialization};
use serde::{Deserialize, Serialize};

/// The format of an input's payloads.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Serialization {
    /// Which.
    #[serde(rename = "type")]
    pub kind: SerializationKind,
    /// Its details.
    #[serde(default, skip_serializing_if = "SerializationProperties::is_default")]
    pub properties: SerializationProperties,
}

/// Formats of payloads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum SerializationKind {
    /// An object, an array of objects, or objects one after the other.
    #[default]
    #[serde(alias = "json")]
    Json,
    /// Separated values with a header; each is a text until the query converts it.
    #[serde(alias = "csv")]
    Csv,
    /// A container file.
    #[serde(alias = "avro")]
    Avro,
}

/// Details of a format.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SerializationProperties {
    /// What stands between the fields of CSV: a comma, a semicolon, a space, a tab or a vertical bar.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field_delimiter: Option<String>,
    /// `UTF8`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encoding: Option<String>,
}

/// What was done to the bytes of payloads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Compression {
    /// Which.
    #[serde(rename = "type")]
    pub kind: CompressionKind,
}

/// Ways to compress.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum CompressionKind {
    /// Nothing was done.
    #[default]
    #[serde(alias = "none")]
    None,
    /// gzip.
    #[serde(alias = "gzip", alias = "Gzip")]
    GZip,
    /// Deflate, bare or in a zlib envelope.
    #[serde(alias = "deflate")]
    Deflate,
}

impl SerializationProperties {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl Serialization {
    pub(super) fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl Compression {
    pub(super) fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl From<InputSerialization> for Serialization {
    fn from(format: InputSerialization) -> Self {
        match format {
            InputSerialization::Json => Self::default(),
            InputSerialization::Csv { delimiter, .. } => {
                let delimiter = char::from(delimiter.byte()).to_string();
                let properties =
                    SerializationProperties { field_delimiter: Some(delimiter), ..Default::default() };
                Self { kind: SerializationKind::Csv, properties }
            }
            InputSerialization::Avro => Self { kind: SerializationKind::Avro, ..Self::default() },
        }
    }
}

impl From<format::Compression> for Compression {
    fn from(compression: format::Compression) -> Self {
        let kind = match compression {
            format::Compression::None => CompressionKind::None,
            format::Compression::GZip => CompressionKind::GZip,
            format::Compression::Deflate => CompressionKind::Deflate,
        };
        Self { kind }
    }
}

/// For the engine. `name` is the input.
pub(super) fn format(
    name: &str,
    serialization: &Serialization,
    compression: Compression,
) -> Result<InputFormat, DefinitionError> {
    let at = |member: &str| format!("inputs.{name}.serialization.properties.{member}");
    let SerializationProperties { field_delimiter, encoding } = &serialization.properties;
    let is_utf8 = |name: &str| ["UTF8", "UTF-8"].iter().any(|known| known.eq_ignore_ascii_case(name));
    if encoding.as_deref().is_some_and(|name| !is_utf8(name)) {
        return Err(wrong(at("encoding"), "it is UTF8"));
    }
    let serialization = match (serialization.kind, field_delimiter) {
        (SerializationKind::Csv, text) => {
            let text = text.as_deref().unwrap_or(",");
            let allowed = "it is a comma, a semicolon, a space, a tab or a vertical bar";
            let delimiter = Delimiter::parse(text).ok_or_else(|| wrong(at("fieldDelimiter"), allowed))?;
            InputSerialization::Csv { delimiter, header: true }
        }
        (_, Some(_)) => return Err(wrong(at("fieldDelimiter"), "it belongs to the type Csv")),
        (SerializationKind::Json, None) => InputSerialization::Json,
        (SerializationKind::Avro, None) => InputSerialization::Avro,
    };
    let compression = match compression.kind {
        CompressionKind::None => format::Compression::None,
        CompressionKind::GZip => format::Compression::GZip,
        CompressionKind::Deflate => format::Compression::Deflate,
    };
    Ok(InputFormat { serialization, compression })
}
