//! How the payloads of inputs are written, as people type it.

use ironbrook_cloud::streaming::{
    Compression, CompressionKind, Serialization, SerializationKind, SerializationProperties,
};

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

/// Format and compression of a blob by the ending of its name, as in `limits.csv.gz`.
pub(super) fn by_ending(blob: &str) -> (SerializationKind, CompressionKind) {
    let lower = blob.to_ascii_lowercase();
    let (name, compression) = match lower.strip_suffix(".gz") {
        Some(name) => (name, CompressionKind::GZip),
        None => (&*lower, CompressionKind::None),
    };
    let kind = match name.rsplit_once('.') {
        Some((_, "csv")) => SerializationKind::Csv,
        Some((_, "avro")) => SerializationKind::Avro,
        _ => SerializationKind::Json,
    };
    (kind, compression)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endings() {
        assert_eq!(by_ending("a/b.json"), (SerializationKind::Json, CompressionKind::None));
        assert_eq!(by_ending("{date}/B.CSV.gz"), (SerializationKind::Csv, CompressionKind::GZip));
        assert_eq!(by_ending("x.avro"), (SerializationKind::Avro, CompressionKind::None));
        assert_eq!(by_ending("csv"), (SerializationKind::Json, CompressionKind::None));
    }
}
