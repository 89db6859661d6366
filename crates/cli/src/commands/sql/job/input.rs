//! How the payloads of inputs are written, as people type it.

use super::super::format::Ending;
use anyhow::Context as _;
use ironbrook_analytics::format::{self, Delimiter, InputSerialization};
use ironbrook_cloud::streaming::{
    Compression, CompressionKind, Serialization, SerializationKind, SerializationProperties,
};
use std::path::Path;

/// How bodies of messages are written.
#[derive(Debug, clap::Args)]
pub(super) struct Bodies {
    /// How bodies of messages are written.
    #[arg(long, value_enum, default_value_t = Format::Json, value_name = "FORMAT")]
    input_format: Format,
    /// What stands between the fields of CSV in bodies: `,` `;` `|` a space or `\t`.
    #[arg(long, value_name = "CHARACTER")]
    delimiter: Option<String>,
    /// How bodies are compressed.
    #[arg(long, value_enum, default_value_t = Packing::None, value_name = "WAY")]
    input_compression: Packing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// An object, an array of objects, or objects one after the other.
    Json,
    /// Separated values with a header.
    Csv,
    /// Container files.
    Avro,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Packing {
    /// Not at all.
    None,
    /// gzip.
    Gzip,
    /// Deflate, bare or in a zlib envelope.
    Deflate,
}

impl Bodies {
    pub(super) fn serialization(&self) -> Serialization {
        let kind = match self.input_format {
            Format::Json => SerializationKind::Json,
            Format::Csv => SerializationKind::Csv,
            Format::Avro => SerializationKind::Avro,
        };
        let field_delimiter = self.delimiter.clone();
        Serialization { kind, properties: SerializationProperties { field_delimiter, encoding: None } }
    }

    pub(super) fn compression(&self) -> Compression {
        let kind = match self.input_compression {
            Packing::None => CompressionKind::None,
            Packing::Gzip => CompressionKind::GZip,
            Packing::Deflate => CompressionKind::Deflate,
        };
        Compression { kind }
    }
}

/// How a blob is written by the ending of its name, as in `limits.csv.gz`; JSON where that says nothing.
pub(super) fn by_ending(blob: &str) -> anyhow::Result<(Serialization, Compression)> {
    let Some(ending) = Ending::of(Path::new(blob)) else { return Ok(Default::default()) };
    let (kind, delimiter) = match ending.events().with_context(|| blob.to_owned())? {
        InputSerialization::Json => (SerializationKind::Json, None),
        InputSerialization::Csv { delimiter, .. } => (SerializationKind::Csv, Some(delimiter)),
        InputSerialization::Avro => (SerializationKind::Avro, None),
    };
    let field_delimiter =
        delimiter.filter(|one| *one != Delimiter::Comma).map(|one| char::from(one.byte()).to_string());
    let compression = match ending.compression {
        format::Compression::None => CompressionKind::None,
        format::Compression::GZip => CompressionKind::GZip,
        format::Compression::Deflate => CompressionKind::Deflate,
    };
    let properties = SerializationProperties { field_delimiter, encoding: None };
    Ok((Serialization { kind, properties }, Compression { kind: compression }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endings() {
        let of = |blob: &str| {
            let (serialization, compression) = by_ending(blob).unwrap();
            let delimiter = serialization.properties.field_delimiter.unwrap_or_default();
            (serialization.kind, delimiter, compression.kind)
        };
        let none = String::new;
        assert_eq!(of("a/b.json"), (SerializationKind::Json, none(), CompressionKind::None));
        assert_eq!(of("{date}/B.CSV.gz"), (SerializationKind::Csv, none(), CompressionKind::GZip));
        assert_eq!(of("x.tsv.deflate"), (SerializationKind::Csv, "\t".to_owned(), CompressionKind::Deflate));
        assert_eq!(of("x.avro"), (SerializationKind::Avro, none(), CompressionKind::None));
        assert_eq!(of("csv"), (SerializationKind::Json, none(), CompressionKind::None));
        assert!(by_ending("x.parquet").is_err());
    }
}
