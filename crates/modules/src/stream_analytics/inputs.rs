//! How the bodies of messages are written, as twins and packages say it.

use ironbrook_analytics::format::{Compression, Delimiter, InputFormat, InputSerialization};
use serde::{Deserialize, Serialize};

/// Of one input; what is left out has the service's default.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct InputSettings {
    /// The format; default `json`.
    pub format: Format,
    /// What stands between the fields of CSV: a comma (the default), a semicolon, a space, a tab or a vertical bar.
    #[serde(with = "character")]
    pub delimiter: Delimiter,
    /// Whether the first line of CSV names the columns; default yes, else they are `column1`, `column2` and so on.
    #[serde(skip_serializing_if = "Header::is_there")]
    pub header: Header,
    /// What was done to the bytes; default `none`.
    pub compression: Packing,
}

/// Formats of bodies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Format {
    /// An object, an array of objects, or objects one after the other.
    #[default]
    Json,
    /// Separated values.
    Csv,
    /// Container files, which the original does not read.
    Avro,
}

/// Whether there is a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Header(pub bool);

impl Default for Header {
    fn default() -> Self {
        Self(true)
    }
}

impl Header {
    fn is_there(&self) -> bool {
        self.0
    }
}

/// Compressions of bodies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Packing {
    /// Nothing.
    #[default]
    None,
    /// gzip.
    Gzip,
    /// Deflate, bare or in a zlib envelope.
    Deflate,
}

impl InputSettings {
    /// For a decoder.
    pub(super) fn to_format(&self) -> InputFormat {
        let serialization = match self.format {
            Format::Json => InputSerialization::Json,
            Format::Csv => InputSerialization::Csv { delimiter: self.delimiter, header: self.header.0 },
            Format::Avro => InputSerialization::Avro,
        };
        let compression = match self.compression {
            Packing::None => Compression::None,
            Packing::Gzip => Compression::GZip,
            Packing::Deflate => Compression::Deflate,
        };
        InputFormat { serialization, compression }
    }
}

impl From<InputFormat> for InputSettings {
    fn from(format: InputFormat) -> Self {
        let (kind, delimiter, header) = match format.serialization {
            InputSerialization::Json => (Format::Json, Delimiter::default(), true),
            InputSerialization::Csv { delimiter, header } => (Format::Csv, delimiter, header),
            InputSerialization::Avro => (Format::Avro, Delimiter::default(), true),
        };
        let compression = match format.compression {
            Compression::None => Packing::None,
            Compression::GZip => Packing::Gzip,
            Compression::Deflate => Packing::Deflate,
        };
        Self { format: kind, delimiter, header: Header(header), compression }
    }
}

/// A delimiter as its character.
mod character {
    use ironbrook_analytics::format::Delimiter;
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(super) fn serialize<S: Serializer>(delimiter: &Delimiter, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_char(delimiter.byte().into())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Delimiter, D::Error> {
        let text = String::deserialize(from)?;
        let allowed = "a delimiter is a comma, a semicolon, a space, a tab or a vertical bar";
        Delimiter::parse(&text).ok_or_else(|| D::Error::custom(allowed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn settings_are_read_with_the_defaults_of_the_service() {
        let read =
            |value| serde_json::from_value::<InputSettings>(value).map(|settings| settings.to_format());
        assert_eq!(read(json!({})).unwrap(), InputFormat::default());
        let csv = |delimiter, header| InputSerialization::Csv { delimiter, header };
        assert_eq!(read(json!({ "format": "csv" })).unwrap().serialization, csv(Delimiter::Comma, true));
        let all = json!({ "format": "csv", "delimiter": ";", "header": false, "compression": "gzip" });
        let format = read(all).unwrap();
        assert_eq!(format.serialization, csv(Delimiter::Semicolon, false));
        assert_eq!(format.compression, Compression::GZip);
        assert_eq!(InputSettings::from(format).to_format(), format);
        for wrong in [json!({ "format": "xml" }), json!({ "delimiter": "::" }), json!({ "compression": 1 })] {
            assert!(read(wrong.clone()).is_err(), "{wrong}");
        }
    }
}
